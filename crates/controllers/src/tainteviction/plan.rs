//! Whether a pod may stay on a tainted node, and for how long.
//!
//! Pure. Not here: requests.

use api::resource::PODS;
use api::{Value, clock};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::condition::{self, Condition};
use crate::pods::Pod;

/// A taint of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
    pub time_added: Option<String>,
}

/// A toleration of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Toleration {
    key: String,
    operator: String,
    value: String,
    effect: String,
    toleration_seconds: Option<i64>,
}

impl Toleration {
    fn tolerates(&self, taint: &Taint) -> bool {
        (self.effect.is_empty() || self.effect == taint.effect)
            && match self.operator.as_str() {
                "Exists" => self.key.is_empty() || self.key == taint.key,
                "" | "Equal" => self.key == taint.key && self.value == taint.value,
                _ => false,
            }
    }
}

/// Plans for a pod on a node with these taints.
pub fn plan(pod: &Pod, taints: &[Taint], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let taints: Vec<&Taint> = taints.iter().filter(|t| t.effect == "NoExecute").collect();
    if taints.is_empty() || pod.metadata.is_deleting() || pod.is_terminal() {
        return plan;
    }
    let tolerations: Vec<Toleration> = pod
        .spec
        .tolerations
        .iter()
        .filter_map(|t: &Value| Toleration::deserialize(t).ok())
        .collect();
    // The earliest end of all; `None`: for ever.
    let mut until: Option<i64> = None;
    for taint in taints {
        let matching: Vec<&Toleration> =
            tolerations.iter().filter(|t| t.tolerates(taint)).collect();
        if matching.is_empty() {
            return evict(pod, now);
        }
        let added: Option<Timestamp> = taint.time_added.as_deref().and_then(|t| t.parse().ok());
        let added = added.unwrap_or(now).as_second();
        if let Some(seconds) = matching.iter().filter_map(|t| t.toleration_seconds).min() {
            let end = added.saturating_add(seconds.max(0));
            until = Some(until.map_or(end, |u| u.min(end)));
        }
    }
    match until {
        Some(end) if end <= now.as_second() => return evict(pod, now),
        Some(end) => plan.look_again(u64::try_from(end - now.as_second()).unwrap_or(0)),
        None => {}
    }
    plan
}

fn evict(pod: &Pod, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let meta = &pod.metadata;
    let note = format!("Marking for deletion Pod {}/{}", meta.namespace, meta.name);
    plan.push(Action::event(&meta.reference(&PODS), "TaintManagerEviction", note));
    plan.push(disrupted(
        pod,
        "DeletionByTaintManager",
        "Taint manager: deleting due to NoExecute taint",
        json!({}),
        now,
    ));
    plan.push(Action::delete(&PODS, &meta.namespace, &meta.name, &meta.uid));
    plan
}

/// Tells in a pod's status that it is not its own doing that it ends.
pub fn disrupted(pod: &Pod, reason: &str, note: &str, extra: Value, now: Timestamp) -> Action {
    let meta = &pod.metadata;
    let mut conditions = pod.status.conditions.clone();
    let time = clock::format_time(now);
    let new = Condition::new("DisruptionTarget", true, reason, note, &time);
    condition::set(&mut conditions, new);
    let mut status = extra;
    status["conditions"] = json!(conditions);
    Action::Patch {
        resource: PODS,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        sub: Some("status"),
        patch: json!({"metadata": {"uid": meta.uid}, "status": status}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            plan(&case.role("pod"), &case.roles::<Taint>("taints"), case.now)
        });
    }
}
