//! Which kinds this server serves: the defaults as changed by `--runtime-config` and
//! `--feature-gates`.
//!
//! Not here: what the kinds are (`api::kinds`), or the discovery documents.

use std::collections::{HashMap, HashSet};

use api::kinds::{self, Kind, RuntimeConfig};

use crate::config::StartError;

type Key = (&'static str, &'static str, &'static str);

/// The served kinds, in the order of discovery.
pub struct Served {
    kinds: Vec<&'static Kind>,
    by_plural: HashMap<Key, &'static Kind>,
    groups: HashSet<&'static str>,
}

impl Served {
    /// The kinds that switches and feature gates leave on.
    pub fn new(switches: &[(String, bool)], gates: &[(String, bool)]) -> Result<Self, StartError> {
        let config = RuntimeConfig::new(switches, gates)
            .map_err(|e| StartError::Flag { flag: "runtime-config", why: e.to_string() })?;
        let kinds: Vec<&'static Kind> = kinds::all().iter().filter(|k| config.serves(k)).collect();
        Ok(Self {
            by_plural: kinds.iter().map(|k| ((k.group, k.version, k.plural), *k)).collect(),
            groups: kinds.iter().map(|k| k.group).collect(),
            kinds,
        })
    }

    /// All of them.
    pub fn all(&self) -> &[&'static Kind] {
        &self.kinds
    }

    /// The kind of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.by_plural.get(&(group, version, plural)).copied()
    }

    /// Whether any version of a group is served.
    pub fn has_group(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// The versions of a group, by preference.
    pub fn versions(&self, group: &str) -> Vec<&'static str> {
        let mut versions: Vec<&'static str> = Vec::new();
        for kind in self.kinds.iter().filter(|k| k.group == group) {
            if !versions.contains(&kind.version) {
                versions.push(kind.version);
            }
        }
        versions
    }

    /// The groups, in the order of discovery; the core group first.
    pub fn groups(&self) -> Vec<&'static str> {
        let mut groups: Vec<&'static str> = Vec::new();
        for kind in &self.kinds {
            if !groups.contains(&kind.group) {
                groups.push(kind.group);
            }
        }
        groups
    }
}
