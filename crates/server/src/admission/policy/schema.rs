//! Published schemas, as expressions see them: a type of an OpenAPI document with everything that it
//! refers to in its place.
//!
//! Not here: the documents (`api::openapi`), types out of schemas (`cel`).

use std::sync::Arc;

use api::Value;
use cel::{Decl, ListType, Schema, declare};

/// References begin with this.
const PREFIX: &str = "#/components/schemas/";
/// Definitions' schemas are bounded by their admission; this only keeps a fault from the stack.
const DEEPEST: usize = 100;

/// A schema.
#[derive(Debug, Default)]
struct Node {
    kind: String,
    format: String,
    int_or_string: bool,
    embedded: bool,
    list_type: ListType,
    keys: Vec<String>,
    items: Option<Box<Node>>,
    each: Option<Box<Node>>,
    properties: Vec<(String, Node)>,
}

/// Gives a schema by its name.
type Named<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// The type of a resource, by the name of its schema; it is called `name` in messages.
pub(super) fn resource(schema: &str, name: &str, named: Named<'_>) -> Option<Arc<Decl>> {
    let value = named(schema)?;
    let root = Node::read(&value, named, &mut vec![schema.to_owned()]);
    // What says nothing of its metadata has names all the same.
    let plain = !root.properties.iter().any(|(key, _)| key == "metadata");
    declare(&root, name, plain)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or("").to_owned()
}

impl Node {
    /// `above`: the names that led here; what contains itself ends as an object without fields.
    fn read(value: &Value, named: Named<'_>, above: &mut Vec<String>) -> Self {
        // A reference with anything beside it comes wrapped.
        let referred = match value.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) => one.get("$ref"),
            _ => value.get("$ref"),
        };
        if let Some(name) = referred.and_then(Value::as_str).and_then(|r| r.strip_prefix(PREFIX)) {
            let plain = || Self { kind: "object".into(), ..Self::default() };
            if above.len() > DEEPEST || above.iter().any(|known| known == name) {
                return plain();
            }
            let Some(value) = named(name) else { return plain() };
            above.push(name.to_owned());
            let node = Self::read(&value, named, above);
            above.pop();
            return node;
        }
        let on = |key: &str| value.get(key) == Some(&Value::Bool(true));
        let mut below = |value: &Value| Self::read(value, named, above);
        let keys = value.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        let properties = value.get("properties").and_then(Value::as_object);
        let format = text(value, "format");
        Self {
            kind: text(value, "type"),
            int_or_string: format == "int-or-string" || on("x-kubernetes-int-or-string"),
            embedded: on("x-kubernetes-embedded-resource"),
            list_type: match text(value, "x-kubernetes-list-type").as_str() {
                "map" => ListType::Map,
                "set" => ListType::Set,
                _ => ListType::Atomic,
            },
            keys: keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            items: value.get("items").map(|items| Box::new(below(items))),
            each: value
                .get("additionalProperties")
                .filter(|each| each.is_object())
                .map(|each| Box::new(below(each))),
            properties: properties
                .into_iter()
                .flatten()
                .map(|(key, value)| (key.clone(), below(value)))
                .collect(),
            format,
        }
    }
}

impl Schema for Node {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn format(&self) -> &str {
        &self.format
    }

    fn int_or_string(&self) -> bool {
        self.int_or_string
    }

    fn embedded_resource(&self) -> bool {
        // The fields that it has by itself are among those published.
        self.embedded && !self.properties.iter().any(|(key, _)| key == "metadata")
    }

    fn list_type(&self) -> ListType {
        self.list_type
    }

    fn list_map_keys(&self) -> Vec<&str> {
        self.keys.iter().map(String::as_str).collect()
    }

    fn items(&self) -> Option<&dyn Schema> {
        self.items.as_deref().map(|node| node as &dyn Schema)
    }

    fn additional_properties(&self) -> Option<&dyn Schema> {
        self.each.as_deref().map(|node| node as &dyn Schema)
    }

    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        self.properties.iter().map(|(key, node)| (key.as_str(), node as &dyn Schema)).collect()
    }
}
