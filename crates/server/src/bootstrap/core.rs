//! The namespaces, priority classes, config maps and the `kubernetes` service that every cluster
//! starts with.

use std::net::IpAddr;

use api::Object;
use serde_json::{Value, json};

/// What the initial objects say about this cluster.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Where the API server is reached.
    pub advertise_address: IpAddr,
    /// Its port.
    pub secure_port: u16,
    /// The ranges of cluster IPs, the primary one first, in canonical form.
    pub service_cidrs: Vec<String>,
    /// The cluster IP of the `kubernetes` service.
    pub service_ip: IpAddr,
    /// PEM of the authority that signs client certificates.
    pub client_ca: String,
    /// PEM of the authority that signs the front proxy's certificate.
    pub front_proxy_ca: String,
    /// The groups and versions that are served.
    pub api_versions: Vec<(String, String)>,
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> Object {
    let mut object = Object::from_value(rest).unwrap_or_default();
    object.set_type(api_version, kind);
    object.set_meta("name", name);
    if !namespace.is_empty() {
        object.set_meta("namespace", namespace);
    }
    object
}

/// The namespaces; they come first.
pub fn namespaces() -> Vec<Object> {
    ["default", "kube-system", "kube-public", "kube-node-lease"]
        .into_iter()
        .map(|name| {
            let rest = json!({
                "metadata": {"labels": {"kubernetes.io/metadata.name": name}},
                "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"},
            });
            object("v1", "Namespace", "", name, rest)
        })
        .collect()
}

const PRIORITY_CLASSES: [(&str, u32, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Objects that are made once; what others make of them later is theirs.
pub fn once(facts: &Facts, now: &str) -> Vec<Object> {
    let mut objects: Vec<Object> = PRIORITY_CLASSES
        .iter()
        .map(|(name, value, description)| {
            let rest = json!({
                "metadata": {"generation": 1}, "value": value, "description": description,
                "preemptionPolicy": "PreemptLowerPriority",
            });
            object("scheduling.k8s.io/v1", "PriorityClass", "", name, rest)
        })
        .collect();
    let cidr = json!({
        "spec": {"cidrs": facts.service_cidrs},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    });
    objects.push(object("networking.k8s.io/v1", "ServiceCIDR", "", "kubernetes", cidr));
    let since = json!({"data": {"since": now.get(..10).unwrap_or(now)}});
    objects.push(object(
        "v1",
        "ConfigMap",
        "kube-system",
        "kube-apiserver-legacy-service-account-token-tracking",
        since,
    ));
    objects
}

/// The address of the `kubernetes` service, as the allocator would record it.
pub fn service_address(ip: IpAddr) -> Object {
    let (family, name) = (family(ip), ip.to_string());
    let rest = json!({
        "metadata": {"labels": {
            "ipaddress.kubernetes.io/ip-family": family,
            "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
        }},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "kubernetes"}},
    });
    object("networking.k8s.io/v1", "IPAddress", "", &name, rest)
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The `kubernetes` service.
pub fn service(facts: &Facts) -> Object {
    let ip = facts.service_ip.to_string();
    let rest = json!({
        "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": facts.secure_port}],
            "clusterIP": ip, "clusterIPs": [ip], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": [family(facts.service_ip)], "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    });
    object("v1", "Service", "default", "kubernetes", rest)
}

/// Objects that follow this cluster's facts at every start: each with the parts that are brought up
/// to date.
pub fn current(facts: &Facts) -> Vec<(Object, &'static [&'static str])> {
    let address = facts.advertise_address.to_string();
    let port = json!({"name": "https", "port": facts.secure_port, "protocol": "TCP"});
    let endpoints = json!({
        "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [port]}],
    });
    let slice = json!({
        "metadata": {"generation": 1, "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family(facts.advertise_address),
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [port],
    });
    let trust = json!({"data": {
        "client-ca-file": facts.client_ca,
        "requestheader-allowed-names": "[\"front-proxy-client\"]",
        "requestheader-client-ca-file": facts.front_proxy_ca,
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
        "requestheader-username-headers": "[\"X-Remote-User\"]",
    }});
    vec![
        (service(facts), &["spec.ports"]),
        (object("v1", "Endpoints", "default", "kubernetes", endpoints), &["subsets"]),
        (
            object("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes", slice),
            &["addressType", "endpoints", "ports"],
        ),
        (
            object("v1", "ConfigMap", "kube-system", "extension-apiserver-authentication", trust),
            &["data"],
        ),
    ]
}
