//! A committed object: its bytes with an index card (DESIGN invariant 4).
//!
//! Not here: where entries are kept (`store`), or which fields a kind selects by (the kind table).

use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::object::Object;

/// Where an object lives: resource, namespace, name. Ordered as lists are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `plural` or `plural.group`, as in `pods` and `deployments.apps`.
    pub resource: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl Key {
    /// A key of its three parts.
    pub fn new(
        resource: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl std::fmt::Display for Key {
    /// `namespace/name`, or `name` where there is no namespace, as logs show it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What selectors and indexes read, so that they never parse the object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// Sorted by key.
    pub labels: Box<[(Arc<str>, Arc<str>)]>,
    /// Selectable fields besides `metadata.name` and `metadata.namespace`, by path
    /// (`spec.nodeName`), sorted by path; every selectable field of the kind is present, empty
    /// values included.
    pub fields: Box<[(Arc<str>, Arc<str>)]>,
    /// The uid of the owner reference with `controller: true`.
    pub controller: Option<Box<str>>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

impl Card {
    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The value of a selectable field, by path.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.iter().find(|(p, _)| &**p == path).map(|(_, v)| &**v),
        }
    }

    /// The card of an object, with the given selectable field paths (dotted, under the object's
    /// root). A missing field counts as an empty string, a boolean as `true` or `false`.
    pub fn of(object: &Object, fields: &[&str]) -> Self {
        let mut labels: Vec<(Arc<str>, Arc<str>)> =
            object.labels().map(|(k, v)| (k.into(), v.into())).collect();
        labels.sort();
        let mut fields: Vec<(Arc<str>, Arc<str>)> = fields
            .iter()
            .map(|path| ((*path).into(), object.field_text(path).as_ref().into()))
            .collect();
        fields.sort();
        Self {
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            labels: labels.into(),
            fields: fields.into(),
            controller: object.controller_uid().map(Into::into),
            deleting: object.is_deleting(),
        }
    }
}

/// A committed object. Immutable and shared: the watch cache, informers and responses hold the same
/// one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The revision of the write that made it; `metadata.resourceVersion` in `json`.
    pub revision: u64,
    /// The object in its storage version, complete with `apiVersion`, `kind` and `resourceVersion`.
    pub json: Bytes,
    /// The index card.
    pub card: Card,
}

impl Entry {
    /// Reads the object into a typed view or projection.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }

    /// Reads the object whole.
    pub fn object(&self) -> Result<Object, serde_json::Error> {
        self.decode()
    }
}
