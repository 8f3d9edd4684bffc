//! What server-side apply must know of a value's type: whether it is owned whole, field by field, or
//! item by item.
//!
//! One view over the built-in types and the schemas of custom resources.

use serde_json::Value;

use crate::codec::conform;
use crate::object::Object;
use crate::schema::{Field, FieldType, ListKind, Type, type_of};

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub enum Schema<'a> {
    /// A built-in message.
    Type(&'static Type),
    /// A field of one, with what it says of its list or map.
    Field(&'static Field),
    /// An item of a list or map.
    Item(&'static FieldType),
    /// A JSON schema with the `x-kubernetes-` extensions, as custom resources declare it.
    Custom(&'a Value),
    /// The same for a whole object: with `apiVersion`, `kind` and `metadata`.
    CustomObject(&'a Value),
    /// Nothing is known: maps by field, lists whole.
    Deduced,
}

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Text,
    Number,
    Truth,
    /// A text, a number or a truth value.
    Scalar,
    List,
    Map,
}

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'a> {
    /// As a whole.
    Leaf,
    /// By field.
    Map,
    /// Item by item, by value.
    Set,
    /// Item by item, by these keys.
    Keyed(Keys<'a>),
    /// Whole or by field, as the value is.
    Deduced,
}

/// The keys of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Keys<'a> {
    Fixed(&'static [&'static str]),
    Custom(&'a [Value]),
}

impl<'a> Keys<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = &'a str> {
        let (fixed, custom): (&'a [&'a str], &'a [Value]) = match self {
            Keys::Fixed(keys) => (keys, &[]),
            Keys::Custom(keys) => (&[], keys),
        };
        fixed.iter().copied().chain(custom.iter().filter_map(Value::as_str))
    }
}

/// The type under a field's name.
pub(super) struct Child<'a> {
    pub schema: Schema<'a>,
    /// Whether the type names the field, rather than being a map of any.
    pub declared: bool,
}

impl From<&'static Type> for Schema<'_> {
    fn from(ty: &'static Type) -> Self {
        Schema::Type(ty)
    }
}

fn shape_of(ty: &'static FieldType) -> Shape<'static> {
    match ty {
        FieldType::Ref(to) if to.get().atomic => Shape::Leaf,
        FieldType::Ref(_) | FieldType::Map(_) => Shape::Map,
        FieldType::Json
        | FieldType::SchemaOrBool
        | FieldType::SchemaOrArray
        | FieldType::SchemaOrStrings => Shape::Deduced,
        _ => Shape::Leaf,
    }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or("")
}

fn custom_shape(schema: &Value) -> Shape<'_> {
    let known = ["properties", "additionalProperties", "items"];
    match text(schema, "type") {
        "object" if text(schema, "x-kubernetes-map-type") == "atomic" => Shape::Leaf,
        "object" if known.iter().all(|k| schema.get(k).is_none()) => Shape::Deduced,
        "object" => Shape::Map,
        "array" => match text(schema, "x-kubernetes-list-type") {
            "set" => Shape::Set,
            "map" => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                Shape::Keyed(Keys::Custom(keys.map_or(&[], Vec::as_slice)))
            }
            _ => Shape::Leaf,
        },
        "" => Shape::Deduced,
        _ => Shape::Leaf,
    }
}

impl<'a> Schema<'a> {
    /// The object that a first write is compared with.
    pub(super) fn empty(self) -> Object {
        match self {
            Schema::Type(ty) => Object(conform::zero(ty)),
            _ => Object::default(),
        }
    }

    pub(super) fn shape(self) -> Shape<'a> {
        match self {
            Schema::Type(ty) if ty.atomic => Shape::Leaf,
            Schema::Type(_) | Schema::CustomObject(_) => Shape::Map,
            Schema::Item(ty) => shape_of(ty),
            Schema::Field(field) if field.map_atomic == Some(true) => Shape::Leaf,
            Schema::Field(field) => match (&field.ty, field.list) {
                (FieldType::List(_), ListKind::Set) => Shape::Set,
                (FieldType::List(_), ListKind::Map) => Shape::Keyed(Keys::Fixed(&field.list_keys)),
                (ty, _) => shape_of(ty),
            },
            Schema::Custom(schema) => custom_shape(schema),
            Schema::Deduced => Shape::Deduced,
        }
    }

    /// What a value must be, where that is known.
    pub(super) fn form(self) -> Option<Form> {
        let ty = match self {
            Schema::Field(field) => &field.ty,
            Schema::Item(ty) => ty,
            Schema::Type(_) | Schema::CustomObject(_) => return Some(Form::Map),
            Schema::Custom(schema) => {
                return Some(match text(schema, "type") {
                    // A form of its own may be written otherwise too.
                    "string" if !["", "byte"].contains(&text(schema, "format")) => Form::Scalar,
                    "string" => Form::Text,
                    "integer" | "number" => Form::Number,
                    "boolean" => Form::Truth,
                    "array" => Form::List,
                    "object" => Form::Map,
                    _ => return None,
                });
            }
            Schema::Deduced => return None,
        };
        Some(match ty {
            FieldType::String | FieldType::Bytes => Form::Text,
            FieldType::Int32 | FieldType::Int64 | FieldType::Double => Form::Number,
            FieldType::Bool => Form::Truth,
            FieldType::Quantity
            | FieldType::IntOrString
            | FieldType::Time
            | FieldType::MicroTime => Form::Scalar,
            FieldType::List(_) => Form::List,
            FieldType::Ref(_) | FieldType::Map(_) => Form::Map,
            _ => return None,
        })
    }

    /// Whether it is known which fields, or entries, a map has.
    pub(super) fn names_fields(self) -> bool {
        match self {
            Schema::Custom(schema) => {
                ["properties", "additionalProperties"].iter().any(|key| schema.get(key).is_some())
            }
            Schema::Deduced => false,
            _ => true,
        }
    }

    /// The type of a field; `None` where the type does not have it.
    pub(super) fn child(self, name: &str) -> Option<Child<'a>> {
        let any = |schema| Some(Child { schema, declared: false });
        let ty = match self {
            Schema::Type(ty) => return of_type(ty, name),
            Schema::Field(field) => &field.ty,
            Schema::Item(ty) => ty,
            Schema::Custom(schema) => return of_custom(schema, name),
            Schema::CustomObject(schema) => {
                return match name {
                    "metadata" => {
                        let meta = type_of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta")?;
                        Some(Child { schema: Schema::Type(meta), declared: true })
                    }
                    "apiVersion" | "kind" => {
                        Some(Child { schema: Schema::Item(&FieldType::String), declared: true })
                    }
                    _ => of_custom(schema, name),
                };
            }
            Schema::Deduced => return any(Schema::Deduced),
        };
        match ty {
            FieldType::Ref(to) => of_type(to.get(), name),
            FieldType::Map(item) => any(Schema::Item(item)),
            _ => any(Schema::Deduced),
        }
    }

    /// The type of a list's items.
    pub(super) fn item(self) -> Schema<'a> {
        match self {
            Schema::Field(Field { ty: FieldType::List(item), .. })
            | Schema::Item(FieldType::List(item)) => Schema::Item(item),
            Schema::Custom(schema) => schema.get("items").map_or(Schema::Deduced, Schema::Custom),
            _ => Schema::Deduced,
        }
    }

    /// The value that an item's key has where the item does not give it.
    pub(super) fn key_default(self, key: &str) -> Option<Value> {
        match self.child(key)?.schema {
            Schema::Field(field) => match (field.default, &field.ty) {
                (Some(text), _) => serde_json::from_str(text).ok(),
                (None, FieldType::String) if field.keep_empty && !field.presence => Some("".into()),
                (None, FieldType::Int32 | FieldType::Int64)
                    if field.keep_empty && !field.presence =>
                {
                    Some(0.into())
                }
                _ => None,
            },
            Schema::Custom(schema) => schema.get("default").cloned(),
            _ => None,
        }
    }
}

fn of_type<'a>(ty: &'static Type, name: &str) -> Option<Child<'a>> {
    ty.field(name).map(|field| Child { schema: Schema::Field(field), declared: true })
}

fn of_custom<'a>(schema: &'a Value, name: &str) -> Option<Child<'a>> {
    if let Some(property) = schema.get("properties").and_then(|p| p.get(name)) {
        return Some(Child { schema: Schema::Custom(property), declared: true });
    }
    match schema.get("additionalProperties") {
        Some(item @ Value::Object(_)) => {
            Some(Child { schema: Schema::Custom(item), declared: false })
        }
        Some(Value::Bool(true)) => Some(Child { schema: Schema::Deduced, declared: false }),
        _ if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true)) => {
            Some(Child { schema: Schema::Deduced, declared: false })
        }
        _ => None,
    }
}
