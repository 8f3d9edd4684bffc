//! Types out of schemas: what the properties of a resource are in expressions, and how big they can be.
//!
//! Not here: validation against schemas; where schemas come from (they implement [`Schema`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::escape::escape;
use crate::types::{FieldDecl, Fields, ObjectType, Type};

/// The largest request, which bounds every value's size.
const MAX_REQUEST: i64 = 3 * 1024 * 1024;

/// A schema of a custom resource (a structural one) or of anything described as one.
///
/// All methods answer for one node; absent keywords are `None`.
pub trait Schema {
    /// `type`: `object`, `array`, `string`, `integer`, `number`, `boolean`, or empty.
    fn kind(&self) -> &str;
    /// `format`.
    fn format(&self) -> &str {
        ""
    }
    /// `x-kubernetes-int-or-string`.
    fn int_or_string(&self) -> bool {
        false
    }
    /// `x-kubernetes-embedded-resource`.
    fn embedded_resource(&self) -> bool {
        false
    }
    /// `x-kubernetes-list-type`, `atomic` where it is absent.
    fn list_type(&self) -> ListType {
        ListType::Atomic
    }
    /// `x-kubernetes-list-map-keys`.
    fn list_map_keys(&self) -> Vec<&str> {
        Vec::new()
    }
    /// `items`.
    fn items(&self) -> Option<&dyn Schema> {
        None
    }
    /// `additionalProperties` where it is a schema.
    fn additional_properties(&self) -> Option<&dyn Schema> {
        None
    }
    /// `properties`.
    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        Vec::new()
    }
    /// `required`.
    fn required(&self) -> Vec<&str> {
        Vec::new()
    }
    /// Whether there is a `default`.
    fn has_default(&self) -> bool {
        false
    }
    /// `enum`.
    fn allowed(&self) -> &[Json] {
        &[]
    }
    /// `maxLength`.
    fn max_length(&self) -> Option<i64> {
        None
    }
    /// `maxItems`.
    fn max_items(&self) -> Option<i64> {
        None
    }
    /// `maxProperties`.
    fn max_properties(&self) -> Option<i64> {
        None
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Compared and joined in order.
    #[default]
    Atomic,
    /// A set: order does not count, joining adds what is new.
    Set,
    /// By keys: order does not count, joining replaces what has the same keys.
    Map,
}

/// A node of a declared type: what evaluation needs to read JSON as it, and how big it can be.
#[derive(Debug, Clone)]
pub struct Decl {
    /// The type in expressions.
    pub ty: Type,
    pub(crate) shape: Shape,
    /// The most elements, entries, characters or bytes.
    pub(crate) max_elements: u64,
    /// The least it takes in JSON.
    min_size: i64,
}

/// What is below a node.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    Simple,
    /// A timestamp written as a date alone.
    Date,
    List(Arc<Decl>, ListType, Vec<Arc<str>>),
    Map(Arc<Decl>),
    Object(Arc<ObjectType>),
}

impl Decl {
    /// How often such a value can be in a request, at most.
    pub fn most_in_a_request(&self) -> u64 {
        // At least a comma is between two.
        u64::try_from(MAX_REQUEST / (self.min_size + 1)).unwrap_or(0)
    }

    /// A type without a schema.
    pub fn simple(ty: Type) -> Self {
        let shape = match &ty {
            Type::Object(object) => Shape::Object(object.clone()),
            Type::List(item) => {
                Shape::List(Arc::new(Decl::simple((**item).clone())), ListType::Atomic, Vec::new())
            }
            Type::Map(map) => Shape::Map(Arc::new(Decl::simple(map.1.clone()))),
            _ => Shape::Simple,
        };
        let max_elements = match shape {
            Shape::List(..) | Shape::Map(_) => u64::MAX,
            _ => 0,
        };
        Self { ty, shape, max_elements, min_size: 2 }
    }

    fn scalar(ty: Type, max_elements: i64, min_size: i64) -> Self {
        let max_elements = u64::try_from(max_elements).unwrap_or(0);
        Self { ty, shape: Shape::Simple, max_elements, min_size }
    }

    /// What a step of a path leads to: a field's escaped name, `@items`, `@values`, `@keys`.
    pub(crate) fn step(&self, name: &str) -> Option<Arc<Decl>> {
        match (&self.shape, name) {
            (Shape::List(item, ..), "@items") => Some(item.clone()),
            (Shape::Map(value), "@values") => Some(value.clone()),
            (Shape::Map(_), "@keys") => Some(Arc::new(Decl::scalar(Type::String, 0, 2))),
            (Shape::Object(object), name) => match &object.fields {
                Fields::Declared(fields) => fields.get(name).map(|f| f.decl.clone()),
                Fields::Any => None,
            },
            _ => None,
        }
    }
}

/// The type of a schema under a name; `None` where expressions do not see it.
///
/// `root`: it is a whole resource, whose `apiVersion`, `kind`, `metadata.name` and
/// `metadata.generateName` are always there.
pub fn declare(schema: &dyn Schema, name: &str, root: bool) -> Option<Arc<Decl>> {
    decl(schema, name, root).map(Arc::new)
}

fn decl(schema: &dyn Schema, name: &str, root: bool) -> Option<Decl> {
    let text_bound = |default: i64| schema.max_length().map_or(default, |l| l.max(0) * 4);
    if schema.int_or_string() {
        return Some(Decl::scalar(Type::Dyn, text_bound(MAX_REQUEST - 2), 1));
    }
    let kind = if root { "object" } else { schema.kind() };
    Some(match kind {
        "array" => {
            let items = schema.items()?;
            let item = decl(items, &format!("{name}.@idx"), items.embedded_resource())?;
            let most = match schema.max_items() {
                Some(most) => most.max(0),
                None => (MAX_REQUEST - 2) / (item.min_size + 1),
            };
            let keys = schema.list_map_keys().into_iter().map(Arc::from).collect();
            Decl {
                ty: Type::list(item.ty.clone()),
                shape: Shape::List(Arc::new(item), schema.list_type(), keys),
                max_elements: u64::try_from(most).unwrap_or(0),
                min_size: 2,
            }
        }
        "object" => match schema.additional_properties() {
            Some(values) if !root => {
                let value = decl(values, &format!("{name}.@elem"), values.embedded_resource())?;
                let most = match schema.max_properties() {
                    Some(most) => most.max(0),
                    None => (MAX_REQUEST - 2) / (value.min_size + 6),
                };
                Decl {
                    ty: Type::map(Type::String, value.ty.clone()),
                    shape: Shape::Map(Arc::new(value)),
                    max_elements: u64::try_from(most).unwrap_or(0),
                    min_size: 2,
                }
            }
            _ => object(schema, name, root),
        },
        "string" => string(schema, text_bound),
        "boolean" => Decl::scalar(Type::Bool, 0, 4),
        "number" => Decl::scalar(Type::Double, 0, 1),
        "integer" => Decl::scalar(Type::Int, 0, 1),
        _ => return None,
    })
}

fn string(schema: &dyn Schema, bound: impl Fn(i64) -> i64) -> Decl {
    match schema.format() {
        "byte" => {
            let most = schema.max_length().map_or(MAX_REQUEST - 2, |l| l.max(0));
            Decl::scalar(Type::Bytes, most, 2)
        }
        "duration" => Decl::scalar(Type::Duration, 32, 3),
        "date" => Decl { shape: Shape::Date, ..Decl::scalar(Type::Timestamp, 12, 12) },
        "date-time" => Decl::scalar(Type::Timestamp, 32, 21),
        _ => {
            let longest = schema.allowed().iter().filter_map(Json::as_str).map(str::len).max();
            let default = match longest {
                _ if schema.allowed().is_empty() => MAX_REQUEST - 2,
                longest => i64::try_from(longest.unwrap_or(0)).unwrap_or(MAX_REQUEST),
            };
            Decl::scalar(Type::String, bound(default), 2)
        }
    }
}

fn object(schema: &dyn Schema, name: &str, root: bool) -> Decl {
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    let required = schema.required();
    for (property, of) in schema.properties() {
        if root && matches!(property, "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let Some(escaped) = escape(property) else { continue };
        let Some(decl) = decl(of, &format!("{name}.{escaped}"), of.embedded_resource()) else {
            continue;
        };
        if required.contains(&property) && !of.has_default() {
            min_size += i64::try_from(property.len()).unwrap_or(0) + decl.min_size + 4;
        }
        fields.insert(escaped, FieldDecl { json: property.into(), decl: Arc::new(decl) });
    }
    if root {
        let text = || Decl::scalar(Type::String, MAX_REQUEST - 2, 2);
        let mut add = |field: &str, decl: Decl| {
            fields.insert(field.to_owned(), FieldDecl { json: field.into(), decl: Arc::new(decl) });
        };
        add("apiVersion", text());
        add("kind", text());
        let meta = ["name", "generateName"].map(|field| {
            (field.to_owned(), FieldDecl { json: field.into(), decl: Arc::new(text()) })
        });
        add("metadata", of_fields(&format!("{name}.metadata"), meta.into_iter().collect(), 2));
    }
    of_fields(name, fields, min_size)
}

fn of_fields(name: &str, fields: BTreeMap<String, FieldDecl>, min_size: i64) -> Decl {
    let object = Arc::new(ObjectType { name: name.to_owned(), fields: Fields::Declared(fields) });
    Decl {
        ty: Type::Object(object.clone()),
        shape: Shape::Object(object),
        max_elements: 0,
        min_size,
    }
}
