//! Opening a log: replay all batches into the watch cache, and find out where it ends.
//!
//! Only the last batch of the last segment may be incomplete: a batch is begun after the one before
//! it is durable. An incomplete one was never acknowledged and is cut off. Anything else that does
//! not read as written is damage, and reported instead of guessed at.
//!
//! Not here: writing.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use api::Entry;

use super::format::{Bad, HEADER, Head, Header, Kind, Record, decode_card, record_len, records};
use super::media::Media;
use super::segments::{Log, Reader, Segment, Step, file_name, segment_number};
use crate::cache::event::{Event, EventKind};
use crate::cache::resource::ResourceCache;
use crate::cache::{Interner, WatchCache};
use crate::store::Recard;

/// Why a log could not be opened.
#[derive(Debug)]
pub enum Fault {
    /// The system refused.
    Io(String, io::Error),
    /// A file is damaged: name, offset, why.
    Corrupt(String, u64, String),
    /// A file has an unknown format.
    Newer(String, u32),
}

/// A log read to its end.
pub struct Recovered {
    /// The files.
    pub log: Log,
    /// The last revision used.
    pub revision: u64,
    /// Whether the last act was an orderly close.
    pub clean: bool,
    /// Bytes of the records of all present objects.
    pub live: u64,
    /// The texts that loaded cards share.
    pub interner: Interner,
}

struct Replay<'a> {
    cache: &'a WatchCache,
    interner: Interner,
    recard: Option<Recard>,
    /// The version of the cards in this segment.
    cards: u32,
    live: u64,
    revision: u64,
    /// The batch expected next; unknown before the first.
    next: Option<u64>,
    clean: bool,
    /// The lowest segment that must be there.
    oldest: u64,
    /// The cache of the last record: neighbours often share it.
    resource: Option<Arc<ResourceCache>>,
}

/// Reads everything into an empty cache.
pub fn recover(
    media: Box<dyn Media>,
    cache: &WatchCache,
    recard: Option<Recard>,
) -> Result<Recovered, Fault> {
    let cards = recard.map_or(0, |recard| recard.version);
    let listed = media.list().map_err(|e| Fault::Io(String::new(), e))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut replay = Replay {
        cache,
        interner: Interner::default(),
        recard,
        cards,
        live: 0,
        revision: 1,
        next: None,
        clean: true,
        oldest: 0,
        resource: None,
    };
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut tail = None;
    for (index, &number) in numbers.iter().enumerate() {
        let name = file_name(number);
        let failed = |e| Fault::Io(name.clone(), e);
        let corrupt = |offset, why: &str| Fault::Corrupt(name.clone(), offset, why.to_owned());
        if let Some(before) = segments.back().filter(|before| before.number + 1 != number) {
            let why = format!("segment {} should come before it and is missing", before.number + 1);
            return Err(corrupt(0, &why));
        }
        let last = index + 1 == numbers.len();
        let file = media.open(&name).map_err(failed)?;
        let len = file.size().map_err(failed)?;
        let mut reader = Reader::new(file, Segment { number, len }, 0);
        let header = match Header::decode(reader.header().map_err(failed)?, number) {
            Ok(header) => header,
            Err(Bad::Version(version)) => return Err(Fault::Newer(name, version)),
            Err(Bad::Damaged(why)) => {
                // A segment that was being made when the process died has no batch yet.
                if !last || reader.later_batch(0).map_err(failed)? {
                    return Err(corrupt(0, why));
                }
                media.remove(&name).map_err(failed)?;
                break;
            }
        };
        if segments.is_empty() {
            // The history before the first segment is gone.
            replay.revision = header.base;
            cache.apply(Vec::new(), header.base);
            cache.compact(header.base);
        }
        replay.cards = header.cards;
        let end = replay.segment(&mut reader, &name)?;
        let mut file = None;
        if end < len {
            let expected = replay.next.unwrap_or(0);
            if !last {
                return Err(corrupt(end, "a batch is damaged"));
            }
            if reader.later_batch(expected).map_err(failed)? {
                return Err(corrupt(end, "a batch is damaged, and later ones follow"));
            }
            tracing::info!(file = %name, offset = end, bytes = len - end, "cutting off an unfinished batch");
            let mut torn = reader.into_file();
            torn.truncate(end).and_then(|()| torn.sync()).map_err(failed)?;
            replay.clean = false;
            file = Some(torn);
        } else if last {
            file = Some(reader.into_file());
        }
        segments.push_back(Segment { number, len: end });
        tail = file.map(|file| (file, header.cards));
    }
    if let Some(first) = segments.front().filter(|first| first.number > replay.oldest.max(1)) {
        let name = file_name(first.number - 1);
        return Err(Fault::Corrupt(name, 0, "the segment is missing".to_owned()));
    }
    // After a last segment that never came to be, the one before it is the tail.
    if tail.is_none()
        && let Some(last) = segments.back()
    {
        let name = file_name(last.number);
        let file = media.open(&name).map_err(|e| Fault::Io(name, e))?;
        tail = Some((file, replay.cards));
    }
    let log = Log::new(media, segments, tail, replay.next.unwrap_or(1), cards);
    let Replay { revision, clean, live, interner, .. } = replay;
    Ok(Recovered { log, revision, clean, live, interner })
}

impl Replay<'_> {
    /// Replays a segment; returns where its last whole batch ends.
    fn segment(&mut self, reader: &mut Reader, name: &str) -> Result<u64, Fault> {
        loop {
            let offset = reader.offset();
            let corrupt = |why: &str| Fault::Corrupt(name.to_owned(), offset, why.to_owned());
            match reader.next().map_err(|e| Fault::Io(name.to_owned(), e))? {
                Step::End => return Ok(offset.max(HEADER as u64)),
                Step::Bad => return Ok(offset),
                Step::Batch(head, bytes) => {
                    if self.next.is_some_and(|next| next != head.number) {
                        return Err(corrupt("batches are missing before it"));
                    }
                    self.batch(head, bytes).map_err(corrupt)?;
                }
            }
        }
    }

    fn batch(&mut self, head: Head, bytes: &[u8]) -> Result<(), &'static str> {
        if head.revision < self.revision {
            return Err("revisions go backwards");
        }
        for record in records(bytes) {
            self.record(&record.map_err(why)?)?;
        }
        self.next = Some(head.number + 1);
        self.revision = head.revision;
        self.cache.apply(Vec::new(), head.revision);
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        self.clean = false;
        let kind = match record.kind {
            Kind::Added => EventKind::Added,
            Kind::Modified => EventKind::Modified,
            Kind::Deleted => EventKind::Deleted,
            Kind::Moved => return self.moved(record),
            Kind::Compacted => {
                self.cache.compact(record.revision);
                return Ok(());
            }
            Kind::Closed => {
                self.clean = true;
                return Ok(());
            }
            Kind::Opened => return Ok(()),
            Kind::Oldest => {
                self.oldest = record.revision;
                return Ok(());
            }
        };
        let resource = self.resource(record.resource);
        if record.revision <= resource.last_revision() {
            return Err("revisions go backwards");
        }
        let previous = resource.get(record.namespace, record.name);
        if let Some(previous) = &previous {
            self.live -= record_len(record.resource, previous);
        }
        // The state before it may have gone with a dropped segment: no whole event, then, and no
        // whole history before this point.
        let whole = previous.is_some() == (kind != EventKind::Added);
        let card = match (&previous, kind) {
            (Some(previous), EventKind::Deleted) => previous.card.clone(),
            (None, EventKind::Deleted) => {
                resource.compact(record.revision);
                return Ok(());
            }
            _ => self.card(record)?,
        };
        let event = Event::of_json(kind, record.revision, record.json, card, previous);
        if kind != EventKind::Deleted {
            self.live += record_len(record.resource, &event.entry);
        }
        if whole {
            self.cache.apply(vec![(resource, Arc::new(event))], 0);
        } else {
            resource.restore(event.entry);
            resource.compact(record.revision);
        }
        Ok(())
    }

    fn moved(&mut self, record: &Record<'_>) -> Result<(), &'static str> {
        let resource = self.resource(record.resource);
        if resource.get(record.namespace, record.name).is_some() {
            // Its own segment is still there.
            return Ok(());
        }
        let card = self.card(record)?;
        let json = bytes::Bytes::copy_from_slice(record.json);
        let entry = Arc::new(Entry { revision: record.revision, json, card });
        self.live += record_len(record.resource, &entry);
        resource.restore(entry);
        Ok(())
    }

    fn card(&mut self, record: &Record<'_>) -> Result<api::Card, &'static str> {
        let anew = match self.recard {
            Some(recard) if recard.version != self.cards => {
                (recard.make)(record.resource, record.json)
            }
            _ => None,
        };
        let of_the_key =
            |card: &api::Card| *card.namespace == *record.namespace && *card.name == *record.name;
        let mut card = match anew.filter(of_the_key) {
            Some(card) => card,
            None => decode_card(record).map_err(why)?,
        };
        self.interner.card(&mut card);
        Ok(card)
    }

    fn resource(&mut self, name: &str) -> Arc<ResourceCache> {
        match &self.resource {
            Some(resource) if &**resource.name() == name => resource.clone(),
            _ => {
                let resource = self.cache.resource(name);
                self.resource = Some(resource.clone());
                resource
            }
        }
    }
}

fn why(bad: Bad) -> &'static str {
    match bad {
        Bad::Damaged(why) => why,
        Bad::Version(_) => "another format",
    }
}
