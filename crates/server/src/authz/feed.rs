//! Keeps the authorizer's indexes in step with the watch cache.
//!
//! Tasks apply events as they come. A refusal first applies what has not been applied yet, so that a
//! kubelet that has just seen a pod, or a user who has just been given a role, is not turned away.

use std::sync::Arc;

use api::{Resource, resource};
use parking_lot::Mutex;
use store::{Event, EventKind, ResourceCache, Store, Watcher};
use tokio_util::sync::CancellationToken;

use super::Authz;
use super::node::Thing;

const PODS: Resource = resource::PODS;
const VOLUMES: Resource = resource::PERSISTENT_VOLUMES;
const ATTACHMENTS: Resource =
    Resource::cluster("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment");
const SLICES: Resource =
    Resource::cluster("resource.k8s.io", "v1", "resourceslices", "ResourceSlice");
const CERTIFICATE_REQUESTS: Resource = Resource::namespaced(
    "certificates.k8s.io",
    "v1beta1",
    "podcertificaterequests",
    "PodCertificateRequest",
);

const FOLLOWED: [Resource; 9] = [
    resource::CLUSTER_ROLES,
    resource::ROLES,
    resource::CLUSTER_ROLE_BINDINGS,
    resource::ROLE_BINDINGS,
    PODS,
    VOLUMES,
    ATTACHMENTS,
    SLICES,
    CERTIFICATE_REQUESTS,
];

/// One followed resource.
struct Source {
    resource: Resource,
    cache: Arc<ResourceCache>,
    watcher: Watcher,
}

/// The followed resources with how far they have been applied.
pub struct Feed(Mutex<Vec<Source>>);

impl Feed {
    /// Positions before everything; the first [`Feed::rebuild`] reads it.
    pub fn new(store: &Store) -> Self {
        let source = |resource: Resource| {
            let cache = store.resource(&resource.qualified());
            let (_, watcher) = cache.list_and_watch(None);
            Source { resource, cache, watcher }
        };
        Self(Mutex::new(FOLLOWED.into_iter().map(source).collect()))
    }

    /// Applies what is new; whether there was anything.
    pub fn drain(&self, authz: &Authz) -> bool {
        let mut sources = self.0.lock();
        let mut any = false;
        let mut lagged = false;
        'sources: for source in sources.iter_mut() {
            loop {
                match source.watcher.try_next() {
                    Ok(events) if events.is_empty() => continue 'sources,
                    Ok(events) => {
                        any = true;
                        events.iter().for_each(|e| authz.apply(&source.resource, e));
                    }
                    Err(_) => {
                        lagged = true;
                        break 'sources;
                    }
                }
            }
        }
        drop(sources);
        if lagged {
            self.rebuild(authz);
        }
        any || lagged
    }

    /// Forgets everything and reads it anew.
    pub fn rebuild(&self, authz: &Authz) {
        let mut sources = self.0.lock();
        authz.rbac.clear();
        authz.nodes.graph.clear();
        for source in sources.iter_mut() {
            let (snapshot, watcher) = source.cache.list_and_watch(None);
            source.watcher = watcher;
            for entry in snapshot.iter() {
                authz.put(&source.resource, None, Some(entry));
            }
        }
    }
}

impl Authz {
    fn apply(&self, resource: &Resource, event: &Event) {
        let after = (event.kind != EventKind::Deleted).then_some(&*event.entry);
        self.put(resource, event.previous.as_deref(), after);
    }

    fn put(&self, resource: &Resource, before: Option<&api::Entry>, after: Option<&api::Entry>) {
        let Some(card) = after.or(before).map(|e| &e.card) else { return };
        let graph = &self.nodes.graph;
        match &*resource.plural {
            "pods" => graph.pod(before, after),
            "persistentvolumes" => graph.volume(&card.name, after),
            "volumeattachments" => graph.owned(Thing::Attachment, before, after, "spec.nodeName"),
            "resourceslices" => graph.owned(Thing::Slice, before, after, "spec.nodeName"),
            "podcertificaterequests" => {
                graph.owned(Thing::CertificateRequest, before, after, "spec.nodeName");
            }
            _ => self.rbac.put(resource, &card.namespace, &card.name, after),
        }
    }
}

/// Reads everything, then follows it in tasks until shut down.
pub fn start(authz: &Arc<Authz>, store: &Store, shutdown: &CancellationToken) {
    authz.feed.rebuild(authz);
    for resource in FOLLOWED {
        let cache = store.resource(&resource.qualified());
        tokio::spawn(follow(Arc::clone(authz), cache, shutdown.clone()));
    }
}

/// Applies events whenever a resource has some. Its own watcher only wakes it.
async fn follow(authz: Arc<Authz>, cache: Arc<ResourceCache>, shutdown: CancellationToken) {
    let (_, mut signal) = cache.list_and_watch(None);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            woken = signal.next_batch() => {
                if woken.is_err() {
                    signal = cache.list_and_watch(None).1;
                }
            }
        }
        authz.feed.drain(&authz);
    }
}
