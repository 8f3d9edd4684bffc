//! Protobuf messages to JSON values. Fields that the table does not know are skipped.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::super::conform::is_left_out;
use super::super::{CodecError, MAX_DEPTH};
use super::wire::{Reader, Wire};
use crate::codec::json;
use crate::schema::{self, Field, FieldType, ProtoItem, ProtoWhat, Type};

pub fn message(
    map: &mut Map<String, Value>,
    bytes: &[u8],
    ty: &'static Type,
    depth: usize,
) -> Result<(), CodecError> {
    items(map, bytes, ty, &ty.proto, depth)
}

fn items(
    map: &mut Map<String, Value>,
    bytes: &[u8],
    ty: &'static Type,
    items_: &'static [ProtoItem],
    depth: usize,
) -> Result<(), CodecError> {
    if depth > MAX_DEPTH {
        return Err(CodecError::Limit("exceeded max depth"));
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.field()? {
        let Ok(at) = items_.binary_search_by_key(&number, |item| item.number) else { continue };
        match &items_[at].what {
            ProtoWhat::Inline(inner) => items(map, wire.bytes()?, ty, inner, depth + 1)?,
            ProtoWhat::Field(at) => one(map, &ty.fields[usize::from(*at)], wire, depth + 1)?,
        }
    }
    Ok(())
}

fn one(
    map: &mut Map<String, Value>,
    field: &'static Field,
    wire: Wire,
    depth: usize,
) -> Result<(), CodecError> {
    match &field.ty {
        FieldType::List(item) => {
            let slot = map.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = slot else { return Ok(()) };
            if field.wrapped {
                wrapped_list(list, wire, item, depth)
            } else {
                list_item(list, wire, item, depth)
            }
        }
        FieldType::Map(item) => {
            let slot = map.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(entries) = slot else { return Ok(()) };
            let mut reader = Reader::new(wire.bytes()?);
            let (mut key, mut value) = (String::new(), None);
            while let Some((number, wire)) = reader.field()? {
                match (number, &**item) {
                    (1, _) => key = wire.text()?.to_owned(),
                    (2, FieldType::List(item)) => {
                        let mut list = Vec::new();
                        wrapped_list(&mut list, wire, item, depth)?;
                        value = Some(Value::Array(list));
                    }
                    (2, item) => value = Some(read(wire, item, depth)?),
                    _ => {}
                }
            }
            entries.insert(key, value.unwrap_or_default());
            Ok(())
        }
        ty => {
            let value = read(wire, ty, depth)?;
            // Protobuf carries what is empty; JSON does not. (A later value replaces an earlier.)
            if is_left_out(field, &value) {
                map.remove(field.name);
            } else {
                map.insert(field.name.to_owned(), value);
            }
            Ok(())
        }
    }
}

fn wrapped_list(
    list: &mut Vec<Value>,
    wire: Wire,
    item: &'static FieldType,
    depth: usize,
) -> Result<(), CodecError> {
    let mut reader = Reader::new(wire.bytes()?);
    while let Some((number, wire)) = reader.field()? {
        if number == 1 {
            list_item(list, wire, item, depth)?;
        }
    }
    Ok(())
}

/// One item, or several numbers packed together.
fn list_item(
    list: &mut Vec<Value>,
    wire: Wire,
    item: &'static FieldType,
    depth: usize,
) -> Result<(), CodecError> {
    let number = matches!(item, FieldType::Int32 | FieldType::Int64 | FieldType::Bool);
    if let (true, Wire::Bytes(packed)) = (number, wire) {
        let mut reader = Reader::new(packed);
        while !reader.is_empty() {
            list.push(read(Wire::Varint(reader.varint()?), item, depth)?);
        }
        return Ok(());
    }
    list.push(read(wire, item, depth)?);
    Ok(())
}

fn read(wire: Wire, ty: &'static FieldType, depth: usize) -> Result<Value, CodecError> {
    Ok(match ty {
        FieldType::String => wire.text()?.into(),
        // Upstream's 32-bit fields keep the low half of a longer number.
        FieldType::Int32 => (wire.varint()? as i32).into(),
        FieldType::Int64 => (wire.varint()? as i64).into(),
        FieldType::Double => Number::from_f64(wire.double()?).map_or(Value::Null, Value::Number),
        FieldType::Bool => (wire.varint()? != 0).into(),
        FieldType::Bytes => STANDARD.encode(wire.bytes()?).into(),
        FieldType::Quantity => first(wire, 1)?.map_or("0".into(), |text| text.into()),
        FieldType::Time | FieldType::MicroTime => time(wire, *ty == FieldType::MicroTime)?,
        FieldType::IntOrString => {
            let mut reader = Reader::new(wire.bytes()?);
            let (mut is_text, mut int, mut text) = (0, 0, "");
            while let Some((number, wire)) = reader.field()? {
                match number {
                    1 => is_text = wire.varint()?,
                    2 => int = wire.varint()? as i32,
                    3 => text = wire.text()?,
                    _ => {}
                }
            }
            if is_text == 0 { int.into() } else { text.into() }
        }
        FieldType::Raw | FieldType::Json | FieldType::FieldSet => match first(wire, 1)? {
            Some(text) if !text.is_empty() => json::value(text.as_bytes())?,
            _ => Value::Null,
        },
        FieldType::SchemaOrBool | FieldType::SchemaOrArray | FieldType::SchemaOrStrings => {
            schema_or(wire, ty, depth)?
        }
        FieldType::Ref(to) => {
            let mut map = Map::new();
            message(&mut map, wire.bytes()?, to.get(), depth)?;
            Value::Object(map)
        }
        FieldType::List(_) | FieldType::Map(_) => {
            return Err(CodecError::Proto("proto: a list inside a list".into()));
        }
    })
}

/// The text of a field of a small message.
fn first<'a>(wire: Wire<'a>, wanted: u32) -> Result<Option<&'a str>, CodecError> {
    let mut reader = Reader::new(wire.bytes()?);
    let mut found = None;
    while let Some((number, wire)) = reader.field()? {
        if number == wanted {
            found = Some(wire.text()?);
        }
    }
    Ok(found)
}

fn time(wire: Wire, micro: bool) -> Result<Value, CodecError> {
    let bytes = wire.bytes()?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let mut reader = Reader::new(bytes);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = reader.field()? {
        match number {
            1 => seconds = wire.varint()? as i64,
            2 => nanos = wire.varint()? as i32,
            _ => {}
        }
    }
    let stamp = jiff::Timestamp::new(seconds, nanos.clamp(0, 999_999_999))
        .map_err(|_| CodecError::Proto("proto: a time out of range".into()))?;
    let format = if micro { "%Y-%m-%dT%H:%M:%S.%6fZ" } else { "%Y-%m-%dT%H:%M:%SZ" };
    Ok(stamp.strftime(format).to_string().into())
}

fn schema_or(wire: Wire, ty: &FieldType, depth: usize) -> Result<Value, CodecError> {
    let mut reader = Reader::new(wire.bytes()?);
    let (mut allows, mut schema, mut list) = (false, None, Vec::new());
    let json_schema = schema::json_schema().ok_or(CodecError::Limit("no JSON schema type"))?;
    let read_schema = |wire: Wire| -> Result<Value, CodecError> {
        let mut map = Map::new();
        message(&mut map, wire.bytes()?, json_schema, depth + 1)?;
        Ok(Value::Object(map))
    };
    while let Some((number, wire)) = reader.field()? {
        match (ty, number) {
            (FieldType::SchemaOrBool, 1) => allows = wire.varint()? != 0,
            (FieldType::SchemaOrBool, 2) | (_, 1) => schema = Some(read_schema(wire)?),
            (FieldType::SchemaOrArray, 2) => list.push(read_schema(wire)?),
            (FieldType::SchemaOrStrings, 2) => list.push(wire.text()?.into()),
            _ => {}
        }
    }
    Ok(match schema {
        Some(schema) => schema,
        None if *ty == FieldType::SchemaOrBool => allows.into(),
        None => list.into(),
    })
}
