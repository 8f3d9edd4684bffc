//! Where pods may run: affinity, tolerations, spreading, and node selectors.

use std::collections::BTreeSet;

use super::at::{At, Faults};
use super::common;
use crate::names;

/// A pod's affinity.
pub(super) fn affinity(at: &At<'_>, f: &mut Faults) {
    let node = at.get("nodeAffinity");
    let required = node.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        node_selector(&required, f);
    }
    for term in node.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
        weight(&term, f);
        node_term(&term.get("preference"), true, f);
    }
    for side in ["podAffinity", "podAntiAffinity"] {
        let side = at.get(side);
        for term in side.get("requiredDuringSchedulingIgnoredDuringExecution").items() {
            pod_term(&term, f);
        }
        for term in side.get("preferredDuringSchedulingIgnoredDuringExecution").items() {
            weight(&term, f);
            pod_term(&term.get("podAffinityTerm"), f);
        }
    }
}

fn weight(term: &At<'_>, f: &mut Faults) {
    let weight = term.get("weight");
    if !(1..=100).contains(&weight.number()) {
        weight.invalid_as(f, weight.number(), "must be in the range 1-100");
    }
}

/// A node selector.
pub(super) fn node_selector(at: &At<'_>, f: &mut Faults) {
    let terms = at.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(f, "must have at least one node selector term");
    }
    for term in terms.items() {
        node_term(&term, false, f);
    }
}

fn node_term(term: &At<'_>, any_value: bool, f: &mut Faults) {
    for rule in term.get("matchExpressions").items() {
        let values = rule.get("values");
        match rule.get("operator").text() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    values.required(f, "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    values.forbidden(
                        f,
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            "Gt" | "Lt" => {
                if values.len() != 1 {
                    values.required(
                        f,
                        "must be specified single value when `operator` is 'Lt' or 'Gt'",
                    );
                }
            }
            other => rule.get("operator").invalid_as(f, other, "not a valid selector operator"),
        }
        rule.get("key").qualified(f);
        if !any_value {
            for value in values.items() {
                value.check(f, names::label_value);
            }
        }
    }
    for rule in term.get("matchFields").items() {
        let values = rule.get("values");
        match rule.get("operator").text() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    values.required(
                        f,
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                    );
                }
            }
            other => rule.get("operator").invalid_as(f, other, "not a valid selector operator"),
        }
        let key = rule.get("key");
        if key.text() == "metadata.name" {
            for value in values.items() {
                value.check(f, names::dns_subdomain);
            }
        } else {
            key.invalid_as(f, key.text(), "not a valid field selector key");
        }
    }
}

fn pod_term(term: &At<'_>, f: &mut Faults) {
    common::label_selector(&term.get("labelSelector"), f);
    common::label_selector(&term.get("namespaceSelector"), f);
    let path = term.get("namespace");
    for name in term.get("namespaces").items() {
        path.with(name.value).check(f, names::dns_label);
    }
    label_keys(term, &["matchLabelKeys", "mismatchLabelKeys"], f);
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required(f, "can not be empty");
    }
    key.qualified(f);
}

/// Label keys whose values come from the pod.
fn label_keys(term: &At<'_>, fields: &[&str], f: &mut Faults) {
    let selector = term.get("labelSelector");
    for field in fields {
        let keys = term.get(field);
        if keys.is_empty() {
            continue;
        }
        if !selector.is_set() {
            keys.forbidden(f, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in keys.items() {
            key.qualified(f);
        }
    }
    let matching = term.get("matchLabelKeys");
    if selector.is_set() {
        let mut used: BTreeSet<String> =
            selector.get("matchLabels").entries().map(|(k, _)| k.to_owned()).collect();
        for expression in selector.get("matchExpressions").items() {
            let key = expression.get("key");
            let position = matching.items().position(|k| k.text() == key.text());
            if let (Some(at), true) = (position, used.contains(key.text())) {
                term.index(at).invalid_as(
                    f,
                    key.text(),
                    "exists in both matchLabelKeys and labelSelector",
                );
            }
            used.insert(key.text().to_owned());
        }
    }
    for key in matching.items() {
        if term.get("mismatchLabelKeys").items().any(|k| k.value == key.value) {
            key.invalid(f, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Tolerations.
pub(super) fn tolerations(list: &At<'_>, f: &mut Faults) {
    for toleration in list.items() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (value, effect) = (toleration.get("value"), toleration.get("effect"));
        if !key.is_empty() {
            key.qualified(f);
        } else if operator.text() != "Exists" {
            operator.invalid_as(
                f,
                operator.text(),
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.get("tolerationSeconds").is_set() && effect.text() != "NoExecute" {
            effect.invalid_as(
                f,
                effect.text(),
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            );
        }
        match operator.text() {
            "" | "Equal" => {
                let faults = names::label_value(value.text());
                if !faults.is_empty() {
                    operator.invalid_as(f, value.text(), &faults.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    operator.invalid_as(
                        f,
                        value.text(),
                        "value must be empty when `operator` is 'Exists'",
                    );
                }
            }
            "Lt" | "Gt" => operator.unsupported(f, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.unsupported(f, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.one_of(f, EFFECTS);
        }
    }
}

/// Taints of a node.
pub(super) fn taints(list: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for taint in list.items() {
        let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
        key.qualified(f);
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            value.invalid(f, &faults.join(";"));
        }
        effect.need_one_of(f, EFFECTS);
        if !seen.insert((effect.text().to_owned(), key.text().to_owned())) {
            let shown = super::shown::line("Taint", taint.value);
            let why = "taints must be unique by key and effect pair";
            taint.duplicate_shown(f, &format!("{shown}: {why}"));
        }
    }
}

/// Spreading over topologies.
pub(super) fn spreading(list: &At<'_>, f: &mut Faults) {
    for constraint in list.items() {
        constraint.get("maxSkew").positive(f);
        let (key, action) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        if key.is_empty() {
            key.required(f, "can not be empty");
        }
        action.one_of(f, &["DoNotSchedule", "ScheduleAnyway"]);
        let same = |c: &At<'_>| {
            c.get("topologyKey").value == key.value
                && c.get("whenUnsatisfiable").value == action.value
        };
        let path = constraint.path();
        let again = list.items().skip_while(|c| c.path() != path).skip(1).any(|c| same(&c));
        if again {
            constraint
                .get("{topologyKey, whenUnsatisfiable}")
                .duplicate_as(f, format!("{{{}, {}}}", key.text(), action.text()));
        }
        let domains = constraint.get("minDomains");
        if domains.is_set() {
            domains.positive(f);
            if action.text() != "DoNotSchedule" {
                domains.invalid(
                    f,
                    &format!(
                        "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                        action.text()
                    ),
                );
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.get(policy).one_of_if_set(f, &["Honor", "Ignore"]);
        }
        label_keys(&constraint, &["matchLabelKeys"], f);
        common::label_selector(&constraint.get("labelSelector"), f);
    }
}
