//! A leaf certificate kept in one file (certificate, then key: replaced as one step) and renewed
//! when two thirds of its life are over.
//!
//! Not here: who waits for that moment (`Pki::keep_fresh`).

use std::path::Path;
use std::time::Duration;

use api::clock::Clock;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::authority::{Authority, Issued, Leaf};
use super::{PkiError, files};

/// How long a leaf certificate lives.
pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// When (Unix seconds) a certificate that is valid in the given span is due for renewal.
fn due(not_before: i64, not_after: i64) -> i64 {
    not_before + (not_after - not_before) / 3 * 2
}

/// A leaf certificate with the moment of its renewal.
#[derive(Clone)]
pub struct Current {
    /// Certificate and key.
    pub issued: Issued,
    /// Unix seconds.
    pub renew_at: i64,
}

/// The certificate in `path` if it is this authority's, says what `leaf` says, and is not due for
/// renewal; else a new one, written there.
pub fn ensure(
    path: &Path,
    authority: &Authority,
    leaf: &Leaf,
    clock: &Clock,
) -> Result<Current, PkiError> {
    let io = |source| PkiError::Io { path: path.to_owned(), source };
    // What cannot be read is replaced: a leaf is worth nothing by itself.
    let kept = files::read(path).map_err(io)?.and_then(|text| split(&text));
    if let Some(issued) = kept
        && let Some(renew_at) = renewal_of(&issued, authority, leaf)
        && renew_at > clock.now().as_second()
    {
        return Ok(Current { issued, renew_at });
    }
    let issued = authority.issue(leaf, LIFETIME, clock)?;
    let text = format!("{}{}", issued.cert, issued.key);
    files::replace(path, text.as_bytes(), 0o600).map_err(io)?;
    let now = clock.now().as_second();
    let life = i64::try_from(LIFETIME.as_secs()).unwrap_or(i64::MAX);
    Ok(Current { issued, renew_at: due(now, now + life) })
}

fn split(text: &str) -> Option<Issued> {
    let at = text.find("-----BEGIN PRIVATE KEY-----")?;
    let (cert, key) = text.split_at(at);
    Some(Issued { cert: cert.to_owned(), key: key.to_owned() })
}

/// When to renew; `None` where the certificate is not the one wanted.
fn renewal_of(issued: &Issued, authority: &Authority, leaf: &Leaf) -> Option<i64> {
    let der = super::der(&issued.cert).ok()?;
    let (_, cert) = X509Certificate::from_der(&der).ok()?;
    let (_, parent) = X509Certificate::from_der(authority.der()).ok()?;
    let signed_here =
        cert.issuer() == parent.subject() && authority_key(&cert)? == subject_key(&parent)?;
    let matches = signed_here && reads(&cert)? == *leaf;
    let span = cert.validity();
    matches.then(|| due(span.not_before.timestamp(), span.not_after.timestamp()))
}

fn authority_key<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0),
        _ => None,
    })
}

fn subject_key<'a>(cert: &'a X509Certificate<'_>) -> Option<&'a [u8]> {
    cert.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    })
}

fn reads(cert: &X509Certificate<'_>) -> Option<Leaf> {
    let mut leaf = Leaf {
        name: cert.subject().iter_common_name().next()?.as_str().ok()?.to_owned(),
        group: cert
            .subject()
            .iter_organization()
            .next()
            .and_then(|o| o.as_str().ok())
            .map(str::to_owned),
        ..Leaf::default()
    };
    if let Ok(Some(usage)) = cert.extended_key_usage() {
        (leaf.server, leaf.client) = (usage.value.server_auth, usage.value.client_auth);
    }
    if let Ok(Some(names)) = cert.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(text) => leaf.dns.push((*text).to_owned()),
                GeneralName::IPAddress(bytes) => leaf.ips.push(address(bytes)?),
                _ => return None,
            }
        }
    }
    Some(leaf)
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(Into::into),
        16 => <[u8; 16]>::try_from(bytes).ok().map(Into::into),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_until_two_thirds_then_renewed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let clock = Clock::manual(jiff::Timestamp::from_second(1_800_000_000).expect("in range"));
        let ca = Authority::open(dir.path(), "ca", "test", &clock).expect("made");
        let path = dir.path().join("leaf.pem");
        let leaf = Leaf {
            name: "system:node:a".into(),
            group: Some("system:nodes".into()),
            dns: vec!["localhost".into()],
            ips: vec!["127.0.0.1".parse().expect("valid"), "::1".parse().expect("valid")],
            server: true,
            client: true,
        };
        let get = |leaf: &Leaf| ensure(&path, &ca, leaf, &clock).expect("issued");
        let first = get(&leaf);
        clock.advance(LIFETIME / 2);
        assert_eq!(get(&leaf).issued.cert, first.issued.cert);
        clock.advance(LIFETIME / 5);
        let second = get(&leaf);
        assert_ne!(second.issued.cert, first.issued.cert);
        // Another wish, or another authority, makes another certificate.
        let other = Leaf { dns: vec!["example".into()], ..leaf.clone() };
        assert_ne!(get(&other).issued.cert, second.issued.cert);
        let held = get(&leaf);
        std::fs::remove_file(dir.path().join("ca.key")).expect("removed");
        std::fs::remove_file(dir.path().join("ca.crt")).expect("removed");
        let stranger = Authority::open(dir.path(), "ca", "test", &clock).expect("made");
        let again = ensure(&path, &stranger, &leaf, &clock).expect("issued");
        assert_ne!(again.issued.cert, held.issued.cert);
        // A torn file is replaced.
        std::fs::write(&path, "junk").expect("written");
        assert!(ensure(&path, &stranger, &leaf, &clock).is_ok());
    }
}
