//! `pods/log`: a container's log, streamed from its kubelet.
//!
//! Not here: reading log files.

use std::sync::Arc;

use api::{ApiError, Cause, CauseReason};
use bytes::Bytes;
use client::Body;
use client::stream::handshake::{Use, is_websocket};
use client::stream::{Framing, Handshake, Wrapping};
use http::{Method, Request as HttpRequest, StatusCode, header};
use serde_json::json;

use super::stream::{self, EmptyBody};
use super::{container_of, escape, failed, kubelet_of, pod_of};
use crate::edge::respond::{self, Reply};
use crate::query::Params;
use crate::server::{Request, Server, Target};

/// Options that go on to the kubelet as they are.
const PASSED: [&str; 8] = [
    "follow",
    "previous",
    "timestamps",
    "sinceSeconds",
    "sinceTime",
    "tailLines",
    "limitBytes",
    "stream",
];

/// Serves a GET of a log.
pub async fn serve(
    server: &Arc<Server>,
    request: &mut Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let pod = pod_of(target)?;
    check(&request.params, &target.name)?;
    let container = container_of(&pod, request.params.get("container"))?;
    let node = pod.text("spec.nodeName").unwrap_or("");
    if node.is_empty() {
        // Nothing has run yet, so there is nothing to show.
        let mut reply = respond::bytes(StatusCode::NO_CONTENT, "text/plain", Bytes::new());
        reply.headers_mut().remove(header::CONTENT_TYPE);
        return Ok(reply);
    }
    let mut path =
        format!("/containerLogs/{}/{}/{}", target.namespace, target.name, escape(&container));
    let mut separator = '?';
    for key in PASSED {
        let value = request.params.get(key);
        if !value.is_empty() {
            path.push_str(&format!("{separator}{key}={}", escape(value)));
            separator = '&';
        }
    }
    let (kubelet, _) = kubelet_of(server, node)?;
    let upstream = HttpRequest::builder()
        .method(Method::GET)
        .uri(&path)
        .body(Bytes::new())
        .map_err(ApiError::internal)?;
    let response = kubelet.send(upstream).await.map_err(|error| dial(&error, &path))?;
    let status = response.status();
    if !status.is_success() {
        let body = response.into_body().bytes().await.map_err(|e| failed(&e))?;
        let mut error = ApiError::from_response(status.as_u16(), &body);
        if error.message.is_empty() {
            error.message = format!("the kubelet answered {status}");
        }
        return Err(error);
    }
    if is_websocket(&request.parts.headers) {
        return in_messages(server, request, response.into_body());
    }
    Ok(respond::stream(StatusCode::OK, "text/plain", response.into_body()))
}

/// The log in the messages of a WebSocket.
fn in_messages(server: &Arc<Server>, request: &mut Request, body: Body) -> Result<Reply, ApiError> {
    let handshake = match Handshake::negotiate(&request.parts.headers, Use::Bytes) {
        Ok(handshake) => handshake,
        Err(refused) => return Err(refused.error),
    };
    let io = stream::upgraded(request)?;
    let wrapping = match handshake.framing {
        Framing::WebSocket { base64: true, .. } => Wrapping::Base64,
        _ => Wrapping::Binary,
    };
    let stop = server.shutdown.clone();
    tokio::spawn(async move {
        let sent = async { client::stream::send(io.await?, wrapping, body).await };
        let outcome = tokio::select! { sent = sent => sent, () = stop.cancelled() => Ok(()) };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a log's stream ended");
        }
    });
    Ok(handshake.response::<EmptyBody>().map(|_| Body::empty()))
}

/// The kubelet could not be asked.
fn dial(error: &client::Error, path: &str) -> ApiError {
    if error.api().is_some() {
        return failed(error);
    }
    ApiError::new(api::Reason::Unknown, format!("Get {path:?}: {error}"))
}

fn check(params: &Params, name: &str) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    let mut at_least = |key: &'static str, low: i64, what: &str| -> Result<(), ApiError> {
        if let Some(value) = params.int(key)?.filter(|v| *v < low) {
            causes.push(Cause::invalid(key, &json!(value), what));
        }
        Ok(())
    };
    at_least("tailLines", 0, "must be greater than or equal to 0")?;
    at_least("limitBytes", 1, "must be greater than 0")?;
    let both = params.has("sinceSeconds") && params.has("sinceTime");
    if !both {
        at_least("sinceSeconds", 1, "must be greater than 0")?;
    }
    if both {
        causes.push(Cause::new(
            CauseReason::Forbidden,
            "[]",
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "PodLogOptions", name, causes))
}
