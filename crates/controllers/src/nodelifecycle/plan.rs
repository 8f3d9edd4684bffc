//! Conditions of a silent node, taints by conditions, and pods that are ready no more.
//!
//! Pure. Not here: how long a node has been silent.

use api::resource::{NODES, PODS};
use api::{Value, clock};
use jiff::Timestamp;
use serde_json::json;

use super::Node;
use crate::action::{Action, Plan};
use crate::condition::{self, Condition};
use crate::pods::Pod;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The reason of conditions that we have set for a silent node.
pub const UNKNOWN_REASON: &str = "NodeStatusUnknown";

/// Which state of which condition makes which `NoSchedule` taint.
const TAINTS: &[(&str, &str, &str)] = &[
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The conditions that a silent node's kubelet no longer vouches for.
const VOUCHED: &[&str] = &["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub fn is_ready(node: &Node) -> bool {
    condition::find(&node.status.conditions, "Ready").is_some_and(Condition::is_true)
}

/// Plans for a node. `silent`: it has not been heard of for too long. `all_down`: no node is ready.
pub fn plan(node: &Node, silent: bool, all_down: bool, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut conditions = node.status.conditions.clone();
    let time = clock::format_time(now);
    if silent {
        let mut changed = Vec::new();
        for kind in VOUCHED {
            if let Some(unknown) = unknown(condition::find(&conditions, kind), kind, node, &time) {
                conditions.retain(|c| c.kind != *kind);
                conditions.push(unknown.clone());
                changed.push(unknown);
            }
        }
        if !changed.is_empty() {
            if is_ready(node) {
                let note = format!("Node {} status is now: NodeNotReady", node.metadata.name);
                let about = node.metadata.reference(&NODES);
                plan.push(Action::event(&about, "NodeNotReady", note));
            }
            plan.push(Action::status(
                &NODES,
                "",
                &node.metadata.name,
                json!({ "conditions": conditions }),
            ));
        }
    }
    if let Some(taints) = taints(node, &conditions, all_down, &time) {
        let taints = if taints.is_empty() { Value::Null } else { taints.into() };
        // A list is replaced whole: only while nobody else has changed the node. The status above is
        // another write; then the taints follow with its event.
        if plan.actions.is_empty() {
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints},
            });
            plan.push(Action::patch(&NODES, "", &node.metadata.name, patch));
        }
    }
    plan
}

fn unknown(current: Option<&Condition>, kind: &str, node: &Node, time: &str) -> Option<Condition> {
    let Some(current) = current else {
        return Some(Condition {
            kind: kind.into(),
            status: "Unknown".into(),
            last_heartbeat_time: Some(node.metadata.creation_timestamp.clone()),
            last_transition_time: Some(time.into()),
            reason: "NodeStatusNeverUpdated".into(),
            message: "Kubelet never posted node status.".into(),
            ..Condition::default()
        });
    };
    (current.status != "Unknown").then(|| Condition {
        status: "Unknown".into(),
        last_transition_time: Some(time.into()),
        reason: UNKNOWN_REASON.into(),
        message: "Kubelet stopped posting node status.".into(),
        ..current.clone()
    })
}

/// The taints a node should have, if they differ from what it has.
fn taints(node: &Node, conditions: &[Condition], all_down: bool, time: &str) -> Option<Vec<Value>> {
    let state = |kind: &str| condition::find(conditions, kind).map(|c| c.status.as_str());
    let mut wanted: Vec<(&str, &str)> = TAINTS
        .iter()
        .filter(|(kind, status, _)| state(kind) == Some(status))
        .map(|(_, _, key)| (*key, "NoSchedule"))
        .collect();
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match state("Ready") {
        _ if all_down => {}
        Some("False") => wanted.push((NOT_READY, "NoExecute")),
        Some("Unknown") => wanted.push((UNREACHABLE, "NoExecute")),
        _ => {}
    }
    // A node that has never said anything is only kept from new pods by what it was created with.
    let silent = state("Ready").is_none();
    let ours = |key: &str, effect: &str| {
        let by_condition = TAINTS.iter().any(|(_, _, k)| *k == key) || key == UNSCHEDULABLE;
        match effect {
            "NoSchedule" => by_condition && !(silent && key == NOT_READY),
            "NoExecute" => key == NOT_READY || key == UNREACHABLE,
            _ => false,
        }
    };
    let name = |t: &Value| -> (String, String) {
        let text = |f: &str| t[f].as_str().unwrap_or_default().to_owned();
        (text("key"), text("effect"))
    };
    let mut taints: Vec<Value> = Vec::new();
    for taint in &node.spec.taints {
        let (key, effect) = name(taint);
        if !ours(&key, &effect) || wanted.contains(&(key.as_str(), effect.as_str())) {
            taints.push(taint.clone());
        }
    }
    for (key, effect) in wanted {
        if !taints.iter().any(|t| name(t) == (key.to_owned(), effect.to_owned())) {
            taints.push(json!({"key": key, "effect": effect, "timeAdded": time}));
        }
    }
    (taints != node.spec.taints).then_some(taints)
}

/// Pods of a node that is not ready are not ready either.
pub fn unready_pods(node: &Node, pods: &[&Pod], now: Timestamp) -> Vec<Action> {
    let ready = condition::find(&node.status.conditions, "Ready");
    if ready.is_none_or(Condition::is_true) {
        return Vec::new();
    }
    let time = clock::format_time(now);
    let mut actions = Vec::new();
    for pod in pods.iter().filter(|p| p.is_ready()) {
        let mut conditions = pod.status.conditions.clone();
        for condition in conditions.iter_mut().filter(|c| c.kind == "Ready") {
            condition.status = "False".into();
            condition.last_transition_time = Some(time.clone());
        }
        let Pod { metadata: meta, .. } = pod;
        let patch = json!({
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "status": {"conditions": conditions},
        });
        actions.push(Action::Patch {
            resource: PODS,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            sub: Some("status"),
            patch,
        });
        actions.push(Action::warn(&meta.reference(&PODS), "NodeNotReady", "Node is not ready"));
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let node: Node = case.role("node");
            let flag = |role: &str| case.role::<Option<bool>>(role).unwrap_or(false);
            let mut plan = plan(&node, flag("silent"), flag("all_down"), case.now);
            let pods: Vec<Pod> = case.roles("pods");
            let pods: Vec<&Pod> = pods.iter().collect();
            plan.actions.extend(unready_pods(&node, &pods, case.now));
            plan
        });
    }
}
