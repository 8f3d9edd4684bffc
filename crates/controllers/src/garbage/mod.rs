//! Deletes what belongs to nothing any more, and settles foreground and orphaning deletions.
//!
//! It follows every deletable resource of the server, custom ones included. `graph` knows who owns
//! whom, `plan` decides about one object; here are the wiring and the look-ups. Not here: namespaces'
//! contents (`namespace`).

mod graph;
mod plan;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::Resource;
use client::{Delta, Error, Informer, ListOptions, Recorder, Requeue, WorkQueue, run_workers};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::action::{self, Failed};
use crate::context::Context;
use crate::discovery::{self, Served, Tags};
use crate::meta::{Meta, OwnerRef};
use graph::{Graph, Id};
use plan::{Item, Owner};

/// How often the server is asked for new resources.
const REFRESH: Duration = Duration::from_secs(30);
/// How soon after the definitions of custom resources changed; many may change at once.
const SOON: Duration = Duration::from_millis(500);
/// A resource that cannot be listed must not stop the others.
const SYNC: Duration = Duration::from_secs(30);
const WORKERS: usize = 20;
/// How long an owner that was not found is remembered as such.
const ABSENT: Duration = Duration::from_secs(120);

/// Resources whose objects are never collected.
const IGNORED: &[(&str, &str)] = &[("", "events"), ("events.k8s.io", "events")];

/// Resources whose objects say which resources the server has.
const DEFINING: &[(&str, &str)] = &[
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apiregistration.k8s.io", "apiservices"),
];

/// An object as far as ownership goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Object {
    metadata: Meta,
}

struct Controller {
    ctx: Context,
    queue: WorkQueue<Arc<Id>>,
    recorder: Recorder,
    graph: Mutex<Graph>,
    monitors: RwLock<Monitors>,
    /// The server may have other resources than before.
    served: Notify,
    absent: Mutex<HashMap<String, Instant>>,
}

/// The followed resources.
#[derive(Default)]
struct Monitors {
    all: HashMap<Resource, Arc<Informer>>,
    /// By group and kind, as owner references name them.
    kinds: HashMap<(Arc<str>, Arc<str>), Resource>,
}

impl Monitors {
    fn key(resource: &Resource) -> (Arc<str>, Arc<str>) {
        ((*resource.group).into(), (*resource.kind).into())
    }

    fn insert(&mut self, resource: Resource, informer: Arc<Informer>) {
        self.kinds.insert(Self::key(&resource), resource.clone());
        self.all.insert(resource, informer);
    }

    fn remove(&mut self, resource: &Resource) {
        self.all.remove(resource);
        let key = Self::key(resource);
        // Another version may have taken its place.
        if self.kinds.get(&key) == Some(resource) {
            self.kinds.remove(&key);
        }
    }

    fn of_kind(&self, group: &str, kind: &str) -> Option<(Resource, Arc<Informer>)> {
        let resource = self.kinds.get(&(group.into(), kind.into()))?;
        Some((resource.clone(), self.all.get(resource)?.clone()))
    }
}

pub async fn run(ctx: Context) {
    let controller = Arc::new(Controller {
        queue: ctx.queue("garbage_collector"),
        recorder: ctx.recorder("garbage-collector-controller"),
        graph: Mutex::default(),
        monitors: RwLock::default(),
        served: Notify::new(),
        absent: Mutex::default(),
        ctx: ctx.clone(),
    });
    let mut known = Tags::default();
    let setup = async {
        while let Err(error) = controller.refresh(&mut known).await {
            tracing::warn!("garbage collector: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let monitors: Vec<Arc<Informer>> =
            controller.monitors.read().all.values().cloned().collect();
        let synced = async {
            for monitor in monitors {
                monitor.synced().await;
            }
        };
        let _ = tokio::time::timeout(SYNC, synced).await;
    };
    tokio::select! {
        () = setup => {}
        () = ctx.shutdown.cancelled() => return,
    }
    let refreshing = async {
        loop {
            tokio::select! {
                () = tokio::time::sleep(REFRESH) => {}
                () = controller.served.notified() => tokio::time::sleep(SOON).await,
            }
            if let Err(error) = controller.refresh(&mut known).await {
                tracing::warn!("garbage collector: {error}");
            }
        }
    };
    let this = controller.clone();
    let working = run_workers(controller.queue.clone(), WORKERS, ctx.shutdown.clone(), move |id| {
        let this = this.clone();
        async move { this.process(&id).await }
    });
    tokio::select! {
        () = refreshing => {}
        () = working => {}
    }
}

impl Controller {
    /// Follows the resources that the server has now.
    async fn refresh(self: &Arc<Self>, known: &mut Tags) -> Result<(), Error> {
        let served = match discovery::changed(&self.ctx.client, known).await {
            Ok(Some(served)) => served,
            Ok(None) => return Ok(()),
            Err(error) if error.is_not_found() => discovery::built_in(),
            Err(error) => return Err(error),
        };
        let followed = |s: &Served| {
            let ignored =
                IGNORED.iter().any(|(g, p)| s.resource.group == *g && s.resource.plural == *p);
            !ignored && ["delete", "list", "watch"].iter().all(|v| s.can(v))
        };
        let wanted: HashSet<Resource> =
            served.into_iter().filter(followed).map(|s| s.resource).collect();
        let gone: Vec<Resource> = {
            let monitors = self.monitors.read();
            monitors.all.keys().filter(|r| !wanted.contains(*r)).cloned().collect()
        };
        for resource in gone {
            self.monitors.write().remove(&resource);
            self.ctx.informers.forget(&resource, &ListOptions::default());
        }
        for resource in wanted {
            if self.monitors.read().all.contains_key(&resource) {
                continue;
            }
            let informer = self.ctx.informer(&resource);
            self.monitors.write().insert(resource.clone(), informer.clone());
            let this = self.clone();
            self.ctx.follow(&informer, move |delta| this.observe(&resource, delta));
        }
        Ok(())
    }

    fn observe(&self, resource: &Resource, delta: &Delta) {
        if DEFINING.contains(&(&*resource.group, &*resource.plural)) {
            self.served.notify_one();
        }
        let entry = delta.latest();
        let id = Id {
            resource: resource.clone(),
            namespace: entry.card.namespace.clone(),
            name: entry.card.name.clone(),
            uid: entry.card.uid.clone(),
        };
        let Some(new) = &delta.new else {
            let affected = self.graph.lock().remove(&id);
            if !affected.is_empty() {
                self.absent.lock().insert(id.uid.to_string(), Instant::now());
            }
            affected.into_iter().for_each(|id| self.queue.add(id));
            return;
        };
        let object: Object = match new.decode() {
            Ok(object) => object,
            Err(error) => {
                tracing::warn!(object = %new.card.name, "cannot read object: {error}");
                return;
            }
        };
        let affected = self.graph.lock().apply(id, &object.metadata);
        affected.into_iter().for_each(|id| self.queue.add(id));
    }

    fn view(&self, id: &Id) -> Option<Object> {
        let monitor = self.monitors.read().all.get(&id.resource).cloned()?;
        let entry = monitor.get(&id.namespace, &id.name)?;
        (entry.card.uid == id.uid).then(|| entry.decode().ok())?
    }

    async fn process(&self, id: &Arc<Id>) -> Result<Requeue, Failed> {
        let Some(object) = self.view(id) else { return Ok(Requeue::Done) };
        let meta = object.metadata;
        let mut owners = Vec::with_capacity(meta.owner_references.len());
        if !meta.is_deleting() {
            for reference in &meta.owner_references {
                owners.push(self.owner(id, reference).await?);
            }
        }
        let dependents = self.graph.lock().dependents(&id.uid);
        let item = Item { id, meta: &meta, owners, dependents };
        let decision = plan::plan(&item);
        decision.look_at.into_iter().for_each(|id| self.queue.add(id));
        for id in decision.orphans {
            let Some(dependent) = self.view(&id) else { continue };
            if let Some(action) = plan::disown(&id, &dependent.metadata, &meta.uid) {
                action::perform_one(&self.ctx.client, &self.recorder, action).await?;
            }
        }
        match action::perform(&self.ctx.client, &self.recorder, decision.actions).await {
            // Our view was old: its next change brings the object back, at the latest the back-off.
            Err(Failed::Request(error)) if error.is_conflict() => Ok(Requeue::Backoff),
            Err(error) => Err(error),
            Ok(()) => Ok(Requeue::Done),
        }
    }

    /// How it stands with an owner of an object.
    async fn owner(&self, id: &Id, reference: &OwnerRef) -> Result<Owner, Failed> {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let found = self.monitors.read().of_kind(group, &reference.kind);
        let Some((resource, informer)) = found else {
            let what = format!("{} {}", reference.api_version, reference.kind);
            return Err(Failed::Other(format!("no resource for owner {what} of {}", id.name)));
        };
        if resource.namespaced && id.namespace.is_empty() {
            // A cluster-scoped object cannot belong to a namespaced one: never collected.
            return Ok(Owner::Solid);
        }
        let namespace = if resource.namespaced { &*id.namespace } else { "" };
        if let Some(entry) = informer.get(namespace, &reference.name)
            && *entry.card.uid == *reference.uid
        {
            let owner: Object = entry.decode()?;
            return Ok(plan::owner_state(&owner.metadata));
        }
        let known = self.absent.lock().get(&reference.uid).copied();
        if known.is_some_and(|at| at.elapsed() < ABSENT) {
            return Ok(Owner::Absent);
        }
        // The view may lag behind the object: only the server knows.
        match self.ctx.client.get::<Object>(&resource, namespace, &reference.name).await {
            Ok(live) if live.metadata.uid == reference.uid => Ok(plan::owner_state(&live.metadata)),
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => {
                let mut absent = self.absent.lock();
                absent.retain(|_, at| at.elapsed() < ABSENT);
                absent.insert(reference.uid.clone(), Instant::now());
                Ok(Owner::Absent)
            }
        }
    }
}
