//! What other servers say of their versions: discovery and OpenAPI, read after each good check and
//! merged into ours.
//!
//! Not here: our own documents (`endpoints`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::discovery::{Group, Version};
use api::{ApiError, Value};
use bytes::Bytes;
use http::{Method, Request as HttpRequest, header};
use serde_json::{Map, json};

use super::{OWN_GROUP, Remote, proxy};
use crate::edge::respond::Reply;
use crate::server::{Request, Server};

/// The most that is read of a document.
const MOST: usize = 32 << 20;

/// What was read of a server last.
#[derive(Clone, Default)]
pub struct Fetched {
    /// The version, as aggregated discovery lists it.
    discovery: Option<Value>,
    /// Whether the last attempt to read it failed.
    stale: bool,
    /// OpenAPI documents of version 3: their paths, with the addresses that the server gives them.
    v3: BTreeMap<String, String>,
    /// The version's part of the server's document of version 2, with the tag of the whole.
    v2: Option<(Arc<Value>, String)>,
}

/// Reads everything anew. What cannot be read stays as it was.
pub async fn fetch(server: &Server, remote: &Remote) {
    let mut known = Fetched::clone(&remote.documents.load());
    match discovery(server, remote).await {
        Some(version) => (known.discovery, known.stale) = (Some(version), false),
        None => known.stale = true,
    }
    if let Some((index, _)) = get(server, remote, "/openapi/v3", "application/json").await {
        let own = remote.path();
        known.v3 = index["paths"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(path, _)| format!("/{path}") == own)
            .filter_map(|(path, entry)| {
                Some((path.clone(), entry["serverRelativeURL"].as_str()?.to_owned()))
            })
            .collect();
    }
    if let Some((document, tag)) = get(server, remote, "/openapi/v2", "application/json").await {
        known.v2 = Some((Arc::new(part(document, &format!("{}/", remote.path()))), tag));
    }
    remote.documents.store(Arc::new(known));
    server.aggregator.change();
}

/// A server that does not answer: what is known of it may no longer be so.
pub fn lost(server: &Server, remote: &Remote) {
    let mut known = Fetched::clone(&remote.documents.load());
    known.stale = true;
    remote.documents.store(Arc::new(known));
    server.aggregator.change();
}

/// A JSON document of a server, with its tag.
async fn get(
    server: &Server,
    remote: &Remote,
    path: &str,
    accept: &str,
) -> Option<(Value, String)> {
    use futures_util::StreamExt;
    let request = HttpRequest::builder().method(Method::GET).uri(path);
    let request = proxy::as_aggregator(request).header(header::ACCEPT, accept);
    let response = remote.client(server).ok()?.send(request.body(Bytes::new()).ok()?).await.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let tag = tag.unwrap_or("").to_owned();
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(chunk) = body.next().await {
        text.extend_from_slice(&chunk.ok()?);
        if text.len() > MOST {
            return None;
        }
    }
    Some((serde_json::from_slice(&text).ok()?, tag))
}

/// The aggregated form, or the old one in its place.
const DISCOVERY: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                         application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
                         application/json";

/// The version as aggregated discovery lists it.
async fn discovery(server: &Server, remote: &Remote) -> Option<Value> {
    if let Some((all, _)) = get(server, remote, "/apis", DISCOVERY).await
        && all["kind"] == "APIGroupDiscoveryList"
    {
        let groups = all["items"].as_array()?;
        let group = groups.iter().find(|group| group["metadata"]["name"] == *remote.group)?;
        let versions = group["versions"].as_array()?;
        return versions.iter().find(|v| v["version"] == *remote.version).cloned();
    }
    let (list, _) = get(server, remote, &remote.path(), "application/json").await?;
    Some(modern(remote, &list))
}

/// The old form of a version's discovery in the aggregated one.
fn modern(remote: &Remote, list: &Value) -> Value {
    let mut resources: Vec<Value> = Vec::new();
    let all = list["resources"].as_array();
    for resource in all.into_iter().flatten() {
        let name = resource["name"].as_str().unwrap_or("");
        let or = |key: &str, ours: &str| match resource[key].as_str() {
            None | Some("") => Value::from(ours),
            Some(text) => text.into(),
        };
        let kind = json!({
            "group": or("group", &remote.group), "version": or("version", &remote.version),
            "kind": resource["kind"],
        });
        if let Some((plural, sub)) = name.split_once('/') {
            let Some(of) = resources.iter_mut().find(|r| r["resource"] == plural) else { continue };
            let sub = json!({"subresource": sub, "responseKind": kind, "verbs": resource["verbs"]});
            match of["subresources"].as_array_mut() {
                Some(subs) => subs.push(sub),
                None => of["subresources"] = json!([sub]),
            }
            continue;
        }
        let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut modern = json!({
            "resource": name, "responseKind": kind, "scope": scope,
            "singularResource": or("singularName", ""), "verbs": resource["verbs"],
        });
        for key in ["shortNames", "categories"] {
            if resource[key].is_array() {
                modern[key] = resource[key].clone();
            }
        }
        resources.push(modern);
    }
    json!({"version": remote.version, "resources": resources, "freshness": "Current"})
}

/// Puts the versions of other servers among ours, by their priorities.
pub fn merge(server: &Server, mut groups: Vec<Group>) -> Vec<Group> {
    let table = server.aggregator.table.load();
    if table.remotes.is_empty() {
        return groups;
    }
    let mut remotes: Vec<&(String, String)> = table.remotes.keys().collect();
    remotes.sort();
    for (group, version) in remotes {
        let at = groups.iter().position(|g| g.name == *group).unwrap_or_else(|| {
            groups.push(Group { name: group.clone(), versions: Vec::new() });
            groups.len() - 1
        });
        let versions = &mut groups[at].versions;
        if !versions.iter().any(|v| v.version == *version) {
            let (version, resources) = (version.clone(), Vec::new());
            versions.push(Version { version, resources, stale: false });
        }
    }
    let priority = |group: &str, version: &str| {
        table.priorities.get(&(group.to_owned(), version.to_owned())).copied().unwrap_or_default()
    };
    for group in &mut groups {
        let name = &group.name;
        group.versions.sort_by_key(|v| std::cmp::Reverse(priority(name, &v.version).1));
    }
    groups.sort_by_cached_key(|group| {
        let of_group = group.versions.iter().map(|v| priority(&group.name, &v.version).0).max();
        // Our own group is always first.
        let rank = if group.name == OWN_GROUP { i64::MAX } else { of_group.unwrap_or(0) };
        (!group.name.is_empty(), std::cmp::Reverse(rank), group.name.clone())
    });
    groups
}

/// Puts what other servers say of their versions into the aggregated form of discovery.
pub fn complete(server: &Server, document: &mut Value) {
    let table = server.aggregator.table.load();
    if table.remotes.is_empty() {
        return;
    }
    for group in document["items"].as_array_mut().into_iter().flatten() {
        let name = group["metadata"]["name"].as_str().unwrap_or("").to_owned();
        for version in group["versions"].as_array_mut().into_iter().flatten() {
            let key = (name.clone(), version["version"].as_str().unwrap_or("").to_owned());
            let Some(entry) = table.remotes.get(&key) else { continue };
            let known = entry.remote.documents.load();
            let mut said = known
                .discovery
                .clone()
                .unwrap_or_else(|| json!({"version": key.1, "freshness": "Stale"}));
            if known.stale {
                said["freshness"] = "Stale".into();
            }
            *version = said;
        }
    }
}

/// Puts other servers' documents into the index of OpenAPI documents of version 3.
pub fn index(server: &Server, index: &mut Value) {
    for entry in server.aggregator.remotes() {
        for (path, url) in &entry.remote.documents.load().v3 {
            index["paths"][path] = json!({"serverRelativeURL": url});
        }
    }
}

/// Other servers' parts of the OpenAPI document of version 2, with what they depend on.
pub fn versions_2(server: &Server) -> (Vec<Arc<Value>>, String) {
    let mut remotes = server.aggregator.remotes();
    remotes.sort_by(|a, b| a.remote.name.cmp(&b.remote.name));
    let known = remotes.iter().filter_map(|entry| {
        let (part, tag) = entry.remote.documents.load().v2.clone()?;
        Some((part, format!("{} {tag}\n", entry.remote.name)))
    });
    known.unzip()
}

/// What an index of other servers' documents depends on.
pub fn index_revision(server: &Server) -> String {
    let mut lines: Vec<String> = Vec::new();
    for entry in server.aggregator.remotes() {
        lines.extend(
            entry.remote.documents.load().v3.iter().map(|(path, url)| format!("{path} {url}\n")),
        );
    }
    lines.sort();
    lines.concat()
}

/// An OpenAPI document of version 3 that another server has.
pub async fn serve_document(
    server: &Arc<Server>,
    request: Request,
) -> Result<Result<Reply, ApiError>, Request> {
    let Some(path) = request.info.path.strip_prefix("/openapi/v3") else { return Err(request) };
    // The documents of versions are under the paths of the versions.
    let Some((remote, available)) = server.aggregator.find(path) else { return Err(request) };
    Ok(proxy::serve(server, request, &remote, available).await)
}

/// The paths of a document that begin in a way, and the definitions that they need.
fn part(mut document: Value, prefix: &str) -> Value {
    let mut paths = Map::new();
    if let Some(Value::Object(all)) = document.get_mut("paths").map(Value::take) {
        paths.extend(all.into_iter().filter(|(path, _)| path.starts_with(prefix)));
    }
    let shared = document.get_mut("parameters").map(Value::take).unwrap_or_default();
    // Our document has parameters of its own: theirs go where they are used.
    let mut paths = Value::Object(paths);
    in_place(&mut paths, &shared);
    let mut all = document.get_mut("definitions").map(Value::take).unwrap_or_default();
    let (mut wanted, mut definitions) = (BTreeSet::new(), Map::new());
    references(&paths, &mut wanted);
    while let Some(name) = wanted.pop_first() {
        let Some(definition) = all.get_mut(&name).map(Value::take) else { continue };
        if !definition.is_null() {
            references(&definition, &mut wanted);
            definitions.insert(name, definition);
        }
    }
    json!({"paths": paths, "definitions": definitions})
}

fn in_place(value: &mut Value, shared: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| in_place(item, shared)),
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            let found = name.and_then(|name| shared.get(name.strip_prefix("#/parameters/")?));
            match found {
                Some(parameter) => *value = parameter.clone(),
                None => map.values_mut().for_each(|value| in_place(value, shared)),
            }
        }
        _ => {}
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix("#/definitions/")) {
                    Some(name) if key == "$ref" => {
                        found.insert(name.to_owned());
                    }
                    _ => references(value, found),
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_version() {
        let document = json!({
            "paths": {
                "/apis/a/v1/x": {"get": {"schema": {"$ref": "#/definitions/X"},
                    "parameters": [{"$ref": "#/parameters/p-1"}]}},
                "/apis/b/v1/y": {"get": {"schema": {"$ref": "#/definitions/Y"}}},
            },
            "parameters": {"p-1": {"name": "p", "in": "query"}},
            "definitions": {
                "X": {"properties": {"z": {"$ref": "#/definitions/Z"}}},
                "Y": {}, "Z": {"properties": {"x": {"$ref": "#/definitions/X"}}},
            },
        });
        let part = part(document, "/apis/a/v1/");
        assert_eq!(part["paths"].as_object().unwrap().len(), 1);
        let parameters = &part["paths"]["/apis/a/v1/x"]["get"]["parameters"];
        assert_eq!(parameters, &json!([{"name": "p", "in": "query"}]));
        let names: Vec<&String> = part["definitions"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["X", "Z"]);
    }
}
