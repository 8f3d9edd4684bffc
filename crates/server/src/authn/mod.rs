//! Authentication: who sends a request. Client certificate, then bearer token (file, service
//! account). Whoever shows nothing is anonymous, which the request stack sees to.
//!
//! Not here: what the user may do (`authz`).

pub mod impersonate;
mod reviews;
mod service_account;
mod token_file;
mod x509;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use client::stream::handshake::TOKEN_PROTOCOL;
use http::request::Parts;
use rustls::pki_types::CertificateDer;

pub use reviews::review;
pub use service_account::ServiceAccounts;
pub use token_file::{TokenFile, TokenFileError};
pub use x509::Certificates;

use crate::gate::{Authenticator, AuthnError, TokenFacts, UserInfo};

/// The group of everyone who is somebody.
const AUTHENTICATED: &str = "system:authenticated";

/// The API server's authenticator.
pub struct Authn {
    /// Client certificates.
    pub certificates: Certificates,
    /// Static tokens.
    pub token_file: TokenFile,
    /// Service account tokens.
    pub accounts: ServiceAccounts,
}

impl Authenticator for Authn {
    fn authenticate(
        &self,
        parts: &Parts,
        peer: &[CertificateDer<'static>],
    ) -> Result<Option<UserInfo>, AuthnError> {
        // A certificate that is not ours does no harm where a good token comes with it.
        let certificate = self.certificates.user(peer);
        if let Ok(Some(user)) = certificate {
            return Ok(Some(authenticated(user)));
        }
        if let Some(token) = bearer(parts) {
            return match self.known(&token, &[])? {
                Some(facts) => Ok(Some(facts.user)),
                None => Err(AuthnError("invalid bearer token".into())),
            };
        }
        certificate
    }

    fn token(&self, token: &str, audiences: &[String]) -> Result<Option<TokenFacts>, AuthnError> {
        self.known(token, audiences)
    }
}

impl Authn {
    fn known(&self, token: &str, audiences: &[String]) -> Result<Option<TokenFacts>, AuthnError> {
        if let Some(user) = self.token_file.user(token) {
            // Static tokens know nothing of audiences: they are good for the API server.
            let own = self.accounts.audience();
            if !audiences.is_empty() && !audiences.iter().any(|a| a == own) {
                return Ok(None);
            }
            let user = authenticated(user.clone());
            return Ok(Some(TokenFacts { user, audiences: vec![own.to_owned()] }));
        }
        let facts = self.accounts.user(token, audiences)?;
        Ok(facts.map(|f| TokenFacts { user: authenticated(f.user), ..f }))
    }
}

fn authenticated(mut user: UserInfo) -> UserInfo {
    if !user.in_group(AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user
}

/// The bearer token of a request: in its header, or, from browsers, in a WebSocket protocol's name.
fn bearer(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(http::header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    if let Some(header) = header {
        let (scheme, token) = header.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
            .then(|| token.to_owned());
    }
    let protocols = parts.headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL);
    let names = protocols.iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    let (tokens, others): (Vec<&str>, Vec<&str>) =
        names.map(str::trim).partition(|name| name.starts_with(TOKEN_PROTOCOL));
    if tokens.is_empty() {
        return None;
    }
    // A token alone leaves nothing that the answer could choose. What is wrong is no token of anybody.
    let token = match tokens[..] {
        [one] if !others.is_empty() => one.strip_prefix(TOKEN_PROTOCOL).unwrap_or(""),
        _ => "",
    };
    let decoded = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).unwrap_or_default();
    Some(String::from_utf8(decoded).unwrap_or_default())
}

#[cfg(test)]
mod tests;
