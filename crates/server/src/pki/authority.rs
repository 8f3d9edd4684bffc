//! A certificate authority: made once, kept in two files, signs leaf certificates.
//!
//! Not here: which certificates a cluster needs (`profile`), or when they are renewed (`leaf`).

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use api::clock::Clock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{PkiError, files};

const DAY: u64 = 24 * 3600;
/// An authority outlives the machine it was made on; its leaves are what is renewed.
const AUTHORITY_DAYS: u64 = 30 * 365;
/// How far a certificate reaches back, for peers whose clock is behind.
const BACKDATE: u64 = 3600;

/// What a leaf certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// Common name: the user, for client certificates.
    pub name: String,
    /// Organization: the group, for client certificates.
    pub group: Option<String>,
    /// Host names it serves.
    pub dns: Vec<String>,
    /// Addresses it serves.
    pub ips: Vec<IpAddr>,
    /// Whether a server shows it.
    pub server: bool,
    /// Whether a client shows it.
    pub client: bool,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Issued {
    /// PEM.
    pub cert: String,
    /// PEM, PKCS#8.
    pub key: String,
}

/// A certificate authority with its key.
pub struct Authority {
    cert: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Loads `<dir>/<file>.crt` and `.key`, or makes what is missing. The key comes first: after a
    /// crash between the two, the next start makes the certificate of the key that is there.
    pub fn open(dir: &Path, file: &str, name: &str, clock: &Clock) -> Result<Self, PkiError> {
        let key_path = dir.join(format!("{file}.key"));
        let cert_path = dir.join(format!("{file}.crt"));
        let faulty = |path: &Path| {
            let path = path.to_owned();
            move |e: rcgen::Error| PkiError::Malformed { path, why: e.to_string() }
        };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| PkiError::Io { path, source }
        };
        let cert = files::read(&cert_path).map_err(io(&cert_path))?;
        let key = match files::read(&key_path).map_err(io(&key_path))? {
            Some(pem) => KeyPair::from_pem(&pem).map_err(faulty(&key_path))?,
            None if cert.is_some() => return Err(PkiError::NoKey { cert_path, key_path }),
            None => {
                let key = KeyPair::generate()?;
                files::replace(&key_path, key.serialize_pem().as_bytes(), 0o600)
                    .map_err(io(&key_path))?;
                key
            }
        };
        let cert = match cert {
            Some(pem) => pem,
            None => {
                let pem = authority_params(name, clock).self_signed(&key)?.pem();
                files::replace(&cert_path, pem.as_bytes(), 0o644).map_err(io(&cert_path))?;
                pem
            }
        };
        let der = CertificateDer::from_pem_slice(cert.as_bytes())
            .map_err(|e| PkiError::Malformed { path: cert_path.clone(), why: e.to_string() })?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(faulty(&cert_path))?;
        Ok(Self { cert, der, issuer })
    }

    /// The authority's certificate, PEM.
    pub fn cert(&self) -> &str {
        &self.cert
    }

    /// The authority's certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A certificate with a new key, valid from now for `lifetime`.
    pub fn issue(
        &self,
        leaf: &Leaf,
        lifetime: Duration,
        clock: &Clock,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let cert = leaf_params(leaf, lifetime, clock)?.signed_by(&key, &self.issuer)?;
        Ok(Issued { cert: cert.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, lifetime: Duration, clock: &Clock) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = clock.micros() / 1_000_000;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now.saturating_sub(BACKDATE));
    params.not_after = epoch + Duration::from_secs(now) + lifetime;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority_params(name: &str, clock: &Clock) -> CertificateParams {
    let mut params = params(name, Duration::from_secs(AUTHORITY_DAYS * DAY), clock);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params
}

fn leaf_params(
    leaf: &Leaf,
    lifetime: Duration,
    clock: &Clock,
) -> Result<CertificateParams, PkiError> {
    let mut params = params(&leaf.name, lifetime, clock);
    if let Some(group) = &leaf.group {
        params.distinguished_name.push(DnType::OrganizationName, group.as_str());
    }
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    for (wanted, usage) in [
        (leaf.server, ExtendedKeyUsagePurpose::ServerAuth),
        (leaf.client, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        if wanted {
            params.extended_key_usages.push(usage);
        }
    }
    for name in &leaf.dns {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    params.subject_alt_names.extend(leaf.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    Ok(params)
}
