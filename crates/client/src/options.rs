//! Options of list, watch, delete and patch requests, and the queries and bodies they make.
//!
//! Not here: what the server does with them.

use api::percent;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a list or watch selects, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOptions {
    /// Restricts to one namespace; empty for all. A namespace given to the request itself wins.
    pub namespace: String,
    /// As in `app=web,tier!=db`.
    pub label_selector: String,
    /// As in `spec.nodeName=a`.
    pub field_selector: String,
    /// Page size of a list.
    pub limit: Option<u32>,
    /// Token of the previous page.
    pub continue_token: String,
    /// Empty: the most recent; `0`: anything at hand.
    pub resource_version: String,
    /// `Exact` or `NotOlderThan`; empty: the default.
    pub resource_version_match: String,
    /// The server ends a watch after this time.
    pub timeout_seconds: Option<u32>,
    /// Ask for bookmarks (watch).
    pub bookmarks: bool,
    /// Ask a watch for the existing objects first, then a bookmark (streaming list).
    pub send_initial_events: bool,
}

impl ListOptions {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// Objects with these labels.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { label_selector: selector.into(), ..Self::default() }
    }

    /// Objects with these field values.
    pub fn fields(selector: impl Into<String>) -> Self {
        Self { field_selector: selector.into(), ..Self::default() }
    }

    /// The same within a namespace.
    #[must_use]
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The URL query, without `?`; `watch` adds what makes it a watch.
    pub fn query(&self, watch: bool) -> String {
        let mut query = Query::default();
        if watch {
            query.add("watch", "true");
        }
        query.add("labelSelector", &self.label_selector);
        query.add("fieldSelector", &self.field_selector);
        query.add("continue", &self.continue_token);
        query.add("resourceVersion", &self.resource_version);
        query.add("resourceVersionMatch", &self.resource_version_match);
        if let Some(limit) = self.limit {
            query.add("limit", &limit.to_string());
        }
        if let Some(seconds) = self.timeout_seconds {
            query.add("timeoutSeconds", &seconds.to_string());
        }
        if self.bookmarks {
            query.add("allowWatchBookmarks", "true");
        }
        if self.send_initial_events {
            query.add("sendInitialEvents", "true");
        }
        query.0
    }
}

/// A URL query under construction; empty values are left out.
#[derive(Clone, Debug, Default)]
pub struct Query(pub String);

impl Query {
    /// Adds `key=value`, percent-encoded, unless the value is empty.
    pub fn add(&mut self, key: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        if !self.0.is_empty() {
            self.0.push('&');
        }
        self.0.push_str(key);
        self.0.push('=');
        percent::push(&mut self.0, value, percent::SEGMENT);
    }

    /// Appends the query to a path.
    pub fn onto(&self, path: &str) -> String {
        if self.0.is_empty() { path.to_owned() } else { format!("{path}?{}", self.0) }
    }
}

/// What becomes of an object's dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// What the object must still be for the delete to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// `metadata.uid`.
    pub uid: Option<String>,
    /// `metadata.resourceVersion`.
    pub resource_version: Option<String>,
}

/// Options of a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Overrides the object's grace period.
    pub grace_period_seconds: Option<i64>,
    /// Overrides the kind's default propagation.
    pub propagation: Option<Propagation>,
    /// Checked before deleting.
    pub precondition: Precondition,
    /// Ask for everything but the write.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// The kind's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the object with this uid.
    pub fn uid(uid: impl Into<String>) -> Self {
        Self {
            precondition: Precondition { uid: Some(uid.into()), resource_version: None },
            ..Self::default()
        }
    }

    /// With this grace period.
    #[must_use]
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }

    /// With this propagation.
    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> Self {
        self.propagation = Some(propagation);
        self
    }

    /// The request body.
    pub fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("kind".into(), "DeleteOptions".into());
        body.insert("apiVersion".into(), "v1".into());
        if let Some(seconds) = self.grace_period_seconds {
            body.insert("gracePeriodSeconds".into(), seconds.into());
        }
        if let Some(propagation) = self.propagation {
            body.insert("propagationPolicy".into(), format!("{propagation:?}").into());
        }
        let Precondition { uid, resource_version } = &self.precondition;
        if uid.is_some() || resource_version.is_some() {
            let mut preconditions = Map::new();
            if let Some(uid) = uid {
                preconditions.insert("uid".into(), uid.clone().into());
            }
            if let Some(version) = resource_version {
                preconditions.insert("resourceVersion".into(), version.clone().into());
            }
            body.insert("preconditions".into(), preconditions.into());
        }
        if self.dry_run {
            body.insert("dryRun".into(), json!(["All"]));
        }
        body.into()
    }
}

/// The kinds of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch<'a> {
    /// RFC 6902.
    Json,
    /// RFC 7396.
    Merge,
    /// Strategic merge: lists merge by key.
    Strategic,
    /// Server-side apply.
    Apply {
        /// The field manager.
        manager: &'a str,
        /// Take fields from other managers.
        force: bool,
    },
}

impl Patch<'_> {
    /// The request's content type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    /// What it adds to the query.
    pub fn query(&self) -> Query {
        let mut query = Query::default();
        if let Self::Apply { manager, force } = self {
            query.add("fieldManager", manager);
            query.add("force", if *force { "true" } else { "" });
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_encoded() {
        let options = ListOptions {
            label_selector: "a in (b,c)".into(),
            bookmarks: true,
            resource_version: "12".into(),
            ..ListOptions::default()
        };
        assert_eq!(
            options.query(true),
            "watch=true&labelSelector=a%20in%20%28b%2Cc%29&resourceVersion=12&allowWatchBookmarks=true"
        );
    }

    #[test]
    fn delete_bodies() {
        let body = DeleteOptions::uid("u").grace(0).propagation(Propagation::Orphan).body();
        assert_eq!(
            body,
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0,
                   "propagationPolicy": "Orphan", "preconditions": {"uid": "u"}})
        );
    }
}
