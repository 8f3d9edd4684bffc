//! TLS as the server speaks it: a serving certificate that can be swapped while running, and client
//! certificates taken but judged later, by authentication.
//!
//! Not here: the listener (`edge`), who a client certificate names (`authn::x509`).

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::PkiError;
use super::authority::Issued;

/// The serving certificate in use; each handshake takes the newest.
pub struct Serving(ArcSwap<CertifiedKey>);

impl std::fmt::Debug for Serving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Serving")
    }
}

impl Serving {
    /// Starts with a certificate.
    pub fn new(issued: &Issued, provider: &CryptoProvider) -> Result<Self, PkiError> {
        Ok(Self(ArcSwap::new(Arc::new(certified(issued, provider)?))))
    }

    /// Handshakes from now on show this certificate.
    pub fn swap(&self, issued: &Issued, provider: &CryptoProvider) -> Result<(), PkiError> {
        self.0.store(Arc::new(certified(issued, provider)?));
        Ok(())
    }
}

#[cfg(test)]
impl Serving {
    /// The certificate that a handshake shows now.
    pub fn shown(&self) -> Vec<u8> {
        self.0.load().cert[0].to_vec()
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(issued: &Issued, provider: &CryptoProvider) -> Result<CertifiedKey, PkiError> {
    let chain = vec![super::der(&issued.cert)?];
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())
        .map_err(|e| PkiError::Unusable(e.to_string()))?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

/// Asks for a client certificate and accepts any whose key the client proves to hold. Whether its
/// authority is ours is authentication's question: the answer is a 401, not a broken handshake.
#[derive(Debug)]
pub struct AskForCertificate {
    inner: Arc<dyn ClientCertVerifier>,
}

impl AskForCertificate {
    /// `inner` judges signatures and names the authorities that clients should choose by.
    pub fn new(inner: Arc<dyn ClientCertVerifier>) -> Self {
        Self { inner }
    }
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The verifier of client certificates signed by the given authorities.
pub fn verifier(
    authorities: &[&CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, PkiError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add((*authority).clone())?;
    }
    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|e| PkiError::Unusable(e.to_string()))
}
