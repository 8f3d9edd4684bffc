//! One HTTP request to a container, for probes and hooks: a new connection each time, any
//! certificate, redirects followed on the same host.
//!
//! Not here: judging the answer.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use client::https::AnyServer;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

/// How much of an answer is read.
const LIMIT: usize = 10 << 10;
/// How many redirects are followed.
const REDIRECTS: usize = 10;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    tls: bool,
    host: String,
    port: u16,
    path: String,
    headers: Vec<(String, String)>,
    agent: &'static str,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
}

impl Request {
    /// The request that a probe or hook asks for.
    pub fn of(get: &HTTPGetAction, pod_ip: &str, port: u16, agent: &'static str) -> Self {
        let path = get.path.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| "/".into());
        Self {
            tls: get.scheme.as_deref() == Some("HTTPS"),
            host: get.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| pod_ip.to_owned()),
            port,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: get
                .http_headers
                .iter()
                .flatten()
                .map(|h| (h.name.clone(), h.value.clone()))
                .collect(),
            agent,
        }
    }

    fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }

    /// The request that a redirect asks for; `None` where it leads to another host.
    fn redirected(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') {
            return Some(Self { path: location.to_owned(), ..self.clone() });
        }
        let uri: http::Uri = location.parse().ok()?;
        let tls = uri.scheme_str()? == "https";
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        (uri.host()? == self.host).then(|| Self {
            tls,
            port,
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            ..self.clone()
        })
    }
}

/// Sends the request; an error is about the connection, not the status.
pub async fn get(request: &Request) -> Result<Answer, String> {
    let mut request = request.clone();
    for _ in 0..REDIRECTS {
        let (answer, location) = once(&request).await?;
        let next = location.filter(|_| (300..400).contains(&answer.status));
        match next.and_then(|l| request.redirected(&l)) {
            Some(next) => request = next,
            None => return Ok(answer),
        }
    }
    Err(format!("stopped after {REDIRECTS} redirects"))
}

async fn once(request: &Request) -> Result<(Answer, Option<String>), String> {
    let authority = request.authority();
    let scheme = if request.tls { "https" } else { "http" };
    let failed =
        |e: &dyn std::fmt::Display| format!("Get \"{scheme}://{authority}{}\": {e}", request.path);
    let stream = TcpStream::connect(&authority)
        .await
        .map_err(|e| failed(&format!("dial tcp {authority}: connect: {}", plain(&e))))?;
    let mut builder = http::Request::get(&request.path);
    if let Some(headers) = builder.headers_mut() {
        let value = HeaderValue::from_str(&authority).map_err(|e| failed(&e))?;
        headers.insert(HOST, value);
        headers.insert(USER_AGENT, HeaderValue::from_static(request.agent));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &request.headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|e| failed(&e))?;
            let value = HeaderValue::from_str(value).map_err(|e| failed(&e))?;
            if value.is_empty() && (name == ACCEPT || name == USER_AGENT) {
                headers.remove(name);
            } else {
                headers.insert(name, value);
            }
        }
    }
    let message = builder.body(Empty::<Bytes>::new()).map_err(|e| failed(&e))?;
    let response = if request.tls {
        let name = ServerName::try_from(request.host.clone()).map_err(|e| failed(&e))?;
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&TLS));
        let stream = connector.connect(name, stream).await.map_err(|e| failed(&e))?;
        exchange(TokioIo::new(stream), message).await
    } else {
        exchange(TokioIo::new(stream), message).await
    };
    response.map_err(|e| failed(&e))
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        _ => error.to_string(),
    }
}

async fn exchange<S>(
    stream: S,
    message: http::Request<Empty<Bytes>>,
) -> Result<(Answer, Option<String>), String>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|e| e.to_string())?;
    let send = async {
        let response = sender.send_request(message).await.map_err(|e| e.to_string())?;
        let status = response.status().as_u16();
        let location =
            response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
        // The beginning is read, for servers that take offence at less; it says nothing.
        let _ = Limited::new(response.into_body(), LIMIT).collect().await;
        Ok((Answer { status }, location))
    };
    // The connection is driven only as long as the answer takes, and dies with this future.
    let mut connection = std::pin::pin!(connection);
    let mut send = std::pin::pin!(send);
    tokio::select! {
        answer = &mut send => answer,
        _ = &mut connection => send.await,
    }
}

/// Containers' certificates are their own affair.
static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = AnyServer::new(Arc::clone(&provider));
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    // The versions are the provider's own defaults.
    let builder = match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        Err(error) => unreachable!("ring knows TLS: {error}"),
    };
    Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
});
