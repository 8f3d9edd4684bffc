//! Discovery documents: what is served, in the old form (`/api`, `/apis`, a list a version) and the
//! aggregated one, both out of one model.
//!
//! The model of the built-in kinds comes from the kind table; the server adds custom resources and
//! aggregated APIs to it. Not here: which form a client asked for.

use serde_json::{Map, Value, json};

use crate::kinds::{self, Kind};

/// A group with its served versions, the preferred one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Empty for the core group.
    pub name: String,
    /// By preference.
    pub versions: Vec<Version>,
}

/// A version of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As in `v1`.
    pub version: String,
    /// By plural.
    pub resources: Vec<Resource>,
    /// Whether its server could not be asked lately (aggregated APIs).
    pub stale: bool,
}

/// A resource as discovery shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// As in `pods`.
    pub plural: String,
    /// As in `pod`.
    pub singular: String,
    /// As in `Pod`.
    pub kind: String,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// In alphabetical order.
    pub verbs: Vec<String>,
    /// As in `po`.
    pub short_names: Vec<String>,
    /// As in `all`.
    pub categories: Vec<String>,
    /// Of the stored version; see [`storage_hash`]. Empty for what is not stored.
    pub storage_hash: String,
    /// By name.
    pub subresources: Vec<Subresource>,
}

/// A subresource as discovery shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subresource {
    /// As in `status`.
    pub name: String,
    /// The kind of its body.
    pub kind: String,
    /// Group and version of that kind, where they are not the resource's own.
    pub foreign: Option<(String, String)>,
    /// In alphabetical order.
    pub verbs: Vec<String>,
}

impl Group {
    /// A group of which the versions alone are known.
    pub fn bare(name: &str, versions: impl Iterator<Item = String>) -> Self {
        let version = |version| Version { version, resources: Vec::new(), stale: false };
        Self { name: name.to_owned(), versions: versions.map(version).collect() }
    }
}

/// The served built-in groups, the core group first.
pub fn builtin(serves: impl Fn(&Kind) -> bool) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for kind in kinds::all().iter().filter(|kind| serves(kind)) {
        if groups.last().is_none_or(|g| g.name != kind.group) {
            groups.push(Group { name: kind.group.into(), versions: Vec::new() });
        }
        let Some(group) = groups.last_mut() else { continue };
        if group.versions.last().is_none_or(|v| v.version != kind.version) {
            group.versions.push(Version {
                version: kind.version.into(),
                resources: Vec::new(),
                stale: false,
            });
        }
        if let Some(version) = group.versions.last_mut() {
            version.resources.push(Resource::of(kind));
        }
    }
    groups
}

/// The hash of a stored version, as `storageVersionHash` shows it.
pub fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let sum = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&sum[..8])
}

fn texts<'a>(list: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    list.into_iter().map(str::to_owned).collect()
}

impl Resource {
    /// A built-in kind's entry.
    pub fn of(kind: &Kind) -> Self {
        Self {
            plural: kind.plural.into(),
            singular: kind.singular.into(),
            kind: kind.kind.into(),
            namespaced: kind.namespaced,
            verbs: texts(kind.verbs.names()),
            short_names: texts(kind.short_names.iter().copied()),
            categories: texts(kind.categories.iter().copied()),
            storage_hash: kind.storage_hash.into(),
            subresources: kind
                .subresources
                .iter()
                .map(|sub| Subresource {
                    name: sub.name.into(),
                    kind: sub.kind.into(),
                    foreign: sub.foreign.then(|| (sub.group.into(), sub.version.into())),
                    verbs: texts(sub.verbs.names()),
                })
                .collect(),
        }
    }

    fn scope(&self) -> &'static str {
        if self.namespaced { "Namespaced" } else { "Cluster" }
    }
}

fn put_list(map: &mut Map<String, Value>, key: &str, list: &[String]) {
    if !list.is_empty() {
        map.insert(key.into(), list.into());
    }
}

fn response_kind(kind: &str, foreign: Option<&(String, String)>) -> Value {
    let (group, version) = foreign.map_or(("", ""), |(g, v)| (g.as_str(), v.as_str()));
    json!({"group": group, "version": version, "kind": kind})
}

/// `APIGroupDiscoveryList` (`apidiscovery.k8s.io/v2`) of the groups: `/api` with the core group,
/// `/apis` with the others.
pub fn aggregated(groups: &[Group]) -> Value {
    let items: Vec<Value> = groups.iter().map(aggregated_group).collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
}

/// One item of the aggregated form.
pub fn aggregated_group(group: &Group) -> Value {
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    let versions: Vec<Value> = group.versions.iter().map(aggregated_version).collect();
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_version(version: &Version) -> Value {
    let resources: Vec<Value> = version
        .resources
        .iter()
        .map(|resource| {
            let mut map = Map::new();
            map.insert("resource".into(), resource.plural.as_str().into());
            map.insert("responseKind".into(), response_kind(&resource.kind, None));
            map.insert("scope".into(), resource.scope().into());
            map.insert("singularResource".into(), resource.singular.as_str().into());
            map.insert("verbs".into(), resource.verbs.as_slice().into());
            put_list(&mut map, "shortNames", &resource.short_names);
            put_list(&mut map, "categories", &resource.categories);
            let subresources: Vec<Value> = resource
                .subresources
                .iter()
                .map(|sub| {
                    json!({
                        "subresource": sub.name,
                        "responseKind": response_kind(&sub.kind, sub.foreign.as_ref()),
                        "verbs": sub.verbs,
                    })
                })
                .collect();
            if !subresources.is_empty() {
                map.insert("subresources".into(), subresources.into());
            }
            Value::Object(map)
        })
        .collect();
    let freshness = if version.stale { "Stale" } else { "Current" };
    json!({"version": version.version, "resources": resources, "freshness": freshness})
}

/// `APIVersions`: `/api`. The address is where clients of that network reach the server.
pub fn api_versions(groups: &[Group], server_address: &str) -> Value {
    let core = groups.iter().filter(|g| g.name.is_empty()).flat_map(|g| &g.versions);
    let versions: Vec<&str> = core.map(|v| v.version.as_str()).collect();
    json!({
        "kind": "APIVersions", "versions": versions,
        "serverAddressByClientCIDRs":
            [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

fn group_fields(group: &Group) -> Map<String, Value> {
    let of = |v: &Version| json!({"groupVersion": format!("{}/{}", group.name, v.version), "version": v.version});
    let versions: Vec<Value> = group.versions.iter().map(of).collect();
    let mut map = Map::new();
    map.insert("name".into(), group.name.as_str().into());
    map.insert("preferredVersion".into(), versions.first().cloned().unwrap_or_default());
    map.insert("versions".into(), versions.into());
    map
}

/// `APIGroupList`: `/apis`.
pub fn group_list(groups: &[Group]) -> Value {
    let named = groups.iter().filter(|g| !g.name.is_empty());
    let groups: Vec<Value> = named.map(|g| group_fields(g).into()).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `APIGroup`: `/apis/<group>`.
pub fn group(group: &Group) -> Value {
    let mut map = group_fields(group);
    map.insert("kind".into(), "APIGroup".into());
    map.insert("apiVersion".into(), "v1".into());
    map.into()
}

/// `APIResourceList`: `/api/v1`, `/apis/<group>/<version>`.
pub fn resource_list(group: &str, version: &Version) -> Value {
    let mut resources = Vec::new();
    for resource in &version.resources {
        let mut map = Map::new();
        map.insert("name".into(), resource.plural.as_str().into());
        map.insert("singularName".into(), resource.singular.as_str().into());
        map.insert("namespaced".into(), resource.namespaced.into());
        map.insert("kind".into(), resource.kind.as_str().into());
        map.insert("verbs".into(), resource.verbs.as_slice().into());
        put_list(&mut map, "shortNames", &resource.short_names);
        put_list(&mut map, "categories", &resource.categories);
        if !resource.storage_hash.is_empty() {
            map.insert("storageVersionHash".into(), resource.storage_hash.as_str().into());
        }
        resources.push(Value::Object(map));
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some((group, version)) = &sub.foreign {
                entry["group"] = group.as_str().into();
                entry["version"] = version.as_str().into();
            }
            resources.push(entry);
        }
    }
    // The core group's list is older than its own apiVersion field, and still goes without.
    if group.is_empty() {
        json!({"kind": "APIResourceList", "groupVersion": version.version, "resources": resources})
    } else {
        json!({
            "kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": format!("{group}/{}", version.version), "resources": resources,
        })
    }
}
