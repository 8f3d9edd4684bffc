//! One connection to the target: TCP, then TLS where the scheme asks for it.
//!
//! Not here: sharing connections (`pool`).

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Config, Pem, absolute, tls};
use crate::error::Error;
use crate::transport::Io;

/// How long connecting may take.
const DIAL: Duration = Duration::from_secs(10);

/// Which protocols to offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpn {
    /// HTTP/2 preferred.
    Any,
    /// HTTP/1.1 only: upgrades need it.
    Http1,
}

/// Read from the socket at once. TLS by itself asks for 4 KiB a call, which a long list feels.
const READ: usize = 64 << 10;

/// A fresh connection.
pub(super) struct Connected {
    pub io: TokioIo<Box<dyn Io>>,
    pub http2: bool,
}

/// The server, and what proves us to each other.
pub(super) struct Target {
    scheme: &'static str,
    /// `host:port` for the URI.
    authority: String,
    host: String,
    port: u16,
    /// Path of the server URL, without a slash at the end.
    prefix: String,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    ca: Option<Pem>,
    insecure: bool,
    identity: Option<(Pem, Pem)>,
    /// The configuration made last, with the texts it was made of.
    made: Mutex<Option<(Material, Arc<ClientConfig>)>>,
}

/// The texts that a TLS configuration is made of.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Material {
    pub ca: Option<Vec<u8>>,
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Target {
    pub fn new(config: &Config) -> Result<Self, Error> {
        let bad = |why: &str| Error::Config(format!("server {:?}: {why}", config.server));
        let text = match config.server.contains("://") {
            true => config.server.clone(),
            false => format!("https://{}", config.server),
        };
        let uri: Uri = text.parse().map_err(|e| bad(&format!("{e}")))?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") => "http",
            _ => return Err(bad("the scheme must be https or http")),
        };
        let authority = uri.authority().ok_or_else(|| bad("no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let tls = match scheme {
            "https" => {
                let name = config.server_name.clone().unwrap_or_else(|| host.clone());
                let tls = Tls {
                    name: ServerName::try_from(name).map_err(|e| bad(&format!("{e}")))?,
                    ca: config.ca.clone(),
                    insecure: config.insecure,
                    identity: config.identity.clone(),
                    made: Mutex::default(),
                };
                // Bad certificates are a fault of the configuration, told at once.
                tls.config()?;
                Some(tls)
            }
            _ => None,
        };
        Ok(Self {
            scheme,
            authority: authority.to_string(),
            host,
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// For messages.
    pub fn address(&self) -> &str {
        &self.authority
    }

    /// The absolute URI of a request path.
    pub fn uri(&self, path: &str) -> Result<Uri, Error> {
        absolute(self.scheme, &self.authority, &format!("{}{path}", self.prefix))
    }

    pub async fn connect(&self, alpn: Alpn) -> Result<Connected, Error> {
        let what = || format!("connect to {}", self.authority);
        match tokio::time::timeout(DIAL, self.dial(alpn)).await {
            Ok(connected) => connected,
            Err(_) => Err(Error::unsent(what(), "timed out")),
        }
    }

    async fn dial(&self, alpn: Alpn) -> Result<Connected, Error> {
        let what = || format!("connect to {}", self.authority);
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|e| Error::unsent(what(), e))?;
        // Small writes (window updates, exec input) must not wait for acknowledgements.
        let _ = tcp.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Connected { io: TokioIo::new(Box::new(tcp)), http2: false });
        };
        let mut config = tls.config()?;
        if alpn == Alpn::Http1 {
            Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        let stream = TlsConnector::from(config)
            .connect(tls.name.clone(), BufReader::with_capacity(READ, tcp))
            .await
            .map_err(|e| Error::unsent(what(), e))?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connected { io: TokioIo::new(Box::new(stream)), http2 })
    }
}

impl Tls {
    /// The configuration of the texts as they are now; files may have been rotated.
    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let identity = match &self.identity {
            Some((chain, key)) => Some((chain.read()?, key.read()?)),
            None => None,
        };
        let ca = self.ca.as_ref().map(Pem::read).transpose()?;
        let material = Material { ca, identity };
        let mut made = self.made.lock();
        if let Some((of, config)) = &*made
            && *of == material
        {
            return Ok(config.clone());
        }
        let config = Arc::new(tls::client_config(&material, self.insecure)?);
        *made = Some((material, config.clone()));
        Ok(config)
    }
}
