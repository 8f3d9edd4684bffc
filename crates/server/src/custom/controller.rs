//! Settles definitions: their names and conditions; and, when one is deleted, empties its resource
//! before it lets it go.
//!
//! One task follows the definitions and looks again at those that an event is about, and at those of
//! the same group that wait for a name. Not here: which names are free (`api::crd::conditions`),
//! serving.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use api::crd::{CLEANUP, conditions};
use api::{ApiError, Object, Value, kinds};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use store::EventKind;

use super::{Custom, Served, Table};
use crate::gate::UserInfo;
use crate::registry::delete::Options;
use crate::registry::remove;
use crate::registry::update::{Style, Update, update};
use crate::registry::write::Context;
use crate::server::{Server, Target};

/// Groups settled at once.
const WIDTH: usize = 16;
/// Objects under deletion at once.
const DELETIONS: usize = 64;
/// How long what failed waits.
const AGAIN: Duration = Duration::from_secs(1);

/// Follows the definitions until the server ends.
pub async fn run(server: Arc<Server>) {
    let (snapshot, mut watcher) = server.customs.cache.list_and_watch(None);
    let mut due: BTreeSet<String> = snapshot.iter().map(|e| e.card.name.to_string()).collect();
    drop(snapshot);
    loop {
        due = work(&server, due).await;
        let retry = !due.is_empty();
        tokio::select! {
            () = server.shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN), if retry => {}
            batch = watcher.next_batch() => match batch {
                Ok(events) => {
                    let table = server.customs.table();
                    for event in events.iter() {
                        let name = &*event.entry.card.name;
                        let group = name.split_once('.').map_or("", |(_, group)| group);
                        due.extend(waiting(&table, group));
                        if event.kind != EventKind::Deleted {
                            due.insert(name.to_owned());
                        }
                    }
                }
                Err(_) => {
                    let (snapshot, fresh) = server.customs.cache.list_and_watch(None);
                    watcher = fresh;
                    due.extend(snapshot.iter().map(|e| e.card.name.to_string()));
                }
            },
        }
    }
}

/// The definitions of a group that do not have all their names.
fn waiting(table: &Table, group: &str) -> Vec<String> {
    let of_group = table.definitions.values().filter(|s| s.definition.group == group);
    of_group.filter(|s| !s.settled).map(|s| s.definition.name.clone()).collect()
}

/// Settles definitions, those of one group one after the other. Returns those that failed.
async fn work(server: &Arc<Server>, due: BTreeSet<String>) -> BTreeSet<String> {
    let table = server.customs.table();
    let mut groups: BTreeMap<String, Vec<Arc<Served>>> = BTreeMap::new();
    for name in due {
        let Some(served) = table.definitions.get(&*name) else { continue };
        groups.entry(served.definition.group.clone()).or_default().push(served.clone());
    }
    let table = &table;
    stream::iter(groups)
        .map(|(group, due)| async move {
            // The names in use, kept current while the group's definitions get theirs.
            let of_group = table.definitions.values().filter(|s| s.definition.group == group);
            let mut taken: HashMap<String, Value> =
                of_group.map(|s| (s.definition.name.clone(), s.accepted.clone())).collect();
            let mut failed = Vec::new();
            for served in due {
                let name = &served.definition.name;
                match one(server, &served, &taken).await {
                    Ok(Some(accepted)) => {
                        taken.insert(name.clone(), accepted);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(%error, definition = %name, "a definition could not be settled");
                        failed.push(name.clone());
                    }
                }
            }
            failed
        })
        .buffer_unordered(WIDTH)
        .flat_map(stream::iter)
        .collect()
        .await
}

/// Settles a definition; the names it has come to have.
async fn one(
    server: &Arc<Server>,
    served: &Arc<Served>,
    taken: &HashMap<String, Value>,
) -> Result<Option<Value>, ApiError> {
    let name = &served.definition.name;
    if served.definition.terminating {
        if server.customs.emptying.lock().insert(served.definition.uid.clone()) {
            tokio::spawn(empty(server.clone(), served.clone()));
        }
        return Ok(None);
    }
    let others = || taken.iter().filter(|(other, _)| *other != name).map(|(_, names)| names);
    let now = server.clock.time();
    let settled = |object: &mut Object| conditions::settle(object, others(), &now);
    let accepted = Mutex::new(None);
    change(server, name, "status", |object| {
        settled(object);
        *accepted.lock() = object.at("status.acceptedNames").cloned();
    })
    .await?;
    Ok(accepted.into_inner())
}

/// Changes a definition on behalf of the server.
async fn change(
    server: &Arc<Server>,
    name: &str,
    sub: &str,
    edit: impl Fn(&mut Object) + Send + Sync,
) -> Result<(), ApiError> {
    let Some(mut target) = target(server, name) else { return Ok(()) };
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
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
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
}
