//! Endpoints: the addresses behind a service in one object, the form that slices have replaced.
//!
//! Not here: slices (`endpointslice`), what they share (`service`).

mod plan;

use std::sync::Arc;

use api::Object;
use api::resource::ENDPOINTS;
use client::Requeue;

use crate::action::{self, Action, Failed};
use crate::context::{Context, Name, name_of};
use crate::service::Selection;

pub async fn run(ctx: Context) {
    let selection = Arc::new(Selection::new(&ctx));
    let endpoints = ctx.informer(&ENDPOINTS);
    let recorder = ctx.recorder("endpoint-controller");
    let queue = ctx.queue::<Name>("endpoint");
    selection.follow(&ctx, &queue);
    let keys = queue.clone();
    ctx.follow(&endpoints, move |delta| keys.add(name_of(delta)));
    let watched = [&selection.services, &selection.pods, &endpoints];
    let (context, seen) = (ctx.clone(), (selection.clone(), endpoints.clone()));
    ctx.work(&watched, queue, ctx.config.workers, move |(ns, name)| {
        let (context, (selection, endpoints)) = (context.clone(), seen.clone());
        let recorder = recorder.clone();
        async move {
            let have: Option<Object> = endpoints.get(&ns, &name).map(|e| e.object()).transpose()?;
            let Some(entry) = selection.services.get(&ns, &name) else {
                // Others' endpoints without a service are left alone.
                let ours = have.filter(plan::is_ours);
                if let Some(old) = ours {
                    let delete = Action::delete(&ENDPOINTS, &ns, &name, old.uid());
                    action::perform_one(&context.client, &recorder, delete).await?;
                }
                return Ok::<_, Failed>(Requeue::Done);
            };
            let service = selection.views.of(&entry)?;
            if !service.is_managed() || service.metadata.is_deleting() {
                return Ok(Requeue::Done);
            }
            let pods = selection.pods_of(&context, &service);
            let plan = plan::plan(&service, &pods, have.as_ref());
            action::perform(&context.client, &recorder, plan.actions).await?;
            Ok(Requeue::Done)
        }
    })
    .await;
}
