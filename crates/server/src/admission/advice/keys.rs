//! Whether a certificate and a key in PEM belong together, as Go's library tells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with the data of a `kubernetes.io/tls` secret.
pub fn fault(certificate: Option<&str>, key: Option<&str>) -> Option<String> {
    let read = |data: Option<&str>| STANDARD.decode(data.unwrap_or("")).unwrap_or_default();
    let (certificate, key) = (read(certificate), read(key));
    let names = names(&certificate);
    if !names.iter().any(|name| name == "CERTIFICATE") {
        return Some(match &names[..] {
            [] => "tls: failed to find any PEM data in certificate input".into(),
            [name] if name.ends_with("PRIVATE KEY") => "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched".into(),
            all => format!("tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]", all.join(" ")),
        });
    }
    let names = self::names(&key);
    let is_key = |name: &String| name == "PRIVATE KEY" || name.ends_with(" PRIVATE KEY");
    if !names.iter().any(is_key) {
        return Some(match &names[..] {
            [] => "tls: failed to find any PEM data in key input".into(),
            [name] if name == "CERTIFICATE" => {
                "tls: found a certificate rather than a key in the PEM for the private key".into()
            }
            all => format!(
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following types: [{}]",
                all.join(" ")
            ),
        });
    }
    let chain = CertificateDer::from_pem_slice(&certificate).ok()?;
    if x509_parser::parse_x509_certificate(&chain).is_err() {
        return Some("x509: malformed certificate".into());
    }
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::from_pem_slice(&key).ok();
    let Some(key) = key.and_then(|key| provider.key_provider.load_private_key(key).ok()) else {
        return Some("tls: failed to parse private key".into());
    };
    let pair = rustls::sign::CertifiedKey::new(vec![chain], key);
    pair.keys_match().is_err().then(|| "tls: private key does not match public key".into())
}

/// The names of the blocks in a PEM text.
fn names(pem: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(pem);
    let mut found = Vec::new();
    let mut rest = &*text;
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let Some((name, body)) = after.split_once("-----") else { break };
        let Some((body, after)) = body.split_once(&format!("-----END {name}-----")) else {
            rest = body;
            continue;
        };
        let packed: String = body
            .lines()
            .filter(|line| !line.contains(':'))
            .flat_map(str::split_whitespace)
            .collect();
        if STANDARD.decode(packed).is_ok() {
            found.push(name.to_owned());
        }
        rest = after;
    }
    found
}
