//! Sets of fields, and their text form in `metadata.managedFields[].fieldsV1`.
//!
//! An element of a path is kept as that text form: `f:name` a field, `k:{"name":"a"}` an item of a
//! list by its keys, `v:"x"` an item of a set, `i:0` a position. Not here: which fields a value has
//! (`typed`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::names::quote;

/// A set of paths. A path can be a member itself, lead to members below, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<Box<str>>,
    children: BTreeMap<Box<str>, FieldSet>,
}

/// The element of a field.
pub(super) fn field_element(name: &str) -> Box<str> {
    format!("f:{name}").into()
}

impl FieldSet {
    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(FieldSet::is_empty)
    }

    /// The set of these field paths, as in `["metadata", "name"]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let Some((last, parents)) = path.split_last() else { continue };
            let mut at = &mut set;
            for parent in parents {
                at = at.children.entry(field_element(parent)).or_default();
            }
            at.members.insert(field_element(last));
        }
        set
    }

    /// Adds the outcome of looking at the value under an element: itself, and what is below.
    pub(super) fn add(&mut self, element: &str, here: bool, below: FieldSet) {
        if here {
            self.members.insert(element.into());
        }
        if !below.is_empty() {
            match self.children.get_mut(element) {
                Some(child) => *child = child.union(&below),
                None => {
                    self.children.insert(element.into(), below);
                }
            }
        }
    }

    /// Whether an element is a member.
    pub(super) fn has(&self, element: &str) -> bool {
        self.members.contains(element)
    }

    /// What is below an element.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.children.get(element).filter(|set| !set.is_empty())
    }

    /// Elements that lead to members below, with those.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, &FieldSet)> {
        self.children.iter().map(|(k, v)| (&**k, v))
    }

    /// Elements that are members.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|m| &**m)
    }

    /// What is in one of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            let child = out.children.entry(element.clone()).or_default();
            *child = child.union(set);
        }
        out
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(k, v)| {
            let set = v.intersection(other.children.get(k)?);
            (!set.is_empty()).then(|| (k.clone(), set))
        });
        Self { members, children: children.collect() }
    }

    /// What is in this one only.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(k, v)| {
            let set = other.children.get(k).map_or_else(|| v.clone(), |o| v.difference(o));
            (!set.is_empty()).then(|| (k.clone(), set))
        });
        Self { members, children: children.collect() }
    }

    /// What is in this one and not under a member of the other.
    #[must_use]
    pub fn without_subtrees(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self.children.iter().filter_map(|(k, v)| {
            if other.members.contains(k) {
                return None;
            }
            let set = other.children.get(k).map_or_else(|| v.clone(), |o| v.without_subtrees(o));
            (!set.is_empty()).then(|| (k.clone(), set))
        });
        Self { members, children: children.collect() }
    }

    /// Every member as upstream prints paths (`.spec.containers[name="a"].image`).
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        out.extend(self.members.iter().map(|m| format!("{prefix}{}", print(m))));
        for (element, set) in &self.children {
            set.collect(&format!("{prefix}{}", print(element)), out);
        }
    }

    /// The `fieldsV1` of the set.
    pub fn encode(&self) -> Value {
        Value::Object(self.encode_map())
    }

    fn encode_map(&self) -> Map<String, Value> {
        let mut out = Map::new();
        for member in &self.members {
            out.insert(member.to_string(), Value::Object(Map::new()));
        }
        for (element, set) in &self.children {
            if set.is_empty() {
                continue;
            }
            let mut below = set.encode_map();
            if self.members.contains(element) {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(element.to_string(), Value::Object(below));
        }
        out
    }

    /// Reads a `fieldsV1`; `None` where it is not one.
    pub fn decode(value: &Value) -> Option<Self> {
        let mut out = Self::default();
        for (key, below) in value.as_object()? {
            if key == "." {
                continue;
            }
            let element = canonical(key)?;
            let map = below.as_object()?;
            if map.is_empty() || map.contains_key(".") {
                out.members.insert(element.clone());
            }
            let set = Self::decode(below)?;
            if !set.is_empty() {
                out.children.insert(element, set);
            }
        }
        Some(out)
    }
}

/// An element with its JSON in the form that we write.
fn canonical(key: &str) -> Option<Box<str>> {
    let (kind, rest) = key.split_at_checked(2)?;
    match kind {
        "f:" => Some(key.into()),
        "k:" | "v:" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            (kind == "v:" || value.is_object()).then(|| format!("{kind}{value}").into())
        }
        "i:" => rest.parse::<u64>().ok().map(|_| key.into()),
        _ => None,
    }
}

fn print_value(value: &Value) -> String {
    match value {
        Value::String(s) => quote(s),
        other => other.to_string(),
    }
}

/// An element as it stands in a printed path.
pub(super) fn print(element: &str) -> String {
    let (kind, rest) = element.split_at_checked(2).unwrap_or((element, ""));
    let parsed = || serde_json::from_str::<Value>(rest).unwrap_or_default();
    match kind {
        "f:" => format!(".{rest}"),
        "k:" => {
            let mut out = "[".to_owned();
            for (i, (k, v)) in parsed().as_object().into_iter().flatten().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(out, "{comma}{k}={}", print_value(v));
            }
            out + "]"
        }
        "v:" => format!("[={}]", print_value(&parsed())),
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_form_round_trip() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}}},
            "f:finalizers": {"v:\"x\"": {}},
        });
        let set = FieldSet::decode(&text).expect("valid");
        assert_eq!(set.encode(), text);
        assert_eq!(
            set.paths(),
            [
                ".finalizers[=\"x\"]",
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.containers[name=\"c\"]",
                ".spec.containers[name=\"c\"].image",
            ]
        );
        assert!(FieldSet::decode(&json!({"z": {}})).is_none());
    }

    #[test]
    fn algebra() {
        let a = FieldSet::of_fields(&[&["a"], &["b", "c"], &["b", "d"]]);
        let b = FieldSet::of_fields(&[&["b", "c"], &["e"]]);
        assert_eq!(a.intersection(&b).paths(), [".b.c"]);
        assert_eq!(a.difference(&b).paths(), [".a", ".b.d"]);
        assert_eq!(a.union(&b).paths(), [".a", ".e", ".b.c", ".b.d"]);
        let whole = FieldSet::of_fields(&[&["b"]]);
        assert_eq!(a.without_subtrees(&whole).paths(), [".a"]);
        assert_eq!(a.difference(&whole), a);
    }
}
