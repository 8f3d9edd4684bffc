//! The embedded engine: an append-only log in segments, one writer thread, one sync a batch.
//!
//! The watch cache holds every object in memory anyway, so the disk only needs to be appended to and
//! read once, at the start: no index, no second cache, no merging of sorted files. All writes that
//! arrive while a batch is being synced form the next one.
//!
//! Files: `LOCK`, and segments `<number>.log` (see [`format`]). Opening replays them ([`recover`]);
//! superseded records go with the oldest segment ([`clean`]).
//!
//! Why a crash at any instruction is safe:
//! - a batch is one record run under one checksum: whole or not there;
//! - nobody learns of a write (neither its caller nor a reader) before its batch is synced;
//! - a batch is begun after the one before it is durable, so only the last can be incomplete;
//! - a segment is removed after everything live in it is durable elsewhere, oldest first;
//! - a revision lost with an incomplete batch is not given again: unless the log ends with an
//!   orderly close, the next opening skips as many as a batch can hold, and notes that first.

mod clean;
mod format;
mod lock;
mod media;
mod recover;
mod segments;
#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use api::Entry;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

pub use self::lock::holder;
use self::lock::{DirLock, open_error};
use self::recover::Fault;
use self::writer::{BATCH_BYTES, BATCH_WRITES, Core, Request, Status, Tuning};
use super::{BoxFuture, Engine, Size};
use crate::cache::WatchCache;
use crate::error::{CommitError, OpenError};
use crate::store::Recard;
use crate::write::Write;

/// The embedded engine.
pub struct LogEngine {
    cache: Arc<WatchCache>,
    queue: Arc<Queue>,
    status: Arc<Status>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<Queued>,
    ready: Condvar,
}

#[derive(Default)]
struct Queued {
    requests: VecDeque<Request>,
    /// No more are taken in.
    closed: bool,
    /// Those who wait for the writer to have ended.
    closing: Vec<oneshot::Sender<()>>,
}

impl LogEngine {
    /// Locks a directory and loads what is in it into an empty cache.
    pub fn open(
        dir: &Path,
        cache: Arc<WatchCache>,
        recard: Option<Recard>,
    ) -> Result<Self, OpenError> {
        let start = Instant::now();
        let lock = DirLock::acquire(dir)?;
        let media = Box::new(media::Disk(dir.to_owned()));
        let recovered = recover::recover(media, &cache, recard)
            .map_err(|fault| explain(dir.to_owned(), fault))?;
        let core = Core::new(dir.to_owned(), recovered, cache.clone(), Tuning::default())
            .map_err(|source| open_error(dir, dir, source))?;
        let status = core.status();
        let queue = Arc::new(Queue::default());
        let thread = {
            let queue = queue.clone();
            let builder = std::thread::Builder::new().name("store-writer".to_owned());
            let spawned = builder.spawn(move || run(&queue, core, lock));
            spawned.map_err(|source| OpenError::Io { path: dir.to_owned(), source })?
        };
        tracing::info!(
            dir = %dir.display(),
            revision = cache.revision(),
            objects = cache.resources().iter().map(|r| r.len()).sum::<usize>(),
            bytes = status.size().total,
            took = ?start.elapsed(),
            "opened the datastore"
        );
        Ok(Self { cache, queue, status, thread: Mutex::new(Some(thread)) })
    }

    fn submit<T: Send + 'static>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, CommitError>>) -> Request,
    ) -> BoxFuture<'static, Result<T, CommitError>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.queue.state.lock();
        if state.closed {
            return Box::pin(std::future::ready(Err(CommitError::Closed)));
        }
        state.requests.push_back(request(answer));
        // The writer only waits where the queue was empty.
        let wake = state.requests.len() == 1;
        drop(state);
        if wake {
            self.queue.ready.notify_one();
        }
        Box::pin(async move { answered.await.unwrap_or(Err(CommitError::Closed)) })
    }

    fn begin_close(&self) -> oneshot::Receiver<()> {
        let (ended, wait) = oneshot::channel();
        let mut state = self.queue.state.lock();
        state.closed = true;
        state.closing.push(ended);
        drop(state);
        self.queue.ready.notify_one();
        wait
    }
}

/// The writer thread.
fn run(queue: &Queue, mut core: Core, lock: DirLock) {
    /// However the thread ends, nobody waits for it in vain.
    struct End<'a>(&'a Queue);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            let mut state = self.0.state.lock();
            state.closed = true;
            // Dropped senders tell the waiting that it is over.
            state.requests.clear();
            state.closing.clear();
        }
    }
    let end = End(queue);
    loop {
        let mut state = queue.state.lock();
        while state.requests.is_empty() && !state.closed {
            if core.wants_cleaning() {
                parking_lot::MutexGuard::unlocked(&mut state, || core.clean());
            } else {
                queue.ready.wait(&mut state);
            }
        }
        if state.requests.is_empty() {
            break;
        }
        let mut bytes = 0;
        let mut take = 0;
        for request in state.requests.iter().take(BATCH_WRITES) {
            if bytes > BATCH_BYTES {
                break;
            }
            bytes += request.len();
            take += 1;
        }
        let requests: Vec<Request> = state.requests.drain(..take).collect();
        drop(state);
        core.process(requests);
    }
    core.close();
    drop(core);
    drop(lock);
    drop(end);
}

fn explain(dir: PathBuf, fault: Fault) -> OpenError {
    match fault {
        Fault::Io(name, source) => open_error(&dir, &dir.join(name), source),
        Fault::Corrupt(name, offset, why) => {
            OpenError::Corrupt { path: dir.join(name), offset, why }
        }
        Fault::Newer(name, version) => OpenError::Newer { path: dir.join(name), version },
    }
}

impl Engine for LogEngine {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn commit(&self, write: Write) -> BoxFuture<'static, Result<Arc<Entry>, CommitError>> {
        self.submit(|answer| Request::Write(Box::new(write), answer))
    }

    fn latest(&self) -> BoxFuture<'static, Result<u64, CommitError>> {
        // The only writer publishes before it answers.
        Box::pin(std::future::ready(Ok(self.cache.revision())))
    }

    fn compact(&self, revision: u64) -> BoxFuture<'static, Result<(), CommitError>> {
        self.submit(|answer| Request::Compact(revision, answer))
    }

    fn size(&self) -> Size {
        self.status.size()
    }

    fn health(&self) -> Result<(), CommitError> {
        if self.queue.state.lock().closed {
            return Err(CommitError::Closed);
        }
        self.status.health()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let ended = self.begin_close();
        Box::pin(async move { drop(ended.await) })
    }
}

impl Drop for LogEngine {
    /// Ends the writer and waits for it, so that the directory is free afterwards.
    fn drop(&mut self) {
        drop(self.begin_close());
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
    }
}
