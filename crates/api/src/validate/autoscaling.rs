//! Horizontal pod autoscalers.

use super::at::{At, Faults, NON_NEGATIVE};
use super::resources;
use crate::names;

/// The metric sources: the type, and the field that describes it.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

pub(super) fn autoscaler(root: &At<'_>, f: &mut Faults) {
    autoscaler_with(root, None, f);
}

pub(super) fn autoscaler_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    autoscaler_with(new, Some(&old.get("spec")), f);
}

fn autoscaler_with(root: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    let spec = root.get("spec");
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    // Down to zero is a feature that is off by default; who is there may stay.
    let least = i64::from(old.is_none_or(|old| old.get("minReplicas").int() != Some(0)));
    if min.int().is_some_and(|n| n < least) {
        min.invalid(f, "must be greater than or equal to 1");
    }
    match max.number() {
        0 => max.required(f, "must be set and greater than 0"),
        n if n < 0 => max.invalid(f, "must be greater than or equal to 1"),
        _ => {}
    }
    if min.int().is_some_and(|n| max.number() < n) {
        max.invalid_as(f, max.number(), "must be greater than or equal to `minReplicas`");
    }
    let target = spec.get("scaleTargetRef");
    let kept = old.is_some_and(|old| {
        let was = old.get("scaleTargetRef");
        ["apiVersion", "kind"].iter().all(|field| was.get(field).value == target.get(field).value)
    });
    reference(&target, f);
    let version = target.get("apiVersion");
    if !kept && !version_fault(&version, f) {
        let core = !version.text().contains('/');
        if core && target.get("kind").text() != "ReplicationController" {
            version.invalid_as(f, version.text(), "apiVersion must specify API group");
        }
    }
    metrics(&spec.get("metrics"), min.int() == Some(0), f);
    for direction in ["behavior.scaleUp", "behavior.scaleDown"] {
        scaling_rules(&spec.get(direction), f);
    }
}

pub(super) fn autoscaler_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    for field in ["status.currentReplicas", "status.desiredReplicas"] {
        new.get(field).non_negative(f);
    }
}

/// A named object of some kind, of any version.
fn reference(at: &At<'_>, f: &mut Faults) {
    for field in ["kind", "name"] {
        at.get(field).need_check(f, names::path_segment);
    }
}

/// Whether a version cannot be read.
fn version_fault(at: &At<'_>, f: &mut Faults) -> bool {
    let wrong = at.text().matches('/').count() > 1;
    if wrong {
        at.invalid(f, &format!("unexpected GroupVersion string: {}", at.text()));
    }
    wrong
}

fn metrics(list: &At<'_>, to_zero: bool, f: &mut Faults) {
    for metric in list.items() {
        source(&metric, f);
    }
    let known = |m: At<'_>| ["Object", "External"].contains(&m.get("type").text());
    if to_zero && !list.items().any(known) {
        list.forbidden(
            f,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
}

fn source(metric: &At<'_>, f: &mut Faults) {
    let kind = metric.get("type");
    if kind.is_empty() {
        kind.required(f, "must specify a metric source type");
    }
    let supported = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    kind.one_of(f, &supported);
    let given: Vec<_> = SOURCES.iter().filter(|s| metric.get(s.1).is_set()).collect();
    if let Some((kind, field)) = given.first() {
        described(kind, &metric.get(field), f);
    }
    match SOURCES.iter().find(|s| s.0 == kind.text()) {
        Some((_, field)) if !metric.get(field).is_set() => {
            metric.get(field).required(f, "must populate information for the given metric source");
        }
        Some(_) => {}
        None => kind.one_of(f, &supported),
    }
    if given.len() > 1 {
        for (_, field) in given.iter().filter(|s| s.0 != kind.text()) {
            metric.get(field).forbidden(f, "must populate the given metric source only");
        }
    }
}

fn described(kind: &str, at: &At<'_>, f: &mut Faults) {
    let name = at.get("name");
    if matches!(kind, "Resource" | "ContainerResource") && name.is_empty() {
        name.required(f, "must specify a resource name");
    } else if kind == "ContainerResource" {
        resources::container_resource_name(&name, name.text(), f);
    }
    if kind == "ContainerResource" {
        let container = at.get("container");
        if container.is_empty() {
            container.required(f, "must specify a container");
        } else {
            container.check(f, names::dns_label);
        }
    }
    if kind == "Object" {
        let object = at.get("describedObject");
        reference(&object, f);
        version_fault(&object.get("apiVersion"), f);
    }
    let name = at.get("metric.name");
    if matches!(kind, "Object" | "External" | "Pods") {
        if name.is_empty() {
            name.required(f, "must specify a metric name");
        } else {
            name.check(f, names::path_segment);
        }
    }
    let target = at.get("target");
    aim(&target, f);
    let (value, average, share) =
        (target.get("value"), target.get("averageValue"), target.get("averageUtilization"));
    match kind {
        "Object" if !value.is_set() && !average.is_set() => {
            average.required(f, "must set either a target value or averageValue");
        }
        "External" if !value.is_set() && !average.is_set() => {
            average.required(f, "must set either a target value for metric or a per-pod target");
        }
        "External" if value.is_set() && average.is_set() => {
            value.forbidden(f, "may not set both a target value for metric and a per-pod target");
        }
        "Pods" if !average.is_set() => {
            average.required(f, "must specify a positive target averageValue");
        }
        "Resource" | "ContainerResource" if !share.is_set() && !average.is_set() => {
            share.required(f, "must set either a target raw value or a target utilization");
        }
        "Resource" | "ContainerResource" if share.is_set() && average.is_set() => {
            average.forbidden(f, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn aim(target: &At<'_>, f: &mut Faults) {
    let kind = target.get("type");
    if kind.is_empty() {
        kind.required(f, "must specify a metric target type");
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind.text()) {
        kind.invalid_as(f, kind.text(), "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let at = target.get(field);
        if at.quantity().is_some_and(|q| q.signum() <= 0) {
            at.invalid(f, "must be positive");
        }
    }
    let share = target.get("averageUtilization");
    if share.int().is_some_and(|n| n < 1) {
        share.invalid(f, "must be greater than 0");
    }
}

fn scaling_rules(rules: &At<'_>, f: &mut Faults) {
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.number() < 0 {
        window.invalid(f, "must be greater than or equal to zero");
    }
    at_most(&window, 3600, f);
    rules.get("selectPolicy").one_of_if_set(f, &["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        policies.required(f, "must specify at least one Policy");
    }
    for policy in policies.items() {
        policy.get("type").one_of(f, &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            let at = policy.get(field);
            if at.number() <= 0 {
                at.invalid_as(f, at.number(), "must be greater than zero");
            }
        }
        at_most(&policy.get("periodSeconds"), 1800, f);
    }
    let tolerance = rules.get("tolerance");
    if tolerance.quantity().is_some_and(|q| q.signum() < 0) {
        tolerance.invalid(f, NON_NEGATIVE);
    }
}

fn at_most(at: &At<'_>, limit: i64, f: &mut Faults) {
    if at.number() > limit {
        at.invalid(f, &format!("must be less than or equal to {limit}"));
    }
}
