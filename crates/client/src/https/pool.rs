//! Connections, shared: HTTP/2 ones by many requests at once, HTTP/1.1 ones one after another.
//!
//! Not here: making a connection (`connect`), credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Request, Response, Uri, header};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;

use super::connect::{Alpn, Connected, Target};
use crate::error::Error;
use crate::transport::Body;

/// Requests at once on one HTTP/2 connection. Servers allow a hundred or more; a watch holds its
/// stream for minutes, so beyond this another connection is opened.
const STREAMS: usize = 90;
/// Idle HTTP/1.1 connections kept.
const IDLE: usize = 32;
/// Dead peers are found by pings.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Flow-control windows: a long list should not wait for window updates.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Frames that the server may send: with their nine bytes of head, four full TLS records.
const FRAME: u32 = (64 << 10) - 9;

#[derive(Default)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    /// Held while connecting, so that a burst of requests opens one connection.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Shared {
    http2: Mutex<Vec<Multiplexed>>,
    http1: Mutex<Vec<http1::SendRequest<Full<Bytes>>>>,
    /// The server does not speak HTTP/2: a connection a request.
    only_http1: AtomicBool,
}

#[derive(Clone)]
struct Multiplexed {
    sender: http2::SendRequest<Full<Bytes>>,
    /// Cloned into every response body: the count of running requests.
    running: Arc<()>,
}

enum Connection {
    Http2(Multiplexed),
    Http1(http1::SendRequest<Full<Bytes>>),
}

impl Pool {
    pub async fn send(
        &self,
        target: &Target,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Error> {
        // A connection that closes before it took the request hands the request back.
        for _ in 0..3 {
            let connection = self.connection(target).await?;
            match self.send_on(connection, request, target).await {
                Ok(response) => return Ok(response),
                Err((error, None)) => return Err(error),
                Err((_, Some(back))) => request = back,
            }
        }
        Err(Error::unsent(format!("request to {}", target.address()), "connections keep closing"))
    }

    async fn connection(&self, target: &Target) -> Result<Connection, Error> {
        if let Some(found) = self.shared.idle() {
            return Ok(found);
        }
        let guard = match self.shared.only_http1.load(Ordering::Relaxed) {
            true => None,
            false => Some(self.connecting.lock().await),
        };
        if guard.is_some()
            && let Some(found) = self.shared.idle()
        {
            return Ok(found);
        }
        let Connected { io, http2 } = target.connect(Alpn::Any).await?;
        let what = || format!("connect to {}", target.address());
        if !http2 {
            self.shared.only_http1.store(true, Ordering::Relaxed);
            let (sender, connection) =
                http1::handshake(io).await.map_err(|e| Error::unsent(what(), e))?;
            tokio::spawn(connection);
            return Ok(Connection::Http1(sender));
        }
        self.shared.only_http1.store(false, Ordering::Relaxed);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .handshake(io)
            .await
            .map_err(|e| Error::unsent(what(), e))?;
        tokio::spawn(connection);
        let multiplexed = Multiplexed { sender, running: Arc::default() };
        self.shared.http2.lock().push(multiplexed.clone());
        Ok(Connection::Http2(multiplexed))
    }

    async fn send_on(
        &self,
        connection: Connection,
        mut request: Request<Full<Bytes>>,
        target: &Target,
    ) -> Result<Response<Body>, (Error, Option<Request<Full<Bytes>>>)> {
        let lost = |why: &dyn std::fmt::Display| {
            Error::transport(format!("request to {}", target.address()), why)
        };
        match connection {
            Connection::Http2(Multiplexed { mut sender, running }) => {
                let response = sender.try_send_request(request).await.map_err(|mut e| {
                    let back = e.take_message();
                    (lost(&describe(e.error())), back)
                })?;
                Ok(response.map(|body| {
                    let held = running;
                    let stream = Body::from_http(body).inspect(move |_| {
                        let _ = &held;
                    });
                    Body::stream(stream)
                }))
            }
            Connection::Http1(mut sender) => {
                origin_form(&mut request).map_err(|e| (e, None))?;
                let response = sender.try_send_request(request).await.map_err(|mut e| {
                    let back = e.take_message();
                    (lost(&describe(e.error())), back)
                })?;
                let shared = self.shared.clone();
                tokio::spawn(async move {
                    // Ready again once the response has been read to its end.
                    if sender.ready().await.is_ok() {
                        let mut idle = shared.http1.lock();
                        if idle.len() < IDLE {
                            idle.push(sender);
                        }
                    }
                });
                Ok(response.map(Body::from_http))
            }
        }
    }
}

impl Shared {
    /// A connection that is open and has room.
    fn idle(&self) -> Option<Connection> {
        let mut http2 = self.http2.lock();
        http2.retain(|c| !c.sender.is_closed());
        // Two counts are ours: the pool's and none yet for the request.
        let free = http2.iter().find(|c| Arc::strong_count(&c.running) <= STREAMS);
        if let Some(connection) = free {
            return Some(Connection::Http2(connection.clone()));
        }
        drop(http2);
        let mut http1 = self.http1.lock();
        while let Some(sender) = http1.pop() {
            if sender.is_ready() {
                return Some(Connection::Http1(sender));
            }
        }
        None
    }
}

/// hyper's own text says little; the cause behind it says what happened.
fn describe(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// HTTP/1.1 wants the path in the request line and the host in a header.
pub(super) fn origin_form(request: &mut Request<Full<Bytes>>) -> Result<(), Error> {
    let bad = |e: &dyn std::fmt::Display| Error::Config(format!("request URI: {e}"));
    if let Some(authority) = request.uri().authority()
        && !request.headers().contains_key(header::HOST)
    {
        let host = authority.as_str().parse().map_err(|e| bad(&e))?;
        request.headers_mut().insert(header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
    let uri: Uri = path.parse().map_err(|e| bad(&e))?;
    *request.uri_mut() = uri;
    Ok(())
}
