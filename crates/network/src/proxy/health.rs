//! Health checks: the proxy's own (`/healthz`, `/livez`), and one port a service with
//! `healthCheckNodePort`, where load balancers ask whether this node has endpoints.
//!
//! Not here: what the counts are.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::plan::Health;
use super::state::ServiceKey;

/// The most of a request that is read.
const REQUEST_LIMIT: usize = 8 << 10;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one request a connection with what `answer` makes of its path.
async fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> (u16, Vec<(&'static str, String)>, String) + Send + Sync + 'static,
) {
    let answer = Arc::new(answer);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, as a rule: others may be closed meanwhile.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let _ = tokio::time::timeout(REQUEST_TIMEOUT, one(stream, &*answer)).await;
        });
    }
}

async fn one(
    mut stream: TcpStream,
    answer: &(impl Fn(&str) -> (u16, Vec<(&'static str, String)>, String) + ?Sized),
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST_LIMIT {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&request);
    let path = head.split_ascii_whitespace().nth(1).unwrap_or("/");
    let (code, headers, body) = answer(path);
    let reason = match code {
        200 => "OK",
        404 => "Not Found",
        _ => "Service Unavailable",
    };
    let mut text = format!("HTTP/1.1 {code} {reason}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// The ports of services with a health check.
#[derive(Debug, Default)]
pub struct Checks {
    open: HashMap<ServiceKey, Open>,
}

#[derive(Debug)]
struct Open {
    port: u16,
    count: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checks {
    /// Sets what a service's health check says, or closes it.
    pub fn set(&mut self, service: &ServiceKey, health: Option<&Health>) {
        let Some(health) = health else {
            self.open.remove(service);
            return;
        };
        let count = health.local_endpoints as u64;
        if let Some(open) = self.open.get(service).filter(|o| o.port == health.port) {
            open.count.store(count, Ordering::Relaxed);
            return;
        }
        self.open.remove(service);
        let shared = Arc::new(AtomicU64::new(count));
        let task = tokio::spawn(check(service.clone(), health.port, shared.clone())).abort_handle();
        self.open.insert(service.clone(), Open { port: health.port, count: shared, task });
    }
}

async fn check(service: ServiceKey, port: u16, count: Arc<AtomicU64>) {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::warn!(%address, %error, "health check port of {}/{}", service.0, service.1);
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        }
    };
    serve(listener, move |_| {
        let count = count.load(Ordering::Relaxed);
        let body = serde_json::json!({
            "service": {"namespace": service.0, "name": service.1},
            "localEndpoints": count, "serviceProxyHealthy": true,
        });
        let headers = vec![
            ("Content-Type", "application/json".to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
            ("X-Load-Balancing-Endpoint-Weight", count.to_string()),
        ];
        (if count == 0 { 503 } else { 200 }, headers, body.to_string())
    })
    .await;
}

/// The proxy's own health: well as long as its last transaction went through.
pub async fn serve_own(address: SocketAddr, healthy: Arc<std::sync::atomic::AtomicBool>) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%address, %error, "the proxy's health port");
            return;
        }
    };
    serve(listener, move |path| {
        let ok = path != "/healthz" || healthy.load(Ordering::Relaxed);
        let json = vec![("Content-Type", "application/json".to_owned())];
        match path {
            "/healthz" | "/livez" => {
                (if ok { 200 } else { 503 }, json, format!("{{\"healthy\":{ok}}}"))
            }
            _ => (404, Vec::new(), String::new()),
        }
    })
    .await;
}
