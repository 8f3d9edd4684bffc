//! OpenAPI documents, made from the tables when they are asked for.
//!
//! Version 3 has a document a group and version; version 2 is one for all. Custom resources have
//! rows like any other, and bring their schemas. Not here: aggregated APIs, caching.

use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::docs::Docs;
use crate::kinds::{self, Kind};
use schemas::Schemas;
use write::{Part, Sink, Text, Writer};

mod operation;
mod parameter;
mod paths;
pub mod proto;
mod schemas;
mod write;

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
    /// Documents of version 2 of other servers, to be part of ours.
    pub more: &'a [Arc<Value>],
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

    /// A document of version 3 as JSON, by its path in the index (`apis/apps/v1`); `None` for others.
    pub fn v3(&self, path: &str) -> Option<String> {
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
        let mut text = Text::new(Form::V3, &json!({"openapi": "3.0.0", "info": info()}));
        let mut writer = Writer::new(Form::V3, &mut text);
        writer.paths(paths);
        writer.schemas(&self.schemas(Form::V3, &every));
        Some(text.end(&security()))
    }

    /// The document of version 2 as JSON.
    pub fn v2_json(&self) -> String {
        let mut text = Text::new(Form::V2, &v2_head());
        self.v2(&mut text);
        text.end(&Value::Null)
    }

    /// The document of version 2 in its protobuf form.
    pub fn v2_proto(&self) -> Vec<u8> {
        let mut bytes = proto::encode(&v2_head());
        // Of a message that comes in parts, the parts are joined: no need to hold the whole.
        self.v2(&mut |part: Part| {
            let section = match part {
                Part::Path(name, value) => json!({"paths": Map::from_iter([(name, value)])}),
                Part::Schema(name, value) => {
                    json!({"definitions": Map::from_iter([(name, value)])})
                }
            };
            bytes.extend(proto::encode(&section));
        });
        bytes
    }

    fn v2(&self, sink: &mut dyn Sink) {
        let mut writer = Writer::new(Form::V2, sink);
        let mut paths = Map::new();
        paths::core_versions(&mut paths, Form::V2);
        paths::groups(&mut paths, Form::V2);
        paths::version(&mut paths, Form::V2);
        paths::logs(&mut paths, Form::V2);
        paths::keys(&mut paths, Form::V2);
        paths::well_known(&mut paths, Form::V2);
        let mut last = "";
        for (group, version) in self.versions() {
            if group != last {
                paths::group(&mut paths, group, Form::V2);
                last = group;
            }
            let of = self.of(group, version);
            paths::group_version(&mut paths, group, version, &of, Form::V2);
            writer.paths(std::mem::take(&mut paths));
        }
        writer.paths(paths);
        self.more.iter().for_each(|document| writer.paths_of(document));
        writer.refer(&parameter::shared().into());
        let every = |kind: &'static str| {
            let known = kinds::all().iter().map(|k| (k.group, k.version)).chain(UNSERVED);
            schemas::gvk_list(known.map(|(group, version)| (group, version, kind)))
        };
        writer.schemas(&self.schemas(Form::V2, &every));
        self.more.iter().for_each(|document| writer.schemas_of(document));
    }

    fn schemas<'a>(&'a self, form: Form, every: &'a dyn Fn(&'static str) -> Value) -> Schemas<'a> {
        Schemas { form, docs: Docs::load(), every, other: self.schema }
    }
}

fn v2_head() -> Value {
    let mut head = json!({
        "swagger": "2.0", "info": info(), "securityDefinitions": security(),
        "security": [{"BearerToken": []}],
    });
    head["parameters"] = parameter::shared().into();
    head
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
