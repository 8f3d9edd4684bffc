//! The one writer: turns queued requests into a batch, makes it durable, shows it to the cache,
//! answers. Synchronous, so that tests drive it step by step.
//!
//! Not here: the thread and the queue.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use api::{Entry, Key};
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::clean::Cleaner;
use super::format::{Batch, Kind, record_len};
use super::recover::Recovered;
use super::segments::Log;
use crate::cache::event::{Event, EventKind};
use crate::cache::{Applied, Interner, WatchCache};
use crate::engine::Size;
use crate::engine::memory::events as events_of;
use crate::error::CommitError;
use crate::metrics;
use crate::write::Write;

/// Writes in a batch at most.
pub const BATCH_WRITES: usize = 1024;
/// Revisions that a batch uses at most: so far they jump after a crash, because so many may have been
/// given to writes that were lost unacknowledged.
const BATCH_REVISIONS: u64 = 2 * BATCH_WRITES as u64;
/// Bytes after which a batch takes no further write.
pub const BATCH_BYTES: usize = 4 << 20;
/// A larger buffer is given back.
const BUFFER_KEPT: usize = 256 << 10;
/// Bytes that cleaning adds to a batch at least.
const CLEAN_MIN: usize = 64 << 10;
/// Bytes that cleaning adds to a batch of its own.
const CLEAN_ALONE: usize = 1 << 20;

/// Sizes on disk.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// The smallest and the largest segment; between them it is a share of the data.
    pub segment: (u64, u64),
    /// Superseded bytes that are not worth cleaning up.
    pub slack: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { segment: (4 << 20, 64 << 20), slack: 8 << 20 }
    }
}

type Answer<T> = oneshot::Sender<Result<T, CommitError>>;

/// What the writer is asked to do.
pub enum Request {
    /// One conditional write.
    Write(Box<Write>, Answer<Arc<Entry>>),
    /// Drop history up to a revision.
    Compact(u64, Answer<()>),
}

/// What others may look at.
#[derive(Debug, Default)]
pub struct Status(Mutex<(Size, Option<CommitError>)>);

impl Status {
    /// What the data takes.
    pub fn size(&self) -> Size {
        self.0.lock().0
    }

    /// Why the last batch failed, if it did.
    pub fn health(&self) -> Result<(), CommitError> {
        self.0.lock().1.clone().map_or(Ok(()), Err)
    }
}

/// The writer's state.
pub struct Core {
    dir: PathBuf,
    tuning: Tuning,
    cache: Arc<WatchCache>,
    interner: Interner,
    log: Log,
    cleaner: Cleaner,
    /// The last revision used, durably.
    revision: u64,
    /// Bytes of the records of all present objects.
    live: u64,
    /// The revision to begin at, until the log says that it was opened.
    opening: Option<u64>,
    batch: Batch,
    status: Arc<Status>,
}

/// A write that waits for the batch.
enum Waiting {
    Written(Answer<Arc<Entry>>, Arc<Entry>),
    /// Refused because of a write in the same batch.
    Refused(Answer<Arc<Entry>>, Option<Arc<Entry>>),
    Compacted(Answer<()>, u64),
}

impl Core {
    /// The writer over a recovered log. Tries at once to note the opening; where the disk is full
    /// that happens with the first write that succeeds.
    pub fn new(
        dir: PathBuf,
        recovered: Recovered,
        cache: Arc<WatchCache>,
        tuning: Tuning,
    ) -> Result<Self, io::Error> {
        let Recovered { log, revision, clean, live, interner } = recovered;
        // Revisions that a crash may have swallowed are skipped, not used again.
        let skip = if clean { 0 } else { BATCH_REVISIONS };
        let mut core = Self {
            dir,
            tuning,
            cache,
            interner,
            log,
            cleaner: Cleaner::default(),
            revision,
            live,
            opening: Some(revision + skip),
            batch: Batch::default(),
            status: Arc::default(),
        };
        match core.note_opening() {
            Err(error) if is_full(&error) => drop(core.note(Some(&error))),
            other => other?,
        }
        core.publish_size();
        Ok(core)
    }

    /// What others may look at.
    pub fn status(&self) -> Arc<Status> {
        self.status.clone()
    }

    fn note_opening(&mut self) -> io::Result<()> {
        let Some(revision) = self.opening else { return Ok(()) };
        let mut batch = Batch::default();
        batch.mark(Kind::Opened, 0);
        self.log.append(&mut batch, self.revision, revision, self.roll_at())?;
        self.opening = None;
        self.revision = revision;
        self.cache.apply(Vec::new(), revision);
        Ok(())
    }

    fn roll_at(&self) -> u64 {
        (self.live / 32).clamp(self.tuning.segment.0, self.tuning.segment.1)
    }

    /// Carries requests out, as one durable batch.
    pub fn process(&mut self, requests: Vec<Request>) {
        let mut batch = std::mem::take(&mut self.batch);
        let mut events: Vec<Applied> = Vec::with_capacity(requests.len());
        let mut waiting = Vec::with_capacity(requests.len());
        // The state of keys that this batch writes.
        let mut pending: HashMap<Key, Option<Arc<Entry>>> = HashMap::new();

        if let Err(error) = self.note_opening() {
            let error = self.note(Some(&error));
            requests.into_iter().for_each(|request| request.fail(&error));
            self.batch = batch;
            return;
        }
        let mut revision = self.revision;
        for request in requests {
            let (write, answer) = match request {
                Request::Write(write, answer) => (write, answer),
                Request::Compact(target, answer) => {
                    let target = target.min(self.revision);
                    if target > self.cache.compacted() {
                        batch.mark(Kind::Compacted, target);
                    }
                    waiting.push(Waiting::Compacted(answer, target));
                    continue;
                }
            };
            let Write { key, expect, change } = *write;
            let resource = self.cache.resource(&key.resource);
            let known = pending.get(&key).cloned();
            let in_batch = known.is_some();
            let current = known.unwrap_or_else(|| resource.get(&key.namespace, &key.name));
            if !expect.holds(current.as_deref(), &change) {
                if in_batch {
                    waiting.push(Waiting::Refused(answer, current));
                } else {
                    let _ = answer.send(Err(CommitError::Conflict(current)));
                }
                continue;
            }
            let (first, second) = events_of(change, revision + 1, current, &mut self.interner);
            let last = second.as_ref().unwrap_or(&first);
            revision = last.revision;
            waiting.push(Waiting::Written(answer, last.entry.clone()));
            let state = (last.kind != EventKind::Deleted).then(|| last.entry.clone());
            for event in std::iter::once(first).chain(second) {
                let kind = match event.kind {
                    EventKind::Added => Kind::Added,
                    EventKind::Modified => Kind::Modified,
                    EventKind::Deleted => Kind::Deleted,
                };
                batch.object(kind, &key.resource, (&key.namespace, &key.name), &event.entry);
                events.push((resource.clone(), event));
            }
            pending.insert(key, state);
        }
        if self.cleaner.wanted(&self.log, self.live, self.tuning.slack) {
            let budget = (2 * batch.len()).max(CLEAN_MIN);
            let written = |key: &Key| pending.contains_key(key);
            self.cleaner.step(&self.log, &self.cache, written, &mut batch, budget);
        }

        let durable = self.append(&mut batch, revision);
        self.keep(batch);
        match durable {
            Ok(()) => {
                metrics::BATCH_WRITES.observe(waiting.len() as f64);
                for (resource, event) in &events {
                    self.account(resource.name(), event);
                }
                self.cache.apply(events, revision);
                waiting.into_iter().for_each(|waiting| waiting.done(&self.cache));
            }
            Err(error) => waiting.into_iter().for_each(|waiting| waiting.fail(&error)),
        }
        self.publish_size();
    }

    /// Whether there is work without requests.
    pub fn wants_cleaning(&self) -> bool {
        let wanted = self.cleaner.wanted(&self.log, self.live, self.tuning.slack);
        wanted && self.status.health().is_ok()
    }

    /// Cleans a step while nobody writes.
    pub fn clean(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.cleaner.step(&self.log, &self.cache, |_| false, &mut batch, CLEAN_ALONE);
        let _ = self.append(&mut batch, self.revision);
        self.keep(batch);
        self.publish_size();
    }

    /// Keeps a batch's buffer for the next one, unless it is larger than usual.
    fn keep(&mut self, mut batch: Batch) {
        if batch.len() <= BUFFER_KEPT {
            batch.cut(0);
            self.batch = batch;
        }
    }

    /// Notes that the log ends in order.
    pub fn close(&mut self) {
        let mut batch = Batch::default();
        batch.mark(Kind::Closed, 0);
        // Without the note the next opening only skips some revisions.
        if let Err(error) = self.append(&mut batch, self.revision) {
            tracing::warn!(%error, "could not note the orderly close");
        }
    }

    fn append(&mut self, batch: &mut Batch, revision: u64) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        let timer = metrics::SYNC_SECONDS.start_timer();
        let result = self.log.append(batch, self.revision, revision, self.roll_at());
        timer.observe_duration();
        match result {
            Ok(()) => {
                self.revision = revision;
                self.cleaner.commit(&mut self.log);
                self.note(None);
                Ok(())
            }
            Err(error) => {
                self.cleaner.abort();
                Err(self.note(Some(&error)))
            }
        }
    }

    fn account(&mut self, resource: &str, event: &Event) {
        if let Some(previous) = &event.previous {
            self.live -= record_len(resource, previous);
        }
        if event.kind != EventKind::Deleted {
            self.live += record_len(resource, &event.entry);
        }
    }

    /// Remembers whether writing works; says so in the log once.
    fn note(&self, error: Option<&io::Error>) -> CommitError {
        let mut status = self.status.0.lock();
        let Some(error) = error else {
            if status.1.take().is_some() {
                tracing::info!(dir = %self.dir.display(), "the datastore can write again");
            }
            return CommitError::Closed;
        };
        let typed = if is_full(error) {
            CommitError::Full { dir: self.dir.clone() }
        } else {
            CommitError::Unavailable(format!("{}: {error}", self.dir.display()))
        };
        if status.1.is_none() {
            tracing::error!(error = %typed, "the datastore cannot write");
        }
        status.1 = Some(typed.clone());
        typed
    }

    fn publish_size(&self) {
        let size = Size { total: self.log.total(), live: self.live };
        self.status.0.lock().0 = size;
        metrics::SIZE.set(i64::try_from(size.total).unwrap_or(i64::MAX));
        metrics::LIVE.set(i64::try_from(size.live).unwrap_or(i64::MAX));
    }
}

/// Whether the disk (or the quota) is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Request {
    /// Answers with an error.
    pub fn fail(self, error: &CommitError) {
        match self {
            Self::Write(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Compact(_, answer) => drop(answer.send(Err(error.clone()))),
        }
    }

    /// Bytes it adds to a batch, about.
    pub fn len(&self) -> usize {
        match self {
            Self::Write(write, _) => write.change.bytes().len(),
            Self::Compact(..) => 0,
        }
    }
}

impl Waiting {
    fn done(self, cache: &WatchCache) {
        match self {
            Self::Written(answer, entry) => drop(answer.send(Ok(entry))),
            Self::Refused(answer, state) => drop(answer.send(Err(CommitError::Conflict(state)))),
            Self::Compacted(answer, revision) => {
                cache.compact(revision);
                drop(answer.send(Ok(())));
            }
        }
    }

    fn fail(self, error: &CommitError) {
        match self {
            Self::Written(answer, _) | Self::Refused(answer, _) => {
                drop(answer.send(Err(error.clone())));
            }
            Self::Compacted(answer, _) => drop(answer.send(Err(error.clone()))),
        }
    }
}
