//! How the store fails.
//!
//! Not here: how the API server words these for its clients.

use std::path::PathBuf;
use std::sync::Arc;

use api::Entry;

/// Why a write did not happen.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The condition did not hold; with the state that broke it.
    #[error("the object {}", match .0 { Some(e) => format!("is at revision {}", e.revision), None => "does not exist".to_owned() })]
    Conflict(Option<Arc<Entry>>),
    /// No space left for the data. Nothing acknowledged is affected; writes work again by themselves
    /// when there is space.
    #[error("no space left in {dir}: free some and retry; nothing committed is lost")]
    Full {
        /// The data directory.
        dir: PathBuf,
    },
    /// The engine cannot write now (an I/O error, a lost connection). Retrying later may help.
    #[error("the datastore cannot write: {0}")]
    Unavailable(String),
    /// The write itself is malformed.
    #[error("invalid write: {0}")]
    Invalid(String),
    /// The store was closed.
    #[error("the datastore is closed")]
    Closed,
}

/// The revision asked for is no longer (completely) in memory: read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is too old: the oldest kept is {oldest}")]
pub struct Expired {
    /// What was asked for.
    pub requested: u64,
    /// The oldest revision that would have worked.
    pub oldest: u64,
}

/// A watcher fell behind further than events are kept; it must read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("watcher too slow: events after revision {seen} are gone")]
pub struct Lagged {
    /// The last revision it has seen.
    pub seen: u64,
}

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else holds it.
    #[error(
        "data directory {dir} is in use by {holder}: stop that one, or choose another directory"
    )]
    Locked {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, as `process 4711`.
        holder: String,
    },
    /// We may not create or write files there.
    #[error(
        "data directory {dir} is not writable ({source}): check its owner and mode, or choose another directory"
    )]
    NotWritable {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No space left, not even to open.
    #[error("no space left for data directory {dir}: free some and start again")]
    Full {
        /// The directory.
        dir: PathBuf,
    },
    /// Committed data is damaged or missing. Nothing was changed.
    #[error(
        "data file {path} is damaged at byte {offset} ({why}): restore it from a backup; nothing was changed"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// The data was written by a newer release.
    #[error(
        "data file {path} has format {version}, which this release does not know: use the release that wrote it, or a newer one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// Anything else the system refused.
    #[error("data directory {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
