//! Sockets, TLS, and the HTTP connections on them.
//!
//! Not here: certificates (`pki`), requests (`stack`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Shutdown;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::stall::Stall;
use crate::config::StartError;
use crate::metrics;
use crate::server::{RequestBody, Server};
use crate::stack::{self, Origin};

/// A client has so long for the TLS handshake and for its first request.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Headers must be complete within this time, which also bounds how long a connection may idle.
const HEADERS: Duration = Duration::from_secs(120);
/// Streams a client may have open on one HTTP/2 connection.
const STREAMS: u32 = 1000;
/// A client that takes nothing of what it is sent is cut after this time.
const STALL: Duration = Duration::from_secs(60);
/// Connections that may be open at once.
const CONNECTIONS: usize = 16_384;
/// Open connections are given this long to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);

/// Binds the port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        std::io::ErrorKind::AddrInUse => StartError::AddressInUse { address },
        _ => StartError::Listen { address, source },
    })
}

/// Accepts connections until shut down, then lets the open ones end.
pub async fn run(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shutdown: Shutdown,
) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if connections.len() >= CONNECTIONS => {
                tracing::warn!(%peer, "refused: {CONNECTIONS} connections are open");
            }
            Ok((stream, peer)) => {
                let connection =
                    connection(server.clone(), acceptor.clone(), stream, peer, shutdown.clone());
                connections.spawn(connection);
            }
            Err(error) => {
                // Out of file descriptors, mostly: others must end first.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    shutdown: Shutdown,
) {
    let _ = stream.set_nodelay(true);
    let stream = Stall::new(stream, STALL);
    let tls = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(tls)) => tls,
        Ok(Err(error)) => {
            metrics::handshake_failed();
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            metrics::handshake_failed();
            tracing::debug!(%peer, "TLS handshake timed out");
            return;
        }
    };
    let certificates: Arc<[CertificateDer<'static>]> = tls
        .get_ref()
        .1
        .peer_certificates()
        .map(|chain| chain.iter().map(|c| c.clone().into_owned()).collect())
        .unwrap_or_default();
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, origin) = (server.clone(), Origin::Wire(certificates.clone()));
        async move {
            let (parts, body) = request.into_parts();
            let head = parts.method == http::Method::HEAD;
            let reply = stack::serve(server, origin, parts, RequestBody::Wire(body)).await;
            let empty = client::Body::empty;
            Ok::<_, std::convert::Infallible>(match head {
                true => client::head::without_body(reply, empty()),
                false => reply,
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(1024 * 1024)
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(15));
    let serving = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "connection failed");
            }
            return;
        }
        () = shutdown.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}
