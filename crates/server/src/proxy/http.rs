//! `nodes/proxy`, `pods/proxy`, `services/proxy`: HTTP requests, passed on.
//!
//! Not here: streams of exec and port-forward (`stream`).

use std::sync::Arc;

use api::clock::Rng;
use api::{ApiError, Object, Reason, Value};
use client::Client;
use http::{HeaderName, HeaderValue, Request as HttpRequest, StatusCode, header};
use hyper_util::rt::TokioIo;
use store::Store;

use super::admit::admit;
use super::links::Place;
use super::{failed, join, kubelet_of, pod_of};
use crate::edge::respond::Reply;
use crate::server::{Request, Server, Target};

/// Headers of one hop.
pub const HOP: [HeaderName; 8] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Serves a proxied request.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let (backend, there) = backend(server, target)?;
    let path = request.parts.uri.path();
    let rest = rest_of(path);
    admit(server, &request, target, rest).await?;
    if rest.is_empty() && [http::Method::GET, http::Method::HEAD].contains(&request.parts.method) {
        return Ok(with_slash(&request));
    }
    let host = request.parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let place = Place {
        prefix: path.strip_suffix(rest).unwrap_or(path).to_owned(),
        there,
        here: host.or(request.parts.uri.host()).unwrap_or("").to_owned(),
    };
    let mut uri = if rest.is_empty() { "/".to_owned() } else { rest.to_owned() };
    if let Some(query) = request.parts.uri.query() {
        uri = format!("{uri}?{query}");
    }
    let upgrade = client::stream::handshake::wants_upgrade(&request.parts.headers);
    let mut builder = HttpRequest::builder().method(request.parts.method.clone()).uri(uri);
    for (name, value) in &request.parts.headers {
        let ours = [header::AUTHORIZATION, header::HOST, header::CONTENT_LENGTH].contains(name)
            || name.as_str() == "x-forwarded-uri";
        let kept = upgrade && [header::UPGRADE, header::CONNECTION].contains(name);
        if !ours && (kept || !HOP.contains(name)) {
            builder = builder.header(name, value);
        }
    }
    if let Ok(path) = HeaderValue::from_str(path) {
        builder = builder.header("x-forwarded-uri", path);
    }
    let body = request.take_body();
    let onward = builder.body(body.bytes().await?).map_err(ApiError::internal)?;
    if upgrade {
        return upgraded(server, &mut request, &backend, onward).await;
    }
    let response = backend.send(onward).await.map_err(|error| unreachable(&error))?;
    let (mut parts, body) = response.into_parts();
    for name in HOP {
        parts.headers.remove(name);
    }
    let body = place.rewrite(&mut parts, body);
    Ok(Reply::from_parts(parts, body))
}

fn unreachable(error: &client::Error) -> ApiError {
    if error.api().is_some() {
        return failed(error);
    }
    let message = format!("error trying to reach service: {error}");
    ApiError::new(Reason::ServiceUnavailable, message)
}

/// Joins the connection of an upgrade with one to the backend.
pub async fn upgraded(
    server: &Arc<Server>,
    request: &mut Request,
    backend: &Client,
    onward: HttpRequest<bytes::Bytes>,
) -> Result<Reply, ApiError> {
    let Some(wire) = request.parts.extensions.remove::<hyper::upgrade::OnUpgrade>() else {
        return Err(ApiError::bad_request("the connection cannot be upgraded"));
    };
    let mut there =
        backend.transport().upgrade(onward).await.map_err(|error| unreachable(&error))?;
    let mut reply = Reply::new(client::Body::empty());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *reply.headers_mut() = there.headers.clone();
    let stop = server.shutdown.clone();
    tokio::spawn(async move {
        let Ok(here) = wire.await else { return };
        let mut here = TokioIo::new(here);
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut here, &mut there.io) => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(reply)
}

/// The path behind the subresource `proxy`.
fn rest_of(path: &str) -> &str {
    // A name before it may be `proxy` too, so its place counts: behind resource and name.
    let segments: Vec<&str> = path.split('/').collect();
    let start = if segments.get(1) == Some(&"api") { 3 } else { 4 };
    let namespaced = segments.get(start) == Some(&"namespaces") && segments.len() > start + 3;
    let last = if namespaced { start + 4 } else { start + 2 };
    let len: usize = segments.iter().take(last + 1).map(|s| s.len() + 1).sum();
    path.get(len.saturating_sub(1)..).unwrap_or("")
}

fn with_slash(request: &Request) -> Reply {
    let mut location = format!("{}/", request.parts.uri.path());
    if let Some(query) = request.parts.uri.query() {
        location = format!("{location}?{query}");
    }
    let mut reply = Reply::new(client::Body::empty());
    *reply.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(header::LOCATION, value);
    }
    reply
}

/// `[scheme:]name[:port]`.
fn split_name(name: &str) -> Option<(&str, &str, &str)> {
    let parts: Vec<&str> = name.split(':').collect();
    match parts.as_slice() {
        [name] => Some(("", name, "")),
        [name, port] => Some(("", name, port)),
        [scheme, name, port] => Some((scheme, name, port)),
        _ => None,
    }
}

/// Who answers, and the address.
fn backend(server: &Server, target: &Target) -> Result<(Client, String), ApiError> {
    let refuse = || {
        let text = format!("invalid {} request {:?}", target.kind.singular, target.name);
        ApiError::bad_request(text)
    };
    let (scheme, name, port) = split_name(&target.name).ok_or_else(refuse)?;
    let scheme = if scheme.is_empty() { "http" } else { scheme };
    if !["http", "https"].contains(&scheme) {
        return Err(refuse());
    }
    let named = target.named(&target.namespace, name);
    let address = match target.kind.plural {
        "nodes" => return kubelet_of(server, name),
        "pods" => {
            let pod = pod_of(&named)?;
            let Some(ip) = pod.text("status.podIP").filter(|ip| !ip.is_empty()) else {
                return Err(ApiError::bad_request("address not allowed"));
            };
            let port = if port.is_empty() { first_port(&pod) } else { port.to_owned() };
            join(ip, &port)
        }
        _ => {
            let service = named.object(&*named.entry()?)?;
            if server.store.resource("endpoints").get(&named.namespace, name).is_none() {
                return Err(named.not_found());
            }
            let (host, port) =
                endpoint(&server.store, &server.rng, &service, port).ok_or_else(|| {
                    let message = format!("no endpoints available for service {:?}", target.name);
                    ApiError::new(Reason::ServiceUnavailable, message)
                })?;
            join(&host, &port)
        }
    };
    Ok((server.upstream.plain(scheme, &address)?, address))
}

fn first_port(pod: &Object) -> String {
    let containers = pod.at("spec.containers").and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .filter_map(|c| c["ports"].as_array())
        .flatten()
        .find_map(|p| p["containerPort"].as_i64())
        .map_or_else(|| "80".to_owned(), |p| p.to_string())
}

/// One of a service's ready endpoints, for a port by number or name.
pub fn endpoint(
    store: &Store,
    rng: &Rng,
    service: &Object,
    port: &str,
) -> Option<(String, String)> {
    let ports = service.at("spec.ports")?.as_array()?;
    let fits = |p: &&Value| {
        port.is_empty() || p["name"] == port || p["port"].as_u64() == port.parse().ok()
    };
    let name = ports.iter().find(fits)?["name"].as_str().unwrap_or("");
    let slices = store.resource("endpointslices.discovery.k8s.io");
    let mut found = Vec::new();
    for entry in slices.list(Some(service.namespace())).iter() {
        if entry.card.label("kubernetes.io/service-name") != Some(service.name()) {
            continue;
        }
        let Ok(slice) = entry.object() else { continue };
        let number = slice.at("ports").and_then(Value::as_array).and_then(|ports| {
            ports.iter().find(|p| p["name"].as_str().unwrap_or("") == name)?["port"].as_i64()
        });
        let Some(number) = number else { continue };
        let endpoints = slice.at("endpoints").and_then(Value::as_array);
        for endpoint in endpoints.into_iter().flatten() {
            if endpoint["conditions"]["ready"] == false {
                continue;
            }
            let addresses = endpoint["addresses"].as_array();
            for address in addresses.into_iter().flatten().filter_map(Value::as_str) {
                found.push((address.to_owned(), number.to_string()));
            }
        }
    }
    let at = usize::try_from(rng.below(found.len() as u64)).unwrap_or(0);
    found.get(at).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_behind_the_proxy() {
        assert_eq!(rest_of("/api/v1/namespaces/a/pods/b/proxy/c/d"), "/c/d");
        assert_eq!(rest_of("/api/v1/namespaces/a/services/proxy/proxy"), "");
        assert_eq!(rest_of("/api/v1/nodes/n/proxy/pods"), "/pods");
    }
}
