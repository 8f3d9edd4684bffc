//! Why a request failed: refused by the server, lost on the way, or not understood.
//!
//! Not here: the server's own error type (`api::ApiError`), which is carried inside.

use std::sync::Arc;

use api::{ApiError, Reason};

/// A failed request. Cheap to clone, so that one failure can be told to many.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with an error status.
    #[error("{0}")]
    Api(Box<ApiError>),
    /// The server could not be reached, or the connection broke.
    #[error("{what}: {why}")]
    Transport {
        /// What was attempted.
        what: String,
        /// What the layer below said.
        why: String,
        /// Whether the request certainly never reached the server.
        unsent: bool,
    },
    /// A body that was not what it should be.
    #[error("cannot decode {what}: {source}")]
    Decode {
        /// What was read.
        what: String,
        /// The parser's word.
        source: Arc<serde_json::Error>,
    },
    /// A configuration (kubeconfig, certificates, addresses) that cannot be used.
    #[error("{0}")]
    Config(String),
    /// The other side of a stream broke its protocol.
    #[error("stream protocol: {0}")]
    Protocol(String),
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

impl Error {
    /// A transport failure after which the server may have seen the request.
    pub fn transport(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Transport { what: what.into(), why: why.to_string(), unsent: false }
    }

    /// A transport failure before anything was sent.
    pub fn unsent(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Transport { what: what.into(), why: why.to_string(), unsent: true }
    }

    /// A body that could not be read.
    pub fn decode(what: impl Into<String>, source: serde_json::Error) -> Self {
        Self::Decode { what: what.into(), source: Arc::new(source) }
    }

    /// What the server said, if it was the server that refused.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    fn has(&self, reason: Reason) -> bool {
        self.api().is_some_and(|e| e.reason == reason)
    }

    /// Whether the object (or the resource) is not there.
    pub fn is_not_found(&self) -> bool {
        self.has(Reason::NotFound)
    }

    /// Whether a write lost against another one.
    pub fn is_conflict(&self) -> bool {
        self.has(Reason::Conflict)
    }

    /// Whether a create found the name taken.
    pub fn is_already_exists(&self) -> bool {
        self.has(Reason::AlreadyExists)
    }

    /// Whether the object failed validation.
    pub fn is_invalid(&self) -> bool {
        self.has(Reason::Invalid)
    }

    /// Whether the caller may not do this.
    pub fn is_forbidden(&self) -> bool {
        self.has(Reason::Forbidden)
    }

    /// Whether the asked-for revision is too old: list again.
    pub fn is_expired(&self) -> bool {
        self.api().is_some_and(|e| e.code == 410)
    }

    /// Whether a create was refused because its namespace is going away.
    pub fn is_namespace_terminating(&self) -> bool {
        self.api().is_some_and(|e| {
            e.reason == Reason::Forbidden
                && e.foreign_causes.iter().any(|c| {
                    c.get("reason").and_then(|r| r.as_str()) == Some("NamespaceTerminating")
                })
        })
    }

    /// How long the server asked to wait before trying again, in seconds.
    pub fn retry_after(&self) -> Option<u64> {
        self.api()?.details.get("retryAfterSeconds")?.as_u64()
    }
}
