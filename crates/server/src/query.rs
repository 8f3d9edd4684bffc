//! Query parameters: options of reads and writes, read and checked as upstream reads and checks them.
//!
//! Not here: what the options do.

use api::{ApiError, Cause, CauseReason, Object, Reason, Value};
use serde_json::json;

use crate::request::{pairs, truthy};

/// A decoded query.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a raw query.
    pub fn parse(query: &str) -> Self {
        Self(pairs(query).collect())
    }

    /// The first value of a parameter, empty where there is none.
    pub fn get(&self, key: &str) -> &str {
        self.0.iter().find(|(k, _)| k == key).map_or("", |(_, v)| v)
    }

    /// Whether the parameter is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> bool {
        self.has(key) && truthy(self.get(key))
    }

    /// An integer; empty counts as absent.
    pub fn int(&self, key: &str) -> Result<Option<i64>, ApiError> {
        match self.get(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// `ListOptions`.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// As the client wrote it.
    pub label_selector: String,
    /// The same.
    pub field_selector: String,
    /// Whether it is a watch.
    pub watch: bool,
    /// `allowWatchBookmarks`.
    pub bookmarks: bool,
    /// As the client wrote it.
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub version_match: String,
    /// The watch ends after it.
    pub timeout: Option<i64>,
    /// Page size; 0 is none.
    pub limit: i64,
    /// Token of the page before.
    pub continue_token: String,
    /// `sendInitialEvents`.
    pub initial_events: Option<bool>,
}

fn invalid_options(kind: &str, causes: Vec<Cause>) -> ApiError {
    ApiError::invalid("meta.k8s.io", kind, "", causes)
}

impl ReadOptions {
    /// Reads and checks the options of a list or watch.
    pub fn read(params: &Params, watch: bool) -> Result<Self, ApiError> {
        let options = Self {
            label_selector: params.get("labelSelector").to_owned(),
            field_selector: params.get("fieldSelector").to_owned(),
            watch,
            bookmarks: params.flag("allowWatchBookmarks"),
            resource_version: params.get("resourceVersion").to_owned(),
            version_match: params.get("resourceVersionMatch").to_owned(),
            timeout: params.int("timeoutSeconds")?,
            limit: params.int("limit")?.unwrap_or(0),
            continue_token: params.get("continue").to_owned(),
            initial_events: (!params.get("sendInitialEvents").is_empty())
                .then(|| params.flag("sendInitialEvents")),
        };
        let causes = options.faults();
        if causes.is_empty() { Ok(options) } else { Err(invalid_options("ListOptions", causes)) }
    }

    fn faults(&self) -> Vec<Cause> {
        if self.watch { self.watch_faults() } else { self.list_faults() }
    }

    fn watch_faults(&self) -> Vec<Cause> {
        const FIELD: &str = "resourceVersionMatch";
        let mut causes = Vec::new();
        let requires = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        match (self.initial_events.is_some(), self.version_match.as_str()) {
            (true, "NotOlderThan") => {}
            (true, "") => causes.push(Cause::forbidden(FIELD, requires)),
            (true, other) => {
                causes.push(Cause::forbidden(FIELD, requires));
                causes.push(Cause::not_supported(FIELD, &other.into(), &["NotOlderThan"]));
            }
            (false, "") => {}
            (false, _) => causes.push(Cause::forbidden(
                FIELD,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            )),
        }
        causes
    }

    fn list_faults(&self) -> Vec<Cause> {
        const FIELD: &str = "resourceVersionMatch";
        if self.initial_events.is_some() {
            return vec![Cause::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            )];
        }
        let mut causes = Vec::new();
        let matching = self.version_match.as_str();
        if matching.is_empty() {
            return causes;
        }
        if self.resource_version.is_empty() {
            causes.push(Cause::forbidden(
                FIELD,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if !self.continue_token.is_empty() {
            causes.push(Cause::forbidden(
                FIELD,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            let allowed = ["Exact", "NotOlderThan", ""];
            causes.push(unsorted_unsupported(FIELD, &matching.into(), &allowed));
        }
        if matching == "Exact" && self.resource_version == "0" {
            causes.push(Cause::forbidden(
                FIELD,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        causes
    }

    /// The revision asked for; `None` where none is.
    pub fn revision(&self) -> Result<Option<u64>, ApiError> {
        parse_revision(&self.resource_version)
    }
}

/// A resource version of a read.
pub fn parse_revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        ApiError::new(
            Reason::Unknown,
            format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ),
        )
    })
}

/// `Unsupported value` with the allowed ones in upstream's order, which is not always sorted.
fn unsorted_unsupported(field: &str, value: &Value, allowed: &[&str]) -> Cause {
    let allowed: Vec<String> = allowed.iter().map(|v| format!("{v:?}")).collect();
    let message = format!(
        "Unsupported value: {}: supported values: {}",
        api::status::print_value(value),
        allowed.join(", ")
    );
    Cause::new(CauseReason::NotSupported, field, message)
}

/// What to do about unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// `CreateOptions`, `UpdateOptions`, `PatchOptions`.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// Nothing is written.
    pub dry_run: bool,
    /// As the client named itself; empty: the user agent counts.
    pub manager: String,
    /// Unknown and duplicate fields.
    pub validation: FieldValidation,
    /// Apply takes over conflicting fields.
    pub force: bool,
    /// The options as admission sees them.
    pub object: Object,
}

impl WriteOptions {
    /// Reads and checks the options of a write. `kind` is the options' kind; `apply`: whether it is
    /// an apply patch.
    pub fn read(params: &Params, kind: &str, apply: bool) -> Result<Self, ApiError> {
        let mut causes = Vec::new();
        let dry_run: Vec<&str> = params.all("dryRun").filter(|v| !v.is_empty()).collect();
        if let Some(cause) = dry_run_fault(&dry_run) {
            causes.push(cause);
        }
        let force = params.flag("force");
        let manager = params.get("fieldManager");
        if kind == "PatchOptions" {
            if apply && manager.is_empty() {
                causes.push(Cause::required("fieldManager", "is required for apply patch"));
            }
            if !apply && params.has("force") && !params.get("force").is_empty() {
                causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
            }
        }
        if manager.len() > 128 {
            causes.push(Cause::too_long("fieldManager", 128));
        }
        if manager.chars().any(char::is_control) {
            causes.push(Cause::invalid(
                "fieldManager",
                &manager.into(),
                "should only contain printable characters",
            ));
        }
        let validation = match params.get("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let allowed = ["", "Ignore", "Strict", "Warn"];
                causes.push(Cause::not_supported("fieldValidation", &other.into(), &allowed));
                FieldValidation::Warn
            }
        };
        if !causes.is_empty() {
            return Err(invalid_options(kind, causes));
        }
        let mut object = Object::default();
        object.set_type("meta.k8s.io/v1", kind);
        if !dry_run.is_empty() {
            object.0.insert("dryRun".into(), json!(dry_run));
        }
        if !manager.is_empty() {
            object.0.insert("fieldManager".into(), manager.into());
        }
        if !params.get("fieldValidation").is_empty() {
            object.0.insert("fieldValidation".into(), params.get("fieldValidation").into());
        }
        if force {
            object.0.insert("force".into(), true.into());
        }
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            manager: manager.to_owned(),
            validation,
            force,
            object,
        })
    }
}

/// What is wrong with a `dryRun` list.
pub fn dry_run_fault(values: &[&str]) -> Option<Cause> {
    values
        .iter()
        .any(|v| *v != "All")
        .then(|| Cause::not_supported("dryRun", &json!(values), &["All"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watch_list_needs_its_match() {
        let read = |q: &str| ReadOptions::read(&Params::parse(q), true).map_err(|e| e.message);
        assert!(read("sendInitialEvents=true&resourceVersionMatch=NotOlderThan").is_ok());
        assert!(read("sendInitialEvents=true").is_err_and(|m| m.contains("requires setting")));
        assert!(read("limit=x").is_err_and(|m| m.contains("strconv.ParseInt")));
    }
}
