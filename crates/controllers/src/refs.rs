//! Which objects belong to a controller: those it owns, those to adopt, those to release.
//!
//! Pure. Not here: carrying it out.

use api::selector::LabelSelector;
use api::{Resource, Value};
use serde_json::json;

use crate::action::Action;
use crate::meta::Meta;

/// An object among those of a controller's namespace.
pub enum Claim {
    /// It is the controller's and matches.
    Owned,
    /// It matches and has no controller.
    Adopt,
    /// It is the controller's but matches no more.
    Release,
    /// It is none of our business.
    Other,
}

/// How an object stands to a controller.
pub fn claim(controller: &Meta, selector: &LabelSelector, object: &Meta) -> Claim {
    let matches = selector.matches_with(|key| object.labels.get(key).map(String::as_str));
    match object.controller() {
        Some(owner) if owner.uid == controller.uid => {
            if matches {
                Claim::Owned
            } else if controller.is_deleting() {
                Claim::Other
            } else {
                Claim::Release
            }
        }
        Some(_) => Claim::Other,
        None if matches && !controller.is_deleting() && !object.is_deleting() => Claim::Adopt,
        None => Claim::Other,
    }
}

/// Makes `controller` the controller of an object.
pub fn adopt(kind: &Resource, controller: &Meta, resource: &Resource, object: &Meta) -> Action {
    let mut owners: Vec<Value> = object.owner_references.iter().map(|o| json!(o)).collect();
    owners.push(controller.as_controller(kind));
    owners_patch(resource, object, owners)
}

/// Ends that.
pub fn release(controller: &Meta, resource: &Resource, object: &Meta) -> Action {
    let others = object.owner_references.iter().filter(|o| o.uid != controller.uid);
    owners_patch(resource, object, others.map(|o| json!(o)).collect())
}

/// Owners are a list, which a merge patch replaces: so only while nobody else has changed the object.
fn owners_patch(resource: &Resource, object: &Meta, owners: Vec<Value>) -> Action {
    let owners = if owners.is_empty() { Value::Null } else { owners.into() };
    let metadata = json!({
        "uid": object.uid, "resourceVersion": object.resource_version, "ownerReferences": owners,
    });
    Action::patch(resource, &object.namespace, &object.name, json!({ "metadata": metadata }))
}
