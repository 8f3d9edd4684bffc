//! A request's way through the server, from top to bottom: authentication, flow control,
//! impersonation, authorization, then whoever serves it.
//!
//! Not here: any of the stages themselves.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use api::{ApiError, Reason};
use http::request::Parts;
use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};
use rustls::pki_types::CertificateDer;

use crate::aggregate;
use crate::authz::forbidden;
use crate::deadline;
use crate::edge::respond::{self, Reply};
use crate::edge::{accept, gzip};
use crate::endpoints;
use crate::gate::{Attributes, Decision, UserInfo};
use crate::query::Params;
use crate::registry;
use crate::request::RequestInfo;
use crate::server::{Request, RequestBody, Server, accept_of};

static REQUESTS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_request_total",
        "Counter of apiserver requests broken out for each verb, group, version, resource and HTTP response code.",
        &["verb", "group", "version", "resource", "subresource", "code"]
    )
    .ok()
});
static DURATION: LazyLock<Option<HistogramVec>> = LazyLock::new(|| {
    register_histogram_vec!(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, group, version and resource.",
        &["verb", "group", "version", "resource"]
    )
    .ok()
});

/// Where a request comes from.
#[derive(Clone)]
pub enum Origin {
    /// Over TLS, with the client's certificates, end entity first.
    Wire(Arc<[CertificateDer<'static>]>),
    /// From this process, as this user.
    Process(Arc<UserInfo>),
}

/// Serves one request.
pub async fn serve(server: Arc<Server>, origin: Origin, parts: Parts, body: RequestBody) -> Reply {
    let started = tokio::time::Instant::now();
    let query = parts.uri.query().unwrap_or("");
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), query);
    let labels = labels(&server, &info);
    let media = accept::for_error(&accept_of(&parts));
    let gzip = gzip::wanted(&parts.headers) && matches!(info.verb, "list" | "get");
    let reply = match deadline::of(&info, query) {
        Ok(None) => guard(&server, &origin, parts, body, info, media).await,
        Ok(Some(patience)) => {
            let writes = !matches!(info.verb, "get" | "list" | "head");
            let (server, origin) = (server.clone(), origin.clone());
            let work = async move { guard(&server, &origin, parts, body, info, media).await };
            deadline::within(patience, writes, work).await
        }
        Err(error) => Err(error),
    };
    let reply = reply.unwrap_or_else(|error| respond::error(&error, media));
    let [verb, group, version, resource, subresource] = &labels;
    if let Some(counter) = &*REQUESTS {
        let code = reply.status().as_u16().to_string();
        counter.with_label_values(&[verb, group, version, resource, subresource, &code]).inc();
    }
    if let (Some(histogram), false) = (&*DURATION, verb == "watch") {
        histogram
            .with_label_values(&[verb, group, version, resource])
            .observe(started.elapsed().as_secs_f64());
    }
    if gzip {
        let size = reply.extensions().get::<registry::list::Size>().map_or(0, |s| s.0);
        return gzip::compress(reply, size);
    }
    reply
}

/// Labels of the request's metrics. What names no served resource has none: clients must not be able
/// to make new series at will.
fn labels(server: &Server, info: &RequestInfo) -> [String; 5] {
    let (group, version, plural) = (&info.group, &info.version, &info.resource);
    let kind = server
        .served
        .find(group, version, plural)
        .or_else(|| server.customs.find(group, version, plural).map(|c| c.kind()));
    let Some(kind) = kind.filter(|_| info.is_resource) else {
        return [info.verb.to_owned(), String::new(), String::new(), String::new(), String::new()];
    };
    let sub = kind.subresource(&info.subresource).map_or("", |s| s.name);
    [info.verb, kind.group, kind.version, kind.plural, sub].map(str::to_owned)
}

async fn guard(
    server: &Arc<Server>,
    origin: &Origin,
    parts: Parts,
    body: RequestBody,
    info: RequestInfo,
    media: accept::Media,
) -> Result<Reply, ApiError> {
    let user = authenticate(server, origin, &parts)?;
    let guards = &server.guards;
    let other = guards.impersonation.user(
        &parts.headers,
        &attributes(&user, &info),
        &*guards.authorizer,
    )?;
    let user = other.unwrap_or(user);
    let mut admitted = match server.flow.admit(&user, &info).await {
        Ok(admitted) => admitted,
        Err(refused) => return Ok(refused.reply()),
    };
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
    match server.guards.authenticator.authenticate(parts, peer) {
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
    match server.guards.authorizer.authorize(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(attributes, &reason)),
    }
}

/// To the registry or to one of the other endpoints.
async fn route(server: &Arc<Server>, request: Request) -> Result<Reply, ApiError> {
    if let Some((remote, available)) = server.aggregator.find(&request.info.path) {
        return aggregate::serve(server, request, &remote, available).await;
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
