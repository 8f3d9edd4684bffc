//! The engine without a disk: for tests and simulations. Commits happen inside the call, on the
//! caller's thread, so a seeded simulation replays exactly.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::Entry;
use parking_lot::Mutex;

use super::{BoxFuture, Engine, Size};
use crate::cache::event::{Event, EventKind};
use crate::cache::{Interner, WatchCache};
use crate::error::CommitError;
use crate::write::{Change, Write};

/// Keeps everything in the watch cache alone.
#[derive(Debug)]
pub struct MemoryEngine {
    cache: Arc<WatchCache>,
    /// Held over a whole commit: one writer at a time.
    interner: Mutex<Interner>,
    closed: AtomicBool,
}

impl MemoryEngine {
    /// An engine over an empty cache.
    pub fn new(cache: Arc<WatchCache>) -> Self {
        Self { cache, interner: Mutex::default(), closed: AtomicBool::new(false) }
    }

    fn commit_now(&self, write: Write) -> Result<Arc<Entry>, CommitError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CommitError::Closed);
        }
        let mut interner = self.interner.lock();
        let Write { key, expect, change } = write;
        let resource = self.cache.resource(&key.resource);
        let current = resource.get(&key.namespace, &key.name);
        if !expect.holds(current.as_deref(), &change) {
            return Err(CommitError::Conflict(current));
        }
        let revision = self.cache.revision() + 1;
        let event = Arc::new(event(change, revision, current, &mut interner));
        let entry = event.entry.clone();
        self.cache.apply(vec![(resource, event)], revision);
        Ok(entry)
    }
}

/// The event of a change whose condition holds.
pub(super) fn event(
    change: Change,
    revision: u64,
    current: Option<Arc<Entry>>,
    interner: &mut Interner,
) -> Event {
    match change {
        Change::Put { bytes, rv_at, mut card } => {
            interner.card(&mut card);
            let kind = if current.is_some() { EventKind::Modified } else { EventKind::Added };
            Event::build(kind, revision, (&bytes, rv_at), card, current)
        }
        Change::Delete { bytes, rv_at } => {
            let card = current.as_ref().map(|e| e.card.clone()).unwrap_or_default();
            Event::build(EventKind::Deleted, revision, (&bytes, rv_at), card, current)
        }
    }
}

impl Engine for MemoryEngine {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn commit(&self, write: Write) -> BoxFuture<'static, Result<Arc<Entry>, CommitError>> {
        let result = self.commit_now(write);
        Box::pin(std::future::ready(result))
    }

    fn latest(&self) -> BoxFuture<'static, Result<u64, CommitError>> {
        Box::pin(std::future::ready(Ok(self.cache.revision())))
    }

    fn compact(&self, revision: u64) -> BoxFuture<'static, Result<(), CommitError>> {
        self.cache.compact(revision.min(self.cache.revision()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn size(&self) -> Size {
        Size::default()
    }

    fn health(&self) -> Result<(), CommitError> {
        if self.closed.load(Ordering::Acquire) { Err(CommitError::Closed) } else { Ok(()) }
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        Box::pin(std::future::ready(()))
    }
}
