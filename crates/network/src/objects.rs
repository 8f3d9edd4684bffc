//! The parts of services, endpoint slices and nodes that the proxy and DNS read.
//!
//! Lean projections, read straight from an entry's bytes when needed and not kept. Not here: what
//! follows from them.

use std::net::IpAddr;

use serde::Deserialize;

/// The label on endpoint slices that names their service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The annotation on endpoint slices that tells when what they follow last changed.
pub const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The label that gives a service to another proxy.
pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The label of headless services' slices.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// `metadata`, as far as it is read here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Meta {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[allow(missing_docs)]
pub struct Service {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: ServiceSpec,
    #[serde(default)]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Vec<String>,
    pub ports: Vec<ServicePort>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Vec<String>,
    pub external_name: String,
    pub external_traffic_policy: String,
    pub internal_traffic_policy: String,
    pub session_affinity: String,
    pub session_affinity_config: AffinityConfig,
    pub load_balancer_source_ranges: Vec<String>,
    pub health_check_node_port: u16,
    pub publish_not_ready_addresses: bool,
}

/// `sessionAffinityConfig`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: ClientIp,
}

/// `sessionAffinityConfig.clientIP`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ClientIp {
    pub timeout_seconds: Option<u64>,
}

/// One port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ServicePort {
    pub name: String,
    pub protocol: String,
    pub port: u16,
    pub node_port: u16,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct LoadBalancer {
    pub ingress: Vec<Ingress>,
}

/// One address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Ingress {
    pub ip: String,
    pub ip_mode: String,
}

impl Service {
    /// Its cluster addresses; none for headless and external-name services.
    pub fn cluster_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let first = std::iter::once(&self.spec.cluster_ip);
        let rest = self.spec.cluster_ips.iter().filter(|ip| **ip != self.spec.cluster_ip);
        first.chain(rest).filter_map(|ip| ip.parse().ok())
    }

    /// Whether it has endpoints but no address.
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip == "None"
    }

    /// Whether it is an alias.
    pub fn is_external_name(&self) -> bool {
        self.spec.kind == "ExternalName"
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct EndpointSlice {
    pub metadata: Meta,
    pub address_type: String,
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    pub hostname: Option<String>,
    pub node_name: Option<String>,
    pub hints: Hints,
}

/// `conditions` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

impl Endpoint {
    /// Takes new connections. Not said means yes.
    pub fn ready(&self) -> bool {
        self.conditions.ready.unwrap_or(true)
    }

    /// On its way out, but still answering.
    pub fn serving_while_terminating(&self) -> bool {
        self.conditions.serving.unwrap_or_else(|| self.ready())
            && self.conditions.terminating.unwrap_or(false)
    }
}

/// `hints` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Hints {
    pub for_zones: Vec<Named>,
    pub for_nodes: Vec<Named>,
}

/// A zone or a node in a hint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Named {
    pub name: String,
}

/// One port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct EndpointPort {
    pub name: String,
    pub protocol: String,
    pub port: Option<u16>,
}

/// The protocol's number; TCP where it is not said.
pub fn protocol_number(name: &str) -> Option<u8> {
    match name {
        "" | "TCP" => Some(6),
        "UDP" => Some(17),
        "SCTP" => Some(132),
        _ => None,
    }
}
