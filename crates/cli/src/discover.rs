//! What the server serves: turns `po`, `deploy.apps`, `Service` into resources.
//!
//! Asks the server's aggregated discovery, so that every kind works. Not here: the built-in tables.

use api::{Resource, Value};
use client::Client;
use http::{Method, Request};

use crate::{Error, Result};

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// One served resource.
#[derive(Clone, Debug)]
pub struct Served {
    /// How to address it.
    pub resource: Resource,
    singular: String,
    short: Vec<String>,
    categories: Vec<String>,
    verbs: Vec<String>,
}

/// Everything that is served, in the server's order of preference.
#[derive(Debug)]
pub struct Discovery(Vec<Served>);

impl Discovery {
    /// Asks the server.
    pub async fn load(client: &Client) -> Result<Self> {
        let (core, groups) = tokio::try_join!(fetch(client, "/api"), fetch(client, "/apis"))?;
        let mut all = Vec::new();
        for document in [core, groups] {
            read(&document, &mut all);
        }
        Ok(Self(all))
    }

    /// The resource that a word on the command line means: `pods`, `po`, `pod`, `Pod`,
    /// `deployments.apps`, `deployments.v1.apps`.
    pub fn find(&self, word: &str) -> Result<&Resource> {
        let lower = word.to_lowercase();
        let (name, rest) = lower.split_once('.').unwrap_or((&lower, ""));
        let fits = |s: &&Served| {
            let named = *s.resource.plural == *name
                || s.singular == name
                || s.short.iter().any(|n| n == name)
                || s.resource.kind.to_lowercase() == name;
            let group = &*s.resource.group;
            named
                && (rest.is_empty()
                    || rest == group
                    || rest.strip_prefix(&*s.resource.version) == Some(&format!(".{group}")[..])
                    || (group.is_empty() && rest == s.resource.version))
        };
        let found = self.0.iter().find(fits);
        found.map(|s| &s.resource).ok_or_else(|| {
            Error::usage(format!("the server doesn't have a resource type \"{word}\""))
        })
    }

    /// The resources of a word that may also be a category (`all`).
    pub fn find_all(&self, word: &str) -> Result<Vec<&Resource>> {
        let category: Vec<&Resource> = self
            .0
            .iter()
            .filter(|s| {
                s.categories.iter().any(|c| c == word) && s.verbs.iter().any(|v| v == "list")
            })
            .map(|s| &s.resource)
            .collect();
        if category.is_empty() { Ok(vec![self.find(word)?]) } else { Ok(category) }
    }

    /// The resource of an object's `apiVersion` and `kind`.
    pub fn of_kind(&self, api_version: &str, kind: &str) -> Result<&Resource> {
        let fits = |s: &&Served| s.resource.kind == kind && s.resource.api_version() == api_version;
        self.0.iter().find(fits).map(|s| &s.resource).ok_or_else(|| {
            Error::usage(format!(
                "resource mapping not found for kind \"{kind}\" in version \"{api_version}\"\nensure CRDs are installed first"
            ))
        })
    }
}

async fn fetch(client: &Client, path: &str) -> Result<Value> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(path)
        .header(http::header::ACCEPT, AGGREGATED)
        .body(bytes::Bytes::new())
        .map_err(|e| Error::usage(e.to_string()))?;
    let bytes = client.request(request).await?.into_body().bytes().await?;
    serde_json::from_slice(&bytes)
        .map_err(|e| Error::usage(format!("cannot read the discovery document {path}: {e}")))
}

fn read(document: &Value, out: &mut Vec<Served>) {
    let text = |v: &Value, key: &str| v[key].as_str().unwrap_or("").to_owned();
    let texts = |v: &Value| -> Vec<String> {
        let list = v.as_array().into_iter().flatten();
        list.filter_map(|s| s.as_str().map(ToOwned::to_owned)).collect()
    };
    for group in document["items"].as_array().into_iter().flatten() {
        let group_name = text(&group["metadata"], "name");
        for version in group["versions"].as_array().into_iter().flatten() {
            for entry in version["resources"].as_array().into_iter().flatten() {
                out.push(Served {
                    resource: Resource {
                        group: group_name.clone().into(),
                        version: text(version, "version").into(),
                        plural: text(entry, "resource").into(),
                        kind: text(&entry["responseKind"], "kind").into(),
                        namespaced: entry["scope"] == "Namespaced",
                    },
                    singular: text(entry, "singularResource"),
                    short: texts(&entry["shortNames"]),
                    categories: texts(&entry["categories"]),
                    verbs: texts(&entry["verbs"]),
                });
            }
        }
    }
}
