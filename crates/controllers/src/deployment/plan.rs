//! What a deployment does next: one step of a rollout at a time, as upstream takes them.
//!
//! Pure. Not here: arithmetic (`rollout`), status (`status`).

use std::sync::Arc;

use api::resource::{DEPLOYMENTS, REPLICA_SETS};
use api::{Map, Value};
use jiff::Timestamp;
use serde_json::json;

use super::rollout::{Limits, Part, limits, proportional};
use super::{Deployment, Set, hash, status};
use crate::action::{Action, Plan};
use crate::condition::{self, Condition};
use crate::meta::Pairs;

/// Annotations that say where a set stands.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// The label that tells the pods of one template from another's.
const HASH: &str = "pod-template-hash";
/// Annotations that sets do not take over from their deployment.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// A rollout in planning.
pub(super) struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub wanted: i64,
    pub limits: Limits,
    /// Without the one of the current template.
    pub old: Vec<Set>,
    /// The one of the current template.
    pub new: Option<Set>,
    pub conditions: Vec<Condition>,
    /// The deployment's own revision annotation, once it changes.
    pub revision: Option<String>,
    pub now: Timestamp,
    pub plan: Plan,
}

/// Plans the next step. `sets` are the deployment's; `running` says whether a set (by uid) has pods that
/// have not ended.
pub fn plan(
    deployment: &Deployment,
    sets: &[Arc<Set>],
    running: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Plan {
    if deployment.selector().is_none_or(|s| s.0.is_empty()) {
        let mut plan = Plan::default();
        let about = deployment.metadata.reference(&DEPLOYMENTS);
        let note = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.push(Action::warn(&about, "SelectingAll", note));
        return plan;
    }
    let mut rollout = Rollout::new(deployment, sets, now);
    let spec = &deployment.spec;
    if deployment.metadata.is_deleting() {
        rollout.finish(false);
        return rollout.plan;
    }
    rollout.pause_condition();
    if spec.paused || rollout.resized() {
        rollout.find_new(false);
        rollout.resize();
        if spec.paused {
            rollout.clean_up();
        }
        // A resize or a pause says nothing about progress.
        rollout.finish(false);
    } else if spec.strategy.kind == "Recreate" {
        rollout.recreate(running);
        rollout.finish(true);
    } else {
        rollout.find_new(true);
        if !rollout.grow() && !rollout.shrink() && rollout.was_complete() {
            rollout.clean_up();
        }
        rollout.finish(true);
    }
    rollout.plan
}

/// A template without what does not tell templates apart.
fn normal(template: &Value) -> Value {
    fn clean(value: &Value) -> Option<Value> {
        match value {
            Value::Null => None,
            Value::Object(map) => {
                let kept: Map<String, Value> =
                    map.iter().filter_map(|(k, v)| Some((k.clone(), clean(v)?))).collect();
                (!kept.is_empty()).then(|| kept.into())
            }
            Value::Array(items) => (!items.is_empty())
                .then(|| items.iter().map(|v| clean(v).unwrap_or_else(|| json!({}))).collect()),
            other => Some(other.clone()),
        }
    }
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    clean(&template).unwrap_or_default()
}

/// Whether two templates make the same pods.
pub fn same_template(a: &Value, b: &Value) -> bool {
    normal(a) == normal(b)
}

fn revision(set: &Set) -> i64 {
    set.metadata.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

impl<'a> Rollout<'a> {
    fn new(deployment: &'a Deployment, sets: &[Arc<Set>], now: Timestamp) -> Self {
        let mut old: Vec<Set> = sets.iter().map(|s| (**s).clone()).collect();
        old.sort_by(|a, b| {
            let age = |s: &Set| (s.metadata.creation_timestamp.clone(), s.metadata.name.clone());
            age(a).cmp(&age(b))
        });
        let wanted_template = normal(&deployment.spec.template);
        let at = old.iter().position(|s| normal(&s.spec.template) == wanted_template);
        let new = at.map(|at| old.remove(at));
        let conditions = serde_json::from_value(deployment.status["conditions"].clone());
        Self {
            wanted: deployment.spec.replicas.unwrap_or(1),
            limits: limits(deployment),
            deployment,
            old,
            new,
            conditions: conditions.unwrap_or_default(),
            revision: None,
            now,
            plan: Plan::default(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    fn total(&self) -> i64 {
        self.all().map(Set::size).sum()
    }

    pub fn available(&self) -> i64 {
        self.all().map(|s| s.status.available_replicas).sum()
    }

    /// The most pods there may be.
    fn max(&self) -> i64 {
        self.wanted + self.limits.surge
    }

    /// Whether the deployment's size has changed since its sets were sized.
    fn resized(&self) -> bool {
        self.all().filter(|s| s.size() > 0).any(|set| {
            let desired = set.metadata.annotation(DESIRED).and_then(|d| d.parse::<i64>().ok());
            desired.is_some_and(|d| d != self.wanted)
        })
    }

    fn was_complete(&self) -> bool {
        status::complete(self.deployment, &self.deployment.status, self.wanted)
    }

    /// A pause is not progress, and no lack of it.
    fn pause_condition(&mut self) {
        if status::deadline(self.deployment).is_none() {
            return;
        }
        let progressing = condition::find(&self.conditions, status::PROGRESSING);
        let reason = progressing.map_or("", |c| c.reason.as_str());
        if reason == status::TIMED_OUT {
            return;
        }
        let (paused, told) = (self.deployment.spec.paused, reason == "DeploymentPaused");
        let (reason, message) = match (paused, told) {
            (true, false) => ("DeploymentPaused", "Deployment is paused"),
            (false, true) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        let mut new = status::condition(status::PROGRESSING, true, reason, message, self.now);
        new.status = "Unknown".into();
        condition::set(&mut self.conditions, new);
    }

    /// Brings the set of the current template up to date; makes it if it is to be made.
    fn find_new(&mut self, create: bool) {
        let next = self.old.iter().map(revision).max().unwrap_or(0) + 1;
        if let Some(mut set) = self.new.take() {
            self.update_new(&mut set, next);
            self.new = Some(set);
        } else if create {
            self.create_new(next);
        }
    }

    /// The deployment's annotations that its sets have too.
    fn inherited(&self) -> Pairs {
        let all = self.deployment.metadata.annotations.iter();
        all.filter(|(k, _)| !OWN.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    }

    fn update_new(&mut self, set: &mut Set, next: i64) {
        let mut changed = Pairs::new();
        for (key, value) in self.inherited() {
            if set.metadata.annotation(&key) != Some(&value) {
                changed.insert(key, value);
            }
        }
        let have = revision(set);
        if have < next {
            changed.insert(REVISION.into(), next.to_string());
            if have > 0 {
                let history = set.metadata.annotation(HISTORY).unwrap_or_default();
                let comma = if history.is_empty() { "" } else { "," };
                changed.insert(HISTORY.into(), format!("{history}{comma}{have}"));
            }
        }
        let mut patch = json!({});
        if !changed.is_empty() {
            patch["metadata"]["annotations"] = json!(changed);
            set.metadata.annotations.extend(changed);
        }
        let min_ready = self.deployment.spec.min_ready_seconds;
        if set.spec.min_ready_seconds != min_ready {
            patch["spec"]["minReadySeconds"] = min_ready.into();
            set.spec.min_ready_seconds = min_ready;
        }
        if patch != json!({}) {
            let meta = &set.metadata;
            self.plan.push(Action::patch(&REPLICA_SETS, &meta.namespace, &meta.name, patch));
        }
        self.take_revision(&revision(set).to_string());
        if status::deadline(self.deployment).is_some()
            && condition::find(&self.conditions, status::PROGRESSING).is_none()
        {
            let note = format!("Found new replica set {:?}", set.metadata.name);
            self.set_progressing("FoundNewReplicaSet", &note);
        }
    }

    fn take_revision(&mut self, revision: &str) {
        if self.deployment.metadata.annotation(REVISION) != Some(revision) {
            self.revision = Some(revision.to_owned());
        }
    }

    fn set_progressing(&mut self, reason: &str, note: &str) {
        let new = status::condition(status::PROGRESSING, true, reason, note, self.now);
        condition::set(&mut self.conditions, new);
    }

    fn create_new(&mut self, next: i64) {
        let Deployment { metadata: meta, spec, status } = self.deployment;
        let hash = hash::of(&normal(&spec.template), status["collisionCount"].as_i64());
        let name = format!("{}-{hash}", meta.name);
        let mut template = spec.template.clone();
        template["metadata"]["labels"][HASH] = hash.clone().into();
        let mut selector = spec.selector.clone();
        selector["matchLabels"][HASH] = hash.into();
        let size = self.size_of_new(0);
        let mut annotations = self.inherited();
        annotations.insert(REVISION.into(), next.to_string());
        annotations.insert(DESIRED.into(), self.wanted.to_string());
        annotations.insert(MAX.into(), self.max().to_string());
        let object = json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {
                "name": name, "namespace": meta.namespace,
                "labels": template["metadata"]["labels"], "annotations": annotations,
                "ownerReferences": [meta.as_controller(&DEPLOYMENTS)],
            },
            "spec": {
                "replicas": size, "minReadySeconds": spec.min_ready_seconds,
                "selector": selector, "template": template,
            },
        });
        self.new = serde_json::from_value(object.clone()).ok();
        self.plan.push(Action::Create {
            resource: REPLICA_SETS,
            namespace: meta.namespace.clone(),
            object,
        });
        if size > 0 {
            self.tell_scaled(&name, 0, size);
        }
        if status::deadline(self.deployment).is_some() {
            self.set_progressing(
                "NewReplicaSetCreated",
                &format!("Created new replica set {name:?}"),
            );
        }
        self.take_revision(&next.to_string());
    }

    /// The size that the new set may have now.
    fn size_of_new(&self, have: i64) -> i64 {
        if self.deployment.spec.strategy.kind == "Recreate" {
            return self.wanted;
        }
        let room = self.max() - self.total();
        if room <= 0 {
            return have;
        }
        have + room.min(self.wanted - have).max(0)
    }

    fn tell_scaled(&mut self, name: &str, from: i64, to: i64) {
        let about = self.deployment.metadata.reference(&DEPLOYMENTS);
        let direction = if to > from { "up" } else { "down" };
        let note = format!("Scaled {direction} replica set {name} from {from} to {to}");
        self.plan.push(Action::event(&about, "ScalingReplicaSet", note));
    }

    /// Sizes a set; whether that changed anything.
    fn scale(&mut self, set: &mut Set, to: i64) -> bool {
        let (desired, max) = (self.wanted.to_string(), self.max().to_string());
        let told = set.metadata.annotation(DESIRED) == Some(&desired)
            && set.metadata.annotation(MAX) == Some(&max);
        let from = set.size();
        if from == to && told {
            return false;
        }
        set.spec.replicas = Some(to);
        let annotations = json!({DESIRED: desired, MAX: max});
        set.metadata.annotations.insert(DESIRED.into(), desired);
        set.metadata.annotations.insert(MAX.into(), max);
        let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
        let meta = &set.metadata;
        self.plan.push(Action::patch(&REPLICA_SETS, &meta.namespace, &meta.name, patch));
        if from != to {
            self.tell_scaled(&set.metadata.name, from, to);
        }
        from != to
    }

    /// Scales one of the sets in place.
    fn scale_old(&mut self, at: usize, to: i64) -> bool {
        let mut set = std::mem::take(&mut self.old[at]);
        let scaled = self.scale(&mut set, to);
        self.old[at] = set;
        scaled
    }

    fn scale_new(&mut self, to: i64) -> bool {
        let Some(mut set) = self.new.take() else { return false };
        let scaled = self.scale(&mut set, to);
        self.new = Some(set);
        scaled
    }

    /// Grows the new set as far as the surge allows; whether it did.
    fn grow(&mut self) -> bool {
        let Some(have) = self.new.as_ref().map(Set::size) else { return false };
        if have == self.wanted {
            return false;
        }
        let to = if have > self.wanted { self.wanted } else { self.size_of_new(have) };
        to != have && self.scale_new(to)
    }

    /// Shrinks the old sets as far as availability allows, the unhealthy first; whether it did.
    fn shrink(&mut self) -> bool {
        if self.old.iter().map(Set::size).sum::<i64>() == 0 {
            return false;
        }
        let min_available = self.wanted - self.limits.unavailable;
        let new_unavailable =
            self.new.as_ref().map_or(0, |s| s.size() - s.status.available_replicas);
        let room = self.total() - min_available - new_unavailable;
        if room <= 0 {
            return false;
        }
        let available = self.available();
        let mut cleaned = 0;
        for at in 0..self.old.len() {
            let (size, healthy) = (self.old[at].size(), self.old[at].status.available_replicas);
            let cut = (size - healthy).min(room - cleaned);
            if size > 0 && cut > 0 {
                cleaned += cut;
                self.scale_old(at, size - cut);
            }
        }
        let mut spare = available - min_available;
        let mut shrunk = 0;
        for at in 0..self.old.len() {
            let size = self.old[at].size();
            let cut = size.min(spare);
            if size > 0 && cut > 0 {
                spare -= cut;
                shrunk += cut;
                self.scale_old(at, size - cut);
            }
        }
        cleaned + shrunk > 0
    }

    fn recreate(&mut self, running: impl Fn(&str) -> bool) {
        self.find_new(false);
        let mut shrunk = false;
        for at in 0..self.old.len() {
            if self.old[at].size() > 0 {
                shrunk |= self.scale_old(at, 0);
            }
        }
        let busy = |s: &Set| s.status.replicas > 0 || running(&s.metadata.uid);
        if shrunk || self.old.iter().any(busy) {
            return;
        }
        if self.new.is_none() {
            self.find_new(true);
        }
        if !self.scale_new(self.wanted) && self.was_complete() {
            self.clean_up();
        }
    }

    /// Follows a change of the deployment's size without rolling anything out.
    fn resize(&mut self) {
        let active: Vec<usize> =
            (0..self.old.len()).filter(|at| self.old[*at].size() > 0).collect();
        let new_active = self.new.as_ref().is_some_and(|s| s.size() > 0);
        match (active.as_slice(), new_active) {
            ([], _) if self.new.is_some() => drop(self.scale_new(self.wanted)),
            // Nothing is active: the latest of the old ones stands in.
            ([], _) => {
                if let Some(last) = self.old.len().checked_sub(1) {
                    self.scale_old(last, self.wanted);
                }
            }
            ([only], false) => drop(self.scale_old(*only, self.wanted)),
            (many, _) if self.saturated() => {
                for at in many {
                    self.scale_old(*at, 0);
                }
            }
            (many, _) if self.deployment.spec.strategy.kind != "Recreate" => {
                self.resize_all(many, new_active);
            }
            _ => {}
        }
    }

    /// Whether the new set has taken over for the size it was given.
    fn saturated(&self) -> bool {
        self.new.as_ref().is_some_and(|set| {
            let desired = set.metadata.annotation(DESIRED).and_then(|d| d.parse::<i64>().ok());
            set.size() == self.wanted
                && desired == Some(self.wanted)
                && set.status.available_replicas == self.wanted
        })
    }

    fn resize_all(&mut self, active: &[usize], new_active: bool) {
        let allowed = if self.wanted > 0 { self.max() } else { 0 };
        let growing = allowed >= self.total();
        // `None` stands for the new set.
        let mut order: Vec<Option<usize>> = active.iter().copied().map(Some).collect();
        if new_active {
            order.push(None);
        }
        let set = |at: &Option<usize>| match at {
            Some(at) => Some(&self.old[*at]),
            None => self.new.as_ref(),
        };
        // The largest first; of equal ones the newer when growing, the older when shrinking.
        order.sort_by_key(|at| (std::cmp::Reverse(set(at).map_or(0, Set::size)), *at));
        if growing {
            order.sort_by_key(|at| {
                let age = at.map_or(0, |at| self.old.len() - at);
                (std::cmp::Reverse(set(at).map_or(0, Set::size)), age)
            });
        } else {
            order.sort_by_key(|at| {
                let age = at.unwrap_or(self.old.len());
                (std::cmp::Reverse(set(at).map_or(0, Set::size)), age)
            });
        }
        let told = self.deployment.status["replicas"].as_i64().unwrap_or(0);
        let part = |set: &Set| Part {
            size: set.size(),
            max_then: set.metadata.annotation(MAX).and_then(|m| m.parse().ok()).unwrap_or(told),
        };
        let parts: Vec<Part> = order.iter().filter_map(|at| set(at).map(part)).collect();
        let sizes = proportional(&parts, self.wanted, self.max(), allowed);
        for (at, size) in order.into_iter().zip(sizes) {
            match at {
                Some(at) => drop(self.scale_old(at, size)),
                None => drop(self.scale_new(size)),
            }
        }
    }

    /// Deletes the oldest sets beyond the history that is kept.
    fn clean_up(&mut self) {
        let limit = self.deployment.spec.revision_history_limit.unwrap_or(10);
        let mut spent: Vec<&Set> = self.old.iter().filter(|s| !s.metadata.is_deleting()).collect();
        let surplus = spent.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        spent.sort_by_key(|s| revision(s));
        let idle = |s: &&&Set| {
            s.size() == 0
                && s.status.replicas == 0
                && s.metadata.generation <= s.status.observed_generation
        };
        let doomed: Vec<Action> = spent
            .iter()
            .take(surplus)
            .filter(idle)
            .map(|s| {
                let meta = &s.metadata;
                Action::delete(&REPLICA_SETS, &meta.namespace, &meta.name, &meta.uid)
            })
            .collect();
        self.plan.actions.extend(doomed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let deployment: Deployment = case.role("deployment");
            let sets: Vec<Arc<Set>> = case.roles("sets").into_iter().map(Arc::new).collect();
            let running: Vec<String> = case.roles("running");
            plan(&deployment, &sets, |uid| running.iter().any(|r| r == uid), case.now)
        });
    }
}
