//! Endpoint slices of one owner: as few changes as possible to those there are.
//!
//! Endpoints with the same ports share slices. An endpoint stays in its slice as long as it exists; new
//! ones fill slices that change anyway, then those with room, then new slices. Pure. Not here: which
//! endpoints there should be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::resource::ENDPOINT_SLICES;
use api::{Resource, Value};
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::meta::{Meta, Pairs};
use crate::service::Port;

/// The label that names a slice's service.
pub const SERVICE: &str = "kubernetes.io/service-name";
/// The label that names who keeps a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

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
pub type Group = (String, Vec<Port>);

/// What tells endpoints apart: target and address.
pub type Identity = (String, String);

/// The identity of an endpoint.
pub fn identity(endpoint: &Value) -> Identity {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    (text(&endpoint["targetRef"]["uid"]), text(&endpoint["addresses"][0]))
}

/// Whose slices they are.
pub struct Owner<'a> {
    pub kind: &'a Resource,
    pub meta: &'a Meta,
    /// The slices' labels.
    pub labels: Pairs,
    /// Endpoints a slice.
    pub full: usize,
    /// Families that keep an empty slice when they have no endpoints.
    pub families: Vec<&'a str>,
}

/// Plans from the endpoints there should be, by group, and the slices there are.
pub fn plan(
    owner: &Owner<'_>,
    mut wanted: BTreeMap<Group, BTreeMap<Identity, Value>>,
    have: &[Arc<Slice>],
) -> Plan {
    let mut plan = Plan::default();
    let labels = &owner.labels;
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
        spread(&mut plan, owner, group, slices, std::mem::take(endpoints));
    }
    // A family without endpoints keeps one empty slice, which says that there are none.
    for family in &owner.families {
        if wanted.keys().any(|(f, _)| f == family) {
            continue;
        }
        let kept = doomed.iter().position(|s| s.address_type == *family);
        match kept.map(|at| doomed.remove(at)) {
            Some(slice) => {
                let empty = slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                    && slice.ports.as_ref().is_none_or(Vec::is_empty);
                if !empty || slice.metadata.labels != *labels {
                    plan.push(change(slice, &[], &[], labels));
                }
            }
            None => plan.push(create(owner, &((*family).to_owned(), Vec::new()), &[])),
        }
    }
    for slice in doomed {
        let meta = &slice.metadata;
        plan.push(Action::delete(&ENDPOINT_SLICES, &meta.namespace, &meta.name, &meta.uid));
    }
    plan
}

/// Brings the slices of one group up to date.
fn spread(
    plan: &mut Plan,
    owner: &Owner<'_>,
    group: &Group,
    slices: Vec<&Slice>,
    mut wanted: BTreeMap<Identity, Value>,
) {
    let labels = &owner.labels;
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
        while endpoints.len() < owner.full && fresh.peek().is_some() {
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
    for chunk in rest.chunks(owner.full) {
        plan.push(create(owner, group, chunk));
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

fn create(owner: &Owner<'_>, group: &Group, endpoints: &[Value]) -> Action {
    let (meta, labels) = (owner.meta, &owner.labels);
    Action::Create {
        resource: ENDPOINT_SLICES,
        namespace: meta.namespace.clone(),
        object: json!({
            "apiVersion": ENDPOINT_SLICES.api_version(), "kind": "EndpointSlice",
            "metadata": {
                "generateName": format!("{}-", meta.name), "namespace": meta.namespace,
                "labels": labels, "ownerReferences": [meta.as_controller(owner.kind)],
            },
            "addressType": group.0, "ports": ports_of(&group.1), "endpoints": endpoints,
        }),
    }
}
