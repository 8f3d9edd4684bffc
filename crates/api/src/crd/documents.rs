//! Custom resources in discovery documents.
//!
//! Not here: the documents' forms (`crate::discovery`), OpenAPI (`openapi`).

use std::collections::BTreeMap;

use super::definition::{Definition, by_priority};
use crate::discovery::{Group, Resource, Subresource, Version};

/// In the order that upstream lists them.
const VERBS: [&str; 8] =
    ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// What is left of them when the definition goes away.
const LAST_VERBS: [&str; 5] = ["delete", "deletecollection", "get", "list", "watch"];

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The groups of the definitions, by name; versions by preference.
pub fn groups<'a>(definitions: impl Iterator<Item = &'a Definition>) -> Vec<Group> {
    let mut groups: BTreeMap<&str, Vec<Version>> = BTreeMap::new();
    for definition in definitions.filter(|d| d.established) {
        let versions = groups.entry(&definition.group).or_default();
        for (at, version) in definition.versions.iter().enumerate().filter(|(_, v)| v.served) {
            let resource = resource(definition, at);
            match versions.iter_mut().find(|v| v.version == version.name) {
                Some(known) => known.resources.push(resource),
                None => versions.push(Version {
                    version: version.name.clone(),
                    resources: vec![resource],
                    stale: false,
                }),
            }
        }
    }
    groups
        .into_iter()
        .filter(|(_, versions)| !versions.is_empty())
        .map(|(name, mut versions)| {
            versions.sort_by(|a, b| by_priority(&a.version, &b.version));
            for version in &mut versions {
                version.resources.sort_by(|a, b| a.plural.cmp(&b.plural));
            }
            Group { name: name.to_owned(), versions }
        })
        .collect()
}

fn resource(definition: &Definition, at: usize) -> Resource {
    let version = &definition.versions[at];
    let part = |name: &str, kind: &str, foreign| Subresource {
        name: name.to_owned(),
        kind: kind.to_owned(),
        foreign,
        verbs: texts(&["get", "patch", "update"]),
    };
    let mut subresources = Vec::new();
    if version.status {
        subresources.push(part("status", &definition.kind, None));
    }
    if version.scale.is_some() {
        let scale = ("autoscaling".to_owned(), "v1".to_owned());
        subresources.push(part("scale", "Scale", Some(scale)));
    }
    Resource {
        plural: definition.plural.clone(),
        singular: definition.singular.clone(),
        kind: definition.kind.clone(),
        namespaced: definition.namespaced,
        verbs: texts(if definition.terminating { &LAST_VERBS } else { &VERBS }),
        short_names: definition.short_names.clone(),
        categories: definition.categories.clone(),
        storage_hash: version.kind.storage_hash.to_owned(),
        subresources,
    }
}
