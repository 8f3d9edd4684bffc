//! Advice about kinds without pods in them: a function each.

use api::quantity::Quantity;
use api::{Map, Object, Value};

use super::addresses::{address, network};
use super::pods::{self, old_label};
use super::{claim_spec, keys, list};
use crate::admission::lookup::{maps, text};

/// Of an object and, where it is changed, the one before.
type Advise = fn(&Object, Option<&Object>, &mut Vec<String>);

/// Group, plural, subresource.
pub(super) const KINDS: [(&str, &str, &str, Advise); 19] = [
    ("", "endpoints", "", endpoints),
    ("", "nodes", "", node),
    ("", "persistentvolumeclaims", "", claim),
    ("", "persistentvolumes", "", volume),
    ("", "pods", "status", pod_status),
    ("", "resourcequotas", "", quota),
    ("", "secrets", "", secret),
    ("", "serviceaccounts", "", service_account),
    ("", "services", "", service),
    ("", "services", "status", balancer),
    ("discovery.k8s.io", "endpointslices", "", slice),
    ("networking.k8s.io", "ingresses", "", ingress),
    ("networking.k8s.io", "ingresses", "status", balancer),
    ("networking.k8s.io", "networkpolicies", "", network_policy),
    ("node.k8s.io", "runtimeclasses", "", runtime_class),
    ("resource.k8s.io", "resourceslices", "", devices),
    ("storage.k8s.io", "csidrivers", "", driver),
    ("storage.k8s.io", "csistoragecapacities", "", capacity),
    ("storage.k8s.io", "storageclasses", "", storage_class),
];

fn label<'a>(object: &'a Object, key: &str) -> &'a str {
    object.labels().find(|(k, _)| *k == key).map_or("", |(_, value)| value)
}

fn endpoints(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    if label(object, "endpoints.kubernetes.io/managed-by") == "endpoint-controller" {
        return;
    }
    for (i, subset) in maps(object.at("subsets")).enumerate() {
        for which in ["addresses", "notReadyAddresses"] {
            for (j, one) in maps(subset.get(which)).enumerate() {
                address(format_args!("subsets[{i}].{which}[{j}].ip"), text(one, "ip"), out);
            }
        }
    }
}

fn node(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    if object.at("spec.configSource").is_some_and(|source| !source.is_null()) {
        out.push("spec.configSource: the feature is removed".into());
    }
    if object.text("spec.externalID").is_some_and(|id| !id.is_empty()) {
        out.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
    }
    texts(object, "spec.podCIDRs").for_each(|(path, text)| network(path, text, out));
}

/// The texts of a list with their paths.
fn texts<'a>(object: &'a Object, path: &'a str) -> impl Iterator<Item = (String, &'a str)> {
    let items = list(object, path).iter().enumerate();
    items.map(move |(i, item)| (format!("{path}[{i}]"), item.as_str().unwrap_or("")))
}

fn claim(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    old_annotations(object, &["storage-class"], out);
    claim_spec("spec", object.at("spec"), out);
}

fn old_annotations(object: &Object, which: &[&str], out: &mut Vec<String>) {
    const OLD: [(&str, &str); 2] = [
        ("storage-class", "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        ("mount-options", "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ];
    for (name, why) in OLD.iter().filter(|(name, _)| which.contains(name)) {
        let key = format!("volume.beta.kubernetes.io/{name}");
        if object.annotation(&key).is_some() {
            out.push(format!("metadata.annotations[{key}]: {why}"));
        }
    }
}

fn volume(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    old_annotations(object, &["storage-class", "mount-options"], out);
    if object.text("spec.persistentVolumeReclaimPolicy") == Some("Recycle") {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
    let terms = "spec.nodeAffinity.required.nodeSelectorTerms";
    for (i, term) in maps(object.at(terms)).enumerate() {
        pods::selector_term(&format!("{terms}[{i}]"), term, false, out);
    }
    const ORDER: [&str; 6] =
        ["cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd"];
    for field in ORDER {
        let source = object.at("spec").and_then(|spec| spec.get(field));
        let row = pods::OLD_VOLUMES.iter().find(|(known, ..)| *known == field);
        if let (Some(_), Some((_, name, fate))) = (source, row) {
            out.push(format!("spec.{name}: deprecated in {fate}"));
        }
    }
}

fn pod_status(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    for which in ["podIPs", "hostIPs"] {
        let path = format!("status.{which}");
        for (i, one) in maps(object.at(&path)).enumerate() {
            address(format_args!("{path}[{i}].ip"), text(one, "ip"), out);
        }
    }
}

fn quota(object: &Object, old: Option<&Object>, out: &mut Vec<String>) {
    let hard = object.at("spec.hard").and_then(Value::as_object);
    let Some(hard) = hard.filter(|_| old.is_none()) else { return };
    let amount = |name: &str| Quantity::parse(hard.get(name)?.as_str()?).ok();
    for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let full = format!("requests.{name}");
        let bare = ["cpu", "memory"].contains(&name).then(|| Some((name, amount(name)?)));
        let request = amount(&full).map(|amount| (&*full, amount)).or_else(|| bare.flatten());
        let (Some((request, asked)), Some(limit)) = (request, amount(&format!("limits.{name}")))
        else {
            continue;
        };
        if asked > limit {
            out.push(format!(
                "ResourceQuota {request} ({asked}) should be less than limits.{name} ({limit})"
            ));
        }
    }
}

fn secret(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    if object.text("type") == Some("kubernetes.io/tls") {
        let data = |key: &str| object.at("data")?.get(key)?.as_str();
        out.extend(keys::fault(data("tls.crt"), data("tls.key")));
    }
}

fn service_account(object: &Object, old: Option<&Object>, out: &mut Vec<String>) {
    const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
    let had = old.is_some_and(|old| old.annotation(KEY).is_some());
    if !had && object.annotation(KEY).is_some() {
        out.push(format!(
            "metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn service(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    let kind = object.text("spec.type").unwrap_or("ClusterIP");
    let cluster = object.text("spec.clusterIP").unwrap_or("");
    let headless = kind == "ClusterIP" && cluster == "None";
    let external = !list(object, "spec.externalIPs").is_empty();
    let balancer = object.text("spec.loadBalancerIP").unwrap_or("");
    if object.annotation("service.kubernetes.io/topology-aware-hints").is_some() {
        out.push("annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead".into());
    }
    if kind != "ExternalName" && !["", "None"].contains(&cluster) {
        texts(object, "spec.clusterIPs").for_each(|(path, ip)| address(path, ip, out));
    }
    if headless {
        let affinity = object.text("spec.sessionAffinity").is_some_and(|a| a != "None");
        for (ignored, field) in [
            (!balancer.is_empty(), "loadBalancerIP"),
            (external, "externalIPs"),
            (affinity, "SessionAffinity"),
        ] {
            if ignored {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    texts(object, "spec.externalIPs").for_each(|(path, ip)| address(path, ip, out));
    if external && !headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .into(),
        );
    }
    address("spec.loadBalancerIP", balancer, out);
    texts(object, "spec.loadBalancerSourceRanges")
        .for_each(|(path, cidr)| network(path, cidr, out));
    if external && kind == "ExternalName" {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if kind != "ExternalName" && object.text("spec.externalName").is_some_and(|n| !n.is_empty()) {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if object.text("spec.trafficDistribution") == Some("PreferClose") {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .into(),
        );
    }
}

/// The status of what has a load balancer.
fn balancer(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    let path = "status.loadBalancer.ingress";
    for (i, one) in maps(object.at(path)).enumerate() {
        address(format_args!("{path}[{i}]"), text(one, "ip"), out);
    }
}

fn slice(object: &Object, old: Option<&Object>, out: &mut Vec<String>) {
    const CONTROLLERS: [&str; 2] =
        ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];
    if old.is_none() && object.text("addressType") == Some("FQDN") {
        out.push("spec.addressType: FQDN endpoints are deprecated".into());
    }
    if CONTROLLERS.contains(&label(object, "endpointslice.kubernetes.io/managed-by")) {
        return;
    }
    for (i, endpoint) in maps(object.at("endpoints")).enumerate() {
        let addresses = endpoint.get("addresses").and_then(Value::as_array);
        for (j, one) in addresses.into_iter().flatten().enumerate() {
            let one = one.as_str().unwrap_or("");
            address(format_args!("endpoints[{i}].addresses[{j}]"), one, out);
        }
    }
}

fn ingress(object: &Object, old: Option<&Object>, out: &mut Vec<String>) {
    const KEY: &str = "kubernetes.io/ingress.class";
    let class = object.at("spec.ingressClassName").is_some_and(|class| !class.is_null());
    if old.is_none() && !class && object.annotation(KEY).is_some() {
        out.push(format!(
            "annotation {KEY:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

fn network_policy(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        let path = format!("spec.{rules}");
        for (i, rule) in maps(object.at(&path)).enumerate() {
            for (j, peer) in maps(rule.get(peers)).enumerate() {
                let Some(block) = peer.get("ipBlock").and_then(Value::as_object) else { continue };
                let path = format!("{path}[{i}].{peers}[{j}].ipBlock");
                network(format_args!("{path}.cidr"), text(block, "cidr"), out);
                let excepted = block.get("except").and_then(Value::as_array);
                for (k, one) in excepted.into_iter().flatten().enumerate() {
                    network(format_args!("{path}.except[{k}]"), one.as_str().unwrap_or(""), out);
                }
            }
        }
    }
}

fn runtime_class(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    let selector = object.at("scheduling.nodeSelector").and_then(Value::as_object);
    for key in selector.into_iter().flat_map(Map::keys) {
        out.extend(old_label(key).map(|why| format!("scheduling.nodeSelector: {why}")));
    }
}

fn devices(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    let driver = object.text("spec.driver").unwrap_or("");
    if driver != driver.to_lowercase() {
        out.push(format!(
            "spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters"
        ));
    }
}

fn driver(object: &Object, old: Option<&Object>, out: &mut Vec<String>) {
    let requests = "spec.tokenRequests";
    let asks = !list(object, requests).is_empty()
        && old.is_none_or(|old| old.at(requests) != object.at(requests));
    if asks && object.at("spec.serviceAccountTokenInSecrets").is_none_or(Value::is_null) {
        out.push("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".into());
    }
}

fn capacity(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    for (i, expression) in maps(object.at("nodeTopology.matchExpressions")).enumerate() {
        let key = text(expression, "key");
        out.extend(
            old_label(key)
                .map(|why| format!("nodeTopology.matchExpressions[{i}].key: {key} is {why}")),
        );
    }
    let labels = object.at("nodeTopology.matchLabels").and_then(Value::as_object);
    for key in labels.into_iter().flat_map(Map::keys) {
        out.extend(old_label(key).map(|why| format!("nodeTopology.matchLabels.{key}: {why}")));
    }
}

fn storage_class(object: &Object, _: Option<&Object>, out: &mut Vec<String>) {
    for (i, topology) in maps(object.at("allowedTopologies")).enumerate() {
        for (j, expression) in maps(topology.get("matchLabelExpressions")).enumerate() {
            out.extend(old_label(text(expression, "key")).map(|why| {
                format!("allowedTopologies[{i}].matchLabelExpressions[{j}].key: {why}")
            }));
        }
    }
}
