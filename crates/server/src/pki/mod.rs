//! The cluster's keys and certificates, made at first start, kept under `<data-dir>/pki` and renewed
//! before they expire.
//!
//! | file | what |
//! |---|---|
//! | `ca.crt`, `ca.key` | signs the serving certificate and every client certificate |
//! | `front-proxy-ca.crt`, `.key` | signs what aggregated API servers trust |
//! | `sa.key` | signs service account tokens |
//! | `<identity>.pem` | a leaf certificate with its key |
//!
//! Not here: who a certificate names to the API server (`authn`), tokens (`tokens`).

mod authority;
mod files;
mod kubeconfig;
mod leaf;
mod serving;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::danger::ClientCertVerifier;
use tokio_util::sync::CancellationToken;

pub use authority::{Authority, Issued, Leaf};
pub use files::{private_dir, replace};
use serving::{AskForCertificate, Serving};

/// Why keys or certificates could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The file system refused.
    #[error("{path}: {source}; the data directory must be writable", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path}: {why}; restore the file, or remove it together with its .key or .crt to have new ones made (all clients then need new certificates)", path = path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The certificate of an authority without its key.
    #[error("{cert} is there but {key} is not; restore the key, or remove the certificate to have a new authority made (all clients then need new certificates)", cert = cert_path.display(), key = key_path.display())]
    NoKey {
        /// The certificate.
        cert_path: PathBuf,
        /// Its missing key.
        key_path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
    /// TLS refuses what we made.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// Anything else about a certificate.
    #[error("certificate unusable: {0}")]
    Unusable(String),
}

/// Who a client certificate of the cluster is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// `kubernetes-admin` in `system:masters`.
    Admin,
    /// `system:kube-scheduler`.
    Scheduler,
    /// `system:kube-controller-manager`.
    ControllerManager,
    /// `system:kube-proxy`.
    Proxy,
    /// `system:node:<name>` in `system:nodes`.
    Node(String),
    /// What the API server shows to kubelets.
    KubeletClient,
    /// What the API server shows to aggregated API servers; signed by the front-proxy authority.
    FrontProxy,
}

impl Identity {
    /// The certificate's name and group.
    fn leaf(&self) -> Leaf {
        let (name, group) = match self {
            Self::Admin => ("kubernetes-admin".to_owned(), Some("system:masters")),
            Self::Scheduler => ("system:kube-scheduler".to_owned(), None),
            Self::ControllerManager => ("system:kube-controller-manager".to_owned(), None),
            Self::Proxy => ("system:kube-proxy".to_owned(), None),
            Self::Node(name) => (format!("system:node:{name}"), Some("system:nodes")),
            Self::KubeletClient => {
                ("kube-apiserver-kubelet-client".to_owned(), Some("system:masters"))
            }
            Self::FrontProxy => ("front-proxy-client".to_owned(), None),
        };
        Leaf { name, group: group.map(str::to_owned), client: true, ..Leaf::default() }
    }

    fn file(&self) -> String {
        match self {
            Self::Admin => "admin.pem".into(),
            Self::Scheduler => "scheduler.pem".into(),
            Self::ControllerManager => "controller-manager.pem".into(),
            Self::Proxy => "proxy.pem".into(),
            // Node names are DNS subdomains: nothing in them leaves the directory.
            Self::Node(name) => format!("node-{}.pem", name.replace('/', "_")),
            Self::KubeletClient => "apiserver-kubelet-client.pem".into(),
            Self::FrontProxy => "front-proxy-client.pem".into(),
        }
    }
}

struct Kubeconfig {
    path: PathBuf,
    identity: Identity,
    server: String,
}

/// The cluster's keys and certificates.
pub struct Pki {
    dir: PathBuf,
    clock: Clock,
    provider: Arc<CryptoProvider>,
    ca: Authority,
    front_proxy: Authority,
    token_key: String,
    serving: Arc<Serving>,
    serving_leaf: Leaf,
    verifier: Arc<dyn ClientCertVerifier>,
    /// One at a time renews: two would write the same file.
    renewing: Mutex<()>,
    /// Files that are written again when their certificate is renewed.
    kubeconfigs: Mutex<Vec<Kubeconfig>>,
}

/// The DER form of the first certificate in a PEM text.
fn der(pem: &str) -> Result<CertificateDer<'static>, PkiError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| PkiError::Unusable(e.to_string()))
}

/// The names that the `kubernetes` service has inside the cluster.
pub fn service_names(domain: &str) -> Vec<String> {
    let head = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let mut names: Vec<String> = head.iter().map(|n| (*n).to_owned()).collect();
    names.push(format!("kubernetes.default.svc.{domain}"));
    names
}

impl Pki {
    /// Opens `<data_dir>/pki`, making what is missing. `names` and `ips` are what the server is
    /// reached by, besides localhost and the loopback addresses.
    pub fn open(
        data_dir: &Path,
        names: &[String],
        ips: &[IpAddr],
        clock: Clock,
    ) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        files::private_dir(&dir).map_err(|source| PkiError::Io { path: dir.clone(), source })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ca = Authority::open(&dir, "ca", "isopod-ca", &clock)?;
        let front_proxy = Authority::open(&dir, "front-proxy-ca", "isopod-front-proxy-ca", &clock)?;
        let token_key = signing_key(&dir.join("sa.key"))?;
        let mut serving_leaf = Leaf {
            name: "kube-apiserver".into(),
            dns: vec!["localhost".into()],
            ips: vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            server: true,
            ..Leaf::default()
        };
        for name in names {
            if !serving_leaf.dns.contains(name) {
                serving_leaf.dns.push(name.clone());
            }
        }
        for ip in ips.iter().filter(|ip| !ip.is_unspecified()) {
            if !serving_leaf.ips.contains(ip) {
                serving_leaf.ips.push(*ip);
            }
        }
        let current = leaf::ensure(&dir.join("apiserver.pem"), &ca, &serving_leaf, &clock)?;
        let serving = Arc::new(Serving::new(&current.issued, &provider)?);
        let verifier = serving::verifier(&[ca.der()], provider.clone())?;
        let kubeconfigs = Mutex::default();
        Ok(Self {
            dir,
            clock,
            provider,
            ca,
            front_proxy,
            token_key,
            serving,
            serving_leaf,
            verifier,
            renewing: Mutex::default(),
            kubeconfigs,
        })
    }

    /// The cluster authority's certificate, PEM.
    pub fn ca_cert(&self) -> &str {
        self.ca.cert()
    }

    /// The cluster authority, for signing certificate requests.
    pub fn authority(&self) -> &Authority {
        &self.ca
    }

    /// The front-proxy authority's certificate, PEM.
    pub fn front_proxy_cert(&self) -> &str {
        self.front_proxy.cert()
    }

    /// The key that signs service account tokens, PEM (PKCS#8, P-256 when made here).
    pub fn token_key(&self) -> &str {
        &self.token_key
    }

    /// Judges the authority of a client certificate.
    pub fn client_verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// The server side of TLS: HTTP/2 and HTTP/1.1, client certificates optional.
    pub fn server_config(&self) -> Result<rustls::ServerConfig, PkiError> {
        let ask = Arc::new(AskForCertificate::new(self.verifier.clone()));
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(ask)
            .with_cert_resolver(self.serving.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    fn current(
        &self,
        path: &Path,
        authority: &Authority,
        leaf: &Leaf,
    ) -> Result<leaf::Current, PkiError> {
        let _one = self.renewing.lock();
        leaf::ensure(path, authority, leaf, &self.clock)
    }

    /// The client certificate of an identity, kept in a file and renewed when due.
    pub fn identity(&self, identity: &Identity) -> Result<Issued, PkiError> {
        let authority = match identity {
            Identity::FrontProxy => &self.front_proxy,
            _ => &self.ca,
        };
        let path = self.dir.join(identity.file());
        Ok(self.current(&path, authority, &identity.leaf())?.issued)
    }

    /// The serving certificate of a kubelet on this machine.
    pub fn kubelet_serving(&self, node: &str, ips: &[IpAddr]) -> Result<Issued, PkiError> {
        let leaf = Leaf {
            name: format!("system:node:{node}"),
            group: Some("system:nodes".into()),
            dns: vec![node.to_owned(), "localhost".to_owned()],
            ips: ips.to_vec(),
            server: true,
            client: false,
        };
        let path = self.dir.join(format!("kubelet-{}.pem", node.replace('/', "_")));
        Ok(self.current(&path, &self.ca, &leaf)?.issued)
    }

    /// The kubeconfig of an identity as text.
    pub fn kubeconfig(&self, identity: &Identity, server: &str) -> Result<String, PkiError> {
        let issued = self.identity(identity)?;
        let user = match identity {
            Identity::Admin => "admin".to_owned(),
            other => other.leaf().name,
        };
        Ok(kubeconfig::render(server, self.ca_cert(), &user, &issued))
    }

    /// Writes the kubeconfig of an identity, and again whenever its certificate is renewed.
    pub fn write_kubeconfig(
        &self,
        path: &Path,
        identity: Identity,
        server: &str,
    ) -> Result<(), PkiError> {
        self.put_kubeconfig(path, &identity, server)?;
        let mut kubeconfigs = self.kubeconfigs.lock();
        kubeconfigs.retain(|k| k.path != path);
        kubeconfigs.push(Kubeconfig { path: path.into(), identity, server: server.into() });
        Ok(())
    }

    fn put_kubeconfig(
        &self,
        path: &Path,
        identity: &Identity,
        server: &str,
    ) -> Result<(), PkiError> {
        let io = |source| PkiError::Io { path: path.to_owned(), source };
        let text = self.kubeconfig(identity, server)?;
        if files::read(path).map_err(io)?.as_deref() == Some(&text) {
            return Ok(());
        }
        files::replace(path, text.as_bytes(), 0o600).map_err(io)
    }

    /// Renews what is due; how long until the next thing is.
    pub fn refresh(&self) -> Result<Duration, PkiError> {
        let path = self.dir.join("apiserver.pem");
        let current = self.current(&path, &self.ca, &self.serving_leaf)?;
        self.serving.swap(&current.issued, &self.provider)?;
        let kubeconfigs = self.kubeconfigs.lock();
        for kubeconfig in kubeconfigs.iter() {
            self.put_kubeconfig(&kubeconfig.path, &kubeconfig.identity, &kubeconfig.server)?;
        }
        let left = current.renew_at.saturating_sub(self.clock.now().as_second());
        Ok(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }

    /// Renews certificates until shut down. Looks at least daily: the machine's clock may jump.
    pub async fn keep_fresh(&self, shutdown: CancellationToken) {
        const LOOK: Duration = Duration::from_secs(24 * 3600);
        const RETRY: Duration = Duration::from_secs(60);
        let mut wait = LOOK;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = match self.refresh() {
                Ok(left) => left.clamp(Duration::from_secs(1), LOOK),
                Err(error) => {
                    tracing::error!(%error, "cannot renew certificates");
                    RETRY
                }
            };
        }
    }
}

#[cfg(test)]
impl Pki {
    fn serving_now(&self) -> Vec<u8> {
        self.serving.shown()
    }
}

/// The key in `path`, made if there is none.
fn signing_key(path: &Path) -> Result<String, PkiError> {
    let io = |source| PkiError::Io { path: path.to_owned(), source };
    if let Some(pem) = files::read(path).map_err(io)? {
        return Ok(pem);
    }
    let pem = rcgen::KeyPair::generate()?.serialize_pem();
    files::replace(path, pem.as_bytes(), 0o600).map_err(io)?;
    Ok(pem)
}

#[cfg(test)]
mod tests;
