//! What the server sets in pods, and what the subresources of pods may change.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{copy, copy_meta};
use crate::object::Object;
use crate::quantity::Quantity;

fn list<'a>(pod: &'a Object, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    pod.at(path).and_then(Value::as_array).into_iter().flatten()
}

/// `Guaranteed`, `Burstable` or `BestEffort`: by requests and limits of processor and memory.
pub fn qos_class(pod: &Object) -> &'static str {
    let read = |resources: Option<&Value>, part: &str| -> BTreeMap<String, Quantity> {
        resources
            .and_then(|r| r.get(part))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name == "cpu" || *name == "memory")
            .filter_map(|(name, v)| Some((name.clone(), Quantity::parse(v.as_str()?).ok()?)))
            .filter(|(_, q)| q.signum() > 0)
            .collect()
    };
    // Resources of the pod as a whole decide where there are any.
    let whole = pod.at("spec.resources").filter(|r| {
        r.as_object().is_some_and(|m| m.contains_key("requests") || m.contains_key("limits"))
    });
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut guaranteed = true;
    let parts: Vec<Option<&Value>> = match whole {
        Some(resources) => vec![Some(resources)],
        None => list(pod, "spec.containers")
            .chain(list(pod, "spec.initContainers"))
            .map(|c| c.get("resources"))
            .collect(),
    };
    for resources in parts {
        let (wanted, capped) = (read(resources, "requests"), read(resources, "limits"));
        guaranteed &= capped.contains_key("cpu") && capped.contains_key("memory");
        for (into, from) in [(&mut requests, wanted), (&mut limits, capped)] {
            for (name, quantity) in from {
                *into.entry(name).or_insert(Quantity::ZERO) += quantity;
            }
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Where the kinds with pod templates have their pods' spec.
const SPECS: [(&str, &[&str]); 9] = [
    ("Pod", &["spec"]),
    ("PodTemplate", &["template", "spec"]),
    ("ReplicationController", &["spec", "template", "spec"]),
    ("DaemonSet", &["spec", "template", "spec"]),
    ("Deployment", &["spec", "template", "spec"]),
    ("ReplicaSet", &["spec", "template", "spec"]),
    ("StatefulSet", &["spec", "template", "spec"]),
    ("Job", &["spec", "template", "spec"]),
    ("CronJob", &["spec", "jobTemplate", "spec", "template", "spec"]),
];

/// Drops fields of features that are off by default.
pub(super) fn drop_disabled(kind: &str, object: &mut Object) {
    let Some((_, path)) = SPECS.iter().find(|s| s.0 == kind) else { return };
    let (first, rest) = path.split_first().unwrap_or((&"spec", &[]));
    let spec = rest
        .iter()
        .try_fold(object.0.get_mut(*first), |at, step| at.map(|value| value.get_mut(*step)));
    let Some(Some(spec)) = spec else { return };
    if let Value::Object(spec) = &mut *spec {
        spec.remove("schedulingGroup");
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
        for source in sources.into_iter().flatten().filter_map(Value::as_object_mut) {
            source.remove("clusterTrustBundle");
            source.remove("podCertificate");
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let Some(Value::Object(lifecycle)) = container.get_mut("lifecycle") else { continue };
            if lifecycle.remove("stopSignal").is_some() && lifecycle.is_empty() {
                container.as_object_mut().map(|c| c.remove("lifecycle"));
            }
        }
    }
}

/// A new pod is pending; label keys of affinity and spreading become selectors.
pub(super) fn create(pod: &mut Object) {
    let mut status = super::new_pod_status(pod);
    if list(pod, "spec.schedulingGates").next().is_some() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null,
        }]);
    }
    pod.0.insert("status".into(), status);
    profiles_of_annotations(pod);
    let labels: Map<String, Value> = pod.labels().map(|(k, v)| (k.to_owned(), v.into())).collect();
    let spec = pod.map_mut("spec");
    for side in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.get_mut("affinity").and_then(|a| a.get_mut(side)) else {
            continue;
        };
        for (key, inner) in [
            ("preferredDuringSchedulingIgnoredDuringExecution", Some("podAffinityTerm")),
            ("requiredDuringSchedulingIgnoredDuringExecution", None),
        ] {
            let terms = affinity.get_mut(key).and_then(Value::as_array_mut);
            for term in terms.into_iter().flatten() {
                let term = match inner {
                    Some(inner) => term.get_mut(inner),
                    None => Some(term),
                };
                if let Some(term) = term {
                    merge_label_keys(term, "matchLabelKeys", "In", &labels);
                    merge_label_keys(term, "mismatchLabelKeys", "NotIn", &labels);
                }
            }
        }
    }
    let spread = spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut);
    for constraint in spread.into_iter().flatten() {
        merge_label_keys(constraint, "matchLabelKeys", "In", &labels);
    }
}

/// Old clients name AppArmor profiles in annotations.
fn profiles_of_annotations(pod: &mut Object) {
    let of_pod = pod.at("spec.securityContext.appArmorProfile").cloned();
    let notes: Map<String, Value> =
        pod.at("metadata.annotations").and_then(Value::as_object).cloned().unwrap_or_default();
    let spec = pod.map_mut("spec");
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            let name = container.get("name").and_then(Value::as_str).unwrap_or("");
            let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
            let profile = match notes.get(&key).and_then(Value::as_str) {
                Some("runtime/default") => json!({ "type": "RuntimeDefault" }),
                Some("unconfined") => json!({ "type": "Unconfined" }),
                Some(text) => match text.strip_prefix("localhost/").filter(|p| !p.is_empty()) {
                    Some(path) => json!({ "type": "Localhost", "localhostProfile": path }),
                    None => continue,
                },
                None => continue,
            };
            if of_pod.as_ref() == Some(&profile) {
                continue;
            }
            let context = container.entry("securityContext").or_insert_with(|| json!({}));
            if let Value::Object(context) = context {
                context.entry("appArmorProfile").or_insert(profile);
            }
        }
    }
}

/// Adds a requirement for each label key that the pod has to the term's selector.
fn merge_label_keys(term: &mut Value, field: &str, operator: &str, labels: &Map<String, Value>) {
    let keys: Vec<Value> = term.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let Some(Value::Object(selector)) = term.get_mut("labelSelector") else { return };
    for key in keys {
        let Some(value) = key.as_str().and_then(|k| labels.get(k)) else { continue };
        let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
        if let Value::Array(list) = expressions {
            list.push(json!({ "key": key, "operator": operator, "values": [value] }));
        }
    }
}

/// A status update keeps what kubelets of older versions do not send.
pub(super) fn status_update(new: &mut Object, old: &Object) {
    new.meta_mut().remove("deletionTimestamp");
    copy_meta(new, old, "deletionTimestamp");
    if let Some(Value::Object(status)) = new.0.get_mut("status") {
        status.remove("nodeAllocatableResourceClaimStatuses");
    }
    for field in ["qosClass", "observedGeneration"] {
        let missing = new
            .at("status")
            .and_then(|s| s.get(field))
            .is_none_or(|v| v.as_str() == Some("") || v.as_i64() == Some(0));
        if let (true, Some(value)) = (missing, old.at("status").and_then(|s| s.get(field))) {
            let value = value.clone();
            new.map_mut("status").insert(field.into(), value);
        }
    }
    let mut before: BTreeMap<&str, std::collections::VecDeque<&Value>> = BTreeMap::new();
    for condition in list(old, "status.conditions") {
        if let (Some(kind), Some(generation)) =
            (condition.get("type").and_then(Value::as_str), condition.get("observedGeneration"))
        {
            before.entry(kind).or_default().push_back(generation);
        }
    }
    let Some(Value::Array(conditions)) = new.map_mut("status").get_mut("conditions") else {
        return;
    };
    for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
        let kind = condition.get("type").and_then(Value::as_str).unwrap_or("");
        let generation = before.get_mut(kind).and_then(std::collections::VecDeque::pop_front);
        if let (Some(generation), false) =
            (generation, condition.contains_key("observedGeneration"))
        {
            condition.insert("observedGeneration".into(), generation.clone());
        }
    }
}

fn keep_metadata(new: &mut Object, old: &Object) {
    for field in ["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp"] {
        copy_meta(new, old, field);
    }
}

/// `/ephemeralcontainers` changes these only.
pub(super) fn keep_all_but_ephemeral_containers(new: &mut Object, old: &Object) {
    let wanted = new.at("spec.ephemeralContainers").cloned();
    copy(new, old, "spec");
    copy(new, old, "status");
    keep_metadata(new, old);
    match wanted {
        Some(wanted) => {
            new.map_mut("spec").insert("ephemeralContainers".into(), wanted);
        }
        None => {
            new.map_mut("spec").remove("ephemeralContainers");
        }
    }
}

/// `/resize` changes resources and resize policies only. Where containers come or go the pod is left
/// as it is, for validation to refuse.
pub(super) fn keep_all_but_resources(new: &mut Object, old: &Object) {
    let mut spec = old.0.get("spec").cloned().unwrap_or_else(|| json!({}));
    for key in ["containers", "initContainers"] {
        let wanted: Vec<&Value> = list(new, &format!("spec.{key}")).collect();
        let had = spec.get_mut(key).and_then(Value::as_array_mut);
        let count = had.as_ref().map_or(0, |h| h.len());
        if wanted.len() != count {
            return;
        }
        for (to, from) in had.into_iter().flatten().zip(wanted) {
            if to.get("name") != from.get("name") {
                return;
            }
            for field in ["resources", "resizePolicy"] {
                match (to.as_object_mut(), from.get(field)) {
                    (Some(map), Some(value)) => {
                        map.insert(field.into(), value.clone());
                    }
                    (Some(map), None) => {
                        map.remove(field);
                    }
                    (None, _) => {}
                }
            }
        }
    }
    if let Some(map) = spec.as_object_mut() {
        match new.at("spec.resources") {
            Some(value) => map.insert("resources".into(), value.clone()),
            None => map.remove("resources"),
        };
    }
    new.0.insert("spec".into(), spec);
    copy(new, old, "status");
    keep_metadata(new, old);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::Strategy;

    fn pod(resources: Value) -> Object {
        Object::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "resources": resources}]},
        }))
        .expect("a map")
    }

    #[test]
    fn qos() {
        assert_eq!(qos_class(&pod(json!({}))), "BestEffort");
        assert_eq!(qos_class(&pod(json!({"requests": {"cpu": "1"}}))), "Burstable");
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos_class(&pod(json!({"requests": both, "limits": both}))), "Guaranteed");
    }

    #[test]
    fn status_is_the_kubelets() {
        let strategy = Strategy::of("", "Pod");
        let mut old = pod(json!({}));
        old.0.insert("status".into(), json!({"phase": "Failed"}));
        strategy.prepare_create(&mut old);
        assert_eq!(old.text("status.phase"), Some("Pending"));
        assert_eq!(old.generation(), 1);

        let mut new = old.clone();
        new.0.insert("status".into(), json!({"phase": "Running"}));
        new.map_mut("spec").insert("nodeName".into(), "n".into());
        let mut by_status = new.clone();
        strategy.prepare_update(&mut new, &old, None);
        assert_eq!(
            (new.text("status.phase"), new.text("spec.nodeName")),
            (Some("Pending"), Some("n"))
        );
        assert_eq!(new.generation(), 2);
        strategy.prepare_update(&mut by_status, &old, Some("status"));
        assert_eq!(by_status.text("status.phase"), Some("Running"));
        assert_eq!((by_status.text("spec.nodeName"), by_status.generation()), (None, 1));
    }
}
