//! The default roles and bindings, read from the table `rbac.txt`.
//!
//! Not here: writing them (`bootstrap`), or deciding by them (`authz::rbac`).

use api::{Map, Object, Value};
use serde_json::json;

use crate::authz::rbac::Rule;

const TABLE: &str = include_str!("rbac.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

fn list(text: &str) -> Vec<&str> {
    text.split(',').map(|item| if item == "-" { "" } else { item }).collect()
}

/// The table's blocks: a head line with the indented lines under it.
fn blocks() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    let mut lines = TABLE.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).peekable();
    std::iter::from_fn(move || {
        let head = lines.next()?;
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|l| l.starts_with("  ")) {
            body.push(line.trim_start());
        }
        Some((head, body))
    })
}

fn rule(line: &str) -> Value {
    let parts: Vec<&str> = line.split(' ').collect();
    match parts.as_slice() {
        [verbs, "url", paths] => json!({"verbs": list(verbs), "nonResourceURLs": list(paths)}),
        [verbs, groups, resources, rest @ ..] => {
            let mut rule = json!({
                "verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources),
            });
            if let [names] = rest {
                rule["resourceNames"] = list(names).into();
            }
            rule
        }
        _ => Value::Null,
    }
}

fn subject(line: &str) -> Option<Value> {
    let (kind, name) = line.split_once(' ')?;
    Some(match name.split_once('/').filter(|_| kind == "ServiceAccount") {
        Some((namespace, name)) => json!({"kind": kind, "name": name, "namespace": namespace}),
        None => json!({"kind": kind, "apiGroup": GROUP, "name": name}),
    })
}

/// The rules of a default ClusterRole.
pub fn role_rules(name: &str) -> Vec<Rule> {
    let head = format!("ClusterRole {name}");
    let found = blocks().find(|(line, _)| {
        line.strip_prefix(&*head).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    });
    let (_, lines) = found.unwrap_or_default();
    lines.iter().filter_map(|line| serde_json::from_value(rule(line)).ok()).collect()
}

/// All default roles and bindings, without uid and creation time.
pub fn objects() -> Vec<Object> {
    blocks().filter_map(|(head, lines)| object(head, &lines)).collect()
}

fn object(head: &str, lines: &[&str]) -> Option<Object> {
    let mut words = head.split(' ');
    let (kind, full) = (words.next()?, words.next()?);
    // Role names hold colons, never slashes.
    let (namespace, name) = full.split_once('/').unwrap_or(("", full));
    let mut labels = Map::new();
    labels.insert("kubernetes.io/bootstrapping".into(), "rbac-defaults".into());
    let mut selectors = Vec::new();
    for word in words {
        if let Some(label) = word.strip_prefix('+') {
            labels.insert(format!("{GROUP}/{label}"), "true".into());
        } else if let Some(label) = word.strip_prefix('<') {
            selectors.push(json!({"matchLabels": {format!("{GROUP}/{label}"): "true"}}));
        }
    }
    let mut object = Object::default();
    object.set_type("rbac.authorization.k8s.io/v1", kind);
    object.set_meta("name", name);
    if !namespace.is_empty() {
        object.set_meta("namespace", namespace);
    }
    object.set_meta("labels", labels);
    object.set_annotation("rbac.authorization.kubernetes.io/autoupdate", "true");
    if kind.ends_with("Binding") {
        let (role, subjects) = lines.split_first()?;
        let (role_kind, role_name) = role.split_once(' ')?;
        object.0.insert(
            "roleRef".into(),
            json!({"apiGroup": GROUP, "kind": role_kind, "name": role_name}),
        );
        let subjects: Vec<Value> = subjects.iter().filter_map(|line| subject(line)).collect();
        if !subjects.is_empty() {
            object.0.insert("subjects".into(), subjects.into());
        }
    } else {
        let rules: Vec<Value> = lines.iter().map(|line| rule(line)).collect();
        let rules = if rules.is_empty() { Value::Null } else { rules.into() };
        object.0.insert("rules".into(), rules);
        if !selectors.is_empty() {
            object.0.insert("aggregationRule".into(), json!({"clusterRoleSelectors": selectors}));
        }
    }
    Some(object)
}

/// What a stored default lacks, put into it: rules and subjects are added, never taken away, labels
/// and annotations merged. `None` where nothing is missing, or its owner opted out.
pub fn reconcile(stored: &Object, wanted: &Object) -> Option<Object> {
    if stored.annotation("rbac.authorization.kubernetes.io/autoupdate") == Some("false") {
        return None;
    }
    let mut result = stored.clone();
    for part in ["labels", "annotations"] {
        let Some(Value::Object(wanted)) = wanted.meta().and_then(|m| m.get(part)) else { continue };
        let held = result.meta_mut().entry(part).or_insert_with(|| json!({}));
        if let Value::Object(held) = held {
            for (key, value) in wanted {
                held.entry(key.as_str()).or_insert_with(|| value.clone());
            }
        }
    }
    if wanted.at("aggregationRule").is_some() {
        // The union of the roles it selects is kept by a controller.
        let rule = wanted.at("aggregationRule").cloned().unwrap_or_default();
        result.0.insert("aggregationRule".into(), rule);
        return (result != *stored).then_some(result);
    }
    if let Some(reference) = wanted.at("roleRef") {
        result.0.insert("roleRef".into(), reference.clone());
    }
    for part in ["rules", "subjects"] {
        let Some(Value::Array(wanted)) = wanted.at(part) else { continue };
        let held = result.0.entry(part).or_insert_with(|| json!([]));
        if held.is_null() {
            *held = json!([]);
        }
        if let Value::Array(held) = held {
            for item in wanted {
                if !held.contains(item) {
                    held.push(item.clone());
                }
            }
        }
    }
    (result != *stored).then_some(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_whole() {
        let objects = objects();
        assert!(objects.len() > 120, "{}", objects.len());
        for object in &objects {
            assert!(!object.name().is_empty());
            if object.kind().ends_with("Role") && object.at("aggregationRule").is_none() {
                let rules = object.at("rules").and_then(Value::as_array);
                let rules = rules.map(Vec::as_slice).unwrap_or_default();
                assert!(rules.iter().all(Value::is_object), "{}", object.name());
            }
        }
        assert!(!role_rules("system:node").is_empty());
        assert!(!role_rules("cluster-admin").is_empty());
        assert_eq!(role_rules("system:nod").len(), 0);
    }

    #[test]
    fn missing_rules_come_back_and_own_ones_stay() {
        let wanted =
            objects().into_iter().find(|o| o.name() == "system:basic-user").expect("there");
        assert_eq!(reconcile(&wanted, &wanted), None);
        let mut stored = wanted.clone();
        let own = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
        stored.0.insert("rules".into(), json!([own]));
        let result = reconcile(&stored, &wanted).expect("changed");
        let rules = result.at("rules").and_then(Value::as_array).expect("rules");
        assert_eq!(rules[0], own);
        assert_eq!(
            rules.len(),
            1 + wanted.at("rules").and_then(Value::as_array).expect("rules").len()
        );
        stored.set_annotation("rbac.authorization.kubernetes.io/autoupdate", "false");
        assert_eq!(reconcile(&stored, &wanted), None);
    }
}
