//! Informers: one shared, indexed view of a resource a process, and subscriptions to its changes.
//!
//! In process the entries are the watch cache's own; over the wire they are kept here. Not here: how
//! the view is kept up to date (`reflector`), how it is indexed (`table`).

mod decode;
mod reflector;
mod table;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::clock::Rng;
use api::{Entry, Resource};
use futures_util::stream::Stream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::client::Client;
use crate::options::ListOptions;
use crate::transport::LocalEvent;

pub use decode::entry_of;
pub use table::Index;
use table::Table;

/// The informers of a process; clones share them.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<InformersShared>,
}

struct InformersShared {
    client: Client,
    rng: Rng,
    informers: Mutex<HashMap<(Resource, ListOptions), Arc<Informer>>>,
}

impl Informers {
    /// Informers over a client.
    pub fn new(client: Client) -> Self {
        Self::with_rng(client, Rng::system())
    }

    /// The same with a given source of jitter.
    pub fn with_rng(client: Client, rng: Rng) -> Self {
        let shared = InformersShared { client, rng, informers: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// The informer of a whole resource; started with its first use (within a tokio runtime).
    pub fn get(&self, resource: &Resource) -> Arc<Informer> {
        self.get_filtered(resource, ListOptions::default())
    }

    /// The informer of the objects that namespace, label and field selector of the options select.
    pub fn get_filtered(&self, resource: &Resource, options: ListOptions) -> Arc<Informer> {
        let mut informers = self.shared.informers.lock();
        informers
            .entry((resource.clone(), options.clone()))
            .or_insert_with(|| {
                let (client, rng) = (self.shared.client.clone(), self.shared.rng.clone());
                Arc::new(Informer::start(client, resource.clone(), options, rng))
            })
            .clone()
    }

    /// Stops sharing an informer; it ends when its last user drops it. For resources that vanish.
    pub fn forget(&self, resource: &Resource, options: &ListOptions) {
        self.shared.informers.lock().remove(&(resource.clone(), options.clone()));
    }
}

/// A change of one object: created (`old` is none), changed (both), or deleted (`new` is none, and
/// `old` its last known state).
#[derive(Clone, Debug)]
pub struct Delta {
    /// The state before.
    pub old: Option<Arc<Entry>>,
    /// The state after.
    pub new: Option<Arc<Entry>>,
}

impl Delta {
    /// The newest state there is.
    pub fn latest(&self) -> &Arc<Entry> {
        match (&self.new, &self.old) {
            (Some(entry), _) | (None, Some(entry)) => entry,
            (None, None) => unreachable!("a delta has a state"),
        }
    }
}

/// What a subscription yields.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object changed.
    Changed(Delta),
    /// Everything that existed has been sent; once, after the first list.
    Synced,
}

/// A subscription to an informer: first everything that exists, then `Synced`, then changes. When an
/// event arrives, the informer's view is at least as new.
pub struct Subscription {
    events: mpsc::UnboundedReceiver<Event>,
}

impl Subscription {
    /// The next event; `None` when the informer has ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Waits for events and takes what is there, in order; empty when the informer has ended.
    pub async fn next_batch(&mut self) -> Vec<Event> {
        let mut batch = Vec::new();
        self.events.recv_many(&mut batch, 4096).await;
        batch
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.events.poll_recv(cx)
    }
}

/// A shared view of one resource, or of the part of it that a selector selects.
pub struct Informer {
    shared: Arc<Shared>,
    resource: Resource,
    task: AbortHandle,
}

impl Drop for Informer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The state that the reflector writes and everyone reads.
struct Shared {
    state: RwLock<State>,
    synced: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    table: Table,
    revision: u64,
    synced: bool,
    subscribers: Vec<mpsc::UnboundedSender<Event>>,
}

impl State {
    fn tell(&mut self, event: &Event) {
        self.subscribers.retain(|s| s.send(event.clone()).is_ok());
    }

    fn apply(&mut self, entry: Arc<Entry>) {
        self.revision = self.revision.max(entry.revision);
        let old = self.table.insert(entry.clone());
        if old.as_ref().is_some_and(|old| old.revision == entry.revision) {
            return;
        }
        self.tell(&Event::Changed(Delta { old, new: Some(entry) }));
    }

    fn delete(&mut self, last: Arc<Entry>) {
        self.revision = self.revision.max(last.revision);
        if self.table.remove(&last.card.namespace, &last.card.name).is_some() {
            self.tell(&Event::Changed(Delta { old: Some(last), new: None }));
        }
    }
}

impl Shared {
    /// The outcome of a list: what is not in it is gone.
    fn replace(&self, entries: Vec<Arc<Entry>>, revision: u64) {
        let mut state = self.state.write();
        for gone in state.table.missing_from(&entries) {
            state.delete(gone);
        }
        for entry in entries {
            state.apply(entry);
        }
        state.revision = revision;
        if !state.synced {
            state.synced = true;
            state.tell(&Event::Synced);
        }
        drop(state);
        self.synced.send_replace(true);
    }

    fn change(&self, events: impl IntoIterator<Item = LocalEvent>) {
        let mut state = self.state.write();
        for event in events {
            match event {
                LocalEvent::Applied(entry) => state.apply(entry),
                LocalEvent::Deleted(entry) => state.delete(entry),
                LocalEvent::Bookmark(revision) => state.revision = state.revision.max(revision),
            }
        }
    }
}

impl Informer {
    fn start(client: Client, resource: Resource, options: ListOptions, rng: Rng) -> Self {
        let shared =
            Arc::new(Shared { state: RwLock::default(), synced: watch::Sender::new(false) });
        let task = reflector::run(client, resource.clone(), options, shared.clone(), rng);
        let task = tokio::spawn(task).abort_handle();
        Self { shared, resource, task }
    }

    /// The resource it shows.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.shared.state.read().table.get(namespace, name)
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<Entry>> {
        self.shared.state.read().table.iter().cloned().collect()
    }

    /// All objects of a namespace, in no order.
    pub fn list_ns(&self, namespace: &str) -> Vec<Arc<Entry>> {
        self.by_index(&Index::Namespace, namespace)
    }

    /// Calls `f` with every object, under the informer's lock: keep it short.
    pub fn for_each(&self, f: impl FnMut(&Arc<Entry>)) {
        self.shared.state.read().table.iter().for_each(f);
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().table.len()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects with an index value, in no order. The index is made at its first use and kept.
    pub fn by_index(&self, index: &Index, value: &str) -> Vec<Arc<Entry>> {
        if let Some(found) = self.shared.state.read().table.by_index(index, value) {
            return found;
        }
        let mut state = self.shared.state.write();
        state.table.add_index(index.clone());
        state.table.by_index(index, value).unwrap_or_default()
    }

    /// The revision the view has reached.
    pub fn revision(&self) -> u64 {
        self.shared.state.read().revision
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives as long as `self`.
        let _ = synced.wait_for(|s| *s).await;
    }

    /// Subscribes to the objects and their changes.
    pub fn subscribe(&self) -> Subscription {
        let (sender, events) = mpsc::unbounded_channel();
        let mut state = self.shared.state.write();
        for entry in state.table.iter() {
            let delta = Delta { old: None, new: Some(entry.clone()) };
            let _ = sender.send(Event::Changed(delta));
        }
        if state.synced {
            let _ = sender.send(Event::Synced);
        }
        state.subscribers.push(sender);
        Subscription { events }
    }
}
