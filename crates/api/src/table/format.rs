//! Texts that several kinds' cells share, and those that are one kind's own.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::cells::{at, get, int, list, show, text};
use super::duration;
use crate::object::Object;

fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    texts.into_iter().collect::<Vec<_>>().join(",")
}

pub(super) fn field<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(value: Option<&Value>) -> String {
    let pairs: Vec<String> = value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A label selector as its text form; `None` where there is none.
fn selector_text(selector: Option<&Value>) -> Option<String> {
    let selector = selector.filter(|s| s.is_object())?;
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in at(selector, "matchLabels").and_then(Value::as_object).into_iter().flatten()
    {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or(""))));
    }
    let expressions = at(selector, "matchExpressions").and_then(Value::as_array);
    for expression in expressions.into_iter().flatten() {
        let key = field(expression, "key");
        let values: BTreeSet<&str> = at(expression, "values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let values = joined(values);
        let part = match field(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), part));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    Some(joined(parts.iter().map(|(_, part)| part.as_str())))
}

/// A label selector, or `<none>` where it is missing or empty.
pub fn selector(selector: Option<&Value>) -> String {
    selector_text(selector).filter(|text| !text.is_empty()).unwrap_or_else(|| "<none>".into())
}

/// A deployment's selector, empty where it is.
pub fn bare_selector(object: &Object) -> Value {
    selector_text(get(object, "spec.selector")).unwrap_or_default().into()
}

/// Names of the containers under a path.
pub fn names(object: &Object, path: &str) -> Value {
    joined(list(object, path).iter().map(|c| field(c, "name"))).into()
}

/// Images of the containers under a path.
pub fn images(object: &Object, path: &str) -> Value {
    joined(list(object, path).iter().map(|c| field(c, "image"))).into()
}

/// The first three, and how many more.
pub(super) fn few(texts: &[String], empty: &str) -> String {
    let head = texts[..texts.len().min(3)].join(",");
    match texts.len() {
        0 => empty.into(),
        1..=3 => head,
        more => format!("{head} + {} more...", more - 3),
    }
}

fn status_of<'a>(object: &'a Object, path: &str, kind: &str) -> Option<&'a Value> {
    list(object, path).iter().find(|c| field(c, "type") == kind)
}

fn is_true(condition: Option<&Value>) -> bool {
    condition.is_some_and(|c| field(c, "status") == "True")
}

pub fn ready_of_desired(object: &Object) -> Value {
    format!("{}/{}", int(object, "status.readyReplicas"), int(object, "spec.replicas")).into()
}

pub fn job_status(object: &Object) -> Value {
    let has = |kind| is_true(status_of(object, "status.conditions", kind));
    let status = if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if object.is_deleting() {
        "Terminating"
    } else {
        ["Suspended", "FailureTarget", "SuccessCriteriaMet"]
            .into_iter()
            .find(|kind| has(kind))
            .unwrap_or("Running")
    };
    status.into()
}

pub fn job_completions(object: &Object) -> Value {
    let succeeded = int(object, "status.succeeded");
    match (get(object, "spec.completions"), int(object, "spec.parallelism")) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
    .into()
}

pub fn job_duration(object: &Object, now: Timestamp) -> Value {
    let time = |path: &str| text(object, path).parse::<Timestamp>().ok();
    match (time("status.startTime"), time("status.completionTime")) {
        (None, _) => "".into(),
        (Some(start), end) => {
            duration::human(duration::seconds_between(start, end.unwrap_or(now))).into()
        }
    }
}

pub fn cron_job_suspend(object: &Object) -> Value {
    match get(object, "spec.suspend").and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    }
    .into()
}

pub fn storage_class_name(object: &Object) -> Value {
    let default = [
        "storageclass.kubernetes.io/is-default-class",
        "storageclass.beta.kubernetes.io/is-default-class",
    ]
    .into_iter()
    .any(|key| object.annotation(key) == Some("true"));
    named(object, default)
}

pub(super) fn named(object: &Object, default: bool) -> Value {
    if default { format!("{} (default)", object.name()) } else { object.name().into() }.into()
}

pub fn storage_versions(object: &Object) -> Value {
    let versions: Vec<String> = list(object, "status.storageVersions")
        .iter()
        .map(|v| format!("{}={}", field(v, "apiServerID"), field(v, "encodingVersion")))
        .collect();
    few(&versions, "<unset>").into()
}

pub fn node_status(object: &Object) -> Value {
    // Of several conditions of a type, the last counts.
    let ready = list(object, "status.conditions").iter().rfind(|c| field(c, "type") == "Ready");
    let mut status = match ready {
        None => "Unknown".to_owned(),
        Some(_) if is_true(ready) => "Ready".into(),
        Some(_) => "NotReady".into(),
    };
    if get(object, "spec.unschedulable").and_then(Value::as_bool) == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

pub fn node_roles(object: &Object) -> Value {
    let mut roles = BTreeSet::new();
    for (key, value) in object.labels() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.insert(role);
        } else if key == "kubernetes.io/role" {
            roles.insert(value);
        }
    }
    roles.remove("");
    if roles.is_empty() { "<none>".into() } else { joined(roles).into() }
}

fn node_address(object: &Object, kind: &str) -> Value {
    let found = list(object, "status.addresses").iter().find(|a| field(a, "type") == kind);
    found.map_or("<none>", |a| field(a, "address")).into()
}

pub fn node_internal(object: &Object) -> Value {
    node_address(object, "InternalIP")
}

pub fn node_external(object: &Object) -> Value {
    node_address(object, "ExternalIP")
}

pub fn node_kernel(object: &Object) -> Value {
    let kernel = text(object, "status.nodeInfo.kernelVersion");
    let kernel = if kernel.is_empty() { "<unknown>" } else { kernel };
    match text(object, "status.nodeInfo.architecture") {
        "" => kernel.into(),
        architecture => format!("{kernel} ({architecture})").into(),
    }
}

fn access_modes(object: &Object, path: &str) -> String {
    let modes = list(object, path);
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    joined(short.into_iter().filter(|(m, _)| modes.iter().any(|x| x == m)).map(|(_, s)| s))
}

pub fn volume_phase(object: &Object) -> Value {
    if object.is_deleting() { "Terminating".into() } else { text(object, "status.phase").into() }
}

pub fn pv_modes(object: &Object) -> Value {
    access_modes(object, "spec.accessModes").into()
}

pub fn pv_claim(object: &Object) -> Value {
    match get(object, "spec.claimRef") {
        Some(claim) => format!("{}/{}", field(claim, "namespace"), field(claim, "name")).into(),
        None => "".into(),
    }
}

pub fn volume_class(object: &Object) -> Value {
    let annotated = object.annotation("volume.beta.kubernetes.io/storage-class");
    annotated.unwrap_or_else(|| text(object, "spec.storageClassName")).into()
}

pub fn pvc_capacity(object: &Object) -> Value {
    if text(object, "spec.volumeName").is_empty() {
        return "".into();
    }
    let capacity = text(object, "status.capacity.storage");
    if capacity.is_empty() { "0" } else { capacity }.into()
}

pub fn pvc_modes(object: &Object) -> Value {
    if text(object, "spec.volumeName").is_empty() {
        return "".into();
    }
    access_modes(object, "status.accessModes").into()
}

/// Component status: the condition called Healthy.
fn healthy<'a>(object: &'a Object, key: &str) -> &'a str {
    status_of(object, "conditions", "Healthy").map_or("", |c| field(c, key))
}

pub fn component_status(object: &Object) -> Value {
    match healthy(object, "status") {
        "" => "Unknown",
        "True" => "Healthy",
        _ => "Unhealthy",
    }
    .into()
}

pub fn component_message(object: &Object) -> Value {
    healthy(object, "message").into()
}

pub fn component_error(object: &Object) -> Value {
    healthy(object, "error").into()
}

pub fn event_first(object: &Object, now: Timestamp) -> Value {
    let first = get(object, "firstTimestamp").or_else(|| get(object, "eventTime"));
    let first = first.and_then(Value::as_str).or(get(object, "eventTime").and_then(Value::as_str));
    duration::since(first, now).into()
}

pub fn event_last(object: &Object, now: Timestamp) -> Value {
    if let Some(series) = get(object, "series").filter(|s| s.is_object()) {
        return duration::since(at(series, "lastObservedTime").and_then(Value::as_str), now).into();
    }
    match get(object, "lastTimestamp").and_then(Value::as_str) {
        Some(last) => duration::since(Some(last), now).into(),
        None => event_first(object, now),
    }
}

pub fn event_count(object: &Object) -> Value {
    match get(object, "series").filter(|s| s.is_object()) {
        Some(_) => int(object, "series.count").into(),
        None => int(object, "count").max(1).into(),
    }
}

pub fn event_object(object: &Object) -> Value {
    let kind = text(object, "involvedObject.kind").to_lowercase();
    match text(object, "involvedObject.name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

pub fn event_source(object: &Object) -> Value {
    let first = |a: &str, b: &str| -> String {
        let a = text(object, a);
        if a.is_empty() { text(object, b) } else { a }.to_owned()
    };
    let component = first("source.component", "reportingComponent");
    match first("source.host", "reportingInstance") {
        instance if instance.is_empty() => component.into(),
        instance => format!("{component}, {instance}").into(),
    }
}

pub fn event_message(object: &Object) -> Value {
    text(object, "message").trim().into()
}

fn subjects(object: &Object, kind: &str) -> Value {
    let names: Vec<String> = list(object, "subjects")
        .iter()
        .filter(|s| field(s, "kind") == kind)
        .map(|s| match (kind, field(s, "namespace")) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => {
                format!("{namespace}/{}", field(s, "name"))
            }
            _ => field(s, "name").into(),
        })
        .collect();
    names.join(", ").into()
}

pub fn users(object: &Object) -> Value {
    subjects(object, "User")
}

pub fn groups(object: &Object) -> Value {
    subjects(object, "Group")
}

pub fn service_accounts(object: &Object) -> Value {
    subjects(object, "ServiceAccount")
}

pub fn csr_condition(object: &Object) -> Value {
    let has = |kind| status_of(object, "status.conditions", kind).is_some();
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !text(object, "status.certificate").is_empty() {
        status.push_str(",Issued");
    }
    status.into()
}

pub fn csr_duration(object: &Object) -> Value {
    match get(object, "spec.expirationSeconds").and_then(Value::as_i64) {
        Some(seconds) => duration::human(seconds).into(),
        None => "<none>".into(),
    }
}

pub fn pod_certificate_state(object: &Object) -> Value {
    let known = ["Issued", "Denied", "Failed"];
    let conditions = list(object, "status.conditions").iter().map(|c| field(c, "type"));
    conditions.rev().find(|c| known.contains(c)).unwrap_or("Pending").into()
}

pub fn controller(object: &Object) -> Value {
    let owner = object.owner_references().find(|r| r.get("controller") == Some(&true.into()));
    let Some(owner) = owner else { return "<none>".into() };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).unwrap_or("");
    let kind = match text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{}.{group}", text("kind")),
        None => text("kind").into(),
    };
    format!("{}/{}", kind.to_lowercase(), text("name")).into()
}

fn quota(object: &Object, limits: bool) -> Value {
    let hard = get(object, "status.hard").and_then(Value::as_object);
    let parts: Vec<String> = hard
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = get(object, "status.used").and_then(|used| used.get(name));
            let used = used.map_or_else(|| "0".into(), |used| show(Some(used)));
            format!("{name}: {used}/{}", show(Some(hard)))
        })
        .collect();
    parts.join(", ").into()
}

pub fn quota_requests(object: &Object) -> Value {
    quota(object, false)
}

pub fn quota_limits(object: &Object) -> Value {
    quota(object, true)
}

pub fn config_map_data(object: &Object) -> Value {
    let size = |key| get(object, key).and_then(Value::as_object).map_or(0, |m| m.len());
    (size("data") + size("binaryData")).into()
}

pub fn token_audiences(object: &Object) -> Value {
    match get(object, "spec.tokenRequests").and_then(Value::as_array) {
        Some(requests) => joined(requests.iter().map(|r| field(r, "audience"))).into(),
        None => "<unset>".into(),
    }
}

pub fn param_kind(object: &Object) -> Value {
    match get(object, "spec.paramKind") {
        Some(kind) => format!("{}/{}", field(kind, "apiVersion"), field(kind, "kind")).into(),
        None => "<unset>".into(),
    }
}

pub fn param_ref(object: &Object) -> Value {
    let Some(reference) = get(object, "spec.paramRef") else { return "<unset>".into() };
    match (field(reference, "namespace"), field(reference, "name")) {
        ("", "") => selector(at(reference, "selector")).into(),
        ("", name) => format!("*/{name}").into(),
        (_, "") => selector(at(reference, "selector")).into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

pub fn flow_schema_dangling(object: &Object) -> Value {
    status_of(object, "status.conditions", "Dangling").map_or("?", |c| field(c, "status")).into()
}

/// A setting of a limited priority level: a number, or `<none>`.
pub fn limited(object: &Object, path: &str) -> Value {
    let whole = get(object, "spec.limited").is_some_and(Value::is_object);
    let queuing = !path.contains("queuing")
        || get(object, "spec.limited.limitResponse.queuing").is_some_and(Value::is_object);
    match get(object, path) {
        Some(value) if whole => value.clone(),
        None if whole && queuing => 0.into(),
        _ => "<none>".into(),
    }
}

pub fn claim_state(object: &Object) -> Value {
    let mut states = Vec::new();
    if object.is_deleting() {
        states.push("deleted");
    }
    if get(object, "status.allocation").is_none() {
        if !object.is_deleting() {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if !list(object, "status.reservedFor").is_empty() {
            states.push("reserved");
        }
    }
    joined(states).into()
}

pub fn migration_resource(object: &Object) -> Value {
    let part = |key: &str| text(object, &format!("spec.resource.{key}"));
    crate::resource::qualified(part("group"), part("resource")).into()
}

pub fn migration_status(object: &Object) -> Value {
    let known = ["Running", "Failed", "Succeeded"];
    let states = list(object, "status.conditions").iter().filter(|c| field(c, "status") == "True");
    states.map(|c| field(c, "type")).rfind(|t| known.contains(t)).unwrap_or("Unknown").into()
}

pub fn pod_group_policy(object: &Object) -> Value {
    if get(object, "spec.schedulingPolicy.gang").is_some() { "Gang" } else { "Basic" }.into()
}

pub fn pod_group_status(object: &Object) -> Value {
    if let Some(target) = status_of(object, "status.conditions", "DisruptionTarget") {
        return field(target, "reason").into();
    }
    match status_of(object, "status.conditions", "PodGroupScheduled") {
        None => "Pending",
        scheduled if is_true(scheduled) => "Scheduled",
        Some(_) => "Unschedulable",
    }
    .into()
}

pub fn api_service_backend(object: &Object) -> Value {
    match get(object, "spec.service") {
        Some(service) => {
            format!("{}/{}", field(service, "namespace"), field(service, "name")).into()
        }
        None => "Local".into(),
    }
}

pub fn api_service_available(object: &Object) -> Value {
    match status_of(object, "status.conditions", "Available") {
        None => "Unknown".into(),
        available if is_true(available) => "True".into(),
        Some(condition) => {
            format!("{} ({})", field(condition, "status"), field(condition, "reason")).into()
        }
    }
}
