//! Workers that take keys from a queue and reconcile them.
//!
//! Not here: what reconciling is.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::WorkQueue;
use crate::Shutdown;

/// What to do with a key after a reconciliation that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeue {
    /// Nothing, until it is added again.
    Done,
    /// Come back after this time.
    After(Duration),
    /// Come back after the key's back-off (not a failure worth a log line).
    Backoff,
}

/// Reconciles keys with `workers` tasks until shutdown, then lets the running ones end. A failed key
/// comes back after its back-off; a panic counts as a failure of its key alone.
pub async fn run_workers<K, E, F, Fut>(
    queue: WorkQueue<K>,
    workers: usize,
    shutdown: Shutdown,
    reconcile: F,
) where
    K: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    E: Display + Send + 'static,
    F: Fn(K) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Requeue, E>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..workers.max(1) {
        tasks.spawn(work(queue.clone(), reconcile.clone()));
    }
    shutdown.cancelled().await;
    queue.close();
    while tasks.join_next().await.is_some() {}
}

async fn work<K, E, F, Fut>(queue: WorkQueue<K>, reconcile: F)
where
    K: Clone + Eq + Hash + Debug,
    E: Display + Send + 'static,
    F: Fn(K) -> Fut,
    Fut: Future<Output = Result<Requeue, E>>,
{
    while let Some(key) = queue.next().await {
        let outcome = std::panic::AssertUnwindSafe(reconcile(key.clone())).catch_unwind().await;
        match outcome {
            Ok(Ok(Requeue::Done)) => queue.forget(&key),
            Ok(Ok(Requeue::After(delay))) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Ok(Ok(Requeue::Backoff)) => queue.add_rate_limited(key.clone()),
            Ok(Err(error)) => {
                tracing::warn!(?key, "reconciling failed, will retry: {error}");
                queue.add_rate_limited(key.clone());
            }
            Err(_) => {
                tracing::error!(?key, "reconciling panicked, will retry");
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use api::clock::Rng;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_come_back_and_a_key_is_never_in_two_hands() {
        let queue = WorkQueue::new("workers-test", Rng::seeded(3));
        let shutdown = Shutdown::new();
        let (tries, busy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (seen, stop) = (tries.clone(), shutdown.clone());
        for _ in 0..3 {
            queue.add("k");
        }
        let again = queue.clone();
        run_workers(queue, 4, shutdown, move |key| {
            let (seen, busy, stop, again) =
                (seen.clone(), busy.clone(), stop.clone(), again.clone());
            async move {
                assert_eq!(busy.fetch_add(1, Ordering::SeqCst), 0);
                again.add(key);
                tokio::time::sleep(Duration::from_millis(1)).await;
                busy.fetch_sub(1, Ordering::SeqCst);
                match seen.fetch_add(1, Ordering::SeqCst) {
                    0 => Err("once"),
                    4 => {
                        stop.cancel();
                        Ok(Requeue::Done)
                    }
                    _ => Ok(Requeue::Done),
                }
            }
        })
        .await;
        assert!(tries.load(Ordering::SeqCst) >= 5);
    }
}
