//! What makes a schema structural: every value has a stated type, combinations only restrict.
//!
//! Faults come sorted, as upstream's do. Not here: other rules for schemas (`schema`).

use serde_json::{Value, json};

use super::{Faults, list, text};
use crate::crd::structural::compile;
use crate::status::Cause;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Why a schema cannot be read as a structural one at all.
pub(super) fn unreadable(schema: &Value) -> Option<String> {
    const UNSUPPORTED: [&str; 7] = [
        "id",
        "$schema",
        "$ref",
        "patternProperties",
        "dependencies",
        "additionalItems",
        "definitions",
    ];
    let map = schema.as_object()?;
    for key in UNSUPPORTED {
        let used = map.get(key).is_some_and(|v| !v.is_null() && *v != json!("") && *v != json!({}));
        if used {
            let name = key.trim_start_matches(if key == "$schema" { '$' } else { '\0' });
            return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
        }
    }
    if map.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if map.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(false)) {
        let why =
            "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.to_owned());
    }
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    let single = ["items", "additionalProperties", "not"].into_iter().filter_map(|k| map.get(k));
    let many = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|k| list(schema, k));
    properties.map(|(_, p)| p).chain(single).chain(many).find_map(unreadable)
}

/// The faults of a schema's structure.
pub(super) fn check(schema: &Value, path: &str) -> Faults {
    let mut faults = Vec::new();
    invariants(schema, Level::Root, path, &mut faults);
    complete(schema, schema, path, path, &mut faults);
    faults.sort_by_key(Cause::line);
    faults
}

fn is_int_or_string(parts: &[Value]) -> bool {
    parts == [json!({"type": "integer"}), json!({"type": "string"})]
}

fn invariants(schema: &Value, level: Level, path: &str, faults: &mut Faults) {
    let ty = text(schema, "type");
    let flag = |key: &str| schema[key] == true;
    let (embedded, preserve) =
        (flag("x-kubernetes-embedded-resource"), flag("x-kubernetes-preserve-unknown-fields"));
    let int_or_string = flag("x-kubernetes-int-or-string");
    if ty == "array" && schema.get("items").is_none_or(Value::is_null) {
        faults.push(Cause::required(format!("{path}.items"), "must be specified"));
    }
    if let item @ Value::Object(_) = &schema["items"] {
        invariants(item, Level::Item, &format!("{path}.items"), faults);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        invariants(property, Level::Field, &format!("{path}.properties[{key}]"), faults);
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|a| !a.is_null()) {
        let field = format!("{path}.additionalProperties");
        if level == Level::Root {
            faults.push(Cause::forbidden(field.as_str(), "must not be used at the root"));
        }
        if additional.is_object() {
            invariants(additional, Level::Field, &field, faults);
        }
        if embedded {
            let why = "must not be used if x-kubernetes-embedded-resource is set";
            faults.push(Cause::forbidden(field, why));
        }
    }
    for (key, set) in [
        ("x-kubernetes-preserve-unknown-fields", preserve),
        ("x-kubernetes-embedded-resource", embedded),
    ] {
        if int_or_string && set {
            let why = "must be false if x-kubernetes-int-or-string is true";
            faults.push(Cause::invalid(format!("{path}.{key}"), &json!(true), why));
        }
    }
    values(schema, path, faults);
    if embedded && ty != "object" {
        let (field, why) =
            (format!("{path}.type"), "must be object if x-kubernetes-embedded-resource is true");
        if ty.is_empty() {
            faults.push(Cause::required(field, why));
        } else {
            faults.push(Cause::invalid(field, &json!(ty), why));
        }
    } else if ty.is_empty() && !int_or_string && !preserve {
        let what = match level {
            Level::Root => "at the root",
            Level::Item => "for specified array items",
            Level::Field => "for specified object fields",
        };
        faults.push(Cause::required(format!("{path}.type"), &format!("must not be empty {what}")));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        let why = "must be object at the root";
        faults.push(Cause::invalid(format!("{path}.type"), &json!(ty), why));
    }
    let has_meta = level == Level::Root || embedded;
    let property = |key: &str| properties.and_then(|p| p.get(key));
    for key in ["kind", "apiVersion"] {
        if let Some(found) = property(key).filter(|p| has_meta && text(p, "type") != "string") {
            let field = format!("{path}.properties[{key}].type");
            faults.push(Cause::invalid(field, &json!(text(found, "type")), "must be string"));
        }
    }
    if let Some(meta) = property("metadata") {
        metadata(meta, has_meta, level, &format!("{path}.properties[metadata]"), faults);
    }
    if embedded && !preserve && properties.is_none_or(serde_json::Map::is_empty) {
        let why = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        faults.push(Cause::required(format!("{path}.properties"), why));
    }
}

fn metadata(meta: &Value, has_meta: bool, level: Level, path: &str, faults: &mut Faults) {
    if has_meta && text(meta, "type") != "object" {
        let field = format!("{path}.type");
        faults.push(Cause::invalid(field, &json!(text(meta, "type")), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let names = |map: &serde_json::Map<String, Value>| {
        map.keys().all(|key| key == "name" || key == "generateName")
    };
    let fine = meta.as_object().into_iter().flatten().all(|(key, value)| match key.as_str() {
        "type" | "default" => true,
        "properties" => value.as_object().is_some_and(names),
        _ => false,
    });
    if !fine {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        faults.push(Cause::forbidden(path, why));
    }
}

/// What a node says of its value beyond its structure.
fn values(schema: &Value, path: &str, faults: &mut Faults) {
    let any = list(schema, "anyOf");
    if !is_int_or_string(any) {
        for (at, part) in any.iter().enumerate() {
            nested(part, false, &format!("{path}.anyOf[{at}]"), faults);
        }
    }
    for (at, part) in list(schema, "allOf").iter().enumerate() {
        let skip = at == 0 && is_int_or_string(list(part, "anyOf"));
        nested(part, skip, &format!("{path}.allOf[{at}]"), faults);
    }
    for (at, part) in list(schema, "oneOf").iter().enumerate() {
        nested(part, false, &format!("{path}.oneOf[{at}]"), faults);
    }
    if let not @ Value::Object(_) = &schema["not"] {
        nested(not, false, &format!("{path}.not"), faults);
    }
    let pattern = text(schema, "pattern");
    if let Err(why) = compile(pattern) {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        faults.push(Cause::invalid(format!("{path}.pattern"), &json!(pattern), &why));
    }
}

/// What may not stand in a combination, with how it is refused.
const FORBIDDEN: [(&str, &str); 12] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
];

fn nested(schema: &Value, skip_any: bool, path: &str, faults: &mut Faults) {
    if skip_any {
        let mut rest = schema.clone();
        rest.as_object_mut().map(|map| map.remove("anyOf"));
        values(&rest, path, faults);
    } else {
        for (at, part) in list(schema, "anyOf").iter().enumerate() {
            nested(part, false, &format!("{path}.anyOf[{at}]"), faults);
        }
        let mut rest = schema.clone();
        rest.as_object_mut().map(|map| map.remove("anyOf"));
        values(&rest, path, faults);
    }
    if let item @ Value::Object(_) = &schema["items"] {
        nested(item, false, &format!("{path}.items"), faults);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, property) in properties.into_iter().flatten() {
        nested(property, false, &format!("{path}.properties[{key}]"), faults);
    }
    for (key, why) in FORBIDDEN {
        let set = match schema.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => {
                key == "default" && schema[key] == false
            }
            Some(Value::String(text)) => !text.is_empty() || key == "default",
            Some(Value::Array(items)) => !items.is_empty(),
            Some(_) => true,
        };
        if set {
            faults.push(Cause::forbidden(format!("{path}.{key}"), why));
        }
    }
    if !list(schema, "x-kubernetes-validations").is_empty() {
        let field = format!("{path}.x-kubernetes-validations");
        faults.push(Cause::forbidden(field, "must be empty to be structural"));
    }
    if properties.is_some_and(|p| p.contains_key("metadata")) {
        let field = format!("{path}.properties[metadata]");
        faults.push(Cause::forbidden(field, "must not be specified in a nested context"));
    }
}

/// Whether what combinations speak of is there in the structure. `at` and `from` lead to the
/// structure and to the combination.
fn complete(part: &Value, structure: &Value, at: &str, from: &str, faults: &mut Faults) {
    if let not @ Value::Object(_) = &part["not"] {
        complete_nested(not, Some(structure), at, &format!("{from}.not"), faults);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, inner) in list(part, key).iter().enumerate() {
            complete_nested(inner, Some(structure), at, &format!("{from}.{key}[{i}]"), faults);
        }
    }
}

fn complete_nested(
    part: &Value,
    structure: Option<&Value>,
    at: &str,
    from: &str,
    faults: &mut Faults,
) {
    let Some(structure) = structure.filter(|s| s.is_object()) else {
        faults.push(Cause::required(at, &format!("because it is defined in {from}")));
        return;
    };
    complete(part, structure, at, from, faults);
    if let item @ Value::Object(_) = &part["items"] {
        let (at, from) = (format!("{at}.items"), format!("{from}.items"));
        complete_nested(item, structure.get("items"), &at, &from, faults);
    }
    for (key, inner) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let (at, from) = (format!("{at}.properties[{key}]"), format!("{from}.properties[{key}]"));
        let below = structure.get("properties").and_then(|p| p.get(key));
        complete_nested(inner, below, &at, &from, faults);
    }
}
