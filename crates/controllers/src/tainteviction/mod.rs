//! Drives pods from nodes with `NoExecute` taints, at once or when their toleration ends.
//!
//! Not here: who taints nodes (`nodelifecycle`, people).

pub mod plan;

use std::sync::Arc;

use api::resource::{NODES, PODS};
use client::{Index, Requeue};
use serde::Deserialize;

use crate::action::{self, Failed};
use crate::context::{Context, Name, name_of};
use crate::pods::Views;
use plan::Taint;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Node {
    spec: NodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    taints: Vec<Taint>,
}

pub async fn run(ctx: Context) {
    let nodes = ctx.informer(&NODES);
    let pods = ctx.informer(&PODS);
    let views: Arc<Views<Node>> = Arc::default();
    let recorder = ctx.recorder("taint-eviction-controller");
    let queue = ctx.queue::<Name>("noexec_taint_pod");
    let (keys, of_node, known) = (queue.clone(), pods.clone(), views.clone());
    ctx.follow(&nodes, move |delta| {
        if delta.new.is_none() {
            known.forget(&delta.latest().card.uid);
        }
        let taints = |e: &Option<Arc<api::Entry>>| {
            let node = e.as_ref().and_then(|e| known.of(e).ok());
            node.map(|n| n.spec.taints.clone()).unwrap_or_default()
        };
        if taints(&delta.old) != taints(&delta.new) {
            let name = &delta.latest().card.name;
            for pod in of_node.by_index(&Index::Field("spec.nodeName"), name) {
                keys.add((pod.card.namespace.clone(), pod.card.name.clone()));
            }
        }
    });
    let keys = queue.clone();
    ctx.follow(&pods, move |delta| {
        let bound = |e: &Option<Arc<api::Entry>>| {
            e.as_ref().and_then(|e| e.card.field("spec.nodeName").map(str::to_owned))
        };
        // Tolerations may be added to a pod; its node is set once.
        let fresh = bound(&delta.old) != bound(&delta.new);
        let generation = |e: &Option<Arc<api::Entry>>| e.as_ref().map(|e| e.card.deleting);
        if fresh || generation(&delta.old) != generation(&delta.new) {
            keys.add(name_of(delta));
        }
    });
    let watched = [&nodes, &pods];
    let (context, seen) = (ctx.clone(), (nodes.clone(), pods.clone()));
    ctx.work(&watched, queue, ctx.config.workers, move |key| {
        let (context, (nodes, pods)) = (context.clone(), seen.clone());
        let (views, recorder) = (views.clone(), recorder.clone());
        async move {
            let Some(entry) = pods.get(&key.0, &key.1) else {
                return Ok::<_, Failed>(Requeue::Done);
            };
            let pod = context.pods.of(&entry)?;
            let Some(node) = nodes.get("", &pod.spec.node_name) else { return Ok(Requeue::Done) };
            let node = views.of(&node)?;
            let plan = plan::plan(&pod, &node.spec.taints, context.clock.now());
            let requeue = plan.requeue();
            action::perform(&context.client, &recorder, plan.actions).await?;
            Ok(requeue)
        }
    })
    .await;
}
