//! JSON values to protobuf messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::super::CodecError;
use super::wire;
use crate::schema::{self, Field, FieldType, ProtoItem, ProtoWhat, Type};

type Out<'o> = &'o mut Vec<u8>;
type Done = Result<(), CodecError>;

pub fn message(out: Out, map: &Map<String, Value>, ty: &'static Type) -> Done {
    items(out, map, ty, &ty.proto)
}

fn items(out: Out, map: &Map<String, Value>, ty: &'static Type, items_: &[ProtoItem]) -> Done {
    for item in items_ {
        match &item.what {
            ProtoWhat::Inline(inner) => {
                wire::nested(out, item.number, |out| items(out, map, ty, inner))?;
            }
            ProtoWhat::Field(at) => {
                let field = &ty.fields[usize::from(*at)];
                let value = map.get(field.name).filter(|v| !v.is_null());
                match value {
                    Some(value) => one(out, item.number, field, value)?,
                    None => absent(out, item.number, field)?,
                }
            }
        }
    }
    Ok(())
}

fn one(out: Out, number: u32, field: &'static Field, value: &Value) -> Done {
    match (&field.ty, value) {
        (FieldType::List(item), Value::Array(list)) if field.wrapped => {
            wire::nested(out, number, |out| {
                list.iter().try_for_each(|value| write(out, 1, item, value))
            })
        }
        (FieldType::List(item), Value::Array(list)) => {
            list.iter().try_for_each(|value| write(out, number, item, value))
        }
        (FieldType::Map(item), Value::Object(map)) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            entries.into_iter().try_for_each(|(key, value)| {
                wire::nested(out, number, |out| {
                    wire::text(out, 1, key);
                    match &**item {
                        // A list as a map's value is a message of its own.
                        FieldType::List(item) => wire::nested(out, 2, |out| {
                            let list = value.as_array().into_iter().flatten();
                            list.into_iter().try_for_each(|value| write(out, 1, item, value))
                        }),
                        item => write(out, 2, item, value),
                    }
                })
            })
        }
        (ty, value) => write(out, number, ty, value),
    }
}

/// A field that JSON does not have: written where upstream has a value and not a pointer.
fn absent(out: Out, number: u32, field: &'static Field) -> Done {
    if field.presence {
        return Ok(());
    }
    match &field.ty {
        FieldType::String => wire::text(out, number, ""),
        FieldType::Int32 | FieldType::Int64 | FieldType::Bool => wire::integer(out, number, 0),
        FieldType::Double => wire::double(out, number, 0.0),
        FieldType::Ref(to) if field.nested => {
            wire::nested(out, number, |out| message(out, &Map::new(), to.get()))?;
        }
        FieldType::Quantity if field.nested => wire::nested(out, number, |out| {
            wire::text(out, 1, "0");
            Ok(())
        })?,
        FieldType::IntOrString if field.nested => {
            write(out, number, &FieldType::IntOrString, &0.into())?;
        }
        FieldType::Time
        | FieldType::MicroTime
        | FieldType::Raw
        | FieldType::Json
        | FieldType::FieldSet
            if field.nested =>
        {
            wire::bytes(out, number, &[]);
        }
        _ => {}
    }
    Ok(())
}

fn unfit(ty: &FieldType, value: &Value) -> CodecError {
    CodecError::Proto(format!(
        "proto: {} cannot hold {}",
        ty.go_name(),
        super::super::conform::describe(value)
    ))
}

fn write(out: Out, number: u32, ty: &'static FieldType, value: &Value) -> Done {
    match (ty, value) {
        (FieldType::String, Value::String(text)) => wire::text(out, number, text),
        (FieldType::String, Value::Null) => wire::text(out, number, ""),
        (FieldType::Int32 | FieldType::Int64, Value::Number(n)) => {
            let n = n.as_i64().ok_or_else(|| unfit(ty, value))?;
            wire::integer(out, number, n);
        }
        (FieldType::Double, Value::Number(n)) => {
            wire::double(out, number, n.as_f64().unwrap_or(0.0));
        }
        (FieldType::Bool, Value::Bool(b)) => wire::integer(out, number, i64::from(*b)),
        (FieldType::Bytes, Value::String(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| unfit(ty, value))?;
            wire::bytes(out, number, &bytes);
        }
        (FieldType::Bytes, Value::Null) => wire::bytes(out, number, &[]),
        (FieldType::Quantity, Value::String(text)) => {
            wire::nested(out, number, |out| {
                wire::text(out, 1, text);
                Ok(())
            })?;
        }
        (FieldType::Time | FieldType::MicroTime, Value::String(text)) => {
            let stamp: jiff::Timestamp = text.parse().map_err(|_| unfit(ty, value))?;
            let micro = *ty == FieldType::MicroTime;
            let (mut seconds, mut nanos) = (stamp.as_second(), stamp.subsec_nanosecond());
            if nanos < 0 {
                (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
            }
            wire::nested(out, number, |out| {
                wire::integer(out, 1, seconds);
                wire::integer(out, 2, if micro { i64::from(nanos / 1000 * 1000) } else { 0 });
                Ok(())
            })?;
        }
        (FieldType::Time | FieldType::MicroTime, Value::Null) => wire::bytes(out, number, &[]),
        (FieldType::IntOrString, value) => {
            let (is_text, int, text) = match value {
                Value::Number(n) => (0, n.as_i64().unwrap_or(0), ""),
                Value::String(text) => (1, 0, text.as_str()),
                _ => return Err(unfit(ty, value)),
            };
            wire::nested(out, number, |out| {
                wire::integer(out, 1, is_text);
                wire::integer(out, 2, int);
                wire::text(out, 3, text);
                Ok(())
            })?;
        }
        (FieldType::Raw | FieldType::Json | FieldType::FieldSet, value) => {
            let json = serde_json::to_vec(value).map_err(|_| unfit(ty, value))?;
            wire::nested(out, number, |out| {
                wire::bytes(out, 1, &json);
                Ok(())
            })?;
        }
        (FieldType::SchemaOrBool, Value::Bool(allows)) => {
            wire::nested(out, number, |out| {
                wire::integer(out, 1, i64::from(*allows));
                Ok(())
            })?;
        }
        (FieldType::SchemaOrBool, Value::Object(map)) => {
            wire::nested(out, number, |out| {
                wire::integer(out, 1, 1);
                json_schema(out, 2, map)
            })?;
        }
        (FieldType::SchemaOrArray | FieldType::SchemaOrStrings, Value::Object(map)) => {
            wire::nested(out, number, |out| json_schema(out, 1, map))?;
        }
        (FieldType::SchemaOrArray, Value::Array(items)) => {
            wire::nested(out, number, |out| {
                let maps = items.iter().filter_map(Value::as_object);
                maps.into_iter().try_for_each(|map| json_schema(out, 2, map))
            })?;
        }
        (FieldType::SchemaOrStrings, Value::Array(items)) => {
            wire::nested(out, number, |out| {
                for text in items.iter().filter_map(Value::as_str) {
                    wire::text(out, 2, text);
                }
                Ok(())
            })?;
        }
        (FieldType::Ref(to), Value::Object(map)) => {
            wire::nested(out, number, |out| message(out, map, to.get()))?;
        }
        _ => return Err(unfit(ty, value)),
    }
    Ok(())
}

fn json_schema(out: Out, number: u32, map: &Map<String, Value>) -> Done {
    let Some(ty) = schema::json_schema() else { return Ok(()) };
    wire::nested(out, number, |out| message(out, map, ty))
}
