//! The forms of objects, lists and events: versions, tables, metadata only, YAML, protobuf.
//!
//! Not here: the usual form, JSON in the stored version, whose bytes are copied (`get`, `list`,
//! `watch`).

use std::sync::Arc;

pub use api::table::Include;
use api::{ApiError, Entry, Object, Reason, Value};
use http::StatusCode;
use serde_json::json;

use super::list::Meta;
use crate::codec;
use crate::edge::respond::{self, Reply};
use crate::edge::{Accept, Media, Shape};
use crate::server::{Request, Server, Target};

/// Reads `includeObject`.
pub fn include(text: &str) -> Result<Include, ApiError> {
    match text {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
        ))),
    }
}

/// A response of one entry.
pub fn reply_entry(
    server: &Server,
    request: &Request,
    target: &Target,
    accept: Accept,
    status: StatusCode,
    entry: &Entry,
) -> Result<Reply, ApiError> {
    if accept == Accept::default() && target.is_verbatim(entry) {
        return Ok(respond::bytes(status, Media::Json.content_type(), entry.json.clone()));
    }
    reply(server, request, target, accept, status, target.object(entry)?)
}

/// A response of one object in the request's version.
pub fn reply(
    server: &Server,
    request: &Request,
    target: &Target,
    accept: Accept,
    status: StatusCode,
    object: Object,
) -> Result<Reply, ApiError> {
    let is_status = object.kind() == "Status" && object.api_version() == "v1";
    let value = if is_status {
        object.into()
    } else {
        let shown = include(request.params.get("includeObject"))?;
        one(server, target, accept.shape, shown, object)?
    };
    Ok(respond::value(status, accept.media, &value))
}

/// One object in a shape.
pub fn one(
    server: &Server,
    target: &Target,
    shape: Shape,
    include: Include,
    object: Object,
) -> Result<Value, ApiError> {
    match shape {
        Shape::Object => Ok(object.into()),
        Shape::Metadata(version) => Ok(metadata_only(&object, version)),
        Shape::MetadataList(_) => Err(ApiError::new(
            Reason::NotAcceptable,
            format!(
                "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                go_type(target, "")
            ),
        )),
        Shape::Table(version) => {
            let meta = json!({ "resourceVersion": object.resource_version() });
            table(server, target, version, include, true, meta, &[object])
        }
    }
}

/// How upstream names the kind's Go type in messages.
fn go_type(target: &Target, suffix: &str) -> String {
    let group = target.kind.group.split('.').next().filter(|g| !g.is_empty()).unwrap_or("core");
    format!("*{group}.{}{suffix}", target.kind.kind)
}

/// `PartialObjectMetadata` of an object.
pub fn metadata_only(object: &Object, version: &str) -> Value {
    let mut value = api::table::partial_metadata(object);
    value["apiVersion"] = format!("meta.k8s.io/{version}").into();
    value
}

/// A list in a shape.
pub fn list(
    server: &Server,
    request: &Request,
    target: &Target,
    shape: Shape,
    meta: &Meta,
    entries: &[Arc<Entry>],
) -> Result<Value, ApiError> {
    let objects: Vec<Object> =
        entries.iter().map(|e| target.object(e)).collect::<Result<_, _>>()?;
    let meta: Value = serde_json::from_str(&meta.json()).map_err(ApiError::internal)?;
    match shape {
        Shape::Object => Ok(objects_list(target, meta, objects)),
        Shape::MetadataList(version) => {
            let items: Vec<Value> = objects.iter().map(|o| metadata_only(o, version)).collect();
            let items = if items.is_empty() { Value::Null } else { items.into() };
            Ok(json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": format!("meta.k8s.io/{version}"),
                "metadata": meta,
                "items": items,
            }))
        }
        Shape::Metadata(_) => Err(ApiError::new(
            Reason::NotAcceptable,
            format!(
                "you requested PartialObjectMetadata, but the requested object is a list ({})",
                go_type(target, "List")
            ),
        )),
        Shape::Table(version) => {
            let shown = include(request.params.get("includeObject"))?;
            table(server, target, version, shown, true, meta, &objects)
        }
    }
}

/// A list of objects, which carry no type of their own in it.
pub fn objects_list(target: &Target, meta: Value, objects: Vec<Object>) -> Value {
    let mut meta = meta;
    if target.custom.is_some() {
        // Custom resources are listed as they are, and their lists always say how to go on.
        if meta.get("continue").is_none() {
            meta["continue"] = "".into();
        }
        let items: Vec<Value> = objects.into_iter().map(Value::from).collect();
        return json!({
            "apiVersion": target.kind.group_version(),
            "kind": target.kind.list_kind(),
            "metadata": meta,
            "items": items,
        });
    }
    let items: Vec<Value> = objects
        .into_iter()
        .map(|mut object| {
            object.0.remove("kind");
            object.0.remove("apiVersion");
            object.into()
        })
        .collect();
    json!({
        "kind": target.kind.list_kind(),
        "apiVersion": target.kind.api_version(),
        "metadata": meta,
        "items": items,
    })
}

/// A table of objects in the request's version.
pub fn table(
    server: &Server,
    target: &Target,
    version: &str,
    include: Include,
    headers: bool,
    meta: Value,
    objects: &[Object],
) -> Result<Value, ApiError> {
    let meta = meta.as_object().cloned().unwrap_or_default();
    let now = server.clock.now();
    let is_scale = objects.first().is_some_and(|object| object.kind() == "Scale");
    let mut table = match &target.custom {
        Some(custom) if !is_scale => {
            api::crd::columns::table(&custom.version().columns, objects, meta, include, now)
        }
        Some(_) => {
            let pairs: Vec<(&Object, &Object)> = objects.iter().zip(objects).collect();
            api::table::table(target.stored, &pairs, meta, include, now)
        }
        None => {
            let stored: Vec<Object> =
                objects.iter().map(|o| target.to_stored(o.clone())).collect::<Result<_, _>>()?;
            let pairs: Vec<(&Object, &Object)> = stored.iter().zip(objects).collect();
            api::table::table(target.stored, &pairs, meta, include, now)
        }
    };
    if !headers {
        table["columnDefinitions"] = Value::Null;
    }
    if version != "v1" {
        let api_version = Value::from(format!("meta.k8s.io/{version}"));
        table["apiVersion"] = api_version.clone();
        let rows = table["rows"].as_array_mut().into_iter().flatten();
        for row in rows.filter(|_| include == Include::Metadata) {
            row["object"]["apiVersion"] = api_version.clone();
        }
    }
    Ok(table)
}

/// A JSON value as a frame of a watch.
pub fn watch_frame(kind: &str, value: &Value, media: Media) -> Result<bytes::Bytes, ApiError> {
    match media {
        Media::Protobuf => {
            let object = Object::from_value(value.clone())
                .ok_or_else(|| ApiError::internal("a watched value is no object"))?;
            let inner = codec::protobuf(&object).map_err(ApiError::internal)?;
            Ok(protobuf_frame(kind, &inner))
        }
        _ => {
            let mut text = format!("{{\"type\":\"{kind}\",\"object\":{value}}}");
            text.push('\n');
            Ok(text.into())
        }
    }
}

/// `WatchEvent{type, object: RawExtension{raw}}`, behind its length.
fn protobuf_frame(kind: &str, object: &[u8]) -> bytes::Bytes {
    fn varint(out: &mut Vec<u8>, mut n: usize) {
        while n > 0x7f {
            out.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
    }
    let mut raw = vec![0x0a];
    varint(&mut raw, object.len());
    raw.extend_from_slice(object);
    let mut event = vec![0x0a];
    varint(&mut event, kind.len());
    event.extend_from_slice(kind.as_bytes());
    event.push(0x12);
    varint(&mut event, raw.len());
    event.extend_from_slice(&raw);
    let mut frame = u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    frame.extend_from_slice(&event);
    frame.into()
}
