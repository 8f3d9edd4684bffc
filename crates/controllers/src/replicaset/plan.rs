//! How many pods a set creates or deletes, and its status.
//!
//! Pure. Not here: requests.

use std::collections::HashMap;
use std::sync::Arc;

use api::selector::LabelSelector;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{Flavour, Set};
use crate::action::{Action, Plan};
use crate::condition::{self, Condition};
use crate::meta::{count, difference};
use crate::pods::{Pod, rank_for_deletion};
use crate::refs::{Claim, adopt, claim, release};
use api::resource::PODS;

/// A set creates or deletes at most so many pods at once.
const BURST: usize = 500;

/// What a set does to its pods.
#[derive(Default, Serialize)]
pub struct Replicas {
    /// Pods to adopt and release.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<Action>,
    /// How many pods to create.
    pub create: usize,
    /// Pods to delete.
    #[serde(serialize_with = "names")]
    pub delete: Vec<Arc<Pod>>,
    /// The active pods it has, before either.
    #[serde(skip)]
    pub owned: Vec<Arc<Pod>>,
    /// How many pods of it are on their way out.
    #[serde(skip)]
    pub terminating: i64,
}

fn names<S: serde::Serializer>(pods: &[Arc<Pod>], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(pods.iter().map(|p| &p.metadata.name))
}

/// Decides on the pods. `pods` are those that the set owns or might adopt; a set that is not `settled`
/// neither creates nor deletes.
pub fn replicas(
    flavour: Flavour,
    set: &Set,
    selector: &LabelSelector,
    pods: &[Arc<Pod>],
    settled: bool,
    now: Timestamp,
    crowds: impl FnOnce() -> HashMap<String, usize>,
) -> Replicas {
    let mut plan = Replicas::default();
    for pod in pods {
        let mine = match claim(&set.metadata, selector, &pod.metadata) {
            Claim::Owned => true,
            Claim::Adopt if pod.is_active() => {
                let adoption = adopt(flavour.resource(), &set.metadata, &PODS, &pod.metadata);
                plan.claims.push(adoption);
                true
            }
            Claim::Release => {
                if pod.is_active() {
                    plan.claims.push(release(&set.metadata, &PODS, &pod.metadata));
                }
                false
            }
            Claim::Adopt | Claim::Other => false,
        };
        if mine && pod.is_active() {
            plan.owned.push(pod.clone());
        } else if mine && !pod.is_terminal() {
            plan.terminating += 1;
        }
    }
    if !settled || set.metadata.is_deleting() {
        return plan;
    }
    let wanted = usize::try_from(set.wanted()).unwrap_or(0);
    let have = plan.owned.len();
    plan.create = wanted.saturating_sub(have).min(BURST);
    let surplus = have.saturating_sub(wanted).min(BURST);
    if surplus > 0 {
        let mut ranked = plan.owned.clone();
        if surplus < have {
            let crowds = crowds();
            rank_for_deletion(&mut ranked, now, |pod| {
                crowds.get(&pod.spec.node_name).copied().unwrap_or(0)
            });
        }
        ranked.truncate(surplus);
        plan.delete = ranked;
    }
    plan
}

/// Decides on the status, after the pods have been seen to; `failure` is what went wrong then.
pub fn status(
    flavour: Flavour,
    set: &Set,
    replicas: &Replicas,
    failure: Option<(&'static str, String)>,
    now: Timestamp,
) -> Plan {
    let (mut labeled, mut ready, mut available) = (0, 0, 0);
    let mut plan = Plan::default();
    let template_labels = set.spec.template["metadata"]["labels"].as_object();
    for pod in &replicas.owned {
        let has = |(k, v): (&String, &api::Value)| {
            pod.metadata.labels.get(k).map(String::as_str) == v.as_str()
        };
        labeled += i64::from(template_labels.is_none_or(|labels| labels.iter().all(has)));
        match pod.seconds_to_available(set.spec.min_ready_seconds, now) {
            Some(0) => {
                ready += 1;
                available += 1;
            }
            Some(seconds) => {
                ready += 1;
                plan.look_again(seconds);
            }
            None => {}
        }
    }
    let mut conditions: Vec<Condition> =
        serde_json::from_value(set.status["conditions"].clone()).unwrap_or_default();
    match failure {
        Some((reason, message)) => {
            let time = api::clock::format_time(now);
            let new = Condition::new("ReplicaFailure", true, reason, message, &time);
            condition::set(&mut conditions, new);
        }
        None => condition::remove(&mut conditions, "ReplicaFailure"),
    }
    let conditions = if conditions.is_empty() { json!(null) } else { json!(conditions) };
    let owned = i64::try_from(replicas.owned.len()).unwrap_or(i64::MAX);
    let mut new = json!({
        "replicas": owned,
        "fullyLabeledReplicas": count(labeled),
        "readyReplicas": count(ready),
        "availableReplicas": count(available),
        "observedGeneration": set.metadata.generation,
        "conditions": conditions,
    });
    if flavour == Flavour::ReplicaSet {
        // Always there, also as zero: absent means that nobody counts.
        new["terminatingReplicas"] = replicas.terminating.into();
    }
    if let Some(patch) = difference(&set.status, &new) {
        let meta = &set.metadata;
        plan.push(Action::status(flavour.resource(), &meta.namespace, &meta.name, patch));
    }
    plan
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let set: Set = case.role("set");
            let pods: Vec<Arc<Pod>> = case.roles("pods").into_iter().map(Arc::new).collect();
            let settled = case.role::<Option<bool>>("settled").unwrap_or(true);
            let flavour = Flavour::ReplicaSet;
            let selector = flavour.selector(&set).expect("a selector");
            let found = replicas(flavour, &set, &selector, &pods, settled, case.now, HashMap::new);
            let failure: Option<String> = case.role("failure");
            let status =
                status(flavour, &set, &found, failure.map(|f| ("FailedCreate", f)), case.now);
            json!({"pods": found, "status": status}) as Value
        });
    }
}
