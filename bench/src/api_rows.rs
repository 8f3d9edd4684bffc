//! The rows of the API server: start-up, memory, writes, reads, watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::resource::{CONFIG_MAPS, PODS};
use client::{DeleteOptions, ListOptions};
use futures_util::StreamExt as _;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::Args;
use crate::load::{clients, run as load};
use crate::report::Report;
use crate::subject::{Running, Subject};

const NAMESPACE: &str = "bench";
const WATCHERS: usize = 200;
const LISTS: usize = 20;
/// Events that the fan-out row causes.
const WATCHED_WRITES: usize = 1000;

/// Measures every row of the API server that `--only` selects.
pub async fn run(args: &Args, subject: &Subject, report: &mut Report) -> Result<()> {
    let upstream = subject.is_upstream();
    let wanted = |name: &str| name.contains(&args.only);
    let server = subject.start().await?;
    report.add("ready, empty", server.ready_after.as_secs_f64(), upstream);
    // Whatever the server still does right after its start is not what rests in memory.
    tokio::time::sleep(Duration::from_secs(2)).await;
    report.add("resident memory, empty", server.resident()?, upstream);
    let clients = clients(server.port)?;
    let client = &clients[0];
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    client.create::<IgnoredAny>(&api::resource::NAMESPACES, "", &namespace).await?;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    client.create::<IgnoredAny>(&api::resource::SERVICE_ACCOUNTS, NAMESPACE, &account).await?;

    let rate = |took: Duration, count: usize| count as f64 / took.as_secs_f64();
    let cpu = Cpu::begin(&server)?;
    let took = load(&clients, args.pods, 64, |client, i| async move {
        client.create::<IgnoredAny>(&PODS, NAMESPACE, &pod(i)).await?;
        Ok(())
    })
    .await?;
    cpu.end("a pod created", args.pods)?;
    report.add("create pods, 64 in flight", rate(took, args.pods), upstream);
    let maps = args.pods * 4 / 10;
    let cpu = Cpu::begin(&server)?;
    let took = load(&clients, maps, 64, |client, i| async move {
        client.create::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &config_map(i)).await?;
        Ok(())
    })
    .await?;
    cpu.end("a config map created", maps)?;
    report.add("create configmaps, 64 in flight", rate(took, maps), upstream);
    tokio::time::sleep(Duration::from_secs(2)).await;
    report.add("resident memory, loaded", server.resident()?, upstream);

    if wanted("GET one pod, 32 in flight") {
        let count = args.pods * 5;
        let cpu = Cpu::begin(&server)?;
        let took = load(&clients, count, 32, |client, _| async move {
            read(&client, &PODS.path(Some(NAMESPACE), Some("pod-0"), None)).await?;
            Ok(())
        })
        .await?;
        cpu.end("a GET", count)?;
        report.add("GET one pod, 32 in flight", rate(took, count), upstream);
    }
    let list = PODS.path(Some(NAMESPACE), None, None);
    let mut times = Vec::new();
    let (cpu, mut length) = (Cpu::begin(&server)?, 0);
    for _ in 0..LISTS {
        let started = Instant::now();
        length = read(client, &list).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    eprintln!("the list has {:.1} MB", length as f64 / 1e6);
    cpu.end("a list", LISTS)?;
    report.add("LIST 10,000 pods", median(&mut times), upstream);
    let none = format!("{list}?labelSelector=nobody%3Dhas-this");
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        read(client, &none).await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    report.add("LIST, selector matches nothing", median(&mut times), upstream);
    if wanted("watch fan-out, 200 watchers") {
        match fan_out(&clients).await {
            Ok(rate) => report.add("watch fan-out, 200 watchers", rate, upstream),
            // Upstream closes the watches that it cannot feed fast enough: no figure, the rest goes on.
            Err(error) if upstream => eprintln!("upstream: watch fan-out: {error:#}"),
            Err(error) => return Err(error),
        }
    }
    let cpu = Cpu::begin(&server)?;
    let started = Instant::now();
    let now = DeleteOptions::new().grace(0);
    client.delete_collection(&PODS, NAMESPACE, &now, &ListOptions::all()).await?;
    report.add("delete a collection of 10,000 pods", started.elapsed().as_secs_f64(), upstream);
    cpu.end("a pod deleted", args.pods)?;
    Ok(())
}

/// The server's CPU time over a row: steadier than the row's own figure where others use the machine.
struct Cpu<'a> {
    server: &'a Running,
    before: f64,
}

impl<'a> Cpu<'a> {
    fn begin(server: &'a Running) -> Result<Self> {
        Ok(Self { server, before: server.cpu()? })
    }

    fn end(self, what: &str, count: usize) -> Result<()> {
        let micros = (self.server.cpu()? - self.before) * 1e6 / count as f64;
        eprintln!("  of which {micros:.0} µs of the server's CPU time {what}");
        Ok(())
    }
}

/// Reads an answer to its end without looking at it; its length.
pub async fn read(client: &client::Client, path: &str) -> Result<usize> {
    let mut body = client.raw(http::Method::GET, path, "").await?.into_body();
    let mut length = 0;
    while let Some(chunk) = body.next().await {
        length += chunk?.len();
    }
    Ok(length)
}

/// Events a second that all watchers together receive while config maps are written.
async fn fan_out(clients: &Arc<Vec<client::Client>>) -> Result<f64> {
    let list = clients[0].list::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &ListOptions::all()).await?;
    let expected = WATCHED_WRITES;
    let seen = Arc::new(AtomicUsize::new(0));
    let mut watchers = tokio::task::JoinSet::new();
    for i in 0..WATCHERS {
        let options =
            ListOptions { resource_version: list.resource_version.clone(), ..ListOptions::all() };
        let query = options.query(true);
        let path = format!("{}?{query}", CONFIG_MAPS.path(Some(NAMESPACE), None, None));
        let (client, seen) = (clients[i % clients.len()].clone(), seen.clone());
        let mut body = client.raw(http::Method::GET, &path, "").await?.into_body();
        watchers.spawn(async move {
            let mut mine = 0;
            while mine < expected {
                let chunk = body.next().await.context("a watch ended early")??;
                // A frame is a line; counting its ends is all the load generator does.
                let lines = chunk.iter().filter(|b| **b == b'\n').count();
                mine += lines;
                seen.fetch_add(lines, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    let started = Instant::now();
    load(clients, WATCHED_WRITES, 64, |client, i| async move {
        client.create::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &config_map(1_000_000 + i)).await?;
        Ok(())
    })
    .await?;
    while let Some(done) = watchers.join_next().await {
        done??;
    }
    Ok(seen.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64())
}

/// The middle one.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A pod that takes 2.7 KB once it is defaulted and owned: 10,000 of them are a list of 27 MB.
fn pod(i: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{i}"), "labels": {"app": format!("app-{}", i % 100), "tier": "web"},
        },
        "spec": {
            "containers": [{
                "name": "main", "image": "registry.example.com/team/app:v1.2.3",
                "command": ["/bin/app", "--listen=:8080"],
                "env": [{"name": "A", "value": "1"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/app"}],
            }],
            "volumes": [{"name": "config", "configMap": {"name": "app"}}],
        },
    })
}

fn config_map(i: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": format!("map-{i}")}, "data": {"content": "x".repeat(500)},
    })
}
