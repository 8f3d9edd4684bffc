//! The codecs of `api` behind the media types of HTTP.
//!
//! Not here: the codecs, or negotiation.

use api::{Object, Value};
use bytes::Bytes;

use crate::edge::Media;

/// A value that could not be encoded in the form asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unencodable(pub String);

/// A JSON document with the newline that upstream ends it with.
pub fn json_line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

/// A value in any encoding; protobuf needs a kind with a schema.
pub fn encode_value(value: &Value, media: Media) -> Result<Bytes, Unencodable> {
    match media {
        Media::Json => Ok(json_line(value)),
        Media::Yaml => yaml(value),
        Media::Protobuf => {
            let object = Object::from_value(value.clone())
                .ok_or_else(|| Unencodable("not an object".to_owned()))?;
            protobuf(&object)
        }
    }
}

fn yaml(value: &Value) -> Result<Bytes, Unencodable> {
    Ok(api::codec::yaml::encode(value).into())
}

/// An object as protobuf, in its envelope.
pub fn protobuf(object: &Object) -> Result<Bytes, Unencodable> {
    let ty = type_of(object.api_version(), object.kind())
        .ok_or_else(|| Unencodable(format!("{} has no protobuf form", object.kind())))?;
    api::codec::proto::encode(object, ty).map(Into::into).map_err(|e| Unencodable(e.to_string()))
}

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// The schema of a kind, of its lists, or of one of the kinds of `meta.k8s.io`.
pub fn type_of(api_version: &str, kind: &str) -> Option<&'static api::schema::Type> {
    if let Some(found) = api::kinds::of_object(api_version, kind) {
        return found.schema();
    }
    let item = kind.strip_suffix("List").and_then(|k| api::kinds::of_object(api_version, k));
    if let Some(found) = item {
        return found.list_schema();
    }
    api::schema::type_of(&format!("{META}.{kind}"))
}
