//! The scheduling task: takes events in, hands decisions out.
//!
//! Everything mutable belongs to this one task; bindings run beside it, bounded, and report back.
//! Not here: the decisions (`schedule`) and their effects (`bind`).

use std::collections::HashMap;
use std::sync::Arc;

use api::Entry;
use api::clock::{Clock, Rng};
use api::resource::{
    NAMESPACES, NODES, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS,
    SERVICES, STATEFUL_SETS,
};
use api::selector::LabelSelectorSpec;
use client::{Client, Delta, Event, Informers, Recorder, Shutdown, Subscription};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::bind::Binder;
use crate::cache::Cache;
use crate::groups::Groups;
use crate::metrics;
use crate::node::Node;
use crate::pod::Pod;
use crate::preempt::{self, Budget};
use crate::queue::{Change, Queue};
use crate::schedule;

/// Bindings in flight at once.
const BINDINGS: usize = 128;

/// What the scheduler is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods with this `spec.schedulerName` are ours; also the events' source.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBudget {
    spec: RawBudgetSpec,
    status: RawBudgetStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawBudgetSpec {
    selector: Option<LabelSelectorSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawBudgetStatus {
    disruptions_allowed: i64,
}

/// What became of a binding.
struct Bound {
    pod: Arc<Pod>,
    result: Result<(), client::Error>,
}

/// Schedules until told to stop.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
) {
    let recorder = Recorder::with_clock(client.clone(), &config.scheduler_name, "", clock.clone());
    let (bound_tx, bound_rx) = mpsc::unbounded_channel();
    let scheduler = Scheduler {
        config,
        binder: Binder::new(client, recorder, clock),
        rng,
        cache: Cache::default(),
        queue: Queue::default(),
        groups: Groups::default(),
        budgets: HashMap::new(),
        start: 0,
        slots: Arc::new(Semaphore::new(BINDINGS)),
        bound_tx,
    };
    tokio::select! {
        () = scheduler.run(&informers, bound_rx) => {}
        () = shutdown.cancelled() => {}
    }
}

struct Scheduler {
    config: Config,
    binder: Binder,
    rng: Rng,
    cache: Cache,
    queue: Queue,
    groups: Groups,
    budgets: HashMap<Box<str>, Budget>,
    start: usize,
    slots: Arc<Semaphore>,
    bound_tx: mpsc::UnboundedSender<Bound>,
}

/// How the scheduler reads each resource's events; the first two must be complete before it decides.
type Reader = fn(&mut Scheduler, &Delta);

impl Scheduler {
    async fn run(mut self, informers: &Informers, mut bound: mpsc::UnboundedReceiver<Bound>) {
        let sources: [(_, Reader); 8] = [
            (&NODES, Self::node_event),
            (&PODS, Self::pod_event),
            (&NAMESPACES, Self::namespace_event),
            (&SERVICES, Self::service_event),
            (&POD_DISRUPTION_BUDGETS, Self::budget_event),
            (&REPLICA_SETS, Self::owner_event),
            (&STATEFUL_SETS, Self::owner_event),
            (&REPLICATION_CONTROLLERS, Self::owner_event),
        ];
        let held: Vec<_> = sources.iter().map(|(r, _)| informers.get(r)).collect();
        let mut inbox = Inbox::default();
        for (informer, (_, reader)) in held.iter().zip(sources) {
            inbox.subscribe(informer.subscribe(), reader);
        }
        while inbox.unsynced > 0 {
            let Some((reader, batch)) = inbox.next().await else { return };
            self.take(&mut inbox, reader, &batch);
        }
        tracing::info!(nodes = self.cache.nodes().len(), "scheduler caches are complete");
        loop {
            while let Some((reader, batch)) = inbox.ready() {
                self.take(&mut inbox, reader, &batch);
            }
            while let Ok(done) = bound.try_recv() {
                self.bound(done);
            }
            let slots = self.slots.clone();
            if slots.available_permits() > 0
                && let Some(pod) = self.queue.pop(Instant::now())
            {
                self.attempt(pod);
                tokio::task::yield_now().await;
                continue;
            }
            self.report_depths();
            let timer = self.queue.next_timer();
            let full = slots.available_permits() == 0;
            tokio::select! {
                event = inbox.next() => match event {
                    Some((reader, batch)) => self.take(&mut inbox, reader, &batch),
                    None => return,
                },
                Some(done) = bound.recv() => self.bound(done),
                () = sleep_until(timer), if timer.is_some() && !full => {}
            }
        }
    }

    fn report_depths(&self) {
        let (active, backoff, stuck) = self.queue.depths();
        for (queue, depth) in [("active", active), ("backoff", backoff), ("unschedulable", stuck)] {
            metrics::PENDING.with_label_values(&[queue]).set(i64::try_from(depth).unwrap_or(0));
        }
    }

    fn take(&mut self, inbox: &mut Inbox, reader: Reader, batch: &[Event]) {
        for event in batch {
            match event {
                Event::Synced => inbox.unsynced = inbox.unsynced.saturating_sub(1),
                Event::Changed(delta) => reader(self, delta),
            }
        }
    }

    fn node_event(&mut self, delta: &Delta) {
        let Some(entry) = &delta.new else {
            self.cache.remove_node(&delta.latest().card.name);
            return;
        };
        match Node::read(entry.clone()) {
            Ok(node) => {
                // Heartbeats change nothing that could make a pod fit.
                let helps =
                    self.cache.node(node.name()).is_none_or(|old| offers_change(old, &node));
                self.cache.set_node(node);
                if helps {
                    self.queue.changed(Change::Node, Instant::now());
                }
            }
            Err(error) => {
                tracing::warn!(node = %entry.card.name, %error, "cannot read the node");
            }
        }
    }

    fn namespace_event(&mut self, delta: &Delta) {
        self.cache.namespaces.set(&delta.latest().card.name.clone(), delta.new.clone());
        self.queue.changed(Change::Namespace, Instant::now());
    }

    fn service_event(&mut self, delta: &Delta) {
        self.groups.set_service(delta.old.as_ref(), delta.new.as_ref());
    }

    fn budget_event(&mut self, delta: &Delta) {
        let card = &delta.latest().card;
        let read = delta.new.as_ref().and_then(|e| e.decode::<RawBudget>().ok());
        let selector = read.as_ref().and_then(|b| b.spec.selector.as_ref()?.selector().ok());
        match (read, selector) {
            (Some(raw), Some(selector)) => {
                let namespace = card.namespace.clone();
                let allowed = raw.status.disruptions_allowed;
                self.budgets.insert(card.uid.clone(), Budget { namespace, selector, allowed });
            }
            _ => {
                self.budgets.remove(&card.uid);
            }
        }
    }

    fn owner_event(&mut self, delta: &Delta) {
        self.groups.set_owner(delta.old.as_ref(), delta.new.as_ref());
    }

    fn pod_event(&mut self, delta: &Delta) {
        let now = Instant::now();
        let uid = delta.latest().card.uid.clone();
        // The name was taken over by another pod between two looks.
        if let (Some(old), Some(new)) = (&delta.old, &delta.new)
            && old.card.uid != new.card.uid
        {
            self.pod_gone(&old.card.uid.clone(), now);
        }
        let Some(entry) = &delta.new else {
            self.pod_gone(&uid, now);
            return;
        };
        let pod = match Pod::read(entry.clone()) {
            Ok(pod) => Arc::new(pod),
            Err(error) => {
                tracing::warn!(pod = %format_args!("{}/{}", entry.card.namespace, entry.card.name), %error, "cannot read the pod");
                return;
            }
        };
        if pod.finished {
            self.pod_gone(&uid, now);
        } else if !pod.node_name.is_empty() {
            self.queue.remove(&uid);
            let new = !self.cache.holds(&uid);
            let node = pod.node_name.clone();
            self.cache.place(pod, &node);
            if new {
                self.queue.changed(Change::PodPlaced, now);
            }
        } else if pod.scheduler_name != self.config.scheduler_name
            || pod.gated
            || entry.card.deleting
        {
            self.queue.remove(&uid);
        } else if self.cache.holds(&uid) {
            // Assumed: its binding is on the way.
        } else if delta.old.as_ref().is_some_and(|old| same_to_us(old, entry))
            && self.queue.get(&uid).is_some()
        {
            self.queue.refresh(pod);
        } else {
            self.queue.add(pod, now);
        }
    }

    fn pod_gone(&mut self, uid: &str, now: Instant) {
        self.queue.remove(uid);
        self.cache.withdraw(uid);
        if self.cache.remove_pod(uid).is_some() {
            self.queue.changed(Change::PodGone, now);
        }
    }

    /// One attempt at placing a pod.
    fn attempt(&mut self, pod: Arc<Pod>) {
        let groups = self.groups.of(&pod);
        let timer = metrics::ALGORITHM.start_timer();
        let decision = schedule::choose(&pod, &self.cache, &groups, &self.rng, &mut self.start);
        timer.observe_duration();
        let uid = pod.entry.card.uid.clone();
        match decision {
            Ok(node) => {
                metrics::ATTEMPTS.with_label_values(&["scheduled"]).inc();
                // Assumed from here on, so that the next pod sees it.
                self.cache.place(pod.clone(), &node);
                let permit = self.slots.clone().try_acquire_owned();
                let (binder, done) = (self.binder.clone(), self.bound_tx.clone());
                tokio::spawn(async move {
                    let result = binder.bind(&pod, &node).await;
                    drop(permit);
                    // The receiver is gone only when the scheduler stops.
                    let _ = done.send(Bound { pod, result });
                });
            }
            Err(failure) => {
                metrics::ATTEMPTS.with_label_values(&["unschedulable"]).inc();
                self.queue.failed(&uid, failure.refused_by(), Instant::now());
                let mut message = failure.message();
                let mut room = None;
                if failure.nodes > 0 {
                    let budgets: Vec<Budget> = self.budgets.values().cloned().collect();
                    match preempt::plan(&pod, &self.cache, &groups, &budgets, &failure) {
                        Ok(plan) => {
                            self.cache.nominate(pod.clone(), &plan.node);
                            room = Some(plan);
                        }
                        Err(why) => {
                            // Upstream's dynamic resource allocation has its word first.
                            message.push_str(" no new claims to deallocate, ");
                            message.push_str(&why);
                        }
                    }
                }
                let binder = self.binder.clone();
                tokio::spawn(async move {
                    binder.report_unschedulable(&pod, "Unschedulable", &message).await;
                    if let Some(plan) = room {
                        binder.make_room(&pod, &plan).await;
                    }
                });
            }
        }
    }

    fn bound(&mut self, Bound { pod, result }: Bound) {
        let card = &pod.entry.card;
        let Err(error) = result else {
            self.queue.remove(&card.uid);
            return;
        };
        self.cache.remove_pod(&card.uid);
        self.queue.changed(Change::PodGone, Instant::now());
        if error.is_not_found() {
            self.queue.remove(&card.uid);
            return;
        }
        metrics::ATTEMPTS.with_label_values(&["error"]).inc();
        tracing::warn!(pod = %format_args!("{}/{}", card.namespace, card.name), %error, "binding failed");
        // Where somebody else bound it, the pod's next event takes it out of the queue.
        self.queue.retry(&card.uid, Instant::now());
    }
}

/// Whether a node's new version could make a refused pod fit.
fn offers_change(old: &Node, new: &Node) -> bool {
    old.allocatable != new.allocatable
        || old.taints != new.taints
        || old.unschedulable != new.unschedulable
        || old.entry.card.labels != new.entry.card.labels
}

/// Whether two versions of a pod differ only in what does not matter here, such as its status.
fn same_to_us(old: &Entry, new: &Entry) -> bool {
    #[derive(Deserialize)]
    struct Spec<'a> {
        #[serde(borrow)]
        spec: Option<&'a RawValue>,
    }
    fn spec(entry: &Entry) -> Option<&str> {
        serde_json::from_slice::<Spec<'_>>(&entry.json).ok()?.spec.map(RawValue::get)
    }
    old.card.labels == new.card.labels && spec(old) == spec(new)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// All subscriptions in one channel, each batch with its reader.
struct Inbox {
    sender: mpsc::Sender<(Reader, Vec<Event>)>,
    receiver: mpsc::Receiver<(Reader, Vec<Event>)>,
    tasks: tokio::task::JoinSet<()>,
    unsynced: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(16);
        Self { sender, receiver, tasks: tokio::task::JoinSet::new(), unsynced: 0 }
    }
}

impl Inbox {
    fn subscribe(&mut self, mut events: Subscription, reader: Reader) {
        self.unsynced += 1;
        let sender = self.sender.clone();
        self.tasks.spawn(async move {
            loop {
                let batch = events.next_batch().await;
                if batch.is_empty() || sender.send((reader, batch)).await.is_err() {
                    return;
                }
            }
        });
    }

    async fn next(&mut self) -> Option<(Reader, Vec<Event>)> {
        self.receiver.recv().await
    }

    fn ready(&mut self) -> Option<(Reader, Vec<Event>)> {
        self.receiver.try_recv().ok()
    }
}
