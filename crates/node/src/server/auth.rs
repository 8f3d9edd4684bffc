//! Who asks, and whether they may: by client certificate or by token, judged by the API server.
//!
//! Not here: checking a certificate's signature (TLS did).

use std::collections::HashMap;
use std::time::Duration;

use api::resource::Resource;
use client::Client;
use http::{Method, Request, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Refusal, refuse};

/// How long a token's identity is believed.
const TOKEN: Duration = Duration::from_secs(120);
/// How long a permission is believed.
const ALLOWED: Duration = Duration::from_secs(300);
/// And a refusal.
const DENIED: Duration = Duration::from_secs(30);
/// What is remembered at most.
const REMEMBERED: usize = 4096;

const TOKEN_REVIEWS: Resource =
    Resource::cluster("authentication.k8s.io", "v1", "tokenreviews", "TokenReview");
const ACCESS_REVIEWS: Resource =
    Resource::cluster("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview");

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct User {
    name: String,
    groups: Vec<String>,
}

/// The user of a verified client certificate: its common name, with its organizations as groups.
pub fn identity_of(connection: &rustls::ServerConnection) -> Option<User> {
    let cert = connection.peer_certificates()?.first()?;
    let (_, cert) = x509_parser::parse_x509_certificate(cert).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    let groups = groups.chain(["system:authenticated".to_owned()]).collect();
    Some(User { name, groups })
}

/// The node's subresources that stand for a path, the narrowest first.
fn subresources(path: &str) -> &'static [&'static str] {
    let under = |prefix: &str| {
        path == prefix || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'))
    };
    match path {
        _ if under("/stats") => &["stats"],
        _ if under("/metrics") => &["metrics"],
        _ if under("/logs") => &["log"],
        _ if under("/checkpoint") => &["checkpoint"],
        _ if under("/pods") || under("/runningpods") => &["pods", "proxy"],
        _ if under("/healthz") => &["healthz", "proxy"],
        _ if under("/configz") => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

type Question = (User, &'static str, &'static str);

#[derive(Default)]
struct Memory {
    tokens: HashMap<String, (Option<User>, Instant)>,
    answers: HashMap<Question, (bool, Instant)>,
}

/// Admits requests.
pub struct Gate {
    client: Client,
    node: String,
    memory: Mutex<Memory>,
}

impl Gate {
    /// Asks through this client about this node.
    pub fn new(client: Client, node: String) -> Self {
        Self { client, node, memory: Mutex::default() }
    }

    /// Admits a request, or answers it.
    pub async fn admit<B>(&self, request: &Request<B>, peer: Option<User>) -> Result<(), Refusal> {
        let user = match peer {
            Some(user) => Some(user),
            None => self.bearer(request).await,
        };
        let Some(user) = user else {
            return Err(refuse(StatusCode::UNAUTHORIZED, "Unauthorized"));
        };
        // They may do everything by definition.
        if user.groups.iter().any(|g| g == "system:masters") {
            return Ok(());
        }
        let verb = verb(request.method());
        let subresources = subresources(request.uri().path());
        for sub in subresources {
            if self.may(&user, verb, sub).await {
                return Ok(());
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])",
            user.name,
            subresources.join(" ")
        );
        Err(refuse(StatusCode::FORBIDDEN, message))
    }

    async fn bearer<B>(&self, request: &Request<B>) -> Option<User> {
        let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
        let token = value.strip_prefix("Bearer ")?.trim();
        let now = Instant::now();
        if let Some((user, until)) = self.memory.lock().tokens.get(token)
            && now < *until
        {
            return user.clone();
        }
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": { "token": token } });
        let answer: Value = self.client.create(&TOKEN_REVIEWS, "", &body).await.ok()?;
        let status = answer.get("status");
        let known =
            status.and_then(|s| s.get("authenticated")).and_then(Value::as_bool) == Some(true);
        let user = status.and_then(|s| s.get("user")).filter(|_| known).map(|u| User {
            name: u["username"].as_str().unwrap_or("").to_owned(),
            groups: u["groups"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        });
        let mut memory = self.memory.lock();
        if memory.tokens.len() >= REMEMBERED {
            memory.tokens.clear();
        }
        let until = now + if user.is_some() { TOKEN } else { DENIED };
        memory.tokens.insert(token.to_owned(), (user.clone(), until));
        user
    }

    async fn may(&self, user: &User, verb: &'static str, sub: &'static str) -> bool {
        let question = (user.clone(), verb, sub);
        let now = Instant::now();
        if let Some((allowed, until)) = self.memory.lock().answers.get(&question)
            && now < *until
        {
            return *allowed;
        }
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "groups": user.groups,
                "resourceAttributes":
                    { "verb": verb, "version": "v1", "resource": "nodes", "subresource": sub, "name": self.node },
            },
        });
        let answer: client::Result<Value> = self.client.create(&ACCESS_REVIEWS, "", &body).await;
        let allowed = match answer {
            Ok(answer) => answer["status"]["allowed"].as_bool() == Some(true),
            Err(error) => {
                tracing::warn!(user = user.name, %error, "access to the kubelet cannot be reviewed");
                return false;
            }
        };
        let mut memory = self.memory.lock();
        if memory.answers.len() >= REMEMBERED {
            memory.answers.clear();
        }
        memory.answers.insert(question, (allowed, now + if allowed { ALLOWED } else { DENIED }));
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        assert_eq!(subresources("/metrics/resource"), ["metrics"]);
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/podsx"), ["proxy"]);
        assert_eq!(subresources("/exec/default/p/c"), ["proxy"]);
    }
}
