//! Protobuf to objects and back, by the schema table.
//!
//! The envelope is `k8s\0` and a `runtime.Unknown`: type, bytes, and two empty texts. Messages are
//! written as upstream's generated code writes them, byte for byte: fields by number, values without
//! a presence of their own always, map entries by key. Not here: stream framing.

use serde_json::{Map, Value};

use super::{CodecError, conform};
use crate::object::Object;
use crate::schema::{self, Type};

mod decode;
mod encode;
pub(crate) mod wire;

const MAGIC: &[u8] = b"k8s\0";

/// What the envelope holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// May be empty.
    pub api_version: &'a str,
    /// May be empty.
    pub kind: &'a str,
    /// The message.
    pub raw: &'a [u8],
    /// The type of `raw`; empty for protobuf.
    pub content_type: &'a str,
}

/// Opens the envelope.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, CodecError> {
    let Some(body) = bytes.strip_prefix(MAGIC) else {
        return Err(CodecError::Proto(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .into(),
        ));
    };
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[], content_type: "" };
    let mut reader = wire::Reader::new(body);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => {
                let mut meta = wire::Reader::new(value.bytes()?);
                while let Some((number, value)) = meta.field()? {
                    match number {
                        1 => envelope.api_version = value.text()?,
                        2 => envelope.kind = value.text()?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = value.bytes()?,
            4 => envelope.content_type = value.text()?,
            _ => {}
        }
    }
    Ok(envelope)
}

/// Reads an object in its envelope; the envelope says of what type.
pub fn decode(bytes: &[u8]) -> Result<Object, CodecError> {
    let envelope = open(bytes)?;
    let (group, version) =
        envelope.api_version.split_once('/').unwrap_or(("", envelope.api_version));
    let Some(ty) = schema::by_gvk(group, version, envelope.kind) else {
        return Err(CodecError::Proto(format!(
            "no kind {:?} is registered for version {:?}",
            envelope.kind, envelope.api_version
        )));
    };
    decode_as(bytes, ty)
}

/// Reads an object in its envelope, of a type known beforehand.
pub fn decode_as(bytes: &[u8], ty: &'static Type) -> Result<Object, CodecError> {
    let envelope = open(bytes)?;
    let mut map = Map::new();
    decode::message(&mut map, envelope.raw, ty, 0)?;
    for (key, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            map.insert(key.into(), text.into());
        }
    }
    // What protobuf always carries, JSON leaves out where it is empty.
    conform::object(&mut map, ty, &mut Vec::new())?;
    Ok(Object(map))
}

/// Writes an object in its envelope.
pub fn encode(object: &Object, ty: &'static Type) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(MAGIC);
    wire::nested(&mut out, 1, |out| {
        wire::text(out, 1, object.api_version());
        wire::text(out, 2, object.kind());
        Ok(())
    })?;
    wire::nested(&mut out, 2, |out| encode::message(out, &object.0, ty))?;
    wire::text(&mut out, 3, "");
    wire::text(&mut out, 4, "");
    Ok(out)
}

/// Writes an object as a bare message, without the envelope.
pub fn encode_message(object: &Object, ty: &'static Type) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::with_capacity(1024);
    encode::message(&mut out, &object.0, ty)?;
    Ok(out)
}

/// A list in its envelope, out of the bare messages of its items. `metadata` is a `ListMeta`.
pub fn encode_list<'a>(
    api_version: &str,
    kind: &str,
    metadata: &Map<String, Value>,
    items: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, CodecError> {
    let meta = schema::type_of("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta")
        .ok_or_else(|| CodecError::Proto("no ListMeta".into()))?;
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(MAGIC);
    wire::nested(&mut out, 1, |out| {
        wire::text(out, 1, api_version);
        wire::text(out, 2, kind);
        Ok(())
    })?;
    wire::nested(&mut out, 2, |out| {
        wire::nested(out, 1, |out| encode::message(out, metadata, meta))?;
        for item in items {
            wire::bytes(out, 2, item);
        }
        Ok(())
    })?;
    wire::text(&mut out, 3, "");
    wire::text(&mut out, 4, "");
    Ok(out)
}

/// A `WatchEvent` as streams carry it: a bare message with the object in its own envelope. The
/// stream's frame (four bytes of length) is the caller's.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + 32);
    wire::text(&mut out, 1, kind);
    // Writing bytes cannot fail; the closure's result is for messages.
    let _ = wire::nested(&mut out, 2, |out| {
        wire::bytes(out, 1, object);
        Ok(())
    });
    out
}
