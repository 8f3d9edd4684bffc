//! Which resources the server has, built-in and custom, in their preferred versions.
//!
//! Not here: the table of built-in kinds (`api::kinds`), which serves where discovery does not.

use std::borrow::Cow;
use std::collections::HashSet;

use api::{ApiError, Resource, kinds};
use bytes::Bytes;
use client::{Client, Error};
use http::{Request, StatusCode, header};
use serde::Deserialize;

/// A resource with its verbs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub resource: Resource,
    pub verbs: Vec<String>,
}

impl Served {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Group {
    metadata: crate::meta::Meta,
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Version {
    version: String,
    resources: Vec<Listed>,
    freshness: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Listed {
    resource: String,
    scope: String,
    verbs: Vec<String>,
    response_kind: ResponseKind,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseKind {
    kind: String,
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The tags of the documents that were read last.
#[derive(Debug, Default)]
pub struct Tags([String; 2]);

const PATHS: [&str; 2] = ["/api", "/apis"];

/// What the server has, each resource once; a group whose server does not answer is an error.
pub async fn served(client: &Client) -> Result<Vec<Served>, Error> {
    Ok(changed(client, &mut Tags::default()).await?.unwrap_or_default())
}

/// The same; `None` where nothing changed since.
pub async fn changed(client: &Client, known: &mut Tags) -> Result<Option<Vec<Served>>, Error> {
    let mut documents = [None, None];
    for (at, path) in PATHS.into_iter().enumerate() {
        documents[at] = document(client, path, &known.0[at]).await?;
    }
    if documents.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut all = Found::default();
    let mut tags = Tags::default();
    for (at, path) in PATHS.into_iter().enumerate() {
        let read = match documents[at].take() {
            Some(read) => Some(read),
            None => document(client, path, "").await?,
        };
        let Some((body, tag)) = read else { continue };
        let groups: Groups =
            serde_json::from_slice(&body).map_err(|e| Error::decode("discovery", e))?;
        all.add(groups)?;
        tags.0[at] = tag;
    }
    *known = tags;
    Ok(Some(all.served))
}

/// A document with its tag; `None` where it has the known one.
async fn document(
    client: &Client,
    path: &str,
    known: &str,
) -> Result<Option<(Bytes, String)>, Error> {
    let mut request = Request::get(path).header(header::ACCEPT, AGGREGATED);
    if !known.is_empty() {
        request = request.header(header::IF_NONE_MATCH, known);
    }
    let request = request.body(Bytes::new()).map_err(|e| Error::Config(e.to_string()))?;
    let response = client.send(request).await?;
    let status = response.status();
    if status == StatusCode::NOT_MODIFIED {
        return Ok(None);
    }
    let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let tag = tag.unwrap_or("").to_owned();
    let body = response.into_body().bytes().await?;
    if !status.is_success() {
        return Err(ApiError::from_response(status.as_u16(), &body).into());
    }
    Ok(Some((body, tag)))
}

/// What was read so far.
#[derive(Default)]
struct Found {
    served: Vec<Served>,
    known: HashSet<(String, String)>,
}

impl Found {
    fn add(&mut self, groups: Groups) -> Result<(), Error> {
        for group in groups.items {
            let name = group.metadata.name;
            // Versions come in order of preference.
            for version in group.versions {
                if version.freshness == "Stale" {
                    let what = format!("discovery of {name}/{}", version.version);
                    return Err(Error::transport(what, "its server does not answer"));
                }
                for listed in version.resources {
                    if self.known.insert((name.clone(), listed.resource.clone())) {
                        self.served.push(listed.served(&name, &version.version));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Listed {
    fn served(self, group: &str, version: &str) -> Served {
        let resource = Resource {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            plural: Cow::Owned(self.resource),
            kind: Cow::Owned(self.response_kind.kind),
            namespaced: self.scope == "Namespaced",
        };
        Served { resource, verbs: self.verbs }
    }
}

/// The built-in kinds that are served by default, for where discovery is not to be had.
pub fn built_in() -> Vec<Served> {
    let mut all: Vec<Served> = Vec::new();
    for kind in kinds::all().iter().filter(|k| k.default_served) {
        let known =
            all.iter().any(|s| s.resource.group == kind.group && s.resource.plural == kind.plural);
        if !known {
            let verbs = kind.verbs.names().map(str::to_owned).collect();
            all.push(Served { resource: kind.resource(), verbs });
        }
    }
    all
}
