//! PersistentVolumeClaimResize: a claim grows only if it is bound and its class lets it.

use api::quantity::Quantity;
use api::{ApiError, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, forbidden, is};
use crate::gate::{Admission, Operation, Write};

/// The plugin.
pub struct PersistentVolumeClaimResize(pub Lookup);

impl PersistentVolumeClaimResize {
    fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let (Some(new), Some(old)) = (&write.object, write.old) else { return Ok(()) };
        let size = |o: &Object| Quantity::parse(o.text("spec.resources.requests.storage")?).ok();
        match (size(new), size(old)) {
            (Some(new), Some(old)) if new > old => {}
            _ => return Ok(()),
        }
        if old.text("status.phase") != Some("Bound") {
            return Err(forbidden(write, "Only bound persistent volume claims can be expanded"));
        }
        let class = old
            .annotation("volume.beta.kubernetes.io/storage-class")
            .or_else(|| old.text("spec.storageClassName"))
            .filter(|class| !class.is_empty());
        let class = class.and_then(|c| self.0.object(&resource::STORAGE_CLASSES, "", c));
        if class.is_some_and(|c| c.at("allowVolumeExpansion") == Some(&Value::Bool(true))) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
        Err(forbidden(write, why))
    }
}

impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Update
            && subresource.is_empty()
            && is(resource, &resource::PERSISTENT_VOLUME_CLAIMS)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write))
    }
}
