//! Endpoints that people write for services without a selector, as slices.
//!
//! Not here: services with a selector (`endpointslice`).

mod plan;

use std::sync::Arc;

use api::resource::{ENDPOINT_SLICES, ENDPOINTS, SERVICES};
use client::{Index, Requeue};

use crate::action::{self, Failed};
use crate::context::{Context, Name};
use crate::expect::Expectations;
use crate::pods::Views;
use crate::service::Service;
use crate::slices::{MANAGED_BY, SERVICE, Slice};
use plan::Endpoints;

pub async fn run(ctx: Context) {
    let services = ctx.informer(&SERVICES);
    let endpoints = ctx.informer(&ENDPOINTS);
    let slices = ctx.informer(&ENDPOINT_SLICES);
    let recorder = ctx.recorder("endpoint-slice-mirroring-controller");
    let queue = ctx.queue::<Name>("endpoint_slice_mirroring");
    ctx.enqueue_all(&services, &queue);
    ctx.enqueue_all(&endpoints, &queue);
    let keys = queue.clone();
    ctx.follow(&slices, move |delta| {
        let card = &delta.latest().card;
        if card.label(MANAGED_BY) == Some(plan::US)
            && let Some(service) = card.label(SERVICE)
        {
            keys.add((card.namespace.clone(), service.into()));
        }
    });
    let watched = [&services, &endpoints, &slices];
    let views: Arc<Views<Slice>> = Arc::default();
    let expectations: Arc<Expectations> = Arc::default();
    let (context, seen) = (ctx.clone(), (services.clone(), endpoints.clone(), slices.clone()));
    ctx.work(&watched, queue, ctx.config.workers, move |key| {
        let (context, (services, endpoints, slices)) = (context.clone(), seen.clone());
        let (views, expectations, recorder) =
            (views.clone(), expectations.clone(), recorder.clone());
        async move {
            if !expectations.met(&key, &[&slices]) {
                return Ok::<_, Failed>(Requeue::After(std::time::Duration::from_secs(30)));
            }
            let service: Option<Service> =
                services.get(&key.0, &key.1).map(|e| e.decode()).transpose()?;
            let written: Option<Endpoints> =
                endpoints.get(&key.0, &key.1).map(|e| e.decode()).transpose()?;
            let mut have = slices.by_index(&Index::Label(SERVICE), &key.1);
            have.retain(|e| {
                e.card.namespace == key.0 && e.card.label(MANAGED_BY) == Some(plan::US)
            });
            let plan = plan::plan(service.as_ref(), written.as_ref(), &views.all(&have));
            for action in plan.actions {
                match action::write(&context.client, &recorder, action).await {
                    Ok(revision) => expectations.wrote(&key, &ENDPOINT_SLICES, revision),
                    Err(error) if error.is_namespace_terminating() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(Requeue::Done)
        }
    })
    .await;
}
