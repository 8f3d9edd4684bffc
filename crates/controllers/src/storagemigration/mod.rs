//! Storage version migrations: all objects of a resource are written once more, so that none is stored
//! in an older version.
//!
//! Here is the wiring and the writing; `plan` says which migration runs. Off where the API is not served,
//! as it is by default. Not here: in which version objects are stored (the API server).

mod plan;

use std::sync::Arc;
use std::time::Duration;

use api::{Object, Resource};
use bytes::Bytes;
use client::{Client, Error, Informer, ListOptions, Patch, Recorder, Requeue};
use futures_util::{TryStreamExt, stream};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::action::{self, AT_ONCE, Failed};
use crate::context::{Context, Name, ignore_missing};
use crate::discovery::{self, Served};
use plan::{DEFINITIONS, MIGRATIONS};

/// Upstream's name, which is also that of its field manager.
const NAME: &str = "storage-version-migrator-controller";
/// What a resource must allow.
const VERBS: [&str; 3] = ["update", "patch", "list"];
const PAGE: u32 = 500;
/// A resource may be as new as its migration; it is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for an answer on whether there are migrations at all.
const AGAIN: Duration = Duration::from_secs(5);

pub async fn run(ctx: Context) {
    if !is_served(&ctx).await {
        return;
    }
    let migrations = ctx.informer(&MIGRATIONS);
    let recorder = ctx.recorder(NAME);
    // Keys are groups and resources: one migration of a resource runs at a time.
    let queue = ctx.queue::<Name>("storage_version_migrator");
    let keys = queue.clone();
    ctx.follow(&migrations, move |delta| {
        if let Ok(migration) = delta.latest().object() {
            keys.add(resource_of(&migration));
        }
    });
    let (context, view) = (ctx.clone(), migrations.clone());
    ctx.work(&[&migrations], queue, ctx.config.workers, move |key| {
        let (context, view, recorder) = (context.clone(), view.clone(), recorder.clone());
        async move { one(&context, &view, &recorder, &key).await }
    })
    .await;
}

/// Whether the server has migrations; it does not come to have them while it runs.
async fn is_served(ctx: &Context) -> bool {
    let path = format!("/apis/{}/{}", MIGRATIONS.group, MIGRATIONS.version);
    loop {
        let Ok(request) = Request::get(&path).body(Bytes::new()) else { return false };
        match ctx.client.send(request).await.map(|answer| answer.status()) {
            Ok(status) if status.is_success() => return true,
            Ok(StatusCode::NOT_FOUND) => return false,
            _ => tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = ctx.shutdown.cancelled() => return false,
            },
        }
    }
}

fn resource_of(migration: &Object) -> Name {
    let text = |path: &str| Arc::from(migration.text(path).unwrap_or(""));
    (text("spec.resource.group"), text("spec.resource.resource"))
}

async fn one(
    ctx: &Context,
    view: &Informer,
    recorder: &Recorder,
    key: &Name,
) -> Result<Requeue, Failed> {
    let (group, plural) = key;
    let mut all = Vec::new();
    for entry in view.list() {
        let migration = entry.object()?;
        if resource_of(&migration) == *key {
            all.push(migration);
        }
    }
    let name = format!("{plural}.{group}");
    let definition = match ctx.client.get::<Object>(&DEFINITIONS, "", &name).await {
        Err(error) if error.is_not_found() => None,
        found => Some(found?),
    };
    let step = plan::plan(&all, definition.as_ref(), ctx.clock.now());
    action::perform(&ctx.client, recorder, step.plan.actions).await?;
    match all.iter().find(|m| step.work.as_deref() == Some(m.name())) {
        Some(migration) => work(ctx, recorder, migration, key).await,
        None => Ok(Requeue::Done),
    }
}

/// Takes a running migration further.
async fn work(
    ctx: &Context,
    recorder: &Recorder,
    migration: &Object,
    (group, plural): &Name,
) -> Result<Requeue, Failed> {
    let served = discovery::served(&ctx.client).await?;
    let named = |s: &&Served| s.resource.group == **group && s.resource.plural == **plural;
    let fits = |s: &Served| VERBS.iter().all(|verb| s.can(verb));
    let revision = migration.text("status.resourceVersion").filter(|rv| !rv.is_empty());
    let outcome = match (served.iter().find(named), revision) {
        (None, _) if is_young(ctx, migration) => return Ok(Requeue::Backoff),
        (None, _) => Err("resource does not exist in discovery".to_owned()),
        (Some(found), _) if !fits(found) => Err(format!(
            "resource {:?} cannot be listed, patched and updated",
            found.resource.qualified()
        )),
        (Some(found), None) => {
            let options = ListOptions { limit: Some(1), ..ListOptions::default() };
            let list = ctx.client.list::<IgnoredAny>(&found.resource, "", &options).await?;
            Ok(Some(plan::begun(migration, &list.resource_version)))
        }
        (Some(found), Some(revision)) => {
            match rewrite(&ctx.client, &found.resource, revision).await {
                Ok(()) => Ok(None),
                Err(error) if is_passing(&error) => return Err(error.into()),
                Err(error) => Err(format!("migration encountered unhandled error: {error}")),
            }
        }
    };
    let action = match &outcome {
        Ok(Some(begun)) => begun.clone(),
        Ok(None) => plan::ended(migration, Ok(()), ctx.clock.now()),
        Err(why) => plan::ended(migration, Err(why), ctx.clock.now()),
    };
    action::perform_one(&ctx.client, recorder, action).await?;
    Ok(Requeue::Done)
}

fn is_young(ctx: &Context, migration: &Object) -> bool {
    let made = migration.creation_timestamp().parse::<jiff::Timestamp>();
    made.is_ok_and(|made| ctx.clock.now().duration_since(made).unsigned_abs() < PATIENCE)
}

/// Whether the same request may do well later.
fn is_passing(error: &Error) -> bool {
    error.api().is_none_or(|e| matches!(e.code, 410 | 429 | 500 | 503 | 504))
}

#[derive(Deserialize)]
struct Listed {
    metadata: ListedMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedMeta {
    name: String,
    #[serde(default)]
    namespace: String,
    uid: String,
    resource_version: String,
}

/// Writes all objects up to a revision as they are: the server stores them in its present version.
async fn rewrite(client: &Client, resource: &Resource, revision: &str) -> Result<(), Error> {
    let newest: u64 = revision.parse().unwrap_or(u64::MAX);
    let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
    loop {
        let page = client.list::<Listed>(resource, "", &options).await?;
        let older = page.items.into_iter().map(|item| item.metadata);
        let older = older.filter(|m| m.resource_version.parse().unwrap_or(0) <= newest);
        stream::iter(older.map(Ok))
            .try_for_each_concurrent(AT_ONCE, |meta| rewrite_one(client, resource, meta))
            .await?;
        if page.continue_token.is_empty() {
            return Ok(());
        }
        options.continue_token = page.continue_token;
    }
}

async fn rewrite_one(client: &Client, resource: &Resource, meta: ListedMeta) -> Result<(), Error> {
    // With both, an object that has changed, gone or come again since is a conflict: it needs nothing.
    let body = json!({
        "apiVersion": resource.api_version(), "kind": resource.kind,
        "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
    });
    let apply = Patch::Apply { manager: NAME, force: false };
    let written =
        client.patch::<IgnoredAny>(resource, &meta.namespace, &meta.name, None, apply, &body).await;
    match written {
        Err(error) if error.is_conflict() => Ok(()),
        written => ignore_missing(written),
    }
}
