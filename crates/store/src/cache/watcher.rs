//! A watcher: a cursor into a resource's ring of events.
//!
//! It holds no events and slows nobody down; if it reads so slowly that the ring moves past its
//! cursor, it is told [`Lagged`] and must list anew.
//!
//! Not here: selectors, frames on the wire, bookmark intervals.

use std::sync::Arc;

use super::event::Event;
use super::resource::ResourceCache;
use crate::error::Lagged;

/// Events handed out at once. Bounds how long a reader holds the resource's lock.
const BATCH: usize = 512;

/// Reads a resource's events in revision order, none left out.
#[derive(Debug)]
pub struct Watcher {
    cache: Arc<ResourceCache>,
    cursor: u64,
    seen: u64,
}

impl Watcher {
    pub(super) fn new(cache: Arc<ResourceCache>, cursor: u64, seen: u64) -> Self {
        Self { cache, cursor, seen }
    }

    /// The next events, at least one; waits for it. Dropping the future loses nothing.
    pub async fn next_batch(&mut self) -> Result<Vec<Arc<Event>>, Lagged> {
        let cache = self.cache.clone();
        loop {
            let events = self.try_next()?;
            if !events.is_empty() {
                return Ok(events);
            }
            let mut changed = std::pin::pin!(cache.changed().notified());
            changed.as_mut().enable();
            if cache.end() <= self.cursor {
                changed.await;
            }
        }
    }

    /// The events that are there, possibly none.
    pub fn try_next(&mut self) -> Result<Vec<Arc<Event>>, Lagged> {
        if self.cache.end() <= self.cursor {
            return Ok(Vec::new());
        }
        let Some((mut events, complete)) = self.cache.events(self.cursor, BATCH) else {
            return Err(Lagged { seen: self.seen });
        };
        self.cursor += events.len() as u64;
        // A watch from a revision that is yet to come skips what precedes it.
        if events.first().is_some_and(|first| first.revision <= self.seen) {
            events.retain(|event| event.revision > self.seen);
        }
        self.seen = self.seen.max(complete);
        Ok(events)
    }

    /// The revision up to which this watcher has been given every event of its resource, which is
    /// what a bookmark may say. Moves on with writes to other resources too.
    pub fn progress(&mut self) -> u64 {
        // Only where nothing is waiting: a bookmark must not overtake events.
        if self.cache.end() <= self.cursor {
            if let Some((events, complete)) = self.cache.events(self.cursor, 1) {
                if events.is_empty() {
                    self.seen = self.seen.max(complete);
                }
            }
        }
        self.seen
    }

    /// The cache it watches.
    pub fn cache(&self) -> &Arc<ResourceCache> {
        &self.cache
    }
}
