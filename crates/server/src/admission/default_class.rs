//! DefaultStorageClass and DefaultIngressClass: who names no class gets the default one.

use api::{ApiError, Resource, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, is};
use crate::gate::{Admission, Operation, Write};

const INGRESSES: Resource = Resource::namespaced("networking.k8s.io", "v1", "ingresses", "Ingress");
const INGRESS_CLASSES: Resource =
    Resource::cluster("networking.k8s.io", "v1", "ingressclasses", "IngressClass");

/// The plugin for claims.
pub struct DefaultStorageClass(pub Lookup);

/// The plugin for ingresses.
pub struct DefaultIngressClass(pub Lookup);

/// Fills in `spec.<field>` where neither it nor the annotation is set.
fn fill(
    write: &mut Write<'_>,
    (field, annotation): (&str, &str),
    class: impl FnOnce() -> Option<String>,
) {
    let Some(object) = &mut write.object else { return };
    if object.annotation(annotation).is_some() || object.map_mut("spec").contains_key(field) {
        return;
    }
    if let Some(class) = class() {
        object.map_mut("spec").insert(field.into(), class.into());
    }
}

impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create
            && subresource.is_empty()
            && is(resource, &resource::PERSISTENT_VOLUME_CLAIMS)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        const MARKS: [&str; 2] = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let field = ("storageClassName", "volume.beta.kubernetes.io/storage-class");
        fill(write, field, || self.0.default_class(&resource::STORAGE_CLASSES, &MARKS));
        done(Ok(()))
    }
}

impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && is(resource, &INGRESSES)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        const MARK: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
        let field = ("ingressClassName", "kubernetes.io/ingress.class");
        fill(write, field, || self.0.default_class(&INGRESS_CLASSES, &MARK));
        done(Ok(()))
    }
}
