//! Which objects belong to a controller: those it owns, those to adopt, those to release.
//!
//! Not here: carrying it out.

use std::sync::Arc;

use api::selector::LabelSelector;
use api::{Entry, Resource, Value};
use client::{Client, Index, Informer};
use serde::Deserialize;
use serde_json::json;

use crate::action::{Action, Failed};
use crate::context::Name;
use crate::meta::Meta;

/// Objects by their uid.
const UID: Index = Index::Custom("uid", |e| vec![e.card.uid.to_string()]);

/// The controllers that an object matters to: its own, or those that might adopt it.
pub fn controllers_of(
    controllers: &Informer,
    object: &Entry,
    selects: impl Fn(&Arc<Entry>) -> bool,
) -> Vec<Name> {
    let found = match &object.card.controller {
        Some(owner) => controllers.by_index(&UID, owner),
        None => {
            let mut all = controllers.list_ns(&object.card.namespace);
            all.retain(|c| selects(c));
            all
        }
    };
    found.iter().map(|e| (e.card.namespace.clone(), e.card.name.clone())).collect()
}

#[derive(Deserialize)]
struct Live {
    metadata: Meta,
}

/// Nothing is adopted by a controller that is gone: our view may be old, so the server is asked.
pub async fn check_alive(
    client: &Client,
    kind: &Resource,
    controller: &Meta,
) -> Result<(), Failed> {
    let Meta { namespace, name, uid, .. } = controller;
    let live: Live = client.get(kind, namespace, name).await?;
    if live.metadata.uid != *uid || live.metadata.is_deleting() {
        return Err(Failed::Other(format!("{name} is being deleted or replaced")));
    }
    Ok(())
}

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
