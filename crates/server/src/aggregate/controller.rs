//! Keeps registrations, the table and what is known of other servers current.
//!
//! One task follows the registrations and the definitions of custom resources; where there are other
//! servers, also the services and endpoints that they are behind, and a clock. Not here: what a check
//! looks at (`check`), which registrations there should be (`register`).

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use store::{Event, Watcher};
use tokio::time::Instant;

use super::register::{self, Registrations};
use super::{Checking, Plan, SERVICES, check, documents};
use crate::server::Server;
use crate::transport::Local;

/// How long a server that answers is left alone.
const REST: Duration = Duration::from_secs(30);
/// How long after its first failure a server is asked again; twice as long after each further one.
const AGAIN: Duration = Duration::from_secs(1);

/// A followed resource.
struct Source {
    name: String,
    watcher: Option<Watcher>,
}

impl Source {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), watcher: None }
    }

    /// Follows from now on, or no longer; whether events may have been missed.
    fn follow(&mut self, server: &Server, on: bool) -> bool {
        if !on {
            self.watcher = None;
        } else if self.watcher.is_none() {
            self.watcher = Some(server.store.resource(&self.name).list_and_watch(None).1);
            return true;
        }
        false
    }

    /// What comes next; `None` where events were missed. Waits for ever where nothing is followed.
    async fn next(&mut self) -> Option<Vec<Arc<Event>>> {
        let Some(watcher) = &mut self.watcher else { return std::future::pending().await };
        let next = watcher.next_batch().await.ok();
        if next.is_none() {
            self.watcher = None;
        }
        next
    }
}

/// No names: any.
const ANY: Option<std::iter::Empty<&str>> = None;

/// What events are about.
fn names(events: &[Arc<Event>]) -> impl Iterator<Item = &str> {
    events.iter().map(|event| &*event.entry.card.name)
}

/// Runs until the server ends.
pub async fn run(server: Arc<Server>) {
    let client = Local::client(&server, "system:kube-aggregator", &["system:masters"]);
    let mut registrations = Source::new(&SERVICES.qualified());
    let mut definitions = Source::new("customresourcedefinitions.apiextensions.k8s.io");
    let mut services = Source::new("services");
    let mut slices = Source::new("endpointslices.discovery.k8s.io");
    let mut wanted = Registrations::new(&server);
    // Registrations that the table does not have as they are; none: all of them.
    let mut stale: Option<Vec<Arc<Event>>> = None;
    let mut starting = true;
    loop {
        if registrations.follow(&server, true) {
            wanted.changed(ANY);
            stale = None;
        }
        if definitions.follow(&server, true) {
            wanted.defined(&server, ANY);
        }
        let outcome = wanted.settle(&server, &client, starting).await;
        match &outcome {
            Ok(()) => starting = false,
            Err(error) => tracing::warn!(%error, "cannot write the registrations of APIs"),
        }
        server.aggregator.read(&server, stale.as_ref().map(|events| names(events)));
        stale = Some(Vec::new());
        let remotes = server.aggregator.remotes();
        services.follow(&server, !remotes.is_empty());
        slices.follow(&server, !remotes.is_empty());
        let mut next = outcome.is_err().then(|| Instant::now() + AGAIN);
        for remote in remotes.into_iter().map(|entry| entry.remote) {
            let due = remote.plan.lock().due;
            if due > Instant::now() {
                next = Some(next.map_or(due, |next| next.min(due)));
            } else if let Some(checking) = remote.begin() {
                tokio::spawn(look(server.clone(), client.clone(), checking));
            }
        }
        // Events that do not concern us change nothing: wait on.
        loop {
            let late = next.unwrap_or_else(|| Instant::now() + REST);
            let again = tokio::select! {
                () = server.shutdown.cancelled() => return,
                () = tokio::time::sleep_until(late), if next.is_some() => true,
                () = server.aggregator.checked.notified() => true,
                events = registrations.next() => {
                    wanted.changed(events.as_ref().map(|events| names(events)));
                    stale = events;
                    true
                }
                events = definitions.next() => {
                    wanted.defined(&server, events.as_ref().map(|events| names(events)));
                    true
                }
                events = services.next() => concerned(&server, events, |e| &e.card.name),
                events = slices.next() => concerned(&server, events, |e| {
                    e.card.label("kubernetes.io/service-name").unwrap_or("")
                }),
            };
            if again {
                break;
            }
        }
    }
}

/// Makes the servers due that events are about; whether there are any.
fn concerned(
    server: &Server,
    events: Option<Vec<Arc<Event>>>,
    service: impl Fn(&api::Entry) -> &str,
) -> bool {
    let mut any = false;
    for remote in server.aggregator.remotes().into_iter().map(|entry| entry.remote) {
        let hit = events.as_ref().is_none_or(|events| {
            events.iter().any(|event| {
                *event.entry.card.namespace == remote.namespace
                    && service(&event.entry) == remote.service
            })
        });
        if hit {
            *remote.plan.lock() = Plan { due: Instant::now(), failures: 0 };
            any = true;
        }
    }
    any
}

/// Checks a server, writes what was found, and reads its documents.
async fn look(server: Arc<Server>, client: Client, checking: Checking) {
    let remote = checking.0.clone();
    let finding = check::check(&server, &remote).await;
    let good = finding.is_good();
    if good {
        documents::fetch(&server, &remote).await;
    } else {
        documents::lost(&server, &remote);
    }
    let entry = server.store.resource(&SERVICES.qualified()).get("", &remote.name);
    if let Some(held) = entry.and_then(|entry| entry.object().ok()) {
        let now = server.clock.time();
        if let Err(error) = register::condition(&client, &held, &finding, &now).await {
            tracing::warn!(%error, api = remote.name, "cannot write whether an API is available");
        }
    }
    {
        let mut plan = remote.plan.lock();
        plan.failures = if good { 0 } else { plan.failures + 1 };
        let wait = if good { REST } else { REST.min(AGAIN * (1 << plan.failures.min(5)) / 2) };
        plan.due = Instant::now() + wait;
    }
    drop(checking);
    server.aggregator.checked.notify_one();
}
