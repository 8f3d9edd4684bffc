//! Conditions in statuses: which changes count, and how their times move.
//!
//! Not here: which conditions a kind has.

use serde::{Deserialize, Serialize};

/// A condition. Kinds differ in which of the times they have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What else a kind's conditions hold: lists of conditions are written back whole.
    #[serde(flatten)]
    pub other: api::Map<String, api::Value>,
}

impl Condition {
    /// A condition as of now.
    pub fn new(
        kind: &str,
        status: bool,
        reason: &str,
        message: impl Into<String>,
        now: &str,
    ) -> Self {
        Self {
            kind: kind.into(),
            status: if status { "True" } else { "False" }.into(),
            last_transition_time: Some(now.into()),
            reason: reason.into(),
            message: message.into(),
            ..Self::default()
        }
    }

    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The condition of a type.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.kind == kind)
}

/// Puts a condition in place of the one of its type, at the end. One of the same status and reason
/// stays as it is; one of the same status keeps its transition time.
pub fn set(conditions: &mut Vec<Condition>, mut new: Condition) {
    if let Some(old) = find(conditions, &new.kind) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    remove(conditions, &new.kind);
    conditions.push(new);
}

/// Drops the condition of a type.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.kind != kind);
}
