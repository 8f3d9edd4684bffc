//! The rules of an aggregating role.
//!
//! Pure. Not here: requests.

use api::resource::CLUSTER_ROLES;
use api::selector::{LabelSelector, LabelSelectorSpec};
use api::{Object, Value};
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};

/// Plans for one role; `all` are the cluster's roles in order of their names.
pub fn plan(role: &Object, all: &[Object]) -> Plan {
    let mut plan = Plan::default();
    let selectors: Vec<LabelSelector> = role
        .at("aggregationRule.clusterRoleSelectors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|s| LabelSelectorSpec::deserialize(s).ok()?.selector().ok())
        .collect();
    let mut rules: Vec<Value> = Vec::new();
    for selector in &selectors {
        let label = |o: &Object| {
            let labels: Vec<(String, String)> =
                o.labels().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            selector
                .matches_with(|key| labels.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()))
        };
        for other in all.iter().filter(|o| o.name() != role.name() && label(o)) {
            for rule in other.at("rules").and_then(Value::as_array).into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    let have = role.at("rules").and_then(Value::as_array).cloned().unwrap_or_default();
    if have != rules {
        plan.push(Action::patch(&CLUSTER_ROLES, "", role.name(), json!({ "rules": rules })));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            plan(&case.role("role"), &case.roles::<Object>("all"))
        });
    }
}
