//! Every namespace has the cluster's certificate authority, so that its pods can verify the API server.
//!
//! Not here: mounting it (the kubelet does).

mod plan;

use std::sync::Arc;

use api::Object;
use api::resource::{CONFIG_MAPS, NAMESPACES};
use client::{ListOptions, Requeue};

use crate::action;
use crate::context::{Context, Name};

pub async fn run(ctx: Context) {
    if ctx.config.root_ca.is_empty() {
        return;
    }
    let namespaces = ctx.informer(&NAMESPACES);
    let only = ListOptions::fields(format!("metadata.name={}", plan::NAME));
    let maps = ctx.informers.get_filtered(&CONFIG_MAPS, only);
    let recorder = ctx.recorder("root-ca-cert-publisher");
    let queue = ctx.queue::<Name>("root_ca_cert_publisher");
    ctx.enqueue_all(&namespaces, &queue);
    let keys = queue.clone();
    ctx.follow(&maps, move |delta| {
        keys.add((Arc::from(""), delta.latest().card.namespace.clone()));
    });
    let watched = [&namespaces, &maps];
    let (context, views) = (ctx.clone(), (namespaces.clone(), maps.clone()));
    ctx.work(&watched, queue, 1, move |(_, name)| {
        let (context, (namespaces, maps)) = (context.clone(), views.clone());
        let recorder = recorder.clone();
        async move {
            let active = namespaces.get("", &name).is_some_and(|e| !e.card.deleting);
            let have: Option<Object> =
                maps.get(&name, plan::NAME).map(|e| e.object()).transpose()?;
            let plan = plan::plan(&name, active, have.as_ref(), &context.config.root_ca);
            action::perform(&context.client, &recorder, plan.actions).await?;
            Ok(Requeue::Done)
        }
    })
    .await;
}
