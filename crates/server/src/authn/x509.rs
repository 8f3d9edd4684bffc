//! Client certificates: the common name is the user, the organizations are the groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Clock;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::gate::{AuthnError, UserInfo};

/// How long a verified certificate is believed without looking again.
const BELIEVED: Duration = Duration::from_secs(60);
/// How many verified certificates are kept.
const KEPT: usize = 1024;

/// Until which Unix second a certificate is believed, and whom it names.
type Seen = (u64, Option<UserInfo>);

/// Authenticates by client certificate.
pub struct Certificates {
    verifier: Arc<dyn ClientCertVerifier>,
    clock: Clock,
    /// By end entity certificate.
    seen: Mutex<HashMap<Vec<u8>, Seen>>,
}

impl Certificates {
    /// Certificates are judged by `verifier`, at the time of `clock`.
    pub fn new(verifier: Arc<dyn ClientCertVerifier>, clock: Clock) -> Self {
        Self { verifier, clock, seen: Mutex::default() }
    }

    /// Whom a chain names; `None` for a certificate without a name.
    pub fn user(&self, chain: &[CertificateDer<'static>]) -> Result<Option<UserInfo>, AuthnError> {
        let Some((cert, intermediates)) = chain.split_first() else { return Ok(None) };
        let now = self.clock.micros() / 1_000_000;
        if let Some((until, user)) = self.seen.lock().get(cert.as_ref())
            && now < *until
        {
            return Ok(user.clone());
        }
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.verifier
            .verify_client_cert(cert, intermediates, time)
            .map_err(|e| AuthnError(format!("x509: {e}")))?;
        let (user, expires) = read(cert).ok_or_else(|| AuthnError("x509: malformed".into()))?;
        let mut seen = self.seen.lock();
        if seen.len() >= KEPT {
            seen.clear();
        }
        let until = expires.min(now + BELIEVED.as_secs());
        seen.insert(cert.as_ref().to_vec(), (until, user.clone()));
        Ok(user)
    }
}

fn read(der: &[u8]) -> Option<(Option<UserInfo>, u64)> {
    let (_, cert) = X509Certificate::from_der(der).ok()?;
    let expires = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
    let name = cert.subject().iter_common_name().next().and_then(|n| n.as_str().ok()).unwrap_or("");
    if name.is_empty() {
        return Some((None, expires));
    }
    let groups = cert
        .subject()
        .iter_organization()
        .filter_map(|o| o.as_str().ok().map(str::to_owned))
        .collect();
    let print: String = Sha256::digest(der).iter().map(|b| format!("{b:02x}")).collect();
    let extra = [(
        "authentication.kubernetes.io/credential-id".to_owned(),
        vec![format!("X509SHA256={print}")],
    )];
    let user =
        UserInfo { name: name.to_owned(), groups, extra: extra.into(), ..UserInfo::default() };
    Some((Some(user), expires))
}
