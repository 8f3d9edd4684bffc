//! Settles definitions: their names and conditions; and, when one is deleted, empties its resource
//! before it lets it go.
//!
//! One task follows the definitions and looks again at those that an event is about, and at those of
//! the same group that wait for a name; what it wrote itself is no news. Not here: which names are
//! free (`api::crd::conditions`), serving.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api::crd::CLEANUP;
use api::crd::conditions::{self, Names};
use api::{ApiError, Object, Value, kinds};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use store::EventKind;

use super::{Custom, Served};
use crate::gate::UserInfo;
use crate::registry::delete::Options;
use crate::registry::remove;
use crate::registry::update::{Style, Update, update};
use crate::registry::write::{Context, Outcome, Written};
use crate::server::{Server, Target};

/// Definitions settled at once.
const WIDTH: usize = 16;
/// Objects under deletion at once.
const DELETIONS: usize = 64;
/// How long what failed waits.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the definitions until the server ends.
pub async fn run(server: Arc<Server>) {
    let (snapshot, mut watcher) = server.customs.cache.list_and_watch(None);
    let mut due: BTreeSet<Arc<str>> = snapshot.iter().map(|e| e.card.name.clone()).collect();
    drop(snapshot);
    // What was written here needs no second look.
    let mut own: HashMap<Arc<str>, u64> = HashMap::new();
    let mut freed: HashMap<String, u64> = HashMap::new();
    loop {
        due = work(&server, due, &mut own).await;
        let retry = !due.is_empty();
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if retry => {}
            batch = watcher.next_batch() => match batch {
                Ok(events) => {
                    let table = server.customs.table();
                    for event in events {
                        let name = &event.entry.card.name;
                        let group = name.split_once('.').map_or("", |(_, group)| group);
                        if let Some(known) = table.group(group) {
                            let before = freed.insert(group.to_owned(), known.freed);
                            if before != Some(known.freed) {
                                due.extend(known.waiting.iter().cloned());
                            }
                        } else {
                            freed.remove(group);
                        }
                        if event.kind == EventKind::Deleted {
                            own.remove(name);
                        } else if own.get(name) != Some(&event.revision) {
                            due.insert(name.clone());
                        }
                    }
                }
                Err(_) => {
                    let (snapshot, fresh) = server.customs.cache.list_and_watch(None);
                    watcher = fresh;
                    due.extend(snapshot.iter().map(|e| e.card.name.clone()));
                }
            },
        }
    }
}

/// Settles definitions. Returns those that failed.
async fn work(
    server: &Arc<Server>,
    due: BTreeSet<Arc<str>>,
    own: &mut HashMap<Arc<str>, u64>,
) -> BTreeSet<Arc<str>> {
    let table = server.customs.table();
    // Names that definitions are about to get; the table has the others.
    let mut given: HashMap<String, Arc<Mutex<Names>>> = HashMap::new();
    let mut work = Vec::new();
    for name in due {
        let Some(served) = table.get(&name).cloned() else { continue };
        let given = given.entry(served.definition.group.clone()).or_default().clone();
        work.push(async move {
            let settled = one(server, &served, &given).await;
            (name, settled)
        });
    }
    drop(table);
    let mut done = stream::iter(work).buffer_unordered(WIDTH);
    let mut failed = BTreeSet::new();
    while let Some((name, settled)) = done.next().await {
        match settled {
            Ok(Some(revision)) => {
                own.insert(name, revision);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%error, definition = %name, "a definition could not be settled");
                failed.insert(name);
            }
        }
    }
    failed
}

static NOBODYS: LazyLock<Names> = LazyLock::new(Names::default);

/// Settles a definition; the revision that this leaves.
async fn one(
    server: &Arc<Server>,
    served: &Arc<Served>,
    given: &Mutex<Names>,
) -> Result<Option<u64>, ApiError> {
    let name: Arc<str> = served.definition.name.as_str().into();
    if served.definition.terminating {
        if server.customs.emptying.lock().insert(served.definition.uid.clone()) {
            tokio::spawn(empty(server.clone(), served.clone()));
        }
        return Ok(None);
    }
    let now = server.clock.time();
    change(server, &name, "status", |object| {
        // A name is given to one alone, though several ask at once.
        let mut given = given.lock();
        server.customs.with(|table| {
            let group = table.group(&served.definition.group);
            let before = group.map_or(&*NOBODYS, |group| &group.names);
            conditions::settle(object, &[before, &given], &now);
        });
        given.add(&name, object.at("status.acceptedNames").unwrap_or(&Value::Null));
    })
    .await
}

/// Changes a definition on behalf of the server; the revision that this leaves.
async fn change(
    server: &Arc<Server>,
    name: &str,
    sub: &str,
    edit: impl Fn(&mut Object) + Send + Sync,
) -> Result<Option<u64>, ApiError> {
    let Some(mut target) = target(server, name) else { return Ok(None) };
    target.sub = sub.to_owned();
    let user = user();
    let mut ctx = context(server, &user);
    let transform = |live: Option<&Object>| {
        let mut object = live.ok_or_else(|| target.not_found())?.clone();
        edit(&mut object);
        Ok(object)
    };
    let change = Update { transform: &transform, create: false, style: Style::Patch };
    match update(&mut ctx, &target, &change).await {
        Ok(Written { outcome: Outcome::Committed(entry), .. }) => Ok(Some(entry.revision)),
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn target(server: &Arc<Server>, name: &str) -> Option<Target> {
    let kind = kinds::find("apiextensions.k8s.io", "v1", "customresourcedefinitions")?;
    Some(Target::new(server, kind, "", name))
}

fn user() -> UserInfo {
    UserInfo::new("system:apiserver", &["system:masters", "system:authenticated"])
}

fn context<'a>(server: &'a Arc<Server>, user: &'a UserInfo) -> Context<'a> {
    Context {
        server,
        user,
        dry_run: false,
        manager: "kube-apiserver".to_owned(),
        options: Object::default(),
        warnings: Vec::new(),
        collection: false,
        applied: false,
        spaced: false,
    }
}

/// Deletes a definition's objects, waits until they are gone, and lets the definition go.
async fn empty(server: Arc<Server>, served: Arc<Served>) {
    let name = served.definition.name.clone();
    while !server.shutdown.is_cancelled() {
        match emptied(&server, &served).await {
            Ok(()) => break,
            Err(error) => {
                tracing::warn!(%error, definition = %name, "its objects could not be deleted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    server.customs.emptying.lock().remove(&served.definition.uid);
}

async fn emptied(server: &Arc<Server>, served: &Arc<Served>) -> Result<(), ApiError> {
    let name = served.definition.name.as_str();
    let say = |status: bool, reason: &'static str, message: &'static str| {
        let now = server.clock.time();
        change(server, name, "status", move |object| {
            conditions::terminating(object, status, reason, message, &now);
        })
    };
    say(true, "InstanceDeletionInProgress", "CustomResource deletion is in progress").await?;
    if served.definition.established {
        let custom = Custom { served: served.clone(), version: served.definition.storage };
        let all = Target::of_custom(server, &custom, "", "");
        loop {
            let (snapshot, mut watcher) = all.cache.list_and_watch(None);
            if snapshot.iter().next().is_none() {
                break;
            }
            let user = user();
            let outcomes: Vec<Result<(), ApiError>> = stream::iter(snapshot.iter().cloned())
                .map(|entry| {
                    let one = all.named(&entry.card.namespace, &entry.card.name);
                    let user = &user;
                    async move {
                        let mut ctx = context(server, user);
                        match remove::delete(&mut ctx, &one, &Options::default()).await {
                            Err(error) if !error.is_not_found() => Err(error),
                            _ => Ok(()),
                        }
                    }
                })
                .buffer_unordered(DELETIONS)
                .collect()
                .await;
            outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
            if all.cache.is_empty() {
                break;
            }
            // What is left waits for its finalizers.
            tokio::select! {
                () = server.shutdown.cancelled() => return Ok(()),
                _ = watcher.next_batch() => {}
            }
        }
    }
    say(false, "InstanceDeletionCompleted", "removed all instances").await?;
    change(server, name, "", |object| {
        let left: Vec<api::Value> =
            object.finalizers().filter(|f| *f != CLEANUP).map(Into::into).collect();
        object.set_meta("finalizers", if left.is_empty() { api::Value::Null } else { left.into() });
    })
    .await
    .map(|_| ())
}
