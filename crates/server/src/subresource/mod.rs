//! Subresources, and the kinds that are only asked, never kept.
//!
//! Most subresources show or change the object itself and take the registry's paths; the others have
//! a file each. Not here: the proxies to kubelets (`proxy`).

pub mod binding;
pub mod eviction;
pub mod review;
pub mod scale;
pub mod token;

use std::sync::Arc;

use api::kinds::Subresource;
use api::{ApiError, Object};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::edge::accept;
use crate::edge::respond::{self, Reply};
use crate::proxy;
use crate::query::WriteOptions;
use crate::registry::decode::{self, Expected};
use crate::registry::write::Context;
use crate::registry::{get, patch, update};
use crate::server::{Request, Server, Target};

/// Serves a request for a subresource.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
    sub: &'static Subresource,
) -> Result<Reply, ApiError> {
    match sub.name {
        "log" => proxy::log::serve(server, &mut request, &target).await,
        "exec" | "attach" | "portforward" => proxy::stream::serve(server, request, &target).await,
        "proxy" => proxy::http::serve(server, request, &target).await,
        "scale" => scale::serve(server, request, target).await,
        "binding" => binding::serve(server, request, target).await,
        "eviction" => eviction::serve(server, request, target).await,
        "token" => token::serve(server, request, target).await,
        _ => {
            accept::route(&request.accept(), false)?;
            match request.parts.method {
                Method::GET => get::serve(server, &request, &target).await,
                Method::PUT => update::serve(server, request, target).await,
                Method::PATCH => patch::serve(server, request, target).await,
                _ => Err(respond::no_method()),
            }
        }
    }
}

/// Serves a kind whose objects are not kept.
pub async fn virtual_kind(
    server: &Arc<Server>,
    request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    match target.kind.kind {
        "Binding" => binding::serve(server, request, target).await,
        "ComponentStatus" => component_status(server, &request, &target),
        _ => review::serve(server, request, target).await,
    }
}

/// The health of the parts, as the deprecated `componentstatuses` shows it.
fn component_status(
    server: &Server,
    request: &Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let healthy = server.store.health();
    let condition = match &healthy {
        Ok(()) => json!({"type": "Healthy", "status": "True", "message": "ok"}),
        Err(error) => json!({"type": "Healthy", "status": "False", "message": error.to_string()}),
    };
    let one = |name: &str| {
        json!({"kind": "ComponentStatus", "apiVersion": "v1",
            "metadata": {"name": name}, "conditions": [condition]})
    };
    let names = ["controller-manager", "etcd-0", "scheduler"];
    let value = if target.name.is_empty() {
        let items: Vec<_> = names
            .iter()
            .map(|name| {
                let mut item = one(name);
                if let Some(map) = item.as_object_mut() {
                    map.remove("kind");
                    map.remove("apiVersion");
                }
                item
            })
            .collect();
        json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": items})
    } else if names.contains(&target.name.as_str()) {
        one(&target.name)
    } else {
        return Err(target.not_found());
    };
    let mut reply = respond::value(StatusCode::OK, request.media, &value);
    respond::warn(&mut reply, target.kind.deprecation().as_slice());
    Ok(reply)
}

/// A created subresource's body, decoded, with what writing it needs.
pub(crate) struct Created<'a> {
    /// The body.
    pub object: Object,
    /// Options and warnings.
    pub ctx: Context<'a>,
}

/// Reads the body of a POST to a subresource.
pub(crate) async fn read<'a>(
    server: &'a Arc<Server>,
    request: &'a mut Request,
    expected: Expected,
) -> Result<Created<'a>, ApiError> {
    let options = WriteOptions::read(&request.params, "CreateOptions", false)?;
    let media = decode::media_of(request.header(http::header::CONTENT_TYPE))?;
    let body = request.take_body();
    let bytes = body.bytes().await?;
    let bytes = older_eviction(bytes, media, expected);
    let decoded = decode::body(&bytes, media, expected, options.validation)?;
    let mut ctx = Context::of(server, request, &options);
    ctx.warnings = decoded.warnings;
    Ok(Created { object: decoded.object, ctx })
}

/// Evictions are still taken in their older version, which has the same form.
fn older_eviction(bytes: Bytes, media: crate::edge::Media, expected: Expected) -> Bytes {
    if expected.kind != "Eviction" || media != crate::edge::Media::Json {
        return bytes;
    }
    let Ok(mut value) = serde_json::from_slice::<api::Value>(&bytes) else { return bytes };
    if value["apiVersion"] != "policy/v1beta1" {
        return bytes;
    }
    value["apiVersion"] = "policy/v1".into();
    value.to_string().into()
}

/// `Status: Success` with 201, as creating bindings and evictions answers.
pub(crate) fn created(request: &Request) -> Reply {
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Success", "code": 201});
    respond::value(StatusCode::CREATED, request.media, &status)
}
