//! Which kinds this server serves: the defaults as changed by `--runtime-config`.
//!
//! Not here: what the kinds are (`api::kinds`), or the discovery documents.

use std::collections::{HashMap, HashSet};

use api::kinds::{self, Kind};

use crate::config::StartError;

type Key = (&'static str, &'static str, &'static str);

/// The served kinds, in the order of discovery.
pub struct Served {
    kinds: Vec<&'static Kind>,
    by_plural: HashMap<Key, &'static Kind>,
    groups: HashSet<&'static str>,
}

/// Whether a setting of `--runtime-config` is about a kind, and how closely.
fn closeness(setting: &str, kind: &Kind) -> Option<u8> {
    let version = kind.version;
    let group_version = kind.api_version();
    let prerelease = |tag: &str| version.contains(tag);
    match setting {
        "api/all" => Some(1),
        "api/ga" => (!prerelease("alpha") && !prerelease("beta")).then_some(2),
        "api/beta" => prerelease("beta").then_some(2),
        "api/alpha" => prerelease("alpha").then_some(2),
        other
            if other == group_version
                || other == format!("api/{version}") && kind.group.is_empty() =>
        {
            Some(3)
        }
        other if other == format!("{group_version}/{}", kind.plural) => Some(4),
        _ => None,
    }
}

impl Served {
    /// The kinds that the settings leave on.
    pub fn new(settings: &[(String, bool)]) -> Result<Self, StartError> {
        for (setting, _) in settings {
            let known = matches!(setting.as_str(), "api/all" | "api/ga" | "api/beta" | "api/alpha")
                || kinds::all().iter().any(|k| closeness(setting, k).is_some());
            if !known {
                let why = format!("unknown API {setting:?}: group/version or group/version/plural");
                return Err(StartError::Flag { flag: "runtime-config", why });
            }
        }
        let on = |kind: &&'static Kind| {
            settings
                .iter()
                .filter_map(|(setting, on)| Some((closeness(setting, kind)?, *on)))
                .max_by_key(|(closeness, _)| *closeness)
                .map_or(kind.default_served, |(_, on)| on)
        };
        let kinds: Vec<&'static Kind> = kinds::all().iter().filter(on).collect();
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
