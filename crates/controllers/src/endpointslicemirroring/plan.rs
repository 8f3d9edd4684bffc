//! The slices that mirror an endpoints object.
//!
//! Pure. Not here: how endpoints are spread over slices (`slices`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::Value;
use api::resource::ENDPOINTS;
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::meta::Meta;
use crate::service::{Port, Service};
use crate::slices::{self, Group, Identity, MANAGED_BY, Owner, SERVICE, Slice, identity};
use api::resource::ENDPOINT_SLICES;

/// Who keeps these slices.
pub const US: &str = "endpointslicemirroring-controller.k8s.io";
/// Endpoints with this label are not mirrored.
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Endpoints with this annotation are only a lock.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Endpoints mirrored of a subset, and held by a slice.
const MAX: usize = 1000;

/// An endpoints object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    pub metadata: Meta,
    pub subsets: Option<Vec<Subset>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subset {
    pub addresses: Vec<Value>,
    pub not_ready_addresses: Vec<Value>,
    pub ports: Vec<Port>,
}

/// Plans for a service, its endpoints, and the slices that mirror them.
pub fn plan(service: Option<&Service>, endpoints: Option<&Endpoints>, have: &[Arc<Slice>]) -> Plan {
    let manual = service.is_some_and(|s| s.spec.selector.is_none() && !s.metadata.is_deleting());
    let mirrored = endpoints.filter(|e| {
        manual
            && !e.metadata.is_deleting()
            && e.metadata.labels.get(SKIP).map(String::as_str) != Some("true")
            && e.metadata.annotation(LEADER).is_none()
    });
    let Some(endpoints) = mirrored else {
        let mut plan = Plan::default();
        for slice in have.iter().filter(|s| !s.metadata.is_deleting()) {
            let meta = &slice.metadata;
            plan.push(Action::delete(&ENDPOINT_SLICES, &meta.namespace, &meta.name, &meta.uid));
        }
        return plan;
    };
    let meta = &endpoints.metadata;
    let mut labels = meta.labels.clone();
    labels.insert(SERVICE.into(), meta.name.clone());
    labels.insert(MANAGED_BY.into(), US.into());
    let owner = Owner { kind: &ENDPOINTS, meta, labels, full: MAX, families: Vec::new() };
    slices::plan(&owner, wanted(endpoints), have)
}

fn wanted(endpoints: &Endpoints) -> BTreeMap<Group, BTreeMap<Identity, Value>> {
    let mut wanted: BTreeMap<Group, BTreeMap<Identity, Value>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports = subset.ports.clone();
        for port in &mut ports {
            if port.protocol.is_empty() {
                port.protocol = "TCP".into();
            }
        }
        ports.sort();
        let ready = subset.addresses.iter().map(|a| (a, true));
        let all = ready.chain(subset.not_ready_addresses.iter().map(|a| (a, false)));
        for (address, ready) in all.take(MAX) {
            let Some(ip) = address["ip"].as_str() else { continue };
            let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
            let mut endpoint = json!({"addresses": [ip], "conditions": {"ready": ready}});
            for field in ["hostname", "nodeName", "targetRef"] {
                if let Some(value) = address.get(field).filter(|v| !v.is_null()) {
                    endpoint[field] = value.clone();
                }
            }
            let group = wanted.entry((family.to_owned(), ports.clone())).or_default();
            group.insert(identity(&endpoint), endpoint);
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let service: Option<Service> = case.role("service");
            let endpoints: Option<Endpoints> = case.role("endpoints");
            let have: Vec<Arc<Slice>> = case.roles("have").into_iter().map(Arc::new).collect();
            plan(service.as_ref(), endpoints.as_ref(), &have)
        });
    }
}
