//! Keeps an informer's view equal to the server's: a documented state machine.
//!
//! ```text
//!            ┌────────────── watcher ended ───────────────┐
//!  start ─▶ Local (the transport has the cache) ──────────┘
//!    │ no cache
//!    ▼
//!  Streaming list ──refused──▶ List ─────▶ Watch from its revision ◀─┐
//!    │ initial events end                    │  end, broken, timeout │
//!    └──────────────────────────────────────▶└───────────────────────┘
//!                                            │ 410 Gone
//!                                            └─────▶ Streaming list
//! ```
//!
//! Every failure waits (exponential back-off with jitter); success resets it. Not here: what the view
//! does with changes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Rng;
use api::{Entry, Resource};
use futures_util::stream::StreamExt;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{Shared, entry_of};
use crate::client::{Client, List};
use crate::error::Error;
use crate::options::ListOptions;
use crate::queue::Backoff;
use crate::transport::LocalEvent;
use crate::watch::{WatchEvent, WatchStream};

const BACKOFF: Backoff =
    Backoff { base: Duration::from_millis(50), max: Duration::from_secs(30), jitter: 1.0 };

/// A watch that lasted this long counts as success.
const STEADY: Duration = Duration::from_secs(2);

enum State {
    /// Nothing is known, or too old.
    Start,
    /// All is known up to a revision.
    Watch(String),
}

struct Reflector {
    client: Client,
    resource: Resource,
    options: ListOptions,
    shared: Arc<Shared>,
    rng: Rng,
    /// The server has refused streaming lists.
    plain_lists: bool,
}

/// Runs until it is aborted.
pub(super) async fn run(
    client: Client,
    resource: Resource,
    options: ListOptions,
    shared: Arc<Shared>,
    rng: Rng,
) {
    let mut reflector = Reflector { client, resource, options, shared, rng, plain_lists: false };
    let mut state = State::Start;
    let mut failures = 0u32;
    loop {
        let began = Instant::now();
        let (next, outcome) = reflector.step(state).await;
        state = next;
        if began.elapsed() >= STEADY {
            failures = 0;
        }
        let resource = &reflector.resource;
        match outcome {
            Ok(()) if began.elapsed() >= STEADY => continue,
            Ok(()) => {}
            Err(error) if error.is_expired() => {
                tracing::debug!(resource = %resource.qualified(), "revision expired: {error}");
            }
            Err(error) => {
                tracing::warn!(resource = %resource.qualified(), "list or watch failed: {error}");
            }
        }
        let mut delay = BACKOFF.delay(failures, &reflector.rng);
        if failures == 0 {
            // A watch that is cut once is resumed at once.
            delay = Duration::from_millis(1);
        }
        failures = (failures + 1).min(16);
        tokio::time::sleep(delay).await;
    }
}

impl Reflector {
    /// One list and watch, or one watch, until it ends.
    async fn step(&mut self, state: State) -> (State, Result<(), Error>) {
        if let Some(mut local) = self.client.transport().local(&self.resource, &self.options) {
            self.shared.replace(local.entries, local.revision);
            while let Some(batch) = local.events.next().await {
                self.shared.change(batch);
            }
            return (State::Start, Ok(()));
        }
        let mut revision = match state {
            State::Watch(revision) => revision,
            State::Start if !self.plain_lists => match self.streaming_list().await {
                Ok((watch, revision)) => return self.follow(watch, revision).await,
                Err(error) if refuses_streaming(&error) => {
                    self.plain_lists = true;
                    return (State::Start, Ok(()));
                }
                Err(error) => return (State::Start, Err(error)),
            },
            State::Start => match self.list().await {
                Ok(revision) => revision,
                Err(error) => return (State::Start, Err(error)),
            },
        };
        let options = ListOptions {
            resource_version: std::mem::take(&mut revision),
            bookmarks: true,
            timeout_seconds: Some(self.watch_seconds()),
            ..self.options.clone()
        };
        match self.client.watch(&self.resource, "", &options).await {
            Ok(watch) => self.follow(watch, options.resource_version).await,
            Err(error) if error.is_expired() => (State::Start, Err(error)),
            Err(error) => (State::Watch(options.resource_version), Err(error)),
        }
    }

    /// Watches end after five to ten minutes, so that clients spread over the servers.
    fn watch_seconds(&self) -> u32 {
        300 + u32::try_from(self.rng.below(300)).unwrap_or(0)
    }

    /// Applies a watch's events until it ends.
    async fn follow(
        &mut self,
        mut watch: WatchStream,
        mut revision: String,
    ) -> (State, Result<(), Error>) {
        while let Some(event) = watch.next().await {
            let change = match event.and_then(|e| self.change_of(e)) {
                Ok(change) => change,
                Err(error) if matches!(error, Error::Transport { .. }) => {
                    return (State::Watch(revision), Err(error));
                }
                // Expired, or not understood: what was missed can only be found by listing.
                Err(error) => return (State::Start, Err(error)),
            };
            match &change {
                LocalEvent::Applied(e) | LocalEvent::Deleted(e) => {
                    revision = e.revision.to_string()
                }
                LocalEvent::Bookmark(r) => revision = r.to_string(),
            }
            self.shared.change([change]);
        }
        (State::Watch(revision), Ok(()))
    }

    fn change_of(&self, event: WatchEvent) -> Result<LocalEvent, Error> {
        Ok(match event {
            WatchEvent::Added(json) | WatchEvent::Modified(json) => {
                LocalEvent::Applied(entry_of(&self.resource, &json)?)
            }
            WatchEvent::Deleted(json) => LocalEvent::Deleted(entry_of(&self.resource, &json)?),
            WatchEvent::Bookmark { resource_version, .. } => {
                LocalEvent::Bookmark(resource_version.parse().unwrap_or(0))
            }
        })
    }

    /// A watch that begins with everything that exists.
    async fn streaming_list(&mut self) -> Result<(WatchStream, String), Error> {
        let options = ListOptions {
            bookmarks: true,
            send_initial_events: true,
            resource_version_match: "NotOlderThan".into(),
            timeout_seconds: Some(self.watch_seconds()),
            ..self.options.clone()
        };
        let mut watch = self.client.watch(&self.resource, "", &options).await?;
        let mut found: HashMap<(Arc<str>, Arc<str>), Arc<Entry>> = HashMap::new();
        while let Some(event) = watch.next().await {
            let event = event?;
            if let WatchEvent::Bookmark { resource_version, initial_events_end: true } = event {
                let revision = resource_version.parse().unwrap_or(0);
                self.shared.replace(found.into_values().collect(), revision);
                return Ok((watch, resource_version));
            }
            let key = |e: &Entry| (e.card.namespace.clone(), e.card.name.clone());
            match self.change_of(event)? {
                LocalEvent::Applied(entry) => drop(found.insert(key(&entry), entry)),
                LocalEvent::Deleted(entry) => drop(found.remove(&key(&entry))),
                LocalEvent::Bookmark(_) => {}
            }
        }
        Err(Error::transport("streaming list", "ended before its initial events did"))
    }

    /// A list in pages; returns its revision.
    async fn list(&mut self) -> Result<String, Error> {
        let mut options = ListOptions { limit: Some(500), ..self.options.clone() };
        let mut entries = Vec::new();
        loop {
            let page: List<Box<RawValue>> = self.client.list(&self.resource, "", &options).await?;
            for item in &page.items {
                entries.push(entry_of(&self.resource, item.get().as_bytes())?);
            }
            if page.continue_token.is_empty() {
                let revision = page.resource_version.parse().unwrap_or(0);
                self.shared.replace(entries, revision);
                return Ok(page.resource_version);
            }
            options.continue_token = page.continue_token;
        }
    }
}

/// Servers without streaming lists call the request invalid.
fn refuses_streaming(error: &Error) -> bool {
    error.api().is_some_and(|e| matches!(e.code, 400 | 422))
}
