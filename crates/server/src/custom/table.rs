//! The definitions at one revision, looked at by name, by what a request asks for, by group.
//!
//! A change costs what changed: everything is kept by group. Not here: how it is kept current (the
//! parent module).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use api::crd::Definition;
use api::crd::conditions::Names;

use super::{Custom, Served};

type Key = (&'static str, &'static str, &'static str);

/// The definitions at one revision.
#[derive(Clone, Debug, Default)]
pub struct Table {
    revision: u64,
    /// By name.
    definitions: HashMap<Arc<str>, Arc<Served>>,
    by_plural: HashMap<Key, Custom>,
    groups: BTreeMap<Arc<str>, Arc<Group>>,
}

/// What the definitions of one group are together.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    /// By name.
    definitions: BTreeMap<Arc<str>, Arc<Served>>,
    /// The versions in which any is served, by preference.
    versions: Vec<&'static str>,
    /// The names they have.
    pub names: Names,
    /// Definitions that do not have all they want.
    pub waiting: BTreeSet<Arc<str>>,
    /// Grows with every name that is free again.
    pub freed: u64,
}

impl Table {
    /// Puts a definition in its place, or takes it away.
    pub(super) fn apply(&mut self, name: &Arc<str>, new: Option<Arc<Served>>) {
        let old = match &new {
            Some(new) => self.definitions.insert(name.clone(), new.clone()),
            None => self.definitions.remove(name),
        };
        for (_, key) in old.iter().flat_map(|old| rows(old)) {
            self.by_plural.remove(&key);
        }
        if let Some(served) = &new {
            for (version, key) in rows(served) {
                self.by_plural.insert(key, Custom { served: served.clone(), version });
            }
        }
        if let Some(old) = &old {
            let same = new.as_ref().is_some_and(|new| Arc::ptr_eq(&old.retired, &new.retired));
            if !same {
                old.retired.cancel();
            }
            let frees = new.as_ref().is_none_or(|new| new.accepted != old.accepted);
            let stays =
                new.as_ref().is_some_and(|new| new.definition.group == old.definition.group);
            self.in_group(old, stays, |group| {
                group.remove(name, old);
                group.freed += u64::from(frees);
            });
        }
        if let Some(new) = &new {
            self.in_group(new, true, |group| group.add(name, new));
        }
    }

    fn in_group(&mut self, of: &Served, keep: bool, change: impl FnOnce(&mut Group)) {
        let name = of.definition.group.as_str();
        if !self.groups.contains_key(name) {
            self.groups.insert(name.into(), Arc::default());
        }
        let Some(group) = self.groups.get_mut(name) else { return };
        let group = Arc::make_mut(group);
        change(group);
        if group.definitions.is_empty() && !keep {
            self.groups.remove(name);
        }
    }

    /// The changes up to a revision are in it.
    pub(super) fn end(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Ends what depends on any of the definitions.
    pub(super) fn retire(&self) {
        self.definitions.values().for_each(|served| served.retired.cancel());
    }

    /// A definition, by its name.
    pub(super) fn get(&self, name: &str) -> Option<&Arc<Served>> {
        self.definitions.get(name)
    }

    /// A group.
    pub(super) fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// A version of a custom resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Custom> {
        self.by_plural.get(&(group, version, plural)).cloned()
    }

    /// The versions of a group, by preference.
    pub fn versions(&self, group: &str) -> &[&'static str] {
        self.groups.get(group).map_or(&[], |group| &group.versions)
    }

    /// The groups in which anything is served, in alphabetical order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        let served = self.groups.iter().filter(|(_, group)| !group.versions.is_empty());
        served.map(|(name, _)| &**name)
    }

    /// All definitions, by group.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.groups.values().flat_map(|group| group.definitions())
    }

    /// The definitions of a group.
    pub fn definitions_of(&self, group: &str) -> impl Iterator<Item = &Definition> {
        self.groups.get(group).into_iter().flat_map(|group| group.definitions())
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// The versions that requests find, by their place.
fn rows(served: &Served) -> impl Iterator<Item = (usize, Key)> {
    let definition = &served.definition;
    let versions = definition.versions.iter().enumerate();
    let served = versions.filter(|(_, v)| definition.established && v.served);
    served.map(|(at, v)| (at, (v.kind.group, v.kind.version, v.kind.plural)))
}

impl Group {
    fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values().map(|served| &served.definition)
    }

    fn add(&mut self, name: &Arc<str>, new: &Arc<Served>) {
        self.names.add(name, &new.accepted);
        if !new.settled {
            self.waiting.insert(name.clone());
        }
        for (_, (_, version, _)) in rows(new) {
            if !self.versions.contains(&version) {
                self.versions.push(version);
            }
        }
        self.versions.sort_by(|a, b| api::crd::by_priority(a, b));
        self.definitions.insert(name.clone(), new.clone());
    }

    fn remove(&mut self, name: &str, old: &Served) {
        self.names.remove(name, &old.accepted);
        self.waiting.remove(name);
        self.definitions.remove(name);
        let mut left: BTreeSet<&str> = rows(old).map(|(_, (_, version, _))| version).collect();
        for (_, (_, version, _)) in self.definitions.values().flat_map(|served| rows(served)) {
            left.remove(version);
            if left.is_empty() {
                break;
            }
        }
        self.versions.retain(|version| !left.contains(version));
    }
}
