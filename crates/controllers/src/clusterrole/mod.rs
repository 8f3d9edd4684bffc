//! Cluster roles that aggregate others hold all their rules.
//!
//! Not here: what rules permit (the API server's authorizer).

mod plan;

use std::sync::Arc;

use api::resource::CLUSTER_ROLES;
use api::{Object, Value};
use client::Requeue;

use crate::action::{self, Failed};
use crate::context::{Context, Name};

pub async fn run(ctx: Context) {
    let roles = ctx.informer(&CLUSTER_ROLES);
    let recorder = ctx.recorder("clusterrole-aggregation-controller");
    let queue = ctx.queue::<Name>("clusterrole_aggregation");
    // Any role may be selected by any other: one key for all, since they are few.
    let keys = queue.clone();
    ctx.follow(&roles, move |_| keys.add((Arc::from(""), Arc::from(""))));
    let (client, view) = (ctx.client.clone(), roles.clone());
    ctx.work(&[&roles], queue, 1, move |_| {
        let (client, view, recorder) = (client.clone(), view.clone(), recorder.clone());
        async move {
            let entries = view.list();
            let marker: &[u8] = b"\"aggregationRule\"";
            let aggregates =
                |e: &Arc<api::Entry>| e.json.windows(marker.len()).any(|w| w == marker);
            if !entries.iter().any(aggregates) {
                return Ok::<_, Failed>(Requeue::Done);
            }
            let mut all: Vec<Object> =
                entries.iter().map(|e| e.object()).collect::<Result<_, _>>()?;
            all.sort_by(|a, b| a.name().cmp(b.name()));
            for role in all.iter().filter(|r| r.at("aggregationRule").is_some_and(Value::is_object))
            {
                action::perform(&client, &recorder, plan::plan(role, &all).actions).await?;
            }
            Ok(Requeue::Done)
        }
    })
    .await;
}
