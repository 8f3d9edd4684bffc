//! Deletes pods that nobody else will: ended ones beyond a number, those of nodes that are gone, and
//! those deleted before they had a node.
//!
//! Not here: pods whose owner is gone (`garbage`).

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::resource::{NODES, PODS};
use client::{Event, Informer, Recorder};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::time::Instant;

use crate::action::{self, Failed};
use crate::context::Context;

/// How long a node has to be gone before its pods are.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How often everything is looked at; changes of interest are looked at soon.
const PERIOD: Duration = Duration::from_secs(20);

struct Controller {
    ctx: Context,
    nodes: Arc<Informer>,
    pods: Arc<Informer>,
    missing: Mutex<HashMap<String, Instant>>,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let controller = Controller {
        nodes: ctx.informer(&NODES),
        pods: ctx.informer(&PODS),
        missing: Mutex::default(),
        recorder: ctx.recorder("pod-garbage-collector-controller"),
        ctx,
    };
    tokio::select! {
        () = controller.watch() => {}
        () = controller.ctx.shutdown.cancelled() => {}
    }
}

impl Controller {
    /// Sweeps when something of interest has happened, and as long as something is pending.
    async fn watch(&self) {
        self.nodes.synced().await;
        self.pods.synced().await;
        let (mut nodes, mut pods) = (self.nodes.subscribe(), self.pods.subscribe());
        loop {
            let pending = match self.sweep().await {
                Ok(pending) => pending,
                Err(error) => {
                    tracing::warn!("pod garbage collection: {error}");
                    true
                }
            };
            let next = Instant::now() + PERIOD;
            let quiet = async {
                loop {
                    let batch = tokio::select! {
                        batch = nodes.next_batch() => batch,
                        batch = pods.next_batch() => batch,
                    };
                    if batch.is_empty() || batch.iter().any(of_interest) {
                        return;
                    }
                }
            };
            if pending {
                tokio::time::sleep_until(next).await;
            } else {
                quiet.await;
                // Changes come in swarms.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// One look at everything; whether something has to be looked at again.
    async fn sweep(&self) -> Result<bool, Failed> {
        let pods = self.ctx.pods.all(&self.pods.list());
        let mut missing: Vec<String> = pods
            .iter()
            .map(|p| p.spec.node_name.clone())
            .filter(|n| !n.is_empty() && self.nodes.get("", n).is_none())
            .collect();
        missing.sort();
        missing.dedup();
        let mut gone = Vec::new();
        {
            let mut since = self.missing.lock();
            since.retain(|n, _| missing.contains(n));
            for node in &missing {
                let at = *since.entry(node.clone()).or_insert_with(Instant::now);
                if at.elapsed() >= QUARANTINE {
                    gone.push(node.clone());
                }
            }
        }
        let mut confirmed = Vec::new();
        for node in gone {
            // The view may lag: the server knows.
            match self.ctx.client.get::<IgnoredAny>(&NODES, "", &node).await {
                Err(error) if error.is_not_found() => confirmed.push(node),
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        let limit = self.ctx.config.terminated_pods;
        let plans = plan::plans(&pods, &confirmed, limit, self.ctx.clock.now());
        for plan in plans {
            action::perform(&self.ctx.client, &self.recorder, plan.actions).await?;
        }
        Ok(!missing.is_empty())
    }
}

/// Whether an event may have made work: a node gone, a pod bound, ended or deleted.
fn of_interest(event: &Event) -> bool {
    let Event::Changed(delta) = event else { return false };
    let Some(new) = &delta.new else { return new_is_node(delta.latest()) };
    if new_is_node(new) {
        return delta.old.is_none();
    }
    let state = |e: &api::Entry| {
        let field = |f: &str| e.card.field(f).unwrap_or("").to_owned();
        (e.card.deleting, field("spec.nodeName"), field("status.phase"))
    };
    delta.old.as_ref().is_none_or(|old| state(old) != state(new))
}

fn new_is_node(entry: &api::Entry) -> bool {
    entry.card.namespace.is_empty()
}
