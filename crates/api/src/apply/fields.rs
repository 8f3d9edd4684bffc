//! Sets of fields, and their text form in `metadata.managedFields[].fieldsV1`.
//!
//! An element of a path is kept as that text form: `f:name` a field, `k:{"name":"a"}` an item of a
//! list by its keys, `v:"x"` an item of a set, `i:0` a position. Not here: which fields a value has
//! (`typed`).

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::names::quote;

/// A set of paths. A path can be a member itself, lead to members below, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element; each is a member, or has members below.
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    element: Box<str>,
    here: bool,
    below: FieldSet,
}

/// The element of a field.
pub(super) fn field_element(name: &str) -> Box<str> {
    let mut text = String::with_capacity(name.len() + 2);
    text.push_str("f:");
    text.push_str(name);
    text.into()
}

impl FieldSet {
    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The set of these field paths, as in `["metadata", "name"]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let Some((last, parents)) = path.split_last() else { continue };
            let mut one = Self::default();
            one.add(field_element(last), true, Self::default());
            for parent in parents.iter().rev() {
                let below = std::mem::take(&mut one);
                one.add(field_element(parent), false, below);
            }
            set.absorb(one);
        }
        set
    }

    /// Where an element is, or belongs.
    fn find(&self, element: &str) -> Result<usize, usize> {
        // Most sets are made in order.
        match self.items.last() {
            Some(last) if &*last.element >= element => {
                self.items.binary_search_by(|item| (*item.element).cmp(element))
            }
            _ => Err(self.items.len()),
        }
    }

    fn item(&self, element: &str) -> Option<&Item> {
        self.find(element).ok().map(|at| &self.items[at])
    }

    /// Adds the outcome of looking at the value under an element: itself, and what is below.
    pub(super) fn add(&mut self, element: Box<str>, here: bool, below: FieldSet) {
        if !here && below.is_empty() {
            return;
        }
        match self.find(&element) {
            Ok(at) => {
                let item = &mut self.items[at];
                item.here |= here;
                item.below.absorb(below);
            }
            Err(at) => self.items.insert(at, Item { element, here, below }),
        }
    }

    /// Whether an element is a member.
    pub(super) fn has(&self, element: &str) -> bool {
        self.item(element).is_some_and(|item| item.here)
    }

    /// What is below an element.
    pub(super) fn below(&self, element: &str) -> Option<&FieldSet> {
        self.item(element).map(|item| &item.below).filter(|below| !below.is_empty())
    }

    /// Elements that lead to members below, with those.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, &FieldSet)> {
        self.items.iter().filter(|i| !i.below.is_empty()).map(|i| (&*i.element, &i.below))
    }

    /// Elements that are members.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter(|item| item.here).map(|item| &*item.element)
    }

    /// Takes another set in.
    pub(super) fn absorb(&mut self, other: Self) {
        if self.items.is_empty() {
            *self = other;
            return;
        }
        let mut out = Vec::with_capacity(self.items.len() + other.items.len());
        let mut mine = std::mem::take(&mut self.items).into_iter().peekable();
        let mut theirs = other.items.into_iter().peekable();
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let order = a.element.cmp(&b.element);
            let a = if order.is_le() { mine.next() } else { None };
            let b = if order.is_ge() { theirs.next() } else { None };
            match (a, b) {
                (Some(mut a), Some(b)) => {
                    a.here |= b.here;
                    a.below.absorb(b.below);
                    out.push(a);
                }
                (one, other) => out.extend(one.or(other)),
            }
        }
        out.extend(mine);
        out.extend(theirs);
        self.items = out;
    }

    /// Keeps what `keep` leaves of each element that the other set has as well.
    fn sift(&mut self, other: &Self, mut keep: impl FnMut(&mut Item, &Item)) {
        let mut others = other.items.iter().peekable();
        self.items.retain_mut(|item| {
            while others.next_if(|o| o.element < item.element).is_some() {}
            if let Some(same) = others.next_if(|o| o.element == item.element) {
                keep(item, same);
            }
            item.here || !item.below.is_empty()
        });
    }

    /// Leaves what is in this one only.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.sift(other, |item, same| {
            item.here &= !same.here;
            item.below.subtract(&same.below);
        });
    }

    /// Leaves what is in this one and not under a member of the other.
    pub(super) fn cut_subtrees(&mut self, other: &Self) {
        self.sift(other, |item, same| {
            if same.here {
                item.here = false;
                item.below = Self::default();
            } else {
                item.below.cut_subtrees(&same.below);
            }
        });
    }

    /// What is in one of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.absorb(other.clone());
        out
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut items = Vec::new();
        let (mut mine, mut theirs) = (self.items.iter(), other.items.iter());
        let (mut a, mut b) = (mine.next(), theirs.next());
        while let (Some(x), Some(y)) = (a, b) {
            match x.element.cmp(&y.element) {
                Ordering::Less => a = mine.next(),
                Ordering::Greater => b = theirs.next(),
                Ordering::Equal => {
                    let here = x.here && y.here;
                    let below = x.below.intersection(&y.below);
                    if here || !below.is_empty() {
                        items.push(Item { element: x.element.clone(), here, below });
                    }
                    (a, b) = (mine.next(), theirs.next());
                }
            }
        }
        Self { items }
    }

    /// What is in this one only.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.subtract(other);
        out
    }

    /// What is in this one and not under a member of the other.
    #[must_use]
    pub fn without_subtrees(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.cut_subtrees(other);
        out
    }

    /// Every member as upstream prints paths (`.spec.containers[name="a"].image`).
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        out.extend(self.members().map(|m| format!("{prefix}{}", print(m))));
        for (element, set) in self.children() {
            set.collect(&format!("{prefix}{}", print(element)), out);
        }
    }

    /// The `fieldsV1` of the set.
    pub fn encode(self) -> Value {
        Value::Object(self.encode_map(false))
    }

    fn encode_map(self, here: bool) -> Map<String, Value> {
        let nothing = || Value::Object(Map::new());
        let own = here.then(|| (".".to_owned(), nothing()));
        let items = self.items.into_iter().map(|item| {
            let below = if item.below.is_empty() {
                nothing()
            } else {
                Value::Object(item.below.encode_map(item.here))
            };
            (item.element.into_string(), below)
        });
        own.into_iter().chain(items).collect()
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
            let here = map.is_empty() || map.contains_key(".");
            out.add(element, here, Self::decode(below)?);
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
        assert_eq!(set.clone().encode(), text);
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
