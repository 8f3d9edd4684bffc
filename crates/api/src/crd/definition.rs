//! A definition, read: names, versions, schemas, subresources, and the rows of the kind table that
//! follow.
//!
//! Not here: whether it is valid (`validate`), whether its names are free (`conditions`).

use std::cmp::Ordering;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use super::columns::Column;
use super::structural::Structural;
use crate::kinds::{self, Kind, Row};
use crate::object::Object;

/// How objects get from one version to another.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// A webhook does it: `spec.conversion.webhook`.
    Webhook(Arc<Value>),
}

/// The scale subresource's places in an object, as dotted paths without the first dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Under `spec`.
    pub replicas: String,
    /// Under `status`.
    pub status_replicas: String,
    /// A selector as text; may be empty.
    pub selector: String,
}

/// One version.
#[derive(Debug)]
pub struct Version {
    /// As in `v1`.
    pub name: String,
    /// Whether clients see it.
    pub served: bool,
    /// Sent with every answer.
    pub warning: Option<String>,
    /// Whether it has the status subresource.
    pub status: bool,
    /// Where the scale subresource finds its values.
    pub scale: Option<Scale>,
    /// The columns of tables.
    pub columns: Vec<Column>,
    /// The row of the kind table.
    pub kind: &'static Kind,
    /// The definition as JSON, and where in it the version is.
    source: Bytes,
    at: usize,
    form: OnceLock<Form>,
}

/// A version's schema. It is read when it is first needed: of a thousand definitions most are only
/// looked at.
#[derive(Debug)]
struct Form {
    shape: Value,
    schema: Structural,
    has_rules: bool,
}

/// A definition.
#[derive(Debug)]
pub struct Definition {
    /// As in `widgets.example.com`.
    pub name: String,
    /// Of the definition.
    pub uid: String,
    /// Of the definition.
    pub revision: u64,
    /// API group.
    pub group: String,
    /// Accepted names: what is served.
    pub plural: String,
    /// The same.
    pub singular: String,
    /// The same.
    pub kind: String,
    /// The same.
    pub list_kind: String,
    /// The same.
    pub short_names: Vec<String>,
    /// The same.
    pub categories: Vec<String>,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// In the definition's order.
    pub versions: Vec<Version>,
    /// Which of them is stored.
    pub storage: usize,
    /// Between them.
    pub conversion: Conversion,
    /// Whether it is served: its names were accepted once.
    pub established: bool,
    /// Whether it and its objects are going away.
    pub terminating: bool,
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// `.spec.a` as `spec.a`.
fn dotted(path: &str) -> String {
    path.strip_prefix('.').unwrap_or(path).to_owned()
}

impl Definition {
    /// Reads a definition; `None` where it lacks what every valid one has. `source` is the same as
    /// JSON, for what is read later.
    pub fn read(object: &Object, source: &Bytes) -> Option<Self> {
        let spec = object.0.get("spec")?;
        let group = spec.get("group")?.as_str()?.to_owned();
        let namespaced = spec.get("scope")?.as_str()? == "Namespaced";
        let accepted = object.at("status.acceptedNames").cloned().unwrap_or_default();
        let wanted = spec.get("names").cloned().unwrap_or_default();
        // What is served are the accepted names; before there are any, the wanted ones.
        let name = |key: &str| {
            let of = |names: &Value| {
                names.get(key).and_then(Value::as_str).filter(|n| !n.is_empty()).map(str::to_owned)
            };
            of(&accepted).or_else(|| of(&wanted)).unwrap_or_default()
        };
        let (plural, singular, kind) = (name("plural"), name("singular"), name("kind"));
        let list_kind = name("listKind");
        let short_names = texts(accepted.get("shortNames"));
        let categories = texts(accepted.get("categories"));
        let list = spec.get("versions")?.as_array()?;
        let storage = list.iter().position(|v| v["storage"] == Value::Bool(true))?;
        let storage_name = list[storage].get("name")?.as_str()?.to_owned();
        let selectable: Vec<Vec<String>> = list.iter().map(selectable_fields).collect();
        let mut carded: Vec<String> = Vec::new();
        for field in selectable.iter().flatten() {
            if !carded.contains(field) {
                carded.push(field.clone());
            }
        }
        let row = |version: &str, at: usize, stored: Option<&'static Kind>| {
            let subresources = list[at].get("subresources");
            let has =
                |key: &str| subresources.and_then(|s| s.get(key)).is_some_and(Value::is_object);
            kinds::custom(&Row {
                group: &group,
                version,
                kind: &kind,
                list_kind: &list_kind,
                plural: &plural,
                singular: &singular,
                short_names: &short_names,
                categories: &categories,
                namespaced,
                status: has("status"),
                scale: has("scale"),
                storage_version: &storage_name,
                selectable: &selectable[at],
                card: &carded,
                stored,
            })
        };
        let stored = row(&storage_name, storage, None);
        let mut versions = Vec::with_capacity(list.len());
        for (at, version) in list.iter().enumerate() {
            let name = version.get("name")?.as_str()?;
            let kind = if at == storage { stored } else { row(name, at, Some(stored)) };
            versions.push(Version::read(name, version, &group, &wanted, kind, (source, at)));
        }
        let conversion = match spec.get("conversion") {
            Some(c) if c.get("strategy").and_then(Value::as_str) == Some("Webhook") => {
                Conversion::Webhook(Arc::new(c.get("webhook").cloned().unwrap_or_default()))
            }
            _ => Conversion::None,
        };
        Some(Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            revision: object.resource_version().parse().unwrap_or(0),
            group,
            plural,
            singular,
            kind,
            list_kind,
            short_names,
            categories,
            namespaced,
            versions,
            storage,
            conversion,
            established: super::conditions::is_true(&object.0, "Established"),
            terminating: object.is_deleting(),
        })
    }

    /// The version of that name.
    pub fn version(&self, name: &str) -> Option<usize> {
        self.versions.iter().position(|v| v.name == name)
    }

    /// Where its objects are kept.
    pub fn qualified(&self) -> String {
        crate::resource::qualified(&self.group, &self.plural)
    }
}

fn selectable_fields(version: &Value) -> Vec<String> {
    let list = version.get("selectableFields").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|f| f.get("jsonPath")?.as_str()).map(dotted).collect()
}

impl Version {
    fn read(
        name: &str,
        version: &Value,
        group: &str,
        names: &Value,
        kind: &'static Kind,
        (source, at): (&Bytes, usize),
    ) -> Self {
        let subresource = |key: &str| version.get("subresources")?.get(key)?.as_object();
        let deprecated = version.get("deprecated") == Some(&Value::Bool(true));
        let given = version.get("deprecationWarning").and_then(Value::as_str);
        let kind_name = names.get("kind").and_then(Value::as_str).unwrap_or("");
        let warning = deprecated.then(|| {
            given.map_or_else(|| format!("{group}/{name} {kind_name} is deprecated"), str::to_owned)
        });
        let path = |scale: &serde_json::Map<String, Value>, key: &str| {
            dotted(scale.get(key).and_then(Value::as_str).unwrap_or(""))
        };
        Self {
            name: name.to_owned(),
            served: version.get("served") == Some(&Value::Bool(true)),
            warning,
            status: subresource("status").is_some(),
            scale: subresource("scale").map(|scale| Scale {
                replicas: path(scale, "specReplicasPath"),
                status_replicas: path(scale, "statusReplicasPath"),
                selector: path(scale, "labelSelectorPath"),
            }),
            columns: Column::all(version),
            kind,
            source: source.clone(),
            at,
            form: OnceLock::new(),
        }
    }

    /// Its schema as the definition has it; read anew, for those who need it once.
    pub fn read_raw(&self) -> Value {
        let mut whole: Value = serde_json::from_slice(&self.source).unwrap_or_default();
        let pointer = format!("/spec/versions/{}/schema/openAPIV3Schema", self.at);
        let found = whole.pointer_mut(&pointer).map(Value::take);
        found.unwrap_or_else(|| serde_json::json!({"type": "object"}))
    }

    fn form(&self) -> &Form {
        self.form.get_or_init(|| {
            let mut shape = self.read_raw();
            let schema = Structural::parse(&shape);
            only_shape(&mut shape);
            Form { has_rules: schema.has_rules(), shape, schema }
        })
    }

    /// Whether its schema has been read.
    pub fn is_read(&self) -> bool {
        self.form.get().is_some()
    }

    /// Its schema as the definition has it, as far as it tells fields, their types and who may own
    /// them.
    pub fn shape(&self) -> &Value {
        &self.form().shape
    }

    /// Its schema.
    pub fn schema(&self) -> &Structural {
        &self.form().schema
    }

    /// Whether it has CEL rules.
    pub fn has_rules(&self) -> bool {
        self.form().has_rules
    }
}

/// Leaves of a schema what server-side apply looks at. Descriptions are most of many schemas.
fn only_shape(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    map.retain(|key, _| {
        const KEPT: [&str; 6] =
            ["type", "format", "default", "properties", "items", "additionalProperties"];
        KEPT.contains(&key.as_str())
            || key.starts_with("x-kubernetes-") && key != "x-kubernetes-validations"
    });
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(only_shape);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            only_shape(inner);
        }
    }
}

/// Versions as discovery orders them, the preferred first: `v2`, `v1`, `v1beta1`, then the others.
pub fn by_priority(a: &str, b: &str) -> Ordering {
    match (parts(a), parts(b)) {
        (Some(x), Some(y)) => y.cmp(&x),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major, minor of `v1beta2`.
fn parts(version: &str) -> Option<(u8, u32, u32)> {
    let rest = version.strip_prefix('v')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major: u32 = rest[..digits].parse().ok()?;
    let tail = &rest[digits..];
    if tail.is_empty() {
        return Some((2, major, 0));
    }
    let (stage, minor) = if let Some(m) = tail.strip_prefix("beta") {
        (1, m)
    } else {
        (0, tail.strip_prefix("alpha")?)
    };
    Some((stage, major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn versions_by_priority() {
        let mut all =
            vec!["foo10", "v1alpha1", "v10", "v2", "v1beta2", "foo1", "v1beta10", "v11beta2"];
        all.sort_by(|a, b| by_priority(a, b));
        assert_eq!(
            all,
            ["v10", "v2", "v11beta2", "v1beta10", "v1beta2", "v1alpha1", "foo1", "foo10"]
        );
    }

    #[test]
    fn rows_of_the_kind_table() {
        let object = Object::from_value(json!({
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [
                    {"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                    {"name": "v2", "served": true, "storage": true, "subresources": {"status": {}},
                     "selectableFields": [{"jsonPath": ".spec.color"}],
                     "schema": {"openAPIV3Schema": {"type": "object"}}}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]},
        }))
        .unwrap();
        let source = Bytes::from(Value::Object(object.0.clone()).to_string());
        let read = Definition::read(&object, &source).unwrap();
        assert!(read.established && !read.terminating);
        let [v1, v2] = &read.versions[..] else { panic!("two versions") };
        assert!(std::ptr::eq(v1.kind.stored(), v2.kind));
        assert!(v2.kind.subresource("status").is_some() && v1.kind.subresource("status").is_none());
        assert_eq!(v2.kind.selector_field("spec.color"), Ok("spec.color"));
        assert_eq!(
            v1.kind.selector_field("spec.color").unwrap_err(),
            "field label not supported: spec.color"
        );
        // The same definition makes the same rows.
        let again = Definition::read(&object, &source).unwrap();
        assert!(std::ptr::eq(again.versions[0].kind, v1.kind));
        assert!(!again.versions[1].is_read(), "not before it is needed");
        assert_eq!(again.versions[1].shape(), &json!({"type": "object"}));
        assert!(again.versions[1].is_read());
    }

    #[test]
    fn the_shape_of_a_schema() {
        let list = json!({"type": "array", "x-kubernetes-list-type": "map", "description": "d",
            "items": {"type": "object", "maxProperties": 1, "properties": {
                "description": {"type": "string", "description": "d", "default": "x"}}}});
        let mut schema = json!({"type": "object", "properties": {"list": list},
            "x-kubernetes-validations": [{"rule": "true"}]});
        only_shape(&mut schema);
        let list = json!({"type": "array", "x-kubernetes-list-type": "map",
            "items": {"type": "object", "properties": {
                "description": {"type": "string", "default": "x"}}}});
        assert_eq!(schema, json!({"type": "object", "properties": {"list": list}}));
    }
}
