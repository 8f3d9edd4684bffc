//! What an object uses of a quota, and which quotas it falls under.

use std::collections::BTreeMap;

use api::quantity::{Format, Quantity};
use api::{Map, Object, Resource, Value, resource};
use jiff::Timestamp;

use crate::admission::limit_ranger::{Amounts, amounts, pod_amounts};
use crate::admission::lookup::{is, maps, text};

fn one() -> Quantity {
    Quantity::new(1, Format::DecimalSi)
}

/// Resources that quotas also count under their plain name.
const PLAIN: [&str; 5] =
    ["configmaps", "secrets", "replicationcontrollers", "resourcequotas", "services"];

/// What an object uses.
pub fn of(resource: &Resource, object: &Object, now: Timestamp) -> Amounts {
    let mut used = Amounts::new();
    used.insert(format!("count/{}", resource.qualified()), one());
    if resource.group.is_empty() && PLAIN.contains(&&*resource.plural) {
        used.insert(resource.plural.to_string(), one());
    }
    if is(resource, &resource::PODS) {
        pod(object, now, &mut used);
    } else if is(resource, &resource::SERVICES) {
        service(object, &mut used);
    } else if is(resource, &resource::PERSISTENT_VOLUME_CLAIMS) {
        claim(object, &mut used);
    }
    used
}

fn spec(object: &Object) -> Option<&Map<String, Value>> {
    object.at("spec").and_then(Value::as_object)
}

fn is_over(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod.text("status.phase"), Some("Failed" | "Succeeded")) {
        return true;
    }
    let at = pod.deletion_timestamp().and_then(api::clock::parse_time);
    let grace = pod.int("metadata.deletionGracePeriodSeconds").unwrap_or(0);
    at.is_some_and(|at| now.as_second() > at.as_second() + grace)
}

fn pod(object: &Object, now: Timestamp, used: &mut Amounts) {
    let Some(spec) = spec(object).filter(|_| !is_over(object, now)) else { return };
    used.insert("pods".into(), one());
    for (name, amount) in pod_amounts(spec, "requests", true) {
        used.insert(format!("requests.{name}"), amount);
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-")
        {
            used.insert(name, amount);
        }
    }
    for (name, amount) in pod_amounts(spec, "limits", true) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), amount);
        }
    }
}

fn service(object: &Object, used: &mut Amounts) {
    let ports = maps(object.at("spec.ports")).count();
    let with_node_port = maps(object.at("spec.ports"))
        .filter(|p| p.get("nodePort").and_then(Value::as_i64).is_some_and(|n| n != 0))
        .count();
    let (mut balancers, mut node_ports) = (0, 0);
    match object.text("spec.type") {
        Some("NodePort") => node_ports = ports,
        Some("LoadBalancer") => {
            balancers = 1;
            let spared =
                object.at("spec.allocateLoadBalancerNodePorts") == Some(&Value::Bool(false));
            node_ports = if spared { with_node_port } else { ports };
        }
        _ => {}
    }
    let count = |n: usize| Quantity::new(i64::try_from(n).unwrap_or(i64::MAX), Format::DecimalSi);
    used.insert("services.loadbalancers".into(), count(balancers));
    used.insert("services.nodeports".into(), count(node_ports));
}

fn claim(object: &Object, used: &mut Amounts) {
    let class = object
        .annotation("volume.beta.kubernetes.io/storage-class")
        .or_else(|| object.text("spec.storageClassName"))
        .filter(|c| !c.is_empty());
    let size = object.text("spec.resources.requests.storage").and_then(|q| Quantity::parse(q).ok());
    let mut put = |name: &str, amount: Quantity| {
        if let Some(class) = class {
            used.insert(format!("{class}.storageclass.storage.k8s.io/{name}"), amount);
        }
        used.insert(name.to_owned(), amount);
    };
    put("persistentvolumeclaims", one());
    if let Some(size) = size {
        put("requests.storage", size);
    }
}

/// Whether an object falls under a quota's scopes. Scopes are about pods: with one of them a quota
/// says nothing about other objects.
pub fn matches(quota: &Object, resource: &Resource, object: &Object, now: Timestamp) -> bool {
    let plain = quota.at("spec.scopes").and_then(Value::as_array).into_iter().flatten();
    let mut scopes: Vec<(&str, &str, Vec<&str>)> =
        plain.filter_map(Value::as_str).map(|s| (s, "Exists", Vec::new())).collect();
    for term in maps(quota.at("spec.scopeSelector.matchExpressions")) {
        let values = term.get("values").and_then(Value::as_array).into_iter().flatten();
        let values = values.filter_map(Value::as_str).collect();
        scopes.push((text(term, "scopeName"), text(term, "operator"), values));
    }
    if scopes.is_empty() {
        return true;
    }
    is(resource, &resource::PODS)
        && scopes.iter().all(|(scope, op, values)| in_scope(object, scope, op, values, now))
}

fn in_scope(pod: &Object, scope: &str, op: &str, values: &[&str], _: Timestamp) -> bool {
    let ends = pod.int("spec.activeDeadlineSeconds").is_some_and(|s| s >= 0);
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort(pod),
        "NotBestEffort" => !best_effort(pod),
        "PriorityClass" => {
            let class = pod.text("spec.priorityClassName").unwrap_or("");
            match op {
                "In" => values.contains(&class),
                "NotIn" => !values.contains(&class),
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => reaches_out(pod),
        _ => false,
    }
}

fn best_effort(pod: &Object) -> bool {
    let Some(spec) = spec(pod) else { return true };
    ["requests", "limits"].iter().all(|which| {
        let held = pod_amounts(spec, which, false);
        ["cpu", "memory"].iter().all(|name| held.get(*name).is_none_or(|q| q.is_zero()))
    })
}

/// Whether a pod's affinity names other namespaces.
fn reaches_out(pod: &Object) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = pod.at(&format!("spec.affinity.{kind}"));
        let list = |key: &str| maps(affinity.and_then(|a| a.get(key)));
        let required = list("requiredDuringSchedulingIgnoredDuringExecution");
        let preferred = list("preferredDuringSchedulingIgnoredDuringExecution")
            .filter_map(|t| t.get("podAffinityTerm")?.as_object());
        required.chain(preferred).any(|term| {
            let named = term.get("namespaces").and_then(Value::as_array);
            named.is_some_and(|n| !n.is_empty()) || term.contains_key("namespaceSelector")
        })
    })
}

/// The resources of a quota that objects of a kind use.
pub fn concerned<'a>(hard: &'a Amounts, resource: &Resource) -> impl Iterator<Item = &'a str> {
    let pod = is(resource, &resource::PODS);
    let claim = is(resource, &resource::PERSISTENT_VOLUME_CLAIMS);
    let count = format!("count/{}", resource.qualified());
    let plural = resource.plural.to_string();
    hard.keys().map(String::as_str).filter(move |name| {
        if *name == count
            || *name == plural
            || name.strip_prefix(&*plural).is_some_and(|r| r.starts_with('.'))
        {
            return true;
        }
        let storage =
            name.ends_with("requests.storage") || name.ends_with("persistentvolumeclaims");
        let compute = !storage
            && (matches!(*name, "cpu" | "memory" | "ephemeral-storage")
                || ["requests.", "limits.", "hugepages-"].iter().any(|p| name.starts_with(p)));
        (claim && storage) || (pod && compute)
    })
}

/// Containers must say what they need of a compute resource that a quota bounds.
pub fn constraint(hard: &Amounts, resource: &Resource, object: &Object) -> Option<String> {
    const BOUNDED: [(&str, &str, &str); 6] = [
        ("cpu", "requests", "cpu"),
        ("limits.cpu", "limits", "cpu"),
        ("limits.memory", "limits", "memory"),
        ("memory", "requests", "memory"),
        ("requests.cpu", "requests", "cpu"),
        ("requests.memory", "requests", "memory"),
    ];
    if !is(resource, &resource::PODS) {
        return None;
    }
    let spec = spec(object)?;
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, which, key) in BOUNDED.into_iter().filter(|(n, _, _)| hard.contains_key(*n)) {
        let of_pod = amounts(spec.get("resources").and_then(|r| r.get(which)));
        if of_pod.contains_key(key) {
            continue;
        }
        for container in maps(spec.get("containers")).chain(maps(spec.get("initContainers"))) {
            let held = amounts(container.get("resources").and_then(|r| r.get(which)));
            if !held.contains_key(key) {
                missing.entry(name).or_default().push(text(container, "name"));
            }
        }
    }
    if missing.is_empty() {
        return None;
    }
    let parts: Vec<String> = missing
        .into_iter()
        .map(|(name, mut containers)| {
            containers.sort_unstable();
            format!("{name} for: {}", containers.join(","))
        })
        .collect();
    Some(format!("must specify {}", parts.join("; ")))
}
