//! `drain`: a node without pods, as far as their owners and budgets let them go.
//!
//! Not here: evicting (the server), cordoning (`change`).

use std::time::Duration;

use api::resource::PODS;
use api::{Object, Value};
use client::ListOptions;
use serde_json::json;

use crate::args::Drain;
use crate::change::cordon;
use crate::context::Context;
use crate::text::{duration, print};
use crate::{Error, Result};

/// Between tries of an eviction that a budget forbids.
const AGAIN: Duration = Duration::from_secs(5);
/// Between looks at a pod that ends.
const LOOK: Duration = Duration::from_millis(500);

/// What becomes of a pod.
#[derive(Debug, PartialEq)]
enum Fate {
    Evict,
    /// Stays: its node takes it along.
    Keep,
    /// Has to be allowed by this flag.
    Refuse(&'static str),
}

fn fate(pod: &Object, args: &Drain) -> Fate {
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return Fate::Keep;
    }
    let ended = matches!(pod.text("status.phase"), Some("Succeeded" | "Failed"));
    let controller = pod
        .owner_references()
        .find(|r| r.get("controller") == Some(&Value::Bool(true)))
        .and_then(|r| r.get("kind")?.as_str());
    let volumes = pod.at("spec.volumes").and_then(Value::as_array);
    let local = volumes.into_iter().flatten().any(|v| v.get("emptyDir").is_some());
    match controller {
        Some("DaemonSet") if args.ignore_daemonsets => Fate::Keep,
        Some("DaemonSet") => {
            Fate::Refuse("DaemonSet-managed Pods (use --ignore-daemonsets to ignore)")
        }
        _ if ended => Fate::Evict,
        None if !args.force => {
            Fate::Refuse("Pods that declare no controller (use --force to override)")
        }
        _ if local && !args.delete_emptydir_data => {
            Fate::Refuse("Pods with local storage (use --delete-emptydir-data to override)")
        }
        _ => Fate::Evict,
    }
}

/// Runs the command.
pub async fn run(context: &Context, args: Drain) -> Result<()> {
    cordon(context, std::slice::from_ref(&args.node), true).await?;
    let node = args.node.rsplit('/').next().unwrap_or(&args.node);
    let options = ListOptions {
        label_selector: args.pod_selector.clone(),
        ..ListOptions::fields(format!("spec.nodeName={node}"))
    };
    let pods = context.client.list::<Object>(&PODS, "", &options).await?.items;
    let mut refused = Vec::new();
    for pod in &pods {
        if let Fate::Refuse(why) = fate(pod, &args) {
            refused.push(format!("cannot delete {why}: {}/{}", pod.namespace(), pod.name()));
        }
    }
    if !refused.is_empty() {
        return Err(Error::usage(format!(
            "unable to drain node \"{node}\": {}",
            refused.join(", ")
        )));
    }
    let limit = duration(&args.timeout)?;
    let all = async {
        for pod in pods.iter().filter(|p| fate(p, &args) == Fate::Evict) {
            evict(context, pod, args.grace_period).await?;
        }
        for pod in pods.iter().filter(|p| fate(p, &args) == Fate::Evict) {
            gone(context, pod).await?;
            print(&format!("pod/{} evicted\n", pod.name()));
        }
        Ok::<(), Error>(())
    };
    if limit.is_zero() {
        all.await?;
    } else {
        tokio::time::timeout(limit, all).await.map_err(|_| {
            Error::usage(format!("drain did not complete within {}", args.timeout))
        })??;
    }
    print(&format!("node/{node} drained\n"));
    Ok(())
}

async fn evict(context: &Context, pod: &Object, grace: i64) -> Result<()> {
    print(&format!("evicting pod {}/{}\n", pod.namespace(), pod.name()));
    // The pod's own grace period unless told otherwise.
    let grace = (grace >= 0).then_some(grace);
    let body = json!({
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": pod.name(), "namespace": pod.namespace()},
        "deleteOptions": {"gracePeriodSeconds": grace},
    });
    loop {
        let (namespace, name) = (pod.namespace(), pod.name());
        match context.client.create_sub::<Value>(&PODS, namespace, name, "eviction", &body).await {
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            // A budget says not now.
            Err(error) if error.api().is_some_and(|e| e.reason.as_str() == "TooManyRequests") => {
                eprintln!(
                    "error when evicting pods/\"{}\" -n \"{}\" (will retry after 5s): {error}",
                    pod.name(),
                    pod.namespace()
                );
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn gone(context: &Context, pod: &Object) -> Result<()> {
    loop {
        match context.client.get::<Object>(&PODS, pod.namespace(), pod.name()).await {
            Ok(live) if live.uid() == pod.uid() => tokio::time::sleep(LOOK).await,
            Ok(_) => return Ok(()),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates() {
        let plain = Drain { node: "n".into(), ..Drain::default() };
        let bold = Drain {
            force: true,
            ignore_daemonsets: true,
            delete_emptydir_data: true,
            ..Drain::default()
        };
        let owned = |kind: &str| json!({"metadata": {"ownerReferences": [{"controller": true, "kind": kind}]}});
        let mut scratch = owned("ReplicaSet");
        scratch["spec"] = json!({"volumes": [{"name": "s", "emptyDir": {}}]});
        let cases = [
            (json!({"metadata": {}}), false, Fate::Evict),
            (json!({"metadata": {}, "status": {"phase": "Failed"}}), true, Fate::Evict),
            (owned("ReplicaSet"), true, Fate::Evict),
            (owned("DaemonSet"), false, Fate::Keep),
            (scratch, false, Fate::Evict),
        ];
        for (pod, plainly, boldly) in cases {
            let pod = Object::from_value(pod).expect("a map");
            assert_eq!(fate(&pod, &plain) == Fate::Evict, plainly);
            assert_eq!(fate(&pod, &bold), boldly);
        }
    }
}
