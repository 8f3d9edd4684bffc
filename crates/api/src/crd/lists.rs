//! Lists that are sets or maps: no item, or no keys, twice. And the resources embedded in an object,
//! which say what they are.
//!
//! Not here: types and limits (`check`).

use serde_json::{Map, Value, json};

use super::structural::{Additional, ListType, Structural};
use crate::names::dns_1035_label;
use crate::status::Cause;

/// Items that are there twice.
pub fn duplicates(schema: &Structural, value: &Value, path: &str, faults: &mut Vec<Cause>) {
    match value {
        Value::Array(list) => {
            match schema.list_type {
                ListType::Atomic => {}
                ListType::Set => {
                    for (at, item) in list.iter().enumerate() {
                        if list[..at].contains(item) {
                            faults.push(Cause::duplicate(format!("{path}[{at}]"), item));
                        }
                    }
                }
                ListType::Map => {
                    let keys: Vec<Value> = list.iter().map(|item| keys(schema, item)).collect();
                    for (at, key) in keys.iter().enumerate() {
                        if keys[..at].contains(key) {
                            faults.push(Cause::duplicate(format!("{path}[{at}]"), key));
                        }
                    }
                }
            }
            if let Some(item) = schema.items.as_deref() {
                for (at, value) in list.iter().enumerate() {
                    duplicates(item, value, &format!("{path}[{at}]"), faults);
                }
            }
        }
        Value::Object(map) => each_field(schema, map, path, |field, value, path| {
            duplicates(field, value, path, faults);
        }),
        _ => {}
    }
}

fn keys(schema: &Structural, item: &Value) -> Value {
    let pairs =
        schema.list_keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone())));
    Value::Object(pairs.collect())
}

fn each_field(
    schema: &Structural,
    map: &Map<String, Value>,
    path: &str,
    mut visit: impl FnMut(&Structural, &Value, &str),
) {
    for (key, value) in map {
        if let Some(property) = schema.properties.get(key) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            visit(property, value, &path);
        } else if let Some(Additional::Schema(each)) = &schema.additional {
            visit(each, value, &format!("{path}[{key}]"));
        }
    }
}

/// What embedded resources lack.
pub fn embedded(schema: &Structural, value: &Value, path: &str, faults: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                resource(map, path, faults);
            }
            each_field(schema, map, path, |field, value, path| {
                embedded(field, value, path, faults);
            });
        }
        Value::Array(list) => {
            if let Some(item) = schema.items.as_deref() {
                for (at, value) in list.iter().enumerate() {
                    embedded(item, value, &format!("{path}[{at}]"), faults);
                }
            }
        }
        _ => {}
    }
}

fn resource(map: &Map<String, Value>, path: &str, faults: &mut Vec<Cause>) {
    for key in ["apiVersion", "kind"] {
        let field = format!("{path}.{key}");
        match map.get(key) {
            None => faults.push(Cause::required(field, "")),
            Some(Value::String(text)) if text.is_empty() => {
                faults.push(Cause::invalid(field, &json!(""), "must not be empty"));
            }
            Some(Value::String(text)) if key == "kind" => {
                let why = dns_1035_label(&text.to_lowercase());
                if !why.is_empty() {
                    let text_of = why.join(",");
                    let detail =
                        format!("may have mixed case, but should otherwise match: {text_of}");
                    faults.push(Cause::invalid(field, &json!(text), &detail));
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                let detail = format!("unexpected GroupVersion string: {text}");
                faults.push(Cause::invalid(field, &json!(text), &detail));
            }
            Some(Value::String(_)) => {}
            Some(other) => faults.push(Cause::invalid(field, other, "must be a string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_maps() {
        let schema = Structural::parse(&json!({"properties": {
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "m": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object"}}}}));
        let value = json!({"s": ["a", "a"], "m": [{"k": 1}, {"k": 1, "v": 2}]});
        let mut faults = Vec::new();
        duplicates(&schema, &value, "", &mut faults);
        let lines: Vec<String> = faults.iter().map(Cause::line).collect();
        assert_eq!(lines, ["m[1]: Duplicate value: {\"k\":1}", "s[1]: Duplicate value: \"a\""]);
    }
}
