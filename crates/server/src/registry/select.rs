//! Which objects a read is about: namespace, label selector, field selector.
//!
//! Index cards hold what objects say in their stored version. The fields of a custom resource in another
//! version, or on a card from before its definition made them selectable, are read off the object. Not
//! here: parsing selectors (`api::selector`).

use std::borrow::Cow;

use api::kinds::Kind;
use api::selector::{FieldSelector, LabelSelector};
use api::{ApiError, Card, Entry};
use store::{Interest, Snapshot};

use crate::custom::convert;
use crate::server::{Server, Target};

/// A read's selection.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Empty: all.
    pub namespace: String,
    /// Empty: any; else the one name.
    pub name: String,
    labels: LabelSelector,
    fields: FieldSelector,
    /// Fields of a custom resource, which its index card may not hold.
    beyond: FieldSelector,
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
            beyond: FieldSelector::default(),
            cluster_scoped: !kind.namespaced,
        })
    }

    /// Parses the selectors of a request about the objects of a target.
    pub fn of(target: &Target, labels: &str, fields: &str) -> Result<Self, ApiError> {
        let mut selection = Self::parse(target.kind, &target.namespace, labels, fields)?;
        if target.custom.is_some() {
            let of_meta = |(path, ..): &(String, String, bool)| path.starts_with("metadata.");
            let (meta, beyond) = selection.fields.0.into_iter().partition(of_meta);
            (selection.fields, selection.beyond) = (FieldSelector(meta), FieldSelector(beyond));
        }
        Ok(selection)
    }

    /// The target with what has to be converted before [`Self::shows`] can tell.
    pub async fn ready<'t>(
        &self,
        server: &Server,
        target: &'t Target,
        snapshot: &Snapshot,
    ) -> Result<Cow<'t, Target>, ApiError> {
        if self.beyond.0.is_empty() || !convert::is_needed(target) {
            return Ok(Cow::Borrowed(target));
        }
        let fit = snapshot.iter().filter(|e| self.matches(&e.card));
        convert::for_reading(server, target, &fit.cloned().collect::<Vec<_>>()).await
    }

    /// Whether index cards alone tell what is selected.
    pub fn is_indexed(&self) -> bool {
        self.beyond.0.is_empty()
    }

    /// Whether labels or fields are selected by.
    pub fn is_filtered(&self) -> bool {
        !self.labels.0.is_empty() || !self.fields.0.is_empty() || !self.beyond.0.is_empty()
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

    /// Whether an object of a target is selected.
    pub fn shows(&self, target: &Target, entry: &Entry) -> bool {
        if !self.matches(&entry.card) {
            return false;
        }
        if self.beyond.0.is_empty() {
            return true;
        }
        if target.as_stored() && target.custom.as_ref().is_some_and(|c| c.is_indexed(entry)) {
            return self.beyond.matches(&entry.card);
        }
        match target.object(entry) {
            Ok(object) => self.beyond.matches(&target.kind.card(&object)),
            Err(error) => {
                tracing::error!(%error, name = %entry.card.name, "a stored object cannot be read");
                false
            }
        }
    }

    /// Whether an object is selected by its labels and fields, as far as the card says.
    pub fn matches(&self, card: &Card) -> bool {
        (self.labels.0.is_empty() || self.labels.matches(card))
            && (self.fields.0.is_empty() || self.fields.matches(card))
    }

    /// The same, with the namespace.
    pub fn covers(&self, card: &Card) -> bool {
        (self.namespace.is_empty() || *card.namespace == *self.namespace) && self.matches(card)
    }
}
