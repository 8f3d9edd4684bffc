//! The status of a deployment: counts, availability, progress and its deadline.
//!
//! Pure. Not here: rollout steps (`plan`).

use api::resource::DEPLOYMENTS;
use api::{Value, clock};
use jiff::Timestamp;
use serde_json::json;

use super::Deployment;
use super::plan::{REVISION, Rollout};
use crate::action::{Action, Plan};
use crate::condition::{self, Condition};
use crate::meta::{count, difference};

pub const PROGRESSING: &str = "Progressing";
pub const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const AVAILABLE: &str = "NewReplicaSetAvailable";

/// A condition with both its times.
pub fn condition(kind: &str, status: bool, reason: &str, note: &str, now: Timestamp) -> Condition {
    let time = clock::format_time(now);
    Condition {
        last_update_time: Some(time.clone()),
        ..Condition::new(kind, status, reason, note, &time)
    }
}

/// How long a rollout may stand still; the largest number stands for "for ever".
pub fn deadline(deployment: &Deployment) -> Option<i64> {
    deployment.spec.progress_deadline_seconds.filter(|s| *s != i64::from(i32::MAX))
}

fn field(status: &Value, name: &str) -> i64 {
    status[name].as_i64().unwrap_or(0)
}

/// Whether a status says that the rollout has arrived.
pub fn complete(deployment: &Deployment, status: &Value, wanted: i64) -> bool {
    ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|f| field(status, f) == wanted)
        && field(status, "observedGeneration") >= deployment.metadata.generation
}

/// Whether something has moved between two statuses.
fn progressed(old: &Value, new: &Value) -> bool {
    let behind = |s: &Value| field(s, "replicas") - field(s, "updatedReplicas");
    field(new, "updatedReplicas") > field(old, "updatedReplicas")
        || behind(new) < behind(old)
        || field(new, "readyReplicas") > field(old, "readyReplicas")
        || field(new, "availableReplicas") > field(old, "availableReplicas")
}

/// The status after a new replica set could not be created.
pub fn create_failed(deployment: &Deployment, note: &str, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let meta = &deployment.metadata;
    plan.push(Action::warn(&meta.reference(&DEPLOYMENTS), "ReplicaSetCreateError", note));
    if deadline(deployment).is_some() {
        let mut conditions: Vec<Condition> =
            serde_json::from_value(deployment.status["conditions"].clone()).unwrap_or_default();
        let new = condition(PROGRESSING, false, "ReplicaSetCreateError", note, now);
        condition::set(&mut conditions, new);
        let status = json!({ "conditions": conditions });
        if let Some(patch) = difference(&deployment.status, &status) {
            plan.push(Action::status(&DEPLOYMENTS, &meta.namespace, &meta.name, patch));
        }
    }
    plan
}

impl Rollout<'_> {
    /// Adds the status to the plan; `rolling` where progress counts.
    pub(super) fn finish(&mut self, rolling: bool) {
        let sets: Vec<_> = self.old.iter().chain(&self.new).collect();
        let sum = |f: fn(&super::Set) -> i64| sets.iter().map(|s| f(s)).sum::<i64>();
        let (total, available) = (sum(super::Set::size), self.available());
        let terminating: Option<i64> = sets.iter().map(|s| s.status.terminating_replicas).sum();
        let mut new = json!({
            "observedGeneration": self.deployment.metadata.generation,
            "replicas": count(sum(|s| s.status.replicas)),
            "updatedReplicas": count(self.new.as_ref().map_or(0, |s| s.status.replicas)),
            "readyReplicas": count(sum(|s| s.status.ready_replicas)),
            "availableReplicas": count(available),
            "unavailableReplicas": count((total - available).max(0)),
            "terminatingReplicas": terminating,
        });
        self.availability(available);
        if rolling {
            self.progress(&new);
        }
        new["conditions"] = match self.conditions.as_slice() {
            [] => Value::Null,
            all => json!(all),
        };
        let mut patch = json!({});
        if let Some(status) = difference(&self.deployment.status, &new) {
            patch["status"] = status;
        }
        if let Some(revision) = &self.revision {
            patch["metadata"] = json!({"annotations": {REVISION: revision}});
        }
        if patch != json!({}) {
            let meta = &self.deployment.metadata;
            // Through the status: a change of annotations elsewhere counts as a new generation.
            self.plan.push(Action::Patch {
                resource: DEPLOYMENTS,
                namespace: meta.namespace.clone(),
                name: meta.name.clone(),
                sub: Some("status"),
                patch,
            });
        }
    }

    fn availability(&mut self, available: i64) {
        let enough = available >= self.wanted - self.limits.unavailable;
        let (reason, note) = if enough {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        condition::set(
            &mut self.conditions,
            condition("Available", enough, reason, note, self.now),
        );
    }

    fn progress(&mut self, new: &Value) {
        let Some(deadline) = deadline(self.deployment) else {
            condition::remove(&mut self.conditions, PROGRESSING);
            return self.failures();
        };
        let current = condition::find(&self.conditions, PROGRESSING).cloned();
        let arrived = current.as_ref().is_some_and(|c| c.reason == AVAILABLE)
            && field(new, "replicas") == field(new, "updatedReplicas");
        if !arrived {
            let what = match &self.new {
                Some(set) => format!("ReplicaSet {:?}", set.metadata.name),
                None => format!("Deployment {:?}", self.deployment.metadata.name),
            };
            if complete(self.deployment, new, self.wanted) {
                let note = format!("{what} has successfully progressed.");
                let new = condition(PROGRESSING, true, AVAILABLE, &note, self.now);
                condition::set(&mut self.conditions, new);
            } else if progressed(&self.deployment.status, new) {
                let note = format!("{what} is progressing.");
                let mut new = condition(PROGRESSING, true, "ReplicaSetUpdated", &note, self.now);
                // The update time moves with every step, the transition time does not.
                if let Some(old) = current.filter(Condition::is_true) {
                    new.last_transition_time = old.last_transition_time;
                }
                condition::remove(&mut self.conditions, PROGRESSING);
                self.conditions.push(new);
            } else if let Some(current) = current {
                self.wait(&current, deadline, &what);
            }
        }
        self.failures();
    }

    /// Nothing has moved: the deadline passes, or is waited for.
    fn wait(&mut self, current: &Condition, deadline: i64, what: &str) {
        if matches!(current.reason.as_str(), AVAILABLE | TIMED_OUT) || self.deployment.spec.paused {
            return;
        }
        let since: Option<Timestamp> =
            current.last_update_time.as_deref().and_then(|t| t.parse().ok());
        let Some(since) = since else { return };
        let left = since.as_second() + deadline - self.now.as_second();
        if left < 0 {
            let note = format!("{what} has timed out progressing.");
            let new = condition(PROGRESSING, false, TIMED_OUT, &note, self.now);
            condition::set(&mut self.conditions, new);
        } else {
            self.plan.look_again(u64::try_from(left).unwrap_or(0) + 1);
        }
    }

    /// A set that cannot have its pods is the deployment's failure too.
    fn failures(&mut self) {
        let failing =
            |s: &super::Set| condition::find(&s.status.conditions, "ReplicaFailure").cloned();
        let failure = self.new.iter().chain(&self.old).find_map(failing);
        match failure {
            Some(failure) => {
                let mut new = failure;
                new.last_update_time.clone_from(&new.last_transition_time);
                condition::set(&mut self.conditions, new);
            }
            None => condition::remove(&mut self.conditions, "ReplicaFailure"),
        }
    }
}
