//! What becomes of an object: deleted with its owners, freed of those that are gone, waiting for its
//! dependents, or orphaning them.
//!
//! Pure. Not here: finding owners and dependents.

use std::sync::Arc;

use api::Value;
use client::Propagation;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::graph::{Dependent, Id};
use crate::action::Action;
use crate::meta::Meta;

/// An object with this finalizer goes after its dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// An object with this finalizer leaves its dependents behind.
pub const ORPHAN: &str = "orphan";

/// How it stands with an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Owner {
    /// It is there.
    Solid,
    /// It is there, and waits for its dependents to go.
    Waiting,
    /// It is not there.
    Absent,
}

/// The state of an owner that exists.
pub fn owner_state(meta: &Meta) -> Owner {
    let waiting = meta.is_deleting() && meta.finalizers.iter().any(|f| f == FOREGROUND);
    if waiting { Owner::Waiting } else { Owner::Solid }
}

/// An object with its surroundings.
pub struct Item<'a> {
    pub id: &'a Arc<Id>,
    pub meta: &'a Meta,
    /// In the order of its owner references; none are looked up for an object that is deleted.
    pub owners: Vec<Owner>,
    pub dependents: Vec<Dependent>,
}

/// What is to be done.
#[derive(Default, Serialize)]
pub struct Decision {
    /// Objects to free of this one as their owner, before the actions.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<Arc<Id>>,
    pub actions: Vec<Action>,
    /// Objects whose turn it is now.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub look_at: Vec<Arc<Id>>,
}

fn names<S: serde::Serializer>(ids: &[Arc<Id>], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(ids.iter().map(|i| &*i.name))
}

/// Decides about an object.
pub fn plan(item: &Item<'_>) -> Decision {
    let has = |name: &str| item.meta.finalizers.iter().any(|f| f == name);
    if item.meta.is_deleting() {
        return if has(ORPHAN) {
            orphan(item)
        } else if has(FOREGROUND) {
            wait(item)
        } else {
            Decision::default()
        };
    }
    let mut decision = Decision::default();
    if item.owners.is_empty() {
        return decision;
    }
    let solid = item.owners.contains(&Owner::Solid);
    let waiting = item.owners.contains(&Owner::Waiting);
    if solid {
        if item.owners.iter().any(|o| *o != Owner::Solid) {
            let references = item.meta.owner_references.iter().zip(&item.owners);
            let kept: Vec<Value> =
                references.filter(|(_, o)| **o == Owner::Solid).map(|(r, _)| json!(r)).collect();
            decision.actions.push(owners_patch(item.id, item.meta, kept));
        }
        return decision;
    }
    let propagation = if waiting && !item.dependents.is_empty() {
        // A dependent that waits in turn, in a circle, would wait for ever.
        if item.dependents.iter().any(|d| d.foreground) {
            let mut references = item.meta.owner_references.clone();
            references.iter_mut().for_each(|r| r.block_owner_deletion = Some(false));
            let references = references.iter().map(|r| json!(r)).collect();
            decision.actions.push(owners_patch(item.id, item.meta, references));
        }
        Propagation::Foreground
    } else if has(ORPHAN) {
        Propagation::Orphan
    } else if has(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    decision.actions.push(Action::Delete {
        resource: item.id.resource.clone(),
        namespace: item.id.namespace.to_string(),
        name: item.id.name.to_string(),
        uid: item.id.uid.to_string(),
        grace: None,
        propagation: Some(propagation),
    });
    decision
}

/// The object waits until nothing blocks it.
fn wait(item: &Item<'_>) -> Decision {
    let mut decision = Decision::default();
    let blocking: Vec<&Dependent> = item.dependents.iter().filter(|d| d.blocks).collect();
    if blocking.is_empty() {
        decision.actions.push(drop_finalizer(item, FOREGROUND));
    }
    let idle = blocking.into_iter().filter(|d| !d.deleting).map(|d| d.id.clone());
    decision.look_at.extend(idle);
    decision
}

fn orphan(item: &Item<'_>) -> Decision {
    Decision {
        orphans: item.dependents.iter().map(|d| d.id.clone()).collect(),
        actions: vec![drop_finalizer(item, ORPHAN)],
        look_at: Vec::new(),
    }
}

fn drop_finalizer(item: &Item<'_>, name: &str) -> Action {
    let kept: Vec<&String> = item.meta.finalizers.iter().filter(|f| *f != name).collect();
    let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
    patch(item.id, item.meta, "finalizers", kept)
}

/// Frees an object of an owner; nothing where it is free already.
pub fn disown(id: &Id, meta: &Meta, owner: &str) -> Option<Action> {
    let kept = meta.owner_references.iter().filter(|r| r.uid != owner);
    let kept: Vec<Value> = kept.map(|r| json!(r)).collect();
    (kept.len() < meta.owner_references.len()).then(|| owners_patch(id, meta, kept))
}

fn owners_patch(id: &Id, meta: &Meta, owners: Vec<Value>) -> Action {
    let owners = if owners.is_empty() { Value::Null } else { owners.into() };
    patch(id, meta, "ownerReferences", owners)
}

/// Lists are replaced whole: only while nobody else has changed the object.
fn patch(id: &Id, meta: &Meta, field: &str, value: Value) -> Action {
    let metadata = json!({
        "uid": meta.uid, "resourceVersion": meta.resource_version, field: value,
    });
    let body = json!({ "metadata": metadata });
    Action::patch(&id.resource, &id.namespace, &id.name, body)
}

#[cfg(test)]
mod tests {
    use api::resource::PODS;

    use super::*;

    fn id(name: &str) -> Arc<Id> {
        Arc::new(Id {
            resource: PODS,
            namespace: "a".into(),
            name: name.into(),
            uid: format!("uid-{name}").into(),
        })
    }

    #[derive(Deserialize)]
    struct Given {
        name: String,
        #[serde(default)]
        blocks: bool,
        #[serde(default)]
        foreground: bool,
        #[serde(default)]
        deleting: bool,
    }

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let meta: Meta = case.role("meta");
            let dependents = case
                .roles::<Given>("dependents")
                .into_iter()
                .map(|g| Dependent {
                    id: id(&g.name),
                    blocks: g.blocks,
                    foreground: g.foreground,
                    deleting: g.deleting,
                })
                .collect();
            let id = id(&meta.name);
            plan(&Item { id: &id, meta: &meta, owners: case.roles("owners"), dependents })
        });
    }
}
