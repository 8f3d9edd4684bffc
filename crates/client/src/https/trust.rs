//! Whom a client trusts: servers whose certificate an authority has signed, and servers whose
//! certificate is itself among the authorities, as one that is signed by itself often is.
//!
//! The library takes no authority for a server. Not here: clients' certificates.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::error::Error;

/// Judges servers' certificates.
#[derive(Debug)]
pub(super) struct Trust {
    signed: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// By these authorities; `roots` are the usable ones of them.
    pub fn new(
        roots: RootCertStore,
        authorities: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, Error> {
        let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| Error::Config(format!("certificate authority: {e}")))?;
        Ok(Arc::new(Self { signed, authorities }))
    }
}

/// What is asked of a certificate that needs no signature: name, time, use.
fn itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, TlsError> {
    let bad = |why| TlsError::InvalidCertificate(why);
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).ok().and_then(|s| ASN1Time::from_timestamp(s).ok());
    let now = now.ok_or_else(|| bad(CertificateError::BadEncoding))?;
    if now < parsed.validity().not_before {
        return Err(bad(CertificateError::NotValidYet));
    }
    if now > parsed.validity().not_after {
        return Err(bad(CertificateError::Expired));
    }
    let uses = parsed.extended_key_usage().map_err(|_| bad(CertificateError::BadEncoding))?;
    if uses.is_some_and(|uses| !uses.value.any && !uses.value.server_auth) {
        return Err(bad(CertificateError::InvalidPurpose));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if self.authorities.iter().any(|known| known == certificate) {
            return itself(certificate, name, now);
        }
        self.signed.verify_server_cert(certificate, chain, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.signed.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

    use super::*;

    fn verdict(name: &str, at: u64, listed: bool) -> Result<ServerCertVerified, TlsError> {
        let own = |name: &str| {
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.not_before = date_time_ymd(2026, 1, 1);
            params.not_after = date_time_ymd(2027, 1, 1);
            let key = KeyPair::generate().expect("a key");
            params.self_signed(&key).expect("signed").der().clone()
        };
        let (served, other) = (own("a.b.svc"), own("a.b.svc"));
        let listed = if listed { served.clone() } else { other };
        let mut roots = RootCertStore::empty();
        roots.add(listed.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let trust = Trust::new(roots, vec![listed], provider).expect("a verifier");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
        trust.verify_server_cert(&served, &[], &name, &[], now)
    }

    #[test]
    fn an_authority_may_serve_itself() {
        const SUMMER: u64 = 1_782_000_000;
        assert!(verdict("a.b.svc", SUMMER, true).is_ok());
        for (name, at, listed) in [
            ("other.b.svc", SUMMER, true),
            ("a.b.svc", SUMMER - 40_000_000, true),
            ("a.b.svc", SUMMER + 40_000_000, true),
            ("a.b.svc", SUMMER, false),
        ] {
            assert!(verdict(name, at, listed).is_err(), "{name} {at} {listed}");
        }
    }
}
