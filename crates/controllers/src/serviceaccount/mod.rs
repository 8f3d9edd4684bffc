//! Every namespace has a service account `default`.
//!
//! Not here: tokens (the API server signs them).

mod plan;

use std::sync::Arc;

use api::resource::{NAMESPACES, SERVICE_ACCOUNTS};
use client::Requeue;

use crate::action;
use crate::context::{Context, Name};

pub async fn run(ctx: Context) {
    let namespaces = ctx.informer(&NAMESPACES);
    let accounts = ctx.informer(&SERVICE_ACCOUNTS);
    let recorder = ctx.recorder("service-account-controller");
    let queue = ctx.queue::<Name>("serviceaccount");
    ctx.enqueue_all(&namespaces, &queue);
    let keys = queue.clone();
    ctx.follow(&accounts, move |delta| {
        if delta.new.is_none() {
            keys.add((Arc::from(""), delta.latest().card.namespace.clone()));
        }
    });
    let watched = [&namespaces, &accounts];
    let (views, client) = ((namespaces.clone(), accounts.clone()), ctx.client.clone());
    ctx.work(&watched, queue, 1, move |(_, name)| {
        let ((namespaces, accounts), client) = (views.clone(), client.clone());
        let recorder = recorder.clone();
        async move {
            let active = namespaces.get("", &name).is_some_and(|e| !e.card.deleting);
            let there = accounts.get(&name, plan::DEFAULT).is_some();
            let plan = plan::plan(&name, active, there);
            action::perform(&client, &recorder, plan.actions).await?;
            Ok(Requeue::Done)
        }
    })
    .await;
}
