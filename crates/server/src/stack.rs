//! A request's way through the server, from top to bottom: authentication, flow control,
//! impersonation, authorization, then whoever serves it.
//!
//! Not here: any of the stages themselves.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use api::{ApiError, Reason};
use http::StatusCode;
use http::request::Parts;
use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};
use rustls::pki_types::CertificateDer;

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
    let labels = [
        info.verb.to_owned(),
        info.group.clone(),
        info.version.clone(),
        info.resource.clone(),
        info.subresource.clone(),
    ];
    let media = accept::for_error(&accept_of(&parts));
    let gzip = gzip::wanted(&parts.headers) && matches!(info.verb, "list" | "get");
    let head = parts.method == http::Method::HEAD;
    let reply = match guard(&server, &origin, parts, body, info, media).await {
        Ok(reply) => reply,
        Err(error) => respond::error(&error, media),
    };
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
    let _ = head;
    if gzip {
        let size = reply.extensions().get::<registry::list::Size>().map_or(0, |s| s.0);
        return gzip::compress(reply, size);
    }
    reply
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
    let user = impersonate(server, user, &parts)?;
    let seat = server.flow.admit(&user, &info).await?;
    authorize(server, &user, &info)?;
    let params = Params::parse(parts.uri.query().unwrap_or(""));
    let request = Request { parts, body, info, params, user, media };
    let reply = route(server, request).await;
    drop(seat);
    reply
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

/// Whether a request may pass; the error is its answer.
fn authorize(server: &Server, user: &UserInfo, info: &RequestInfo) -> Result<(), ApiError> {
    let attributes = Attributes {
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
    };
    check(server, &attributes)
}

/// The answer of the authorizer as an error where it does not allow.
pub fn check(server: &Server, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    match server.guards.authorizer.authorize(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(refusal(attributes, &reason)),
    }
}

/// `pods is forbidden: User "x" cannot list resource …`.
fn refusal(a: &Attributes<'_>, reason: &str) -> ApiError {
    let user = &a.user.name;
    let suffix = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    if !a.resource_request {
        let message =
            format!("forbidden: User {user:?} cannot {} path {:?}{suffix}", a.verb, a.path);
        return respond::generic(Reason::Forbidden, message);
    }
    let mut resource = a.resource.to_owned();
    if !a.subresource.is_empty() {
        resource = format!("{resource}/{}", a.subresource);
    }
    let place = if a.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", a.namespace)
    };
    let why = format!(
        "User {user:?} cannot {} resource {resource:?} in API group {:?} {place}{suffix}",
        a.verb, a.group
    );
    ApiError::forbidden(a.group, a.resource, a.name, &why)
}

/// `Impersonate-*` headers: the request goes on as somebody else, if the user may do that.
fn impersonate(server: &Server, user: UserInfo, parts: &Parts) -> Result<UserInfo, ApiError> {
    let values = |name: &str| -> Vec<String> {
        let lines = parts.headers.get_all(name).iter();
        lines.filter_map(|v| v.to_str().ok()).map(str::to_owned).collect()
    };
    let name = values("impersonate-user").into_iter().next().unwrap_or_default();
    let uid = values("impersonate-uid").into_iter().next().unwrap_or_default();
    let groups = values("impersonate-group");
    let mut extra = std::collections::BTreeMap::<String, Vec<String>>::new();
    for (header, value) in &parts.headers {
        if let Some(key) = header.as_str().strip_prefix("impersonate-extra-") {
            let key = crate::request::percent_decode(key, false).to_lowercase();
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            extra.entry(key).or_default().push(value);
        }
    }
    if name.is_empty() {
        if !groups.is_empty() || !extra.is_empty() || !uid.is_empty() {
            let message = "requested [{Group/UID/Extra}] without impersonating a user".to_owned();
            return Err(ApiError::internal(message));
        }
        return Ok(user);
    }
    let may = |resource: &str, sub: &str, group: &str, namespace: &str, name: &str| {
        let attributes = Attributes {
            user: Cow::Borrowed(&user),
            verb: "impersonate",
            resource_request: true,
            group,
            version: "v1",
            resource,
            subresource: sub,
            namespace,
            name,
            ..Attributes::default()
        };
        check(server, &attributes)
    };
    let account = name
        .strip_prefix("system:serviceaccount:")
        .and_then(|rest| rest.split_once(':'))
        .map(|(namespace, account)| (namespace.to_owned(), account.to_owned()));
    match &account {
        Some((namespace, account)) => may("serviceaccounts", "", "", namespace, account)?,
        None => may("users", "", "", "", &name)?,
    }
    for group in &groups {
        may("groups", "", "", "", group)?;
    }
    for (key, values) in &extra {
        for value in values {
            may("userextras", key, "authentication.k8s.io", "", value)?;
        }
    }
    if !uid.is_empty() {
        may("uids", "", "authentication.k8s.io", "", &uid)?;
    }
    let mut all = groups;
    if let (Some((namespace, _)), true) = (&account, all.is_empty()) {
        all.push("system:serviceaccounts".to_owned());
        all.push(format!("system:serviceaccounts:{namespace}"));
    }
    let everyone =
        if name == "system:anonymous" { "system:unauthenticated" } else { "system:authenticated" };
    if !all.iter().any(|g| g == everyone) {
        all.push(everyone.to_owned());
    }
    Ok(UserInfo { name, uid, groups: all, extra })
}

/// To the registry or to one of the other endpoints.
async fn route(server: &Arc<Server>, request: Request) -> Result<Reply, ApiError> {
    if request.info.is_resource {
        return registry::serve(server, request).await;
    }
    if !matches!(request.parts.method, http::Method::GET | http::Method::HEAD) {
        let known = matches!(request.info.path.as_str(), "/api" | "/apis");
        return Ok(if known {
            respond::error(&respond::no_method(), request.media)
        } else {
            respond::not_found()
        });
    }
    Ok(endpoints::serve(server, &request).unwrap_or_else(|| {
        let _ = StatusCode::NOT_FOUND;
        respond::not_found()
    }))
}
