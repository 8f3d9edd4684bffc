//! A request's way through the server, from top to bottom: authentication, flow control,
//! impersonation, authorization, then whoever serves it.
//!
//! Not here: any of the stages themselves.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use api::{ApiError, Reason};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use rustls::pki_types::CertificateDer;

use crate::aggregate;
use crate::authz::forbidden;
use crate::deadline;
use crate::edge::respond::{self, Reply};
use crate::edge::{accept, gzip};
use crate::endpoints;
use crate::gate::{Attributes, Decision, UserInfo};
use crate::metrics;
use crate::query::Params;
use crate::registry;
use crate::request::RequestInfo;
use crate::server::{Request, RequestBody, Server, accept_of};

/// Where a request comes from.
#[derive(Clone)]
pub enum Origin {
    /// Over TLS, with the client's certificates, end entity first.
    Wire(Arc<[CertificateDer<'static>]>),
    /// From this process, as this user.
    Process(Arc<UserInfo>),
}

/// Under which a request and its answer are found in logs; a client may choose it.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
/// Longer ones are cut, as upstream does.
const AUDIT_ID_LENGTH: usize = 64;

/// Serves one request.
pub async fn serve(server: Arc<Server>, origin: Origin, parts: Parts, body: RequestBody) -> Reply {
    let chosen = parts.headers.get(AUDIT_ID).filter(|id| !id.is_empty());
    let id = match chosen.map(HeaderValue::as_bytes) {
        Some(id) => HeaderValue::from_bytes(&id[..id.len().min(AUDIT_ID_LENGTH)]),
        None => HeaderValue::from_str(&server.rng.uuid()),
    };
    let mut reply = answer(server, origin, parts, body).await;
    if let Ok(mut id) = id {
        // Seen once: not to be kept in the connection's table of headers.
        id.set_sensitive(true);
        reply.headers_mut().insert(AUDIT_ID, id);
    }
    reply
}

async fn answer(server: Arc<Server>, origin: Origin, parts: Parts, body: RequestBody) -> Reply {
    let started = tokio::time::Instant::now();
    let query = parts.uri.query().unwrap_or("");
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), query);
    if info.is_unreadable {
        return unreadable(&parts);
    }
    let labels = metrics::Labels::of(&server, &info, &parts);
    let media = accept::for_error(&accept_of(&parts));
    let gzip = gzip::wanted(&parts.headers) && gzip::applies(&info);
    let patience = deadline::of(&info, query);
    let writes = !matches!(info.verb, "get" | "list" | "head");
    // Boxed: it is large, and would be copied from layer to layer.
    let work = metrics::waiting(Box::pin(guard(server, origin, parts, body, info, media)));
    let outcome = match patience {
        Ok(None) => Ok(work.await),
        Ok(Some(patience)) => deadline::within(patience, writes, work).await,
        Err(error) => Err(error),
    };
    let (reply, waited) = outcome.unwrap_or_else(|error| (Err(error), Duration::ZERO));
    let mut reply = reply.unwrap_or_else(|error| respond::error(&error, media));
    let sized = labels.answered(reply.status().as_u16(), started.elapsed(), waited);
    if let Some(sized) = sized {
        reply = reply.map(|body| body.ended(sized));
    } else if let Some(running) = labels.running() {
        reply = reply.map(|body| body.ended(move |_| drop(running)));
    }
    if gzip { gzip::compress(reply) } else { reply }
}

/// The answer to a path that ends where its resource should stand; given before anything else, and as
/// plain text.
fn unreadable(parts: &Parts) -> Reply {
    let (path, uri) = (parts.uri.path(), parts.uri.to_string());
    let why = format!("unable to determine kind and namespace from url, {path}");
    let said = format!("Internal Server Error: {uri:?}: failed to create RequestInfo: {why}\n");
    respond::text(StatusCode::INTERNAL_SERVER_ERROR, said)
}

async fn guard(
    server: Arc<Server>,
    origin: Origin,
    parts: Parts,
    body: RequestBody,
    info: RequestInfo,
    media: accept::Media,
) -> Result<Reply, ApiError> {
    let server = &server;
    let user = authenticate(server, &origin, &parts)?;
    let guards = &server.guards;
    let other = guards.impersonation.user(
        &parts.headers,
        &attributes(&user, &info),
        &*guards.authorizer,
    )?;
    let user = other.unwrap_or(user);
    let asked = tokio::time::Instant::now();
    let mut admitted = match server.flow.admit(&user, &info).await {
        Ok(admitted) => admitted,
        Err(refused) => return Ok(refused.reply()),
    };
    metrics::waited(asked.elapsed());
    let _in_flight = metrics::in_flight(&info);
    let marks = admitted.marks.take();
    let reply = match check(server, &attributes(&user, &info)) {
        Ok(()) => {
            let params = Params::parse(parts.uri.query().unwrap_or(""));
            route(server, Request { parts, body, info, params, user, media }).await
        }
        Err(error) => Err(error),
    };
    drop(admitted);
    let Some(marks) = marks else { return reply };
    let mut reply = reply.unwrap_or_else(|error| respond::error(&error, media));
    marks.put(&mut reply);
    Ok(reply)
}

fn authenticate(server: &Server, origin: &Origin, parts: &Parts) -> Result<UserInfo, ApiError> {
    let peer = match origin {
        Origin::Process(user) => return Ok(UserInfo::clone(user)),
        Origin::Wire(peer) => peer,
    };
    let found = server.guards.authenticator.authenticate(parts, peer);
    if !matches!(found, Ok(None)) {
        metrics::authenticated(found.as_ref().ok().and_then(|u| Some(u.as_ref()?.name.as_str())));
    }
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Ok(UserInfo::anonymous()),
        Err(error) => {
            tracing::debug!(%error, path = parts.uri.path(), "authentication failed");
            Err(ApiError::new(Reason::Unauthorized, "Unauthorized"))
        }
    }
}

/// What a request asks for, as authorizers see it.
fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    Attributes {
        user: Cow::Borrowed(user),
        verb: info.verb,
        resource_request: info.is_resource,
        path: &info.path,
        group: &info.group,
        version: &info.version,
        resource: &info.resource,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        field_selector: &info.field_selector,
        label_selector: &info.label_selector,
    }
}

/// The answer of the authorizer as an error where it does not allow.
pub fn check(server: &Server, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    let decision = server.guards.authorizer.authorize(attributes);
    let (allowed, denied) =
        (matches!(decision, Decision::Allow(_)), matches!(decision, Decision::Deny(_)));
    metrics::authorized(allowed, denied);
    match decision {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
    }
}

/// To the registry or to one of the other endpoints.
async fn route(server: &Arc<Server>, request: Request) -> Result<Reply, ApiError> {
    if let Some((remote, available)) = server.aggregator.find(&request.info.path) {
        return aggregate::serve(server, request, &remote, available).await;
    }
    if request.info.verb == "proxy" {
        // Authorized as ever, but the paths that start with it have been gone since 1.10.
        return Err(respond::no_resource());
    }
    if request.info.is_resource {
        return registry::serve(server, request).await;
    }
    if !matches!(request.parts.method, http::Method::GET | http::Method::HEAD) {
        let path = request.info.path.trim_end_matches('/');
        // Health answers whatever the method.
        if let Some(reply) = endpoints::health::serve(server, &request, path) {
            return Ok(reply);
        }
        // Upstream serves the list of groups, and each group, whatever the method.
        if path == "/apis" || path.strip_prefix("/apis/").is_some_and(|rest| !rest.contains('/')) {
            return Ok(endpoints::serve(server, &request).unwrap_or_else(respond::not_found));
        }
        let known = path == "/version" || crate::endpoints::discovery::knows(server, path);
        return Ok(if known {
            respond::error(&respond::no_method(), request.media)
        } else {
            respond::not_found()
        });
    }
    let request = match aggregate::serve_document(server, request).await {
        Ok(reply) => return reply,
        Err(request) => request,
    };
    if request.info.path.starts_with("/openapi/") {
        return document(server, request).await;
    }
    Ok(endpoints::serve(server, &request).unwrap_or_else(respond::not_found))
}

/// Documents that take long to make are made where nothing else waits for the thread; those of all
/// groups, which also take memory, one after the other.
async fn document(server: &Arc<Server>, request: Request) -> Result<Reply, ApiError> {
    let turn = match request.info.path.as_str() {
        "/openapi/v2" => server.documents.turn.clone().acquire_owned().await.ok(),
        _ => None,
    };
    let making = server.clone();
    let made = tokio::task::spawn_blocking(move || {
        // Kept to the end, even where the client has gone.
        let _turn = turn;
        endpoints::serve(&making, &request)
    });
    let reply = made.await.map_err(ApiError::internal)?;
    Ok(reply.unwrap_or_else(respond::not_found))
}
