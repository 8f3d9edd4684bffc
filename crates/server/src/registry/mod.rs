//! The registry: the one path of every kind's objects, read and written.
//!
//! A kind adds a row of strategy (`api::strategy`), a schema and a row of the kind table; there is no
//! handler per kind. Not here: HTTP (`edge`), who may (`stack`), subresources with a body of their
//! own (`subresource`).

pub mod collection;
pub mod create;
pub mod decode;
pub mod delete;
mod faults;
pub mod form;
pub mod get;
pub mod list;
pub mod local;
mod older;
pub mod page;
pub mod patch;
mod raw;
pub mod remove;
pub mod select;
mod socket;
pub mod update;
pub mod watch;
pub mod write;

use std::sync::Arc;

use api::ApiError;
use api::kinds::{Kind, Verb};
use http::Method;

use crate::edge::accept;
use crate::edge::respond::{self, Reply};
use crate::metrics;
use crate::server::{Request, Server, Target};
use crate::subresource;

/// Serves a request for a resource.
pub async fn serve(server: &Arc<Server>, request: Request) -> Result<Reply, ApiError> {
    let Some(target) = resolve(server, &request)? else { return Ok(respond::not_found()) };
    let warning = match &target.custom {
        Some(custom) => custom.version().warning.clone(),
        None => target.kind.deprecation().filter(|_| target.kind.is_stored()),
    };
    let Some(warning) = warning else { return route(server, request, target).await };
    let Kind { group, version, plural, .. } = target.kind;
    metrics::deprecated(group, version, plural, &target.sub);
    // It goes with every answer, errors included, and comes before other warnings.
    let media = request.media;
    let mut reply =
        route(server, request, target).await.unwrap_or_else(|error| respond::error(&error, media));
    respond::warn_first(&mut reply, &warning);
    Ok(reply)
}

/// To a subresource, or to a verb of the kind itself.
async fn route(
    server: &Arc<Server>,
    request: Request,
    mut target: Target,
) -> Result<Reply, ApiError> {
    let (kind, info) = (target.kind, &request.info);
    if !info.subresource.is_empty() {
        let Some(sub) = kind.subresource(&info.subresource) else {
            return Err(if kind.custom { target.not_found() } else { respond::no_resource() });
        };
        if info.parts.len() > 3 && sub.name != "proxy" {
            return Err(respond::no_resource());
        }
        allowed(
            sub_verb(&request.parts.method)
                .filter(|v| sub.verbs.contains(*v) || sub.name == "proxy"),
        )?;
        target.sub = sub.name.to_owned();
        return subresource::serve(server, request, target, sub).await;
    }
    if !kind.is_stored() && !kind.verbs.contains(Verb::Get) && !info.name.is_empty() {
        return Err(respond::no_resource());
    }
    let verb = allowed(main_verb(&request, kind))?;
    if !kind.is_stored() {
        return subresource::virtual_kind(server, request, target).await;
    }
    // Custom resources have no routes of their own to gate.
    if target.custom.is_none() {
        accept::route(&request.accept(), matches!(verb, Verb::List | Verb::Watch))?;
    }
    dispatch(server, request, target, verb).await
}

async fn dispatch(
    server: &Arc<Server>,
    request: Request,
    target: Target,
    verb: Verb,
) -> Result<Reply, ApiError> {
    match verb {
        Verb::Get => get::serve(server, &request, &target).await,
        Verb::List => list::serve(server, &request, &target).await,
        Verb::Watch => watch::serve(server, request, &target).await,
        Verb::Create => create::serve(server, request, target).await,
        Verb::Update => update::serve(server, request, target).await,
        Verb::Patch => patch::serve(server, request, target).await,
        Verb::Delete => delete::serve(server, request, target).await,
        Verb::DeleteCollection => collection::serve(server, request, target).await,
    }
}

/// What a path names; `None` where the group is not served at all.
fn resolve(server: &Server, request: &Request) -> Result<Option<Target>, ApiError> {
    let info = &request.info;
    let core = info.prefix == "api";
    if !core && !server.served.has_group(&info.group) {
        return Ok(resolve_custom(server, request));
    }
    let found = server.served.find(&info.group, &info.version, &info.resource);
    let Some(kind) = found.filter(|_| core == info.group.is_empty()) else {
        return Err(respond::no_resource());
    };
    let in_namespace = !info.namespace.is_empty() && kind.plural != "namespaces";
    if kind.namespaced {
        // `/api/v1/pods/x`: an object needs its namespace.
        if !in_namespace && info.parts.len() > 1 {
            return Err(respond::no_resource());
        }
    } else if in_namespace {
        return Err(respond::no_resource());
    }
    Ok(Some(Target::new(server, kind, &info.namespace, &info.name)))
}

/// The same for custom resources: what they do not have is not found.
fn resolve_custom(server: &Server, request: &Request) -> Option<Target> {
    let info = &request.info;
    let custom = server.customs.find(&info.group, &info.version, &info.resource)?;
    let in_namespace = !info.namespace.is_empty();
    let fits = match custom.kind().namespaced {
        true => in_namespace || info.parts.len() < 2,
        false => !in_namespace,
    };
    fits.then(|| Target::of_custom(server, &custom, &info.namespace, &info.name))
}

fn allowed(verb: Option<Verb>) -> Result<Verb, ApiError> {
    verb.ok_or_else(respond::no_method)
}

fn sub_verb(method: &Method) -> Option<Verb> {
    match *method {
        Method::GET => Some(Verb::Get),
        Method::PUT => Some(Verb::Update),
        Method::PATCH => Some(Verb::Patch),
        Method::POST => Some(Verb::Create),
        Method::DELETE => Some(Verb::Delete),
        Method::HEAD | Method::OPTIONS => Some(Verb::Get),
        _ => None,
    }
}

fn main_verb(request: &Request, kind: &Kind) -> Option<Verb> {
    let info = &request.info;
    let collection = info.parts.len() < 2;
    let everywhere = kind.namespaced && info.namespace.is_empty();
    let verb = match (&request.parts.method, collection) {
        (&Method::GET, _) if info.verb == "watch" => Verb::Watch,
        (&Method::GET, true) => Verb::List,
        (&Method::POST, true) if !everywhere => Verb::Create,
        (&Method::DELETE, true) if !everywhere => Verb::DeleteCollection,
        (&Method::GET, false) => Verb::Get,
        (&Method::PUT, false) => Verb::Update,
        (&Method::PATCH, false) => Verb::Patch,
        (&Method::DELETE, false) => Verb::Delete,
        _ => return None,
    };
    if !kind.is_stored() && !kind.verbs.contains(verb) && !collection {
        return None;
    }
    kind.verbs.contains(verb).then_some(verb)
}

/// An object in the form that a write's response takes.
pub(crate) fn reply_object(
    server: &Server,
    request: &Request,
    target: &Target,
    status: http::StatusCode,
    object: api::Object,
) -> Result<Reply, ApiError> {
    let accept = accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    form::reply(server, request, target, accept, status, object)
}
