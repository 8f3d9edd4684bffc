//! Whether another server can answer: its service, endpoints, and a request for its resource list.
//!
//! Not here: when it is asked, who writes the condition (`controller`).

use std::time::Duration;

use api::{Object, Value};
use bytes::Bytes;
use http::{Method, Request};

use super::{Remote, proxy};
use crate::proxy::join;
use crate::server::Server;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is found, as the condition says it.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub reason: &'static str,
    pub message: String,
}

impl Finding {
    /// Whether requests may be passed on.
    pub fn is_good(&self) -> bool {
        matches!(self.reason, "Passed" | "Local")
    }
}

/// The condition `Available` of a registration.
pub fn available(object: &Object) -> Option<&Value> {
    let conditions = object.at("status.conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Available")
}

fn service(server: &Server, remote: &Remote) -> Option<Object> {
    server.store.resource("services").get(&remote.namespace, &remote.service)?.object().ok()
}

/// The address of one of a server's endpoints.
pub fn address(server: &Server, remote: &Remote) -> Result<String, String> {
    let service =
        service(server, remote).ok_or_else(|| format!("service {:?} not found", remote.service))?;
    let port = remote.port.to_string();
    if service.text("spec.type") == Some("ExternalName") {
        let host = service.text("spec.externalName").unwrap_or("");
        return Ok(join(host, &port));
    }
    let endpoint = crate::proxy::http::endpoint(&server.store, &server.rng, &service, &port);
    let (host, port) = endpoint
        .ok_or_else(|| format!("no endpoints available for service {:?}", remote.service))?;
    Ok(join(&host, &port))
}

/// Looks at everything that has to be there, in order.
pub async fn check(server: &Server, remote: &Remote) -> Finding {
    let place = format!("service/{} in {:?}", remote.service, remote.namespace);
    let Some(service) = service(server, remote) else {
        let message = format!("{place} is not present");
        return Finding { reason: "ServiceNotFound", message };
    };
    if service.text("spec.type").is_none_or(|kind| kind == "ClusterIP")
        && let Err(finding) = cluster_service(server, remote, &service, &place)
    {
        return finding;
    }
    match answers(server, remote).await {
        Ok(()) => Finding { reason: "Passed", message: "all checks passed".to_owned() },
        Err(message) => Finding { reason: "FailedDiscoveryCheck", message },
    }
}

/// A service inside the cluster has the port, and endpoints behind it.
fn cluster_service(
    server: &Server,
    remote: &Remote,
    service: &Object,
    place: &str,
) -> Result<(), Finding> {
    let ports = service.at("spec.ports").and_then(Value::as_array);
    let port = ports.into_iter().flatten().find(|port| port["port"] == remote.port);
    let Some(port) = port else {
        let message = format!("{place} is not listening on port {}", remote.port);
        return Err(Finding { reason: "ServicePortError", message });
    };
    let slices = server.store.resource("endpointslices.discovery.k8s.io");
    let of_service = |entry: &api::Entry| {
        entry.card.label("kubernetes.io/service-name") == Some(&*remote.service)
    };
    if !slices.list(Some(&remote.namespace)).iter().any(|entry| of_service(entry)) {
        let message = format!(
            "cannot find endpointslices for service/{} in {:?}",
            remote.service, remote.namespace
        );
        return Err(Finding { reason: "EndpointsNotFound", message });
    }
    let number = remote.port.to_string();
    if crate::proxy::http::endpoint(&server.store, &server.rng, service, &number).is_none() {
        let name = port["name"].as_str().unwrap_or("");
        let message =
            format!("endpointslices for {place} have no addresses with port name {name:?}");
        return Err(Finding { reason: "MissingEndpoints", message });
    }
    Ok(())
}

/// The server answers a request that each has to.
async fn answers(server: &Server, remote: &Remote) -> Result<(), String> {
    let address = address(server, remote)?;
    let url = format!("https://{address}{}", remote.path());
    let failed = |why: String| format!("failing or missing response from {url}: {why}");
    let client = remote.client(server)?;
    let request = Request::builder().method(Method::GET).uri(remote.path());
    let request = proxy::as_aggregator(request).body(Bytes::new()).map_err(|e| e.to_string())?;
    match tokio::time::timeout(PATIENCE, client.send(request)).await {
        Err(_) => Err(failed("context deadline exceeded".to_owned())),
        Ok(Err(error)) => {
            remote.forget();
            Err(failed(error.to_string()))
        }
        Ok(Ok(response)) => {
            let status = response.status();
            if status.is_success() {
                return Ok(());
            }
            Err(failed(format!("bad status from {url}: {}", status.as_u16())))
        }
    }
}
