//! OpenAPI documents of the built-in kinds, made from the tables when they are asked for.
//!
//! Version 3 has a document a group and version; version 2 is one for all. Descriptions are not in
//! them yet. Not here: custom resources and aggregated APIs, caching.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::discovery::Group;
use crate::kinds::{self, Kind};

mod operation;
mod paths;
pub mod proto;
mod schemas;

/// The form of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    V2,
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

/// `/openapi/v3`: where each document is, with a hash by which clients cache it.
pub fn v3_index(groups: &[Group]) -> Value {
    let mut paths = Map::new();
    let mut put = |path: String| {
        let url = format!("/openapi/v3/{path}?hash={}", hash(&path));
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    for fixed in
        [".well-known/openid-configuration", "api", "apis", "logs", "openid/v1/jwks", "version"]
    {
        put(fixed.to_owned());
    }
    for group in groups {
        if !group.name.is_empty() {
            put(format!("apis/{}", group.name));
        }
        for version in &group.versions {
            put(document_path(&group.name, &version.version));
        }
    }
    json!({"paths": paths})
}

/// Where the document of a version is, under `/openapi/v3/`.
fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The hash of a document, without making it: it depends on the tables and the path alone.
pub fn hash(path: &str) -> String {
    let mut sum = Sha256::new();
    for part in [
        env!("CARGO_PKG_VERSION"),
        include_str!("../tables/schema.txt"),
        include_str!("../tables/kinds.txt"),
        path,
    ] {
        sum.update(part.as_bytes());
    }
    sum.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A document of version 3, by its path in the index (`apis/apps/v1`); `None` for other paths, and
/// for versions that the table does not have.
pub fn v3_document(path: &str) -> Option<Value> {
    let mut paths = Map::new();
    let mut version = None;
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api"] => paths::core_versions(&mut paths, Form::V3),
        ["apis"] => paths::groups(&mut paths, Form::V3),
        ["version"] => paths::version(&mut paths, Form::V3),
        ["logs"] => paths::logs(&mut paths, Form::V3),
        [".well-known", "openid-configuration"] => paths::well_known(&mut paths, Form::V3),
        ["openid", "v1", "jwks"] => paths::keys(&mut paths, Form::V3),
        ["apis", group] if kinds::all().iter().any(|k| k.group == *group) => {
            paths::group(&mut paths, group, Form::V3);
        }
        ["api", v] if *v == "v1" => version = Some(("", *v)),
        ["apis", group, v] => version = Some((*group, *v)),
        _ => return None,
    }
    if let Some((group, version)) = version {
        let of: Vec<&Kind> = kinds::all()
            .iter()
            .filter(|kind| (kind.group, kind.version) == (group, version))
            .collect();
        if of.is_empty() {
            return None;
        }
        paths::group_version(&mut paths, group, version, &of, Form::V3);
    }
    let mut components = Map::new();
    let schemas = schemas::closure(&Value::Object(paths.clone()), Form::V3, |_, kind| {
        let mut of = vec![("", "v1")];
        of.extend(version.filter(|v| *v != ("", "v1")));
        schemas::gvk_list(of.into_iter().map(|(group, version)| (group, version, kind)))
    });
    if !schemas.is_empty() {
        components.insert("schemas".into(), schemas.into());
    }
    components.insert("securitySchemes".into(), security());
    Some(json!({
        "openapi": "3.0.0", "info": info(), "paths": paths, "components": components,
    }))
}

/// The document of version 2, of the kinds that are served.
pub fn v2(serves: impl Fn(&Kind) -> bool) -> Value {
    let mut paths = Map::new();
    paths::core_versions(&mut paths, Form::V2);
    paths::groups(&mut paths, Form::V2);
    paths::version(&mut paths, Form::V2);
    paths::logs(&mut paths, Form::V2);
    paths::keys(&mut paths, Form::V2);
    paths::well_known(&mut paths, Form::V2);
    let served: Vec<&Kind> = kinds::all().iter().filter(|kind| serves(kind)).collect();
    let mut versions: Vec<(&str, &str)> = served.iter().map(|k| (k.group, k.version)).collect();
    versions.dedup();
    for (at, (group, version)) in versions.iter().enumerate() {
        if !group.is_empty() && versions[..at].iter().all(|(g, _)| g != group) {
            paths::group(&mut paths, group, Form::V2);
        }
        let of: Vec<&Kind> = served
            .iter()
            .copied()
            .filter(|kind| (kind.group, kind.version) == (*group, *version))
            .collect();
        paths::group_version(&mut paths, group, version, &of, Form::V2);
    }
    let definitions = schemas::closure(&Value::Object(paths.clone()), Form::V2, |_, kind| {
        let known = kinds::all().iter().map(|k| (k.group, k.version)).chain(UNSERVED);
        schemas::gvk_list(known.map(|(group, version)| (group, version, kind)))
    });
    json!({
        "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions,
        "securityDefinitions": security(), "security": [{"BearerToken": []}],
    })
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
