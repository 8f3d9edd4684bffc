//! The dynamic object: a JSON map with accessors for what every kind has.
//!
//! The one home of `metadata` paths; the rest of the code asks here. Not here: kinds' own rules.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A Kubernetes object of any kind as a JSON map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(pub Map<String, Value>);

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Value::Object(object.0)
    }
}

impl Object {
    /// The object in a JSON value; `None` where the value is not a map.
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// The object that a typed view serialises to; `None` where that is not a map.
    pub fn from_typed<T: Serialize>(typed: &T) -> Option<Self> {
        serde_json::to_value(typed).ok().and_then(Self::from_value)
    }

    /// A typed view. Never write it back whole: it has dropped what it does not know.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&Value::Object(self.0.clone()))
    }

    /// `apiVersion`, empty where missing.
    pub fn api_version(&self) -> &str {
        self.0.get("apiVersion").and_then(Value::as_str).unwrap_or("")
    }

    /// `kind`, empty where missing.
    pub fn kind(&self) -> &str {
        self.0.get("kind").and_then(Value::as_str).unwrap_or("")
    }

    /// Sets `apiVersion` and `kind`.
    pub fn set_type(&mut self, api_version: &str, kind: &str) {
        self.0.insert("apiVersion".into(), api_version.into());
        self.0.insert("kind".into(), kind.into());
    }

    /// The `metadata` map, if there is one.
    pub fn meta(&self) -> Option<&Map<String, Value>> {
        self.0.get("metadata").and_then(Value::as_object)
    }

    /// The `metadata` map, made if it is missing.
    pub fn meta_mut(&mut self) -> &mut Map<String, Value> {
        self.map_mut("metadata")
    }

    /// A top-level map (`spec`, `status`, `metadata`), made if it is missing or not a map.
    pub fn map_mut(&mut self, key: &str) -> &mut Map<String, Value> {
        let slot = self.0.entry(key).or_insert_with(|| json!({}));
        if !slot.is_object() {
            *slot = json!({});
        }
        match slot {
            Value::Object(map) => map,
            _ => unreachable!("made a map above"),
        }
    }

    fn meta_text(&self, key: &str) -> &str {
        self.meta().and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or("")
    }

    /// `metadata.name`, empty where missing.
    pub fn name(&self) -> &str {
        self.meta_text("name")
    }

    /// `metadata.namespace`, empty where missing.
    pub fn namespace(&self) -> &str {
        self.meta_text("namespace")
    }

    /// `metadata.uid`, empty where missing.
    pub fn uid(&self) -> &str {
        self.meta_text("uid")
    }

    /// `metadata.generateName`, empty where missing.
    pub fn generate_name(&self) -> &str {
        self.meta_text("generateName")
    }

    /// `metadata.resourceVersion`, empty where missing.
    pub fn resource_version(&self) -> &str {
        self.meta_text("resourceVersion")
    }

    /// `metadata.creationTimestamp`, empty where missing.
    pub fn creation_timestamp(&self) -> &str {
        self.meta_text("creationTimestamp")
    }

    /// `metadata.generation`, 0 where missing.
    pub fn generation(&self) -> i64 {
        self.meta().and_then(|m| m.get("generation")).and_then(Value::as_i64).unwrap_or(0)
    }

    /// `metadata.deletionTimestamp`.
    pub fn deletion_timestamp(&self) -> Option<&str> {
        self.meta().and_then(|m| m.get("deletionTimestamp")).and_then(Value::as_str)
    }

    /// Whether the object is being deleted.
    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp().is_some()
    }

    fn meta_pairs(&self, key: &str) -> impl Iterator<Item = (&str, &str)> {
        self.meta()
            .and_then(|m| m.get(key))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)))
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.meta_pairs("labels")
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.meta_pairs("annotations")
    }

    /// One annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.meta()?.get("annotations")?.get(key)?.as_str()
    }

    /// Sets an annotation.
    pub fn set_annotation(&mut self, key: &str, value: &str) {
        let slot = self.meta_mut().entry("annotations").or_insert_with(|| json!({}));
        if let Value::Object(map) = slot {
            map.insert(key.into(), value.into());
        } else {
            *slot = json!({ key: value });
        }
    }

    /// `metadata.finalizers`.
    pub fn finalizers(&self) -> impl Iterator<Item = &str> {
        self.meta()
            .and_then(|m| m.get("finalizers"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    }

    /// `metadata.ownerReferences`.
    pub fn owner_references(&self) -> impl Iterator<Item = &Map<String, Value>> {
        self.meta()
            .and_then(|m| m.get("ownerReferences"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
    }

    /// The uid of the owner with `controller: true`.
    pub fn controller_uid(&self) -> Option<&str> {
        self.owner_references()
            .find(|r| r.get("controller").and_then(Value::as_bool) == Some(true))
            .and_then(|r| r.get("uid")?.as_str())
    }

    /// Sets a `metadata` field; `null` removes it.
    pub fn set_meta(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.is_null() {
            self.meta_mut().remove(key);
        } else {
            self.meta_mut().insert(key.into(), value);
        }
    }

    /// The value under a dotted path (`spec.nodeName`); map keys only.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let mut parts = path.split('.');
        let mut value = self.0.get(parts.next()?)?;
        for part in parts {
            value = value.get(part)?;
        }
        Some(value)
    }

    /// The text under a dotted path.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// The integer under a dotted path.
    pub fn int(&self, path: &str) -> Option<i64> {
        self.at(path)?.as_i64()
    }

    /// The value under a dotted path as field selectors compare it: text as it is, booleans and
    /// numbers printed, anything else empty.
    pub fn field_text(&self, path: &str) -> Cow<'_, str> {
        match self.at(path) {
            Some(Value::String(s)) => Cow::Borrowed(s),
            Some(Value::Bool(b)) => Cow::Borrowed(if *b { "true" } else { "false" }),
            Some(Value::Number(n)) => Cow::Owned(n.to_string()),
            _ => Cow::Borrowed(""),
        }
    }
}
