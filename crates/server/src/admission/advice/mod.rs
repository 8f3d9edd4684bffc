//! Advice: what is accepted and still worth a `Warning` header, deprecated or ineffective fields
//! above all. No plugin of upstream's: its registry warns so, before its plugins do.
//!
//! Not here: deprecated versions, unknown fields (`registry`).

mod pods;

use std::fmt;

use api::quantity::Quantity;
use api::{Map, Object, Resource, Value};
use serde_json::json;

use super::lookup::{maps, text};
use crate::gate::{Admission, Operation, Write};

/// The giver of advice.
pub struct Advice;

/// Workloads: group, plural, where the pod template is, whether pods are named after the object.
const TEMPLATES: [(&str, &str, &str, bool); 8] = [
    ("", "replicationcontrollers", "spec.template", true),
    ("", "podtemplates", "template", false),
    ("apps", "replicasets", "spec.template", true),
    ("apps", "deployments", "spec.template", true),
    ("apps", "statefulsets", "spec.template", false),
    ("apps", "daemonsets", "spec.template", false),
    ("batch", "jobs", "spec.template", true),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template", false),
];

type Advise = fn(&Object, &mut Vec<String>);

/// Other kinds.
const KINDS: [(&str, &str, Advise); 8] = [
    ("", "services", service),
    ("", "serviceaccounts", service_account),
    ("", "persistentvolumes", volume),
    ("", "persistentvolumeclaims", claim),
    ("networking.k8s.io", "ingresses", ingress),
    ("discovery.k8s.io", "endpointslices", slice),
    ("storage.k8s.io", "csidrivers", driver),
    ("node.k8s.io", "runtimeclasses", runtime_class),
];

fn list<'a>(object: &'a Object, path: &str) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a byte count has a fraction of a byte.
fn fraction(
    path: fmt::Arguments<'_>,
    amounts: Option<&Value>,
    names: &[&str],
    out: &mut Vec<String>,
) {
    let Some(amounts) = amounts.and_then(Value::as_object) else { return };
    for name in names {
        let Some(amount) = amounts.get(*name).and_then(Value::as_str) else { continue };
        let Ok(parsed) = Quantity::parse(amount) else { continue };
        // What does not fit 64 bits looks like a fraction to upstream.
        if !parsed.is_multiple_of_nanos(1_000_000_000) || parsed.as_f64() > 9.3e18 {
            out.push(format!(
                "{path}[{name}]: fractional byte value \"{parsed}\" is invalid, must be an integer"
            ));
        }
    }
}

fn service(object: &Object, out: &mut Vec<String>) {
    let kind = object.text("spec.type").unwrap_or("ClusterIP");
    let headless = kind == "ClusterIP" && object.text("spec.clusterIP") == Some("None");
    let external = !list(object, "spec.externalIPs").is_empty();
    if object.annotation("service.kubernetes.io/topology-aware-hints").is_some() {
        out.push("annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead".into());
    }
    if headless {
        let address = object.text("spec.loadBalancerIP").is_some_and(|ip| !ip.is_empty());
        let affinity = object.text("spec.sessionAffinity").is_some_and(|a| a != "None");
        for (ignored, field) in
            [(address, "loadBalancerIP"), (external, "externalIPs"), (affinity, "SessionAffinity")]
        {
            if ignored {
                out.push(format!("spec.{field} is ignored for headless services"));
            }
        }
    }
    if external && !headless && kind != "ExternalName" {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
                .into(),
        );
    }
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

fn service_account(object: &Object, out: &mut Vec<String>) {
    const KEY: &str = "kubernetes.io/enforce-mountable-secrets";
    if object.annotation(KEY).is_some() {
        out.push(format!(
            "metadata.annotations[{KEY}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        ));
    }
}

fn volume(object: &Object, out: &mut Vec<String>) {
    if object.text("spec.persistentVolumeReclaimPolicy") == Some("Recycle") {
        out.push("spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.".into());
    }
    fraction(format_args!("spec.capacity"), object.at("spec.capacity"), &["storage"], out);
}

fn claim(object: &Object, out: &mut Vec<String>) {
    for which in ["requests", "limits"] {
        let path = format!("spec.resources.{which}");
        fraction(format_args!("{path}"), object.at(&path), &["storage"], out);
    }
}

fn ingress(object: &Object, out: &mut Vec<String>) {
    const KEY: &str = "kubernetes.io/ingress.class";
    if object.annotation(KEY).is_some() {
        out.push(format!(
            "annotation {KEY:?} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

fn slice(object: &Object, out: &mut Vec<String>) {
    if object.text("addressType") == Some("FQDN") {
        out.push("spec.addressType: FQDN endpoints are deprecated".into());
    }
}

fn driver(object: &Object, out: &mut Vec<String>) {
    let asks = !list(object, "spec.tokenRequests").is_empty();
    if asks && object.at("spec.serviceAccountTokenInSecrets").is_none_or(Value::is_null) {
        out.push("spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes".into());
    }
}

fn runtime_class(object: &Object, out: &mut Vec<String>) {
    let selector = object.at("scheduling.nodeSelector").and_then(Value::as_object);
    for key in selector.into_iter().flat_map(Map::keys) {
        out.extend(pods::old_label(key).map(|why| format!("scheduling.nodeSelector: {why}")));
    }
}

fn of(write: &Write<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let Some(object) = &write.object else { return out };
    let (group, plural) = (&*write.resource.group, &*write.resource.plural);
    let creates = write.operation == Operation::Create;
    if let Some((_, _, advise)) = KINDS.iter().find(|(g, p, _)| *g == group && *p == plural) {
        advise(object, &mut out);
        return out;
    }
    if (group, plural) == ("", "pods") {
        if creates {
            name(object, "the Pod's hostname", &mut out);
            pods::advise("", &object.0, &mut out);
        }
        return out;
    }
    let Some((_, _, path, names)) =
        TEMPLATES.iter().find(|(g, p, _, _)| *g == group && *p == plural)
    else {
        return out;
    };
    if creates && *names {
        name(object, "Pod names and hostnames", &mut out);
    }
    let template = object.at(path).and_then(Value::as_object);
    let changed = write.old.is_none_or(|old| old.at(path) != object.at(path));
    if let Some(template) = template.filter(|_| creates || changed) {
        pods::advise(&format!("{path}."), template, &mut out);
    }
    out
}

fn name(object: &Object, of: &str, out: &mut Vec<String>) {
    let faults = api::names::dns_label(object.name());
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        out.push(format!(
            "metadata.name: this is used in {of}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

impl Admission for Advice {
    fn name(&self) -> &'static str {
        "Advice"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let (group, plural) = (&*resource.group, &*resource.plural);
        let known = (group, plural) == ("", "pods")
            || KINDS.iter().any(|(g, p, _)| *g == group && *p == plural)
            || TEMPLATES.iter().any(|(g, p, _, _)| *g == group && *p == plural);
        subresource.is_empty()
            && known
            && matches!(operation, Operation::Create | Operation::Update)
    }

    fn warnings(&self, write: &Write<'_>) -> Vec<String> {
        of(write)
    }
}

/// `{Name:a HostPort:0 …}`, as Go prints a port.
fn go_port(port: &Map<String, Value>) -> String {
    let int = |key: &str| port.get(key).cloned().unwrap_or_else(|| json!(0));
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        text(port, "name"),
        int("hostPort"),
        int("containerPort"),
        text(port, "protocol"),
        text(port, "hostIP")
    )
}

/// Containers with their paths.
fn containers<'a>(
    prefix: &'a str,
    spec: &'a Map<String, Value>,
) -> impl Iterator<Item = (String, &'a Map<String, Value>)> {
    super::lookup::CONTAINERS.into_iter().flat_map(move |list| {
        maps(spec.get(list)).enumerate().map(move |(i, c)| (format!("{prefix}spec.{list}[{i}]"), c))
    })
}
