//! The fields that the server itself sets or keeps, for the kinds that the table cannot express.
//!
//! Not here: pods (`pod`).

use serde_json::{Value, json};

use super::copy;
use crate::object::Object;

fn set(object: &mut Object, part: &str, key: &str, value: Value) {
    object.map_mut(part).insert(key.to_owned(), value);
}

fn list_mut<'a>(object: &'a mut Object, part: &str, key: &str) -> &'a mut Vec<Value> {
    let slot = object.map_mut(part).entry(key).or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("made a list above"),
    }
}

/// A new definition's status has nothing but the version that is stored.
pub(super) fn definition_create(object: &mut Object) {
    definition_stored(object);
}

/// A version that comes to be stored is noted: objects in it may be there from then on.
pub(super) fn definition_update(object: &mut Object, _: &Object) {
    definition_stored(object);
}

fn definition_stored(object: &mut Object) {
    let versions = object.at("spec.versions").and_then(Value::as_array).into_iter().flatten();
    let stored = versions.into_iter().find(|v| v["storage"] == true).map(|v| v["name"].clone());
    let Some(stored) = stored else { return };
    let noted = list_mut(object, "status", "storedVersions");
    if !noted.contains(&stored) {
        noted.push(stored);
    }
}

/// New namespaces are active and hold the finalizer that empties them.
pub(super) fn namespace_create(object: &mut Object) {
    object.0.insert("status".into(), json!({ "phase": "Active" }));
    // A generated name was not known to the defaults.
    let name = object.name().to_owned();
    if !name.is_empty() {
        let labels = object.meta_mut().entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
        }
    }
    let finalizers = list_mut(object, "spec", "finalizers");
    if !finalizers.iter().any(|f| f == "kubernetes") {
        finalizers.push("kubernetes".into());
    }
}

/// Only `/finalize` changes a namespace's own finalizers.
pub(super) fn namespace_update(new: &mut Object, old: &Object) {
    match old.at("spec.finalizers") {
        Some(list) => set(new, "spec", "finalizers", list.clone()),
        None => {
            new.map_mut("spec").remove("finalizers");
        }
    }
}

/// Configuration in API objects is long gone.
pub(super) fn node_create(object: &mut Object) {
    node_config(object);
}

/// Nobody keeps where a kubelet's configuration comes from any more.
fn node_config(object: &mut Object) {
    object.map_mut("spec").remove("configSource");
    if let Some(Value::Object(status)) = object.0.get_mut("status") {
        status.remove("config");
    }
}

pub(super) fn node_status(new: &mut Object, _: &Object) {
    node_config(new);
}

/// A node keeps its status on update, but may be created with one.
pub(super) fn node_update(new: &mut Object, old: &Object) {
    node_config(new);
    copy(new, old, "status");
}

/// New volumes are pending.
pub(super) fn volume_create(object: &mut Object) {
    object.0.insert("status".into(), json!({ "phase": "Pending" }));
}

/// The two data source fields of a claim agree where only one is given, and another namespace's
/// source is not named in the old one.
fn normalize_sources(object: &mut Object) {
    let spec = object.map_mut("spec");
    match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
        (Some(source), None) => {
            spec.insert("dataSourceRef".into(), source);
        }
        (None, Some(mut source)) => {
            let foreign =
                source.get("namespace").and_then(Value::as_str).is_some_and(|n| !n.is_empty());
            if !foreign {
                if let Value::Object(map) = &mut source {
                    map.remove("namespace");
                }
                spec.insert("dataSource".into(), source);
            }
        }
        _ => {}
    }
}

/// Sources in other namespaces are a feature that is off by default.
fn drop_foreign_source(object: &mut Object) {
    if object.text("spec.dataSourceRef.namespace").is_some_and(|n| !n.is_empty()) {
        object.map_mut("spec").remove("dataSourceRef");
    }
}

/// A source that is neither a claim nor a snapshot is dropped from the old field, silently.
fn drop_unknown_source(object: &mut Object) {
    let spec = object.map_mut("spec");
    if spec.contains_key("dataSourceRef") {
        return;
    }
    let known = spec.get("dataSource").is_none_or(|s| {
        let text = |k: &str| s.get(k).and_then(Value::as_str).unwrap_or("");
        matches!(
            (text("apiGroup"), text("kind")),
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    });
    if !known {
        spec.remove("dataSource");
    }
}

/// See [`normalize_sources`]; the status says that the claim is pending.
pub(super) fn claim_create(object: &mut Object) {
    drop_foreign_source(object);
    drop_unknown_source(object);
    normalize_sources(object);
    object.0.insert("status".into(), json!({ "phase": "Pending" }));
}

/// See [`normalize_sources`].
pub(super) fn claim_update(new: &mut Object, old: &Object) {
    if old.at("spec.dataSource").is_none() {
        drop_unknown_source(new);
    }
    normalize_sources(new);
}

/// A secret keeps its type where an update names none.
pub(super) fn secret_update(new: &mut Object, old: &Object) {
    if new.text("type").unwrap_or("").is_empty() {
        copy(new, old, "type");
    }
}

/// References of a service account name secrets only.
pub(super) fn service_account(object: &mut Object) {
    if let Some(Value::Array(secrets)) = object.0.get_mut("secrets") {
        for secret in secrets {
            let name = secret.get("name").cloned();
            *secret = name.map_or_else(|| json!({}), |name| json!({ "name": name }));
        }
    }
}

/// The template's own generation, kept for old clients.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The template's generation starts at 1.
pub(super) fn daemon_set_create(object: &mut Object) {
    let given = object.annotation(TEMPLATE_GENERATION).and_then(|t| t.parse::<i64>().ok());
    object.set_annotation(TEMPLATE_GENERATION, &given.unwrap_or(0).max(1).to_string());
}

/// The template's generation grows with the template.
pub(super) fn daemon_set_update(new: &mut Object, old: &Object) {
    let before = old.annotation(TEMPLATE_GENERATION).and_then(|t| t.parse::<i64>().ok());
    let changed = new.at("spec.template") != old.at("spec.template");
    let now = before.unwrap_or(0) + i64::from(changed);
    new.set_annotation(TEMPLATE_GENERATION, &now.to_string());
}

/// The template's generation is the spec's.
pub(super) fn daemon_set_status(new: &mut Object, old: &Object) {
    if let Some(generation) = old.annotation(TEMPLATE_GENERATION) {
        let generation = generation.to_owned();
        new.set_annotation(TEMPLATE_GENERATION, &generation);
    }
}

/// What v1 says of a status in annotations goes with the status.
pub(super) fn autoscaler_create(object: &mut Object) {
    if object.api_version() != "autoscaling/v1" {
        return;
    }
    let meta = object.meta_mut();
    let Some(Value::Object(notes)) = meta.get_mut("annotations") else { return };
    notes.retain(|key, _| !crate::convert::HPA_STATUS_ANNOTATIONS.contains(&key.as_str()));
    if notes.is_empty() {
        meta.remove("annotations");
    }
}

/// A job selects its pods by its own uid, unless told otherwise.
pub(super) fn job_create(object: &mut Object) {
    if object.at("spec.manualSelector").and_then(Value::as_bool) == Some(true) {
        return;
    }
    let (name, uid) = (object.name().to_owned(), object.uid().to_owned());
    // Labels that come from the template grow with it.
    let given = object.at("spec.template.metadata.labels").cloned();
    let labels = object.meta().and_then(|m| m.get("labels")).cloned();
    let shared = labels.is_none() || labels == given;
    let spec = object.map_mut("spec");
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for (key, value) in [
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
    ] {
        labels.entry(key).or_insert_with(|| value.as_str().into());
    }
    let labels = labels.clone();
    let selected = child(child(spec, "selector"), "matchLabels");
    selected.entry("batch.kubernetes.io/controller-uid").or_insert_with(|| uid.as_str().into());
    if shared {
        object.set_meta("labels", labels);
    }
}

fn child<'a>(
    map: &'a mut serde_json::Map<String, Value>,
    key: &str,
) -> &'a mut serde_json::Map<String, Value> {
    let slot = map.entry(key).or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("made a map above"),
    }
}

/// Who asks is filled in by the server from the request, never taken from the body.
pub(super) fn csr_create(object: &mut Object) {
    let spec = object.map_mut("spec");
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
}

/// A request never changes but through its subresources.
pub(super) fn csr_update(new: &mut Object, old: &Object) {
    copy(new, old, "spec");
}

/// The status subresource does not approve or deny: where as many decisions are there as before, they
/// stay as they were; where not, validation says so.
pub(super) fn csr_status(new: &mut Object, old: &Object) {
    let conditions = |object: &Object| {
        object.at("status.conditions").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (mut now, was) = (conditions(new), conditions(old));
    for kind in ["Approved", "Denied"] {
        let of = |c: &&Value| c.get("type").and_then(Value::as_str) == Some(kind);
        let before: Vec<Value> = was.iter().filter(of).cloned().collect();
        let places: Vec<usize> =
            (0..now.len()).filter(|at| now.get(*at).is_some_and(|c| of(&c))).collect();
        if places.len() == before.len() {
            for (at, condition) in places.into_iter().zip(before) {
                now[at] = condition;
            }
        }
    }
    if !now.is_empty() {
        set(new, "status", "conditions", now.into());
    }
}

/// `/approval` changes the conditions only.
pub(super) fn keep_all_but_conditions(new: &mut Object, old: &Object) {
    let conditions = new.at("status.conditions").cloned();
    copy(new, old, "spec");
    copy(new, old, "status");
    match conditions {
        Some(list) => set(new, "status", "conditions", list),
        None => {
            new.map_mut("status").remove("conditions");
        }
    }
}

/// Fills the times of conditions that are new or lack them.
pub(super) fn stamp_conditions(new: &mut Object, old: Option<&Object>, now: &str) {
    let before = old.and_then(|o| o.at("status.conditions")).and_then(Value::as_array).cloned();
    let Some(Value::Object(status)) = new.0.get_mut("status") else { return };
    let Some(Value::Array(list)) = status.get_mut("conditions") else { return };
    for condition in list {
        let Value::Object(map) = condition else { continue };
        let unset = |map: &serde_json::Map<String, Value>, key: &str| {
            map.get(key).is_none_or(Value::is_null)
        };
        if unset(map, "lastUpdateTime") {
            map.insert("lastUpdateTime".into(), now.into());
        }
        if unset(map, "lastTransitionTime") {
            let same = before
                .iter()
                .flatten()
                .find(|c| c.get("type") == map.get("type") && c.get("status") == map.get("status"));
            let time = same.and_then(|c| c.get("lastTransitionTime")).cloned();
            map.insert("lastTransitionTime".into(), time.unwrap_or_else(|| now.into()));
        }
    }
}

/// How many of a set's pods may be missing is not limited: the feature is off by default.
pub(super) fn stateful_set(new: &mut Object, old: Option<&Object>) {
    let path = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    if old.and_then(|old| old.at(path)).is_some_and(|had| !had.is_null()) {
        return;
    }
    let rolling =
        new.0.get_mut("spec").and_then(|s| s.pointer_mut("/updateStrategy/rollingUpdate"));
    if let Some(rolling) = rolling.and_then(Value::as_object_mut) {
        rolling.remove("maxUnavailable");
    }
}

/// Leases have no strategy: coordinated leader election is off by default.
pub(super) fn lease(object: &mut Object) {
    let spec = object.map_mut("spec");
    spec.remove("strategy");
    spec.remove("preferredHolder");
}

/// The old topology field of endpoints cannot be written any more.
pub(super) fn slice_create(object: &mut Object) {
    if let Some(Value::Array(endpoints)) = object.0.get_mut("endpoints") {
        for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
            endpoint.remove("deprecatedTopology");
        }
    }
}

/// See [`slice_create`]; untouched endpoints keep it.
pub(super) fn slice_update(new: &mut Object, old: &Object) {
    if new.0.get("endpoints") != old.0.get("endpoints") {
        slice_create(new);
    }
}

/// CSI drivers have no generation before their first change.
pub(super) fn driver_create(object: &mut Object) {
    object.meta_mut().remove("generation");
    object.map_mut("spec").remove("preventPodSchedulingIfMissing");
}

/// What a gate keeps off.
pub(super) fn driver_update(new: &mut Object, _: &Object) {
    new.map_mut("spec").remove("preventPodSchedulingIfMissing");
}

/// The list of addresses follows the one address, which old clients set alone.
pub(super) fn service_create(new: &mut Object) {
    without_internal_policy(new);
    let one = new.text("spec.clusterIP").unwrap_or("").to_owned();
    let listed = new.at("spec.clusterIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    if !one.is_empty() && !listed {
        new.map_mut("spec").insert("clusterIPs".to_owned(), Value::from(vec![one]));
    }
}

/// A name elsewhere has no traffic policy. One that does not exist stays: it is refused.
fn without_internal_policy(new: &mut Object) {
    let known = matches!(new.text("spec.internalTrafficPolicy"), Some("Cluster" | "Local"));
    if known && new.text("spec.type") == Some("ExternalName") {
        new.map_mut("spec").remove("internalTrafficPolicy");
    }
}

/// What was allocated stays where the client leaves it out.
fn keep_allocated(new: &mut Object, old: &Object) {
    let kind = |o: &Object| o.text("spec.type").unwrap_or("ClusterIP").to_owned();
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::String(s)) => s.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(value) => value.as_i64() == Some(0),
    };
    let keep = |new: &mut Object, field: &str| {
        let path = format!("spec.{field}");
        if let (true, Some(value)) = (empty(new.at(&path)), old.at(&path).cloned()) {
            new.map_mut("spec").insert(field.to_owned(), value);
        }
    };
    let (now, was) = (kind(new), kind(old));
    if now != "ExternalName" && was != "ExternalName" {
        keep(new, "clusterIP");
        if new.at("spec.clusterIP") == old.at("spec.clusterIP") {
            keep(new, "clusterIPs");
        }
    }
    let node_ports = |kind: &str| kind == "NodePort" || kind == "LoadBalancer";
    if node_ports(&now) && node_ports(&was) {
        let port = |p: &Value| p.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let name = |p: &Value| p.get("name").and_then(Value::as_str).unwrap_or("").to_owned();
        let before: Vec<(String, i64)> = old
            .at("spec.ports")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|p| (name(p), port(p)))
            .collect();
        if let Some(Value::Array(ports)) = new.map_mut("spec").get_mut("ports") {
            let mut used: Vec<i64> = ports.iter().map(port).collect();
            for one in ports.iter_mut().filter(|p| port(p) == 0) {
                let had = before.iter().rev().find(|b| b.0 == name(one) && b.1 != 0);
                if let Some((_, number)) = had.filter(|b| !used.contains(&b.1)) {
                    one["nodePort"] = (*number).into();
                    used.push(*number);
                }
            }
        }
    }
    let health = |o: &Object| {
        kind(o) == "LoadBalancer" && o.text("spec.externalTrafficPolicy") == Some("Local")
    };
    if health(new) && health(old) {
        keep(new, "healthCheckNodePort");
    }
}

/// The list of addresses follows the one address where a client changed that alone.
fn follow_address(new: &mut Object, old: &Object) {
    let text = |o: &Object| o.text("spec.clusterIP").unwrap_or("").to_owned();
    let list =
        |o: &Object| o.at("spec.clusterIPs").and_then(Value::as_array).cloned().unwrap_or_default();
    let (now, was) = (text(new), text(old));
    if now == was || list(new) != list(old) {
        return;
    }
    if now.is_empty() {
        new.map_mut("spec").remove("clusterIPs");
    } else {
        new.map_mut("spec").insert("clusterIPs".to_owned(), Value::from(vec![now]));
    }
}

/// Drops what a service of another type does not need, where the client left it as it was.
pub(super) fn service_update(new: &mut Object, old: &Object) {
    let kind = |o: &Object| o.text("spec.type").unwrap_or("ClusterIP").to_owned();
    keep_allocated(new, old);
    follow_address(new, old);
    let (now, before) = (kind(new), kind(old));
    without_internal_policy(new);
    let same = |new: &Object, path: &str| new.at(path) == old.at(path);
    let drop = |new: &mut Object, keys: &[&str]| {
        for key in keys {
            new.map_mut("spec").remove(*key);
        }
    };
    if before != "ExternalName" && now == "ExternalName" {
        if same(new, "spec.clusterIP") && same(new, "spec.clusterIPs") {
            drop(new, &["clusterIP", "clusterIPs"]);
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if same(new, &format!("spec.{key}")) {
                drop(new, &[key]);
            }
        }
    }
    let node_ports = |t: &str| t == "NodePort" || t == "LoadBalancer";
    let ports = |o: &Object| -> std::collections::BTreeSet<i64> {
        let list = o.at("spec.ports").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|p| p.get("nodePort")?.as_i64()).collect()
    };
    if node_ports(&before)
        && !node_ports(&now)
        && ports(new) == ports(old)
        && let Some(Value::Array(list)) = new.map_mut("spec").get_mut("ports")
    {
        for port in list.iter_mut().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    let health = |o: &Object| {
        kind(o) == "LoadBalancer" && o.text("spec.externalTrafficPolicy") == Some("Local")
    };
    if health(old) && !health(new) && same(new, "spec.healthCheckNodePort") {
        drop(new, &["healthCheckNodePort"]);
    }
    if before == "LoadBalancer" && now != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(new, &format!("spec.{key}")) {
                drop(new, &[key]);
            }
        }
    }
    let external = |o: &Object| {
        let ips = o.at("spec.externalIPs").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        node_ports(&kind(o)) || (kind(o) == "ClusterIP" && ips)
    };
    if external(old) && !external(new) && same(new, "spec.externalTrafficPolicy") {
        drop(new, &["externalTrafficPolicy"]);
    }
    if now != "LoadBalancer" {
        new.map_mut("status").insert("loadBalancer".into(), json!({}));
    }
}
