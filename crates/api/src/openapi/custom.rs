//! Custom resources as OpenAPI schemas, out of the `openAPIV3Schema` of their definitions.
//!
//! Not here: what a definition's schema may say (`crate::crd`), operations (`paths`).

use serde_json::{Map, Value, json};

use super::Form;
use crate::docs::Docs;
use crate::kinds::Kind;

/// The name of a type: `com.example.v1.Widget`.
pub fn type_name(kind: &Kind, name: &str) -> String {
    let mut group: Vec<&str> = kind.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{name}", group.join("."), kind.version)
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// A type with the fields that all objects have.
const OBJECT: &str = "io.k8s.api.core.v1.Pod";
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// The schema of a kind; of one whose definition says nothing, any object's.
pub fn schema(docs: &Docs, kind: &Kind, raw: Option<Value>, form: Form) -> Value {
    let mut schema = match raw {
        Some(Value::Object(raw)) => raw,
        _ => Map::new(),
    };
    let is_plain = schema.is_empty();
    let keeps_unknown = schema.get(KEEPS).is_some_and(|v| v == true);
    // Old clients would refuse whatever is not listed.
    if is_plain || form == Form::V2 && keeps_unknown {
        schema = Map::from_iter([("type".to_owned(), "object".into())]);
    } else {
        if form == Form::V2 {
            lower(&mut schema);
        }
        int_or_string(&mut schema, form);
        embedded(docs, &mut schema, form);
        let properties = properties(&mut schema);
        properties.insert("metadata".into(), metadata(docs, form));
        for field in ["apiVersion", "kind"] {
            let text = docs.of_field(OBJECT, field);
            properties.insert(field.into(), json!({"type": "string", "description": text}));
        }
    }
    gvk(&mut schema, kind, kind.kind);
    schema.into()
}

/// The schema of a kind's lists.
pub fn list_schema(docs: &Docs, kind: &Kind, form: Form) -> Value {
    let list = kind.list_kind();
    let item = form.reference(&type_name(kind, kind.kind));
    let meta = reference(&format!("{META}.ListMeta"), "Standard list metadata.", form);
    let text = |field: &str| docs.of_field(OBJECT, field);
    let schema = json!({
        "description": format!("{list} is a list of {}", kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": text("apiVersion")},
            "kind": {"type": "string", "description": text("kind")},
            "items": {
                "type": "array", "items": item,
                "description": format!("List of {}. More info: {CONVENTIONS}", kind.plural),
            },
            "metadata": meta,
        },
    });
    let mut map = match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    gvk(&mut map, kind, &list);
    map.into()
}

fn gvk(schema: &mut Map<String, Value>, kind: &Kind, name: &str) {
    let value = json!([{"group": kind.group, "version": kind.version, "kind": name}]);
    schema.insert("x-kubernetes-group-version-kind".into(), value);
}

/// A reference with a text; in version 3 nothing counts beside a reference, so that it is wrapped.
fn reference(name: &str, text: &str, form: Form) -> Value {
    let mut value = match form {
        Form::V2 => form.reference(name),
        Form::V3 => json!({"allOf": [form.reference(name)]}),
    };
    value["description"] = text.into();
    value
}

fn metadata(docs: &Docs, form: Form) -> Value {
    let text = docs.of_field(OBJECT, "metadata");
    reference(&format!("{META}.ObjectMeta"), &text, form)
}

fn properties(schema: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let value = schema.entry("properties").or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// The schemas inside a schema that describe values of their own.
fn each(schema: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.values_mut().filter_map(Value::as_object_mut).for_each(&mut *visit);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(key) {
            visit(inner);
        }
    }
}

const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";

/// Brings a schema to what version 2, and its old clients, can express.
fn lower(schema: &mut Map<String, Value>) {
    for junctor in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(junctor);
    }
    let is = |schema: &Map<String, Value>, key: &str| schema.get(key).is_some_and(|v| v == true);
    let nullable = |schema: Option<&Value>| schema.is_some_and(|s| s["nullable"] == true);
    let optional: Vec<String> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(_, property)| nullable(Some(property)))
        .map(|(name, _)| name.clone())
        .collect();
    if nullable(schema.get("additionalProperties")) {
        schema.remove("required");
    } else if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| !optional.iter().any(|o| name == o));
        if required.is_empty() {
            schema.remove("required");
        }
    }
    let keeps = is(schema, KEEPS);
    if is(schema, "nullable") {
        schema.remove("type");
        schema.remove("nullable");
        schema.remove("items");
        schema.remove("properties");
    }
    if keeps {
        schema.remove("items");
        schema.remove("properties");
    }
    let of =
        |schema: &Map<String, Value>, name: &str| schema.get("type").is_some_and(|t| t == name);
    if of(schema, "array") && !schema.contains_key("items") || keeps && of(schema, "object") {
        schema.remove("type");
    }
    each(schema, &mut lower);
}

/// Says what a number or text may be, where version 3 can.
fn int_or_string(schema: &mut Map<String, Value>, form: Form) {
    let both = schema.get("x-kubernetes-int-or-string").is_some_and(|v| v == true);
    if both && form == Form::V3 && !schema.contains_key("anyOf") && !schema.contains_key("allOf") {
        schema.insert("anyOf".into(), json!([{"type": "integer"}, {"type": "string"}]));
    }
    each(schema, &mut |inner| int_or_string(inner, form));
}

/// Objects inside objects have their fields, too.
fn embedded(docs: &Docs, schema: &mut Map<String, Value>, form: Form) {
    each(schema, &mut |inner| embedded(docs, inner, form));
    let is = |key: &str| schema.get(key).is_some_and(|v| v == true);
    if !is("x-kubernetes-embedded-resource") || form == Form::V2 && is(KEEPS) {
        return;
    }
    let properties = properties(schema);
    properties.insert("metadata".into(), metadata(docs, form));
    for field in ["apiVersion", "kind"] {
        let text = docs.of_field(OBJECT, field);
        properties.insert(field.into(), json!({"type": "string", "description": text}));
    }
    let required = schema.entry("required").or_insert_with(|| json!([]));
    for field in ["kind", "apiVersion"] {
        if let Some(list) = required.as_array_mut()
            && !list.iter().any(|name| name == field)
        {
            list.push(field.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_2_says_less() {
        let raw = json!({
            "type": "object", "required": ["a", "n"], "anyOf": [{"required": ["b"]}],
            "properties": {
                "a": {"type": "string", "nullable": true},
                "n": {"x-kubernetes-int-or-string": true},
                "any": {"type": "object", KEEPS: true, "properties": {"x": {"type": "string"}}},
                "list": {"type": "array", "nullable": true, "items": {"type": "string"}},
            },
        });
        let Value::Object(mut schema) = raw else { panic!("an object") };
        let mut whole = schema.clone();
        lower(&mut schema);
        int_or_string(&mut schema, Form::V2);
        let expected = json!({
            "type": "object", "required": ["n"],
            "properties": {
                "a": {}, "n": {"x-kubernetes-int-or-string": true}, "any": {KEEPS: true},
                "list": {},
            },
        });
        assert_eq!(Value::from(schema), expected);
        int_or_string(&mut whole, Form::V3);
        let either = json!([{"type": "integer"}, {"type": "string"}]);
        assert_eq!(whole["properties"]["n"]["anyOf"], either);
    }
}
