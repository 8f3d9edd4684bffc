//! Every node has a range of pod addresses of its own, cut from the cluster's ranges.
//!
//! Not here: addresses of pods (the node's CNI plugin gives them).

mod plan;
mod range;

use std::collections::HashMap;
use std::sync::Arc;

use api::resource::NODES;
use client::Requeue;
use parking_lot::Mutex;
use serde::Deserialize;

use crate::action::{self, Failed};
use crate::context::{Context, Name};
use crate::meta::Meta;
use range::Range;

/// A node as this controller sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Node {
    pub metadata: Meta,
    pub spec: NodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

impl Node {
    fn ranges(&self) -> Vec<Range> {
        let all = self.spec.pod_cidrs.iter().chain([&self.spec.pod_cidr]);
        all.filter_map(|text| Range::parse(text)).collect()
    }
}

pub async fn run(ctx: Context) {
    let mut clusters = Vec::new();
    for text in &ctx.config.cluster_cidr {
        match Range::parse(text) {
            Some(range) => clusters.push(range),
            None => {
                tracing::error!(cidr = text, "not a range of addresses: nodes get none");
                return;
            }
        }
    }
    if clusters.is_empty() {
        return;
    }
    let nodes = ctx.informer(&NODES);
    let recorder = ctx.recorder("cidrAllocator");
    let queue = ctx.queue::<Name>("node_ipam");
    ctx.enqueue_all(&nodes, &queue);
    // Given out, though the view may not show it yet.
    let given: Arc<Mutex<HashMap<Arc<str>, Vec<Range>>>> = Arc::default();
    let (context, view) = (ctx.clone(), nodes.clone());
    let clusters = Arc::new(clusters);
    // One worker: ranges are given out one after another.
    ctx.work(&[&nodes], queue, 1, move |(_, name)| {
        let (context, view, given) = (context.clone(), view.clone(), given.clone());
        let (recorder, clusters) = (recorder.clone(), clusters.clone());
        async move {
            let Some(entry) = view.get("", &name) else {
                given.lock().remove(&name);
                return Ok::<_, Failed>(Requeue::Done);
            };
            let node: Node = entry.decode()?;
            if !node.spec.pod_cidr.is_empty() {
                given.lock().insert(name, node.ranges());
                return Ok(Requeue::Done);
            }
            let mut used: Vec<Range> = Vec::new();
            for other in view.list() {
                used.extend(other.decode::<Node>()?.ranges());
            }
            // What it was given already stays its own: the view may be behind.
            let held = given.lock().get(&name).cloned().unwrap_or_default();
            used.extend(given.lock().iter().filter(|(n, _)| **n != name).flat_map(|(_, r)| r));
            let masks = (context.config.node_cidr_mask_v4, context.config.node_cidr_mask_v6);
            let (plan, ranges) = plan::plan(&node, &clusters, masks, &used, &held);
            given.lock().insert(name, ranges);
            action::perform(&context.client, &recorder, plan.actions).await?;
            Ok(Requeue::Done)
        }
    })
    .await;
}
