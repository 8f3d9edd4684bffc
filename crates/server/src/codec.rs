//! The codecs of `api` behind the media types of HTTP.
//!
//! Not here: the codecs, or negotiation.

use api::schema::{FieldType, Type};
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

/// An object as upstream would print it within an error: what the patch `touched` is sorted, as its
/// top is, all else in the order of the type's fields.
pub fn patched_text(object: &Object, ty: Option<&'static Type>, touched: &Value) -> String {
    let mut out = String::new();
    let all = object.0.iter().map(|(key, value)| {
        (key, value, ty.and_then(|t| t.field(key)).map(|f| &f.ty), touched.get(key))
    });
    fields(&mut out, all);
    out
}

fn print(out: &mut String, value: &Value, ty: Option<&'static FieldType>, touched: Option<&Value>) {
    let touched = touched.filter(|touched| touched.is_object());
    match (value, ty) {
        (Value::Object(map), ty) if touched.is_some() => {
            let inner = |key: &str| match ty {
                Some(FieldType::Map(inner)) => Some(&**inner),
                Some(ty) => ty.message()?.field(key).map(|f| &f.ty),
                None => None,
            };
            let deeper = |key: &str| touched.and_then(|touched| touched.get(key));
            fields(out, map.iter().map(|(k, v)| (k, v, inner(k), deeper(k))));
        }
        (Value::Object(map), Some(FieldType::Map(inner))) => {
            fields(out, map.iter().map(|(k, v)| (k, v, Some(&**inner), None)));
        }
        (Value::Object(map), Some(ty)) if ty.message().is_some() => {
            let Some(message) = ty.message() else { return };
            let mut all: Vec<_> = map
                .iter()
                .map(|(k, v)| (message.rank(k), k, v, message.field(k).map(|f| &f.ty)))
                .collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            fields(out, all.into_iter().map(|(_, k, v, ty)| (k, v, ty, None)));
        }
        (Value::Array(list), Some(FieldType::List(inner))) => {
            out.push('[');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                let deeper = touched.and_then(|touched| touched.get(at.to_string()));
                print(out, item, Some(inner), deeper);
            }
            out.push(']');
        }
        (other, _) => out.push_str(&other.to_string()),
    }
}

fn fields<'a>(
    out: &mut String,
    all: impl Iterator<Item = (&'a String, &'a Value, Option<&'static FieldType>, Option<&'a Value>)>,
) {
    out.push('{');
    for (at, (key, value, ty, touched)) in all.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(&Value::from(key.as_str()).to_string());
        out.push(':');
        print(out, value, ty, touched);
    }
    out.push('}');
}
