//! `/openapi/v2` and `/openapi/v3`.
//!
//! Documents are made when they are asked for; clients keep them by their hash. What is of all groups
//! is kept here too, as far as it is small. Not here: the documents (`api::openapi`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Value;
use api::crd::{Definition, Version};
use api::kinds::Kind;
use api::openapi::{Documents, Given};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::kept::{Document, Mark};
use crate::aggregate;
use crate::edge::respond::{self, Reply};
use crate::server::{Request, Server};

const JSON: &str = "application/json";
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The protobuf form of version 2; clients ask for it by either name.
const PROTO: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const PROTO_ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// Serves an OpenAPI document; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    match path {
        // A slash at the end is another path here.
        "/openapi/v2" if request.info.path.ends_with('/') => None,
        "/openapi/v2" => Some(version_2(server, request)),
        "/openapi/v3" if request.info.path.ends_with('/') => Some(empty(StatusCode::NOT_FOUND)),
        "/openapi/v3" => {
            let index = index(server);
            let mut reply = tagged(request, &index.tag, || index.body);
            if reply.status() == StatusCode::OK {
                // Upstream does not say that it is JSON.
                reply.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            }
            Some(reply)
        }
        _ => Some(document(server, request, path.strip_prefix("/openapi/v3/")?)),
    }
}

/// Calls `f` with the documents of all built-in kinds and of some definitions.
pub fn documents<'d, R>(
    server: &Server,
    definitions: impl Iterator<Item = &'d Definition>,
    more: &[Arc<Value>],
    f: impl FnOnce(&Documents<'_>) -> R,
) -> R {
    let established: Vec<&Definition> = definitions.filter(|d| d.established).collect();
    let versions = || established.iter().flat_map(|d| d.versions.iter().filter(|v| v.served));
    let schemas: HashMap<*const Kind, &Version> =
        versions().map(|v| (std::ptr::from_ref(v.kind), v)).collect();
    let mut revisions: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for definition in &established {
        for version in &definition.versions {
            let revision = revisions.entry((&definition.group, &version.name)).or_default();
            revision.push_str(&format!("{} {}\n", definition.uid, definition.revision));
        }
    }
    let given = Given {
        schema: &|kind| schemas.get(&std::ptr::from_ref(kind)).map(|version| version.read_raw()),
        revision: &|group, version| revisions.get(&(group, version)).cloned().unwrap_or_default(),
        more,
    };
    let mut customs: Vec<&Kind> = versions().map(|v| v.kind).collect();
    customs.sort_by_key(|kind| (kind.group, kind.version, kind.plural));
    f(&Documents::new(server.served.all().iter().copied().chain(customs), given))
}

fn version_2(server: &Server, request: &Request) -> Reply {
    let accept = request.accept();
    let known = |media: &str| match media {
        "" | JSON | "*/*" | "application/*" => Some(JSON),
        PROTO | PROTO_ASKED => Some(PROTO),
        _ => None,
    };
    let mut asked = accept.split(',').map(|clause| clause.split(';').next().unwrap_or(""));
    let Some(media) = asked.find_map(|media| known(media.trim())) else {
        return empty(StatusCode::NOT_ACCEPTABLE);
    };
    let mark = Mark::now(server);
    let (more, more_revision) = aggregate::versions_2(server);
    let customs = server.customs.table();
    // Each form has a hash of its own.
    let kept = &server.documents.v2[usize::from(media == PROTO)];
    let hash = kept.get(mark, || {
        let tag = documents(server, customs.definitions(), &more, |documents| {
            documents.hash_of_all(&format!("{media} {more_revision}"))
        });
        Document { body: Bytes::new(), tag }
    });
    let mut reply = tagged(request, &hash.tag, || {
        documents(server, customs.definitions(), &more, |documents| {
            if media == PROTO { documents.v2_proto().into() } else { documents.v2_json().into() }
        })
    });
    if media == PROTO && reply.status() == StatusCode::OK {
        reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROTO));
    }
    reply
}

fn index(server: &Server) -> Document {
    let mark = Mark::now(server);
    server.documents.index.get(mark, || {
        let customs = server.customs.table();
        documents(server, customs.definitions(), &[], |documents| {
            let tag = documents.hash_of_all(&format!("v3 {}", aggregate::index_revision(server)));
            let mut index = documents.index();
            aggregate::index(server, &mut index);
            Document { body: crate::codec::json_line(&index), tag }
        })
    })
}

/// A document of version 3: of a group's definitions at most.
fn document(server: &Server, request: &Request, path: &str) -> Reply {
    let customs = server.customs.table();
    let group = path.strip_prefix("apis/").and_then(|rest| rest.split('/').next()).unwrap_or("");
    documents(server, customs.definitions_of(group), &[], |documents| {
        if !documents.has(path) {
            return empty(StatusCode::NOT_FOUND);
        }
        let hash = documents.hash(path);
        let asked = request.params.get("hash");
        if !asked.is_empty() && asked != hash {
            let mut reply = empty(StatusCode::MOVED_PERMANENTLY);
            let place = format!("/openapi/v3/{path}?hash={hash}");
            if let Ok(place) = HeaderValue::from_str(&place) {
                reply.headers_mut().insert(header::LOCATION, place);
            }
            return reply;
        }
        let mut reply = tagged(request, &hash, || documents.v3(path).unwrap_or_default().into());
        if !asked.is_empty() {
            // The hash is part of the address: what it names never changes.
            let forever = HeaderValue::from_static("public, immutable");
            reply.headers_mut().insert(header::CACHE_CONTROL, forever);
        }
        reply
    })
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
