//! Continuation tokens: where the next page of a list starts, and at which revision.
//!
//! Not here: the pages.

use api::{ApiError, Reason};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// What a token holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    v: String,
    /// The revision of the first page; -1: whatever is current.
    pub rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

impl Token {
    /// A token of a page that ended with an object.
    pub fn after(rv: i64, namespace: &str, name: &str) -> Self {
        Self { v: VERSION.to_owned(), rv, start: format!("{namespace}/{name}\0") }
    }

    /// As it goes over the wire.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads a client's token.
    pub fn decode(text: &str) -> Result<Self, ApiError> {
        let fault = |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|e| fault(&e.to_string()))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|e| fault(&e.to_string()))?;
        if token.v != VERSION {
            return Err(fault(&format!(
                "server does not recognize this encoded version {:?}",
                token.v
            )));
        }
        if token.start.is_empty() {
            return Err(fault("encoded start key is empty"));
        }
        Ok(token)
    }

    /// The namespace and name behind which the page starts.
    pub fn position(&self) -> (&str, &str) {
        let start = self.start.trim_end_matches('\0');
        start.split_once('/').unwrap_or(("", start))
    }
}

/// The token's revision is gone; with a fresh token that goes on inconsistently.
pub fn expired(token: &Token) -> ApiError {
    let (namespace, name) = token.position();
    let mut error = ApiError::new(
        Reason::Expired,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    error.continue_token = Token::after(-1, namespace, name).encode();
    error
}

/// The revision of an exact list is gone.
pub fn compacted() -> ApiError {
    ApiError::new(Reason::Expired, "The resourceVersion for the provided list is too old.")
}

/// A revision that is yet to come, and did not come in time.
pub fn too_large(asked: u64, current: u64) -> ApiError {
    let mut error = ApiError::new(
        Reason::Timeout,
        format!("Timeout: Too large resource version: {asked}, current: {current}"),
    )
    .detail("retryAfterSeconds", 1);
    error.causes.push(api::Cause::new(
        api::CauseReason::ResourceVersionTooLarge,
        "",
        "Too large resource version",
    ));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip() {
        let token = Token::after(7, "default", "web");
        let back = Token::decode(&token.encode()).expect("a token");
        assert_eq!((back.rv, back.position()), (7, ("default", "web")));
        assert!(Token::decode("x").is_err());
    }
}
