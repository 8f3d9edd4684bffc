//! NamespaceLifecycle: nothing is made in a namespace that is not there or is going away, and the
//! namespaces that a cluster lives by are not deleted.

use api::{ApiError, Cause, CauseReason, Resource, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, forbidden, is};
use crate::gate::{Admission, Operation, Write};

/// Never deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The plugin.
pub struct NamespaceLifecycle(pub Lookup);

impl NamespaceLifecycle {
    fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        if is(write.resource, &resource::NAMESPACES) {
            let deletes = write.operation == Operation::Delete && write.subresource.is_empty();
            if deletes && IMMORTAL.contains(&write.name) {
                return Err(forbidden(write, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        // A question about rights changes nothing.
        if write.namespace.is_empty()
            || write.operation == Operation::Delete
            || &*write.resource.plural == "localsubjectaccessreviews"
        {
            return Ok(());
        }
        let Some(namespace) = self.0.entry(&resource::NAMESPACES, "", write.namespace) else {
            return Err(ApiError::not_found("", "namespaces", write.namespace));
        };
        if write.operation != Operation::Create || !namespace.card.deleting {
            return Ok(());
        }
        let why = format!(
            "unable to create new content in namespace {} because it is being terminated",
            write.namespace
        );
        let mut error = forbidden(write, &why);
        error.causes.push(Cause::new(
            CauseReason::Other("NamespaceTerminating"),
            "metadata.namespace",
            format!("namespace {} is being terminated", write.namespace),
        ));
        Err(error)
    }
}

impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, resource: &Resource, _: &str, operation: Operation) -> bool {
        operation != Operation::Connect
            && (resource.namespaced || is(resource, &resource::NAMESPACES))
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write))
    }
}
