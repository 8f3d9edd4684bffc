//! Claims, volumes and attributes classes that are in use are not deleted before they are free.
//!
//! Not here: binding and provisioning, deleting what a volume stands for.

mod plan;

use std::sync::Arc;

use api::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS};
use client::{Informer, ListOptions, Recorder, Requeue};

use self::plan::{Storage, User};
use crate::action::{self, Failed};
use crate::context::{Context, Name};

pub use self::plan::Flavour;

#[derive(Clone)]
struct Controller {
    ctx: Context,
    flavour: Flavour,
    ours: Arc<Informer>,
    pods: Arc<Informer>,
    claims: Arc<Informer>,
    volumes: Arc<Informer>,
    recorder: Recorder,
}

pub async fn run(ctx: Context, flavour: Flavour) {
    let controller = Controller {
        flavour,
        ours: ctx.informer(&flavour.resource()),
        pods: ctx.informer(&PODS),
        claims: ctx.informer(&PERSISTENT_VOLUME_CLAIMS),
        volumes: ctx.informer(&PERSISTENT_VOLUMES),
        recorder: ctx.recorder("protection-controller"),
        ctx: ctx.clone(),
    };
    let queue = ctx.queue::<Name>(flavour.resource().plural.as_ref());
    ctx.enqueue_all(&controller.ours, &queue);
    // What goes may have been the last user.
    match flavour {
        Flavour::Claim => {
            let keys = queue.clone();
            ctx.follow(&controller.pods, move |delta| {
                let pod = delta.latest();
                if delta.new.is_some() && !pod.card.deleting {
                    return;
                }
                let Ok(user) = pod.decode::<User>() else { return };
                for (claim, _) in user.claims() {
                    keys.add((pod.card.namespace.clone(), claim.into()));
                }
            });
        }
        Flavour::Volume => {}
        Flavour::AttributesClass => {
            for informer in [&controller.claims, &controller.volumes] {
                let (keys, classes) = (queue.clone(), controller.ours.clone());
                ctx.follow(informer, move |_| {
                    for class in classes.list().iter().filter(|c| c.card.deleting) {
                        keys.add((class.card.namespace.clone(), class.card.name.clone()));
                    }
                });
            }
        }
    }
    let synced = controller.clone();
    let watched = [&synced.ours, &synced.pods, &synced.claims, &synced.volumes];
    ctx.work(&watched, queue, 1, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

impl Controller {
    async fn reconcile(&self, (namespace, name): &Name) -> Result<Requeue, Failed> {
        let Some(entry) = self.ours.get(namespace, name) else { return Ok(Requeue::Done) };
        let object: Storage = entry.decode()?;
        let used = object.metadata.is_deleting() && self.is_used(&object).await?;
        let plan = plan::plan(self.flavour, &object.metadata, used);
        action::perform(&self.ctx.client, &self.recorder, plan.actions).await?;
        Ok(Requeue::Done)
    }

    async fn is_used(&self, object: &Storage) -> Result<bool, Failed> {
        match self.flavour {
            Flavour::Volume => Ok(plan::volume_is_used(object)),
            Flavour::Claim => {
                let namespace = object.metadata.namespace.as_str();
                let seen = self.pods.list();
                let seen = seen.iter().filter(|p| &*p.card.namespace == namespace);
                let seen = seen.map(|p| p.decode()).collect::<Result<Vec<User>, _>>()?;
                if plan::claim_is_used(object, &seen) {
                    return Ok(true);
                }
                // The view may lag, and a volume must not go from under a pod: the server knows.
                let all = self.ctx.client.list(&PODS, namespace, &ListOptions::all()).await?;
                Ok(plan::claim_is_used(object, &all.items))
            }
            Flavour::AttributesClass => {
                let mut others = Vec::new();
                for entry in self.claims.list().iter().chain(self.volumes.list().iter()) {
                    others.push(entry.decode()?);
                }
                Ok(plan::class_is_used(object, &others))
            }
        }
    }
}
