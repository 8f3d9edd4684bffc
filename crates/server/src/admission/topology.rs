//! PodTopologyLabels: a pod learns its zone and region from its node when it is bound.

use api::{ApiError, Resource, Value, resource};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::lookup::{Lookup, done, is};
use crate::gate::{Admission, Operation, Write};

/// The labels that pods take over from their node.
const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// The plugin.
pub struct PodTopologyLabels(pub Lookup);

impl Admission for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let pod = is(resource, &resource::PODS) && matches!(subresource, "" | "binding");
        operation == Operation::Create && (pod || &*resource.plural == "bindings")
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let pod = write.subresource.is_empty() && is(write.resource, &resource::PODS);
        let Some(object) = &mut write.object else { return done(Ok(())) };
        let path = if pod { "spec.nodeName" } else { "target.name" };
        let Some(node) = object.text(path).filter(|n| !n.is_empty()) else { return done(Ok(())) };
        let Some(node) = self.0.entry(&resource::NODES, "", node) else { return done(Ok(())) };
        for label in LABELS {
            let Some(value) = node.card.label(label) else { continue };
            let labels = object.meta_mut().entry("labels").or_insert_with(|| json!({}));
            if let Value::Object(labels) = labels {
                labels.insert(label.to_owned(), value.into());
            }
        }
        done(Ok(()))
    }
}
