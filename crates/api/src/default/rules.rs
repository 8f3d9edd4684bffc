//! Defaults that depend on other fields. One small function each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::quantity::Quantity;

type Fields = Map<String, Value>;

/// What fills in a message's fields.
type Rule = fn(&mut Fields);

/// For each message (its API group's package and name) its rule.
pub(super) static RULES: &[(&str, Rule)] = &[
    ("apiextensions/CustomResourceDefinitionNames", crd_names),
    ("apps/DaemonSet", daemon_set),
    ("apps/DaemonSetUpdateStrategy", daemon_set_strategy),
    ("apps/DeploymentStrategy", deployment_strategy),
    ("apps/StatefulSetSpec", stateful_set),
    ("apps/StatefulSetUpdateStrategy", stateful_set_strategy),
    ("autoscaling/HorizontalPodAutoscalerBehavior", autoscaler_behavior),
    ("autoscaling/HorizontalPodAutoscalerSpec", autoscaler_spec),
    ("batch/Job", job),
    ("core/Container", image_pull_policy),
    ("core/EphemeralContainer", image_pull_policy),
    ("core/ImageVolumeSource", image_volume),
    ("core/LimitRangeItem", limit_range_item),
    ("core/Namespace", namespace),
    ("core/NodeSpec", |map| first_of_many(map, "podCIDR", "podCIDRs", None)),
    ("core/NodeStatus", node_status),
    ("core/Pod", pod),
    ("core/PodSpec", pod_spec),
    ("core/PodStatus", |map| first_of_many(map, "podIP", "podIPs", Some("ip"))),
    ("core/ReplicationController", replication_controller),
    ("core/Secret", secret),
    ("core/Service", service),
    ("core/Volume", volume),
    ("networking/NetworkPolicySpec", network_policy),
    ("rbac/Subject", subject),
    ("resource/DeviceRequest", device_request),
    ("resource/DeviceSubRequest", device_count),
    ("resource/ExactDeviceRequest", device_count),
];

fn text<'a>(map: &'a Fields, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

fn set(map: &mut Fields, key: &str, value: impl Into<Value>) {
    map.entry(key).or_insert_with(|| value.into());
}

/// A nested map, made where it is missing.
fn child<'a>(map: &'a mut Fields, key: &str) -> Option<&'a mut Fields> {
    map.entry(key).or_insert_with(|| json!({})).as_object_mut()
}

fn items<'a>(map: &'a mut Fields, key: &str) -> impl Iterator<Item = &'a mut Fields> + use<'a> {
    map.get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn rolling(map: &mut Fields, constants: &[(&str, Value)]) {
    if text(map, "type") != "RollingUpdate" {
        return;
    }
    if let Some(update) = child(map, "rollingUpdate") {
        for (key, value) in constants {
            set(update, key, value.clone());
        }
    }
}

fn deployment_strategy(map: &mut Fields) {
    rolling(map, &[("maxUnavailable", "25%".into()), ("maxSurge", "25%".into())]);
}

fn daemon_set_strategy(map: &mut Fields) {
    rolling(map, &[("maxUnavailable", 1.into()), ("maxSurge", 0.into())]);
}

/// The details are made only where the type was left out too.
fn stateful_set_strategy(map: &mut Fields) {
    if !map.contains_key("type") {
        set(map, "type", "RollingUpdate");
        set(map, "rollingUpdate", json!({}));
    }
    if map.contains_key("rollingUpdate") {
        rolling(map, &[("partition", 0.into())]);
    }
}

fn autoscaler_spec(map: &mut Fields) {
    // Version 1 has no metrics of its own.
    if !map.contains_key("targetCPUUtilizationPercentage") && !map.contains_key("metrics") {
        let target = json!({ "type": "Utilization", "averageUtilization": 80 });
        let cpu = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
        set(map, "metrics", json!([cpu]));
    }
}

fn autoscaler_behavior(map: &mut Fields) {
    let all = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
    let four = json!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
    for (key, policies, window) in
        [("scaleUp", json!([four, all]), Some(0)), ("scaleDown", json!([all]), None)]
    {
        let Some(rules) = child(map, key) else { continue };
        set(rules, "selectPolicy", "Max");
        set(rules, "policies", policies);
        if let Some(window) = window {
            set(rules, "stabilizationWindowSeconds", window);
        }
    }
}

fn job(map: &mut Fields) {
    let labels =
        map.get("spec").and_then(|s| s.get("template")?.get("metadata")?.get("labels")).cloned();
    if let (Some(labels), Some(meta)) = (labels, child(map, "metadata")) {
        set(meta, "labels", labels);
    }
    let Some(spec) = child(map, "spec") else { return };
    if !spec.contains_key("parallelism") {
        set(spec, "completions", 1);
        set(spec, "parallelism", 1);
    }
    let per_index = spec.contains_key("backoffLimitPerIndex");
    set(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
    set(spec, "completionMode", "NonIndexed");
    set(spec, "suspend", false);
    let failed = spec.contains_key("podFailurePolicy");
    set(spec, "podReplacementPolicy", if failed { "Failed" } else { "TerminatingOrFailed" });
    set(spec, "manualSelector", false);
}

/// The template's generation is written into every set, for old clients.
fn daemon_set(map: &mut Fields) {
    const KEY: &str = "deprecated.daemonset.template.generation";
    if let Some(notes) = child(map, "metadata").and_then(|m| child(m, "annotations")) {
        let given = text(notes, KEY).parse::<i64>().unwrap_or(0);
        notes.insert(KEY.to_owned(), given.to_string().into());
    }
}

fn stateful_set(map: &mut Fields) {
    for claim in items(map, "volumeClaimTemplates") {
        claim.insert("apiVersion".to_owned(), "v1".into());
        claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
    }
}

/// Two fields for one fact: the old one is the first of the new ones, and wins where both are given
/// and differ.
fn first_of_many(map: &mut Fields, one: &str, many: &str, inside: Option<&str>) {
    let first = map.get(many).and_then(|list| list.get(0)).and_then(|f| match inside {
        Some(key) => f.get(key),
        None => Some(f),
    });
    match (text(map, one), first.and_then(Value::as_str)) {
        ("", Some(first)) => {
            let first = first.to_owned();
            map.insert(one.to_owned(), first.into());
        }
        ("", None) => {}
        (given, first) if first != Some(given) => {
            let given = Value::from(given);
            let item = inside.map_or_else(|| given.clone(), |key| json!({ key: given }));
            map.insert(many.to_owned(), json!([item]));
        }
        _ => {}
    }
}

/// The tag of an image's name: `latest` where it has neither tag nor digest; empty where it has only
/// a digest, or cannot be read.
fn tag(image: &str) -> &str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match name[slash..].split_once(':') {
        Some((last, tag)) => (&name[..slash + last.len()], Some(tag)),
        None => (name, None),
    };
    let mut parts = path.split('/').peekable();
    let host = |p: &&str| p.contains(['.', ':']) || *p == "localhost" || p.to_lowercase() != **p;
    if path.contains('/') && parts.peek().is_some_and(host) {
        parts.next();
    }
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let part = |p: &str| {
        let b = p.as_bytes();
        ends(b.first()) && ends(b.last()) && b.iter().all(|b| ends(Some(b)) || b"._-".contains(b))
    };
    if !parts.all(part) || tag.is_some_and(str::is_empty) {
        return "";
    }
    tag.unwrap_or(if digest.is_some() { "" } else { "latest" })
}

fn pull_policy(map: &mut Fields, image: &str, field: &str) {
    if !map.contains_key(field) {
        let policy = if tag(text(map, image)) == "latest" { "Always" } else { "IfNotPresent" };
        set(map, field, policy);
    }
}

fn image_pull_policy(map: &mut Fields) {
    pull_policy(map, "image", "imagePullPolicy");
}

fn image_volume(map: &mut Fields) {
    pull_policy(map, "reference", "pullPolicy");
}

/// Copies amounts that a list of resources does not have.
fn copy_missing(map: &mut Fields, from: &str, to: &str) {
    let Some(Value::Object(source)) = map.get(from).cloned() else { return };
    if source.is_empty() {
        return;
    }
    if let Some(target) = child(map, to) {
        for (key, value) in source {
            set(target, &key, value);
        }
    }
}

fn limit_range_item(map: &mut Fields) {
    if text(map, "type") == "Container" {
        copy_missing(map, "max", "default");
        copy_missing(map, "default", "defaultRequest");
        copy_missing(map, "min", "defaultRequest");
    }
}

fn namespace(map: &mut Fields) {
    let Some(meta) = child(map, "metadata") else { return };
    let name = text(meta, "name").to_owned();
    if let (false, Some(labels)) = (name.is_empty(), child(meta, "labels")) {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

fn node_status(map: &mut Fields) {
    if let (None, Some(capacity)) = (map.get("allocatable"), map.get("capacity").cloned()) {
        set(map, "allocatable", capacity);
    }
}

/// Defaults of pods that pods of templates get only when they are made.
fn pod(map: &mut Fields) {
    let Some(spec) = child(map, "spec") else { return };
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    for key in ["containers", "initContainers"] {
        for container in items(spec, key) {
            if let Some(resources) = child(container, "resources") {
                copy_missing(resources, "limits", "requests");
            }
        }
    }
    huge_page_limits(spec);
    pod_resources(spec);
    set(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for key in ["containers", "initContainers"] {
            for container in items(spec, key) {
                for port in items(container, "ports") {
                    if let Some(number) = port.get("containerPort").cloned() {
                        set(port, "hostPort", number);
                    }
                }
            }
        }
    }
}

type Amounts = std::collections::BTreeMap<String, Quantity>;

/// What a pod's containers request or are limited to together. Init containers run one after the
/// other before the others, but those that are restarted run beside whatever follows them.
fn together(spec: &Fields, part: &str) -> Amounts {
    let amounts = |container: &Value| -> Amounts {
        let map = container.get("resources").and_then(|r| r.get(part)).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                Some((name.clone(), Quantity::parse(value.as_str()?).ok()?))
            })
            .collect()
    };
    fn add(to: &mut Amounts, more: Amounts) {
        for (name, quantity) in more {
            *to.entry(name).or_insert(Quantity::ZERO) += quantity;
        }
    }
    fn at_least(to: &mut Amounts, least: Amounts) {
        for (name, quantity) in least {
            let slot = to.entry(name).or_insert(Quantity::ZERO);
            if *slot < quantity {
                *slot = quantity;
            }
        }
    }
    let list = |key: &str| spec.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut sum = Amounts::new();
    list("containers").for_each(|c| add(&mut sum, amounts(c)));
    let (mut beside, mut most) = (Amounts::new(), Amounts::new());
    for container in list("initContainers") {
        let mut while_starting = amounts(container);
        if container["restartPolicy"] == "Always" {
            add(&mut sum, while_starting.clone());
            add(&mut beside, while_starting);
            while_starting = beside.clone();
        } else {
            add(&mut while_starting, beside.clone());
        }
        at_least(&mut most, while_starting);
    }
    at_least(&mut sum, most);
    sum
}

/// A pod's own limits of huge pages, where it has any requests or limits: its containers' together.
fn huge_page_limits(spec: &mut Fields) {
    let resources = spec.get("resources").and_then(Value::as_object);
    let part = |part: &str| resources.and_then(|r| r.get(part)).and_then(Value::as_object);
    let (limits, requests) = (part("limits"), part("requests"));
    if limits.is_none_or(Fields::is_empty) && requests.is_none_or(Fields::is_empty) {
        return;
    }
    let wanted = together(spec, "limits")
        .into_iter()
        .filter(|(name, _)| name.starts_with("hugepages-"))
        .filter(|(name, _)| !requests.is_some_and(|r| r.contains_key(name)))
        .collect::<Vec<_>>();
    if wanted.is_empty() {
        return;
    }
    let Some(resources) = child(spec, "resources") else { return };
    let slot = resources.entry("limits").or_insert_with(|| Value::Object(Fields::new()));
    let Value::Object(limits) = slot else { return };
    for (name, quantity) in wanted {
        set(limits, &name, quantity.to_string());
    }
}

/// A pod's own requests, where it has limits: those of its containers, else its limits.
fn pod_resources(spec: &mut Fields) {
    let limits = spec.get("resources").and_then(|r| r.get("limits")).and_then(Value::as_object);
    let Some(limits) = limits.filter(|l| !l.is_empty()).cloned() else { return };
    let supported =
        |name: &str| name == "cpu" || name == "memory" || name.starts_with("hugepages-");
    let wanted = together(spec, "requests");
    let Some(requests) = child(spec, "resources").and_then(|r| child(r, "requests")) else {
        return;
    };
    for (name, quantity) in wanted {
        if supported(&name) && !name.starts_with("hugepages-") {
            set(requests, &name, quantity.to_string());
        }
    }
    for (name, value) in limits {
        if supported(&name) {
            set(requests, &name, value);
        }
    }
}

/// The old and the new name of the service account's field say the same.
fn pod_spec(map: &mut Fields) {
    let name = match text(map, "serviceAccountName") {
        "" => text(map, "serviceAccount"),
        name => name,
    }
    .to_owned();
    if !name.is_empty() {
        map.insert("serviceAccountName".to_owned(), name.clone().into());
        map.insert("serviceAccount".to_owned(), name.into());
    }
}

fn replication_controller(map: &mut Fields) {
    let labels =
        map.get("spec").and_then(|s| s.get("template")?.get("metadata")?.get("labels")).cloned();
    let Some(labels) = labels else { return };
    if let Some(spec) = child(map, "spec") {
        set(spec, "selector", labels.clone());
    }
    if let Some(meta) = child(map, "metadata") {
        set(meta, "labels", labels);
    }
}

/// Texts of a secret become data.
fn secret(map: &mut Fields) {
    let Some(Value::Object(texts)) = map.remove("stringData") else { return };
    if texts.is_empty() {
        return;
    }
    if let Some(data) = child(map, "data") {
        for (key, value) in texts {
            let encoded = STANDARD.encode(value.as_str().unwrap_or(""));
            data.insert(key, encoded.into());
        }
    }
}

fn service(map: &mut Fields) {
    let kind = map.get("spec").map_or("", |s| s.get("type").and_then(Value::as_str).unwrap_or(""));
    let kind = if kind.is_empty() { "ClusterIP" } else { kind }.to_owned();
    let balanced = kind == "LoadBalancer";
    if let (true, Some(status)) = (balanced, child(map, "status"))
        && let Some(balancer) = child(status, "loadBalancer")
    {
        for ingress in items(balancer, "ingress").filter(|i| i.contains_key("ip")) {
            set(ingress, "ipMode", "VIP");
        }
    }
    let Some(spec) = child(map, "spec") else { return };
    match text(spec, "sessionAffinity") {
        "" | "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            if let Some(client) =
                child(spec, "sessionAffinityConfig").and_then(|c| child(c, "clientIP"))
            {
                set(client, "timeoutSeconds", 10_800);
            }
        }
        _ => {}
    }
    for port in items(spec, "ports") {
        let target = port.get("targetPort");
        if target.is_none_or(|t| t == &json!(0) || t == &json!("")) {
            let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
            port.insert("targetPort".to_owned(), number);
        }
    }
    let external_ips =
        spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if balanced || kind == "NodePort" || (kind == "ClusterIP" && external_ips) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
        set(spec, "internalTrafficPolicy", "Cluster");
    }
    if balanced {
        set(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// A volume without a source is an empty directory.
fn volume(map: &mut Fields) {
    if map.keys().all(|k| k == "name") {
        set(map, "emptyDir", json!({}));
    }
}

fn network_policy(map: &mut Fields) {
    if !map.contains_key("policyTypes") {
        let egress = map.get("egress").and_then(Value::as_array).is_some_and(|e| !e.is_empty());
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        set(map, "policyTypes", types);
    }
}

fn subject(map: &mut Fields) {
    if matches!(text(map, "kind"), "User" | "Group") && text(map, "apiGroup").is_empty() {
        map.remove("apiGroup");
        set(map, "apiGroup", "rbac.authorization.k8s.io");
    }
}

/// In v1beta1 a request may itself be an exact one; other versions have no class here.
fn device_request(map: &mut Fields) {
    let alternatives = map.get("firstAvailable").and_then(Value::as_array);
    if map.contains_key("deviceClassName") && alternatives.is_none_or(Vec::is_empty) {
        set(map, "allocationMode", "ExactCount");
        device_count(map);
    }
}

fn device_count(map: &mut Fields) {
    if text(map, "allocationMode") == "ExactCount" {
        set(map, "count", 1);
    }
}

fn crd_names(map: &mut Fields) {
    let kind = text(map, "kind").to_owned();
    if !kind.is_empty() {
        set(map, "singular", kind.to_lowercase());
        set(map, "listKind", format!("{kind}List"));
    }
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn tags() {
        for (image, expected) in [
            ("nginx", "latest"),
            ("nginx:1", "1"),
            ("host:5000/a/b", "latest"),
            ("host:5000/a/b:v2", "v2"),
            ("a@sha256:0123", ""),
            ("a:v1@sha256:0123", "v1"),
            ("", ""),
            ("UPPER", ""),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
