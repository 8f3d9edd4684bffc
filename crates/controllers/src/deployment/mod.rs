//! Deployments: rollouts of pod templates through replica sets.
//!
//! Here is the wiring; `plan` decides what a deployment does next, `rollout` computes sizes, `status`
//! the status. Not here: pods (`replicaset`).

mod hash;
mod plan;
mod rollout;
mod status;

use std::sync::Arc;

use api::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use api::selector::{LabelSelector, LabelSelectorSpec};
use api::{Entry, Value};
use client::{Error, Index, Informer, Recorder, Requeue};
use serde::Deserialize;

use crate::action::{self, Action, Failed};
use crate::condition::Condition;
use crate::context::{Context, Name};
use crate::expect::Expectations;
use crate::meta::Meta;
use crate::pods::{Pod, Views};
use crate::refs::{Claim, adopt, check_alive, claim, controllers_of, release};

/// A deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Deployment {
    pub metadata: Meta,
    pub spec: Spec,
    pub status: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub replicas: Option<i64>,
    pub selector: Value,
    pub template: Value,
    pub strategy: Strategy,
    pub min_ready_seconds: i64,
    pub revision_history_limit: Option<i64>,
    pub paused: bool,
    pub progress_deadline_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: Option<RollingUpdate>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollingUpdate {
    pub max_surge: Option<Value>,
    pub max_unavailable: Option<Value>,
}

/// A replica set as deployments see it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Set {
    pub metadata: Meta,
    pub spec: SetSpec,
    pub status: SetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetSpec {
    pub replicas: Option<i64>,
    pub min_ready_seconds: i64,
    pub template: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SetStatus {
    pub replicas: i64,
    pub ready_replicas: i64,
    pub available_replicas: i64,
    pub terminating_replicas: Option<i64>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

impl Set {
    pub fn size(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }
}

impl Deployment {
    fn selector(&self) -> Option<LabelSelector> {
        LabelSelectorSpec::deserialize(&self.spec.selector).ok()?.selector().ok()
    }
}

struct Controller {
    ctx: Context,
    deployments: Arc<Informer>,
    sets: Arc<Informer>,
    pods: Arc<Informer>,
    views: Views<Deployment>,
    set_views: Views<Set>,
    expectations: Expectations,
    recorder: Recorder,
}

pub async fn run(ctx: Context) {
    let controller = Arc::new(Controller {
        deployments: ctx.informer(&DEPLOYMENTS),
        sets: ctx.informer(&REPLICA_SETS),
        pods: ctx.informer(&PODS),
        views: Views::default(),
        set_views: Views::default(),
        expectations: Expectations::default(),
        recorder: ctx.recorder("deployment-controller"),
        ctx: ctx.clone(),
    });
    let queue = ctx.queue::<Name>("deployment");
    ctx.enqueue_all(&controller.deployments, &queue);
    let (this, keys) = (controller.clone(), queue.clone());
    ctx.follow(&controller.sets, move |delta| {
        for state in [&delta.old, &delta.new].into_iter().flatten() {
            this.deployments_of(state).into_iter().for_each(|name| keys.add(name));
        }
        if delta.new.is_none() {
            this.set_views.forget(&delta.latest().card.uid);
        }
    });
    let workers = ctx.config.workers;
    let watched = [&controller.deployments, &controller.sets, &controller.pods];
    let this = controller.clone();
    ctx.work(&watched, queue, workers, move |key| {
        let this = this.clone();
        async move { this.reconcile(key).await }
    })
    .await;
}

impl Controller {
    /// The deployments that a replica set matters to.
    fn deployments_of(&self, set: &Entry) -> Vec<Name> {
        controllers_of(&self.deployments, set, |entry| {
            let selector = self.views.of(entry).ok().and_then(|d| d.selector());
            selector.is_some_and(|s| !s.0.is_empty() && s.matches(&set.card))
        })
    }

    async fn reconcile(&self, key: Name) -> Result<Requeue, Failed> {
        let Some(entry) = self.deployments.get(&key.0, &key.1) else {
            self.expectations.forget(&key);
            return Ok(Requeue::Done);
        };
        if !self.expectations.met(&key, &[&self.deployments, &self.sets]) {
            // The view's next change brings the key back; this is for the case that none comes.
            return Ok(Requeue::After(std::time::Duration::from_secs(30)));
        }
        let deployment = self.views.of(&entry)?;
        let Some(selector) = deployment.selector() else { return Ok(Requeue::Done) };
        let sets = self.claimed(&key, &deployment, &selector).await?;
        let running = |uid: &str| {
            let pods = self.ctx.pods.all(&self.pods.by_index(&Index::Controller, uid));
            pods.iter().any(|p: &Arc<Pod>| !p.is_terminal())
        };
        let now = self.ctx.clock.now();
        let plan = plan::plan(&deployment, &sets, running, now);
        let requeue = plan.requeue();
        for action in plan.actions {
            self.act(&key, &deployment, action).await?;
        }
        Ok(requeue)
    }

    /// The replica sets of a deployment, after adopting and releasing what has to be.
    async fn claimed(
        &self,
        key: &Name,
        deployment: &Deployment,
        selector: &LabelSelector,
    ) -> Result<Vec<Arc<Set>>, Failed> {
        let meta = &deployment.metadata;
        let (mut mine, mut claims) = (Vec::new(), Vec::new());
        if selector.0.is_empty() {
            return Ok(mine);
        }
        for set in self.set_views.all(&self.sets.list_ns(&key.0)) {
            match claim(meta, selector, &set.metadata) {
                Claim::Owned => mine.push(set),
                Claim::Adopt => {
                    claims.push(adopt(&DEPLOYMENTS, meta, &REPLICA_SETS, &set.metadata));
                    mine.push(set);
                }
                Claim::Release => claims.push(release(meta, &REPLICA_SETS, &set.metadata)),
                Claim::Other => {}
            }
        }
        if !claims.is_empty() {
            check_alive(&self.ctx.client, &DEPLOYMENTS, meta).await?;
            for action in claims {
                self.act(key, deployment, action).await?;
            }
        }
        Ok(mine)
    }

    async fn act(&self, key: &Name, deployment: &Deployment, action: Action) -> Result<(), Failed> {
        let (resource, made) = match &action {
            Action::Create { resource, object, .. } => {
                (Some(resource.clone()), Some(object.clone()))
            }
            Action::Patch { resource, .. } => (Some(resource.clone()), None),
            _ => (None, None),
        };
        match action::write(&self.ctx.client, &self.recorder, action).await {
            Ok(revision) => {
                if let Some(resource) = resource {
                    self.expectations.wrote(key, &resource, revision);
                }
                Ok(())
            }
            Err(error) if error.is_already_exists() => {
                self.taken(deployment, made.unwrap_or_default()).await
            }
            Err(error) if error.is_namespace_terminating() => Ok(()),
            Err(error) => {
                if let Some(set) = made {
                    self.tell_failure(deployment, &set, &error).await?;
                }
                Err(error.into())
            }
        }
    }

    /// The name of the new replica set is taken: by ourselves, before our view shows it, or by a set
    /// of another template whose hash is the same.
    async fn taken(&self, deployment: &Deployment, made: Value) -> Result<(), Failed> {
        let meta = &deployment.metadata;
        let name = made["metadata"]["name"].as_str().unwrap_or_default();
        let live: Set = self.ctx.client.get(&REPLICA_SETS, &meta.namespace, name).await?;
        let ours = live.metadata.controlled_by(&meta.uid)
            && plan::same_template(&live.spec.template, &deployment.spec.template);
        if ours {
            return Ok(());
        }
        let collisions = deployment.status["collisionCount"].as_i64().unwrap_or(0) + 1;
        let status = serde_json::json!({ "collisionCount": collisions });
        let action = Action::status(&DEPLOYMENTS, &meta.namespace, &meta.name, status);
        action::perform_one(&self.ctx.client, &self.recorder, action).await?;
        Err(Failed::Other(format!("the name {name} is taken, trying another hash")))
    }

    async fn tell_failure(
        &self,
        deployment: &Deployment,
        set: &Value,
        error: &Error,
    ) -> Result<(), Failed> {
        let name = set["metadata"]["name"].as_str().unwrap_or_default();
        let note = format!("Failed to create new replica set {name:?}: {error}");
        let plan = status::create_failed(deployment, &note, self.ctx.clock.now());
        action::perform(&self.ctx.client, &self.recorder, plan.actions).await
    }
}
