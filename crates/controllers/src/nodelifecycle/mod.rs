//! Nodes that fall silent, and the taints that tell what is wrong with a node.
//!
//! A node is heard of by its lease, or by its status. Here is the wiring and the memory of when that
//! was; `plan` decides. Not here: deleting pods (`tainteviction`).

mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::Value;
use api::resource::{LEASES, NODES, PODS};
use client::{Index, Informer, ListOptions, Recorder, Requeue};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use crate::action::{self, Failed};
use crate::condition::Condition;
use crate::context::{Context, Name};
use crate::meta::Meta;
use crate::pods::{Pod, Views};

/// A node as this controller sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
    pub status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpec {
    pub unschedulable: bool,
    pub taints: Vec<Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    pub conditions: Vec<Condition>,
}

const LEASE_NAMESPACE: &str = "kube-node-lease";

/// When a node was last heard of, and by what.
#[derive(Clone)]
struct Heard {
    lease: u64,
    heartbeat: String,
    at: Instant,
}

struct Controller {
    ctx: Context,
    nodes: Arc<Informer>,
    leases: Arc<Informer>,
    pods: Arc<Informer>,
    views: Views<Node>,
    heard: Mutex<HashMap<Arc<str>, Heard>>,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let lease_options = ListOptions::all().within(LEASE_NAMESPACE);
    let controller = Arc::new(Controller {
        nodes: ctx.informer(&NODES),
        leases: ctx.informers.get_filtered(&LEASES, lease_options),
        pods: ctx.informer(&PODS),
        views: Views::default(),
        heard: Mutex::default(),
        recorder: ctx.recorder("node-controller"),
        ctx: ctx.clone(),
    });
    let queue = ctx.queue::<Name>("node_lifecycle_controller");
    let (this, keys) = (controller.clone(), queue.clone());
    ctx.follow(&controller.nodes, move |delta| {
        let card = &delta.latest().card;
        if delta.new.is_none() {
            this.views.forget(&card.uid);
            this.heard.lock().remove(&card.name);
        }
        keys.add((Arc::from(""), card.name.clone()));
    });
    let watched = [&controller.nodes, &controller.leases, &controller.pods];
    let this = controller.clone();
    ctx.work(&watched, queue, ctx.config.workers, move |(_, name)| {
        let this = this.clone();
        async move { this.reconcile(&name).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, name: &Arc<str>) -> Result<Requeue, Failed> {
        let Some(entry) = self.nodes.get("", name) else { return Ok(Requeue::Done) };
        let node = self.views.of(&entry)?;
        let silent = self.silence(name, &node);
        let grace = self.ctx.config.node_monitor_grace;
        let now = self.ctx.clock.now();
        let plan = plan::plan(&node, silent >= grace, self.all_down(), now);
        let pods = if plan::is_ready(&node) || silent < grace && plan.actions.is_empty() {
            Vec::new()
        } else {
            self.ctx.pods.all(&self.pods.by_index(&Index::Field("spec.nodeName"), name))
        };
        let lost: Vec<&Pod> = pods.iter().map(|p| &**p).collect();
        let unready = plan::unready_pods(&node, &lost, now);
        action::perform(&self.ctx.client, &self.recorder, plan.actions).await?;
        action::perform_all(&self.ctx.client, &self.recorder, unready).await?;
        // Leases are not followed one by one: a node is looked at when it may have been silent for too
        // long, and only then its lease is read.
        let left = if silent < grace { grace - silent } else { Duration::from_secs(5) };
        Ok(Requeue::After(left))
    }

    /// For how long a node has not been heard of, by our own clock.
    fn silence(&self, name: &Arc<str>, node: &Node) -> Duration {
        let lease = self.leases.get(LEASE_NAMESPACE, name).map_or(0, |e| e.revision);
        let ready = crate::condition::find(&node.status.conditions, "Ready");
        let heartbeat = ready.and_then(|c| c.last_heartbeat_time.clone()).unwrap_or_default();
        let mut heard = self.heard.lock();
        let last = heard.entry(name.clone()).or_insert_with(|| Heard {
            lease,
            heartbeat: heartbeat.clone(),
            at: Instant::now(),
        });
        let spoke = last.lease != lease || last.heartbeat != heartbeat;
        // Our own verdict is not a sign of life.
        let ours = ready.is_some_and(|c| c.reason == plan::UNKNOWN_REASON);
        if spoke && !(ours && last.lease == lease) {
            last.at = Instant::now();
        }
        (last.lease, last.heartbeat) = (lease, heartbeat);
        last.at.elapsed()
    }

    /// Whether no node at all is ready: then it is rather we who are cut off.
    fn all_down(&self) -> bool {
        !self.views.all(&self.nodes.list()).iter().any(|n| plan::is_ready(n))
    }
}
