//! Endpoint slices: the addresses behind a service, in pieces of a hundred.
//!
//! Not here: who uses them (the service proxy, DNS), what it shares with `endpoints` (`service`).

mod plan;

use std::sync::Arc;

use api::resource::{ENDPOINT_SLICES, NODES};
use client::{Index, Requeue};

use crate::action::{self, Failed};
use crate::context::{Context, Name};
use crate::expect::Expectations;
use crate::pods::Views;
use crate::service::Selection;
use crate::slices::{MANAGED_BY, SERVICE, Slice};

pub async fn run(ctx: Context) {
    let selection = Arc::new(Selection::new(&ctx));
    let slices = ctx.informer(&ENDPOINT_SLICES);
    let nodes = ctx.informer(&NODES);
    let recorder = ctx.recorder("endpoint-slice-controller");
    let queue = ctx.queue::<Name>("endpoint_slice");
    selection.follow(&ctx, &queue);
    let keys = queue.clone();
    ctx.follow(&slices, move |delta| {
        let card = &delta.latest().card;
        if card.label(MANAGED_BY) == Some(plan::US)
            && let Some(service) = card.label(SERVICE)
        {
            keys.add((card.namespace.clone(), service.into()));
        }
    });
    let watched = [&selection.services, &selection.pods, &slices, &nodes];
    let views: Arc<Views<Slice>> = Arc::default();
    let expectations: Arc<Expectations> = Arc::default();
    let seen = (selection.clone(), slices.clone(), nodes.clone());
    let context = ctx.clone();
    ctx.work(&watched, queue, ctx.config.workers, move |key| {
        let (context, (selection, slices, nodes)) = (context.clone(), seen.clone());
        let (views, expectations, recorder) =
            (views.clone(), expectations.clone(), recorder.clone());
        async move {
            let Some(entry) = selection.services.get(&key.0, &key.1) else {
                // The garbage collector deletes slices with their service.
                expectations.forget(&key);
                return Ok::<_, Failed>(Requeue::Done);
            };
            if !expectations.met(&key, &[&slices]) {
                return Ok(Requeue::After(std::time::Duration::from_secs(30)));
            }
            let service = selection.views.of(&entry)?;
            if !service.is_managed() || service.metadata.is_deleting() {
                return Ok(Requeue::Done);
            }
            let pods = selection.pods_of(&context, &service);
            let mut have = slices.by_index(&Index::Label(SERVICE), &key.1);
            have.retain(|e| {
                e.card.namespace == key.0 && e.card.label(MANAGED_BY) == Some(plan::US)
            });
            let have = views.all(&have);
            let zone = |node: &str| {
                let node = nodes.get("", node)?;
                node.card.label("topology.kubernetes.io/zone").map(str::to_owned)
            };
            for action in plan::plan(&service, &pods, &have, zone).actions {
                let revision = action::write(&context.client, &recorder, action).await;
                match revision {
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
