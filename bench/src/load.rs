//! Load: many requests with a bounded number in flight, over several connections.
//!
//! Not here: which requests.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use client::Client;

use crate::subject::client;

/// Connections of the load generator.
const CONNECTIONS: usize = 8;

/// Clients, each with its own connections.
pub fn clients(port: u16) -> Result<Arc<Vec<Client>>> {
    Ok(Arc::new((0..CONNECTIONS).map(|_| client(port)).collect::<Result<_>>()?))
}

/// Calls `request` for `0..count` with `in_flight` at once; how long all took. The first failure ends
/// it.
pub async fn run<F, Fut>(
    clients: &Arc<Vec<Client>>,
    count: usize,
    in_flight: usize,
    request: F,
) -> Result<Duration>
where
    F: Fn(Client, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let (next, request) = (Arc::new(AtomicUsize::new(0)), Arc::new(request));
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..in_flight {
        let client = clients[worker % clients.len()].clone();
        let (next, request) = (next.clone(), request.clone());
        tasks.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return anyhow::Ok(());
                }
                request(client.clone(), at).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}
