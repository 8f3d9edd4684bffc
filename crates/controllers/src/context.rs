//! What every controller is given, and the wiring they share.
//!
//! Not here: which controllers there are.

use std::future::Future;
use std::sync::Arc;

use api::Resource;
use api::clock::{Clock, Rng};
use api::resource::PODS;
use client::{
    Client, Delta, Error, Event, Informer, Informers, Recorder, Requeue, Shutdown, WorkQueue,
    run_workers,
};

use crate::action::Failed;
use crate::pods::{Pod, Views};

/// Which controllers run, and what they need to know about the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// As upstream's `--controllers`: names, `*` for all, `-name` for all but.
    pub controllers: Vec<String>,
    /// The ranges that nodes' pod ranges are cut from; empty leaves nodes without.
    pub cluster_cidr: Vec<String>,
    /// Bits of an IPv4 node range.
    pub node_cidr_mask_v4: u8,
    /// Bits of an IPv6 node range.
    pub node_cidr_mask_v6: u8,
    /// The cluster's certificate authority, published in every namespace.
    pub root_ca: String,
    /// How long a node may be silent before its state is unknown.
    pub node_monitor_grace: std::time::Duration,
    /// Pods that have ended are deleted beyond this number.
    pub terminated_pods: usize,
    /// Keys of one controller in work at once.
    pub workers: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controllers: vec!["*".into()],
            cluster_cidr: Vec::new(),
            node_cidr_mask_v4: 24,
            node_cidr_mask_v6: 64,
            root_ca: String::new(),
            node_monitor_grace: std::time::Duration::from_secs(50),
            terminated_pods: 12_500,
            workers: 5,
        }
    }
}

impl Config {
    /// Whether a controller runs.
    pub fn enables(&self, name: &str) -> bool {
        let off = |c: &String| c.strip_prefix('-') == Some(name);
        !self.controllers.iter().any(off) && self.controllers.iter().any(|c| c == "*" || c == name)
    }
}

/// Namespace and name of an object.
pub type Name = (Arc<str>, Arc<str>);

/// What every controller is given. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    pub config: Arc<Config>,
    pub client: Client,
    pub informers: Informers,
    pub clock: Clock,
    pub rng: Rng,
    pub shutdown: Shutdown,
    /// Projections of all pods, shared by the controllers.
    pub pods: Arc<Views<Pod>>,
}

impl Context {
    pub fn new(
        config: Config,
        client: Client,
        informers: Informers,
        clock: Clock,
        rng: Rng,
        shutdown: Shutdown,
    ) -> Self {
        let pods = Arc::new(Views::default());
        let views = Arc::clone(&pods);
        let context =
            Self { config: Arc::new(config), client, informers, clock, rng, shutdown, pods };
        context.follow(&context.informer(&PODS), move |delta| {
            if delta.new.is_none() {
                views.forget(&delta.latest().card.uid);
            }
        });
        context
    }

    pub fn informer(&self, resource: &Resource) -> Arc<Informer> {
        self.informers.get(resource)
    }

    pub fn queue<K: Clone + Eq + std::hash::Hash>(&self, name: &str) -> WorkQueue<K> {
        WorkQueue::new(name, self.rng.clone())
    }

    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::with_clock(self.client.clone(), component, "", self.clock.clone())
    }

    /// Calls `f` with every change of an informer, existing objects first, until shutdown.
    pub fn follow(&self, informer: &Informer, mut f: impl FnMut(&Delta) + Send + 'static) {
        let mut events = informer.subscribe();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    batch = events.next_batch() => batch,
                    () = shutdown.cancelled() => return,
                };
                if batch.is_empty() {
                    return;
                }
                for event in batch {
                    if let Event::Changed(delta) = event {
                        f(&delta);
                    }
                }
            }
        });
    }

    /// Adds the key of every object of an informer to a queue as it changes.
    pub fn enqueue_all(&self, informer: &Informer, queue: &WorkQueue<Name>) {
        let queue = queue.clone();
        self.follow(informer, move |delta| queue.add(name_of(delta)));
    }

    /// Reconciles the keys of a queue, once these informers have their first lists.
    pub async fn work<K, F, Fut>(
        &self,
        informers: &[&Arc<Informer>],
        queue: WorkQueue<K>,
        workers: usize,
        reconcile: F,
    ) where
        K: Clone + Eq + std::hash::Hash + std::fmt::Debug + Send + Sync + 'static,
        F: Fn(K) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Requeue, Failed>> + Send + 'static,
    {
        let synced = async {
            for informer in informers {
                informer.synced().await;
            }
        };
        tokio::select! {
            () = synced => {}
            () = self.shutdown.cancelled() => return,
        }
        let reconcile = move |key: K| {
            let (name, outcome) = (key.clone(), reconcile(key));
            async move {
                match outcome.await {
                    // Another's write was faster, as happens all the time: read again.
                    Err(Failed::Request(error)) if error.is_conflict() => {
                        tracing::debug!(key = ?name, "will read again: {error}");
                        Ok(Requeue::Backoff)
                    }
                    outcome => outcome,
                }
            }
        };
        run_workers(queue, workers, self.shutdown.clone(), reconcile).await;
    }
}

/// The key of a changed object.
pub fn name_of(delta: &Delta) -> Name {
    let card = &delta.latest().card;
    (card.namespace.clone(), card.name.clone())
}

/// Takes "not there" for done: what is gone needs nothing more.
pub fn ignore_missing<T>(result: Result<T, Error>) -> Result<(), Error> {
    match result {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
