//! Services as the endpoint controllers see them: their projection, which pods they select, and the
//! ports those pods have for them.
//!
//! Not here: the objects that say so (`endpoints`, `endpointslice`).

use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::LabelSelectorSpec;
use api::{Entry, Value};
use client::Informer;
use serde::{Deserialize, Serialize};

use crate::context::{Context, Name, name_of};
use crate::meta::Meta;
use crate::pods::{Pod, Views};

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Service {
    pub metadata: Meta,
    pub spec: Spec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    pub selector: Option<BTreeMap<String, String>>,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    pub ip_families: Vec<String>,
    pub ports: Vec<ServicePort>,
    pub publish_not_ready_addresses: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    pub name: String,
    pub protocol: String,
    pub port: i64,
    pub target_port: Value,
    pub app_protocol: Option<String>,
}

/// A port of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Port {
    pub name: String,
    pub port: i64,
    pub protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// Marks the endpoints of services without an address of their own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

impl Service {
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    /// Whether its endpoints are ours to find.
    pub fn is_managed(&self) -> bool {
        self.spec.selector.is_some() && self.spec.kind != "ExternalName"
    }

    /// Whether it selects an object with these labels.
    pub fn selects(&self, entry: &Entry) -> bool {
        let Some(labels) = self.spec.selector.as_ref().filter(|_| self.is_managed()) else {
            return false;
        };
        labels.iter().all(|(k, v)| entry.card.label(k) == Some(v))
    }

    /// The address families its endpoints are found in.
    pub fn families(&self) -> Vec<&str> {
        match self.spec.ip_families.as_slice() {
            [] if self.spec.cluster_ip.contains(':') => vec!["IPv6"],
            [] => vec!["IPv4"],
            all => all.iter().map(String::as_str).collect(),
        }
    }

    /// The ports that a pod has for this service, in its order; those it lacks are left out.
    pub fn ports_of(&self, pod: &Pod) -> Vec<Port> {
        let found = self.spec.ports.iter().filter_map(|port| {
            let protocol = protocol(&port.protocol);
            let number = match &port.target_port {
                Value::Number(n) if n.as_i64() != Some(0) => n.as_i64()?,
                Value::String(name) => named_port(pod, name, protocol)?,
                _ => port.port,
            };
            Some(Port {
                name: port.name.clone(),
                port: number,
                protocol: protocol.to_owned(),
                app_protocol: port.app_protocol.clone(),
            })
        });
        found.collect()
    }

    /// The host name that a pod has in this service's domain.
    pub fn host_name<'a>(&self, pod: &'a Pod) -> Option<&'a str> {
        let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == self.metadata.name;
        named.then_some(pod.spec.hostname.as_str())
    }
}

fn protocol(text: &str) -> &str {
    if text.is_empty() { "TCP" } else { text }
}

fn named_port(pod: &Pod, name: &str, wanted: &str) -> Option<i64> {
    // Init containers that keep running are side-cars: their ports count too.
    let sidecars = pod.spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
    let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|c| &c.ports);
    let port = ports.find(|p| p.name == name && protocol(&p.protocol) == wanted)?;
    Some(port.container_port)
}

/// The address of a pod in a family.
pub fn address<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    let first = std::iter::once(pod.status.pod_ip.as_str());
    let all = pod.status.pod_ips.iter().map(|ip| ip.ip.as_str()).chain(first);
    all.filter(|ip| !ip.is_empty()).find(|ip| ip.contains(':') == (family == "IPv6"))
}

/// The services and pods of a cluster, and which of them belong together.
pub struct Selection {
    pub services: Arc<Informer>,
    pub pods: Arc<Informer>,
    pub views: Views<Service>,
}

impl Selection {
    pub fn new(ctx: &Context) -> Self {
        Self {
            services: ctx.informer(&api::resource::SERVICES),
            pods: ctx.informer(&api::resource::PODS),
            views: Views::default(),
        }
    }

    /// Adds services to a queue as they or their pods change in a way that endpoints show.
    pub fn follow(self: &Arc<Self>, ctx: &Context, queue: &client::WorkQueue<Name>) {
        let (this, keys) = (self.clone(), queue.clone());
        ctx.follow(&self.services, move |delta| {
            if delta.new.is_none() {
                this.views.forget(&delta.latest().card.uid);
            }
            keys.add(name_of(delta));
        });
        let (this, keys) = (self.clone(), queue.clone());
        ctx.follow(&self.pods, move |delta| {
            let states = [&delta.old, &delta.new];
            let mut selecting = Vec::new();
            for state in states.into_iter().flatten() {
                for service in this.services.list_ns(&state.card.namespace) {
                    if this.views.of(&service).is_ok_and(|s| s.selects(state)) {
                        selecting.push((service.card.namespace.clone(), service.card.name.clone()));
                    }
                }
            }
            // Asked last: it reads both states, and most pods are no service's.
            if selecting.is_empty() || matches!(states, [Some(old), Some(new)] if !shows(old, new))
            {
                return;
            }
            selecting.into_iter().for_each(|name| keys.add(name));
        });
    }

    /// The pods that a service selects.
    pub fn pods_of(&self, ctx: &Context, service: &Service) -> Vec<Arc<Pod>> {
        let spec = LabelSelectorSpec {
            match_labels: service.spec.selector.clone().unwrap_or_default(),
            ..LabelSelectorSpec::default()
        };
        let Ok(selector) = spec.selector() else { return Vec::new() };
        let mut entries = self.pods.list_ns(&service.metadata.namespace);
        entries.retain(|e| selector.matches(&e.card));
        ctx.pods.all(&entries)
    }
}

/// Whether a change of a pod can change endpoints. Most status updates cannot.
fn shows(old: &Entry, new: &Entry) -> bool {
    if old.card.labels != new.card.labels || old.card.deleting != new.card.deleting {
        return true;
    }
    let read = |e: &Entry| e.decode::<Pod>().ok();
    let (Some(old), Some(new)) = (read(old), read(new)) else { return true };
    let state = |p: &Pod| {
        let ips: Vec<String> = p.status.pod_ips.iter().map(|i| i.ip.clone()).collect();
        (p.is_ready(), p.is_terminal(), p.status.pod_ip.clone(), ips, p.spec.node_name.clone())
    };
    state(&old) != state(&new)
}
