//! The recent events of one resource, in revision order, bounded.
//!
//! Events have sequence numbers; a watcher's cursor is the number of the next event it wants. What
//! falls off the front raises `floor`, the revision from which the history is whole.
//!
//! Not here: locks, waiting.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

#[derive(Debug)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The sequence number of the first event.
    first: u64,
    /// Every event after this revision is here.
    floor: u64,
    /// Bytes that only the ring holds.
    retained: usize,
}

impl Ring {
    pub fn new(floor: u64) -> Self {
        Self { events: VecDeque::new(), first: 0, floor, retained: 0 }
    }

    pub fn floor(&self) -> u64 {
        self.floor
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// The sequence number that the next event gets.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Adds an event; returns the bytes it makes the ring hold.
    pub fn push(&mut self, event: Arc<Event>) -> usize {
        let bytes = event.retains();
        self.retained += bytes;
        self.events.push_back(event);
        bytes
    }

    /// Drops the oldest event; returns the bytes set free.
    pub fn pop(&mut self) -> Option<usize> {
        let event = self.events.pop_front()?;
        let bytes = event.retains();
        self.first += 1;
        self.floor = event.revision;
        self.retained -= bytes;
        if self.events.capacity() > 64 && self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
        Some(bytes)
    }

    /// Drops the events up to a revision; returns the bytes set free.
    pub fn compact(&mut self, revision: u64) -> usize {
        let mut freed = 0;
        while self.events.front().is_some_and(|e| e.revision <= revision) {
            freed += self.pop().unwrap_or(0);
        }
        self.floor = self.floor.max(revision);
        freed
    }

    /// The sequence number of the first event after a revision.
    pub fn cursor_after(&self, revision: u64) -> u64 {
        self.first + self.events.partition_point(|e| e.revision <= revision) as u64
    }

    /// The events from a sequence number on; `None` if some of them are gone.
    pub fn from(&self, cursor: u64) -> Option<impl DoubleEndedIterator<Item = &Arc<Event>>> {
        let skip = usize::try_from(cursor.checked_sub(self.first)?).ok()?;
        Some(self.events.range(skip.min(self.events.len())..))
    }
}
