//! The entries of an informer, by namespace and name and by further indexes.
//!
//! Keys are read from the entries' cards, so an entry costs one pointer here and one an index. Not
//! here: locks, subscribers.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

use api::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

/// What an index groups entries by.
#[derive(Clone, Debug)]
pub enum Index {
    /// `metadata.namespace`.
    Namespace,
    /// The uid of the controlling owner.
    Controller,
    /// A selectable field, by path.
    Field(&'static str),
    /// A label's value.
    Label(&'static str),
    /// Any values, computed from an entry; the name identifies the index.
    Custom(&'static str, fn(&Entry) -> Vec<String>),
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Namespace, Self::Namespace) | (Self::Controller, Self::Controller) => true,
            (Self::Field(a), Self::Field(b)) | (Self::Label(a), Self::Label(b)) => a == b,
            (Self::Custom(a, _), Self::Custom(b, _)) => a == b,
            _ => false,
        }
    }
}

impl Index {
    /// Calls `f` with each value of an entry.
    fn values(&self, entry: &Entry, mut f: impl FnMut(&str)) {
        let card = &entry.card;
        match self {
            Self::Namespace => f(&card.namespace),
            Self::Controller => card.controller.as_deref().into_iter().for_each(f),
            Self::Field(path) => card.field(path).into_iter().for_each(f),
            Self::Label(key) => card.label(key).into_iter().for_each(f),
            Self::Custom(_, compute) => compute(entry).iter().for_each(|v| f(v)),
        }
    }
}

/// A set of entries by namespace and name.
#[derive(Default)]
struct Set {
    entries: HashTable<Arc<Entry>>,
    hasher: DefaultHashBuilder,
}

impl Set {
    fn hash(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }

    fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        self.entries.find(self.hash(namespace, name), |e| is(e, namespace, name))
    }

    fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let (namespace, name) = (&*entry.card.namespace, &*entry.card.name);
        let hash = self.hash(namespace, name);
        if let Some(slot) = self.entries.find_mut(hash, |e| is(e, namespace, name)) {
            return Some(std::mem::replace(slot, entry));
        }
        let hasher = &self.hasher;
        self.entries
            .insert_unique(hash, entry, |e| hasher.hash_one((&*e.card.namespace, &*e.card.name)));
        None
    }

    fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let hash = self.hash(namespace, name);
        let found = self.entries.find_entry(hash, |e| is(e, namespace, name)).ok()?;
        Some(found.remove().0)
    }
}

fn is(entry: &Entry, namespace: &str, name: &str) -> bool {
    &*entry.card.name == name && &*entry.card.namespace == namespace
}

/// All entries with their indexes.
#[derive(Default)]
pub(super) struct Table {
    all: Set,
    indexes: Vec<(Index, HashMap<Box<str>, Set>)>,
}

fn file(groups: &mut HashMap<Box<str>, Set>, value: &str, entry: &Arc<Entry>) {
    match groups.get_mut(value) {
        Some(set) => drop(set.insert(entry.clone())),
        None => drop(groups.entry(value.into()).or_default().insert(entry.clone())),
    }
}

impl Table {
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.all.get(namespace, name).cloned()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.all.entries.iter()
    }

    pub fn len(&self) -> usize {
        self.all.entries.len()
    }

    /// Files an entry; returns the one it replaces.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let old = self.all.insert(entry.clone());
        if let Some(old) = &old {
            self.unfile(old);
        }
        for (index, groups) in &mut self.indexes {
            index.values(&entry, |value| file(groups, value, &entry));
        }
        old
    }

    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let old = self.all.remove(namespace, name)?;
        self.unfile(&old);
        Some(old)
    }

    fn unfile(&mut self, old: &Entry) {
        for (index, groups) in &mut self.indexes {
            index.values(old, |value| {
                let Some(set) = groups.get_mut(value) else { return };
                set.remove(&old.card.namespace, &old.card.name);
                if set.entries.is_empty() {
                    groups.remove(value);
                }
            });
        }
    }

    /// The entries that a fresh list no longer has.
    pub fn missing_from(&self, list: &[Arc<Entry>]) -> Vec<Arc<Entry>> {
        if self.all.entries.is_empty() {
            return Vec::new();
        }
        let mut fresh = Set::default();
        for entry in list {
            fresh.insert(entry.clone());
        }
        let gone = |e: &&Arc<Entry>| fresh.get(&e.card.namespace, &e.card.name).is_none();
        self.iter().filter(gone).cloned().collect()
    }

    /// Makes an index, if it is not there.
    pub fn add_index(&mut self, index: Index) {
        if self.indexes.iter().any(|(i, _)| *i == index) {
            return;
        }
        let mut groups = HashMap::new();
        for entry in self.all.entries.iter() {
            index.values(entry, |value| file(&mut groups, value, entry));
        }
        self.indexes.push((index, groups));
    }

    /// The entries under an index value; `None` where there is no such index yet.
    pub fn by_index(&self, index: &Index, value: &str) -> Option<Vec<Arc<Entry>>> {
        let (_, groups) = self.indexes.iter().find(|(i, _)| i == index)?;
        Some(groups.get(value).map_or_else(Vec::new, |set| set.entries.iter().cloned().collect()))
    }
}

#[cfg(test)]
mod tests {
    use api::{Card, Object};
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, revision: u64) -> Arc<Entry> {
        let object = Object::from_value(json!({
            "metadata": {"namespace": "a", "name": name}, "spec": {"nodeName": node}
        }))
        .expect("a map");
        let card = Card::of(&object, &["spec.nodeName"]);
        Arc::new(Entry { revision, json: Default::default(), card })
    }

    fn names(found: Option<Vec<Arc<Entry>>>) -> Vec<String> {
        let mut names: Vec<_> = found
            .expect("indexed")
            .iter()
            .map(|e| format!("{}@{}", e.card.name, e.revision))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn indexes_follow_changes() {
        let node = Index::Field("spec.nodeName");
        let mut table = Table::default();
        table.insert(pod("x", "", 1));
        assert!(table.by_index(&node, "").is_none());
        table.add_index(node.clone());
        table.insert(pod("y", "n1", 2));
        assert_eq!(names(table.by_index(&node, "")), ["x@1"]);
        table.insert(pod("x", "n1", 3));
        assert_eq!(names(table.by_index(&node, "n1")), ["x@3", "y@2"]);
        assert!(names(table.by_index(&node, "")).is_empty());
        table.remove("a", "y");
        assert_eq!(names(table.by_index(&node, "n1")), ["x@3"]);
        assert_eq!(table.missing_from(&[pod("z", "", 1)]).len(), 1);
    }
}
