//! Calling a webhook: one POST over TLS, within its time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Rng;
use api::{Map, Value as Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::Client;
use client::https::{Config, HttpsTransport, Pem};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use parking_lot::Mutex;
use store::Store;

use super::super::lookup::{Lookup, text};
use super::Hook;
use super::endpoint::{self, Endpoint};

/// The longest answer that is read.
const MAX_ANSWER: usize = 8 << 20;
/// Clients kept; more are made anew.
const KEPT: usize = 200;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The webhook cannot be called at all.
    #[error("{0}")]
    Client(String),
    /// A call failed.
    #[error("{0}")]
    Call(String),
}

/// Calls webhooks.
pub struct Caller {
    look: Lookup,
    /// For the questions' uids.
    pub rng: Rng,
    /// By where they lead and whom they trust.
    clients: Mutex<HashMap<String, Client>>,
}

impl Caller {
    /// A caller that finds services in a store.
    pub fn new(store: &Store, rng: Rng) -> Self {
        Self { look: Lookup::new(store), rng, clients: Mutex::default() }
    }

    /// Sends a question; gives the answer's body, or what went wrong in upstream's words.
    pub(super) async fn post(&self, hook: &Hook, question: &Json) -> Result<Vec<u8>, String> {
        self.send(&hook.client, hook.timeout, question).await.map_err(|failure| match failure {
            Failure::Client(why) => format!("could not get REST client: {why}"),
            Failure::Call(why) => format!("failed to call webhook: {why}"),
        })
    }

    /// Sends a question to where a `clientConfig` leads; gives the answer's body.
    pub async fn send(
        &self,
        config: &Map<String, Json>,
        timeout: Duration,
        question: &Json,
    ) -> Result<Vec<u8>, Failure> {
        let seconds = timeout.as_secs();
        let posting = |url: &str, why: &str| {
            Failure::Call(format!("Post \"{url}?timeout={seconds}s\": {why}"))
        };
        let endpoint =
            endpoint::find(&self.look, &self.rng, config).map_err(|(url, why)| match url {
                Some(url) => posting(&url, &why),
                None => Failure::Client(why),
            })?;
        let client = self.client(config, &endpoint).map_err(Failure::Client)?;
        let failed = |why: &str| posting(&endpoint.shown, why);
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}?timeout={seconds}s", endpoint.path))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .body(Bytes::from(question.to_string()))
            .map_err(|e| failed(&e.to_string()))?;
        match tokio::time::timeout(timeout, exchange(&client, request)).await {
            Err(_) => Err(failed("context deadline exceeded")),
            Ok(Err(why)) => Err(failed(&in_words(&why, &endpoint.address))),
            Ok(Ok((status, body))) if status.is_success() => Ok(body),
            Ok(Ok((status, body))) => Err(Failure::Call(said(status, &body))),
        }
    }

    fn client(&self, config: &Map<String, Json>, endpoint: &Endpoint) -> Result<Client, String> {
        let bundle = text(config, "caBundle");
        let name = endpoint.server_name.as_deref().unwrap_or("");
        let key = format!("{} {name} {bundle}", endpoint.server);
        if let Some(client) = self.clients.lock().get(&key) {
            return Ok(client.clone());
        }
        let ca = match bundle {
            "" => None,
            bundle => Some(Pem::Data(STANDARD.decode(bundle).map_err(|e| e.to_string())?)),
        };
        let transport = HttpsTransport::new(Config {
            server: endpoint.server.clone(),
            ca,
            server_name: endpoint.server_name.clone(),
            user_agent: Some("kube-apiserver-admission".to_owned()),
            ..Config::default()
        })
        .map_err(|e| e.to_string())?;
        let client = Client::new(Arc::new(transport));
        let mut clients = self.clients.lock();
        if clients.len() >= KEPT {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }
}

async fn exchange(
    client: &Client,
    request: Request<Bytes>,
) -> Result<(StatusCode, Vec<u8>), String> {
    let response = client.transport().send(request).await.map_err(|e| match e {
        client::Error::Transport { why, .. } => why,
        other => other.to_string(),
    })?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let body = body.map_err(|e| e.to_string())?.to_bytes();
    Ok((status, body.to_vec()))
}

/// What went wrong with a connection, as upstream says it.
fn in_words(why: &str, address: &str) -> String {
    let tls = |rest: &str| format!("tls: failed to verify certificate: x509: {rest}");
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    if why.contains("Connection refused") {
        format!("dial tcp {address}: connect: connection refused")
    } else if why.contains("No route to host") {
        format!("dial tcp {address}: connect: no route to host")
    } else if why.contains("Network is unreachable") {
        format!("dial tcp {address}: connect: network is unreachable")
    } else if why.contains("failed to lookup address") {
        format!("dial tcp: lookup {host}: no such host")
    } else if why.contains("timed out") {
        "context deadline exceeded".to_owned()
    } else if why.contains("UnknownIssuer") || why.contains("BadSignature") {
        tls("certificate signed by unknown authority")
    } else if why.contains("NotValidForName") {
        tls(&format!("certificate is not valid for {host}"))
    } else if why.contains("Expired") {
        tls("certificate has expired or is not yet valid")
    } else {
        why.to_owned()
    }
}

/// What an error's status means.
fn said(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(2048)]);
    let text = text.trim();
    match status.as_u16() {
        404 => "the server could not find the requested resource".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 => format!("forbidden: {text}"),
        400 | 422 => "the server rejected our request for an unknown reason".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => "the server was unable to return a response in the time allotted, but may still be processing the request".into(),
        code if code >= 500 => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        code => format!("the server responded with the status code {code} but did not return more information"),
    }
}
