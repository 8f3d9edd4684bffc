//! The store as the server holds it: writes go to the engine, reads to the watch cache.
//!
//! Not here: either of the two.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::Entry;

use crate::cache::resource::ResourceCache;
use crate::cache::{Limits, WatchCache};
use crate::engine::log::LogEngine;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Engine, Size};
use crate::error::{CommitError, OpenError};
use crate::write::Write;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The data directory; made if it is missing.
    pub dir: PathBuf,
    /// How much history stays in memory.
    pub limits: Limits,
    /// How often history older than this is dropped; none: only when [`Store::compact`] is called.
    /// Upstream's default is five minutes, which keeps five to ten minutes of history.
    pub compaction_interval: Option<Duration>,
    /// How cards are made; none: the stored ones are used as they are.
    pub recard: Option<Recard>,
}

/// Makes the index cards of stored objects anew where they were written under another version: after
/// an upgrade that lets a kind be selected by a further field, say.
#[derive(Clone, Copy, Debug)]
pub struct Recard {
    /// The version of the cards that `make` and the callers of [`Store::commit`] make.
    pub version: u32,
    /// The card of an object of a qualified resource; none: keep the stored one.
    pub make: fn(&str, &[u8]) -> Option<api::Card>,
}

impl Options {
    /// The defaults, in a directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            limits: Limits::default(),
            compaction_interval: Some(Duration::from_secs(300)),
            recard: None,
        }
    }
}

/// The datastore. Clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    cache: Arc<WatchCache>,
    engine: Box<dyn Engine>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({} at revision {})", self.0.engine.name(), self.revision())
    }
}

impl Store {
    /// Opens the embedded engine in a directory, which it locks, and loads everything into the watch
    /// cache. Inside a tokio runtime it also compacts by itself.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let cache = Arc::new(WatchCache::new(options.limits));
        let engine = Box::new(LogEngine::open(&options.dir, cache.clone(), options.recard)?);
        Ok(Self::with_engine(cache, engine, options.compaction_interval))
    }

    /// A store without a disk, for tests; it compacts only when told.
    pub fn memory() -> Self {
        let cache = Arc::new(WatchCache::new(Limits::default()));
        let engine = Box::new(MemoryEngine::new(cache.clone()));
        Self::with_engine(cache, engine, None)
    }

    /// A store over any engine, which was opened over this cache.
    pub fn with_engine(
        cache: Arc<WatchCache>,
        engine: Box<dyn Engine>,
        compaction_interval: Option<Duration>,
    ) -> Self {
        let store = Self(Arc::new(Inner { cache, engine }));
        if let Some(interval) = compaction_interval {
            store.compact_every(interval);
        }
        store
    }

    /// Compacts to where the store was one interval ago, every interval, for as long as it is held.
    fn compact_every(&self, interval: Duration) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let weak = Arc::downgrade(&self.0);
        let mut target = self.revision();
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(interval).await;
                let Some(inner) = weak.upgrade() else { return };
                let now = inner.cache.revision();
                match inner.engine.compact(target).await {
                    Ok(()) => target = now,
                    Err(CommitError::Closed) => return,
                    Err(error) => tracing::warn!(%error, revision = target, "compaction failed"),
                }
            }
        });
    }

    /// The last committed revision; everything up to it is visible. An empty store is at 1.
    pub fn revision(&self) -> u64 {
        self.0.cache.revision()
    }

    /// The revision up to which history was dropped.
    pub fn compacted(&self) -> u64 {
        self.0.cache.compacted()
    }

    /// Waits until everything up to `revision` is visible.
    pub async fn wait_for(&self, revision: u64) {
        self.0.cache.wait_for(revision).await;
    }

    /// Waits until everything acknowledged by any server before this call is visible, and returns
    /// that revision: the barrier of a consistent read.
    pub async fn sync(&self) -> Result<u64, CommitError> {
        let latest = self.0.engine.latest().await?;
        self.wait_for(latest).await;
        Ok(latest)
    }

    /// Writes one object if its condition holds. The entry is durable and visible in the cache when
    /// this resolves. Dropping the future does not undo the write.
    pub async fn commit(&self, write: Write) -> Result<Arc<Entry>, CommitError> {
        write.check()?;
        self.0.engine.commit(write).await
    }

    /// The cache of a resource, by its qualified name (`pods`, `deployments.apps`); made on demand.
    pub fn resource(&self, qualified: &str) -> Arc<ResourceCache> {
        self.0.cache.resource(qualified)
    }

    /// All resources that were ever asked for or written.
    pub fn resources(&self) -> Vec<Arc<ResourceCache>> {
        self.0.cache.resources()
    }

    /// Drops history up to a revision: older reads and watches then expire.
    pub async fn compact(&self, revision: u64) -> Result<(), CommitError> {
        self.0.engine.compact(revision).await
    }

    /// What the data takes on disk.
    pub fn size(&self) -> Size {
        self.0.engine.size()
    }

    /// Whether writes work now; else why not.
    pub fn health(&self) -> Result<(), CommitError> {
        self.0.engine.health()
    }

    /// Completes the queued writes and releases the directory. Reads go on; writes fail.
    pub async fn close(self) {
        self.0.engine.close().await;
    }
}
