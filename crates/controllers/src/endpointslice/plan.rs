//! The slices of a service: as few changes as possible to those there are.
//!
//! Pods with the same ports share slices. An endpoint stays in its slice as long as it exists; new ones
//! fill slices that change anyway, then those with room, then new slices. Pure. Not here: requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Value;
use api::resource::{ENDPOINT_SLICES, SERVICES};
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::meta::{Meta, Pairs};
use crate::pods::Pod;
use crate::service::{HEADLESS, Port, Service, address};

/// The label that names a slice's service.
pub const SERVICE: &str = "kubernetes.io/service-name";
/// The label that names who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// That is us.
pub const US: &str = "endpointslice-controller.k8s.io";

/// Endpoints a slice.
const FULL: usize = 100;

/// A slice that exists.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Slice {
    pub metadata: Meta,
    pub address_type: String,
    pub endpoints: Option<Vec<Value>>,
    pub ports: Option<Vec<Port>>,
}

/// What slices are told apart by: address family and ports.
type Group = (String, Vec<Port>);

/// What tells endpoints apart.
fn identity(endpoint: &Value) -> (String, String) {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&endpoint["targetRef"]["uid"]), text(&endpoint["addresses"][0]))
}

/// Plans for a service, the pods it selects, and its slices.
pub fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    have: &[Arc<Slice>],
    zone: impl Fn(&str) -> Option<String>,
) -> Plan {
    let mut plan = Plan::default();
    let mut wanted = endpoints(service, pods, zone);
    let families = service.families();
    let labels = labels(service);
    let mut groups: BTreeMap<Group, Vec<&Slice>> = BTreeMap::new();
    let mut doomed: Vec<&Slice> = Vec::new();
    let mut have: Vec<&Slice> = have.iter().map(|s| &**s).collect();
    have.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for slice in have.into_iter().filter(|s| !s.metadata.is_deleting()) {
        let mut ports = slice.ports.clone().unwrap_or_default();
        ports.sort();
        let group = (slice.address_type.clone(), ports);
        if wanted.contains_key(&group) {
            groups.entry(group).or_default().push(slice);
        } else {
            doomed.push(slice);
        }
    }
    for (group, endpoints) in &mut wanted {
        let slices = groups.remove(group).unwrap_or_default();
        spread(&mut plan, service, group, slices, std::mem::take(endpoints), &labels);
    }
    // A family without endpoints keeps one empty slice, which says that there are none.
    for family in families {
        if wanted.keys().any(|(f, _)| f == family) {
            continue;
        }
        let kept = doomed.iter().position(|s| s.address_type == family);
        match kept.map(|at| doomed.remove(at)) {
            Some(slice) => {
                let empty = slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                    && slice.ports.as_ref().is_none_or(Vec::is_empty);
                if !empty || slice.metadata.labels != labels {
                    plan.push(change(slice, &[], &[], &labels));
                }
            }
            None => plan.push(create(service, &(family.to_owned(), Vec::new()), &[], &labels)),
        }
    }
    for slice in doomed {
        let meta = &slice.metadata;
        plan.push(Action::delete(&ENDPOINT_SLICES, &meta.namespace, &meta.name, &meta.uid));
    }
    plan
}

/// The endpoints there should be, by group.
fn endpoints(
    service: &Service,
    pods: &[Arc<Pod>],
    zone: impl Fn(&str) -> Option<String>,
) -> BTreeMap<Group, BTreeMap<(String, String), Value>> {
    let mut wanted: BTreeMap<Group, BTreeMap<(String, String), Value>> = BTreeMap::new();
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

/// Brings the slices of one group up to date.
fn spread(
    plan: &mut Plan,
    service: &Service,
    group: &Group,
    slices: Vec<&Slice>,
    mut wanted: BTreeMap<(String, String), Value>,
    labels: &Pairs,
) {
    let mut kept: Vec<(&Slice, Vec<Value>, bool)> = Vec::new();
    let mut seen = BTreeSet::new();
    for slice in slices {
        let old = slice.endpoints.as_deref().unwrap_or_default();
        let mut endpoints = Vec::with_capacity(old.len());
        let mut changed = slice.metadata.labels != *labels;
        for endpoint in old {
            let id = identity(endpoint);
            match wanted.get(&id).filter(|_| seen.insert(id.clone())) {
                Some(new) => {
                    changed |= new != endpoint;
                    endpoints.push(new.clone());
                }
                None => changed = true,
            }
        }
        kept.push((slice, endpoints, changed));
    }
    wanted.retain(|id, _| !seen.contains(id));
    let mut fresh = wanted.into_values().peekable();
    // Slices that change anyway take new endpoints first, the fullest of them before the others.
    let mut order: Vec<usize> = (0..kept.len()).collect();
    order.sort_by_key(|at| (!kept[*at].2, std::cmp::Reverse(kept[*at].1.len())));
    for at in order {
        let (_, endpoints, changed) = &mut kept[at];
        while endpoints.len() < FULL && fresh.peek().is_some() {
            endpoints.extend(fresh.next());
            *changed = true;
        }
    }
    let rest: Vec<Value> = fresh.collect();
    for (slice, endpoints, changed) in &kept {
        let meta = &slice.metadata;
        if endpoints.is_empty() {
            plan.push(Action::delete(&ENDPOINT_SLICES, &meta.namespace, &meta.name, &meta.uid));
        } else if *changed {
            plan.push(change(slice, &group.1, endpoints, labels));
        }
    }
    for chunk in rest.chunks(FULL) {
        plan.push(create(service, group, chunk, labels));
    }
}

fn ports_of(ports: &[Port]) -> Value {
    // A slice of no ports at all would stand for every port; an empty list stands for none.
    ports.iter().map(|p| json!(p)).collect()
}

fn change(slice: &Slice, ports: &[Port], endpoints: &[Value], labels: &Pairs) -> Action {
    let meta = &slice.metadata;
    let mut patch = json!({
        "metadata": {"resourceVersion": meta.resource_version},
        "endpoints": endpoints, "ports": ports_of(ports),
    });
    if meta.labels != *labels {
        let mut wanted = json!(labels);
        for key in meta.labels.keys().filter(|k| !labels.contains_key(*k)) {
            wanted[key] = Value::Null;
        }
        patch["metadata"]["labels"] = wanted;
    }
    Action::patch(&ENDPOINT_SLICES, &meta.namespace, &meta.name, patch)
}

fn create(service: &Service, group: &Group, endpoints: &[Value], labels: &Pairs) -> Action {
    let meta = &service.metadata;
    Action::Create {
        resource: ENDPOINT_SLICES,
        namespace: meta.namespace.clone(),
        object: json!({
            "apiVersion": ENDPOINT_SLICES.api_version(), "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", meta.name), "namespace": meta.namespace,
                "labels": labels, "ownerReferences": [meta.as_controller(&SERVICES)],
            },
            "addressType": group.0, "ports": ports_of(&group.1), "endpoints": endpoints,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
