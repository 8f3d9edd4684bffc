//! Who owns whom, and which objects a change affects.
//!
//! Only objects that have owners, and owners that wait for them, are kept. Pure bookkeeping; not here:
//! what becomes of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::Resource;

use super::plan::{FOREGROUND, ORPHAN};
use crate::meta::{Meta, OwnerRef};

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub resource: Resource,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Box<str>,
}

/// A dependent of an object.
#[derive(Clone, Debug)]
pub struct Dependent {
    pub id: Arc<Id>,
    /// Whether the owner's foreground deletion waits for it.
    pub blocks: bool,
    /// Whether it is itself deleted in the foreground.
    pub foreground: bool,
    pub deleting: bool,
}

#[derive(Default)]
pub struct Graph {
    /// Objects with owners, by uid.
    owned: HashMap<Box<str>, Owned>,
    /// Uids of objects by the uid of an owner.
    dependents: HashMap<String, HashSet<Box<str>>>,
    /// Objects that wait for their dependents, by uid.
    waiting: HashMap<Box<str>, Arc<Id>>,
}

struct Owned {
    id: Arc<Id>,
    owners: Vec<OwnerRef>,
    foreground: bool,
    deleting: bool,
}

impl Graph {
    /// Notes the state of an object; returns the objects to look at.
    pub fn apply(&mut self, id: Id, meta: &Meta) -> Vec<Arc<Id>> {
        let id = Arc::new(id);
        let mut affected = Vec::new();
        let has = |name: &str| meta.finalizers.iter().any(|f| f == name);
        let foreground = meta.is_deleting() && has(FOREGROUND);
        if foreground || (meta.is_deleting() && has(ORPHAN)) {
            self.waiting.insert(id.uid.clone(), id.clone());
            affected.push(id.clone());
        } else {
            self.waiting.remove(&id.uid);
        }
        let known = self.owned.get(&id.uid);
        let changed =
            known.map_or(!meta.owner_references.is_empty(), |o| o.owners != meta.owner_references);
        let dying = known.is_some_and(|o| !o.deleting && meta.is_deleting());
        if changed {
            affected.extend(self.forget(&id.uid));
            if !meta.is_deleting() {
                affected.push(id.clone());
            }
        }
        if meta.owner_references.is_empty() {
            return affected;
        }
        for owner in &meta.owner_references {
            self.dependents.entry(owner.uid.clone()).or_default().insert(id.uid.clone());
            if dying && foreground {
                affected.extend(self.waiting.get(owner.uid.as_str()).cloned());
            }
        }
        let owned = Owned {
            id: id.clone(),
            owners: meta.owner_references.clone(),
            foreground,
            deleting: meta.is_deleting(),
        };
        self.owned.insert(id.uid.clone(), owned);
        affected
    }

    /// An object is gone; returns the objects to look at: its dependents, and owners that waited for it.
    pub fn remove(&mut self, id: &Id) -> Vec<Arc<Id>> {
        self.waiting.remove(&id.uid);
        let mut affected = self.forget(&id.uid);
        affected.extend(self.dependents(&id.uid).into_iter().map(|d| d.id));
        affected
    }

    /// Drops an object's ties to its owners; returns those that wait.
    fn forget(&mut self, uid: &str) -> Vec<Arc<Id>> {
        let Some(owned) = self.owned.remove(uid) else { return Vec::new() };
        let mut waiting = Vec::new();
        for owner in owned.owners {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
            waiting.extend(self.waiting.get(owner.uid.as_str()).cloned());
        }
        waiting
    }

    /// The objects that name this one as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Dependent> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        let owned = uids.filter_map(|uid| self.owned.get(uid));
        owned
            .map(|o| Dependent {
                id: o.id.clone(),
                blocks: o
                    .owners
                    .iter()
                    .any(|r| r.uid == uid && r.block_owner_deletion == Some(true)),
                foreground: o.foreground,
                deleting: o.deleting,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use api::resource::{PODS, REPLICA_SETS};
    use serde_json::json;

    use super::*;

    fn id(resource: &Resource, name: &str) -> Id {
        Id {
            resource: resource.clone(),
            namespace: "a".into(),
            name: name.into(),
            uid: name.into(),
        }
    }

    fn names(ids: Vec<Arc<Id>>) -> Vec<String> {
        let mut names: Vec<String> = ids.iter().map(|i| i.name.to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn changes_affect_both_ends() {
        let mut graph = Graph::default();
        let meta = |owners: api::Value, deleting: Option<&str>, finalizers: &[&str]| -> Meta {
            serde_json::from_value(json!({"ownerReferences": owners, "finalizers": finalizers,
                "deletionTimestamp": deleting}))
            .expect("metadata")
        };
        let owner = json!([{"uid": "rs", "blockOwnerDeletion": true}]);
        let plain = meta(json!([]), None, &[]);
        assert!(graph.apply(id(&REPLICA_SETS, "rs"), &plain).is_empty());
        let owned = meta(owner.clone(), None, &[]);
        assert_eq!(names(graph.apply(id(&PODS, "p"), &owned)), ["p"]);
        assert!(graph.apply(id(&PODS, "p"), &owned).is_empty(), "nothing new");
        assert!(graph.dependents("rs")[0].blocks);
        let dying = meta(json!([]), Some("2026-01-01T00:00:00Z"), &[FOREGROUND]);
        assert_eq!(names(graph.apply(id(&REPLICA_SETS, "rs"), &dying)), ["rs"]);
        assert_eq!(names(graph.remove(&id(&PODS, "p"))), ["rs"], "the owner waited");
        graph.apply(id(&PODS, "q"), &owned);
        assert_eq!(names(graph.remove(&id(&REPLICA_SETS, "rs"))), ["q"]);
    }
}
