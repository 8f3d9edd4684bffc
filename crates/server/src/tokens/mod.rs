//! Service account tokens: signed here, and described to others who verify them.
//!
//! Not here: who a token speaks for to this server (`authn::service_account`).

mod claims;
mod request;

use api::clock::{Clock, Rng};
use api::{ApiError, Object, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::json;
use sha2::{Digest, Sha256};
use store::Store;

pub use claims::{Claims, Private, Reference};

use crate::gate::{TokenIssuer, UserInfo};

/// Why tokens cannot be signed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the service account key (pki/sa.key) cannot be used: {0}; it must be a P-256 or RSA private key in PEM"
)]
pub struct KeyError(String);

/// Signs and verifies tokens.
pub struct Signer {
    issuer: String,
    jwks_uri: String,
    algorithm: Algorithm,
    kid: String,
    signing: EncodingKey,
    verifying: DecodingKey,
    jwk: Jwk,
}

impl Signer {
    /// `key` is PEM. `issuer` stands in every token; `address` (`https://host:port`) is where
    /// others find the public key.
    pub fn new(key: &str, issuer: &str, address: &str) -> Result<Self, KeyError> {
        let fault = |e: &dyn std::fmt::Display| KeyError(e.to_string());
        let pair = rcgen::KeyPair::from_pem(key).map_err(|e| fault(&e))?;
        let rsa = pair.algorithm() == &rcgen::PKCS_RSA_SHA256;
        let (algorithm, signing) = if rsa {
            (Algorithm::RS256, EncodingKey::from_rsa_pem(key.as_bytes()))
        } else {
            (Algorithm::ES256, EncodingKey::from_ec_pem(key.as_bytes()))
        };
        let signing = signing.map_err(|e| fault(&e))?;
        let kid = URL_SAFE_NO_PAD
            .encode(Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&pair)));
        let mut jwk = Jwk::from_encoding_key(&signing, algorithm).map_err(|e| fault(&e))?;
        jwk.common.key_id = Some(kid.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        let verifying = DecodingKey::from_jwk(&jwk).map_err(|e| fault(&e))?;
        Ok(Self {
            issuer: issuer.to_owned(),
            jwks_uri: format!("{address}/openid/v1/jwks"),
            algorithm,
            kid,
            signing,
            verifying,
            jwk,
        })
    }

    /// The issuer, which is also the API server's own audience.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        let mut header = Header::new(self.algorithm);
        header.typ = None;
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.signing)
            .map_err(|e| ApiError::internal(format!("failed to generate token: {e}")))
    }

    /// What a token says; `None` where it is no token of this issuer. An error names what is wrong
    /// with one that claims to be.
    pub fn verify(&self, token: &str) -> Result<Option<Claims>, String> {
        #[derive(serde::Deserialize)]
        struct Issuer {
            iss: String,
        }
        let claimed = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claimed: Option<Issuer> = claimed.and_then(|json| serde_json::from_slice(&json).ok());
        if claimed.is_none_or(|c| c.iss != self.issuer) {
            return Ok(None);
        }
        let mut validation = Validation::new(self.algorithm);
        // Times are judged by the injected clock, audiences by who asks.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Claims>(token, &self.verifying, &validation)
            .map(|data| Some(data.claims))
            .map_err(|e| format!("invalid signature: {e}"))
    }
}

/// Answers token requests.
pub struct Tokens {
    signer: std::sync::Arc<Signer>,
    store: Store,
    clock: Clock,
    rng: Rng,
}

impl Tokens {
    /// Bound objects are looked up in `store`.
    pub fn new(signer: std::sync::Arc<Signer>, store: Store, clock: Clock, rng: Rng) -> Self {
        Self { signer, store, clock, rng }
    }
}

impl TokenIssuer for Tokens {
    fn issue(
        &self,
        account: &Object,
        request: Object,
        _bound: Option<&Object>,
        _user: &UserInfo,
    ) -> Result<Object, ApiError> {
        self.answer(account, request)
    }

    fn discovery(&self) -> Value {
        json!({
            "issuer": self.signer.issuer,
            "jwks_uri": self.signer.jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.jwk_text("alg")],
        })
    }

    fn keys(&self) -> Value {
        json!({"keys": [self.signer.jwk]})
    }
}

impl Tokens {
    fn jwk_text(&self, key: &str) -> Value {
        serde_json::to_value(&self.signer.jwk)
            .ok()
            .and_then(|v| v.get(key).cloned())
            .unwrap_or_default()
    }
}
