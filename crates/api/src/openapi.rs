//! OpenAPI documents, made from the tables when they are asked for.
//!
//! Version 3 has a document a group and version; version 2 is one for all. Custom resources have
//! rows like any other, and bring their schemas. Not here: aggregated APIs, caching.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::docs::Docs;
use crate::kinds::{self, Kind};
use schemas::Schemas;

mod operation;
mod parameter;
mod paths;
pub mod proto;
mod schemas;

/// The form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Swagger 2.0: one document for all.
    V2,
    /// OpenAPI 3.0: a document a group and version.
    V3,
}

/// Versions that are known, but served no more or never; they too have options and watch events.
const UNSERVED: [(&str, &str); 24] = [
    ("admission.k8s.io", "v1"),
    ("admission.k8s.io", "v1beta1"),
    ("apiextensions.k8s.io", "v1beta1"),
    ("apiregistration.k8s.io", "v1beta1"),
    ("apps", "v1beta1"),
    ("apps", "v1beta2"),
    ("authentication.k8s.io", "v1alpha1"),
    ("authentication.k8s.io", "v1beta1"),
    ("authorization.k8s.io", "v1beta1"),
    ("batch", "v1beta1"),
    ("discovery.k8s.io", "v1beta1"),
    ("events.k8s.io", "v1beta1"),
    ("extensions", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3"),
    ("imagepolicy.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1alpha1"),
    ("node.k8s.io", "v1beta1"),
    ("policy", "v1beta1"),
    ("rbac.authorization.k8s.io", "v1alpha1"),
    ("rbac.authorization.k8s.io", "v1beta1"),
    ("scheduling.k8s.io", "v1beta1"),
    ("storage.k8s.io", "v1alpha1"),
];

/// What documents are made of.
pub struct Documents<'a> {
    /// The served resources, in the order of discovery; custom ones too.
    pub kinds: &'a [&'a Kind],
    /// The schemas of types that the schema table does not have.
    pub schema: &'a dyn Fn(&str, Form) -> Option<Value>,
    /// What such schemas of a group and version depend on, for hashes.
    pub revision: &'a dyn Fn(&str, &str) -> String,
}

/// Documents that every server has.
const FIXED: [&str; 6] =
    [".well-known/openid-configuration", "api", "apis", "logs", "openid/v1/jwks", "version"];

/// What every document depends on: this program.
static BASE: LazyLock<Sha256> = LazyLock::new(|| {
    let mut sum = Sha256::new();
    for part in [
        env!("CARGO_PKG_VERSION").as_bytes(),
        include_bytes!("../tables/schema.txt"),
        include_bytes!("../tables/kinds.txt"),
        crate::docs::blob(),
    ] {
        sum.update(part);
    }
    sum
});

impl Documents<'_> {
    /// The paths of all documents of version 3.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = FIXED.map(str::to_owned).to_vec();
        for (group, version) in self.versions() {
            let of_group = format!("apis/{group}");
            if !group.is_empty() && !paths.contains(&of_group) {
                paths.push(of_group);
            }
            paths.push(document_path(group, version));
        }
        paths
    }

    /// Groups with their versions, in order.
    fn versions(&self) -> Vec<(&str, &str)> {
        let mut versions: Vec<(&str, &str)> = Vec::new();
        for kind in self.kinds {
            if !versions.contains(&(kind.group, kind.version)) {
                versions.push((kind.group, kind.version));
            }
        }
        versions
    }

    fn of(&self, group: &str, version: &str) -> Vec<&Kind> {
        let mut kinds = self.kinds.to_vec();
        kinds.retain(|kind| (kind.group, kind.version) == (group, version));
        kinds
    }

    /// `/openapi/v3`: where each document is, with a hash by which clients cache it.
    pub fn index(&self) -> Value {
        let mut paths = Map::new();
        for path in self.paths() {
            let url = format!("/openapi/v3/{path}?hash={}", self.hash(&path));
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
        json!({"paths": paths})
    }

    /// The hash of a document of version 3, without making it.
    pub fn hash(&self, path: &str) -> String {
        let of = version_of(path);
        self.sum(path, |group, version| of == Some((group, version)))
    }

    /// The hash of what all versions have a part in; `form` tells such documents apart.
    pub fn hash_of_all(&self, form: &str) -> String {
        self.sum(form, |_, _| true)
    }

    fn sum(&self, name: &str, counts: impl Fn(&str, &str) -> bool) -> String {
        let mut sum = BASE.clone();
        sum.update(name);
        for (group, version) in self.versions() {
            if !counts(group, version) {
                continue;
            }
            for kind in self.of(group, version) {
                sum.update(format!("\n{group}/{version}/{}", kind.plural));
            }
            sum.update((self.revision)(group, version));
        }
        sum.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// A document of version 3, by its path in the index (`apis/apps/v1`); `None` for other paths.
    pub fn v3(&self, path: &str) -> Option<Value> {
        let mut paths = Map::new();
        let version = version_of(path);
        match path {
            "api" => paths::core_versions(&mut paths, Form::V3),
            "apis" => paths::groups(&mut paths, Form::V3),
            "version" => paths::version(&mut paths, Form::V3),
            "logs" => paths::logs(&mut paths, Form::V3),
            ".well-known/openid-configuration" => paths::well_known(&mut paths, Form::V3),
            "openid/v1/jwks" => paths::keys(&mut paths, Form::V3),
            _ => match version {
                Some((group, version)) => {
                    let of = self.of(group, version);
                    if of.is_empty() {
                        return None;
                    }
                    paths::group_version(&mut paths, group, version, &of, Form::V3);
                }
                None => {
                    let group = path.strip_prefix("apis/")?;
                    self.kinds.iter().find(|kind| kind.group == group)?;
                    paths::group(&mut paths, group, Form::V3);
                }
            },
        }
        let every = |kind: &'static str| {
            let mut of = vec![("", "v1")];
            of.extend(version.filter(|v| *v != ("", "v1")));
            schemas::gvk_list(of.into_iter().map(|(group, version)| (group, version, kind)))
        };
        let schemas = self.schemas(&Value::Object(paths.clone()), Form::V3, &every);
        let mut components = Map::new();
        if !schemas.is_empty() {
            components.insert("schemas".into(), schemas.into());
        }
        components.insert("securitySchemes".into(), security());
        Some(json!({
            "openapi": "3.0.0", "info": info(), "paths": paths, "components": components,
        }))
    }

    /// The document of version 2.
    pub fn v2(&self) -> Value {
        let mut paths = Map::new();
        paths::core_versions(&mut paths, Form::V2);
        paths::groups(&mut paths, Form::V2);
        paths::version(&mut paths, Form::V2);
        paths::logs(&mut paths, Form::V2);
        paths::keys(&mut paths, Form::V2);
        paths::well_known(&mut paths, Form::V2);
        for (group, version) in self.versions() {
            if !group.is_empty() && !paths.contains_key(&paths::group_path(group)) {
                paths::group(&mut paths, group, Form::V2);
            }
            let of = self.of(group, version);
            paths::group_version(&mut paths, group, version, &of, Form::V2);
        }
        let parameters = parameter::shared();
        let every = |kind: &'static str| {
            let known = kinds::all().iter().map(|k| (k.group, k.version)).chain(UNSERVED);
            schemas::gvk_list(known.map(|(group, version)| (group, version, kind)))
        };
        let roots = json!([paths, parameters]);
        let definitions = self.schemas(&roots, Form::V2, &every);
        json!({
            "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions,
            "parameters": parameters, "securityDefinitions": security(),
            "security": [{"BearerToken": []}],
        })
    }

    fn schemas(
        &self,
        roots: &Value,
        form: Form,
        every: &dyn Fn(&'static str) -> Value,
    ) -> Map<String, Value> {
        let docs = Docs::load();
        schemas::closure(roots, &Schemas { form, docs, every, other: self.schema })
    }
}

/// Where the document of a version is, under `/openapi/v3/`.
fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The group and version whose document is at a path.
fn version_of(path: &str) -> Option<(&str, &str)> {
    match path.split_once('/')? {
        ("api", version) => Some(("", version)),
        ("apis", rest) => rest.split_once('/'),
        _ => None,
    }
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "unversioned"})
}

fn security() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication", "in": "header", "name": "authorization",
        "type": "apiKey",
    }})
}
