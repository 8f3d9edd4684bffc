//! Values seen through their schema: which fields they have, how two differ, how one merges into
//! another, and what is left without some.
//!
//! The semantics are those of upstream's structured merge and diff. Not here: owners (`managers`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::fields::{FieldSet, field_element, print};
use super::schema::{Form, Keys, Schema, Shape};
use crate::golang;

/// Whether a value itself is meant, and what is meant below it.
#[derive(Default)]
pub(super) struct Found {
    pub here: bool,
    pub below: FieldSet,
}

impl Found {
    fn leaf() -> Self {
        Self { here: true, below: FieldSet::default() }
    }
}

/// How two values differ.
#[derive(Default)]
pub(super) struct Difference {
    pub added: Found,
    pub modified: Found,
    pub removed: Found,
}

/// A shape settled for the values at hand.
enum Settled<'a> {
    Leaf,
    Map,
    List(Option<Keys<'a>>),
}

fn settle<'a>(schema: Schema<'a>, values: [Option<&Value>; 2]) -> Settled<'a> {
    let mut known = values.into_iter().flatten().filter(|v| !v.is_null()).peekable();
    let shape = schema.shape();
    if known.peek().is_none() {
        return match shape {
            Shape::Leaf | Shape::Deduced => Settled::Leaf,
            Shape::Map => Settled::Map,
            Shape::Set => Settled::List(None),
            Shape::Keyed(keys) => Settled::List(Some(keys)),
        };
    }
    // A value that does not have the schema's form is taken whole.
    match shape {
        Shape::Map | Shape::Deduced if known.all(Value::is_object) => Settled::Map,
        Shape::Set if known.all(Value::is_array) => Settled::List(None),
        Shape::Keyed(keys) if known.all(Value::is_array) => Settled::List(Some(keys)),
        _ => Settled::Leaf,
    }
}

fn map_of(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn list_of(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The element under which a list's item is known.
fn element(
    item_schema: Schema<'_>,
    keys: Option<Keys<'_>>,
    item: &Value,
) -> Result<Box<str>, String> {
    let Some(keys) = keys else {
        return match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".into())
            }
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => {
                Err("associative list without keys has an element that's an explicit null".into())
            }
            scalar => Ok(format!("v:{scalar}").into()),
        };
    };
    let map = match item {
        Value::Object(map) => map,
        Value::Null => return Err("associative list with keys may not have a null element".into()),
        _ => return Err("associative list with keys may not have non-map elements".into()),
    };
    let mut found: Vec<(&str, Cow<'_, Value>)> = Vec::new();
    for key in keys.iter() {
        let given = map.get(key).map(Cow::Borrowed);
        if let Some(value) = given.or_else(|| item_schema.key_default(key).map(Cow::Owned)) {
            found.push((key, value));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(crate::names::quote).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    found.sort_by_key(|(key, _)| *key);
    let mut text = String::from("k:{");
    for (at, (key, value)) in found.into_iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(text, "{comma}{}:{value}", Value::from(key));
    }
    text.push('}');
    Ok(text.into())
}

/// What is known of a field by name; what no schema knows is deduced.
fn child<'a>(schema: Schema<'a>, name: &str) -> (Schema<'a>, bool) {
    schema.child(name).map_or((Schema::Deduced, false), |c| (c.schema, c.declared))
}

/// The fields that a value has.
pub(super) fn fields(schema: Schema<'_>, value: &Value) -> Found {
    match settle(schema, [Some(value), None]) {
        Settled::Leaf => Found::leaf(),
        Settled::Map => {
            let mut found = Found::default();
            for (name, value) in map_of(Some(value)).into_iter().flatten() {
                let (of, declared) = child(schema, name);
                let inner = fields(of, value);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                let here = inner.here || empty || !declared;
                found.below.add(field_element(name), here, inner.below);
            }
            found
        }
        Settled::List(keys) => {
            let mut found = Found::default();
            for item in list_of(Some(value)) {
                if let Ok(element) = element(schema.item(), keys, item) {
                    let inner = fields(schema.item(), item);
                    found.below.add(element, true, inner.below);
                }
            }
            found
        }
    }
}

fn compare_leaf(old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut out = Difference::default();
    match (old, new) {
        (None, Some(_)) => out.added.here = true,
        (Some(_), None) => out.removed.here = true,
        (old, new) => out.modified.here = old != new,
    }
    out
}

impl Difference {
    /// Takes over how the values under an element differ.
    fn take(&mut self, element: impl Fn() -> Box<str>, inner: Difference) {
        let parts = [
            (&mut self.added, inner.added),
            (&mut self.modified, inner.modified),
            (&mut self.removed, inner.removed),
        ];
        for (all, one) in parts {
            if one.here || !one.below.is_empty() {
                all.below.add(element(), one.here, one.below);
            }
        }
    }
}

/// How two values differ, field by field. At least one is there.
pub(super) fn compare(schema: Schema<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut out = Difference::default();
    match settle(schema, [old, new]) {
        Settled::Leaf => return compare_leaf(old, new),
        Settled::Map => {
            let (a, b) = (map_of(old), map_of(new));
            if a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty) {
                return compare_leaf(old, new);
            }
            compare_maps(schema, a, b, &mut out);
        }
        Settled::List(keys) => {
            let (a, b) = (list_of(old), list_of(new));
            if a.is_empty() && b.is_empty() {
                return compare_leaf(old, new);
            }
            compare_lists(schema.item(), keys, a, b, &mut out);
        }
    }
    match (old, new) {
        (None, _) => out.added.here = true,
        (_, None) => out.removed.here = true,
        _ => {}
    }
    out
}

/// How two objects differ, field by field.
pub(super) fn compare_objects(
    schema: Schema<'_>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Difference {
    let mut out = Difference::default();
    compare_maps(schema, Some(old), Some(new), &mut out);
    out
}

fn compare_maps(
    schema: Schema<'_>,
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    out: &mut Difference,
) {
    let names = old.into_iter().flat_map(Map::keys);
    let more = new.into_iter().flat_map(Map::keys);
    let more = more.filter(|k| !old.is_some_and(|old| old.contains_key(*k)));
    for name in names.chain(more) {
        let (x, y) = (old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
        if x != y {
            let inner = compare(child(schema, name).0, x, y);
            out.take(|| field_element(name), inner);
        }
    }
}

fn compare_lists(
    item: Schema<'_>,
    keys: Option<Keys<'_>>,
    old: &[Value],
    new: &[Value],
    out: &mut Difference,
) {
    let mut groups: BTreeMap<Box<str>, [Vec<&Value>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for value in list {
            if let Ok(element) = element(item, keys, value) {
                groups.entry(element).or_default()[side].push(value);
            }
        }
    }
    for (element, [a, b]) in groups {
        match (a.len(), b.len()) {
            (0 | 1, 0 | 1) => {
                let inner = compare(item, a.first().copied(), b.first().copied());
                out.take(|| element.clone(), inner);
            }
            (2.., 2..) => {
                out.modified.below.add(element, a != b, FieldSet::default());
            }
            (2.., _) => {
                if let Some(value) = b.first() {
                    out.take(|| element.clone(), compare(item, None, Some(value)));
                }
                out.removed.below.add(element, true, FieldSet::default());
            }
            (_, 2..) => {
                if let Some(value) = a.first() {
                    out.take(|| element.clone(), compare(item, Some(value), None));
                }
                out.added.below.add(element, true, FieldSet::default());
            }
        }
    }
}

/// `config` laid over `live`: maps and lists by item, the rest replaced.
pub(super) fn merge(
    schema: Schema<'_>,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Option<Value> {
    let over = || config.or(live).cloned();
    match settle(schema, [live, config]) {
        Settled::Leaf => over(),
        Settled::Map => {
            let (a, b) = (map_of(live), map_of(config));
            if a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty) {
                return over();
            }
            let mut out = Map::new();
            let names: HashSet<&String> = a.into_iter().chain(b).flat_map(Map::keys).collect();
            for name in names {
                let (x, y) = (a.and_then(|m| m.get(name)), b.and_then(|m| m.get(name)));
                if let Some(value) = merge(child(schema, name).0, x, y) {
                    out.insert(name.clone(), value);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        Settled::List(keys) => {
            let (a, b) = (list_of(live), list_of(config));
            if a.is_empty() && b.is_empty() {
                return over();
            }
            let out = merge_lists(schema.item(), keys, a, b);
            (!out.is_empty()).then_some(Value::Array(out))
        }
    }
}

/// The items of a list with the elements under which they are known.
struct Items<'v> {
    in_order: Vec<(Box<str>, &'v Value)>,
    /// What can be merged into: none of several that are known under one element.
    single: HashMap<Box<str>, Option<&'v Value>>,
}

impl<'v> Items<'v> {
    fn of(item: Schema<'_>, keys: Option<Keys<'_>>, list: &'v [Value]) -> Self {
        let mut single = HashMap::with_capacity(list.len());
        let known = |value: &'v Value| Some((element(item, keys, value).ok()?, value));
        let in_order: Vec<_> = list.iter().filter_map(known).collect();
        for (element, value) in &in_order {
            single.entry(element.clone()).and_modify(|v| *v = None).or_insert(Some(*value));
        }
        Self { in_order, single }
    }

    fn has(&self, element: &str) -> bool {
        self.single.contains_key(element)
    }

    fn single(&self, element: &str) -> Option<&'v Value> {
        self.single.get(element).copied().flatten()
    }
}

/// The config's items in their order, and each item that only the live list has behind the last item
/// of both that it follows there.
fn merge_lists(
    item: Schema<'_>,
    keys: Option<Keys<'_>>,
    live: &[Value],
    config: &[Value],
) -> Vec<Value> {
    let (live, config) = (Items::of(item, keys, live), Items::of(item, keys, config));
    let mut out = Vec::with_capacity(live.in_order.len().max(config.in_order.len()));
    let merged = |element: &str| merge(item, live.single(element), config.single(element));
    let mut wanted = config.in_order.iter().map(|(element, _)| &**element);
    // Items of both, by the config's order: what live items are placed by.
    let mut anchors = wanted.clone().filter(|element| live.has(element)).peekable();
    for (element, value) in &live.in_order {
        if !config.has(element) {
            out.extend(merge(item, Some(value), None));
        } else if anchors.next_if(|anchor| **anchor == **element).is_some() {
            for next in wanted.by_ref() {
                out.extend(merged(next));
                if *next == **element {
                    break;
                }
            }
        } else if anchors.peek().is_none() {
            // An item that the live list repeats, past the last anchor, lets one of the config's go first.
            out.extend(wanted.next().and_then(merged));
        }
    }
    out.extend(wanted.filter_map(merged));
    out
}

/// A value without the members of a set. `None` where nothing is left of a map or list that had no
/// match (an empty one stays empty).
pub(super) fn remove(schema: Schema<'_>, value: &Value, set: &FieldSet) -> Option<Value> {
    let inner = |of: Schema<'_>, value: &Value, below: &FieldSet| {
        remove(of, value, below).unwrap_or_else(|| match value {
            Value::Object(_) => Value::Object(Map::new()),
            Value::Array(_) => Value::Array(Vec::new()),
            _ => Value::Null,
        })
    };
    match settle(schema, [Some(value), None]) {
        Settled::Leaf if value.is_object() || value.is_array() => None,
        Settled::Leaf => Some(value.clone()),
        Settled::Map => {
            let mut matched = false;
            let mut out = Map::new();
            for (name, value) in map_of(Some(value)).into_iter().flatten() {
                let element = field_element(name);
                if set.has(&element) {
                    continue;
                }
                let kept = match set.below(&element) {
                    Some(below) => {
                        matched = true;
                        inner(child(schema, name).0, value, below)
                    }
                    None => value.clone(),
                };
                out.insert(name.clone(), kept);
            }
            (!out.is_empty() || matched).then_some(Value::Object(out))
        }
        Settled::List(keys) => {
            let mut matched = false;
            let mut out = Vec::new();
            for item in list_of(Some(value)) {
                let Ok(element) = element(schema.item(), keys, item) else {
                    out.push(item.clone());
                    continue;
                };
                if set.has(&element) {
                    continue;
                }
                out.push(match set.below(&element) {
                    Some(below) => {
                        matched = true;
                        inner(schema.item(), item, below)
                    }
                    None => item.clone(),
                });
            }
            (!out.is_empty() || matched).then_some(Value::Array(out))
        }
    }
}

/// The set with each declared field that leads to members as a member itself.
pub(super) fn with_parents(schema: Option<Schema<'_>>, set: &FieldSet) -> FieldSet {
    let mut out = FieldSet::default();
    for member in set.members() {
        out.add(member.into(), true, FieldSet::default());
    }
    for (element, below) in set.children() {
        let (of, declared) = match (schema, element.strip_prefix("f:")) {
            (Some(schema), Some(name)) if !matches!(schema.shape(), Shape::Leaf) => {
                let (of, declared) = child(schema, name);
                (Some(of), declared)
            }
            (Some(schema), None) => (Some(schema.item()), false),
            _ => (None, false),
        };
        out.add(element.into(), declared, with_parents(of, below));
    }
    out
}

/// The paths of the maps and lists in a value that are owned whole.
pub(super) fn atomics(schema: Schema<'_>, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    find_atomics(schema, value, "", &mut out);
    out
}

fn find_atomics(schema: Schema<'_>, value: &Value, path: &str, out: &mut Vec<String>) {
    let leaf = matches!(schema.shape(), Shape::Leaf);
    match value {
        Value::Object(map) => {
            if leaf {
                out.push(path.to_owned());
                return;
            }
            for (name, value) in map {
                find_atomics(child(schema, name).0, value, &format!("{path}.{name}"), out);
            }
        }
        Value::Array(list) => {
            if leaf {
                out.push(path.to_owned());
                return;
            }
            for (at, item) in list.iter().enumerate() {
                find_atomics(schema.item(), item, &format!("{path}[{at}]"), out);
            }
        }
        _ => {}
    }
}

/// Faults of an applied configuration: fields that the schema does not have, items with the same
/// keys, values of another form.
pub(super) fn check(schema: Schema<'_>, value: &Value) -> Result<(), String> {
    let mut faults = Vec::new();
    check_at(schema, value, "", &mut faults);
    match faults.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        many => Err(format!("errors:\n  {}", many.join("\n  "))),
    }
}

fn check_at(schema: Schema<'_>, value: &Value, path: &str, faults: &mut Vec<String>) {
    let mut fault = |what: String| faults.push(format!("{path}: {what}"));
    if value.is_null() {
        return;
    }
    if let Some(why) = schema.form().and_then(|form| misfit(form, value)) {
        return fault(why);
    }
    match schema.shape() {
        shape @ (Shape::Leaf | Shape::Deduced) => match value {
            Value::Object(map) if schema.form() == Some(Form::Map) && schema.names_fields() => {
                check_fields(schema, map, path, faults);
            }
            Value::Array(list) if matches!(shape, Shape::Leaf) && schema.form().is_some() => {
                for (at, item) in list.iter().enumerate() {
                    check_at(schema.item(), item, &format!("{path}[{at}]"), faults);
                }
            }
            _ => {}
        },
        Shape::Map => match value {
            Value::Object(map) => check_fields(schema, map, path, faults),
            _ => fault(format!("expected map, got &{{{}}}", golang::plain(value))),
        },
        shape @ (Shape::Set | Shape::Keyed(_)) => {
            let Value::Array(list) = value else {
                return fault(format!("expected list, got &{{{}}}", golang::plain(value)));
            };
            let keys = if let Shape::Keyed(keys) = shape { Some(keys) } else { None };
            let mut seen = HashSet::new();
            for (i, item) in list.iter().enumerate() {
                let element = match element(schema.item(), keys, item) {
                    Ok(element) => element,
                    Err(why) => {
                        faults.push(format!("{path}: element {i}: {why}"));
                        continue;
                    }
                };
                let name = print(&element);
                if seen.contains(&element) {
                    faults.push(format!("{path}: duplicate entries for key {name}"));
                }
                check_at(schema.item(), item, &format!("{path}{name}"), faults);
                seen.insert(element);
            }
        }
    }
}

/// The fields of a map, up to one that the schema does not have.
fn check_fields(
    schema: Schema<'_>,
    map: &Map<String, Value>,
    path: &str,
    faults: &mut Vec<String>,
) {
    for (name, value) in map {
        let path = format!("{path}.{name}");
        match schema.child(name) {
            Some(child) => check_at(child.schema, value, &path, faults),
            None => return faults.push(format!("{path}: field not declared in schema")),
        }
    }
}

/// Why a value does not have a form.
fn misfit(form: Form, value: &Value) -> Option<String> {
    let (fits, wanted) = match form {
        Form::Text => (value.is_string(), "string"),
        Form::Number => (value.is_number(), "numeric (int or float)"),
        Form::Truth => (value.is_boolean(), "boolean"),
        Form::Scalar => (!value.is_array() && !value.is_object(), "any scalar"),
        Form::List => (value.is_array(), "list"),
        Form::Map => (value.is_object(), "map"),
    };
    let seen = || match form {
        Form::Text => format!("&value.valueUnstructured{{Value:{}}}", golang::syntax(value)),
        Form::Number => golang::type_name(value).to_owned(),
        _ => format!("&{{{}}}", golang::plain(value)),
    };
    (!fits).then(|| format!("expected {wanted}, got {}", seen()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_of_a_configuration_is_told() {
        let schema = json!({"type": "object", "properties": {
            "l": {"type": "array", "items": {"type": "integer"}},
            "m": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}},
            "o": {"type": "object", "x-kubernetes-map-type": "atomic",
                "properties": {"x": {"type": "string"}}}}});
        let faults = |value: Value| check(Schema::Custom(&schema), &value).expect_err("refused");
        assert_eq!(
            faults(json!({"l": ["a", 1, true]})),
            "errors:\n  .l[0]: expected numeric (int or float), got string\n  .l[2]: expected numeric (int or float), got bool"
        );
        assert_eq!(
            faults(json!({"m": [{"k": "a", "z": 1}, {"k": "a"}]})),
            "errors:\n  .m[k=\"a\"].z: field not declared in schema\n  .m: duplicate entries for key [k=\"a\"]"
        );
        assert_eq!(faults(json!({"o": {"y": 1}})), ".o.y: field not declared in schema");
    }
}
