//! The protobuf form of an OpenAPI version 2 document, which older clients ask for.
//!
//! Tables say where each JSON field goes. Not here: making the document.

use serde_json::{Map, Value};

use crate::codec::proto::wire;

/// How a JSON value is written.
enum Shape {
    Text,
    Texts,
    Flag,
    Integer,
    Number,
    /// Any value, as YAML (of which JSON is a part).
    Any,
    Anys,
    One(Message),
    Many(Message),
    /// A map, inside a message whose field of this number lists names and values.
    Named(u32, Message),
    /// One text or several, inside a message.
    Type,
}

use Shape::{Any, Anys, Flag, Integer, Many, Named, Number, One, Text, Texts, Type};

/// A message: which one it is, and inside which wrappers, may depend on the value.
type Message = fn(&Value) -> (&'static [u32], &'static Fields);

/// The fields of a message.
struct Fields {
    /// Name, number, shape.
    known: &'static [(&'static str, u32, Shape)],
    /// The number of the list of `x-` fields; 0 where there is none.
    extensions: u32,
}

static DOCUMENT: Fields = Fields {
    known: &[
        ("swagger", 1, Text),
        ("info", 2, One(|_| (&[], &INFO))),
        ("host", 3, Text),
        ("basePath", 4, Text),
        ("schemes", 5, Texts),
        ("consumes", 6, Texts),
        ("produces", 7, Texts),
        ("paths", 8, Named(2, |_| (&[], &PATH))),
        ("definitions", 9, Named(1, |_| (&[], &SCHEMA))),
        ("parameters", 10, Named(1, parameter)),
        ("securityDefinitions", 13, Named(1, |_| (&[2], &API_KEY))),
    ],
    extensions: 16,
};

static INFO: Fields = Fields {
    known: &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)],
    extensions: 7,
};

static API_KEY: Fields = Fields {
    known: &[("type", 1, Text), ("name", 2, Text), ("in", 3, Text), ("description", 4, Text)],
    extensions: 5,
};

static PATH: Fields = Fields {
    known: &[
        ("$ref", 1, Text),
        ("get", 2, One(|_| (&[], &OPERATION))),
        ("put", 3, One(|_| (&[], &OPERATION))),
        ("post", 4, One(|_| (&[], &OPERATION))),
        ("delete", 5, One(|_| (&[], &OPERATION))),
        ("options", 6, One(|_| (&[], &OPERATION))),
        ("head", 7, One(|_| (&[], &OPERATION))),
        ("patch", 8, One(|_| (&[], &OPERATION))),
        ("parameters", 9, Many(parameter_or_reference)),
    ],
    extensions: 10,
};

static OPERATION: Fields = Fields {
    known: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Many(parameter_or_reference)),
        ("responses", 9, Named(1, |_| (&[1], &RESPONSE))),
        ("schemes", 10, Texts),
        ("deprecated", 11, Flag),
    ],
    extensions: 13,
};

static RESPONSE: Fields = Fields {
    known: &[("description", 1, Text), ("schema", 2, One(|_| (&[1], &SCHEMA)))],
    extensions: 5,
};

static REFERENCE: Fields =
    Fields { known: &[("$ref", 1, Text), ("description", 2, Text)], extensions: 0 };

static BODY: Fields = Fields {
    known: &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(|_| (&[], &SCHEMA))),
    ],
    extensions: 6,
};

static QUERY: Fields = Fields {
    known: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Flag),
        ("type", 6, Text),
        ("format", 7, Text),
        ("default", 10, Any),
        ("uniqueItems", 20, Flag),
    ],
    extensions: 23,
};

/// Path and header parameters.
static PLACED: Fields = Fields {
    known: &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("default", 9, Any),
        ("uniqueItems", 19, Flag),
    ],
    extensions: 22,
};

static SCHEMA: Fields = Fields {
    known: &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Any),
        ("maximum", 7, Number),
        ("minimum", 9, Number),
        ("maxLength", 11, Integer),
        ("minLength", 12, Integer),
        ("pattern", 13, Text),
        ("maxItems", 14, Integer),
        ("minItems", 15, Integer),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Integer),
        ("minProperties", 18, Integer),
        ("required", 19, Texts),
        ("enum", 20, Anys),
        ("additionalProperties", 21, One(properties_beside)),
        ("type", 22, Type),
        ("items", 23, One(|_| (&[1], &SCHEMA))),
        ("allOf", 24, Many(|_| (&[], &SCHEMA))),
        ("properties", 25, Named(1, |_| (&[], &SCHEMA))),
        ("readOnly", 27, Flag),
        ("example", 30, Any),
    ],
    extensions: 31,
};

/// A yes or no in place of a schema.
static ALLOWED: Fields = Fields { known: &[("", 2, Flag)], extensions: 0 };

fn properties_beside(value: &Value) -> (&'static [u32], &'static Fields) {
    if value.is_boolean() { (&[], &ALLOWED) } else { (&[1], &SCHEMA) }
}

fn parameter(value: &Value) -> (&'static [u32], &'static Fields) {
    match value["in"].as_str() {
        Some("body") => (&[1], &BODY),
        Some("header") => (&[2, 1], &PLACED),
        Some("path") => (&[2, 4], &PLACED),
        _ => (&[2, 3], &QUERY),
    }
}

fn parameter_or_reference(value: &Value) -> (&'static [u32], &'static Fields) {
    if value.get("$ref").is_some() {
        return (&[2], &REFERENCE);
    }
    match value["in"].as_str() {
        Some("body") => (&[1, 1], &BODY),
        Some("header") => (&[1, 2, 1], &PLACED),
        Some("path") => (&[1, 2, 4], &PLACED),
        _ => (&[1, 2, 3], &QUERY),
    }
}

/// The protobuf form of a version 2 document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    fields(&mut out, document, &DOCUMENT);
    out
}

/// A message inside the message.
fn nested(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    wire::bytes(out, number, &inner);
}

fn fields(out: &mut Vec<u8>, value: &Value, fields: &Fields) {
    let empty = Map::new();
    let map = value.as_object().unwrap_or(&empty);
    for (name, number, shape) in fields.known {
        let value = if name.is_empty() { Some(value) } else { map.get(*name) };
        if let Some(value) = value {
            field(out, *number, value, shape);
        }
    }
    if fields.extensions == 0 {
        return;
    }
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        nested(out, fields.extensions, |out| {
            wire::text(out, 1, name);
            field(out, 2, value, &Any);
        });
    }
}

fn field(out: &mut Vec<u8>, number: u32, value: &Value, shape: &Shape) {
    let list = || value.as_array().into_iter().flatten();
    match shape {
        Text => wire::text(out, number, value.as_str().unwrap_or_default()),
        Texts => list().filter_map(Value::as_str).for_each(|text| wire::text(out, number, text)),
        Flag => wire::integer(out, number, i64::from(value.as_bool().unwrap_or_default())),
        Integer => wire::integer(out, number, value.as_i64().unwrap_or_default()),
        Number => wire::double(out, number, value.as_f64().unwrap_or_default()),
        Any => nested(out, number, |out| wire::text(out, 2, &value.to_string())),
        Anys => list().for_each(|value| field(out, number, value, &Any)),
        One(which) => message(out, number, value, *which),
        Many(which) => list().for_each(|value| message(out, number, value, *which)),
        Named(list, which) => nested(out, number, |out| {
            for (name, value) in value.as_object().into_iter().flatten() {
                nested(out, *list, |out| {
                    wire::text(out, 1, name);
                    message(out, 2, value, *which);
                });
            }
        }),
        Type => nested(out, number, |out| match value.as_str() {
            Some(text) => wire::text(out, 1, text),
            None => field(out, 1, value, &Texts),
        }),
    }
}

fn message(out: &mut Vec<u8>, number: u32, value: &Value, which: Message) {
    let (wrappers, known) = which(value);
    wrap(out, number, wrappers, &|out| fields(out, value, known));
}

fn wrap(out: &mut Vec<u8>, number: u32, wrappers: &[u32], write: &dyn Fn(&mut Vec<u8>)) {
    nested(out, number, |out| match wrappers.split_first() {
        None => write(out),
        Some((first, rest)) => wrap(out, *first, rest, write),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrappers_and_extensions() {
        let document = json!({
            "swagger": "2.0",
            "definitions": {"T": {"type": "object", "x-k": [1], "additionalProperties": {"$ref": "#/r"}}},
        });
        // Each message with its tag and length, by the numbers of the format's own description.
        let extension = [b"\x0a\x03x-k\x12\x05\x12\x03".as_slice(), b"[1]"].concat();
        let beside = b"\x0a\x05\x0a\x03#/r".as_slice();
        let mut schema = vec![0xaa, 0x01, beside.len() as u8];
        schema.extend_from_slice(beside);
        schema.extend_from_slice(b"\xb2\x01\x08\x0a\x06object");
        schema.extend_from_slice(&[0xfa, 0x01, extension.len() as u8]);
        schema.extend(extension);
        let mut named = b"\x0a\x01T\x12".to_vec();
        named.push(schema.len() as u8);
        named.extend(schema);
        let mut expected = b"\x0a\x032.0\x4a".to_vec();
        expected.extend_from_slice(&[named.len() as u8 + 2, 0x0a, named.len() as u8]);
        expected.extend(named);
        assert_eq!(encode(&document), expected);
    }

    #[test]
    fn parameters_are_wrapped_by_their_place() {
        let cases = [
            (json!({"$ref": "#/p"}), &[2][..]),
            (json!({"in": "body"}), &[1, 1]),
            (json!({"in": "path"}), &[1, 2, 4]),
            (json!({"in": "query"}), &[1, 2, 3]),
        ];
        for (value, wrappers) in cases {
            assert_eq!(parameter_or_reference(&value).0, wrappers, "{value}");
        }
    }
}
