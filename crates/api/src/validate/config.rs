//! Config maps, secrets, service accounts, namespaces, nodes, quotas, limit ranges, events.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::at::{At, Faults, IMMUTABLE};
use super::resources;
use crate::names;
use crate::quantity::Quantity;

/// Most bytes that config maps and secrets hold.
const MAX_SIZE: usize = 1024 * 1024;

fn decoded(at: &At<'_>) -> Vec<u8> {
    STANDARD.decode(at.text()).unwrap_or_default()
}

pub(super) fn config_map(root: &At<'_>, f: &mut Faults) {
    let (data, binary) = (root.get("data"), root.get("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        for why in names::config_key(key) {
            value.invalid_as(f, key, &why);
        }
        if binary.key(key).is_set() {
            value.invalid_as(f, key, "duplicate of key present in binaryData");
        }
        size += value.len();
    }
    for (key, value) in binary.entries() {
        for why in names::config_key(key) {
            value.invalid_as(f, key, &why);
        }
        size += decoded(&value).len();
    }
    if size > MAX_SIZE {
        root.key("").too_long(f, MAX_SIZE);
    }
}

fn frozen(new: &At<'_>, old: &At<'_>, fields: &[&str], f: &mut Faults) {
    if !old.get("immutable").is_true() {
        return;
    }
    let why = "field is immutable when `immutable` is set";
    if !new.get("immutable").is_true() {
        new.get("immutable").forbidden(f, why);
    }
    for field in fields {
        if new.get(field).value != old.get(field).value {
            new.get(field).forbidden(f, why);
        }
    }
}

pub(super) fn config_map_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    frozen(new, old, &["data", "binaryData"], f);
    config_map(new, f);
}

pub(super) fn secret(root: &At<'_>, f: &mut Faults) {
    let data = root.get("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        for why in names::config_key(key) {
            value.invalid_as(f, key, &why);
        }
        size += decoded(&value).len();
    }
    if size > MAX_SIZE {
        data.too_long(f, MAX_SIZE);
    }
    let need = |keys: &[&str], f: &mut Faults| {
        for key in keys {
            if !data.key(key).is_set() {
                data.key(key).required(f, "");
            }
        }
    };
    match root.get("type").text() {
        "kubernetes.io/service-account-token" => {
            let notes = root.get("metadata.annotations");
            let name = notes.key("kubernetes.io/service-account.name");
            if name.is_empty() {
                name.required(f, "");
            }
        }
        "kubernetes.io/dockercfg" => docker(&data.key(".dockercfg"), f),
        "kubernetes.io/dockerconfigjson" => docker(&data.key(".dockerconfigjson"), f),
        "kubernetes.io/basic-auth"
            if !data.key("username").is_set() && !data.key("password").is_set() =>
        {
            need(&["username", "password"], f);
        }
        "kubernetes.io/ssh-auth" => {
            let key = data.key("ssh-privatekey");
            if key.is_empty() {
                key.required(f, "");
            }
        }
        "kubernetes.io/tls" => need(&["tls.crt", "tls.key"], f),
        _ => {}
    }
}

fn docker(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return at.required(f, "");
    }
    let bytes = decoded(at);
    let why = match crate::codec::json::value(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(other) => {
            let kind = match other {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "bool",
                _ => "array",
            };
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
        Err(error) => error.to_string(),
    };
    at.invalid_as(f, "<secret contents redacted>", &why);
}

pub(super) fn secret_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("type").immutable(f, &old.get("type"));
    frozen(new, old, &["data"], f);
    secret(new, f);
}

pub(super) fn namespace(root: &At<'_>, f: &mut Faults) {
    let list = root.get("spec.finalizers");
    let path = At::root(root.value);
    let shown = path.get("spec.finalizers");
    let _ = list;
    for name in shown.items() {
        kube_finalizer(&shown, name.text(), f);
    }
}

fn kube_finalizer(at: &At<'_>, name: &str, f: &mut Faults) {
    for why in names::qualified_name(name) {
        at.invalid_as(f, name, &why);
    }
    if !name.contains('/') && name != "kubernetes" {
        at.invalid_as(
            f,
            name,
            "name is neither a standard finalizer name nor is it fully qualified",
        );
    }
}

pub(super) fn namespace_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    let phase = new.get("status.Phase");
    let value = new.get("status.phase");
    let deleting = new.get("metadata.deletionTimestamp").is_set();
    let shown = phase.with(value.value);
    if deleting && value.text() != "Terminating" {
        shown.invalid_as(
            f,
            value.text(),
            "may only be 'Terminating' if `deletionTimestamp` is not empty",
        );
    }
    if !deleting && value.text() != "Active" {
        shown.invalid_as(f, value.text(), "may only be 'Active' if `deletionTimestamp` is empty");
    }
}

const QUOTA: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const POD_QUOTA: &[&str] = &[
    "pods",
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
    "ephemeral-storage",
    "requests.ephemeral-storage",
    "limits.ephemeral-storage",
];
const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn is_quota(name: &str) -> bool {
    QUOTA.contains(&name)
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

fn scope_fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            resource == "persistentvolumeclaims" || resource == "requests.storage"
        }
        // What is no scope has been refused.
        other if !SCOPES.contains(&other) => true,
        _ => POD_QUOTA.contains(&resource) || resource.starts_with("requests.hugepages-"),
    }
}

pub(super) fn quota(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let hard = spec.get("hard");
    for (name, amount) in hard.entries() {
        quota_name(&amount, name, f);
        resources::resource_amount(&amount, name, f);
    }
    let scopes = spec.get("scopes");
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for scope in root.value.pointer("/spec/scopes").and_then(Value::as_array).into_iter().flatten()
    {
        let scope = scope.as_str().unwrap_or("");
        if !SCOPES.contains(&scope) {
            scopes.invalid(f, "unsupported scope");
        }
        for (name, _) in hard.entries() {
            if is_quota(name) && !scope_fits(scope, name) {
                scopes.invalid(f, "unsupported scope applied to resource");
            }
        }
        all.insert(scope);
    }
    let conflict = |all: &BTreeSet<&str>, at: &At<'_>, f: &mut Faults| {
        for (a, b) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
            if all.contains(a) && all.contains(b) {
                at.invalid_as(f, scopes.value.clone(), "conflicting scopes");
            }
        }
    };
    conflict(&all, &scopes, f);
    let selector = spec.get("scopeSelector");
    if !selector.is_set() {
        return;
    }
    let list = selector.get("matchExpressions");
    let mut selected: BTreeSet<String> = BTreeSet::new();
    for rule in list.items() {
        let (scope, operator, values) =
            (rule.get("scopeName"), rule.get("operator"), rule.get("values"));
        let path = |field: &'static str| list.get(field);
        if !SCOPES.contains(&scope.text()) {
            path("scopeName").invalid_as(f, scope.text(), "unsupported scope");
        }
        for (name, _) in hard.entries() {
            if is_quota(name) && !scope_fits(scope.text(), name) {
                let why = "unsupported scope applied to resource";
                list.with(selector.value).invalid_struct(f, "ScopeSelector", why);
            }
        }
        let simple = !matches!(scope.text(), "PriorityClass" | "VolumeAttributesClass")
            && SCOPES.contains(&scope.text());
        if simple && operator.text() != "Exists" {
            path("operator").invalid_as(f, operator.text(), "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity");
        }
        match operator.text() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    path("values").required(f, "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    path("values").invalid_as(f, values.value.clone(), "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector");
                }
            }
            other => path("operator").invalid_as(f, other, "not a valid selector operator"),
        }
        selected.insert(scope.text().to_owned());
    }
    let selected: BTreeSet<&str> = selected.iter().map(String::as_str).collect();
    conflict(&selected, &list, f);
}

fn quota_name(at: &At<'_>, name: &str, f: &mut Faults) {
    resources::resource_name(at, name, f);
    if !name.contains('/') && !is_quota(name) {
        at.invalid_as(f, name, "must be a standard resource for quota");
    }
}

pub(super) fn quota_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    quota(new, f);
    let set = |at: &At<'_>| -> BTreeSet<String> {
        at.get("spec.scopes").items().map(|s| s.text().to_owned()).collect()
    };
    if set(new) != set(old) {
        new.get("spec.scopes").invalid(f, IMMUTABLE);
    }
}

pub(super) fn quota_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    if new.get("metadata.resourceVersion").is_empty() {
        new.get("resourceVersion").required(f, "");
    }
    for part in ["hard", "used"] {
        for (name, amount) in new.get("status").get(part).entries() {
            quota_name(&amount, name, f);
            resources::resource_amount(&amount, name, f);
        }
    }
}

pub(super) fn limit_range(root: &At<'_>, f: &mut Faults) {
    let mut types = BTreeSet::new();
    for limit in root.get("spec.limits").items() {
        let kind = limit.get("type");
        let before = f.len();
        kind.qualified(f);
        let standard = ["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text());
        if f.len() == before && !kind.text().contains('/') && !standard {
            kind.invalid(f, "must be a standard limit type or fully qualified");
        }
        if !types.insert(kind.text().to_owned()) {
            kind.duplicate(f);
        }
        let mut parts: BTreeMap<&str, BTreeMap<String, Quantity>> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        for part in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            let at = limit.get(part);
            if kind.text() == "Pod" && part.starts_with("default") {
                if !at.is_empty() {
                    at.forbidden(f, "may not be specified when `type` is 'Pod'");
                }
                continue;
            }
            if part == "maxLimitRequestRatio" && kind.text() == "PersistentVolumeClaim" {
                let given = |p: &str| limit.get(p).get("storage").is_set();
                if !given("min") && !given("max") {
                    limit.get("limits").required(f, "either minimum or maximum storage value is required, but neither was provided");
                }
            }
            for (name, amount) in at.entries() {
                resources::resource_name(&amount, name, f);
                if matches!(kind.text(), "Pod" | "Container")
                    && !name.contains('/')
                    && !["cpu", "memory", "ephemeral-storage"].contains(&name)
                    && !name.starts_with("hugepages-")
                {
                    amount.invalid_as(f, name, "must be a standard resource for containers");
                }
                keys.insert(name.to_owned());
                if let Some(quantity) = amount.quantity() {
                    parts.entry(part).or_default().insert(name.to_owned(), quantity);
                }
            }
        }
        for key in keys {
            limit_rules(&limit, &parts, &key, f);
        }
    }
}

fn limit_rules(
    limit: &At<'_>,
    parts: &BTreeMap<&str, BTreeMap<String, Quantity>>,
    key: &str,
    f: &mut Faults,
) {
    let of = |part: &str| parts.get(part)?.get(key).copied();
    let (min, max) = (of("min"), of("max"));
    let (default, request, ratio) =
        (of("default"), of("defaultRequest"), of("maxLimitRequestRatio"));
    let mut fault = |part: &str, shown: Quantity, why: String| {
        limit.get(part).key(key).invalid_as(f, shown.to_string(), &why);
    };
    let exceeds = |a: Option<Quantity>, b: Option<Quantity>| a.zip(b).filter(|(a, b)| a > b);
    if let Some((a, b)) = exceeds(min, max) {
        fault("min", a, format!("min value {a} is greater than max value {b}"));
    }
    if let Some((a, b)) = exceeds(min, request) {
        fault(
            "defaultRequest",
            b,
            format!("min value {a} is greater than default request value {b}"),
        );
    }
    if let Some((a, b)) = exceeds(request, max) {
        fault(
            "defaultRequest",
            a,
            format!("default request value {a} is greater than max value {b}"),
        );
    }
    if let Some((a, b)) = exceeds(request, default) {
        fault(
            "defaultRequest",
            a,
            format!("default request value {a} is greater than default limit value {b}"),
        );
    }
    if let Some((a, b)) = exceeds(min, default) {
        fault("default", a, format!("min value {a} is greater than default value {b}"));
    }
    if let Some((a, b)) = exceeds(default, max) {
        fault("default", b, format!("default value {a} is greater than max value {b}"));
    }
    if let Some(ratio) = ratio {
        if ratio < Quantity::new(1, ratio.format()) {
            fault("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let limit = max.as_f64() / min.as_f64();
            if ratio.as_f64() > limit {
                fault(
                    "maxLimitRequestRatio",
                    ratio,
                    format!("ratio {ratio} is greater than max/min = {limit:.6}"),
                );
            }
        }
    }
    if let (Some(a), Some(b)) = (default, request)
        && a != b
        && !resources::overcommits(key)
    {
        let why = format!("default value {a} must equal to defaultRequest value {b} in {key}");
        fault("defaultRequest", b, why);
    }
}

/// Nothing but the metadata is checked.
pub(super) fn anything(_root: &At<'_>, _f: &mut Faults) {}

/// The rules of definitions are those of `crate::crd`.
pub(super) fn definition(at: &At<'_>, f: &mut Faults) {
    if let Some(object) = at.value.as_object() {
        f.extend(crate::crd::validate::definition(object, None));
    }
}

pub(super) fn definition_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    if let Some(object) = new.value.as_object() {
        f.extend(crate::crd::validate::definition(object, old.value.as_object()));
    }
}

pub(super) fn definition_status(new: &At<'_>, _: &At<'_>, f: &mut Faults) {
    if let Some(object) = new.value.as_object() {
        crate::crd::validate::status(object, f);
    }
}
