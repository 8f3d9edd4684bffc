//! Writes pods' statuses to the API server: for each pod the newest one, one write at a time, and
//! only what differs from what the server has.
//!
//! Not here: making the status ([`crate::pod::status`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::object::Object;
use api::resource::PODS;
use client::{Client, DeleteOptions, Patch};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::pod::status::patch;
use crate::pod::view::PodView;

struct Slot {
    namespace: String,
    name: String,
    /// What the server has, as far as is known, and of which resource version.
    base: Map<String, Value>,
    revision: u64,
    wanted: Map<String, Value>,
    /// Delete the pod once the status is written.
    delete: bool,
    busy: bool,
}

/// Writes statuses. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    client: Client,
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

fn revision(pod: &PodView) -> u64 {
    pod.pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl Reporter {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self { client, slots: Arc::default() }
    }

    /// The status that a pod is to have; `delete` once nothing of the pod is left on the node.
    pub fn set(&self, pod: &PodView, status: Map<String, Value>, delete: bool) {
        let uid = pod.uid().to_owned();
        let mut slots = self.slots.lock();
        let slot = slots.entry(uid.clone()).or_insert_with(|| Slot {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            base: pod.status.clone(),
            revision: revision(pod),
            wanted: Map::new(),
            delete: false,
            busy: false,
        });
        slot.wanted = status;
        slot.delete |= delete;
        if !slot.busy && (slot.delete || patch(&slot.base, &slot.wanted, &uid).is_some()) {
            slot.busy = true;
            tokio::spawn(self.clone().flush(uid));
        }
    }

    /// The server has a newer version of the pod than the last write made.
    pub fn seen(&self, pod: &PodView) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(pod.uid())
            && revision(pod) > slot.revision
        {
            slot.revision = revision(pod);
            slot.base = pod.status.clone();
        }
    }

    /// Whether this state of a pod is older than the last write that was answered.
    pub fn is_stale(&self, pod: &PodView) -> bool {
        self.slots.lock().get(pod.uid()).is_some_and(|slot| revision(pod) < slot.revision)
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        self.slots.lock().remove(uid);
    }

    async fn flush(self, uid: String) {
        let mut delay = Duration::from_millis(100);
        loop {
            let (namespace, name, change, delete) = {
                let mut slots = self.slots.lock();
                let Some(slot) = slots.get_mut(&uid) else { return };
                let change = patch(&slot.base, &slot.wanted, &uid);
                if change.is_none() && !slot.delete {
                    slot.busy = false;
                    return;
                }
                (slot.namespace.clone(), slot.name.clone(), change, slot.delete)
            };
            let result = match change {
                Some(change) => self.write(&uid, &namespace, &name, &change).await,
                None if delete => self.delete(&uid, &namespace, &name).await,
                None => Ok(()),
            };
            match result {
                Ok(()) => delay = Duration::from_millis(100),
                // Gone, or another pod of that name: there is nothing left to write to.
                Err(e) if e.is_not_found() || e.is_conflict() && delete => {
                    self.forget(&uid);
                    return;
                }
                Err(error) => {
                    tracing::warn!(pod = %format!("{namespace}/{name}"), %error, "status is not written; trying again");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(10));
                }
            }
        }
    }

    async fn write(
        &self,
        uid: &str,
        namespace: &str,
        name: &str,
        change: &Value,
    ) -> client::Result<()> {
        let answer: Object = self
            .client
            .patch(&PODS, namespace, name, Some("status"), Patch::Strategic, change)
            .await?;
        if let Ok(pod) = PodView::new(answer) {
            self.seen(&pod);
            let mut slots = self.slots.lock();
            if let Some(slot) = slots.get_mut(uid)
                && patch(&slot.base, &slot.wanted, uid).as_ref() == Some(change)
            {
                // The server took the write but shows no effect of it: do not write for ever.
                tracing::warn!(pod = %format!("{namespace}/{name}"), "the API server ignores part of a status");
                slot.base = slot.wanted.clone();
            }
        }
        Ok(())
    }

    async fn delete(&self, uid: &str, namespace: &str, name: &str) -> client::Result<()> {
        self.client.delete(&PODS, namespace, name, &DeleteOptions::uid(uid).grace(0)).await?;
        self.forget(uid);
        Ok(())
    }
}
