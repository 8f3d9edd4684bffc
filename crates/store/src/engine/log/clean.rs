//! Gives disk space back: moves what is still needed out of the oldest segment to the log's end,
//! then drops that segment.
//!
//! Always the oldest one: so a removal's record can be dropped with its segment, because no older
//! segment is left that could hold the object. Cleaning begins when more than half of the log is
//! superseded, so a byte is moved about once in its life, and the disk holds at most about twice the
//! present objects plus [`Tuning::slack`](super::writer::Tuning). It rides along with the writers'
//! batches, in small steps, and goes on alone when nobody writes.
//!
//! Not here: what "present" means (the watch cache says).

use std::io;

use api::Key;

use super::format::{Batch, Kind, records};
use super::segments::{Log, Reader, Step};
use crate::cache::WatchCache;

/// Works through the oldest segment.
#[derive(Debug, Default)]
pub struct Cleaner {
    /// The segment worked on and how far it is moved, durably.
    done: (u64, u64),
    /// The same with the batch that is being made.
    ahead: (u64, u64),
    /// The segment is finished when that batch is durable.
    finishes: bool,
    /// A file does not do as it should: no more cleaning until a restart tells what is up.
    broken: bool,
}

impl Cleaner {
    /// Whether there is enough to gain; up to `slack` superseded bytes never are.
    pub fn wanted(&self, log: &Log, live: u64, slack: u64) -> bool {
        let total = log.total();
        !self.broken && log.oldest().is_some() && total.saturating_sub(live) > live.max(slack)
    }

    /// Adds about `budget` bytes of moved records to a batch. `pending` tells whether a key is
    /// written by that same batch and need not be moved.
    pub fn step(
        &mut self,
        log: &Log,
        cache: &WatchCache,
        pending: impl Fn(&Key) -> bool,
        batch: &mut Batch,
        budget: usize,
    ) {
        let before = batch.len();
        if let Err(error) = self.try_step(log, cache, pending, batch, budget) {
            tracing::error!(%error, "cannot clean the log: a segment does not read back");
            batch.cut(before);
            self.broken = true;
            self.finishes = false;
        }
    }

    fn try_step(
        &mut self,
        log: &Log,
        cache: &WatchCache,
        pending: impl Fn(&Key) -> bool,
        batch: &mut Batch,
        budget: usize,
    ) -> io::Result<()> {
        let Some(segment) = log.oldest() else { return Ok(()) };
        let start = if self.done.0 == segment.number { self.done.1 } else { 0 };
        let mut reader = Reader::new(log.open(segment)?, segment, start);
        if start == 0 {
            reader.header()?;
        }
        let limit = batch.len() + budget;
        loop {
            match reader.next()? {
                Step::End => {
                    batch.mark(Kind::Oldest, segment.number + 1);
                    self.finishes = true;
                    break;
                }
                Step::Bad => return Err(io::Error::other(format!("segment {}", segment.number))),
                Step::Batch(_, bytes) => {
                    for record in records(bytes) {
                        let record = record.map_err(|_| io::Error::other("malformed record"))?;
                        if !matches!(record.kind, Kind::Added | Kind::Modified | Kind::Moved) {
                            continue;
                        }
                        let current =
                            cache.resource(record.resource).get(record.namespace, record.name);
                        let Some(entry) = current.filter(|e| e.revision == record.revision) else {
                            continue;
                        };
                        let key = (record.namespace, record.name);
                        if !pending(&Key::new(record.resource, key.0, key.1)) {
                            // From memory, not the file: its card may have been made anew.
                            batch.object(Kind::Moved, record.resource, key, &entry);
                        }
                    }
                }
            }
            if batch.len() >= limit {
                break;
            }
        }
        self.ahead = (segment.number, reader.offset());
        Ok(())
    }

    /// The batch is durable: drops the segment if that was its last part.
    pub fn commit(&mut self, log: &mut Log) {
        self.done = self.ahead;
        if std::mem::take(&mut self.finishes)
            && let Err(error) = log.drop_oldest()
        {
            tracing::error!(%error, "cannot remove a log segment: no more cleaning until a restart");
            self.broken = true;
        }
    }

    /// The batch is not durable: forgets it.
    pub fn abort(&mut self) {
        self.ahead = self.done;
        self.finishes = false;
    }
}
