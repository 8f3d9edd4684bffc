//! `/openapi/v2` and `/openapi/v3`.
//!
//! Documents are made when they are asked for; clients keep them by their hash. Not here: the
//! documents (`api::openapi`).

use std::collections::{BTreeMap, HashMap};

use api::crd::Version;
use api::kinds::Kind;
use api::openapi::{Documents, Given};
use http::{HeaderValue, StatusCode, header};

use crate::aggregate;
use crate::edge::respond::{self, Reply};
use crate::server::{Request, Server};

const JSON: &str = "application/json";
/// The protobuf form of version 2; clients ask for it by either name.
const PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTO_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Serves an OpenAPI document; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    if !path.starts_with("/openapi") {
        return None;
    }
    let (more, more_revision) = aggregate::versions_2(server);
    let customs = server.customs.table();
    let established = || customs.definitions().filter(|d| d.established);
    let versions = || established().flat_map(|d| d.versions.iter().filter(|v| v.served));
    let schemas: HashMap<*const Kind, &Version> =
        versions().map(|v| (std::ptr::from_ref(v.kind), v)).collect();
    let mut revisions: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for definition in established() {
        for version in &definition.versions {
            let revision = revisions.entry((&definition.group, &version.name)).or_default();
            revision.push_str(&format!("{} {}\n", definition.uid, definition.revision));
        }
    }
    let given = Given {
        schema: &|kind| schemas.get(&std::ptr::from_ref(kind)).map(|version| version.read_raw()),
        revision: &|group, version| revisions.get(&(group, version)).cloned().unwrap_or_default(),
        more: &more,
    };
    let mut customs: Vec<&Kind> = versions().map(|v| v.kind).collect();
    customs.sort_by_key(|kind| (kind.group, kind.version, kind.plural));
    let documents = Documents::new(server.served.all().iter().copied().chain(customs), given);
    match path {
        "/openapi/v2" => {
            let accept = request.accept();
            let known = |media: &str| match media {
                "" | JSON | "*/*" | "application/*" => Some(JSON),
                PROTO | PROTO_ASKED => Some(PROTO),
                _ => None,
            };
            let mut asked = accept.split(',').map(|clause| clause.split(';').next().unwrap_or(""));
            let Some(media) = asked.find_map(|media| known(media.trim())) else {
                return Some(empty(StatusCode::NOT_ACCEPTABLE));
            };
            // Each form has a hash of its own.
            let hash = documents.hash_of_all(&format!("{media} {more_revision}"));
            let mut reply = tagged(request, &hash, || {
                if media == PROTO {
                    documents.v2_proto().into()
                } else {
                    documents.v2_json().into()
                }
            });
            if media == PROTO && reply.status() == StatusCode::OK {
                reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTO));
            }
            Some(reply)
        }
        // A slash at the end is another path here.
        "/openapi/v3" if !request.info.path.ends_with('/') => {
            let revision = aggregate::index_revision(server);
            let hash = documents.hash_of_all(&format!("v3 {revision}"));
            Some(tagged(request, &hash, || {
                let mut index = documents.index();
                aggregate::index(server, &mut index);
                crate::codec::json_line(&index)
            }))
        }
        "/openapi/v3" => Some(empty(StatusCode::NOT_FOUND)),
        _ => {
            let path = path.strip_prefix("/openapi/v3/")?;
            if !documents.has(path) {
                return Some(empty(StatusCode::NOT_FOUND));
            }
            let hash = documents.hash(path);
            let asked = request.params.get("hash");
            if !asked.is_empty() && asked != hash {
                let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
                let place = format!("/openapi/v3/{path}?hash={hash}");
                if let Ok(place) = HeaderValue::from_str(&place) {
                    reply.headers_mut().insert(header::LOCATION, place);
                }
                return Some(reply);
            }
            let mut reply =
                tagged(request, &hash, || documents.v3(path).unwrap_or_default().into());
            if !asked.is_empty() {
                // The hash is part of the address: what it names never changes.
                let forever = HeaderValue::from_static("public, immutable");
                reply.headers_mut().insert(header::CACHE_CONTROL, forever);
            }
            Some(reply)
        }
    }
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = respond::bytes(status, JSON, "");
    reply.headers_mut().remove(header::CONTENT_TYPE);
    reply
}

/// A document with its hash as its tag; not made for clients that have it.
fn tagged(request: &Request, hash: &str, make: impl FnOnce() -> bytes::Bytes) -> Reply {
    let tag = format!("\"{hash}\"");
    let mut reply = if request.header(header::IF_NONE_MATCH) == tag {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        respond::bytes(StatusCode::OK, JSON, make())
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        reply.headers_mut().insert(header::ETAG, value);
    }
    reply.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    reply
}
