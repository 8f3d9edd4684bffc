//! One probe of a container: a command, an HTTP request, a TCP connection, or a gRPC health check.
//!
//! Not here: when probes run and what follows from them ([`super`]).

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::http;
use crate::cri::{Cri, CriError};
use crate::hooks::port;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Success,
    /// It is not, and why.
    Failure(String),
    /// The probe itself did not work; nothing is known.
    Unknown(String),
}

/// Where to probe.
#[derive(Clone, Debug)]
pub struct Target {
    /// The container's id.
    pub id: String,
    /// The pod's address.
    pub ip: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Probes once.
pub async fn check(cri: &Cri, probe: &Probe, container: &Container, target: &Target) -> Finding {
    let timeout =
        Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1).max(1)).unwrap_or(1));
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match cri.exec_sync(&target.id, command, timeout).await {
            Ok(out) if out.exit_code == 0 => Finding::Success,
            Ok(out) => {
                let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
                text.push_str(&String::from_utf8_lossy(&out.stderr));
                text.truncate(text.char_indices().nth(10_240).map_or(text.len(), |(i, _)| i));
                Finding::Failure(text)
            }
            Err(CriError::Deadline(_)) => {
                Finding::Failure(format!("command timed out after {}s", timeout.as_secs()))
            }
            Err(e) => Finding::Unknown(e.to_string()),
        };
    }
    let call = async {
        if let Some(get) = &probe.http_get {
            let port = match port(&get.port, container) {
                Ok(port) => port,
                Err(e) => return Finding::Unknown(e),
            };
            let request = http::Request::of(get, &target.ip, port, "kube-probe/1.36");
            match http::get(&request).await {
                Ok(answer) if (200..400).contains(&answer.status) => Finding::Success,
                Ok(answer) => Finding::Failure(format!(
                    "HTTP probe failed with statuscode: {}",
                    answer.status
                )),
                Err(e) => Finding::Failure(e),
            }
        } else if let Some(tcp) = &probe.tcp_socket {
            let host =
                tcp.host.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| target.ip.clone());
            match port(&tcp.port, container) {
                Ok(port) => match tokio::net::TcpStream::connect((host.as_str(), port)).await {
                    Ok(_) => Finding::Success,
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                        Finding::Failure(format!(
                            "dial tcp {host}:{port}: connect: connection refused"
                        ))
                    }
                    Err(e) => Finding::Failure(format!("dial tcp {host}:{port}: {e}")),
                },
                Err(e) => Finding::Unknown(e),
            }
        } else if let Some(grpc) = &probe.grpc {
            health(&target.ip, grpc.port, grpc.service.as_deref().unwrap_or("")).await
        } else {
            Finding::Unknown("missing probe handler".into())
        }
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(finding) => finding,
        Err(_) => Finding::Failure("context deadline exceeded".to_owned()),
    }
}

async fn health(ip: &str, port: i32, service: &str) -> Finding {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let endpoint = match tonic::transport::Endpoint::from_shared(format!("http://{host}:{port}")) {
        Ok(endpoint) => endpoint.user_agent("kube-probe/1.36"),
        Err(e) => return Finding::Unknown(e.to_string()),
    };
    let channel = match endpoint {
        Ok(endpoint) => endpoint.connect().await,
        Err(e) => return Finding::Unknown(e.to_string()),
    };
    let mut grpc = match channel {
        Ok(channel) => Grpc::new(channel),
        Err(e) => {
            return Finding::Failure(format!("failed to connect service \"{host}:{port}\": {e}"));
        }
    };
    if let Err(e) = grpc.ready().await {
        return Finding::Failure(e.to_string());
    }
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec: ProstCodec<HealthRequest, HealthResponse> = ProstCodec::default();
    let request = tonic::Request::new(HealthRequest { service: service.to_owned() });
    match grpc.unary(request, path, codec).await {
        Ok(answer) => match answer.into_inner().status {
            1 => Finding::Success,
            status => {
                let name = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
                let name =
                    usize::try_from(status).ok().and_then(|s| name.get(s)).unwrap_or(&"UNKNOWN");
                Finding::Failure(format!("service unhealthy (responded with {name:?})"))
            }
        },
        Err(s) => Finding::Failure(format!("health rpc probe failed: {}", s.message())),
    }
}
