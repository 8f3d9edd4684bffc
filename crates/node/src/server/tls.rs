//! The server's side of TLS: its certificate, renewed while it runs, and clients' certificates,
//! checked where they show one.
//!
//! Not here: what a client may do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Shutdown;
use parking_lot::RwLock;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::{Certificate, Server};

/// How often the certificate is asked for again.
const FRESH: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Acceptor {
    acceptor: TlsAcceptor,
    current: Arc<Current>,
    source: Certificate,
    provider: Arc<CryptoProvider>,
}

fn certified(pem: &(String, String), provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.0.as_bytes()).collect();
    let chain = chain.map_err(|e| format!("the serving certificate: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.1.as_bytes())
        .map_err(|e| format!("the serving key: {e}"))?;
    let key =
        provider.key_provider.load_private_key(key).map_err(|e| format!("the serving key: {e}"))?;
    Ok(CertifiedKey::new(chain, key))
}

/// A certificate of our own, for a kubelet that was given none.
fn self_signed(name: &str, ips: &[String]) -> Result<(String, String), String> {
    let mut names = vec![name.to_owned(), "localhost".to_owned()];
    names.extend(ips.iter().filter(|ip| ip.parse::<IpAddr>().is_ok()).cloned());
    let made = rcgen::generate_simple_self_signed(names).map_err(|e| e.to_string())?;
    Ok((made.cert.pem(), made.signing_key.serialize_pem()))
}

impl Acceptor {
    /// With the configured certificate, or a new one for this node.
    pub fn new(config: &Server, node: &str, ips: &[String]) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let source = match &config.certificate {
            Some(source) => source.clone(),
            None => self_signed(node, ips)?.into(),
        };
        let first = certified(&(source.0)()?, &provider)?;
        let current = Arc::new(Current(RwLock::new(Arc::new(first))));
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?;
        let builder = match &config.client_ca {
            Some(pem) => {
                let mut roots = RootCertStore::empty();
                for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let cert = cert.map_err(|e| format!("the client CA: {e}"))?;
                    roots.add(cert).map_err(|e| format!("the client CA: {e}"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                )
                .allow_unauthenticated()
                .build()
                .map_err(|e| format!("the client CA: {e}"))?;
                builder.with_client_cert_verifier(verifier)
            }
            None => builder.with_no_client_auth(),
        };
        let mut tls =
            builder.with_cert_resolver(Arc::clone(&current) as Arc<dyn ResolvesServerCert>);
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(tls)), current, source, provider })
    }

    /// Takes up renewed certificates until shutdown.
    pub fn keep_fresh(&self, shutdown: Shutdown) {
        let this = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(FRESH) => {}
                }
                match (this.source.0)().and_then(|pem| certified(&pem, &this.provider)) {
                    Ok(key) => *this.current.0.write() = Arc::new(key),
                    Err(error) => tracing::warn!(error, "the serving certificate is not renewed"),
                }
            }
        });
    }

    /// The handshake.
    pub async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }
}
