//! The watch cache: all committed objects and the recent events, in memory.
//!
//! One writer (the engine, through [`WatchCache::apply`]), any number of readers. Per resource: an
//! ordered copy-on-write [`tree`] of entries and a bounded [`ring`] of events. A reader takes a
//! resource's lock only to clone one pointer; a watcher holds a cursor into the ring.
//!
//! Consistency: the engine hands over batches in revision order, and all of a batch's events of one
//! resource are applied under one lock; `published` moves only after the whole batch is in. So what
//! a reader sees under a resource's lock is complete for every revision from that resource's last
//! event to `published`, whichever is higher.
//!
//! Not here: durability, revisions, conditions.

pub mod event;
pub mod interest;
mod intern;
pub mod resource;
mod ring;
pub mod snapshot;
mod tree;
pub mod watcher;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;
use tokio::sync::Notify;

use event::Event;
pub use intern::Interner;
use resource::ResourceCache;

/// How much history is kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events a resource keeps at most.
    pub events: usize,
    /// Bytes that only history holds (superseded and deleted objects), over all resources. Beyond it
    /// the resources that are being written give up their oldest events.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 100_000, bytes: 32 << 20 }
    }
}

/// State that all resources share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Every event up to here is in the caches.
    published: AtomicU64,
    /// History up to here is gone, for all resources.
    compacted: AtomicU64,
    /// Bytes held by history alone.
    retained: AtomicUsize,
    limits: Limits,
    /// Wakes those who wait for a revision.
    advanced: Notify,
}

/// The caches of all resources.
#[derive(Debug)]
pub struct WatchCache {
    shared: Arc<Shared>,
    resources: RwLock<HashMap<Arc<str>, Arc<ResourceCache>>>,
}

/// One committed change, with the cache it belongs to.
pub type Applied = (Arc<ResourceCache>, Arc<Event>);

impl WatchCache {
    /// An empty cache: revision 1, nothing compacted.
    pub fn new(limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                published: AtomicU64::new(1),
                compacted: AtomicU64::new(0),
                retained: AtomicUsize::new(0),
                limits,
                advanced: Notify::new(),
            }),
            resources: RwLock::default(),
        }
    }

    /// The revision up to which everything is visible.
    pub fn revision(&self) -> u64 {
        self.shared.published.load(Ordering::Acquire)
    }

    /// The revision up to which history is gone.
    pub fn compacted(&self) -> u64 {
        self.shared.compacted.load(Ordering::Acquire)
    }

    /// Waits until everything up to `revision` is visible.
    pub async fn wait_for(&self, revision: u64) {
        loop {
            if self.revision() >= revision {
                return;
            }
            let mut advanced = std::pin::pin!(self.shared.advanced.notified());
            advanced.as_mut().enable();
            if self.revision() >= revision {
                return;
            }
            advanced.await;
        }
    }

    /// The cache of a resource, by its qualified name; made on demand.
    pub fn resource(&self, qualified: &str) -> Arc<ResourceCache> {
        if let Some(found) = self.resources.read().get(qualified) {
            return found.clone();
        }
        let mut resources = self.resources.write();
        if let Some(found) = resources.get(qualified) {
            return found.clone();
        }
        let name: Arc<str> = qualified.into();
        // A resource without a cache had no event since the history began.
        let made = Arc::new(ResourceCache::new(name.clone(), self.shared.clone()));
        resources.insert(name, made.clone());
        made
    }

    /// All resources that have a cache.
    pub fn resources(&self) -> Vec<Arc<ResourceCache>> {
        self.resources.read().values().cloned().collect()
    }

    /// Takes over a durable batch, in revision order, up to `revision`. For engines only; one call
    /// at a time.
    pub fn apply(&self, batch: Vec<Applied>, revision: u64) {
        let mut groups: Vec<(Arc<ResourceCache>, Vec<Arc<Event>>)> = Vec::new();
        for (cache, event) in batch {
            match groups.iter_mut().find(|(c, _)| Arc::ptr_eq(c, &cache)) {
                Some((_, events)) => events.push(event),
                None => groups.push((cache, vec![event])),
            }
        }
        let applied: Vec<_> = groups
            .into_iter()
            .map(|(cache, events)| {
                let fed = cache.apply(events);
                (cache, fed)
            })
            .collect();
        self.shared.published.fetch_max(revision, Ordering::AcqRel);
        for (cache, fed) in &applied {
            cache.wake(fed);
        }
        self.shared.advanced.notify_waiters();
    }

    /// Drops the history up to `revision`. For engines only.
    pub fn compact(&self, revision: u64) {
        let before = self.shared.compacted.fetch_max(revision, Ordering::AcqRel);
        if revision <= before {
            return;
        }
        for cache in self.resources() {
            cache.compact(revision);
        }
    }

    /// Bytes that only history holds.
    pub fn retained(&self) -> usize {
        self.shared.retained.load(Ordering::Relaxed)
    }
}
