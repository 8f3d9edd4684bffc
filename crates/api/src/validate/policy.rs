//! Disruption budgets, priority and runtime classes, leases.

use super::at::{At, Faults};
use super::resources;
use super::{common, placement, pod};
use crate::names;

pub(super) fn budget(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let (min, max) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if min.is_set() && max.is_set() {
        // Upstream shows its own struct.
        let text = format!(
            "Invalid value: {{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}: minAvailable and maxUnavailable cannot be both set",
            min.value,
            spec.get("selector").value,
            max.value,
            spec.get("unhealthyPodEvictionPolicy").value
        );
        f.push(crate::Cause::new(crate::CauseReason::Invalid, spec.path(), text));
    }
    for at in [min, max] {
        if at.is_set() {
            common::count_or_percent(&at, f);
            common::at_most_100(&at, f);
        }
    }
    common::label_selector(&spec.get("selector"), f);
    spec.get("unhealthyPodEvictionPolicy").one_of_if_set(f, &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(super) fn budget_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    conditions(&status.get("conditions"), f);
    for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        status.get(field).non_negative(f);
    }
}

/// `metav1.Condition`s.
pub(super) fn conditions(list: &At<'_>, f: &mut Faults) {
    let mut seen = std::collections::BTreeSet::new();
    for condition in list.items() {
        let kind = condition.get("type");
        if !seen.insert(kind.text().to_owned()) {
            kind.duplicate(f);
        }
        kind.qualified(f);
        let status = condition.get("status");
        status.one_of(f, &["False", "True", "Unknown"]);
        condition.get("observedGeneration").non_negative(f);
        let time = condition.get("lastTransitionTime");
        if !time.is_set() {
            time.required(f, "");
        }
        let reason = condition.get("reason");
        if reason.is_empty() {
            reason.required(f, "");
        } else if reason.len() > 1024 {
            reason.too_long(f, 1024);
        } else {
            let b = reason.text().as_bytes();
            let word = |c: &u8| c.is_ascii_alphanumeric() || b"_,:".contains(c);
            let ends = b[0].is_ascii_alphabetic()
                && (b[b.len() - 1].is_ascii_alphanumeric() || b[b.len() - 1] == b'_');
            if !ends || !b.iter().all(word) {
                let why = names::pattern_fault(
                    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'",
                    "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
                    &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
                );
                reason.invalid(f, &why);
            }
        }
        let message = condition.get("message");
        if message.len() > 32 * 1024 {
            message.too_long(f, 32 * 1024);
        }
    }
}

pub(super) fn priority_class(root: &At<'_>, f: &mut Faults) {
    let (name, value) = (root.get("metadata.name"), root.get("value"));
    if name.text().starts_with("system-") {
        let known = match name.text() {
            "system-node-critical" => Some(2_000_001_000),
            "system-cluster-critical" => Some(2_000_000_000),
            _ => None,
        };
        let why = match known {
            None => Some(format!("{} is not a known system priority class", name.text())),
            Some(wanted) if wanted != value.number() => {
                Some(format!("value of {} PriorityClass must be {wanted}", name.text()))
            }
            Some(_) if root.get("globalDefault").is_true() => {
                Some(format!("globalDefault of {} PriorityClass must be false", name.text()))
            }
            Some(_) => None,
        };
        if let Some(why) = why {
            name.forbidden(f, &format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}"));
        }
    } else if value.number() > 1_000_000_000 {
        value.forbidden(f, "maximum allowed value of a user defined priority is 1000000000");
    }
    super::pod::preemption_policy(&root.get("preemptionPolicy"), f);
}

pub(super) fn priority_class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    if new.get("value").number() != old.get("value").number() {
        new.get("value").forbidden(f, "may not be changed in an update.");
    }
    new.get("preemptionPolicy").immutable(f, &old.get("preemptionPolicy"));
}

pub(super) fn runtime_class(root: &At<'_>, f: &mut Faults) {
    root.get("handler").need_check(f, names::dns_label);
    let overhead = root.get("overhead");
    if overhead.is_set() {
        let limits = serde_json::json!({ "limits": overhead.get("podFixed").value });
        let cx = pod::Context {
            volumes: std::collections::BTreeMap::new(),
            claims: std::collections::BTreeSet::new(),
            grace: 0,
            restart: "",
            os: "",
            host_users: true,
        };
        resources::resources(&overhead.with(&limits), &cx, f);
    }
    common::labels(&root.get("scheduling.nodeSelector"), f);
    placement::tolerations(&root.get("scheduling.tolerations"), f);
    let mut seen: Vec<serde_json::Value> = Vec::new();
    for toleration in root.get("scheduling.tolerations").items() {
        let mut key = toleration.value.clone();
        if let Some(map) = key.as_object_mut() {
            map.remove("tolerationSeconds");
        }
        if seen.contains(&key) {
            toleration.duplicate_struct(f, "Toleration");
        }
        seen.push(key);
    }
}

pub(super) fn runtime_class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    runtime_class(new, f);
    new.get("handler").immutable(f, &old.get("handler"));
}

pub(super) fn lease(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let duration = spec.get("leaseDurationSeconds");
    if duration.int().is_some_and(|s| s <= 0) {
        duration.invalid(f, "must be greater than 0");
    }
    let transitions = spec.get("leaseTransitions");
    if transitions.int().is_some_and(|n| n < 0) {
        transitions.invalid(f, "must be greater than or equal to 0");
    }
    let strategy = spec.get("strategy");
    if strategy.is_set() {
        // Upstream's path has the field twice.
        let shown = strategy.get("strategy");
        let shown = shown.with(strategy.value);
        if strategy.text().contains('/') {
            shown.qualified(f);
        } else {
            shown.one_of(f, &["OldestEmulationVersion"]);
        }
    }
    if !spec.get("preferredHolder").is_empty() && strategy.is_empty() {
        spec.get("preferredHolder").forbidden(f, "may only be specified if `strategy` is defined");
    }
}
