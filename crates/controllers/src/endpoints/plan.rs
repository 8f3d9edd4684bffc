//! The endpoints object of a service.
//!
//! Pure. Not here: requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::resource::ENDPOINTS;
use api::{Object, Value};
use serde_json::json;

use crate::action::{Action, Plan};
use crate::pods::Pod;
use crate::service::{HEADLESS, Port, Service, address};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const US: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// No object holds more addresses.
const MAX: usize = 1000;

/// Whether this controller has made an object.
pub fn is_ours(endpoints: &Object) -> bool {
    endpoints.labels().any(|(k, v)| k == MANAGED_BY && v == US)
}

#[derive(Default)]
struct Subset {
    ready: Vec<(String, Value)>,
    unready: Vec<(String, Value)>,
}

/// Plans for a service, the pods it selects, and the object there is.
pub fn plan(service: &Service, pods: &[Arc<Pod>], have: Option<&Object>) -> Plan {
    let meta = &service.metadata;
    let mut subsets: BTreeMap<Vec<Port>, Subset> = BTreeMap::new();
    let family = service.families().first().copied().unwrap_or("IPv4");
    let publish = service.spec.publish_not_ready_addresses;
    for pod in pods {
        let Some(ip) = address(pod, family).filter(|_| !pod.is_terminal()) else { continue };
        if pod.metadata.is_deleting() && !publish {
            continue;
        }
        let mut ports = service.ports_of(pod);
        ports.sort();
        if ports.is_empty() && !(service.is_headless() && service.spec.ports.is_empty()) {
            continue;
        }
        let subset = subsets.entry(ports).or_default();
        let ready = publish || pod.is_ready();
        let side = if ready { &mut subset.ready } else { &mut subset.unready };
        side.push((ip.to_owned(), address_of(service, pod, ip)));
    }
    let total: usize = subsets.values().map(|s| s.ready.len() + s.unready.len()).sum();
    let mut room = MAX;
    let subsets: Vec<Value> =
        subsets.into_iter().map(|(ports, subset)| subset_of(&ports, subset, &mut room)).collect();

    let mut labels = meta.labels.clone();
    labels.insert(MANAGED_BY.into(), US.into());
    if service.is_headless() {
        labels.insert(HEADLESS.into(), String::new());
    }
    let over = (total > MAX).then_some("truncated");
    let subsets = if subsets.is_empty() { Value::Null } else { subsets.into() };
    let mut plan = Plan::default();
    match have {
        None => {
            let mut metadata =
                json!({"name": meta.name, "namespace": meta.namespace, "labels": labels});
            if let Some(over) = over {
                metadata["annotations"] = json!({OVER_CAPACITY: over});
            }
            let mut object = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata});
            if !subsets.is_null() {
                object["subsets"] = subsets;
            }
            plan.push(Action::Create {
                resource: ENDPOINTS,
                namespace: meta.namespace.clone(),
                object,
            });
        }
        Some(have) => {
            let mut patch = json!({});
            if *have.at("subsets").unwrap_or(&Value::Null) != subsets {
                patch["subsets"] = subsets;
            }
            let old: BTreeMap<&str, &str> = have.labels().collect();
            let same = old.len() == labels.len()
                && labels.iter().all(|(k, v)| old.get(k.as_str()) == Some(&v.as_str()));
            if !same {
                let mut wanted = json!(labels);
                for key in old.keys().filter(|k| !labels.contains_key(**k)) {
                    wanted[*key] = Value::Null;
                }
                patch["metadata"]["labels"] = wanted;
            }
            if have.annotation(OVER_CAPACITY) != over {
                patch["metadata"]["annotations"] = json!({OVER_CAPACITY: over});
            }
            if patch != json!({}) {
                plan.push(Action::patch(&ENDPOINTS, &meta.namespace, &meta.name, patch));
            }
        }
    }
    plan
}

fn address_of(service: &Service, pod: &Pod, ip: &str) -> Value {
    let meta = &pod.metadata;
    let mut address = json!({
        "ip": ip,
        "targetRef": {
            "kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid,
        },
    });
    if !pod.spec.node_name.is_empty() {
        address["nodeName"] = pod.spec.node_name.as_str().into();
    }
    if let Some(host) = service.host_name(pod) {
        address["hostname"] = host.into();
    }
    address
}

fn subset_of(ports: &[Port], subset: Subset, room: &mut usize) -> Value {
    let mut object = json!({});
    // Ready addresses get what room there is first.
    for (field, mut side) in [("addresses", subset.ready), ("notReadyAddresses", subset.unready)] {
        side.sort_by(|a, b| a.0.cmp(&b.0));
        side.truncate(*room);
        *room -= side.len();
        if !side.is_empty() {
            object[field] = side.into_iter().map(|(_, address)| address).collect();
        }
    }
    if !ports.is_empty() {
        let port = |p: &Port| {
            let mut port = json!(p);
            if p.name.is_empty()
                && let Some(map) = port.as_object_mut()
            {
                map.remove("name");
            }
            port
        };
        object["ports"] = ports.iter().map(port).collect();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let pods: Vec<Arc<Pod>> = case.roles("pods").into_iter().map(Arc::new).collect();
            let have: Option<Object> = case.role("have");
            plan(&case.role("service"), &pods, have.as_ref())
        });
    }
}
