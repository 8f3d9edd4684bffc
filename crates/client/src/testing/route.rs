//! Request paths of the in-memory server.
//!
//! Not here: what a request does.

use api::selector::{FieldSelector, LabelSelector};
use api::{ApiError, Resource};

use super::objects::Stored;
use crate::options::ListOptions;

/// A request's path and query, taken apart.
pub(super) struct Route {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
    pub sub: String,
    pub watch: bool,
    pub initial_events: bool,
    pub revision: u64,
    pub limit: usize,
    pub skip: usize,
    pub selection: Selection,
}

/// Label and field selector of a request.
#[derive(Clone, Default)]
pub(super) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    pub fn parse(labels: &str, fields: &str) -> Result<Self, ApiError> {
        let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(e.to_string());
        Ok(Self {
            labels: LabelSelector::parse(labels).map_err(|e| bad(&e))?,
            fields: FieldSelector::parse(fields).map_err(|e| bad(&e))?,
        })
    }

    pub fn of(options: &ListOptions) -> Result<Self, ApiError> {
        Self::parse(&options.label_selector, &options.field_selector)
    }

    pub fn matches(&self, stored: &Stored) -> bool {
        self.labels.matches(&stored.entry.card) && self.fields.matches(&stored.entry.card)
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex: String = bytes.by_ref().take(2).map(char::from).collect();
            out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
        } else {
            out.push(b);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Route {
    pub fn parse(path: &str) -> Result<Self, ApiError> {
        let unknown = || {
            ApiError::new(api::Reason::NotFound, "the server could not find the requested resource")
        };
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.trim_matches('/').split('/').map(decode);
        let mut next = || parts.next().unwrap_or_default();
        let (group, version) = match next().as_str() {
            "api" => (String::new(), next()),
            "apis" => (next(), next()),
            _ => return Err(unknown()),
        };
        let (mut plural, mut namespace, mut name, mut sub) =
            (next(), String::new(), next(), next());
        if plural == "namespaces" && !sub.is_empty() && sub != "status" && sub != "finalize" {
            namespace = name;
            plural = sub;
            name = next();
            sub = next();
        }
        let kind = api::kinds::find(&group, &version, &plural).ok_or_else(unknown)?;
        let mut route = Self {
            resource: kind.resource(),
            namespace,
            name,
            sub,
            watch: false,
            initial_events: false,
            revision: 0,
            limit: usize::MAX,
            skip: 0,
            selection: Selection::default(),
        };
        let (mut labels, mut fields) = (String::new(), String::new());
        for (key, value) in query.split('&').filter_map(|p| p.split_once('=')) {
            let value = decode(value);
            match key {
                "watch" => route.watch = value == "true",
                "sendInitialEvents" => route.initial_events = value == "true",
                "resourceVersion" => route.revision = value.parse().unwrap_or(0),
                "limit" => route.limit = value.parse().unwrap_or(usize::MAX),
                "continue" => route.skip = value.parse().unwrap_or(0),
                "labelSelector" => labels = value,
                "fieldSelector" => fields = value,
                _ => {}
            }
        }
        route.selection = Selection::parse(&labels, &fields)?;
        Ok(route)
    }
}
