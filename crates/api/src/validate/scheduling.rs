//! Groups of pods that are scheduled together, and the workloads that describe them.
//!
//! Fields of features that are off by default may not be set. Not here: priorities (`policy`).

use std::collections::BTreeSet;

use super::at::{At, Faults, IMMUTABLE};
use super::policy;
use crate::names;

/// Fields of features that are off.
const OFF: [&str; 4] = ["schedulingConstraints", "disruptionMode", "priorityClassName", "priority"];

pub(super) fn pod_group(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let template = spec.get("podGroupTemplateRef");
    if template.is_set() {
        let workload = template.get("workload");
        one_of(&template, &["workload"], f);
        if workload.is_set() {
            workload.get("workloadName").need_check(f, names::dns_subdomain);
            workload.get("podGroupTemplateName").need_check(f, names::dns_label);
        }
    }
    group(&spec, f);
}

pub(super) fn pod_group_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for field in ["podGroupTemplateRef", "schedulingPolicy", "resourceClaims"] {
        fixed(&new.get("spec"), &old.get("spec"), field, f);
    }
}

pub(super) fn pod_group_status(new: &At<'_>, _: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    policy::conditions(&status.get("conditions"), f);
    let claims = new.get("spec.resourceClaims");
    let list = status.get("resourceClaimStatuses");
    if list.len() > 4 {
        list.too_many(f, 4);
    }
    for claim in list.items() {
        let name = claim.get("name");
        if !claims.items().any(|c| c.get("name").value == name.value) {
            name.invalid_as(
                f,
                name.text(),
                "must match the name of an entry in `spec.resourceClaims`",
            );
        }
        claim.get("resourceClaimName").check_if_set(f, names::dns_subdomain);
    }
}

pub(super) fn workload(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let controller = spec.get("controllerRef");
    if controller.is_set() {
        controller.get("apiGroup").check_if_set(f, names::dns_subdomain);
        controller.get("kind").need_check(f, names::path_segment);
        controller.get("name").need_check(f, names::path_segment);
    }
    let templates = spec.get("podGroupTemplates");
    if !templates.need(f) {
        return;
    }
    if templates.len() > 8 {
        return templates.too_many(f, 8);
    }
    unique(&templates, f);
    for template in templates.items() {
        template.get("name").need_check(f, names::dns_label);
        group(&template, f);
    }
}

pub(super) fn workload_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for field in ["controllerRef", "podGroupTemplates"] {
        fixed(&new.get("spec"), &old.get("spec"), field, f);
    }
}

/// What a group and the template of one share.
fn group(at: &At<'_>, f: &mut Faults) {
    let policy = at.get("schedulingPolicy");
    one_of(&policy, &["basic", "gang"], f);
    let gang = policy.get("gang");
    if gang.is_set() {
        let count = gang.get("minCount");
        if count.number() == 0 {
            count.required(f, "");
        } else if count.number() < 1 {
            count.invalid(f, "must be greater than or equal to 1");
        }
    }
    for field in OFF {
        if !at.get(field).is_empty() {
            at.get(field).forbidden(f, "");
        }
    }
    let claims = at.get("resourceClaims");
    if claims.len() > 4 {
        return claims.too_many(f, 4);
    }
    unique(&claims, f);
    for claim in claims.items() {
        claim.get("name").need_check(f, names::dns_label);
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        one_of(&claim, &sources, f);
        for source in sources {
            claim.get(source).check_if_set(f, names::dns_subdomain);
        }
    }
}

/// Exactly one of some fields is set.
fn one_of(at: &At<'_>, fields: &[&str], f: &mut Faults) {
    let set: Vec<&str> = fields.iter().copied().filter(|field| at.get(field).is_set()).collect();
    let all: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
    match set.len() {
        0 => at.invalid_as(f, "", &format!("must specify one of: {}", all.join(", "))),
        1 => {}
        _ => at.invalid_as(
            f,
            format!("{{{}}}", set.join(", ")),
            &format!("must specify exactly one of: {}", all.join(", ")),
        ),
    }
}

/// Items of a list that have a name each, and no two the same.
fn unique(list: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        if !seen.insert(item.get("name").text().to_owned()) {
            item.duplicate(f);
        }
    }
}

/// A field that is as it was; the fault names no value.
fn fixed(new: &At<'_>, old: &At<'_>, field: &str, f: &mut Faults) {
    let now = new.get(field);
    if now.value != old.get(field).value {
        now.invalid_as(f, serde_json::Value::Null, IMMUTABLE);
    }
}
