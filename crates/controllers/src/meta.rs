//! The parts of `metadata` that controllers read, as a lean projection.
//!
//! Not here: specs and statuses.

use std::collections::BTreeMap;

use api::{Resource, Value};
use client::ObjectRef;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// What controllers read of `metadata`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: String,
    pub deletion_timestamp: Option<String>,
    pub labels: Pairs,
    pub annotations: Pairs,
    pub owner_references: Vec<OwnerRef>,
    pub finalizers: Vec<String>,
}

/// One of `ownerReferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl Meta {
    /// The owner with `controller: true`.
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|o| o.controller == Some(true))
    }

    /// Whether that owner is the one with this uid.
    pub fn controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|o| o.uid == uid)
    }

    pub fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// A reference for events.
    pub fn reference(&self, resource: &Resource) -> ObjectRef {
        ObjectRef {
            kind: resource.kind.to_string(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            api_version: resource.api_version(),
            resource_version: self.resource_version.clone(),
            field_path: String::new(),
        }
    }

    /// The owner reference that makes this object somebody's controller.
    pub fn as_controller(&self, resource: &Resource) -> Value {
        json!({
            "apiVersion": resource.api_version(), "kind": resource.kind,
            "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        })
    }
}

/// A number for a status patch: upstream leaves zeros out, so a zero removes the field.
pub fn count(n: i64) -> Value {
    if n == 0 { Value::Null } else { n.into() }
}

/// What a merge patch has to hold to make `old` into `new`, at the top level of a status: only fields
/// that differ. `None` where nothing does.
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    let mut patch = api::Map::new();
    for (key, value) in new.as_object()? {
        if old.get(key).unwrap_or(&Value::Null) != value {
            patch.insert(key.clone(), value.clone());
        }
    }
    (!patch.is_empty()).then(|| patch.into())
}
