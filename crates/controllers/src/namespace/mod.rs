//! Deleting a namespace: everything in it goes first.
//!
//! Here is the wiring and the emptying; `plan` says how it stands. Pods go before everything else, so
//! that nothing they use (secrets, volumes, network policies) goes while they run. Not here: deleting
//! what is left of an object's owner (`garbage`).

mod plan;

use std::sync::Arc;

use api::resource::{NAMESPACES, PODS};
use api::{Object, Value};
use client::{Client, DeleteOptions, Error, ListOptions, Requeue};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::action::{self, Failed};
use crate::context::{Context, Name, ignore_missing};
use crate::discovery::{self, Served};
use crate::meta::Meta;
use plan::{FINALIZER, Found, Remaining};

/// Resources looked at side by side.
const AT_ONCE: usize = 16;
const PAGE: u32 = 500;

pub async fn run(ctx: Context) {
    let namespaces = ctx.informer(&NAMESPACES);
    let pods = ctx.informer(&PODS);
    let recorder = ctx.recorder("namespace-controller");
    let queue = ctx.queue::<Name>("namespace");
    let keys = queue.clone();
    ctx.follow(&namespaces, move |delta| {
        if let Some(entry) = delta.new.as_ref().filter(|e| e.card.deleting) {
            keys.add((Arc::from(""), entry.card.name.clone()));
        }
    });
    let (keys, view) = (queue.clone(), namespaces.clone());
    ctx.follow(&pods, move |delta| {
        let card = &delta.latest().card;
        if delta.new.is_none() && view.get("", &card.namespace).is_some_and(|e| e.card.deleting) {
            keys.add((Arc::from(""), card.namespace.clone()));
        }
    });
    let context = ctx.clone();
    ctx.work(&[&namespaces], queue, ctx.config.workers, move |(_, name)| {
        let (context, recorder) = (context.clone(), recorder.clone());
        async move {
            let client = &context.client;
            let live: Object = match client.get(&NAMESPACES, "", &name).await {
                Ok(live) => live,
                Err(error) => {
                    ignore_missing::<()>(Err(error))?;
                    return Ok::<_, Failed>(Requeue::Done);
                }
            };
            if !live.is_deleting() || !plan::holds(&live) {
                return Ok(Requeue::Done);
            }
            let found = empty(client, &name).await;
            if found.is_empty() {
                finalize(client, live).await?;
                return Ok(Requeue::Done);
            }
            let plan = plan::plan(&live, &found, context.clock.now());
            let requeue = if plan.again.is_some() { plan.requeue() } else { Requeue::Backoff };
            action::perform(client, &recorder, plan.actions).await?;
            Ok(requeue)
        }
    })
    .await;
}

/// Deletes what is in a namespace; tells what is left.
async fn empty(client: &Client, namespace: &str) -> Found {
    let mut found = Found::default();
    let served = match discovery::served(client).await {
        Ok(served) => served,
        // A server without aggregated discovery has no kinds but the built-in ones that we could know.
        Err(error) if error.api().is_some() => discovery::built_in(),
        Err(error) => {
            found.discovery = Some(error.to_string());
            discovery::built_in()
        }
    };
    let deletable = |s: &Served| s.resource.namespaced && s.can("list") && s.can("delete");
    let (pods, others): (Vec<Served>, Vec<Served>) = served
        .into_iter()
        .filter(deletable)
        .partition(|s| s.resource.group.is_empty() && s.resource.plural == "pods");
    for wave in [pods, others] {
        let outcomes: Vec<_> = stream::iter(wave)
            .map(|served| async move {
                let left = empty_one(client, namespace, &served).await;
                (served.resource, left)
            })
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (resource, left) in outcomes {
            match left {
                Ok(left) if left.count == 0 => {}
                Ok(left) => found.remaining.push(left),
                Err(error) => found.failures.push(format!("{}: {error}", resource.qualified())),
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found.remaining.sort_by(|a, b| a.resource.cmp(&b.resource));
    found.failures.sort();
    found
}

#[derive(Deserialize)]
struct Left {
    metadata: LeftMeta,
    #[serde(default)]
    spec: Option<LeftSpec>,
}

#[derive(Deserialize)]
struct LeftMeta {
    #[serde(flatten)]
    meta: Meta,
    #[serde(rename = "deletionGracePeriodSeconds", default)]
    grace: Option<u64>,
}

#[derive(Deserialize)]
struct LeftSpec {
    #[serde(rename = "terminationGracePeriodSeconds", default)]
    grace: Option<u64>,
}

async fn list(client: &Client, namespace: &str, served: &Served) -> Result<Vec<Left>, Error> {
    let mut options = ListOptions { limit: Some(PAGE), ..ListOptions::default() };
    let mut all = Vec::new();
    loop {
        let page = client.list::<Left>(&served.resource, namespace, &options).await?;
        all.extend(page.items);
        if page.continue_token.is_empty() {
            return Ok(all);
        }
        options.continue_token = page.continue_token;
    }
}

async fn empty_one(client: &Client, namespace: &str, served: &Served) -> Result<Remaining, Error> {
    let resource = &served.resource;
    let mut left = match list(client, namespace, served).await {
        Ok(left) => left,
        // The resource itself has gone since.
        Err(error) if error.is_not_found() => Vec::new(),
        Err(error) => return Err(error),
    };
    if !left.is_empty() {
        let options = DeleteOptions::new().propagation(client::Propagation::Background);
        if served.can("deletecollection") {
            let all = ListOptions::default();
            client.delete_collection(resource, namespace, &options, &all).await?;
        } else {
            for object in left.iter().filter(|o| !o.metadata.meta.is_deleting()) {
                let name = &object.metadata.meta.name;
                ignore_missing(client.delete(resource, namespace, name, &options).await)?;
            }
        }
        left = list(client, namespace, served).await?;
    }
    let grace =
        |o: &Left| o.metadata.grace.or_else(|| o.spec.as_ref().and_then(|s| s.grace)).unwrap_or(0);
    let mut finalizers = std::collections::BTreeMap::new();
    for name in left.iter().flat_map(|o| &o.metadata.meta.finalizers) {
        *finalizers.entry(name.clone()).or_insert(0) += 1;
    }
    let pods = resource.plural == "pods" && resource.group.is_empty();
    Ok(Remaining {
        resource: format!("{}.{}", resource.plural, resource.group),
        count: left.len(),
        finalizers,
        grace: if pods { left.iter().map(grace).max().unwrap_or(0) } else { 0 },
    })
}

/// Lets the namespace itself go.
async fn finalize(client: &Client, mut namespace: Object) -> Result<(), Failed> {
    let name = namespace.name().to_owned();
    let others: Vec<Value> = namespace
        .at("spec.finalizers")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|f| *f != FINALIZER)
        .cloned()
        .collect();
    namespace.map_mut("spec").insert("finalizers".into(), json!(others));
    let done =
        client.replace::<IgnoredAny>(&NAMESPACES, "", &name, Some("finalize"), &namespace).await;
    Ok(ignore_missing(done)?)
}
