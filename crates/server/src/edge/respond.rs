//! Responses: objects, errors and texts as HTTP messages.
//!
//! Not here: which form was negotiated (`accept`), or how objects are encoded in it
//! (`registry::form`).

use api::{ApiError, Object, Reason, Value};
use bytes::Bytes;
use client::Body;
use http::{HeaderValue, Response, StatusCode, header};

use super::accept::Media;
use crate::codec;

/// Clients are to believe the content type.
pub const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// A response of this server.
pub type Reply = Response<Body>;

/// A response of bytes.
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    stream(status, content_type, Body::from(body.into()))
}

/// A response of a body.
pub fn stream(status: StatusCode, content_type: &'static str, body: Body) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

/// A plain text.
pub fn text(status: StatusCode, body: impl Into<String>) -> Reply {
    bytes(status, "text/plain; charset=utf-8", body.into())
}

/// What a path gets that nothing is served under.
pub fn not_found() -> Reply {
    let mut reply = text(StatusCode::NOT_FOUND, "404 page not found\n");
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    reply
}

/// A JSON value in any encoding; a value without a protobuf form stays JSON.
pub fn value(status: StatusCode, media: Media, value: &Value) -> Reply {
    match codec::encode_value(value, media) {
        Ok(body) => bytes(status, media.content_type(), body),
        Err(_) => bytes(status, Media::Json.content_type(), codec::json_line(value)),
    }
}

/// An error as `metav1.Status`.
pub fn error(error: &ApiError, media: Media) -> Reply {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = value(status, media, &error.to_status());
    let retry = error.details.get("retryAfterSeconds").and_then(Value::as_u64);
    if let Some(seconds) = retry {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if matches!(error.reason, Reason::Forbidden) {
        reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    }
    warn(&mut reply, &error.warnings);
    reply
}

/// A warning that comes before those that are there.
pub fn warn_first(reply: &mut Reply, warning: &String) {
    let others: Vec<HeaderValue> = match reply.headers_mut().entry(header::WARNING) {
        header::Entry::Occupied(entry) => entry.remove_entry_mult().1.collect(),
        header::Entry::Vacant(_) => Vec::new(),
    };
    warn(reply, std::slice::from_ref(warning));
    let first = reply.headers().get(header::WARNING).cloned();
    for other in others.into_iter().filter(|other| Some(other) != first.as_ref()) {
        reply.headers_mut().append(header::WARNING, other);
    }
}

/// `Warning` headers, each text once, as upstream escapes them.
pub fn warn(reply: &mut Reply, warnings: &[String]) {
    let mut seen: Vec<&String> = Vec::new();
    for text in warnings {
        if seen.contains(&text) {
            continue;
        }
        seen.push(text);
        let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("299 - \"{}\"", escaped.replace(['\n', '\r'], " "));
        if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
            reply.headers_mut().append(header::WARNING, value);
        }
    }
}

/// An error of the HTTP layer, which upstream gives empty details.
pub fn generic(reason: Reason, message: impl Into<String>) -> ApiError {
    let mut error = ApiError::new(reason, message);
    error.generic = true;
    error
}

/// No such path under a served group.
pub fn no_resource() -> ApiError {
    generic(Reason::NotFound, "the server could not find the requested resource")
}

/// No such method on this path.
pub fn no_method() -> ApiError {
    generic(
        Reason::MethodNotAllowed,
        "the server does not allow this method on the requested resource",
    )
}

/// `metav1.Status` of a success, with details.
pub fn success(details: Value) -> Object {
    let mut object = Object::default();
    object.set_type("v1", "Status");
    object.meta_mut();
    object.0.insert("status".into(), "Success".into());
    object.0.insert("details".into(), details);
    object
}
