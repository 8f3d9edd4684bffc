//! Custom resources: the rows that definitions add to the kind table, kept in step with the watch
//! cache, and what a definition makes of its objects on their way through the registry.
//!
//! The built-in rows are looked up first and cost what they always did. A reader that finds the
//! definitions changed brings the table up to date, so a definition counts from the moment its write
//! is acknowledged. Not here: what definitions mean (`api::crd`), the registry.

pub mod controller;
pub mod convert;
mod objects;
pub mod rules;
mod table;

pub use objects::Part;
pub use table::Table;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use api::ApiError;
use api::clock::Rng;
use api::crd::{Definition, Version};
use api::kinds::Kind;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use store::{Event, EventKind, ResourceCache, Store, Watcher};
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
    /// Older objects that were looked at, by revision. Most are as they should be all the same, as most
    /// changes of a definition only add to it.
    looked_at: Arc<RwLock<HashMap<u64, Look>>>,
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

/// What a look at an older object found.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// It has the form that the definition asks for.
    form: bool,
    /// Its index card has the fields that the definition makes selectable.
    card: bool,
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
        self.version == self.served.definition.storage && self.is_current(entry)
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

impl Served {
    /// `old`: the same definition, or another of its name, as it was.
    fn read(entry: &api::Entry, old: Option<&Arc<Served>>) -> Option<Self> {
        let object = entry.object().ok()?;
        let mut definition = Definition::read(&object, &entry.json)?;
        definition.revision = entry.revision;
        let spec = Sha256::digest(object.0.get("spec")?.to_string()).into();
        let same = old.filter(|o| o.spec == spec && o.definition.uid == definition.uid);
        let clean_since = same.map_or(entry.revision, |old| old.clean_since);
        let looked_at = same.map(|old| old.looked_at.clone()).unwrap_or_default();
        let accepted = object.at("status.acceptedNames").cloned().unwrap_or_default();
        let settled = api::crd::conditions::is_true(&object.0, "NamesAccepted");
        let rules = definition.versions.iter().map(|_| OnceLock::new()).collect();
        let retired = match same {
            Some(old) if old.definition.established == definition.established => {
                old.retired.clone()
            }
            _ => Arc::default(),
        };
        Some(Self { retired, definition, clean_since, looked_at, spec, accepted, settled, rules })
    }
}

/// The definitions of a server.
pub struct Customs {
    cache: Arc<ResourceCache>,
    /// Changed in place where no reader holds it.
    table: RwLock<Arc<Table>>,
    /// Changes that the table does not have yet; held by who brings it up to date.
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
            table: RwLock::new(Arc::new(table)),
            changes: Mutex::new(changes),
            emptying: Mutex::default(),
        }
    }

    fn read(cache: &Arc<ResourceCache>) -> (Table, Watcher) {
        let revision = cache.last_revision();
        let (snapshot, changes) = cache.list_and_watch(None);
        let mut table = Table::default();
        for entry in snapshot.iter() {
            let served = Served::read(entry, None).map(Arc::new);
            table.apply(&entry.card.name, served);
        }
        table.end(revision);
        (table, changes)
    }

    /// Looks into the definitions as they are now.
    fn with<R>(&self, look: impl FnOnce(&Arc<Table>) -> R) -> R {
        let table = self.table.read();
        if table.revision() == self.cache.last_revision() {
            return look(&table);
        }
        drop(table);
        self.catch_up();
        look(&self.table.read())
    }

    /// Brings the table up to date.
    fn catch_up(&self) {
        let mut changes = self.changes.lock();
        // Events up to this revision, or later ones, are there to be taken.
        let revision = self.cache.last_revision();
        if self.table.read().revision() == revision {
            return;
        }
        // Of a definition that changed more than once only the last state was ever seen.
        let mut last = BTreeMap::new();
        loop {
            match changes.try_next() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    last.extend(events.into_iter().map(|e| (e.entry.card.name.clone(), e)));
                }
                Err(_) => {
                    let (fresh, watcher) = Self::read(&self.cache);
                    *changes = watcher;
                    let before = std::mem::replace(&mut *self.table.write(), Arc::new(fresh));
                    before.retire();
                    return;
                }
            }
        }
        // Reading takes its time: nobody waits for it but who needs it.
        let read = |(name, event): (Arc<str>, Arc<Event>)| {
            let old = self.table.read().get(&name).cloned();
            let there = event.kind != EventKind::Deleted;
            let new = there.then(|| Served::read(&event.entry, old.as_ref())).flatten();
            (name, new.map(Arc::new))
        };
        let new: Vec<_> = last.into_iter().map(read).collect();
        let mut guard = self.table.write();
        let table = Arc::make_mut(&mut *guard);
        for (name, served) in new {
            table.apply(&name, served);
        }
        table.end(revision);
    }

    /// The definitions as they are now. Who keeps this for long makes the next change copy it.
    pub fn table(&self) -> Arc<Table> {
        self.with(Arc::clone)
    }

    /// The revision of the last change of a definition.
    pub fn revision(&self) -> u64 {
        self.cache.last_revision()
    }

    /// A version of a custom resource, as it is served now.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Custom> {
        if group.is_empty() {
            return None;
        }
        self.with(|table| table.find(group, version, plural))
    }
}

#[cfg(test)]
mod tests;
