//! Continuation tokens: where the next page of a list starts, and at which revision.
//!
//! Not here: the pages.

use api::{ApiError, Reason};
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use base64::{DecodeError, Engine};
use serde::{Deserialize, Serialize};

/// What a token holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Token {
    v: String,
    /// The revision of the first page; -1: whatever is current.
    pub rv: i64,
    start: String,
}

const VERSION: &str = "meta.k8s.io/v1";

/// As Go reads it: bits that are left over do not matter.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

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
        let fault = |why: &str| {
            let message = format!("invalid continue token: continue key is not valid: {why}");
            ApiError::bad_request(message)
        };
        let bytes = LENIENT.decode(text).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                // Go stops where a lone last character's group began.
                DecodeError::InvalidLength(length) => length.saturating_sub(1),
                DecodeError::InvalidPadding => text.find('=').unwrap_or(0),
            };
            fault(&format!("illegal base64 data at input byte {at}"))
        })?;
        let value = api::codec::json::value(&bytes).map_err(|e| fault(&e.to_string()))?;
        if !value.is_object() {
            return Err(fault(
                "json: cannot unmarshal into Go value of type storage.continueToken",
            ));
        }
        let token: Self = serde_json::from_value(value).map_err(|e| fault(&e.to_string()))?;
        if token.v != VERSION {
            let why = format!("server does not recognize this encoded version {}", token.v);
            return Err(fault(&why));
        }
        if token.rv == 0 {
            let why = "incorrect encoded start resourceVersion (version meta.k8s.io/v1)";
            return Err(fault(why));
        }
        if token.start.is_empty() {
            return Err(fault("encoded start key empty (version meta.k8s.io/v1)"));
        }
        // A path that would leave its place.
        if token.start.split('/').any(|part| part == "..") {
            return Err(fault(&token.start));
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
