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
        let (first, second) = events(change, self.cache.revision() + 1, current, &mut interner);
        let last = second.as_ref().unwrap_or(&first);
        let (entry, revision) = (last.entry.clone(), last.revision);
        let both = std::iter::once(first).chain(second);
        self.cache.apply(both.map(|event| (resource.clone(), event)).collect(), revision);
        Ok(entry)
    }
}

/// The events of a change whose condition holds: one at `revision`, some changes a second one at the
/// next.
pub(super) fn events(
    change: Change,
    revision: u64,
    current: Option<Arc<Entry>>,
    interner: &mut Interner,
) -> (Arc<Event>, Option<Arc<Event>>) {
    let mut put = |bytes: &[u8], rv_at, mut card, current: Option<Arc<Entry>>| {
        interner.card(&mut card);
        let kind = if current.is_some() { EventKind::Modified } else { EventKind::Added };
        Arc::new(Event::build(kind, revision, (bytes, rv_at), card, current))
    };
    let removed = |bytes: &[u8], rv_at, revision, current: Option<Arc<Entry>>| {
        let card = current.as_ref().map(|e| e.card.clone()).unwrap_or_default();
        Arc::new(Event::build(EventKind::Deleted, revision, (bytes, rv_at), card, current))
    };
    match change {
        Change::Put { bytes, rv_at, card } => (put(&bytes, rv_at, card, current), None),
        Change::Delete { bytes, rv_at } => (removed(&bytes, rv_at, revision, current), None),
        Change::MarkAndDelete { bytes, rv_at, card } => {
            let marked = put(&bytes, rv_at, card, current);
            let last = removed(&bytes, rv_at, revision + 1, Some(marked.entry.clone()));
            (marked, Some(last))
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
