//! Custom resources as admission needs them: their served versions and schemas, out of definitions.
//!
//! Not here: serving them (`crate::custom`).

use api::{Object, Resource, Value};

use super::lookup::{Lookup, maps, text};

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);

/// A definition.
pub struct Definition(Object);

impl Definition {
    /// Of a resource.
    pub fn of_resource(look: &Lookup, resource: &Resource) -> Option<Self> {
        // Only groups with a dot have definitions.
        if !resource.group.contains('.') {
            return None;
        }
        look.object(&DEFINITIONS, "", &resource.qualified()).map(Self)
    }

    /// Of a kind.
    pub fn of_kind(look: &Lookup, group: &str, kind: &str) -> Option<Self> {
        let suffix = format!(".{group}");
        let entries = look.entries(&DEFINITIONS, None);
        let named = entries.iter().filter(|entry| entry.card.name.ends_with(&suffix));
        named
            .filter_map(|entry| entry.object().ok())
            .find(|d| {
                d.text("spec.group") == Some(group) && d.text("spec.names.kind") == Some(kind)
            })
            .map(Self)
    }

    /// The resource in all its served versions.
    pub fn resources(&self) -> Vec<Resource> {
        let get = |path: &str| self.0.text(path).unwrap_or("").to_owned();
        maps(self.0.at("spec.versions"))
            .filter(|version| version.get("served") == Some(&Value::Bool(true)))
            .map(|version| Resource {
                group: get("spec.group").into(),
                version: text(version, "name").to_owned().into(),
                plural: get("spec.names.plural").into(),
                kind: get("spec.names.kind").into(),
                namespaced: self.0.text("spec.scope") == Some("Namespaced"),
            })
            .collect()
    }

    /// The schema of a version.
    pub fn schema(&self, version: &str) -> Option<Value> {
        maps(self.0.at("spec.versions"))
            .find(|v| text(v, "name") == version)
            .and_then(|v| v.get("schema")?.get("openAPIV3Schema").cloned())
    }

    /// Its webhook, where one converts between its versions.
    pub fn converter(&self) -> Option<Value> {
        let webhook = self.0.at("spec.conversion.webhook").filter(|w| w.is_object());
        webhook.filter(|_| self.0.text("spec.conversion.strategy") == Some("Webhook")).cloned()
    }
}
