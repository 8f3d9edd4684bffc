//! TLS configurations out of PEM texts.
//!
//! Not here: connections.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::connect::Material;
use super::trust::Trust;
use crate::error::Error;

/// Where distributions keep the authorities that the system trusts.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn bad(what: &str, why: impl std::fmt::Display) -> Error {
    Error::Config(format!("{what}: {why}"))
}

/// The certificates of a PEM text.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| bad("certificate", e))
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            let (added, ignored) = roots.add_parsable_certificates(certificates(pem)?);
            if added == 0 {
                let why = if ignored == 0 { "no certificate in it" } else { "not usable" };
                return Err(bad("certificate authority", why));
            }
        }
        None => {
            let text = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok());
            roots.add_parsable_certificates(certificates(&text.unwrap_or_default())?);
        }
    }
    Ok(roots)
}

pub(super) fn client_config(material: &Material, insecure: bool) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| bad("TLS", e))?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(AnyServer::new(provider))
    } else {
        let roots = roots(material.ca.as_deref())?;
        match &material.ca {
            Some(ca) => builder.dangerous().with_custom_certificate_verifier(Trust::new(
                roots,
                certificates(ca)?,
                provider,
            )?),
            None => builder.with_root_certificates(roots),
        }
    };
    let mut config = match &material.identity {
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| bad("client key", e))?;
            builder
                .with_client_auth_cert(certificates(chain)?, key)
                .map_err(|e| bad("client certificate", e))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Accepts any server's certificate, as `insecure-skip-tls-verify` and probes of containers ask for.
/// The server still proves that it holds the certificate's key.
#[derive(Debug)]
pub struct AnyServer(Arc<CryptoProvider>);

impl AnyServer {
    /// A verifier that checks signatures with `provider`.
    pub fn new(provider: Arc<CryptoProvider>) -> Arc<Self> {
        Arc::new(Self(provider))
    }
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
