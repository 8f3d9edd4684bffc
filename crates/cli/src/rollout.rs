//! `rollout status` and `rollout restart`. Not here: older revisions (`revisions`), rolling itself
//! (the controllers).

use api::clock::Clock;
use api::{Object, Value};
use client::{ListOptions, Patch};
use serde_json::json;

use crate::args::{Rollout, RolloutAction};
use crate::context::Context;
use crate::discover::Discovery;
use crate::manifest::{Target, shown, targets};
use crate::text::{duration, print};
use crate::{Error, Result, revisions};

/// Runs the command.
pub async fn run(context: &Context, args: Rollout) -> Result<()> {
    let discovery = Discovery::load(&context.client).await?;
    match args.action {
        RolloutAction::History { what } => {
            for target in targets(&what, &discovery)? {
                revisions::history(context, &target).await?;
            }
            Ok(())
        }
        RolloutAction::Undo { what, to_revision } => {
            for target in targets(&what, &discovery)? {
                revisions::undo(context, &target, to_revision).await?;
            }
            Ok(())
        }
        RolloutAction::Pause { what } => {
            for target in targets(&what, &discovery)? {
                revisions::pause(context, &target, true).await?;
            }
            Ok(())
        }
        RolloutAction::Resume { what } => {
            for target in targets(&what, &discovery)? {
                revisions::pause(context, &target, false).await?;
            }
            Ok(())
        }
        RolloutAction::Restart { what } => {
            for target in targets(&what, &discovery)? {
                restart(context, &target).await?;
            }
            Ok(())
        }
        RolloutAction::Status { what, watch, timeout } => {
            let limit = duration(&timeout)?;
            for target in targets(&what, &discovery)? {
                let follow = status(context, &target, watch);
                if limit.is_zero() {
                    follow.await?;
                } else {
                    tokio::time::timeout(limit, follow)
                        .await
                        .map_err(|_| Error::usage("timed out waiting for the condition"))??;
                }
            }
            Ok(())
        }
    }
}

fn name(target: &Target) -> Result<&str> {
    target.name.as_deref().ok_or_else(|| Error::usage("required resource not specified"))
}

async fn restart(context: &Context, target: &Target) -> Result<()> {
    let name = name(target)?;
    let annotations = json!({"kubectl.kubernetes.io/restartedAt": Clock::system().time()});
    let patch = json!({"spec": {"template": {"metadata": {"annotations": annotations}}}});
    context
        .client
        .patch::<Value>(&target.resource, &context.namespace, name, None, Patch::Strategic, &patch)
        .await?;
    print(&format!("{} restarted\n", shown(&target.resource, name)));
    Ok(())
}

async fn status(context: &Context, target: &Target, watch: bool) -> Result<()> {
    let name = name(target)?;
    let mut said = String::new();
    loop {
        let object: Object = context.client.get(&target.resource, &context.namespace, name).await?;
        let mut version = object.resource_version().to_owned();
        if judge(&object, &mut said)? || !watch {
            return Ok(());
        }
        // Follow the object; where the watch ends, look again.
        let options = ListOptions {
            resource_version: std::mem::take(&mut version),
            ..ListOptions::fields(format!("metadata.name={name}"))
        };
        let mut events =
            context.client.watch(&target.resource, &context.namespace, &options).await?;
        while let Some(Ok(event)) = events.next_event().await {
            if let client::WatchEvent::Deleted(_) = event {
                return Err(Error::usage("object has been deleted"));
            }
            if let Some(object) = event.object::<Object>()
                && judge(&object?, &mut said)?
            {
                return Ok(());
            }
        }
    }
}

/// Prints where the rollout is, if that is news; whether it is done.
fn judge(object: &Object, said: &mut String) -> Result<bool> {
    let (text, done) = progress(object)?;
    if *said != text {
        print(&format!("{text}\n"));
        *said = text;
    }
    Ok(done)
}

/// What kubectl says of a rollout, and whether it is done.
fn progress(object: &Object) -> Result<(String, bool)> {
    let name = object.name();
    let number = |path: &str| object.int(path).unwrap_or(0);
    let wanted = object.int("spec.replicas").unwrap_or(1);
    if number("status.observedGeneration") < object.generation() {
        return Ok((
            format!("Waiting for {} spec update to be observed...", object.kind().to_lowercase()),
            false,
        ));
    }
    let updated = number("status.updatedReplicas");
    match object.kind() {
        "Deployment" => {
            let conditions = object.at("status.conditions").and_then(Value::as_array);
            let overdue = conditions
                .into_iter()
                .flatten()
                .any(|c| c["type"] == "Progressing" && c["reason"] == "ProgressDeadlineExceeded");
            if overdue {
                return Err(Error::usage(format!(
                    "deployment \"{name}\" exceeded its progress deadline"
                )));
            }
            let (all, available) = (number("status.replicas"), number("status.availableReplicas"));
            let waiting = format!("Waiting for deployment \"{name}\" rollout to finish: ");
            Ok(if updated < wanted {
                (
                    format!("{waiting}{updated} out of {wanted} new replicas have been updated..."),
                    false,
                )
            } else if all > updated {
                (
                    format!("{waiting}{} old replicas are pending termination...", all - updated),
                    false,
                )
            } else if available < updated {
                (
                    format!("{waiting}{available} of {updated} updated replicas are available..."),
                    false,
                )
            } else {
                (format!("deployment \"{name}\" successfully rolled out"), true)
            })
        }
        "DaemonSet" => {
            let wanted = number("status.desiredNumberScheduled");
            let updated = number("status.updatedNumberScheduled");
            let available = number("status.numberAvailable");
            let waiting = format!("Waiting for daemon set \"{name}\" rollout to finish: ");
            Ok(if updated < wanted {
                (format!("{waiting}{updated} out of {wanted} new pods have been updated..."), false)
            } else if available < wanted {
                (format!("{waiting}{available} of {wanted} updated pods are available..."), false)
            } else {
                (format!("daemon set \"{name}\" successfully rolled out"), true)
            })
        }
        "StatefulSet" => {
            let ready = number("status.readyReplicas");
            Ok(if ready < wanted {
                (format!("Waiting for {} pods to be ready...", wanted - ready), false)
            } else if updated < wanted
                || object.text("status.updateRevision") != object.text("status.currentRevision")
            {
                (
                    format!(
                        "waiting for statefulset rolling update to complete {updated} pods at revision {}...",
                        object.text("status.updateRevision").unwrap_or("")
                    ),
                    false,
                )
            } else {
                (
                    format!(
                        "statefulset rolling update complete {ready} pods at revision {}...",
                        object.text("status.currentRevision").unwrap_or("")
                    ),
                    true,
                )
            })
        }
        other => Err(Error::usage(format!("no status viewer has been implemented for {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(status: Value) -> Object {
        let value = json!({
            "kind": "Deployment", "metadata": {"name": "web", "generation": 2},
            "spec": {"replicas": 3}, "status": status,
        });
        Object::from_value(value).expect("a map")
    }

    #[test]
    fn deployments() {
        let cases = [
            (
                json!({"observedGeneration": 1}),
                "Waiting for deployment spec update to be observed...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 1}),
                "Waiting for deployment \"web\" rollout to finish: 1 out of 3 new replicas have been updated...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4}),
                "Waiting for deployment \"web\" rollout to finish: 1 old replicas are pending termination...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2}),
                "Waiting for deployment \"web\" rollout to finish: 2 of 3 updated replicas are available...",
                false,
            ),
            (
                json!({"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3}),
                "deployment \"web\" successfully rolled out",
                true,
            ),
        ];
        for (status, text, done) in cases {
            assert_eq!(progress(&deployment(status)).expect("known kind"), (text.to_owned(), done));
        }
    }
}
