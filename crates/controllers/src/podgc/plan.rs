//! Which pods are garbage.
//!
//! Pure. Not here: since when nodes are gone.

use std::sync::Arc;

use api::resource::PODS;
use jiff::Timestamp;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::pods::Pod;
use crate::tainteviction::plan::disrupted;

/// A plan for each pod to delete. `gone` are nodes that are no more; `limit` is how many ended pods may
/// stay (0: any number).
pub fn plans(pods: &[Arc<Pod>], gone: &[String], limit: usize, now: Timestamp) -> Vec<Plan> {
    let mut plans = Vec::new();
    for pod in pods {
        if gone.contains(&pod.spec.node_name) {
            plans.push(orphan(pod, now));
        } else if pod.metadata.is_deleting() && pod.spec.node_name.is_empty() {
            plans.push(forced(pod));
        }
    }
    let mut ended: Vec<&Arc<Pod>> =
        pods.iter().filter(|p| p.is_terminal() && !p.metadata.is_deleting()).collect();
    if limit > 0 && ended.len() > limit {
        // The longest there, first.
        ended.sort_by_key(|p| (p.metadata.creation_timestamp.clone(), p.metadata.name.clone()));
        plans.extend(ended[..ended.len() - limit].iter().map(|p| forced(p)));
    }
    plans
}

fn forced(pod: &Pod) -> Plan {
    let mut plan = Plan::default();
    let meta = &pod.metadata;
    plan.push(Action::Delete {
        resource: PODS,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        grace: Some(0),
        propagation: None,
    });
    plan
}

/// Nobody is left to report how the pod ended: it has failed.
fn orphan(pod: &Pod, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if !pod.is_terminal() {
        let note = "PodGC: node no longer exists";
        let extra = json!({"phase": "Failed"});
        plan.push(disrupted(pod, "DeletionByPodGC", note, extra, now));
    }
    plan.actions.extend(forced(pod).actions);
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let pods: Vec<Arc<Pod>> = case.roles("pods").into_iter().map(Arc::new).collect();
            let gone: Vec<String> = case.roles("gone");
            let limit: Option<usize> = case.role("limit");
            plans(&pods, &gone, limit.unwrap_or(0), case.now)
        });
    }
}
