//! The slices of a service with a selector: which endpoints its pods make.
//!
//! Pure. Not here: how endpoints are spread over slices (`slices`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Value;
use api::resource::SERVICES;
use serde_json::json;

use crate::action::Plan;
use crate::meta::Pairs;
use crate::pods::Pod;
use crate::service::{HEADLESS, Service, address};
use crate::slices::{self, Group, Identity, MANAGED_BY, Owner, SERVICE, Slice, identity};

/// Who keeps these slices.
pub const US: &str = "endpointslice-controller.k8s.io";

/// Endpoints a slice.
const FULL: usize = 100;

/// Plans for a service, the pods it selects, and its slices.
pub fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    have: &[Arc<Slice>],
    zone: impl Fn(&str) -> Option<String>,
) -> Plan {
    let owner = Owner {
        kind: &SERVICES,
        meta: &service.metadata,
        labels: labels(service),
        full: FULL,
        families: service.families(),
    };
    slices::plan(&owner, endpoints(service, pods, zone), have)
}

/// The endpoints there should be, by group.
fn endpoints(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Group, BTreeMap<Identity, Value>> {
    let mut wanted: BTreeMap<Group, BTreeMap<Identity, Value>> = BTreeMap::new();
    for family in service.families() {
        for pod in pods.iter().filter(|p| !p.is_terminal()) {
            let Some(ip) = address(pod, family) else { continue };
            let mut ports = service.ports_of(pod);
            ports.sort();
            let endpoint = endpoint(service, pod, ip, &zone);
            wanted
                .entry((family.to_owned(), ports))
                .or_default()
                .insert(identity(&endpoint), endpoint);
        }
    }
    wanted
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    ip: &str,
    zone: impl Fn(&str) -> Option<String>,
) -> Value {
    let (serving, terminating) = (pod.is_ready(), pod.metadata.is_deleting());
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let meta = &pod.metadata;
    let mut endpoint = json!({
        "addresses": [ip],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": {
            "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid,
        },
    });
    if !pod.spec.node_name.is_empty() {
        endpoint["nodeName"] = pod.spec.node_name.as_str().into();
        if let Some(zone) = zone(&pod.spec.node_name) {
            endpoint["zone"] = zone.into();
        }
    }
    if let Some(host) = service.host_name(pod) {
        endpoint["hostname"] = host.into();
    }
    endpoint
}

fn labels(service: &Service) -> Pairs {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if service.is_headless() {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE.into(), service.metadata.name.clone());
    labels.insert(MANAGED_BY.into(), US.into());
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::Action;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let pods: Vec<Arc<Pod>> = case.roles("pods").into_iter().map(Arc::new).collect();
            let have: Vec<Arc<Slice>> = case.roles("have").into_iter().map(Arc::new).collect();
            plan(&case.role("service"), &pods, &have, |node| Some(format!("zone-of-{node}")))
        });
    }

    #[test]
    fn slices_hold_a_hundred() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a"},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]},
        }))
        .expect("a service");
        let pod = |i: usize| {
            let pod = json!({"metadata": {"name": format!("p{i}"), "uid": format!("u{i}")},
                             "status": {"podIP": format!("10.0.0.{i}")}});
            Arc::new(serde_json::from_value::<Pod>(pod).expect("a pod"))
        };
        let pods: Vec<Arc<Pod>> = (0..250).map(pod).collect();
        let created = plan(&service, &pods, &[], |_| None);
        let slices: Vec<Arc<Slice>> = created
            .actions
            .iter()
            .map(|action| {
                let Action::Create { object, .. } = action else { panic!("creates only") };
                Arc::new(serde_json::from_value(object.clone()).expect("a slice"))
            })
            .collect();
        let sizes: Vec<usize> =
            slices.iter().map(|s| s.endpoints.as_ref().map_or(0, Vec::len)).collect();
        assert_eq!(sizes, [100, 100, 50]);
        assert_eq!(plan(&service, &pods, &slices, |_| None).actions, [], "settled");
        let one_less = plan(&service, &pods[1..], &slices, |_| None);
        assert_eq!(one_less.actions.len(), 1, "one slice changes");
    }
}
