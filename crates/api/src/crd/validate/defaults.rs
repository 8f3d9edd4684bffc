//! Defaults in a schema: each must be valid and hold nothing that would be pruned.
//!
//! Not here: filling them in (`crate::crd::defaulting`).

use serde_json::Value;

use super::Faults;
use crate::crd::structural::Structural;
use crate::crd::{check, lists, prune};
use crate::status::Cause;

pub(super) fn check(schema: &Structural, path: &str, faults: &mut Faults) {
    if let Some(default) = &schema.default {
        one(schema, default, &format!("{path}.default"), faults);
    }
    if let Some(item) = &schema.items {
        check(item, &format!("{path}.items"), faults);
    }
    for (key, property) in &schema.properties {
        check(property, &format!("{path}.properties[{key}]"), faults);
    }
}

fn one(schema: &Structural, default: &Value, path: &str, faults: &mut Faults) {
    let mut pruned = default.clone();
    if prune::prune_value(&mut pruned, schema, schema.embedded) {
        faults.push(Cause::invalid(path, default, "must not have unknown fields"));
    }
    let mut found = Vec::new();
    lists::embedded(schema, default, "", &mut found);
    if found.is_empty() {
        found = check::value(schema, default, None, "");
    }
    for mut fault in found {
        let below = fault.field.trim_start_matches('.');
        fault.field = match below {
            "" | "<nil>" => path.to_owned(),
            below if below.starts_with('[') => format!("{path}{below}"),
            below => format!("{path}.{below}"),
        };
        faults.push(fault);
    }
}
