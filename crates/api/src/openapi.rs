//! OpenAPI documents, made from the tables when they are asked for.
//!
//! Version 3 has a document a group and version; version 2 is one for all. Custom resources have
//! rows like any other, and bring their schemas. Not here: aggregated APIs, caching.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::docs::Docs;
use crate::kinds::{self, Kind};
use schemas::Schemas;
use write::{Part, Sink, Text, Writer};

mod custom;
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
    /// Groups with their versions and the served resources, in the order of discovery.
    versions: Vec<(&'a str, &'a str, Vec<&'a Kind>)>,
    /// Where each of them is.
    places: HashMap<(&'a str, &'a str), usize>,
    /// The names of custom types: which kind, and whether its lists.
    custom: HashMap<String, (&'a Kind, bool)>,
    given: Given<'a>,
}

/// What documents need besides the tables.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The schema of a custom resource, as its definition has it.
    pub schema: &'a dyn Fn(&Kind) -> Option<Value>,
    /// What the custom resources of a group and version depend on, for hashes.
    pub revision: &'a dyn Fn(&str, &str) -> String,
    /// Documents of version 2 of other servers, to be part of ours.
    pub more: &'a [Arc<Value>],
}

impl Given<'_> {
    /// Nothing.
    pub const NONE: Given<'static> =
        Given { schema: &|_| None, revision: &|_, _| String::new(), more: &[] };
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

impl<'a> Documents<'a> {
    /// Documents of these resources, in the order of discovery.
    pub fn new(kinds: impl IntoIterator<Item = &'a Kind>, given: Given<'a>) -> Self {
        let mut documents =
            Self { versions: Vec::new(), places: HashMap::new(), custom: HashMap::new(), given };
        for kind in kinds {
            let key = (kind.group, kind.version);
            let at = *documents.places.entry(key).or_insert_with(|| {
                documents.versions.push((kind.group, kind.version, Vec::new()));
                documents.versions.len() - 1
            });
            documents.versions[at].2.push(kind);
            if kind.custom {
                let name = custom::type_name(kind, kind.kind);
                documents.custom.insert(name, (kind, false));
                let list = custom::type_name(kind, &kind.list_kind());
                documents.custom.insert(list, (kind, true));
            }
        }
        documents
    }

    /// The paths of all documents of version 3.
    pub fn paths(&self) -> Vec<String> {
        let mut paths: Vec<String> = FIXED.map(str::to_owned).to_vec();
        let mut last = "";
        for (group, version, kinds) in &self.versions {
            // Groups of custom resources have no document of their own.
            if *group != last && kinds.iter().any(|kind| !kind.custom) {
                paths.push(format!("apis/{group}"));
                last = group;
            }
            paths.push(document_path(group, version));
        }
        paths
    }

    /// Whether there is a document of version 3 at a path.
    pub fn has(&self, path: &str) -> bool {
        if FIXED.contains(&path) {
            return true;
        }
        match (version_of(path), path.strip_prefix("apis/")) {
            (Some(version), _) => self.places.contains_key(&version),
            (None, Some(group)) => self.has_group(group),
            (None, None) => false,
        }
    }

    fn has_group(&self, group: &str) -> bool {
        let of = |kinds: &[&Kind]| kinds.iter().any(|kind| !kind.custom);
        !group.is_empty() && self.versions.iter().any(|(g, _, kinds)| *g == group && of(kinds))
    }

    fn of(&self, group: &str, version: &str) -> &[&'a Kind] {
        self.places.get(&(group, version)).map_or(&[], |at| &self.versions[*at].2)
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
        let mut sum = BASE.clone();
        sum.update(path);
        if let Some((group, version)) = version_of(path) {
            self.add(&mut sum, group, version);
        }
        hexadecimal(sum)
    }

    /// The hash of what all versions have a part in; `form` tells such documents apart.
    pub fn hash_of_all(&self, form: &str) -> String {
        let mut sum = BASE.clone();
        sum.update(form);
        for (group, version, _) in &self.versions {
            self.add(&mut sum, group, version);
        }
        hexadecimal(sum)
    }

    /// Adds what a version consists of to a hash.
    fn add(&self, sum: &mut Sha256, group: &str, version: &str) {
        for kind in self.of(group, version) {
            sum.update(format!("\n{group}/{version}/{}", kind.plural));
        }
        sum.update((self.given.revision)(group, version));
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
                    paths::group_version(&mut paths, group, version, of, Form::V3);
                }
                None => {
                    let group = path.strip_prefix("apis/").filter(|group| self.has_group(group))?;
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
        let other = |docs: &Docs, name: &str, form| self.other(docs, name, form);
        let docs = Docs::load();
        writer.schemas(&Schemas { form: Form::V3, docs, every: &every, other: &other });
        Some(text.end(&security()))
    }

    /// The schema of a type in version 3, by its name in references, without descriptions.
    pub fn schema(&self, name: &str) -> Option<Value> {
        let other = |docs: &Docs, name: &str, form| self.other(docs, name, form);
        let every = |_| Value::Null;
        let docs = Docs::default();
        Schemas { form: Form::V3, docs, every: &every, other: &other }.named(name)
    }

    /// What [`Self::schema`] calls the type of a kind.
    pub fn schema_name(&self, kind: &Kind) -> String {
        match kind.custom {
            true => custom::type_name(kind, kind.kind),
            false => kind.type_name.to_owned(),
        }
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
        for (group, version, kinds) in &self.versions {
            if *group != last && kinds.iter().any(|kind| !kind.custom) {
                paths::group(&mut paths, group, Form::V2);
                last = group;
            }
            paths::group_version(&mut paths, group, version, kinds, Form::V2);
            writer.paths(std::mem::take(&mut paths));
        }
        writer.paths(paths);
        self.given.more.iter().for_each(|document| writer.paths_of(document));
        writer.refer(&parameter::shared().into());
        let every = |kind: &'static str| {
            let known = kinds::all().iter().map(|k| (k.group, k.version)).chain(UNSERVED);
            schemas::gvk_list(known.map(|(group, version)| (group, version, kind)))
        };
        let other = |docs: &Docs, name: &str, form| self.other(docs, name, form);
        let docs = Docs::load();
        writer.schemas(&Schemas { form: Form::V2, docs, every: &every, other: &other });
        self.given.more.iter().for_each(|document| writer.schemas_of(document));
    }

    /// The schema of a custom type.
    fn other(&self, docs: &Docs, name: &str, form: Form) -> Option<Value> {
        let (kind, list) = *self.custom.get(name)?;
        Some(if list {
            custom::list_schema(docs, kind, form)
        } else {
            custom::schema(docs, kind, (self.given.schema)(kind), form)
        })
    }
}

fn hexadecimal(sum: Sha256) -> String {
    sum.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
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
