//! `rollout history`, `undo`, `pause` and `resume` of deployments.
//!
//! Not here: following a rollout (`rollout`).

use api::resource::REPLICA_SETS;
use api::{Object, Value};
use client::{ListOptions, Patch};
use serde_json::json;

use crate::change::name;
use crate::context::Context;
use crate::manifest::{Target, shown};
use crate::text::{columns, print};
use crate::{Error, Result};

const REVISION: &str = "deployment.kubernetes.io/revision";
const CAUSE: &str = "kubernetes.io/change-cause";
const HASH: &str = "pod-template-hash";

/// The deployment, and its replica sets by revision.
async fn load(context: &Context, target: &Target) -> Result<(Object, Vec<(u64, Object)>)> {
    if target.resource.kind != "Deployment" {
        return Err(Error::usage(format!(
            "{} keeps no revisions that can be managed here",
            target.resource.kind
        )));
    }
    let deployment: Object =
        context.client.get(&target.resource, &context.namespace, name(target)?).await?;
    let all = context
        .client
        .list::<Object>(&REPLICA_SETS, &context.namespace, &ListOptions::default())
        .await?;
    let own = all.items.into_iter().filter(|set| set.controller_uid() == Some(deployment.uid()));
    let mut sets: Vec<(u64, Object)> =
        own.filter_map(|set| Some((set.annotation(REVISION)?.parse().ok()?, set))).collect();
    sets.sort_by_key(|(revision, _)| *revision);
    Ok((deployment, sets))
}

/// `rollout history`.
pub async fn history(context: &Context, target: &Target) -> Result<()> {
    let (_, sets) = load(context, target).await?;
    let mut rows = vec![vec!["REVISION".to_owned(), "CHANGE-CAUSE".to_owned()]];
    rows.extend(sets.iter().map(|(revision, set)| {
        vec![revision.to_string(), set.annotation(CAUSE).unwrap_or("<none>").to_owned()]
    }));
    let shown = shown(&target.resource, name(target)?);
    print(&format!("{shown}\n{}\n", columns(&rows)));
    Ok(())
}

/// `rollout undo`: the template of an older revision becomes the template again; 0 is the last but
/// one.
pub async fn undo(context: &Context, target: &Target, revision: u64) -> Result<()> {
    let (deployment, sets) = load(context, target).await?;
    if deployment.at("spec.paused") == Some(&Value::Bool(true)) {
        return Err(Error::usage(format!(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume {}' and try again",
            shown(&target.resource, deployment.name())
        )));
    }
    let current: u64 = deployment.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0);
    let set = match revision {
        0 => {
            sets.iter().rev().find(|(r, _)| *r < current).map(|(_, set)| set).ok_or_else(|| {
                Error::usage(format!(
                    "no rollout history found for deployment \"{}\"",
                    deployment.name()
                ))
            })?
        }
        wanted => sets.iter().find(|(r, _)| *r == wanted).map(|(_, set)| set).ok_or_else(|| {
            Error::usage(format!("unable to find specified revision {wanted} in history"))
        })?,
    };
    let mut template = set.at("spec.template").cloned().unwrap_or_default();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    let shown = shown(&target.resource, deployment.name());
    if deployment.at("spec.template") == Some(&template) {
        print(&format!(
            "{shown} skipped rollback (current template already matches revision {revision})\n"
        ));
        return Ok(());
    }
    let body = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
    context
        .client
        .patch::<Value>(
            &target.resource,
            &context.namespace,
            deployment.name(),
            None,
            Patch::Json,
            &body,
        )
        .await?;
    print(&format!("{shown} rolled back\n"));
    Ok(())
}

/// `rollout pause` and `resume`.
pub async fn pause(context: &Context, target: &Target, paused: bool) -> Result<()> {
    let (deployment, _) = load(context, target).await?;
    let is = deployment.at("spec.paused") == Some(&Value::Bool(true));
    let (resource, name) = (&target.resource, deployment.name());
    if is == paused {
        let (kind, how) = (&resource.plural, if is { "already paused" } else { "not paused" });
        return Err(Error::usage(format!("{kind}.{} \"{name}\" is {how}", resource.group)));
    }
    let body = json!({"spec": {"paused": paused}});
    context
        .client
        .patch::<Value>(resource, &context.namespace, name, None, Patch::Merge, &body)
        .await?;
    print(&format!("{} {}\n", shown(resource, name), if paused { "paused" } else { "resumed" }));
    Ok(())
}
