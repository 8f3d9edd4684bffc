//! The controllers: what keeps the cluster as its objects say.
//!
//! One folder a controller, all of the same shape: `mod.rs` wires informers to a queue of keys,
//! `plan.rs` is a pure function from what is wanted and seen to [`action::Action`]s, `cases.yaml` holds
//! its cases. Actions are carried out in one place (`action`). Not here: scheduling, anything of a
//! node, allocation of service addresses (the API server does that).

pub mod action;
mod condition;
mod context;
mod discovery;
mod expect;
#[cfg(test)]
mod golden;
mod meta;
mod pods;
mod refs;
mod service;
mod slices;

mod clusterrole;
mod deployment;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod garbage;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod podgc;
mod protection;
mod replicaset;
mod rootca;
mod serviceaccount;
mod storagemigration;
mod tainteviction;

use api::clock::{Clock, Rng};
use client::{Client, Informers, Shutdown};
use tokio::task::JoinSet;

pub use context::Config;
use context::Context;

type Start = fn(Context) -> futures_util::future::BoxFuture<'static, ()>;

/// All controllers, by upstream's names.
const CONTROLLERS: &[(&str, Start)] = &[
    ("clusterrole-aggregation-controller", |ctx| Box::pin(clusterrole::run(ctx))),
    ("deployment-controller", |ctx| Box::pin(deployment::run(ctx))),
    ("endpoints-controller", |ctx| Box::pin(endpoints::run(ctx))),
    ("endpointslice-controller", |ctx| Box::pin(endpointslice::run(ctx))),
    ("endpointslice-mirroring-controller", |ctx| Box::pin(endpointslicemirroring::run(ctx))),
    ("garbage-collector-controller", |ctx| Box::pin(garbage::run(ctx))),
    ("namespace-controller", |ctx| Box::pin(namespace::run(ctx))),
    ("node-ipam-controller", |ctx| Box::pin(nodeipam::run(ctx))),
    ("node-lifecycle-controller", |ctx| Box::pin(nodelifecycle::run(ctx))),
    ("persistentvolume-protection-controller", |ctx| {
        Box::pin(protection::run(ctx, protection::Flavour::Volume))
    }),
    ("persistentvolumeclaim-protection-controller", |ctx| {
        Box::pin(protection::run(ctx, protection::Flavour::Claim))
    }),
    ("pod-garbage-collector-controller", |ctx| Box::pin(podgc::run(ctx))),
    ("replicaset-controller", |ctx| {
        Box::pin(replicaset::run(ctx, replicaset::Flavour::ReplicaSet))
    }),
    ("replicationcontroller-controller", |ctx| {
        Box::pin(replicaset::run(ctx, replicaset::Flavour::ReplicationController))
    }),
    ("root-ca-certificate-publisher-controller", |ctx| Box::pin(rootca::run(ctx))),
    ("serviceaccount-controller", |ctx| Box::pin(serviceaccount::run(ctx))),
    ("storage-version-migrator-controller", |ctx| Box::pin(storagemigration::run(ctx))),
    ("taint-eviction-controller", |ctx| Box::pin(tainteviction::run(ctx))),
    ("volumeattributesclass-protection-controller", |ctx| {
        Box::pin(protection::run(ctx, protection::Flavour::AttributesClass))
    }),
];

/// The names that `Config::controllers` may hold.
pub fn names() -> impl Iterator<Item = &'static str> {
    CONTROLLERS.iter().map(|(name, _)| *name)
}

/// Runs the controllers until shutdown.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
) {
    let context = Context::new(config, client, informers, clock, rng, shutdown);
    let mut running = JoinSet::new();
    for (name, start) in CONTROLLERS {
        if context.config.enables(name) {
            running.spawn(start(context.clone()));
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!("a controller failed: {error}");
        }
    }
}
