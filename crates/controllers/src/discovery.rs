//! Which resources the server has, built-in and custom, in their preferred versions.
//!
//! Not here: the table of built-in kinds (`api::kinds`), which serves where discovery does not.

use std::borrow::Cow;

use api::{Resource, kinds};
use bytes::Bytes;
use client::{Client, Error};
use http::{Request, header};
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

/// What the server has, each resource once; a group whose server does not answer is an error.
pub async fn served(client: &Client) -> Result<Vec<Served>, Error> {
    let mut all: Vec<Served> = Vec::new();
    for path in ["/api", "/apis"] {
        let request = Request::get(path)
            .header(header::ACCEPT, AGGREGATED)
            .body(Bytes::new())
            .map_err(|e| Error::Config(e.to_string()))?;
        let body = client.request(request).await?.into_body().bytes().await?;
        let groups: Groups =
            serde_json::from_slice(&body).map_err(|e| Error::decode("discovery", e))?;
        for group in groups.items {
            // Versions come in order of preference.
            for version in group.versions {
                if version.freshness == "Stale" {
                    let what = format!("discovery of {}/{}", group.metadata.name, version.version);
                    return Err(Error::transport(what, "its server does not answer"));
                }
                for listed in version.resources {
                    add(&mut all, &group.metadata.name, &version.version, listed);
                }
            }
        }
    }
    Ok(all)
}

fn add(all: &mut Vec<Served>, group: &str, version: &str, listed: Listed) {
    let known =
        all.iter().any(|s| s.resource.group == group && s.resource.plural == listed.resource);
    if known {
        return;
    }
    let resource = Resource {
        group: Cow::Owned(group.to_owned()),
        version: Cow::Owned(version.to_owned()),
        plural: Cow::Owned(listed.resource),
        kind: Cow::Owned(listed.response_kind.kind),
        namespaced: listed.scope == "Namespaced",
    };
    all.push(Served { resource, verbs: listed.verbs });
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
