//! Strategic merge patch: lists merge by the key that the schema declares, and directives in the
//! patch say what merging cannot.
//!
//! Directives: `$patch: replace|delete|merge`, `$deleteFromPrimitiveList/<field>`,
//! `$setElementOrder/<field>`, `$retainKeys`.

use serde_json::{Map, Value};

use super::PatchError;
use crate::golang;
use crate::object::Object;

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// How a list or map combines with the patch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Maps merge, lists are replaced.
    #[default]
    Plain,
    /// Lists merge too, by the merge key or as sets.
    Merge,
    /// The patch's value stands alone.
    Replace,
}

/// What the schema says about a field.
#[derive(Clone, Copy, Debug)]
pub struct PatchField<'a, T> {
    /// The type of the field, or of its elements where it is a list or map.
    pub inner: Option<T>,
    /// How it combines.
    pub strategy: Strategy,
    /// The key by which elements of a list are the same.
    pub merge_key: Option<&'a str>,
}

impl<T> Default for PatchField<'_, T> {
    fn default() -> Self {
        Self { inner: None, strategy: Strategy::Plain, merge_key: None }
    }
}

/// A type that knows its fields.
pub trait Lookup: Copy {
    /// What the schema says about a field of the type; the default for what it does not know.
    fn patch_field(&self, name: &str) -> PatchField<'static, Self>;
}

type Outcome<T> = Result<T, PatchError>;

fn unfit<T>(text: String) -> Outcome<T> {
    Err(PatchError::Unfit(text))
}

fn malformed<T>(text: &str) -> Outcome<T> {
    Err(PatchError::Malformed(text.to_owned()))
}

/// As `%s` prints the type of a value: that of nothing is no type.
fn type_name(value: &Value) -> &'static str {
    if value.is_null() { "%!s(<nil>)" } else { golang::type_name(value) }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

fn wrong_type<T>(wanted: &str, got: &Value) -> Outcome<T> {
    unfit(format!("expected a {wanted}, but received a {}", type_name(got)))
}

fn no_key<T>(map: &Map<String, Value>, key: &str) -> Outcome<T> {
    unfit(format!("map: {} does not contain declared merge key: {key}", golang::plain_map(map)))
}

/// Applies a strategic merge patch to an object of the given type.
pub fn strategic_with<T: Lookup>(
    original: &Object,
    patch: &Value,
    ty: Option<T>,
) -> Outcome<Object> {
    let Value::Object(patch) = patch else {
        return malformed(&format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            super::go_type(patch)
        ));
    };
    merge_map(original.0.clone(), patch.clone(), ty).map(Object)
}

fn field<T: Lookup>(ty: Option<T>, name: &str) -> PatchField<'static, T> {
    ty.map_or_else(PatchField::default, |t| t.patch_field(name))
}

fn merge_map<T: Lookup>(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    ty: Option<T>,
) -> Outcome<Map<String, Value>> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some("replace") => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some("delete") => Ok(Map::new()),
            _ => unfit(format!(
                "unknown patch type: {} in map: {}",
                golang::plain(directive),
                golang::plain_map(&patch)
            )),
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_orders(&mut original, &mut patch, ty)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(name) => (name.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            continue;
        }
        let Some(current) = original.get_mut(&key) else {
            if !deletes {
                insert_new(&mut original, key, value);
            }
            continue;
        };
        if !same_type(current, &value) {
            if !deletes {
                original.remove(&key);
                insert_new(&mut original, key, value);
            }
            continue;
        }
        let known = field(ty, &key);
        let merged = match (current.take(), value) {
            (Value::Object(old), Value::Object(new)) => Value::Object(match known.strategy {
                Strategy::Replace => new,
                _ => merge_map(old, new, known.inner)?,
            }),
            (Value::Array(old), Value::Array(new)) => {
                Value::Array(if known.strategy == Strategy::Merge || deletes {
                    merge_list(old, new, &known, deletes)?
                } else {
                    new
                })
            }
            (_, value) => value,
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// Puts a value in where there was none: without nulls and directives.
fn insert_new(original: &mut Map<String, Value>, key: String, mut value: Value) {
    drop_nulls(&mut value);
    if let Some(value) = without_directives(value) {
        original.insert(key, value);
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn without_directives(value: Value) -> Option<Value> {
    Some(match value {
        Value::Object(map) if map.contains_key(PATCH) => return None,
        Value::Object(map) => {
            map.into_iter().filter_map(|(k, v)| Some((k, without_directives(v)?))).collect()
        }
        Value::Array(list) => list.into_iter().filter_map(without_directives).collect(),
        other => other,
    })
}

/// `$retainKeys`: what it does not list goes.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Outcome<()> {
    let Some(keys) = patch.remove(RETAIN) else { return Ok(()) };
    let Value::Array(keys) = keys else {
        return malformed("invalid patch format of retainKeys");
    };
    let listed = |key: &str| keys.iter().any(|k| k.as_str() == Some(key));
    let fits = patch.iter().all(|(k, v)| {
        v.is_null() || k.starts_with(DELETE_FROM) || k.starts_with(ORDER) || listed(k)
    });
    if !fits {
        return malformed("invalid patch format of retainKeys");
    }
    original.retain(|k, _| listed(k));
    Ok(())
}

fn as_list(value: Option<Value>) -> Outcome<Option<Vec<Value>>> {
    match value {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(other) => wrong_type("[]interface {}", &other),
    }
}

/// `$setElementOrder/<field>`: merges the field and orders it.
fn set_orders<T: Lookup>(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    ty: Option<T>,
) -> Outcome<()> {
    let directives: Vec<String> = patch.keys().filter(|k| k.starts_with(ORDER)).cloned().collect();
    for directive in directives {
        let name = directive[ORDER.len()..].to_owned();
        let Some(order) = as_list(patch.remove(&directive))? else { continue };
        let known = field(ty, &name);
        let old = as_list(original.get(&name).cloned())?;
        let new = as_list(patch.get(&name).cloned())?;
        check_order(new.as_deref().unwrap_or(&[]), &order, known.merge_key)?;
        let merged = match (old.clone(), new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) => match without_directives(Value::Array(new)) {
                Some(Value::Array(list)) => list,
                _ => continue,
            },
            (Some(old), Some(new)) if known.strategy == Strategy::Merge => {
                merge_list(old, new, &known, false)?
            }
            (Some(_), Some(new)) => new,
        };
        let list = arrange(merged, &order, &old.unwrap_or_default(), known.merge_key)?;
        original.insert(name.clone(), list.into());
        patch.remove(&name);
    }
    Ok(())
}

fn is_delete(value: &Value) -> bool {
    value.get(PATCH).and_then(Value::as_str) == Some("delete")
}

/// The patch's elements must come in the order that it asks for.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Outcome<()> {
    let mut wanted = order.iter();
    let fits = patch
        .iter()
        .filter(|v| key.is_none() || !is_delete(v))
        .all(|v| wanted.any(|o| same_element(o, v, key)));
    if fits {
        return Ok(());
    }
    let text = |list: &[Value]| golang::plain(&Value::Array(list.to_vec()));
    unfit(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        text(patch),
        text(order)
    ))
}

fn same_element(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn position(list: &[Value], element: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|v| same_element(v, element, key))
}

fn kind_of(lists: [&[Value]; 2]) -> Outcome<Option<&Value>> {
    let mut all = lists.into_iter().flatten();
    let Some(first) = all.next() else { return Ok(None) };
    if first.is_array() {
        return malformed("lists of lists are not supported");
    }
    if all.all(|v| same_type(v, first)) {
        return Ok(Some(first));
    }
    let text: Vec<Value> = lists.iter().map(|l| Value::Array(l.to_vec())).collect();
    unfit(format!("list element types are not identical: {}", golang::plain(&Value::Array(text))))
}

fn merge_list<T: Lookup>(
    old: Vec<Value>,
    new: Vec<Value>,
    known: &PatchField<'static, T>,
    deletes: bool,
) -> Outcome<Vec<Value>> {
    let Some(first) = kind_of([&old, &new])? else { return Ok(old) };
    if !first.is_object() {
        if deletes {
            return Ok(old.into_iter().filter(|v| !new.contains(v)).collect());
        }
        let mut merged: Vec<Value> = Vec::with_capacity(old.len() + new.len());
        for value in old.iter().chain(&new) {
            if !merged.contains(value) {
                merged.push(value.clone());
            }
        }
        return arrange(merged, &new, &old, None);
    }
    let Some(key) = known.merge_key else {
        return unfit("cannot merge lists without merge key for ".to_owned());
    };
    let (mut old, new) = special_elements(old, new, key)?;
    let before = old.clone();
    for value in &new {
        let Value::Object(map) = value else { continue };
        if !map.contains_key(key) {
            return no_key(map, key);
        }
        match position(&old, value, Some(key)) {
            Some(at) => {
                let Value::Object(current) = old[at].take() else { continue };
                old[at] = Value::Object(merge_map(current, map.clone(), known.inner)?);
            }
            None => old.push(value.clone()),
        }
    }
    arrange(old, &new, &before, Some(key))
}

/// Acts on the elements that carry `$patch`; returns what is left of both lists.
fn special_elements(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Outcome<(Vec<Value>, Vec<Value>)> {
    let mut plain = Vec::with_capacity(new.len());
    let mut replace = false;
    for value in new {
        let Some(directive) = value.get(PATCH).cloned() else {
            plain.push(value);
            continue;
        };
        let Value::Object(map) = &value else { continue };
        match directive.as_str() {
            Some("delete") if map.contains_key(key) => {
                old.retain(|v| !same_element(v, &value, Some(key)));
            }
            Some("delete") => return no_key(map, key),
            Some("replace") => replace = true,
            Some("merge") => {
                return unfit("merging lists cannot yet be specified in the patch".to_owned());
            }
            _ => {
                return unfit(format!(
                    "unknown patch type: {} in map: {}",
                    golang::plain(&directive),
                    golang::plain_map(map)
                ));
            }
        }
    }
    Ok(if replace { (plain, Vec::new()) } else { (old, plain) })
}

/// Orders a merged list: elements of the patch in its order, the others where the stored list has
/// them, relative to those.
fn arrange(
    merged: Vec<Value>,
    order: &[Value],
    stored: &[Value],
    key: Option<&str>,
) -> Outcome<Vec<Value>> {
    if let Some(key) = key {
        for value in &merged {
            match value {
                Value::Object(map) if !map.contains_key(key) => return no_key(map, key),
                Value::Object(_) => {}
                other => return wrong_type("map[string]interface {}", other),
            }
        }
    }
    let (mut ours, theirs): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| position(order, v, key).is_some());
    ours.sort_by_key(|v| position(order, v, key));
    let mut theirs_first: Vec<Value> = theirs;
    theirs_first.sort_by_key(|v| position(stored, v, key));
    let mut out = Vec::with_capacity(ours.len() + theirs_first.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs_first.into_iter().peekable());
    loop {
        let server_first = match (theirs.peek(), ours.peek()) {
            (None, None) => return Ok(out),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(server), Some(client)) => {
                match (position(stored, server, key), position(stored, client, key)) {
                    (Some(s), Some(c)) => s < c,
                    _ => false,
                }
            }
        };
        out.extend(if server_first { theirs.next() } else { ours.next() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A miniature schema: containers merge by name, args are atomic, finalizers a set.
    #[derive(Clone, Copy)]
    struct Mini;

    impl Lookup for Mini {
        fn patch_field(&self, name: &str) -> PatchField<'static, Self> {
            let (strategy, merge_key) = match name {
                "containers" | "env" => (Strategy::Merge, Some("name")),
                "finalizers" => (Strategy::Merge, None),
                "whole" => (Strategy::Replace, None),
                _ => (Strategy::Plain, None),
            };
            PatchField { inner: Some(Mini), strategy, merge_key }
        }
    }

    fn patch(original: Value, patch: Value) -> Outcome<Value> {
        let original = Object::from_value(original).expect("a map");
        strategic_with(&original, &patch, Some(Mini)).map(Value::from)
    }

    #[test]
    fn lists_merge_by_key() {
        let original =
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]});
        let out = patch(
            original.clone(),
            json!({"containers": [{"name": "b", "image": "3"}, {"name": "c"}]}),
        );
        assert_eq!(
            out,
            Ok(
                json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "3"}, {"name": "c"}]})
            )
        );
        let out =
            patch(original.clone(), json!({"containers": [{"name": "a", "$patch": "delete"}]}));
        assert_eq!(out, Ok(json!({"containers": [{"name": "b", "image": "2"}]})));
        let out =
            patch(original.clone(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}));
        assert_eq!(out, Ok(json!({"containers": [{"name": "z"}]})));
        let out =
            patch(original, json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}));
        assert_eq!(
            out,
            Ok(json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "1"}]}))
        );
    }

    #[test]
    fn primitive_lists_and_maps() {
        let original =
            json!({"finalizers": ["a", "b"], "args": ["x"], "labels": {"k": "1", "l": "2"}});
        let out = patch(
            original.clone(),
            json!({"$deleteFromPrimitiveList/finalizers": ["a"], "args": ["y"], "labels": {"k": null}}),
        );
        assert_eq!(out, Ok(json!({"finalizers": ["b"], "args": ["y"], "labels": {"l": "2"}})));
        let out = patch(
            original,
            json!({"finalizers": ["c"], "labels": {"$patch": "replace", "m": "3"}}),
        );
        assert_eq!(
            out,
            Ok(json!({"finalizers": ["c", "a", "b"], "args": ["x"], "labels": {"m": "3"}}))
        );
    }

    #[test]
    fn retain_keys_drops_the_rest() {
        let original =
            json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}});
        let out =
            patch(original, json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}));
        assert_eq!(out, Ok(json!({"strategy": {"type": "Recreate"}})));
        let out = patch(json!({"s": {}}), json!({"s": {"$retainKeys": ["a"], "b": 1}}));
        assert_eq!(out, malformed("invalid patch format of retainKeys"));
    }

    #[test]
    fn faults() {
        let original = json!({"containers": [{"name": "a"}]});
        let out = patch(original.clone(), json!({"containers": [{"image": "z"}]}));
        assert_eq!(
            out,
            unfit("map: map[image:z] does not contain declared merge key: name".to_owned())
        );
        let out = patch(
            original,
            json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "n"}]}),
        );
        assert_eq!(
            out,
            unfit("The order in patch list:\n[map[name:n]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n".to_owned())
        );
    }
}
