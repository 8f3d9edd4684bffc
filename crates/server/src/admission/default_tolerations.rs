//! DefaultTolerationSeconds: pods stay for five minutes on a node that fails, unless they say.

use api::{ApiError, Resource};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::lookup::{done, is_pod, list_mut, maps, text};
use crate::gate::{Admission, Operation, Write};

/// The plugin.
pub struct DefaultTolerationSeconds;

impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update) && is_pod(resource, subresource)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let Some(pod) = &mut write.object else { return done(Ok(())) };
        let spec = pod.map_mut("spec");
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let said = maps(spec.get("tolerations")).any(|t| {
                let (k, effect) = (text(t, "key"), text(t, "effect"));
                (k == key || k.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            });
            if !said {
                list_mut(spec, "tolerations").push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
                }));
            }
        }
        done(Ok(()))
    }
}
