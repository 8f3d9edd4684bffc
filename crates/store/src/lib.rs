//! The datastore: revisions, conditional writes, compaction, and the watch cache that serves every
//! read.
//!
//! A write goes `Store::commit` → [`engine::Engine`] (durable, revision assigned) → watch cache →
//! the caller's answer, in that order: who wrote can read it. Reads, lists and watches are answered
//! from the watch cache and never touch the disk.
//!
//! Not here: what objects mean, how they are encoded, or HTTP.

pub mod cache;
pub mod engine;
mod error;
mod metrics;
mod store;
mod write;

pub use cache::event::{Event, EventKind};
pub use cache::interest::Interest;
pub use cache::resource::ResourceCache;
pub use cache::snapshot::Snapshot;
pub use cache::watcher::Watcher;
pub use engine::log::holder;
pub use error::{CommitError, Expired, Lagged, OpenError};
pub use store::{Options, Recard, Store};
pub use write::{Change, Expect, Write};
