//! TaintNodesByCondition: a new node takes no pods before it says that it is ready.

use api::{ApiError, Resource, Value, resource};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::lookup::{done, is, list_mut};
use crate::gate::{Admission, Operation, Write};

/// The plugin.
pub struct TaintNodesByCondition;

impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && subresource.is_empty() && is(resource, &resource::NODES)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        const KEY: &str = "node.kubernetes.io/not-ready";
        if let Some(node) = &mut write.object {
            let taints = list_mut(node.map_mut("spec"), "taints");
            let same = |t: &Value| {
                t.get("key").is_some_and(|k| k == KEY)
                    && t.get("effect").is_some_and(|e| e == "NoSchedule")
            };
            if !taints.iter().any(same) {
                taints.push(json!({"key": KEY, "effect": "NoSchedule"}));
            }
        }
        done(Ok(()))
    }
}
