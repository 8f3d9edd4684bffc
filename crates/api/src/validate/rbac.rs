//! Roles and role bindings.

use super::at::{At, Faults};
use super::common;
use crate::names;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(root: &At<'_>, f: &mut Faults) {
    rules(root, true, f);
}

pub(super) fn cluster_role(root: &At<'_>, f: &mut Faults) {
    rules(root, false, f);
    let aggregation = root.get("aggregationRule");
    if aggregation.is_set() {
        let path = root.get("aggregationRule.clusterRoleSelectors");
        if path.is_empty() {
            path.required(
                f,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        for selector in path.items() {
            let before = f.len();
            common::label_selector(&selector, f);
            if f.len() > before {
                selector.invalid_as(f, serde_json::Value::Null, "invalid label selector.");
            }
        }
    }
}

fn rules(root: &At<'_>, namespaced: bool, f: &mut Faults) {
    for rule in root.get("rules").items() {
        let (verbs, urls) = (rule.get("verbs"), rule.get("nonResourceURLs"));
        if verbs.is_empty() {
            verbs.required(f, "verbs must contain at least one value");
        }
        let (groups, resources) = (rule.get("apiGroups"), rule.get("resources"));
        if !urls.is_empty() {
            if namespaced {
                urls.invalid(f, "namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty()
            {
                urls.invalid(
                    f,
                    "rules cannot apply to both regular resources and non-resource URLs",
                );
            }
            continue;
        }
        if groups.is_empty() {
            groups.required(f, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            resources.required(f, "resource rules must supply at least one resource");
        }
    }
}

pub(super) fn role_binding(root: &At<'_>, f: &mut Faults) {
    binding(root, true, f);
}

pub(super) fn cluster_role_binding(root: &At<'_>, f: &mut Faults) {
    binding(root, false, f);
}

fn binding(root: &At<'_>, namespaced: bool, f: &mut Faults) {
    let role = root.get("roleRef");
    role.get("apiGroup").one_of(f, &[GROUP]);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.get("kind").one_of(f, kinds);
    role.get("name").need_check(f, names::path_segment);
    for subject in root.get("subjects").items() {
        let (name, group) = (subject.get("name"), subject.get("apiGroup"));
        name.need(f);
        match subject.get("kind").text() {
            "ServiceAccount" => {
                name.check_if_set(f, names::dns_subdomain);
                if !group.is_empty() {
                    group.unsupported(f, &[""]);
                }
                if !namespaced && subject.get("namespace").is_empty() {
                    subject.get("namespace").required(f, "");
                }
            }
            "User" | "Group" => group.one_of(f, &[GROUP]),
            _ => subject.get("kind").unsupported(f, &["ServiceAccount", "User", "Group"]),
        }
    }
}

fn same_role(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("roleRef"), old.get("roleRef"));
    if now.value != was.value {
        // Upstream's struct has no names for JSON.
        let part = |key: &str| names::quote(now.get(key).text());
        let text = format!(
            "Invalid value: {{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}: cannot change roleRef",
            part("apiGroup"),
            part("kind"),
            part("name")
        );
        f.push(crate::Cause::new(crate::CauseReason::Invalid, now.path(), text));
    }
}

pub(super) fn role_binding_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    binding(new, true, f);
    same_role(new, old, f);
}

pub(super) fn cluster_role_binding_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    binding(new, false, f);
    same_role(new, old, f);
}
