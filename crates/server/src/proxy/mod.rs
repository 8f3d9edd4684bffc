//! The way to kubelets, pods and services: logs, exec, attach, port-forward, and plain HTTP.
//!
//! Not here: the framing of streams (`client::stream`), what a kubelet does.

mod admit;
pub mod http;
mod links;
pub mod log;
pub mod stream;

use std::collections::HashMap;
use std::sync::Arc;

use api::{ApiError, Object, Value, percent};
use client::Client;
use client::https::{Config, HttpsTransport, Pem};
use parking_lot::Mutex;

use crate::server::{Server, Target};

/// Makes connections to what lies behind the server.
pub struct Upstream {
    identity: Option<(Pem, Pem)>,
    authority: Option<Pem>,
    clients: Mutex<HashMap<String, Client>>,
}

/// Connections kept; more are made anew.
const KEPT: usize = 1024;

impl Upstream {
    /// `identity` is the certificate and key that kubelets know this server by; `authority` vouches
    /// for kubelets (none: as upstream without `--kubelet-certificate-authority`, any certificate
    /// goes).
    pub fn new(identity: Option<(Pem, Pem)>, authority: Option<Pem>) -> Self {
        Self { identity, authority, clients: Mutex::default() }
    }

    /// A client of a kubelet.
    pub fn kubelet(&self, address: &str) -> Result<Client, ApiError> {
        self.client(Config {
            server: format!("https://{address}"),
            ca: self.authority.clone(),
            insecure: self.authority.is_none(),
            identity: self.identity.clone(),
            user_agent: Some("kube-apiserver".to_owned()),
            ..Config::default()
        })
    }

    /// A client of a pod or service.
    pub fn plain(&self, scheme: &str, address: &str) -> Result<Client, ApiError> {
        self.client(Config {
            server: format!("{scheme}://{address}"),
            insecure: true,
            user_agent: Some("kube-apiserver".to_owned()),
            ..Config::default()
        })
    }

    fn client(&self, config: Config) -> Result<Client, ApiError> {
        // The same address is a kubelet for one request and a pod's service for another.
        let key = format!("{} {}", config.server, config.identity.is_some());
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let transport = HttpsTransport::new(config).map_err(ApiError::internal)?;
        let client = Client::new(Arc::new(transport));
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

/// Addresses of a node in the order they are tried.
const ADDRESSES: [&str; 5] = ["InternalIP", "Hostname", "InternalDNS", "ExternalIP", "ExternalDNS"];

/// The host and port of a node's kubelet.
pub fn kubelet_address(node: &Object) -> Option<String> {
    let all = node.at("status.addresses")?.as_array()?;
    let find = |kind: &&str| {
        let address = all.iter().find(|a| a["type"] == **kind)?;
        address["address"].as_str().filter(|a| !a.is_empty())
    };
    let host = ADDRESSES.iter().find_map(find)?;
    let port =
        node.int("status.daemonEndpoints.kubeletEndpoint.Port").filter(|p| *p > 0).unwrap_or(10250);
    Some(join(host, &port.to_string()))
}

/// `host:port`, with brackets where the host is an IPv6 address.
pub fn join(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A client of the kubelet of a node, and its address.
pub fn kubelet_of(server: &Server, node: &str) -> Result<(Client, String), ApiError> {
    let entry = server.store.resource("nodes").get("", node);
    let entry = entry.ok_or_else(|| ApiError::not_found("", "nodes", node))?;
    let object = entry.object().map_err(ApiError::internal)?;
    let address = kubelet_address(&object).ok_or_else(|| {
        ApiError::internal(format!(
            "node {node}: no preferred addresses found; known addresses: []"
        ))
    })?;
    Ok((server.upstream.kubelet(&address)?, address))
}

/// The pod that a request is about.
pub fn pod_of(target: &Target) -> Result<Object, ApiError> {
    target.object(&*target.entry()?)
}

/// The container that a request means: the one it names, or the pod's only one.
pub fn container_of(pod: &Object, named: &str) -> Result<String, ApiError> {
    let of = |sort: &str| -> Vec<&str> {
        let list = pod.at(&format!("spec.{sort}")).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    let (main, init, ephemeral) =
        (of("containers"), of("initContainers"), of("ephemeralContainers"));
    let name = pod.name();
    if !named.is_empty() {
        if [&main, &init, &ephemeral].into_iter().flatten().any(|n| *n == named) {
            return Ok(named.to_owned());
        }
        return Err(ApiError::bad_request(format!(
            "container {named} is not valid for pod {name}"
        )));
    }
    if let [one] = main.as_slice() {
        return Ok((*one).to_owned());
    }
    let mut message = format!("a container name must be specified for pod {name}");
    if !main.is_empty() {
        message.push_str(&format!(", choose one of: [{}]", main.join(" ")));
    }
    for (sort, names) in [("init", init), ("ephemeral", ephemeral)] {
        if !names.is_empty() {
            let names = names.join(" ");
            message.push_str(&format!(" or one of the {sort} containers: [{names}]"));
        }
    }
    Err(ApiError::bad_request(message))
}

/// What the client is told about a failure behind the server.
pub fn failed(error: &client::Error) -> ApiError {
    error.api().cloned().unwrap_or_else(|| ApiError::internal(error))
}

/// A path segment or query value in a URL.
pub fn escape(text: &str) -> String {
    percent::encode(text, percent::SEGMENT)
}
