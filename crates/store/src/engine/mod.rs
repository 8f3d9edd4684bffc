//! Storage engines: who makes writes durable and numbers them.
//!
//! An engine is given the watch cache when it is opened; it loads all objects into it, and from
//! then on hands every durable batch to [`WatchCache::apply`] in revision order, before it answers
//! the writes of that batch. The cache is what conditions are checked against where the engine
//! itself is the only writer; an engine over a shared database (etcd) lets the database check them
//! and follows its watch stream.
//!
//! Not here: reads.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use api::Entry;

use crate::error::CommitError;
use crate::write::Write;

pub mod log;
pub mod memory;

/// A future in a box, as engines return them.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What every engine can do.
pub trait Engine: Send + Sync + 'static {
    /// What it is, for logs: `embedded`, `memory`, `etcd`.
    fn name(&self) -> &'static str;

    /// Writes if the condition holds. When it resolves with an entry, that is durable and visible in
    /// the watch cache. Dropping the future does not undo the write.
    fn commit(&self, write: Write) -> BoxFuture<'static, Result<Arc<Entry>, CommitError>>;

    /// The newest revision of the database, for reads that must not be stale: whoever waits until
    /// the cache has reached it has seen every write acknowledged before the call.
    fn latest(&self) -> BoxFuture<'static, Result<u64, CommitError>>;

    /// Drops history up to a revision, on disk and in the cache.
    fn compact(&self, revision: u64) -> BoxFuture<'static, Result<(), CommitError>>;

    /// What the data takes.
    fn size(&self) -> Size;

    /// Whether writes work now; else why not.
    fn health(&self) -> Result<(), CommitError>;

    /// Completes what is queued, then releases everything. Later writes fail with `Closed`.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// What the data takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// On disk, everything counted.
    pub total: u64,
    /// Of these, what present objects take.
    pub live: u64,
}
