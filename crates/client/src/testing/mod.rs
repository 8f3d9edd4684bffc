//! An API server in memory, for tests: objects, revisions, watches, and faults on demand.
//!
//! It stores what it is sent: no defaulting, no validation, no authorization. Not here: the real one
//! (`server`); what matters there must be tested there.

mod objects;
mod route;

use std::collections::HashMap;
use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::{ApiError, Entry, Object, Resource, Value};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use http::{Method, Request, Response};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;

use crate::client::Client;
use crate::error::Error;
use crate::options::ListOptions;
use crate::transport::{Body, LocalEvent, LocalWatch, Transport, Upgraded};
use objects::{Change, Objects};
use route::{Route, Selection};

/// The server; clones share it.
#[derive(Clone)]
pub struct FakeServer {
    shared: Arc<Shared>,
}

struct Shared {
    objects: Mutex<Objects>,
    /// Told the revision after every write.
    changed: watch::Sender<u64>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<(Method, String)>>,
}

#[derive(Default)]
struct Faults {
    /// Answers for the next requests of a method and path prefix.
    refuse: Vec<(Method, String, ApiError)>,
    /// Watches opened before this count are cut.
    generation: u64,
    /// Whether `Transport::local` offers the objects themselves.
    local: bool,
    /// Whether streaming lists are refused, as by old servers.
    plain_lists: bool,
}

impl FakeServer {
    /// An empty server whose objects get their times from a clock.
    pub fn new(clock: Clock) -> Self {
        let rng = Rng::seeded(1);
        let shared = Shared {
            objects: Mutex::new(Objects::new(clock, rng)),
            changed: watch::Sender::new(1),
            faults: Mutex::default(),
            requests: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    /// Offers the objects themselves to informers, as a server in the same process does.
    pub fn share_cache(&self) {
        self.shared.faults.lock().local = true;
    }

    /// Refuses streaming lists from now on.
    pub fn refuse_streaming_lists(&self) {
        self.shared.faults.lock().plain_lists = true;
    }

    /// Ends all watches that are open.
    pub fn cut_watches(&self) {
        self.shared.faults.lock().generation += 1;
        self.shared.changed.send_modify(|_| {});
    }

    /// Forgets all history: watches from old revisions are answered 410.
    pub fn compact(&self) {
        self.shared.objects.lock().compact();
    }

    /// Refuses the next request of a method whose path begins so.
    pub fn refuse(&self, method: Method, path: &str, error: ApiError) {
        self.shared.faults.lock().refuse.push((method, path.to_owned(), error));
    }

    /// Stores an object as it is (type, metadata and all); panics where its kind is unknown.
    pub fn put(&self, object: Value) {
        let object = Object::from_value(object).expect("a map");
        let kind =
            api::kinds::of_object(object.api_version(), object.kind()).expect("a known kind");
        let revision = self.shared.objects.lock().put(&kind.resource(), object);
        self.shared.changed.send_replace(revision);
    }

    /// Removes an object at once.
    pub fn remove(&self, resource: &Resource, namespace: &str, name: &str) {
        let mut objects = self.shared.objects.lock();
        if objects.get(resource, namespace, name).is_ok() {
            let revision = objects.remove(resource, namespace, name);
            drop(objects);
            self.shared.changed.send_replace(revision);
        }
    }

    /// All objects of a resource, by namespace and name.
    pub fn all(&self, resource: &Resource) -> Vec<Object> {
        self.shared.objects.lock().list(resource, "").map(|e| (*e.object).clone()).collect()
    }

    /// One object.
    pub fn object(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Object> {
        self.shared.objects.lock().get(resource, namespace, name).ok().map(|s| (*s.object).clone())
    }

    /// The requests so far, as method and path with query.
    pub fn requests(&self) -> Vec<(Method, String)> {
        self.shared.requests.lock().clone()
    }

    /// Waits until the objects are as wanted, looking again after every write.
    pub async fn until(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changed = self.shared.changed.subscribe();
        while !wanted(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        self.shared.requests.lock().push((request.method().clone(), path.to_owned()));
        {
            let mut faults = self.shared.faults.lock();
            let refused = faults.refuse.iter().position(|(method, prefix, _)| {
                method == request.method() && path.starts_with(prefix)
            });
            if let Some(at) = refused {
                return Err(faults.refuse.remove(at).2);
            }
        }
        let route = Route::parse(path)?;
        if route.watch {
            return self.watch(route);
        }
        let mut objects = self.shared.objects.lock();
        let before = objects.revision();
        let answer = objects.serve(&route, request)?;
        let revision = objects.revision();
        drop(objects);
        if revision != before {
            self.shared.changed.send_replace(revision);
        }
        Ok(json_response(200, &answer))
    }

    fn watch(&self, route: Route) -> Result<Response<Body>, ApiError> {
        let faults = self.shared.faults.lock();
        if route.initial_events && faults.plain_lists {
            return Err(ApiError::new(api::Reason::Invalid, "sendInitialEvents is forbidden"));
        }
        let generation = faults.generation;
        drop(faults);
        let objects = self.shared.objects.lock();
        let mut first = Vec::new();
        let mut from = route.revision;
        if route.initial_events || from == 0 {
            for stored in objects.list(&route.resource, &route.namespace) {
                if route.selection.matches(stored) {
                    first.push(frame("ADDED", &stored.object));
                }
            }
            from = objects.revision();
            if route.initial_events {
                first.push(bookmark(&route.resource, from));
            }
        } else if from < objects.compacted() {
            let message = format!("too old resource version: {from} ({})", objects.compacted());
            return Err(ApiError::new(api::Reason::Expired, message));
        }
        drop(objects);
        let changes =
            self.changes(route.resource, route.namespace, route.selection, from, generation);
        let changes = changes.map(|(kind, stored)| frame(kind, &stored.object));
        let frames = stream::iter(first).chain(changes).map(Ok);
        Ok(Response::new(Body::stream(frames)))
    }

    /// The changes of a resource after a revision, as a selection sees them.
    fn changes(
        &self,
        resource: Resource,
        namespace: String,
        selection: Selection,
        from: u64,
        generation: u64,
    ) -> impl stream::Stream<Item = (&'static str, objects::Stored)> + Send + use<> {
        let server = self.clone();
        let changed = self.shared.changed.subscribe();
        let state = (changed, from, Vec::<(&'static str, objects::Stored)>::new().into_iter());
        stream::unfold(state, move |(mut changed, mut from, mut ready)| {
            let (server, resource) = (server.clone(), resource.clone());
            let (namespace, selection) = (namespace.clone(), selection.clone());
            async move {
                loop {
                    if let Some(next) = ready.next() {
                        return Some((next, (changed, from, ready)));
                    }
                    if server.shared.faults.lock().generation != generation {
                        return None;
                    }
                    changed.mark_unchanged();
                    let (found, upto) = {
                        let objects = server.shared.objects.lock();
                        let found: Vec<_> = objects
                            .changes(&resource, &namespace, from)
                            .filter_map(|change| selection.transition(change))
                            .collect();
                        (found, objects.revision())
                    };
                    from = upto;
                    ready = found.into_iter();
                    if ready.len() == 0 {
                        changed.changed().await.ok()?;
                    }
                }
            }
        })
    }
}

impl Selection {
    /// What a change looks like to a watcher that selects.
    fn transition(&self, change: &Change) -> Option<(&'static str, objects::Stored)> {
        let was = change.old.as_ref().is_some_and(|s| self.matches(s));
        let is = change.new.as_ref().is_some_and(|s| self.matches(s));
        let state = change.new.as_ref().unwrap_or(&change.last).clone();
        match (was, is) {
            (false, false) => None,
            (false, true) => Some(("ADDED", state)),
            (true, true) => Some(("MODIFIED", state)),
            (true, false) => Some(("DELETED", state)),
        }
    }
}

fn frame(kind: &str, object: &Object) -> Bytes {
    format!("{}\n", json!({"type": kind, "object": object})).into()
}

fn bookmark(resource: &Resource, revision: u64) -> Bytes {
    let object = json!({
        "kind": resource.kind, "apiVersion": resource.api_version(),
        "metadata": {
            "resourceVersion": revision.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"},
        },
    });
    format!("{}\n", json!({"type": "BOOKMARK", "object": object})).into()
}

fn json_response(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(value.to_string())));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response
}

impl Transport for FakeServer {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>> {
        let server = self.clone();
        async move {
            // Never answer within the caller's own poll: no real server does.
            tokio::task::yield_now().await;
            Ok(match server.answer(&request) {
                Ok(response) => response,
                Err(error) => json_response(error.code, &error.to_status()),
            })
        }
        .boxed()
    }

    fn upgrade(&self, _: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>> {
        async { Err(ApiError::bad_request("no upgrades here").into()) }.boxed()
    }

    fn local(&self, resource: &Resource, options: &ListOptions) -> Option<LocalWatch> {
        let faults = self.shared.faults.lock();
        if !faults.local {
            return None;
        }
        let generation = faults.generation;
        drop(faults);
        let selection = Selection::of(options).ok()?;
        let objects = self.shared.objects.lock();
        let entries: Vec<Arc<Entry>> = objects
            .list(resource, &options.namespace)
            .filter(|s| selection.matches(s))
            .map(|s| s.entry.clone())
            .collect();
        let revision = objects.revision();
        drop(objects);
        let namespace = options.namespace.clone();
        let events = self
            .changes(resource.clone(), namespace, selection, revision, generation)
            .map(|(kind, stored)| {
                vec![match kind {
                    "DELETED" => LocalEvent::Deleted(stored.entry),
                    _ => LocalEvent::Applied(stored.entry),
                }]
            })
            .boxed();
        Some(LocalWatch { revision, entries, events })
    }
}

/// What the tests of one process look up often: names of objects.
pub fn names(objects: &[Object]) -> Vec<String> {
    objects.iter().map(|o| o.name().to_owned()).collect()
}

/// Objects by name.
pub fn by_name(objects: Vec<Object>) -> HashMap<String, Object> {
    objects.into_iter().map(|o| (o.name().to_owned(), o)).collect()
}
