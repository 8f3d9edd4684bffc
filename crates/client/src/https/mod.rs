//! The HTTPS transport: pooled connections (HTTP/2 shared by many requests, HTTP/1.1 where a server
//! has nothing better), credentials, and upgrades.
//!
//! Not here: where a configuration comes from (`kubeconfig`), typed requests (`client`).

mod connect;
mod kubeconfig;
mod pool;
mod tls;
mod trust;

pub use tls::AnyServer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use base64::Engine as _;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client::Client;
use crate::error::Error;
use crate::transport::{Body, Transport, Upgraded};

pub use kubeconfig::{Kubeconfig, NamedCluster, NamedContext, NamedUser};
use pool::Pool;

/// PEM text, at hand or in a file that is read again when it is needed (and may have been rotated).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// The text itself.
    Data(Vec<u8>),
    /// Where the text is.
    File(PathBuf),
}

impl Pem {
    /// The text now.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Data(data) => Ok(data.clone()),
            Self::File(path) => std::fs::read(path)
                .map_err(|e| Error::Config(format!("cannot read {}: {e}", path.display()))),
        }
    }
}

/// What is sent as `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credential {
    /// Nothing (a client certificate may say who we are).
    #[default]
    None,
    /// A bearer token.
    Token(String),
    /// A bearer token in a file, read again as it is rotated.
    TokenFile(PathBuf),
    /// User and password.
    Basic(String, String),
}

/// Acting as somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonate {
    /// The user; empty for nobody.
    pub user: String,
    /// The user's uid.
    pub uid: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// Where a server is, and how to talk to it.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// As in `https://10.0.0.1:6443`; a path is put before every request's.
    pub server: String,
    /// The authorities that may vouch for the server; the system's where there are none.
    pub ca: Option<Pem>,
    /// Do not verify the server.
    pub insecure: bool,
    /// The name to expect in the server's certificate, if it is not the host of `server`.
    pub server_name: Option<String>,
    /// Client certificate chain and key.
    pub identity: Option<(Pem, Pem)>,
    /// What is sent as `Authorization`.
    pub credential: Credential,
    /// Acting as somebody else.
    pub impersonate: Impersonate,
    /// The namespace of the kubeconfig's context.
    pub namespace: String,
    /// `User-Agent`.
    pub user_agent: Option<String>,
}

/// The transport over HTTPS (and plain HTTP, for servers that speak nothing else).
pub struct HttpsTransport {
    shared: Arc<Shared>,
}

struct Shared {
    target: connect::Target,
    pool: Pool,
    credential: Credential,
    token: Mutex<Option<(String, Instant)>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// How long a token read from a file is used before the file is read again.
const TOKEN_FRESH: Duration = Duration::from_secs(10);

impl HttpsTransport {
    /// A transport; nothing is connected yet.
    pub fn new(config: Config) -> Result<Self, Error> {
        let mut headers = Vec::new();
        let mut add = |name: &str, value: &str| -> Result<(), Error> {
            let bad = |e: &dyn std::fmt::Display| Error::Config(format!("header {name}: {e}"));
            let name = HeaderName::try_from(name).map_err(|e| bad(&e))?;
            headers.push((name, HeaderValue::from_str(value).map_err(|e| bad(&e))?));
            Ok(())
        };
        let agent = config.user_agent.as_deref();
        add("user-agent", agent.unwrap_or(concat!("isopod/", env!("CARGO_PKG_VERSION"))))?;
        let Impersonate { user, uid, groups } = &config.impersonate;
        if !user.is_empty() {
            add("impersonate-user", user)?;
        }
        if !uid.is_empty() {
            add("impersonate-uid", uid)?;
        }
        for group in groups {
            add("impersonate-group", group)?;
        }
        let target = connect::Target::new(&config)?;
        let shared = Shared {
            target,
            pool: Pool::default(),
            credential: config.credential,
            token: Mutex::default(),
            headers,
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    fn authorization(&self) -> Result<Option<HeaderValue>, Error> {
        let text = match &self.credential {
            Credential::None => return Ok(None),
            Credential::Token(token) => format!("Bearer {token}"),
            Credential::Basic(user, password) => {
                let pair = format!("{user}:{password}");
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
            Credential::TokenFile(path) => {
                let mut cached = self.token.lock();
                let fresh = cached.as_ref().filter(|(_, read)| read.elapsed() < TOKEN_FRESH);
                let token = match fresh {
                    Some((token, _)) => token.clone(),
                    None => {
                        let text = std::fs::read_to_string(path).map_err(|e| {
                            Error::Config(format!("cannot read token {}: {e}", path.display()))
                        })?;
                        let token = text.trim().to_owned();
                        *cached = Some((token.clone(), Instant::now()));
                        token
                    }
                };
                format!("Bearer {token}")
            }
        };
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| Error::Config("the token holds characters no header may".into()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Adds the target and who we are to an origin-form request.
    fn dress(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        parts.uri = self.target.uri(path)?;
        for (name, value) in &self.headers {
            if name != header::USER_AGENT || !parts.headers.contains_key(name) {
                parts.headers.append(name.clone(), value.clone());
            }
        }
        if !parts.headers.contains_key(header::AUTHORIZATION)
            && let Some(value) = self.authorization()?
        {
            parts.headers.insert(header::AUTHORIZATION, value);
        }
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let idempotent = matches!(*request.method(), Method::GET | Method::HEAD);
        let spare = request.clone();
        let first = self.pool.send(&self.target, self.dress(request)?).await;
        let response = match first {
            // A pooled connection that the server has closed is found out by using it.
            Err(Error::Transport { unsent: false, .. }) if idempotent => {
                self.pool.send(&self.target, self.dress(spare)?).await?
            }
            other => other?,
        };
        if response.status() == StatusCode::UNAUTHORIZED {
            // Perhaps the token was rotated: read it again next time.
            *self.token.lock() = None;
        }
        Ok(response)
    }

    async fn upgrade(&self, request: Request<Bytes>) -> Result<Upgraded, Error> {
        let mut request = self.dress(request)?;
        let what = || format!("upgrade {}", self.target.address());
        let stream = self.target.connect(connect::Alpn::Http1).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream.io)
            .await
            .map_err(|e| Error::unsent(what(), e))?;
        tokio::spawn(connection.with_upgrades());
        pool::origin_form(&mut request)?;
        let mut response =
            sender.send_request(request).await.map_err(|e| Error::transport(what(), e))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let status = response.status().as_u16();
            let body = Body::from_http(response.into_body()).bytes().await.unwrap_or_default();
            return Err(ApiError::from_response(status, &body).into());
        }
        let headers = response.headers().clone();
        let upgraded =
            hyper::upgrade::on(&mut response).await.map_err(|e| Error::transport(what(), e))?;
        Ok(Upgraded { io: Box::new(TokioIo::new(upgraded)), headers })
    }
}

impl Transport for HttpsTransport {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let shared = self.shared.clone();
        async move { shared.send(request).await }.boxed()
    }

    fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>> {
        let shared = self.shared.clone();
        async move { shared.upgrade(request).await }.boxed()
    }
}

impl Client {
    /// A client of the server that a configuration describes.
    pub fn from_config(config: Config) -> Result<Self, Error> {
        Ok(Self::new(Arc::new(HttpsTransport::new(config)?)))
    }

    /// A client for the current context of a kubeconfig file.
    pub fn from_kubeconfig(path: impl AsRef<std::path::Path>) -> Result<Self, Error> {
        Self::from_config(Kubeconfig::load(path.as_ref())?.config(None)?)
    }

    /// A client for the cluster that this process runs in as a pod.
    pub fn in_cluster() -> Result<Self, Error> {
        Self::from_config(Config::in_cluster()?)
    }
}

impl Config {
    /// The configuration of a pod: service account token and CA as mounted, address from the
    /// environment.
    pub fn in_cluster() -> Result<Self, Error> {
        const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let env = |name: &str| {
            std::env::var(name)
                .map_err(|_| Error::Config(format!("not in a pod: {name} is not set")))
        };
        let (host, port) = (env("KUBERNETES_SERVICE_HOST")?, env("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let namespace = std::fs::read_to_string(format!("{MOUNT}/namespace")).unwrap_or_default();
        Ok(Self {
            server: format!("https://{host}:{port}"),
            ca: Some(Pem::File(format!("{MOUNT}/ca.crt").into())),
            credential: Credential::TokenFile(format!("{MOUNT}/token").into()),
            namespace: namespace.trim().to_owned(),
            ..Self::default()
        })
    }
}

/// An absolute URI of its parts.
fn absolute(scheme: &str, authority: &str, path: &str) -> Result<Uri, Error> {
    Uri::builder()
        .scheme(scheme)
        .authority(authority)
        .path_and_query(path)
        .build()
        .map_err(|e| Error::Config(format!("{scheme}://{authority}{path}: {e}")))
}
