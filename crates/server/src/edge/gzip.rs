//! Compression of large responses for clients that ask for it.
//!
//! Not here: streams (watches, logs), which go out as they come.

use std::io::Write;

use bytes::Bytes;
use client::Body;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use http_body::Body as _;

use super::respond::Reply;
use crate::registry::list::Size;
use crate::request::RequestInfo;

/// Upstream compresses from this size on, and as fast as gzip can.
pub const THRESHOLD: usize = 128 * 1024;

/// Whether the client takes gzip.
pub fn wanted(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|clause| clause.split(';').next().is_some_and(|name| name.trim() == "gzip"))
}

/// Whether answers to a request are compressed: reads of resources, and the one document that upstream
/// compresses as well.
pub fn applies(info: &RequestInfo) -> bool {
    info.is_resource && matches!(info.verb, "list" | "get") || info.path == "/openapi/v2"
}

/// Compresses a body, chunk by chunk, if it is long enough.
pub fn compress(reply: Reply) -> Reply {
    let known = reply.extensions().get::<Size>().map(|size| size.0 as u64);
    let size = known.or(reply.body().size_hint().exact()).unwrap_or(0);
    if size < THRESHOLD as u64 || !reply.status().is_success() {
        return reply;
    }
    let (mut parts, body) = reply.into_parts();
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(header::CONTENT_LENGTH);
    let state = Some((body, GzEncoder::new(Vec::new(), Compression::fast())));
    let stream = futures_util::stream::unfold(state, |state| async move {
        let (mut body, mut encoder) = state?;
        loop {
            let fault = |e: std::io::Error| client::Error::transport("compress response", e);
            match body.next().await {
                Some(Ok(chunk)) => {
                    if let Err(e) = encoder.write_all(&chunk) {
                        return Some((Err(fault(e)), None));
                    }
                    let out = std::mem::take(encoder.get_mut());
                    if !out.is_empty() {
                        return Some((Ok(Bytes::from(out)), Some((body, encoder))));
                    }
                }
                Some(Err(e)) => return Some((Err(e), None)),
                None => {
                    let last = encoder.finish().map(Bytes::from).map_err(fault);
                    return Some((last, None));
                }
            }
        }
    });
    Reply::from_parts(parts, Body::stream(stream))
}
