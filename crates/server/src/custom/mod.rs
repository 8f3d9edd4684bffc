//! Custom resources: the rows that definitions add to the kind table, kept in step with the watch
//! cache, and what a definition makes of its objects on their way through the registry.
//!
//! The built-in rows are looked up first and cost what they always did. The table of definitions is
//! a snapshot that readers share; a reader that finds the definitions changed makes the next one, so
//! a definition counts from the moment its write is acknowledged. Not here: what definitions mean
//! (`api::crd`), the registry.

pub mod controller;
pub mod convert;
mod objects;
pub mod rules;

pub use objects::Part;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use api::ApiError;
use api::clock::Rng;
use api::crd::{Definition, Version};
use api::kinds::Kind;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use store::{EventKind, ResourceCache, Store, Watcher};
use tokio_util::sync::CancellationToken;

use crate::admission::webhook::Caller;

/// Where definitions are kept.
pub const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// A definition as it is served.
#[derive(Debug)]
pub struct Served {
    /// What it says.
    pub definition: Definition,
    /// Objects written from this revision on have the form that the definition asks for; older ones
    /// are brought to it when they are read.
    clean_since: u64,
    /// The hash of `spec`, to tell changes of the form from changes of the status.
    spec: [u8; 32],
    /// `status.acceptedNames`.
    accepted: api::Value,
    /// Whether all of its names were accepted.
    settled: bool,
    /// Cancelled when the definition says something else.
    retired: Arc<CancellationToken>,
    /// The CEL rules of each version, read when they are first needed.
    rules: Vec<OnceLock<Option<rules::Node>>>,
}

/// A version of a custom resource, as a request addresses it.
#[derive(Clone, Debug)]
pub struct Custom {
    served: Arc<Served>,
    version: usize,
}

impl Custom {
    /// The version of the request.
    pub fn version(&self) -> &Version {
        &self.served.definition.versions[self.version]
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.served.definition
    }

    /// The row of the kind table.
    pub fn kind(&self) -> &'static Kind {
        self.version().kind
    }

    /// The CEL rules of the version, where it has any.
    fn rules(&self) -> Option<&rules::Node> {
        let version = self.version();
        if !version.has_rules() {
            return None;
        }
        let rules = self.served.rules.get(self.version)?;
        rules.get_or_init(|| rules::Node::of(version.schema(), true)).as_ref()
    }

    /// Cancelled when the definition says something else, or is gone: watches end.
    pub fn retired(&self) -> &CancellationToken {
        &self.served.retired
    }

    /// Whether stored bytes are what a client of this version is to see.
    pub fn is_verbatim(&self, entry: &api::Entry) -> bool {
        self.version == self.served.definition.storage && entry.revision >= self.served.clean_since
    }

    /// Nothing new comes to a definition that goes away.
    pub fn may_create(&self, name: &str) -> Result<(), ApiError> {
        if !self.definition().terminating {
            return Ok(());
        }
        let (group, plural) = (&self.definition().group, &self.definition().plural);
        let why = "create not allowed while custom resource definition is terminating";
        Err(ApiError::forbidden(group, plural, name, why))
    }
}

type Key = (&'static str, &'static str, &'static str);

/// The definitions at one revision.
#[derive(Clone, Debug, Default)]
pub struct Table {
    revision: u64,
    /// By name.
    definitions: HashMap<Arc<str>, Arc<Served>>,
    by_plural: HashMap<Key, Custom>,
    /// Groups with their versions, by preference.
    groups: HashMap<&'static str, Vec<&'static str>>,
}

impl Table {
    /// What an event makes of the table.
    fn apply(&mut self, name: &str, entry: Option<&api::Entry>) {
        let old = self.definitions.remove(name);
        let new = entry.and_then(|entry| Served::read(entry, old.as_ref())).map(Arc::new);
        for served in old.iter().filter(|s| s.definition.established) {
            for row in &served.definition.versions {
                self.by_plural.remove(&(row.kind.group, row.kind.version, row.kind.plural));
            }
        }
        for served in new.iter().filter(|s| s.definition.established) {
            for (version, row) in served.definition.versions.iter().enumerate() {
                if row.served {
                    let custom = Custom { served: served.clone(), version };
                    let kind = row.kind;
                    self.by_plural.insert((kind.group, kind.version, kind.plural), custom);
                }
            }
        }
        if let Some(served) = &new {
            self.definitions.insert(name.into(), served.clone());
        }
        if let Some(old) = &old
            && new.as_ref().is_none_or(|new| !Arc::ptr_eq(&old.retired, &new.retired))
        {
            old.retired.cancel();
        }
        for served in old.iter().chain(&new) {
            self.regroup(&served.definition);
        }
    }

    /// Finds the versions of a definition's group anew.
    fn regroup(&mut self, definition: &Definition) {
        let Some(group) = definition.versions.first().map(|v| v.kind.group) else { return };
        let mut versions: Vec<&'static str> = Vec::new();
        let all = self.definitions.values().map(|served| &served.definition);
        for other in all.filter(|d| d.established && d.group == group) {
            for row in other.versions.iter().filter(|v| v.served) {
                if !versions.contains(&row.kind.version) {
                    versions.push(row.kind.version);
                }
            }
        }
        versions.sort_by(|a, b| api::crd::by_priority(a, b));
        if versions.is_empty() {
            self.groups.remove(group);
        } else {
            self.groups.insert(group, versions);
        }
    }

    /// A version of a custom resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Custom> {
        self.by_plural.get(&(group, version, plural)).cloned()
    }

    /// The versions of a group, by preference.
    pub fn versions(&self, group: &str) -> &[&'static str] {
        self.groups.get(group).map_or(&[], Vec::as_slice)
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = &'static str> {
        self.groups.keys().copied()
    }

    /// All definitions.
    pub fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values().map(|served| &served.definition)
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl Served {
    fn read(entry: &api::Entry, old: Option<&Arc<Served>>) -> Option<Self> {
        let object = entry.object().ok()?;
        let mut definition = Definition::read(&object, &entry.json)?;
        definition.revision = entry.revision;
        let spec = Sha256::digest(object.0.get("spec")?.to_string()).into();
        let same = old.filter(|o| o.spec == spec && o.definition.uid == definition.uid);
        let clean_since = same.map_or(entry.revision, |old| old.clean_since);
        let accepted = object.at("status.acceptedNames").cloned().unwrap_or_default();
        let settled = api::crd::conditions::is_true(&object.0, "NamesAccepted");
        let rules = definition.versions.iter().map(|_| OnceLock::new()).collect();
        let retired = match same {
            Some(old) if old.definition.established == definition.established => {
                old.retired.clone()
            }
            _ => Arc::default(),
        };
        Some(Self { retired, definition, clean_since, spec, accepted, settled, rules })
    }
}

/// The definitions of a server.
pub struct Customs {
    cache: Arc<ResourceCache>,
    table: ArcSwap<Table>,
    /// Changes that the table does not have yet; held by who makes the next.
    changes: Mutex<Watcher>,
    /// Converts between versions.
    webhooks: Caller,
    /// Definitions, by uid, whose objects are being deleted.
    emptying: Mutex<HashSet<String>>,
}

impl Customs {
    /// The definitions in a store.
    pub fn new(store: &Store, rng: &Rng) -> Self {
        let cache = store.resource(DEFINITIONS);
        let webhooks = Caller::new(store, rng.clone());
        let (table, changes) = Self::read(&cache);
        Self {
            webhooks,
            cache,
            table: ArcSwap::from_pointee(table),
            changes: Mutex::new(changes),
            emptying: Mutex::default(),
        }
    }

    fn read(cache: &Arc<ResourceCache>) -> (Table, Watcher) {
        let revision = cache.last_revision();
        let (snapshot, changes) = cache.list_and_watch(None);
        let mut table = Table { revision, ..Table::default() };
        for entry in snapshot.iter() {
            table.apply(&entry.card.name, Some(entry));
        }
        (table, changes)
    }

    /// The definitions as they are now.
    pub fn table(&self) -> Arc<Table> {
        let table = self.table.load();
        if table.revision == self.cache.last_revision() {
            return table.clone();
        }
        drop(table);
        let mut changes = self.changes.lock();
        let before = self.table.load_full();
        // Events up to this revision, or later ones, are there to be taken.
        let revision = self.cache.last_revision();
        if before.revision == revision {
            return before;
        }
        let mut next = Table::clone(&before);
        loop {
            match changes.try_next() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    for event in &events {
                        let entry = (event.kind != EventKind::Deleted).then_some(&*event.entry);
                        next.apply(&event.entry.card.name, entry);
                    }
                }
                Err(_) => {
                    let (fresh, watcher) = Self::read(&self.cache);
                    for old in before.definitions.values() {
                        old.retired.cancel();
                    }
                    (next, *changes) = (fresh, watcher);
                    break;
                }
            }
        }
        next.revision = revision;
        let next = Arc::new(next);
        self.table.store(next.clone());
        next
    }

    /// A version of a custom resource, as it is served now.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Custom> {
        if group.is_empty() {
            return None;
        }
        self.table().find(group, version, plural)
    }
}
