//! A watcher of a resource: of everything, by a cursor into the ring of events, or of a part, by a
//! feed of its own.
//!
//! It slows nobody down; if it reads so slowly that events it has not seen are given up, it is told
//! [`Lagged`] and must list anew.
//!
//! Not here: selectors, frames on the wire, bookmark intervals.

use std::sync::Arc;

use super::event::Event;
use super::interest::{Feed, Interest};
use super::resource::ResourceCache;
use crate::error::Lagged;

/// Events handed out at once. Bounds how long a reader holds the resource's lock.
const BATCH: usize = 512;

/// Reads a resource's events in revision order, none left out.
#[derive(Debug)]
pub struct Watcher {
    cache: Arc<ResourceCache>,
    source: Source,
    seen: u64,
}

#[derive(Debug)]
enum Source {
    /// The number of the next event in the ring.
    Ring(u64),
    Feed(Interest, Arc<Feed>),
}

impl Watcher {
    pub(super) fn of_all(cache: Arc<ResourceCache>, cursor: u64, seen: u64) -> Self {
        Self { cache, source: Source::Ring(cursor), seen }
    }

    pub(super) fn of_part(
        cache: Arc<ResourceCache>,
        interest: Interest,
        feed: Arc<Feed>,
        seen: u64,
    ) -> Self {
        Self { cache, source: Source::Feed(interest, feed), seen }
    }

    /// The next events, at least one; waits for it. Dropping the future loses nothing.
    pub async fn next_batch(&mut self) -> Result<Vec<Arc<Event>>, Lagged> {
        let cache = self.cache.clone();
        loop {
            let events = self.try_next()?;
            if !events.is_empty() {
                return Ok(events);
            }
            match &self.source {
                Source::Ring(cursor) => {
                    let mut changed = std::pin::pin!(cache.changed().notified());
                    changed.as_mut().enable();
                    if cache.end() <= *cursor {
                        changed.await;
                    }
                }
                // Its only waiter: a wake-up that comes before the wait is kept for it.
                Source::Feed(_, feed) => feed.changed.notified().await,
            }
        }
    }

    /// The events that are there, possibly none.
    pub fn try_next(&mut self) -> Result<Vec<Arc<Event>>, Lagged> {
        let lagged = Lagged { seen: self.seen };
        let (mut events, complete) = match &mut self.source {
            Source::Ring(cursor) => {
                if self.cache.end() <= *cursor {
                    return Ok(Vec::new());
                }
                let (events, complete) = self.cache.events(*cursor, BATCH).ok_or(lagged)?;
                *cursor += events.len() as u64;
                (events, complete)
            }
            Source::Feed(_, feed) => {
                let events = feed.take(BATCH).ok_or(lagged)?;
                let complete = events.last().map_or(0, |last| last.revision);
                (events, complete)
            }
        };
        // A watch from a revision that is yet to come skips what precedes it.
        if events.first().is_some_and(|first| first.revision <= self.seen) {
            events.retain(|event| event.revision > self.seen);
        }
        self.seen = self.seen.max(complete);
        Ok(events)
    }

    /// The revision up to which this watcher has been given every event that concerns it, which is
    /// what a bookmark may say. Moves on with all other writes too.
    pub fn progress(&mut self) -> u64 {
        // Only where nothing is waiting: a bookmark must not overtake events.
        let complete = match &self.source {
            Source::Ring(cursor) => self.cache.complete_at(*cursor),
            Source::Feed(_, feed) => self.cache.complete_if(|| feed.is_drained()),
        };
        self.seen = self.seen.max(complete.unwrap_or(0));
        self.seen
    }

    /// The cache it watches.
    pub fn cache(&self) -> &Arc<ResourceCache> {
        &self.cache
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Source::Feed(interest, feed) = &self.source {
            self.cache.end_feed(interest, feed);
        }
    }
}
