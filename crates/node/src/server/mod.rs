//! The kubelet's HTTPS server: pods, logs, commands, statistics, for the API server and for those it
//! admits.
//!
//! `tls` makes the connection, `auth` asks who and whether, the others answer. Not here: the streams'
//! framing (`client::stream`).

mod auth;
mod logs;
mod route;
mod stats;
mod streams;
mod system;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::Shutdown;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

use self::auth::Gate;
use crate::kubelet::Kubelet;

/// What responses are made of.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// How long a client has for its TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A whole body.
pub fn full(data: impl Into<Bytes>) -> Body {
    Full::new(data.into()).map_err(|never| match never {}).boxed()
}

/// A response in plain text.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    respond(status, "text/plain; charset=utf-8", text.into_bytes())
}

/// An answer that ends a request early.
pub type Refusal = Box<Response<Body>>;

/// A refusal in plain text.
pub fn refuse(status: StatusCode, why: impl Into<String>) -> Refusal {
    Box::new(text(status, why))
}

/// A response.
pub fn respond(status: StatusCode, media: &'static str, data: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(data));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A value as JSON.
pub fn json(value: &impl serde::Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(data) => respond(StatusCode::OK, "application/json", data),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

/// Listens and serves until shutdown; answers where it listens.
pub async fn start(kubelet: Arc<Kubelet>, shutdown: Shutdown) -> Result<SocketAddr, String> {
    let config = &kubelet.config.server;
    let at = SocketAddr::new(config.address, config.port);
    let listener = TcpListener::bind(at).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{at} is in use already: is another kubelet running on this machine?")
        }
        _ => format!("{at}: {e}"),
    })?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;
    let acceptor = tls::Acceptor::new(config, &kubelet.config.node_name, &kubelet.host_ips)?;
    acceptor.keep_fresh(shutdown.clone());
    let gate = Arc::new(Gate::new(kubelet.client.clone(), kubelet.config.node_name.clone()));
    tokio::spawn(accept(kubelet, listener, acceptor, gate, shutdown));
    Ok(address)
}

async fn accept(
    kubelet: Arc<Kubelet>,
    listener: TcpListener,
    acceptor: tls::Acceptor,
    gate: Arc<Gate>,
    shutdown: Shutdown,
) {
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: give others time to close theirs.
                    tracing::warn!(%error, "a connection is not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (kubelet, acceptor, gate) = (Arc::clone(&kubelet), acceptor.clone(), Arc::clone(&gate));
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a TLS handshake failed");
                    return;
                }
                Err(_) => return,
            };
            let peer = auth::identity_of(stream.get_ref().1);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                let (kubelet, gate, peer) = (Arc::clone(&kubelet), Arc::clone(&gate), peer.clone());
                async move {
                    let head = *request.method() == http::Method::HEAD;
                    let response = match gate.admit(&request, peer).await {
                        Ok(()) => route::answer(kubelet, request).await,
                        Err(refused) => *refused,
                    };
                    Ok::<_, std::convert::Infallible>(match head {
                        true => client::head::without_body(response, full(Bytes::new())),
                        false => response,
                    })
                }
            });
            let mut builder = Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(30));
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::select! {
                () = shutdown.cancelled() => {}
                result = connection => if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended");
                },
            }
        });
    }
}
