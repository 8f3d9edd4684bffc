//! `scale`: writes the `scale` subresource. Not here: who makes the pods.

use api::Value;
use client::Patch;
use serde_json::json;

use crate::args::Scale;
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{shown, targets};
use crate::text::print;
use crate::{Error, Result};

/// Runs the command.
pub async fn run(context: &Context, args: Scale) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    for target in targets(&args.what, &discovery)? {
        let Some(name) = &target.name else {
            return Err(Error::usage("a name is required, as in deployment/web"));
        };
        let resource = &target.resource;
        let mut patch = json!({"spec": {"replicas": args.replicas}});
        if let Some(expected) = args.current_replicas {
            let scale: Value =
                context.client.get_sub(resource, &context.namespace, name, "scale").await?;
            let now = scale["spec"]["replicas"].as_i64().unwrap_or(0);
            if now != expected {
                return Err(Error::usage(format!("Expected replicas to be {expected}, was {now}")));
            }
            patch["metadata"] = json!({"resourceVersion": scale["metadata"]["resourceVersion"]});
        }
        context
            .client
            .patch::<Value>(resource, &context.namespace, name, Some("scale"), Patch::Merge, &patch)
            .await?;
        print(&format!("{} scaled\n", shown(resource, name)));
    }
    Ok(())
}
