//! Very many small objects: loaded, listed in chunks, watched, read again at the next start.
//!
//! Not here: the rows that have a budget (`api_rows`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::resource::CONFIG_MAPS;
use futures_util::StreamExt as _;
use http::Method;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api_rows::median;
use crate::load::{clients, run as load};
use crate::subject::{Running, Subject};

const NAMESPACE: &str = "many";
const CHUNK: usize = 500;
/// Objects written while a watch runs.
const WATCHED: usize = 1000;

/// Loads `count` config maps and prints what reading them takes.
pub async fn run(count: usize, subject: &Subject) -> Result<()> {
    let server = subject.start().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = server.resident()?;
    row("ready, empty", server.ready_after.as_secs_f64(), "s");
    row("resident memory, empty", empty, "MB");
    let all = clients(server.port)?;
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    all[0].create::<IgnoredAny>(&api::resource::NAMESPACES, "", &namespace).await?;
    let took = load(&all, count, 256, |client, i| async move {
        client.create::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &small(i)).await?;
        Ok(())
    })
    .await?;
    row("loaded, 256 in flight", count as f64 / took.as_secs_f64(), "objects/s");
    tokio::time::sleep(Duration::from_secs(3)).await;
    memory(&server, empty, count)?;
    let bytes = chunks(&all[0], count).await?;
    row("an object's JSON", bytes as f64 / count as f64, "bytes");
    stream(&all[0], count).await?;
    watch(&all, count).await?;
    memory(&server, empty, count)?;
    drop(all);
    let server = subject.restart(server).await?;
    row("started again, ready", server.ready_after.as_secs_f64(), "s");
    memory(&server, empty, count)?;
    chunks(&clients(server.port)?[0], count + WATCHED).await?;
    Ok(())
}

fn row(what: &str, figure: f64, unit: &str) {
    println!("| {what} | {figure:.3} | {unit} |");
}

fn memory(server: &Running, empty: f64, count: usize) -> Result<()> {
    let resident = server.resident()?;
    row("resident memory", resident, "MB");
    row("resident memory an object", (resident - empty) * 1e6 / count as f64, "bytes");
    Ok(())
}

fn small(i: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("map-{i:07}"), "labels": {"shard": format!("s{}", i % 100)}},
        "data": {"value": format!("{i}")},
    })
}

fn path(query: &str) -> String {
    format!("{}?{query}", CONFIG_MAPS.path(Some(NAMESPACE), None, None))
}

/// Lists all, page by page; the bytes read.
async fn chunks(client: &client::Client, count: usize) -> Result<usize> {
    let (mut token, mut times, mut bytes) = (String::new(), Vec::new(), 0);
    let started = Instant::now();
    loop {
        let began = Instant::now();
        let page = path(&format!("limit={CHUNK}&continue={token}"));
        let body = client.raw(Method::GET, &page, "").await?.into_body().bytes().await?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        bytes += body.len();
        let head = String::from_utf8_lossy(&body[..body.len().min(1000)]).into_owned();
        let next = head.split_once("\"continue\":\"").and_then(|(_, rest)| rest.split_once('"'));
        match next {
            Some((next, _)) => token = next.to_owned(),
            None => break,
        }
    }
    anyhow::ensure!(times.len() == count.div_ceil(CHUNK), "{} pages of {count}", times.len());
    row("listed in chunks of 500", started.elapsed().as_secs_f64(), "s");
    let most = times.iter().copied().fold(0.0, f64::max);
    row("a chunk (median)", median(&mut times), "ms");
    row("a chunk (the slowest)", most, "ms");
    Ok(bytes)
}

/// Reads frames until a line count.
async fn lines(body: &mut client::Body, wanted: usize) -> Result<()> {
    let mut seen = 0;
    while seen < wanted {
        let chunk = body.next().await.context("a watch ended early")??;
        seen += chunk.iter().filter(|b| **b == b'\n').count();
    }
    Ok(())
}

/// A watch that begins with all objects, up to the bookmark after them.
async fn stream(client: &client::Client, count: usize) -> Result<()> {
    let started = Instant::now();
    let query = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut body = client.raw(Method::GET, &path(query), "").await?.into_body();
    lines(&mut body, count + 1).await?;
    row("streamed as a watch's first events", started.elapsed().as_secs_f64(), "s");
    Ok(())
}

/// Events of writes while a watch runs.
async fn watch(all: &std::sync::Arc<Vec<client::Client>>, count: usize) -> Result<()> {
    let page = all[0].raw(Method::GET, &path("limit=1"), "").await?.into_body().bytes().await?;
    let page: Value = serde_json::from_slice(&page)?;
    let revision = page["metadata"]["resourceVersion"].as_str().context("no revision")?;
    let query = format!("watch=true&resourceVersion={revision}");
    let mut body = all[0].raw(Method::GET, &path(&query), "").await?.into_body();
    let started = Instant::now();
    let seen = tokio::spawn(async move { lines(&mut body, WATCHED).await });
    load(all, WATCHED, 64, move |client, i| async move {
        client.create::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &small(count + i)).await?;
        Ok(())
    })
    .await?;
    seen.await??;
    let rate = WATCHED as f64 / started.elapsed().as_secs_f64();
    row("written and seen by a watch, 64 in flight", rate, "events/s");
    Ok(())
}
