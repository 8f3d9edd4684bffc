//! Replica sets and replication controllers: as many pods as wanted.
//!
//! Here is the wiring; `plan` decides, `act` creates and deletes. Not here: rollouts (`deployment`).

mod act;
mod plan;

use std::collections::HashMap;
use std::sync::Arc;

use api::resource::{PODS, REPLICA_SETS, REPLICATION_CONTROLLERS};
use api::selector::{LabelSelector, LabelSelectorSpec};
use api::{Entry, Resource, Value};
use client::{Index, Informer, Recorder, Requeue};
use serde::Deserialize;

use crate::action::{self, Failed};
use crate::context::{Context, Name};
use crate::expect::Expectations;
use crate::meta::Meta;
use crate::pods::{Pod, Views};
use crate::refs::{check_alive, controllers_of};

/// Which of the two kinds, which differ in their selector only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    ReplicaSet,
    ReplicationController,
}

impl Flavour {
    fn resource(self) -> &'static Resource {
        static SETS: Resource = REPLICA_SETS;
        static CONTROLLERS: Resource = REPLICATION_CONTROLLERS;
        match self {
            Self::ReplicaSet => &SETS,
            Self::ReplicationController => &CONTROLLERS,
        }
    }

    fn component(self) -> &'static str {
        match self {
            Self::ReplicaSet => "replicaset-controller",
            Self::ReplicationController => "replication-controller",
        }
    }

    /// The selector of a set; `None` where it is missing, empty, or not to be read.
    fn selector(self, set: &Set) -> Option<LabelSelector> {
        let selector = &set.spec.selector;
        let spec = match self {
            Self::ReplicaSet => LabelSelectorSpec::deserialize(selector).ok()?,
            Self::ReplicationController => LabelSelectorSpec {
                match_labels: Deserialize::deserialize(selector).ok()?,
                ..LabelSelectorSpec::default()
            },
        };
        spec.selector().ok().filter(|s| !s.0.is_empty())
    }
}

/// A replica set or replication controller.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Set {
    pub metadata: Meta,
    pub spec: SetSpec,
    pub status: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetSpec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: i64,
    pub selector: Value,
    pub template: Value,
}

impl Set {
    fn wanted(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// Objects without a controller, by namespace.
const ORPHANS: Index = Index::Custom("orphans", |e| match e.card.controller {
    Some(_) => Vec::new(),
    None => vec![e.card.namespace.to_string()],
});

struct Controller {
    ctx: Context,
    flavour: Flavour,
    sets: Arc<Informer>,
    pods: Arc<Informer>,
    set_views: Views<Set>,
    expectations: Expectations,
    recorder: Recorder,
}

pub async fn run(ctx: Context, flavour: Flavour) {
    let controller = Arc::new(Controller {
        flavour,
        sets: ctx.informer(flavour.resource()),
        pods: ctx.informer(&PODS),
        set_views: Views::default(),
        expectations: Expectations::default(),
        recorder: ctx.recorder(flavour.component()),
        ctx: ctx.clone(),
    });
    let queue = ctx.queue::<Name>(flavour.component());
    ctx.enqueue_all(&controller.sets, &queue);
    let (this, keys) = (controller.clone(), queue.clone());
    ctx.follow(&controller.pods, move |delta| {
        for state in [&delta.old, &delta.new].into_iter().flatten() {
            this.sets_of(state).into_iter().for_each(|set| keys.add(set));
        }
    });
    let workers = ctx.config.workers;
    let watched = [&controller.sets, &controller.pods];
    let this = controller.clone();
    ctx.work(&watched, queue, workers, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Controller {
    /// The sets that a pod matters to.
    fn sets_of(&self, pod: &Entry) -> Vec<Name> {
        controllers_of(&self.sets, pod, |entry| {
            let set = self.set_views.of(entry).ok();
            let selector = set.and_then(|set| self.flavour.selector(&set));
            selector.is_some_and(|s| s.matches(&pod.card))
        })
    }

    async fn reconcile(&self, key: Name) -> Result<Requeue, Failed> {
        let Some(entry) = self.sets.get(&key.0, &key.1) else {
            self.expectations.forget(&key);
            return Ok(Requeue::Done);
        };
        let set = self.set_views.of(&entry)?;
        let Some(selector) = self.flavour.selector(&set) else { return Ok(Requeue::Done) };
        let settled = self.expectations.met(&key, &[&self.pods]);
        let mut entries = self.pods.by_index(&Index::Controller, &set.metadata.uid);
        entries.extend(self.pods.by_index(&ORPHANS, &key.0));
        let pods = self.ctx.pods.all(&entries);
        let now = self.ctx.clock.now();
        let mut plan = plan::replicas(self.flavour, &set, &selector, &pods, settled, now, || {
            self.crowds(&set.metadata)
        });
        let claims = std::mem::take(&mut plan.claims);
        if !claims.is_empty() {
            check_alive(&self.ctx.client, self.flavour.resource(), &set.metadata).await?;
        }
        action::perform_all(&self.ctx.client, &self.recorder, claims).await?;
        let failure = self.replicate(&key, &set, &plan).await;
        let failed = failure.as_ref().err().map(|f| (f.reason, f.error.to_string()));
        let status = plan::status(self.flavour, &set, &plan, failed, now);
        let requeue = status.requeue();
        action::perform(&self.ctx.client, &self.recorder, status.actions).await?;
        match failure {
            Ok(()) => Ok(requeue),
            Err(failure) => Err(failure.error.into()),
        }
    }

    /// How many active pods each node has, of this set and its siblings.
    fn crowds(&self, set: &Meta) -> HashMap<String, usize> {
        let siblings: Vec<String> = match set.controller() {
            Some(owner) => {
                let found = self.sets.by_index(&Index::Controller, &owner.uid);
                found.iter().map(|e| e.card.uid.to_string()).collect()
            }
            None => vec![set.uid.clone()],
        };
        let mut crowds = HashMap::new();
        for uid in siblings {
            let pods: Vec<Arc<Pod>> =
                self.ctx.pods.all(&self.pods.by_index(&Index::Controller, &uid));
            for pod in pods.iter().filter(|p| p.is_active()) {
                *crowds.entry(pod.spec.node_name.clone()).or_insert(0) += 1;
            }
        }
        crowds
    }
}
