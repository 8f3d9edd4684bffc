//! Which migration of a resource runs, and what its end means for the definition.
//!
//! Pure. Not here: writing the objects.

use api::{Object, Resource, Value, clock};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::action::{Action, Plan};
use crate::condition::{self, Condition};

pub const MIGRATIONS: Resource = Resource::cluster(
    "storagemigration.k8s.io",
    "v1beta1",
    "storageversionmigrations",
    "StorageVersionMigration",
);
pub const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);

const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
/// The condition of a definition whose objects are being written anew.
const MIGRATING: &str = "StorageMigrating";

/// What is to be done for the migrations of one resource.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Step {
    #[serde(flatten)]
    pub plan: Plan,
    /// The name of the migration whose objects are to be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub work: Option<String>,
}

fn conditions(object: &Object) -> Vec<Condition> {
    let list = object.at("status.conditions");
    list.and_then(|list| Vec::deserialize(list).ok()).unwrap_or_default()
}

fn is(object: &Object, kind: &str) -> bool {
    condition::find(&conditions(object), kind).is_some_and(Condition::is_true)
}

fn has_ended(migration: &Object) -> bool {
    is(migration, SUCCEEDED) || is(migration, FAILED)
}

/// A patch of an object's status, as long as it is the object that was planned for.
fn status(resource: &Resource, object: &Object, status: Json) -> Action {
    let meta = json!({"resourceVersion": object.resource_version()});
    Action::Patch {
        resource: resource.clone(),
        namespace: String::new(),
        name: object.name().to_owned(),
        sub: Some("status"),
        patch: json!({"metadata": meta, "status": status}),
    }
}

fn with(object: &Object, new: Condition) -> Json {
    let mut all = conditions(object);
    condition::set(&mut all, new);
    json!(all)
}

/// Plans for the migrations of one resource, and its definition if it is a custom one.
pub fn plan(migrations: &[Object], definition: Option<&Object>, now: Timestamp) -> Step {
    let now = clock::format_time(now);
    let mut step = Step::default();
    for ended in migrations.iter().filter(|m| is(m, RUNNING) && has_ended(m)) {
        if let Some(definition) = definition {
            step.plan.push(finish(definition, is(ended, SUCCEEDED), &now));
        }
        let why = ("MigrationCompleted", "Migration completed");
        let new = Condition::new(RUNNING, false, why.0, why.1, &now);
        step.plan.push(status(&MIGRATIONS, ended, json!({"conditions": with(ended, new)})));
    }
    if !step.plan.actions.is_empty() {
        // What this changes is looked at anew.
        return step;
    }
    let open = || migrations.iter().filter(|m| !has_ended(m));
    if let Some(running) = open().find(|m| is(m, RUNNING)) {
        step.work = Some(running.name().to_owned());
        return step;
    }
    // One at a time, the oldest first.
    let age = |m: &&Object| (m.creation_timestamp().to_owned(), m.name().to_owned());
    if let Some(next) = open().min_by_key(age) {
        if let Some(definition) = definition {
            let note = format!("Migration {} is running", next.name());
            let new = observed(definition, true, "MigrationRunning", &note, &now);
            let patch = json!({"conditions": with(definition, new)});
            step.plan.push(status(&DEFINITIONS, definition, patch));
        }
        let why = ("MigrationRunning", "The migration is running");
        let new = Condition::new(RUNNING, true, why.0, why.1, &now);
        step.plan.push(status(&MIGRATIONS, next, json!({"conditions": with(next, new)})));
    }
    step
}

fn observed(definition: &Object, on: bool, reason: &str, note: &str, now: &str) -> Condition {
    let mut new = Condition::new(MIGRATING, on, reason, note, now);
    let generation = definition.int("metadata.generation").unwrap_or(0);
    new.other.insert("observedGeneration".into(), generation.into());
    new
}

/// After a migration no object is stored in another version than the definition's, if that has not
/// changed meanwhile.
fn finish(definition: &Object, succeeded: bool, now: &str) -> Action {
    let generation = definition.int("metadata.generation").unwrap_or(0);
    let all = conditions(definition);
    let same = condition::find(&all, MIGRATING)
        .is_some_and(|c| c.other.get("observedGeneration") == Some(&json!(generation)));
    let (reason, note) = match (succeeded, same) {
        (true, true) => (
            "MigrationSucceeded",
            "The migration has succeeded and the stored versions have been updated",
        ),
        (true, false) => (
            "MigrationSucceeded",
            "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
        ),
        (false, _) => ("MigrationFailed", "The migration has failed"),
    };
    let new = observed(definition, false, reason, note, now);
    let mut patch = json!({"conditions": with(definition, new)});
    let versions = definition.at("spec.versions").and_then(Value::as_array);
    let stored = versions.into_iter().flatten().find(|v| v["storage"] == true);
    if let (true, true, Some(stored)) = (succeeded, same, stored) {
        patch["storedVersions"] = json!([stored["name"]]);
    }
    status(&DEFINITIONS, definition, patch)
}

/// Up to which revision objects are to be written.
pub fn begun(migration: &Object, revision: &str) -> Action {
    status(&MIGRATIONS, migration, json!({"resourceVersion": revision}))
}

/// How a migration ended.
pub fn ended(migration: &Object, outcome: Result<(), &str>, now: Timestamp) -> Action {
    let now = clock::format_time(now);
    let new = match outcome {
        Ok(()) => Condition::new(SUCCEEDED, true, "StorageVersionMigrationSucceeded", "", &now),
        Err(why) => Condition::new(FAILED, true, "StorageVersionMigrationFailed", why, &now),
    };
    status(&MIGRATIONS, migration, json!({"conditions": with(migration, new)}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let definition: Option<Object> = case.role("definition");
            plan(&case.roles("migrations"), definition.as_ref(), case.now)
        });
    }
}
