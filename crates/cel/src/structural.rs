//! The schemas of custom resources, as expressions see them.
//!
//! Not here: what else they say (`api::crd`).

use api::crd::Structural;
use api::crd::structural::{Additional, ListType as Of};
use serde_json::Value as Json;

use crate::schema::{ListType, Schema};

impl Schema for Structural {
    fn kind(&self) -> &str {
        self.ty.name()
    }

    fn format(&self) -> &str {
        Structural::format(self)
    }

    fn int_or_string(&self) -> bool {
        self.int_or_string
    }

    fn embedded_resource(&self) -> bool {
        self.embedded
    }

    fn list_type(&self) -> ListType {
        match self.list_type {
            Of::Atomic => ListType::Atomic,
            Of::Set => ListType::Set,
            Of::Map => ListType::Map,
        }
    }

    fn list_map_keys(&self) -> Vec<&str> {
        self.list_keys.iter().map(String::as_str).collect()
    }

    fn items(&self) -> Option<&dyn Schema> {
        self.items.as_deref().map(|item| item as &dyn Schema)
    }

    fn additional_properties(&self) -> Option<&dyn Schema> {
        match &self.additional {
            Some(Additional::Schema(each)) => Some(&**each),
            _ => None,
        }
    }

    fn properties(&self) -> Vec<(&str, &dyn Schema)> {
        self.properties.iter().map(|(name, node)| (name.as_str(), node as &dyn Schema)).collect()
    }

    fn required(&self) -> Vec<&str> {
        Structural::required(self).iter().map(String::as_str).collect()
    }

    fn has_default(&self) -> bool {
        self.default.is_some()
    }

    fn allowed(&self) -> &[Json] {
        self.enumeration()
    }

    fn max_length(&self) -> Option<i64> {
        self.checks.as_ref()?.max_length
    }

    fn max_items(&self) -> Option<i64> {
        self.checks.as_ref()?.max_items
    }

    fn max_properties(&self) -> Option<i64> {
        self.checks.as_ref()?.max_properties
    }
}
