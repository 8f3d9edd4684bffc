//! StorageObjectInUseProtection: claims and volumes are not deleted while somebody uses them.

use api::{ApiError, Resource, Value};
use futures_util::future::BoxFuture;

use super::lookup::{done, list_mut};
use crate::gate::{Admission, Operation, Write};

/// Group, resource, finalizer.
const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

fn finalizer(resource: &Resource) -> Option<&'static str> {
    let row = FINALIZERS
        .iter()
        .find(|(group, plural, _)| resource.group == *group && resource.plural == *plural);
    row.map(|(_, _, finalizer)| *finalizer)
}

/// The plugin.
pub struct StorageObjectInUseProtection;

impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && finalizer(resource).is_some()
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        if let (Some(finalizer), Some(object)) = (finalizer(write.resource), &mut write.object) {
            let finalizers = list_mut(object.meta_mut(), "finalizers");
            if !finalizers.iter().any(|f| f == finalizer) {
                finalizers.push(Value::from(finalizer));
            }
        }
        done(Ok(()))
    }
}
