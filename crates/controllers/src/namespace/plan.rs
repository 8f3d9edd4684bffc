//! How the deletion of a namespace stands, as its conditions tell.
//!
//! Pure. Not here: emptying it.

use std::collections::BTreeMap;

use api::resource::NAMESPACES;
use api::{Object, Value, clock};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Plan};
use crate::condition::{self, Condition};

/// Keeps a namespace until it is empty.
pub const FINALIZER: &str = "kubernetes";

/// What is left in a namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Why not all resources are known.
    pub discovery: Option<String>,
    /// What could not be deleted.
    pub failures: Vec<String>,
    /// What is still there.
    pub remaining: Vec<Remaining>,
}

/// Objects of one resource that are still there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Remaining {
    /// `plural.group`.
    pub resource: String,
    pub count: usize,
    /// How many of them each finalizer holds.
    pub finalizers: BTreeMap<String, usize>,
    /// Seconds until they may be gone by themselves.
    pub grace: u64,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.discovery.is_none() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

/// Whether our finalizer still holds a namespace.
pub fn holds(namespace: &Object) -> bool {
    let finalizers = namespace.at("spec.finalizers").and_then(Value::as_array);
    finalizers.is_some_and(|f| f.iter().any(|f| f == FINALIZER))
}

/// Plans for a namespace that is not empty yet.
pub fn plan(namespace: &Object, found: &Found, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let mut conditions: Vec<Condition> = namespace
        .at("status.conditions")
        .and_then(|c| Vec::deserialize(c).ok())
        .unwrap_or_default();
    let before = conditions.clone();
    let time = clock::format_time(now);
    let remain = found
        .remaining
        .iter()
        .map(|r| format!("{} has {} resource instances", r.resource, r.count));
    let remain: Vec<String> = remain.collect();
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, count) in found.remaining.iter().flat_map(|r| &r.finalizers) {
        *held.entry(name).or_insert(0) += count;
    }
    let held: Vec<String> =
        held.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let failures = found.failures.join(", ");
    // Type; reason and message when it is well; the same when it is not.
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("ResourcesDiscovered", "All resources successfully discovered"),
            found.discovery.as_ref().map(|why| ("DiscoveryFailed", why.clone())),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            (!failures.is_empty()).then(|| {
                let note = format!(
                    "Failed to delete all resource types, {} remaining: {failures}",
                    found.failures.len()
                );
                ("ContentDeletionFailed", note)
            }),
        ),
        (
            "NamespaceContentRemaining",
            ("ContentRemoved", "All content successfully removed"),
            (!remain.is_empty()).then(|| {
                (
                    "SomeResourcesRemain",
                    format!("Some resources are remaining: {}", remain.join(", ")),
                )
            }),
        ),
        (
            "NamespaceFinalizersRemaining",
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            (!held.is_empty()).then(|| {
                let note = format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    held.join(", ")
                );
                ("SomeFinalizersRemain", note)
            }),
        ),
    ];
    for (kind, well, ill) in rows {
        let new = match ill {
            Some((reason, note)) => Condition::new(kind, true, reason, note, &time),
            None => Condition::new(kind, false, well.0, well.1, &time),
        };
        put(&mut conditions, new);
    }
    if conditions != before {
        let status = json!({ "conditions": conditions });
        plan.push(Action::status(&NAMESPACES, "", namespace.name(), status));
    }
    let grace = found.remaining.iter().map(|r| r.grace).max().unwrap_or(0);
    if grace > 0 {
        plan.look_again(grace / 2 + 1);
    }
    plan
}

/// In place, and also where only the message differs.
fn put(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.iter_mut().find(|c| c.kind == new.kind) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time.clone_from(&old.last_transition_time);
            }
            *old = new;
        }
        None => condition::set(conditions, new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            plan(&case.role("namespace"), &case.role("found"), case.now)
        });
    }
}
