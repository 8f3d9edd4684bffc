//! `metav1.Status`: the one error type that leaves an API server, and how clients read it back.
//!
//! The HTTP code follows from the reason, so an impossible pair cannot be written. Not here: which
//! stage of a request found the fault (each stage has its own error and maps to this at the edge).

use serde_json::{Map, Value, json};

/// Machine-readable reason of a failure (`metav1.StatusReason`), with its HTTP code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    StoreReadError,
    InternalError,
    ServerTimeout,
    ServiceUnavailable,
    Timeout,
    Unknown,
}

const REASONS: &[(Reason, &str, u16)] = &[
    (Reason::BadRequest, "BadRequest", 400),
    (Reason::Unauthorized, "Unauthorized", 401),
    (Reason::Forbidden, "Forbidden", 403),
    (Reason::NotFound, "NotFound", 404),
    (Reason::MethodNotAllowed, "MethodNotAllowed", 405),
    (Reason::NotAcceptable, "NotAcceptable", 406),
    (Reason::AlreadyExists, "AlreadyExists", 409),
    (Reason::Conflict, "Conflict", 409),
    (Reason::Gone, "Gone", 410),
    (Reason::Expired, "Expired", 410),
    (Reason::RequestEntityTooLarge, "RequestEntityTooLarge", 413),
    (Reason::UnsupportedMediaType, "UnsupportedMediaType", 415),
    (Reason::Invalid, "Invalid", 422),
    (Reason::TooManyRequests, "TooManyRequests", 429),
    (Reason::StoreReadError, "StorageReadError", 500),
    (Reason::InternalError, "InternalError", 500),
    (Reason::ServerTimeout, "ServerTimeout", 500),
    (Reason::ServiceUnavailable, "ServiceUnavailable", 503),
    (Reason::Timeout, "Timeout", 504),
    (Reason::Unknown, "", 500),
];

impl Reason {
    fn row(self) -> &'static (Reason, &'static str, u16) {
        REASONS.iter().find(|(r, _, _)| *r == self).unwrap_or(&REASONS[REASONS.len() - 1])
    }

    /// As in `status.reason`.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status code.
    pub fn code(self) -> u16 {
        self.row().2
    }

    /// The reason of that name.
    pub fn parse(text: &str) -> Reason {
        REASONS.iter().find(|(_, t, _)| *t == text).map_or(Reason::Unknown, |(r, _, _)| *r)
    }

    /// The reason a client assumes for a bare HTTP code.
    pub fn of_code(code: u16) -> Reason {
        REASONS.iter().find(|(_, _, c)| *c == code).map_or(Reason::Unknown, |(r, _, _)| *r)
    }
}

/// Machine-readable cause (`metav1.CauseType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum CauseReason {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    FieldManagerConflict,
    ResourceVersionTooLarge,
    Internal,
    UnexpectedResponse,
    Other(&'static str),
}

impl CauseReason {
    /// As in `details.causes[].reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::FieldManagerConflict => "FieldManagerConflict",
            Self::ResourceVersionTooLarge => "ResourceVersionTooLarge",
            Self::Internal => "InternalError",
            Self::UnexpectedResponse => "UnexpectedServerResponse",
            Self::Other(text) => text,
        }
    }
}

/// One fault of an object: `details.causes[]`. The constructors print the message as upstream's
/// `field.Error` does (without the leading field path, which the status message adds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Which rule was broken.
    pub reason: CauseReason,
    /// For people.
    pub message: String,
    /// The field's path, as in `spec.containers[0].name`; empty where there is none.
    pub field: String,
}

/// How `field.Error` prints the offending value: text quoted, anything else as JSON.
pub fn print_value(value: &Value) -> String {
    match value {
        Value::String(s) => crate::names::quote(s),
        Value::Array(_) | Value::Object(_) => {
            // As Go's encoder writes texts inside.
            let text = value.to_string();
            text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
        }
        other => other.to_string(),
    }
}

impl Cause {
    /// A cause of its three parts.
    pub fn new(reason: CauseReason, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), field: field.into() }
    }

    /// `Required value[: detail]`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseReason::Required, field, with_detail("Required value", detail))
    }

    /// `Invalid value: <value>[: detail]`.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        let head = format!("Invalid value: {}", print_value(value));
        Self::new(CauseReason::Invalid, field, with_detail(&head, detail))
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let head = format!("Duplicate value: {}", print_value(value));
        Self::new(CauseReason::Duplicate, field, head)
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    pub fn not_supported(field: impl Into<String>, value: &Value, allowed: &[&str]) -> Self {
        let head = format!("Unsupported value: {}", print_value(value));
        let mut sorted: Vec<String> = allowed.iter().map(|v| format!("{v:?}")).collect();
        sorted.sort();
        let detail = if sorted.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", sorted.join(", "))
        };
        Self::new(CauseReason::NotSupported, field, with_detail(&head, &detail))
    }

    /// `Forbidden[: detail]`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(CauseReason::Forbidden, field, with_detail("Forbidden", detail))
    }

    /// `Not found: <value>`.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(CauseReason::NotFound, field, format!("Not found: {}", print_value(value)))
    }

    /// `Too long: may not be more than <max> bytes`.
    pub fn too_long(field: impl Into<String>, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        let message = format!("Too long: may not be more than {max} {unit}");
        Self::new(CauseReason::TooLong, field, message)
    }

    /// `Too many: <actual>: must have at most <max> items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: usize) -> Self {
        let message = format!("Too many: {actual}: must have at most {max} items");
        Self::new(CauseReason::TooMany, field, message)
    }

    fn to_value(&self) -> Value {
        let mut map = Map::new();
        let mut put = |key: &str, text: &str| {
            if !text.is_empty() {
                map.insert(key.to_owned(), text.into());
            }
        };
        put("reason", self.reason.as_str());
        put("message", &self.message);
        put("field", &self.field);
        Value::Object(map)
    }

    /// `field: message`, as the message of the whole status has it.
    pub fn line(&self) -> String {
        if self.field.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.field, self.message)
        }
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

/// A failed request: `metav1.Status` with `status: Failure`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Machine-readable reason.
    pub reason: Reason,
    /// The HTTP code; the reason's own, but where upstream pairs them otherwise.
    pub code: u16,
    /// For people.
    pub message: String,
    /// `details`, without causes.
    pub details: Box<Map<String, Value>>,
    /// `details.causes`.
    pub causes: Vec<Cause>,
    /// `details.causes` of a status that came over the wire.
    pub foreign_causes: Vec<Value>,
    /// An error of the HTTP layer, which has details even where they are empty.
    pub generic: bool,
    /// `metadata.continue`: how to go on after an expired list.
    pub continue_token: String,
    /// Warnings that go with the answer; not part of the status.
    pub warnings: Vec<String>,
}

impl ApiError {
    /// An error with a reason and a message only.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            code: reason.code(),
            message: message.into(),
            details: Box::default(),
            causes: Vec::new(),
            foreign_causes: Vec::new(),
            generic: false,
            continue_token: String::new(),
            warnings: Vec::new(),
        }
    }

    /// Adds a text to `details`.
    #[must_use]
    pub fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if value.as_str() != Some("") {
            self.details.insert(key.to_owned(), value);
        }
        self
    }

    fn about(self, name: &str, group: &str, kind: &str) -> Self {
        self.detail("name", name).detail("group", group).detail("kind", kind)
    }

    /// `pods "x" not found`.
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let what = crate::resource::qualified(group, plural);
        Self::new(Reason::NotFound, format!("{what} {name:?} not found")).about(name, group, plural)
    }

    /// `pods "x" already exists`.
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let what = crate::resource::qualified(group, plural);
        Self::new(Reason::AlreadyExists, format!("{what} {name:?} already exists"))
            .about(name, group, plural)
    }

    /// `Operation cannot be fulfilled on pods "x": <why>`.
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = crate::resource::qualified(group, plural);
        let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
        Self::new(Reason::Conflict, message).about(name, group, plural)
    }

    /// `pods "x" is forbidden: <why>`, as admission refuses.
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let what = crate::resource::qualified(group, plural);
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} {name:?} is forbidden: {why}")
        };
        Self::new(Reason::Forbidden, message).about(name, group, plural)
    }

    /// `Pod "x" is invalid: <causes>`. The details name the kind, not the resource.
    pub fn invalid(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let what = crate::resource::qualified(group, kind);
        let mut lines: Vec<String> = Vec::with_capacity(causes.len());
        for line in causes.iter().map(Cause::line) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let message = match lines.as_slice() {
            [one] => format!("{what} {name:?} is invalid: {one}"),
            many => format!("{what} {name:?} is invalid: [{}]", many.join(", ")),
        };
        let mut error = Self::new(Reason::Invalid, message).about(name, group, kind);
        error.causes = causes;
        error
    }

    /// A malformed request.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// A fault of ours.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        let mut error =
            Self::new(Reason::InternalError, format!("Internal error occurred: {text}"));
        error.causes.push(Cause::new(CauseReason::Other(""), "", text));
        error
    }

    /// `metav1.Status` as JSON.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.as_str().is_empty() {
            status["reason"] = self.reason.as_str().into();
        }
        let mut details = (*self.details).clone();
        let causes: Vec<Value> = self
            .causes
            .iter()
            .map(Cause::to_value)
            .chain(self.foreign_causes.iter().cloned())
            .collect();
        if !causes.is_empty() {
            details.insert("causes".to_owned(), causes.into());
        }
        if !self.continue_token.is_empty() {
            status["metadata"]["continue"] = self.continue_token.as_str().into();
        }
        // Upstream's invalid statuses, and those of its HTTP layer, always have details, be they empty.
        if !details.is_empty() || self.generic || self.reason == Reason::Invalid {
            status["details"] = details.into();
        }
        status
    }

    /// Reads an error response: a `Status` body, or any text with its HTTP code.
    pub fn from_response(code: u16, body: &[u8]) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let Some(status) =
            parsed.filter(|v| v.get("kind").and_then(Value::as_str) == Some("Status"))
        else {
            let text = String::from_utf8_lossy(body);
            let mut error = Self::new(Reason::of_code(code), text.trim().to_owned());
            error.code = code;
            return error;
        };
        let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let mut error = Self::new(Reason::parse(&text("reason")), text("message"));
        error.code = status
            .get("code")
            .and_then(Value::as_u64)
            .and_then(|c| u16::try_from(c).ok())
            .unwrap_or(code);
        if let Some(token) = status.pointer("/metadata/continue").and_then(Value::as_str) {
            token.clone_into(&mut error.continue_token);
        }
        if let Some(details) = status.get("details").and_then(Value::as_object) {
            error.generic = details.is_empty();
            let mut details = details.clone();
            if let Some(Value::Array(causes)) = details.remove("causes") {
                error.foreign_causes = causes;
            }
            *error.details = details;
        }
        error
    }

    /// Whether the object was not there.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether a write lost against another one.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether a create found the name taken.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_round_trip() {
        let error = ApiError::invalid(
            "apps",
            "Deployment",
            "web",
            vec![
                Cause::required("spec.selector", ""),
                Cause::invalid("spec.replicas", &json!(-1), "must be greater than or equal to 0"),
            ],
        );
        assert_eq!(error.code, 422);
        assert_eq!(
            error.message,
            "Deployment.apps \"web\" is invalid: [spec.selector: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
        );
        let body = error.to_status().to_string();
        let back = ApiError::from_response(422, body.as_bytes());
        assert_eq!(back.to_status(), error.to_status());
    }

    #[test]
    fn plain_text_keeps_its_code() {
        let error = ApiError::from_response(503, b"upstream down\n");
        assert_eq!((error.reason, error.code), (Reason::ServiceUnavailable, 503));
        assert_eq!(error.message, "upstream down");
    }
}
