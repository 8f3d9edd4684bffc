//! One Kubernetes client over any transport: typed requests, watches, informers, work queues, events,
//! leader election, and the framed streams of exec, attach and port-forward.
//!
//! Not here: what the objects mean (`api`), and the in-process transport itself (`server` has it).

pub mod client;
pub mod error;
pub mod head;
pub mod https;
pub mod informer;
pub mod leader;
pub mod metrics;
pub mod options;
pub mod queue;
pub mod recorder;
pub mod stream;
pub mod testing;
pub mod transport;
pub mod watch;

pub use client::{Client, List};
pub use error::Error;
pub use informer::{Delta, Event, Index, Informer, Informers, Subscription};
pub use options::{DeleteOptions, ListOptions, Patch, Precondition, Propagation};
pub use queue::workers::{Requeue, run_workers};
pub use queue::{Backoff, WorkQueue};
pub use recorder::{EventType, ObjectRef, Recorder};
pub use transport::{Body, Io, LocalEvent, LocalWatch, Transport, Upgraded};
pub use watch::{WatchEvent, WatchStream};

/// Tells a component to stop; children are made with `child_token`.
pub type Shutdown = tokio_util::sync::CancellationToken;

/// What requests return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
