//! ConfigMaps and secrets that pods of this node refer to: each is watched by itself, for as long as
//! a pod refers to it, because a node may see no others.
//!
//! Not here: what they are used for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use api::entry::Entry;
use api::resource::{CONFIG_MAPS, Resource, SECRETS};
use client::{Client, Event, Informer, Informers, ListOptions};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use parking_lot::Mutex;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use crate::pod::config::env::{Data, Lookup};

/// How long the first look at an object may take.
const FIRST_LOOK: Duration = Duration::from_secs(10);

type Key = (&'static str, String, String);

struct Watched {
    informer: Arc<Informer>,
    users: HashSet<String>,
    task: AbortHandle,
}

/// The objects in use. Pods are told of changes by their uid.
pub struct Objects {
    informers: Informers,
    client: Client,
    changed: UnboundedSender<String>,
    watched: Arc<Mutex<HashMap<Key, Watched>>>,
}

fn options(namespace: &str, name: &str) -> ListOptions {
    ListOptions::fields(format!("metadata.name={name}")).within(namespace)
}

impl Objects {
    /// None in use yet; the uids of pods whose objects change are sent to `changed`.
    pub fn new(informers: Informers, changed: UnboundedSender<String>) -> Self {
        let client = informers.client().clone();
        Self { informers, client, changed, watched: Arc::default() }
    }

    fn watch(&self, resource: &Resource, key: &Key, user: &str) -> Arc<Informer> {
        let mut watched = self.watched.lock();
        if let Some(w) = watched.get_mut(key) {
            w.users.insert(user.to_owned());
            return Arc::clone(&w.informer);
        }
        let informer = self.informers.get_filtered(resource, options(&key.1, &key.2));
        let mut events = informer.subscribe();
        let (table, changed, of) = (Arc::clone(&self.watched), self.changed.clone(), key.clone());
        let task = tokio::spawn(async move {
            let mut synced = false;
            while let Some(event) = events.next_event().await {
                match event {
                    Event::Synced => synced = true,
                    Event::Changed(_) if synced => {
                        let users = table.lock().get(&of).map(|w| w.users.clone());
                        for user in users.into_iter().flatten() {
                            let _ = changed.send(user);
                        }
                    }
                    Event::Changed(_) => {}
                }
            }
        });
        let users = HashSet::from([user.to_owned()]);
        let entry = Watched { informer: Arc::clone(&informer), users, task: task.abort_handle() };
        watched.insert(key.clone(), entry);
        informer
    }

    async fn get(
        &self,
        resource: &Resource,
        user: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Entry>>, String> {
        let plural: &'static str =
            if resource.plural == "secrets" { "secret" } else { "configmap" };
        let key = (plural, namespace.to_owned(), name.to_owned());
        let informer = self.watch(resource, &key, user);
        if tokio::time::timeout(FIRST_LOOK, informer.synced()).await.is_err() {
            return Err(format!(
                "failed to sync {plural} cache: timed out waiting for the condition"
            ));
        }
        if let Some(entry) = informer.get(namespace, name) {
            return Ok(Some(entry));
        }
        // The watch may be a moment behind the pod that refers to the object.
        match self.client.get::<api::object::Object>(resource, namespace, name).await {
            Ok(object) => {
                let json = serde_json::to_vec(&object).map_err(|e| e.to_string())?;
                client::informer::entry_of(resource, &json).map(Some).map_err(|e| e.to_string())
            }
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// A pod is gone: what only it used is watched no more.
    pub fn release(&self, user: &str) {
        let mut watched = self.watched.lock();
        watched.retain(|(kind, namespace, name), w| {
            w.users.remove(user);
            if w.users.is_empty() {
                w.task.abort();
                let resource = if *kind == "secret" { &SECRETS } else { &CONFIG_MAPS };
                self.informers.forget(resource, &options(namespace, name));
            }
            !w.users.is_empty()
        });
    }

    /// The objects as one pod sees them.
    pub fn of_pod<'a>(&'a self, uid: &'a str, namespace: &'a str) -> OfPod<'a> {
        OfPod { objects: self, uid, namespace }
    }
}

/// [`Lookup`] on behalf of one pod.
pub struct OfPod<'a> {
    objects: &'a Objects,
    uid: &'a str,
    namespace: &'a str,
}

impl OfPod<'_> {
    /// A secret with its type.
    pub async fn typed_secret(&self, name: &str) -> Result<Option<Secret>, String> {
        match self.objects.get(&SECRETS, self.uid, self.namespace, name).await? {
            Some(entry) => entry.decode().map(Some).map_err(|e| e.to_string()),
            None => Ok(None),
        }
    }
}

impl Lookup for OfPod<'_> {
    fn config_map<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>> {
        Box::pin(async move {
            let entry = self.objects.get(&CONFIG_MAPS, self.uid, self.namespace, name).await?;
            let Some(entry) = entry else { return Ok(None) };
            let object: ConfigMap = entry.decode().map_err(|e| e.to_string())?;
            let text = object.data.into_iter().flatten().map(|(k, v)| (k, v.into_bytes()));
            let binary = object.binary_data.into_iter().flatten().map(|(k, v)| (k, v.0));
            Ok(Some(text.chain(binary).collect()))
        })
    }

    fn secret<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Data>, String>> {
        Box::pin(async move {
            let object = self.typed_secret(name).await?;
            Ok(object.map(|s| s.data.into_iter().flatten().map(|(k, v)| (k, v.0)).collect()))
        })
    }
}
