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

/// Selectable fields by path (as `spec.nodeName`), in the order given. All objects of a kind have
/// the same paths and share them; the values are one run of bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Fields {
    paths: Arc<[Arc<str>]>,
    /// Each value's length, then its text.
    values: Box<[u8]>,
}

impl Fields {
    /// The paths and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.values;
        self.paths.iter().map(move |path| (&**path, take_text(&mut rest).unwrap_or("")))
    }

    /// The paths alone.
    pub fn paths(&self) -> &Arc<[Arc<str>]> {
        &self.paths
    }

    /// Takes over equal paths that another object holds already.
    pub fn share_paths(&mut self, paths: &Arc<[Arc<str>]>) {
        if self.paths == *paths {
            self.paths = paths.clone();
        }
    }
}

/// A length of this or more takes four further bytes.
const LONG: u8 = u8::MAX;

fn put_text(text: &str, out: &mut Vec<u8>) {
    match u8::try_from(text.len()) {
        Ok(len) if len < LONG => out.push(len),
        _ => {
            out.push(LONG);
            out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let (&first, mut rest) = bytes.split_first()?;
    let mut len = usize::from(first);
    if first == LONG {
        let (long, after) = rest.split_first_chunk::<4>()?;
        len = u32::from_le_bytes(*long) as usize;
        rest = after;
    }
    let (text, after) = rest.split_at_checked(len)?;
    *bytes = after;
    std::str::from_utf8(text).ok()
}

impl<P: Into<Arc<str>>, V: AsRef<str>> FromIterator<(P, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (P, V)>>(pairs: I) -> Self {
        let mut values = Vec::new();
        let paths = pairs
            .into_iter()
            .map(|(path, value)| {
                put_text(value.as_ref(), &mut values);
                path.into()
            })
            .collect();
        Self { paths, values: values.into() }
    }
}

impl<P: Into<Arc<str>>, V: AsRef<str>, const N: usize> From<[(P, V); N]> for Fields {
    fn from(pairs: [(P, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
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
    pub labels: Arc<[(Arc<str>, Arc<str>)]>,
    /// Selectable fields besides `metadata.name` and `metadata.namespace`; every one of the kind is
    /// present, empty values included.
    pub fields: Fields,
    /// The uid of the owner reference with `controller: true`.
    pub controller: Option<Arc<str>>,
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
            _ => self.fields.iter().find(|(p, _)| *p == path).map(|(_, v)| v),
        }
    }

    /// The card of an object, with the given selectable field paths (dotted, under the object's
    /// root). A missing field counts as an empty string, a boolean as `true` or `false`.
    pub fn of(object: &Object, fields: &[&str]) -> Self {
        let mut labels: Vec<(Arc<str>, Arc<str>)> =
            object.labels().map(|(k, v)| (k.into(), v.into())).collect();
        labels.sort();
        let mut fields: Vec<_> =
            fields.iter().map(|path| (*path, object.field_text(path))).collect();
        fields.sort();
        Self {
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            labels: labels.into(),
            fields: fields.into_iter().collect(),
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
    /// Reads the object into a typed view or projection; null leaves a field of it empty.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        crate::lean::from_slice(&self.json)
    }

    /// Reads the object whole.
    pub fn object(&self) -> Result<Object, serde_json::Error> {
        serde_json::from_slice(&self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_every_value() {
        let long = "v".repeat(70_000);
        let pairs = [("a", ""), ("spec.nodeName", "n\0de"), ("b", &long), ("c", "\u{fc}")];
        let fields = Fields::from(pairs);
        assert_eq!(fields.iter().collect::<Vec<_>>(), pairs);
        let card = Card { fields, ..Card::default() };
        assert_eq!(card.field("b"), Some(&*long));
        assert_eq!(card.field("c"), Some("\u{fc}"));
        assert_eq!(card.field("d"), None);
        assert_eq!(Fields::default().iter().count(), 0);
    }
}
