//! The fields of a service that allocation reads and fills in.

use api::{Object, Value};

/// A service's spec, as far as allocation goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// `spec.type`.
    pub kind: String,
    /// `spec.clusterIP`.
    pub cluster_ip: String,
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<String>,
    /// `spec.ipFamilies`.
    pub families: Vec<String>,
    /// `spec.ipFamilyPolicy`.
    pub policy: Option<String>,
    /// Whether `spec.selector` is empty.
    pub selectorless: bool,
    /// `spec.ports`.
    pub ports: Vec<Port>,
    /// `spec.healthCheckNodePort`.
    pub health: i64,
    /// Whether `externalTrafficPolicy` is `Local`.
    pub local: bool,
    /// Whether `allocateLoadBalancerNodePorts` is off.
    pub spares_node_ports: bool,
}

/// A service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// `name`.
    pub name: String,
    /// `port`.
    pub port: i64,
    /// `nodePort`, 0 where there is none.
    pub node_port: i64,
}

/// The value of `clusterIP` of a headless service.
pub const NONE: &str = "None";

fn texts(object: &Object, path: &str) -> Vec<String> {
    let items = object.at(path).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

impl Spec {
    /// Reads a service.
    pub fn read(service: &Object) -> Self {
        let text = |path: &str| service.text(path).unwrap_or("").to_owned();
        let selector = service.at("spec.selector").and_then(Value::as_object);
        let ports = service.at("spec.ports").and_then(Value::as_array).into_iter().flatten();
        let kind = text("spec.type");
        Self {
            kind: if kind.is_empty() { "ClusterIP".into() } else { kind },
            cluster_ip: text("spec.clusterIP"),
            cluster_ips: texts(service, "spec.clusterIPs"),
            families: texts(service, "spec.ipFamilies"),
            policy: Some(text("spec.ipFamilyPolicy")).filter(|p| !p.is_empty()),
            selectorless: selector.is_none_or(api::Map::is_empty),
            ports: ports
                .map(|p| {
                    let int = |key: &str| p.get(key).and_then(Value::as_i64).unwrap_or(0);
                    let name = p.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
                    Port { name, port: int("port"), node_port: int("nodePort") }
                })
                .collect(),
            health: service.int("spec.healthCheckNodePort").unwrap_or(0),
            local: text("spec.externalTrafficPolicy") == "Local",
            spares_node_ports: service.at("spec.allocateLoadBalancerNodePorts")
                == Some(&Value::Bool(false)),
        }
    }

    /// Writes back what may have changed.
    pub fn write(&self, service: &mut Object) {
        let spec = service.map_mut("spec");
        let mut put = |key: &str, value: Value, empty: bool| {
            if empty {
                spec.remove(key);
            } else {
                spec.insert(key.to_owned(), value);
            }
        };
        put("clusterIP", self.cluster_ip.clone().into(), self.cluster_ip.is_empty());
        put("clusterIPs", self.cluster_ips.clone().into(), self.cluster_ips.is_empty());
        put("ipFamilies", self.families.clone().into(), self.families.is_empty());
        put("ipFamilyPolicy", self.policy.clone().into(), self.policy.is_none());
        put("healthCheckNodePort", self.health.into(), self.health == 0);
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        for (value, port) in ports.zip(&self.ports) {
            let Some(map) = value.as_object_mut() else { continue };
            if port.node_port == 0 {
                map.remove("nodePort");
            } else {
                map.insert("nodePort".into(), port.node_port.into());
            }
        }
    }

    /// Whether the service only names another host.
    pub fn is_external_name(&self) -> bool {
        self.kind == "ExternalName"
    }

    /// Whether it wants no cluster IP.
    pub fn is_headless(&self) -> bool {
        self.cluster_ips.first().is_some_and(|ip| ip == NONE)
    }

    /// Whether its type has node ports at all.
    pub fn has_node_ports(&self) -> bool {
        matches!(self.kind.as_str(), "NodePort" | "LoadBalancer")
    }

    /// Whether ports without a node port get one.
    pub fn wants_node_ports(&self) -> bool {
        self.kind == "NodePort" || (self.kind == "LoadBalancer" && !self.spares_node_ports)
    }

    /// Whether it needs a node port for health checks.
    pub fn wants_health_port(&self) -> bool {
        self.kind == "LoadBalancer" && self.local
    }
}
