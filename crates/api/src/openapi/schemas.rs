//! Types as OpenAPI schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::Form;
use crate::docs::Docs;
use crate::schema::{self, Field, FieldType, Gvk, ListKind, Type};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const CRD: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";

impl Form {
    fn prefix(self) -> &'static str {
        match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        }
    }

    /// A reference to a type.
    pub fn reference(self, name: &str) -> Value {
        json!({"$ref": format!("{}{name}", self.prefix())})
    }
}

/// Where the schemas of a document come from.
pub struct Schemas<'a> {
    pub form: Form,
    pub docs: Docs,
    /// The group-version-kinds of types that are the body of one in each version.
    pub every: &'a dyn Fn(&'static str) -> Value,
    /// The schemas of types that the table does not have.
    pub other: &'a dyn Fn(&Docs, &str, Form) -> Option<Value>,
}

/// The names of schemas that a value refers to.
pub fn references(value: &Value, form: Form, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, form, found)),
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().and_then(|text| text.strip_prefix(form.prefix())) {
                    Some(name) if key == "$ref" => {
                        found.insert(name.to_owned());
                    }
                    _ => references(value, form, found),
                }
            }
        }
        _ => {}
    }
}

/// `x-kubernetes-group-version-kind`, in order.
pub fn gvk_list<'a>(kinds: impl Iterator<Item = (&'a str, &'a str, &'a str)>) -> Value {
    let mut kinds: Vec<_> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
        .into_iter()
        .map(|(group, version, kind)| json!({"group": group, "version": version, "kind": kind}))
        .collect()
}

impl Schemas<'_> {
    /// The schema of a name: of a type in the table, or of one that is a scalar or anything at all.
    pub fn named(&self, name: &str) -> Option<Value> {
        let mut schema = match schema::type_of(name) {
            Some(ty) => self.message(ty),
            None => match scalar(name, self.form) {
                Some(schema) => schema,
                None => return (self.other)(&self.docs, name, self.form),
            },
        };
        describe(&mut schema, self.docs.of_type(name));
        Some(schema)
    }

    fn message(&self, ty: &Type) -> Value {
        let mut map = Map::new();
        map.insert("type".into(), "object".into());
        let property = |field: &Field| {
            let mut value = property(field, self.form);
            describe(&mut value, self.docs.of_field(ty.name, field.name));
            (field.name.to_owned(), value)
        };
        let properties: Map<String, Value> = ty.fields.iter().map(property).collect();
        if !properties.is_empty() {
            map.insert("properties".into(), properties.into());
        }
        let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
        if !required.is_empty() {
            map.insert("required".into(), required.into());
        }
        if ty.atomic {
            map.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        match &ty.gvk {
            Gvk::None => {}
            Gvk::Of(list) => {
                map.insert(
                    "x-kubernetes-group-version-kind".into(),
                    gvk_list(list.iter().copied()),
                );
            }
            Gvk::All => {
                let every = (self.every)(ty.short());
                map.insert("x-kubernetes-group-version-kind".into(), every);
            }
        }
        if let Some(unions) = ty.unions.and_then(|json| serde_json::from_str(json).ok()) {
            map.insert("x-kubernetes-unions".into(), unions);
        }
        map.into()
    }
}

/// The schema of a type that is a scalar, or anything at all.
fn scalar(name: &str, form: Form) -> Option<Value> {
    let v3 = form == Form::V3;
    let (package, short) = name.rsplit_once('.')?;
    if !package.starts_with("io.k8s.") {
        return None;
    }
    Some(match short {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Quantity" if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "Quantity" => json!({"type": "string"}),
        "IntOrString" if v3 => {
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
        }
        "IntOrString" => json!({"format": "int-or-string", "type": "string"}),
        "RawExtension" | "FieldsV1" => json!({"type": "object"}),
        "JSON"
        | "JSONSchemaPropsOrBool"
        | "JSONSchemaPropsOrArray"
        | "JSONSchemaPropsOrStringArray" => json!({}),
        _ => return None,
    })
}

fn describe(schema: &mut Value, text: String) {
    if !text.is_empty() {
        schema["description"] = text.into();
    }
}

fn property(field: &Field, form: Form) -> Value {
    let schema = of(&field.ty, form);
    let mut map = match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    if form == Form::V3 {
        // Beside a reference nothing else counts, so that it is wrapped.
        if !field.bare && map.contains_key("$ref") {
            map = Map::from_iter([("allOf".to_owned(), json!([map]))]);
        }
        if let Some(default) = default(field) {
            map.insert("default".into(), default);
        }
    }
    let mut put = |key: &str, value: Value| {
        map.insert(format!("x-kubernetes-{key}"), value);
    };
    match field.list {
        ListKind::Unset => {}
        ListKind::Atomic => put("list-type", "atomic".into()),
        ListKind::Set => put("list-type", "set".into()),
        ListKind::Map => put("list-type", "map".into()),
    }
    if !field.list_keys.is_empty() {
        put("list-map-keys", field.list_keys.to_vec().into());
    }
    if let Some(atomic) = field.map_atomic {
        put("map-type", if atomic { "atomic" } else { "granular" }.into());
    }
    let strategy = match (field.patch.merge, field.patch.retain_keys) {
        (true, true) => "merge,retainKeys",
        (true, false) => "merge",
        (false, true) => "retainKeys",
        (false, false) if field.patch.replace => "replace",
        (false, false) => "",
    };
    if !strategy.is_empty() {
        put("patch-strategy", strategy.into());
    }
    if let Some(key) = field.merge_key {
        put("patch-merge-key", key.into());
    }
    map.into()
}

/// What the published schema gives as the default: a stated one, or the zero of what is always
/// written.
fn default(field: &Field) -> Option<Value> {
    if let Some(json) = field.default {
        return serde_json::from_str(json).ok();
    }
    match &field.ty {
        FieldType::Ref(_) if field.nested => Some(json!({})),
        _ if !field.zero_default && (field.presence || !field.keep_empty) => None,
        FieldType::String => Some("".into()),
        FieldType::Int32 | FieldType::Int64 | FieldType::Double => Some(0.into()),
        FieldType::Bool => Some(false.into()),
        _ => None,
    }
}

fn of(ty: &FieldType, form: Form) -> Value {
    match ty {
        FieldType::String => json!({"type": "string"}),
        FieldType::Int32 => json!({"type": "integer", "format": "int32"}),
        FieldType::Int64 => json!({"type": "integer", "format": "int64"}),
        FieldType::Double => json!({"type": "number", "format": "double"}),
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::Bytes => json!({"type": "string", "format": "byte"}),
        FieldType::Ref(to) => form.reference(to.name),
        FieldType::List(item) => json!({"type": "array", "items": of(item, form)}),
        FieldType::Map(item) => {
            json!({"type": "object", "additionalProperties": of(item, form)})
        }
        special => form.reference(&special_name(special)),
    }
}

fn special_name(ty: &FieldType) -> String {
    match ty {
        FieldType::Time => format!("{META}Time"),
        FieldType::MicroTime => format!("{META}MicroTime"),
        FieldType::FieldSet => format!("{META}FieldsV1"),
        FieldType::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity".into(),
        FieldType::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString".into(),
        FieldType::Raw => "io.k8s.apimachinery.pkg.runtime.RawExtension".into(),
        FieldType::SchemaOrBool => format!("{CRD}JSONSchemaPropsOrBool"),
        FieldType::SchemaOrArray => format!("{CRD}JSONSchemaPropsOrArray"),
        FieldType::SchemaOrStrings => format!("{CRD}JSONSchemaPropsOrStringArray"),
        _ => format!("{CRD}JSON"),
    }
}
