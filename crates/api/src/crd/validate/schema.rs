//! What a schema may say, node by node: supported keywords, lists that are sets or maps, rules' texts.
//!
//! Not here: that it is structural (`structure`), that its defaults fit (`defaults`), CEL.

use serde_json::{Value, json};

use super::{Faults, defaults, list, structure, text};
use crate::crd::fieldpath;
use crate::crd::structural::Structural;
use crate::status::Cause;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const META: [&str; 3] = ["metadata", "kind", "apiVersion"];

/// Keywords that nothing supports, with the text that names them.
const UNSUPPORTED: [(&str, &str); 6] = [
    ("id", "id is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("$ref", "$ref is not supported"),
];

/// What may stand at the root where the status has a schema of its own, as upstream prints it.
const AT_ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations]";
/// And what may not.
const NOT_AT_ROOT: [&str; 15] = [
    "nullable",
    "default",
    "enum",
    "maxProperties",
    "minProperties",
    "allOf",
    "oneOf",
    "anyOf",
    "not",
    "additionalProperties",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
];

/// The faults of the schema of a version.
pub(super) fn check(schema: &Value, status: bool, path: &str, faults: &mut Faults) {
    let start = faults.len();
    if status {
        root_with_status(schema, path, faults);
    }
    if schema["nullable"] == true {
        let field = format!("{path}.nullable");
        faults.push(Cause::forbidden(field, "nullable cannot be true at the root"));
    }
    let unreadable = structure::unreadable(schema);
    if unreadable.is_none() {
        let faulty = structure::check(schema, path);
        if faulty.is_empty() {
            defaults::check(&Structural::parse(schema), path, faults);
        }
        faults.extend(faulty);
    }
    let walk = Walk { forbid_default: None, inside_meta: false };
    walk.node(schema, path, true, faults);
    if let Some(why) = unreadable.filter(|_| faults.len() == start) {
        faults.push(Cause::invalid(path, &json!(""), &why));
    }
}

fn root_with_status(schema: &Value, path: &str, faults: &mut Faults) {
    let ty = text(schema, "type");
    if !ty.is_empty() && ty != "object" {
        let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        faults.push(Cause::invalid(format!("{path}.type"), &json!(ty), why));
    } else if NOT_AT_ROOT.iter().any(|key| schema.get(key).is_some_and(|v| *v != false)) {
        let why = format!(
            "only {AT_ROOT} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        faults.push(Cause::invalid(path, schema, &why));
    }
}

/// What holds on the way down.
#[derive(Clone)]
struct Walk {
    /// Why there may be no default.
    forbid_default: Option<String>,
    inside_meta: bool,
}

impl Walk {
    fn node(&self, schema: &Value, path: &str, root: bool, faults: &mut Faults) {
        if !schema.is_object() {
            return;
        }
        self.keywords(schema, path, faults);
        if schema["uniqueItems"] == true {
            let why =
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            faults.push(Cause::forbidden(format!("{path}.uniqueItems"), why));
        }
        self.below(schema, path, root, faults);
        list_and_map(schema, path, faults);
        keyed(schema, path, faults);
        rules(schema, path, faults);
    }

    fn keywords(&self, schema: &Value, path: &str, faults: &mut Faults) {
        let ty = text(schema, "type");
        if !ty.is_empty() && !TYPES.contains(&ty) {
            faults.push(Cause::not_supported(format!("{path}.type"), &json!(ty), &TYPES));
        }
        if let Some(why) = &self.forbid_default
            && schema.get("default").is_some()
        {
            faults.push(Cause::forbidden(
                format!("{path}.default"),
                &format!("must not be set {why}"),
            ));
        }
        for (key, why) in UNSUPPORTED {
            let used = match schema.get(key) {
                None | Some(Value::Null) => false,
                Some(Value::Object(map)) => !map.is_empty() || key != "patternProperties",
                Some(Value::String(text)) => !text.is_empty(),
                Some(_) => true,
            };
            if used {
                faults.push(Cause::forbidden(format!("{path}.{key}"), why));
            }
        }
        if ty == "null" {
            let why = "type cannot be set to null, use nullable as an alternative";
            faults.push(Cause::forbidden(format!("{path}.type"), why));
        }
        if schema["items"].is_array() {
            let why = "items must be a schema object and not an array";
            faults.push(Cause::forbidden(format!("{path}.items"), why));
        }
        if self.inside_meta && schema["x-kubernetes-embedded-resource"] == true {
            let field = format!("{path}.x-kubernetes-embedded-resource");
            faults.push(Cause::forbidden(field, "must not be used inside of resource meta"));
        }
    }

    fn below(&self, schema: &Value, path: &str, root: bool, faults: &mut Faults) {
        let embedded = schema["x-kubernetes-embedded-resource"] == true;
        let properties = schema.get("properties").and_then(Value::as_object);
        if let Some(additional) = schema.get("additionalProperties") {
            if properties.is_some_and(|p| !p.is_empty()) && *additional != true {
                let why = "additionalProperties and properties are mutual exclusive";
                faults.push(Cause::forbidden(format!("{path}.additionalProperties"), why));
            }
            let mut walk = self.clone();
            if self.inside_meta {
                walk.forbid_default =
                    Some("inside additionalProperties applying to object metadata".into());
            }
            walk.node(additional, &format!("{path}.additionalProperties"), false, faults);
        }
        for (key, property) in properties.into_iter().flatten() {
            let mut walk = self.clone();
            if (root || embedded) && META.contains(&key.as_str()) {
                walk.inside_meta = true;
                if root {
                    walk.forbid_default = Some(format!("in top-level {key}"));
                }
            }
            walk.node(property, &format!("{path}.properties[{key}]"), false, faults);
        }
        self.node(&schema["not"], &format!("{path}.not"), false, faults);
        for key in ["allOf", "oneOf", "anyOf"] {
            for (at, part) in list(schema, key).iter().enumerate() {
                self.node(part, &format!("{path}.{key}[{at}]"), false, faults);
            }
        }
        let named = schema.get("definitions").and_then(Value::as_object).into_iter().flatten();
        for (key, part) in named {
            self.node(part, &format!("{path}.definitions[{key}]"), false, faults);
        }
        match &schema["items"] {
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.node(item, &format!("{path}.items[{at}]"), false, faults);
                }
            }
            item => self.node(item, &format!("{path}.items"), false, faults),
        }
    }
}

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";

fn list_and_map(schema: &Value, path: &str, faults: &mut Faults) {
    const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
    let ty = text(schema, "type");
    let of_type = |wanted: &str, key: &str, faults: &mut Faults| {
        let (field, why) =
            (format!("{path}.type"), format!("must be {wanted} if {key} is specified"));
        if ty.is_empty() {
            faults.push(Cause::required(field, &why));
        } else {
            faults.push(Cause::invalid(field, &json!(ty), &why));
        }
    };
    if schema[PRESERVE] == false {
        let field = format!("{path}.{PRESERVE}");
        faults.push(Cause::invalid(field, &json!(false), "must be true or undefined"));
    }
    let kind = |key: &str| schema.get(key).and_then(Value::as_str);
    if let Some(map) = kind(MAP_TYPE) {
        if ty != "object" {
            of_type("object", MAP_TYPE, faults);
        }
        if !["atomic", "granular"].contains(&map) {
            faults.push(unsupported(format!("{path}.{MAP_TYPE}"), map, &["atomic", "granular"]));
        }
    }
    let Some(list) = kind(LIST_TYPE) else { return };
    let item = &schema["items"];
    if ty != "array" {
        of_type("array", LIST_TYPE, faults);
    } else if list == "set" && item.is_object() {
        let why = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let item_list = item.get(LIST_TYPE).and_then(Value::as_str);
        let value = item_list.map_or(Value::Null, Value::from);
        match text(item, "type") {
            "array" if item_list.is_some_and(|l| l != "atomic") => {
                faults.push(Cause::invalid(format!("{path}.items.{LIST_TYPE}"), &value, why));
            }
            "object" if text(item, MAP_TYPE) != "atomic" => {
                faults.push(Cause::invalid(format!("{path}.items.{MAP_TYPE}"), &value, why));
            }
            _ => {}
        }
    }
    if !["atomic", "set", "map"].contains(&list) {
        faults.push(unsupported(format!("{path}.{LIST_TYPE}"), list, &["atomic", "set", "map"]));
    }
}

/// As `Cause::not_supported`, with the values in the order given.
fn unsupported(field: String, value: &str, allowed: &[&str]) -> Cause {
    let allowed: Vec<String> = allowed.iter().map(|a| format!("{a:?}")).collect();
    let message = format!("Unsupported value: {value:?}: supported values: {}", allowed.join(", "));
    Cause::new(crate::status::CauseReason::NotSupported, field, message)
}

fn keyed(schema: &Value, path: &str, faults: &mut Faults) {
    let keys = list(schema, LIST_KEYS);
    let list_type = schema.get(LIST_TYPE).and_then(Value::as_str);
    if !keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        let field = format!("{path}.{LIST_TYPE}");
        match list_type {
            None => faults.push(Cause::required(field, why)),
            Some("map") => {}
            Some(other) => faults.push(Cause::invalid(field, &json!(other), why)),
        }
    }
    let item = schema.get("items").filter(|v| !v.is_null());
    if list_type == Some("map") {
        if keys.is_empty() {
            let why = "must not be empty if x-kubernetes-list-type is map";
            faults.push(Cause::required(format!("{path}.{LIST_KEYS}"), why));
        }
        let field = format!("{path}.items");
        match item {
            None => {
                let why = "must have a schema if x-kubernetes-list-type is map";
                faults.push(Cause::required(field, why));
            }
            Some(many @ Value::Array(_)) => {
                let why = "must only have a single schema if x-kubernetes-list-type is map";
                faults.push(Cause::invalid(field, many, why));
            }
            Some(one) if text(one, "type") != "object" => {
                let why = "must be object if parent array's x-kubernetes-list-type is map";
                let field = format!("{field}.type");
                faults.push(Cause::invalid(field, &json!(text(one, "type")), why));
            }
            Some(one) => key_names(one, keys, path, faults),
        }
    }
    if let (Some("set" | "map"), Some(item)) = (list_type, item.filter(|i| i.is_object())) {
        required_keys(item, list_type.unwrap_or(""), keys, path, faults);
    }
}

fn key_names(item: &Value, keys: &[Value], path: &str, faults: &mut Faults) {
    let field = format!("{path}.{LIST_KEYS}");
    for (at, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or("");
        match item.get("properties").and_then(|p| p.get(name)) {
            Some(property) if matches!(text(property, "type"), "array" | "object") => {
                let field = format!("{path}.items.properties[{name}].type");
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                faults.push(Cause::invalid(field, &json!(text(item, "type")), why));
            }
            Some(_) => {}
            None => {
                let why = "entries must all be names of item properties";
                faults.push(Cause::invalid(field.as_str(), &json!(keys), why));
            }
        }
        if keys[..at].contains(key) {
            let why = "must not contain duplicate entries";
            faults.push(Cause::invalid(field.as_str(), &json!(keys), why));
        }
    }
}

fn required_keys(item: &Value, kind: &str, keys: &[Value], path: &str, faults: &mut Faults) {
    if item["nullable"] == true {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        faults.push(Cause::forbidden(format!("{path}.items.nullable"), &why));
    }
    if kind != "map" {
        return;
    }
    for key in keys {
        let name = key.as_str().unwrap_or("");
        let Some(property) = item.get("properties").and_then(|p| p.get(name)) else { continue };
        let field = format!("{path}.items.properties[{name}]");
        const WHY: &str = "this property is in x-kubernetes-list-map-keys, so it";
        if !list(item, "required").contains(key) && property.get("default").is_none() {
            let why = format!("{WHY} must have a default or be a required property");
            faults.push(Cause::required(format!("{field}.default"), &why));
        }
        if property["nullable"] == true {
            let why = format!("{WHY} cannot be nullable");
            faults.push(Cause::forbidden(format!("{field}.nullable"), &why));
        }
    }
}

const REASONS: [&str; 4] =
    ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

/// The texts of rules, without reading their expressions.
fn rules(schema: &Value, path: &str, faults: &mut Faults) {
    let broken = |text: &str| text.contains(['\n', '\r']);
    let all = list(schema, "x-kubernetes-validations");
    let parsed = (!all.is_empty()).then(|| Structural::parse(schema));
    for (at, rule) in all.iter().enumerate() {
        let field = |key: &str| format!("{path}.x-kubernetes-validations[{at}].{key}");
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            faults.push(Cause::required(field("rule"), "rule is not specified"));
        } else if !message.is_empty() && message.trim().is_empty() {
            let why = "must be non-empty if specified";
            faults.push(Cause::invalid(field("message"), &json!(message), why));
        } else if broken(message.trim()) {
            let why = "must not contain line breaks";
            faults.push(Cause::invalid(field("message"), &json!(message), why));
        } else if broken(expression) && message.trim().is_empty() {
            let why = "message must be specified if rule contains line breaks";
            faults.push(Cause::required(field("message"), why));
        }
        let by = text(rule, "messageExpression");
        if !by.is_empty() && by.trim().is_empty() {
            let why = "messageExpression must be non-empty if specified";
            faults.push(Cause::required(field("messageExpression"), why));
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str)
            && !REASONS.contains(&reason)
        {
            faults.push(Cause::not_supported(field("reason"), &json!(reason), &REASONS));
        }
        let place = text(rule, "fieldPath");
        if place.is_empty() {
            continue;
        }
        let mut wrong =
            |why: &str| faults.push(Cause::invalid(field("fieldPath"), &json!(place), why));
        if place.trim().is_empty() {
            wrong("must be non-empty if specified");
        }
        if broken(place) {
            wrong("must not contain line breaks");
        }
        if parsed.as_ref().is_some_and(|schema| fieldpath::find(place, schema).is_err()) {
            wrong("must be a valid path");
        }
    }
}
