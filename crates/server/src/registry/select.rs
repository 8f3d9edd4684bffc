//! Which objects a read is about: namespace, label selector, field selector.
//!
//! Not here: parsing selectors (`api::selector`).

use api::kinds::Kind;
use api::selector::{FieldSelector, LabelSelector};
use api::{ApiError, Card};
use store::Interest;

/// A read's selection.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Empty: all.
    pub namespace: String,
    /// Empty: any; else the one name.
    pub name: String,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Whether a name alone tells an object.
    cluster_scoped: bool,
}

impl Selection {
    /// Parses the selectors of a request about a kind.
    pub fn parse(
        kind: &Kind,
        namespace: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Self, ApiError> {
        let labels = if labels.is_empty() {
            LabelSelector::default()
        } else {
            LabelSelector::parse(labels).map_err(|e| ApiError::bad_request(e.to_string()))?
        };
        let mut name = String::new();
        let mut selector = FieldSelector::default();
        if !fields.is_empty() {
            let parsed =
                FieldSelector::parse(fields).map_err(|e| ApiError::bad_request(e.to_string()))?;
            for (path, value, equal) in parsed.0 {
                let path = kind.selector_field(&path).map_err(ApiError::bad_request)?;
                if path == "metadata.name" && equal && !value.is_empty() {
                    name.clone_from(&value);
                }
                selector.0.push((path.to_owned(), value, equal));
            }
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            name,
            labels,
            fields: selector,
            cluster_scoped: !kind.namespaced,
        })
    }

    /// Whether labels or fields are selected by.
    pub fn is_filtered(&self) -> bool {
        !self.labels.0.is_empty() || !self.fields.0.is_empty()
    }

    /// The namespace as the store takes it.
    pub fn within(&self) -> Option<&str> {
        (!self.namespace.is_empty()).then_some(self.namespace.as_str())
    }

    /// The smallest part of the resource that holds all it selects, for a watch to be woken by.
    pub fn part(&self) -> Option<Interest> {
        if !self.name.is_empty() && (self.cluster_scoped || !self.namespace.is_empty()) {
            return Some(Interest::Object(
                self.namespace.as_str().into(),
                self.name.as_str().into(),
            ));
        }
        let field = self.fields.0.iter().find(|(path, _, equal)| {
            *equal && path != "metadata.name" && path != "metadata.namespace"
        });
        if let Some((path, value, _)) = field {
            return Some(Interest::Field(path.as_str().into(), value.as_str().into()));
        }
        self.within().map(|namespace| Interest::Namespace(namespace.into()))
    }

    /// Whether an object is selected by its labels and fields.
    pub fn matches(&self, card: &Card) -> bool {
        (self.labels.0.is_empty() || self.labels.matches(card))
            && (self.fields.0.is_empty() || self.fields.matches(card))
    }

    /// The same, with the namespace.
    pub fn covers(&self, card: &Card) -> bool {
        (self.namespace.is_empty() || *card.namespace == *self.namespace) && self.matches(card)
    }
}
