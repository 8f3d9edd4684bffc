//! The rows of a whole cluster on this machine: start-up, pod start latency, memory and CPU at rest.
//!
//! Needs root, containerd and an image (`--image`). Upstream's figures for these rows were recorded
//! over the same containerd; a whole upstream cluster is not started here.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use api::resource::{NODES, PODS};
use api::{Object, Value};
use client::{Client, DeleteOptions, ListOptions, WatchEvent};
use serde::de::IgnoredAny;
use serde_json::json;

use crate::Args;
use crate::api_rows::median;
use crate::report::Report;
use crate::subject::{client, cpu_seconds, free_port, ready, resident, token_file};

/// How long the cluster is left alone before its rest is measured, and for how long it is.
const SETTLE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_secs(30);

/// Measures the rows; they are left out, with a word, where no image is given.
pub async fn run(args: &Args, report: &mut Report) -> Result<()> {
    let Some([archive, image]) = args.image.as_deref() else {
        eprintln!("no --image: the node's rows are left out");
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let outcome = measure(args, dir.path(), &data, archive, image, report).await;
    // Pods outlive the server on purpose; the benchmark leaves nothing.
    let removed =
        Command::new(&args.isopod).arg("uninstall").arg("--data-dir").arg(&data).status()?;
    outcome?;
    if !removed.success() {
        bail!("isopod uninstall failed");
    }
    Ok(())
}

async fn measure(
    args: &Args,
    dir: &Path,
    data: &Path,
    archive: &str,
    image: &str,
    report: &mut Report,
) -> Result<()> {
    let tokens = token_file(dir)?;
    let start = |port: u16| -> Result<Child> {
        let log =
            std::fs::File::options().create(true).append(true).open(dir.join("server.log"))?;
        let mut command = Command::new(&args.isopod);
        command.args(["server", "--log", "warn", "--secure-port"]).arg(port.to_string());
        command.arg("--data-dir").arg(data).arg("--token-auth-file").arg(&tokens);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("starting isopod server")
    };
    // A first start only brings the image in; the measured one begins with nothing else.
    let port = free_port()?;
    let mut server = start(port)?;
    ready(port, Duration::from_secs(30)).await?;
    node_ready(&client(port)?).await?;
    let socket = data.join("containerd/containerd.sock");
    let imported = Command::new("ctr")
        .arg("--address")
        .arg(&socket)
        .args(["-n", "k8s.io", "images", "import", archive])
        .stdout(Stdio::null())
        .status()?;
    if !imported.success() {
        bail!("cannot import {archive}");
    }
    end(&mut server)?;
    forget_all_but_images(data)?;

    let port = free_port()?;
    let started = Instant::now();
    let mut server = start(port)?;
    ready(port, Duration::from_secs(30)).await?;
    let client = client(port)?;
    let node = async {
        node_ready(&client).await?;
        anyhow::Ok(started.elapsed().as_secs_f64())
    };
    let pod = async {
        first_pod(&client, image).await?;
        anyhow::Ok(started.elapsed().as_secs_f64())
    };
    let (node, pod) = tokio::try_join!(node, pod)?;
    report.add("server start to node Ready", node, false);
    report.add("server start to first pod Running", pod, false);
    let mut singles = Vec::new();
    for i in 0..5 {
        singles.extend(start_pods(&client, image, &format!("one-{i}"), 1).await?);
    }
    report.add("one pod, created to ready", median(&mut singles), false);
    let mut many = start_pods(&client, image, "many", 40).await?;
    report.add("40 pods at once, created to ready (median)", median(&mut many), false);
    eprintln!("the pods' remains took {:?} to clear away", cleared(data).await?);
    tokio::time::sleep(SETTLE).await;
    let before = cpu_seconds(server.id())?;
    tokio::time::sleep(REST).await;
    let used = cpu_seconds(server.id())? - before;
    report.add("resident memory, whole node at rest", resident(server.id())?, false);
    report.add("CPU at rest", used / REST.as_secs_f64() * 100.0, false);
    end(&mut server)
}

fn end(server: &mut Child) -> Result<()> {
    Command::new("kill").arg(server.id().to_string()).status()?;
    server.wait()?;
    Ok(())
}

/// Waits until the node holds no pod but the first: with a grace period of 0 the objects go at once,
/// and their containers in their own time. How long that took.
async fn cleared(data: &Path) -> Result<Duration> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let started = Instant::now();
    loop {
        let pods = std::fs::read_dir(data.join("kubelet/pods"))?.count();
        if pods <= 1 {
            return Ok(started.elapsed());
        }
        if started.elapsed() > PATIENCE {
            bail!("{pods} pods are still on the node");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Ends the containerd that a server left running and removes all that the server made, except for the
/// images.
fn forget_all_but_images(data: &Path) -> Result<()> {
    let containerd = data.join("containerd");
    let pid = std::fs::read_to_string(containerd.join("containerd.pid"))?;
    Command::new("kill").arg(pid.trim()).status()?;
    let process = Path::new("/proc").join(pid.trim());
    let started = Instant::now();
    while process.exists() {
        if started.elapsed() > Duration::from_secs(10) {
            bail!("containerd does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() && path != containerd {
            std::fs::remove_dir_all(path)?;
        } else if !path.is_dir() {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Creates a pod as soon as that is possible, and waits until it runs. It is deleted afterwards.
async fn first_pod(client: &Client, image: &str) -> Result<()> {
    let list = client.list::<IgnoredAny>(&PODS, "default", &ListOptions::all()).await?;
    let options = ListOptions { resource_version: list.resource_version, ..ListOptions::all() };
    let mut events = client.watch(&PODS, "default", &options).await?;
    let pod = pod("first", "first", image);
    let began = Instant::now();
    // The account that pods run as is made by a controller.
    while let Err(error) = client.create::<IgnoredAny>(&PODS, "default", &pod).await {
        if began.elapsed() > Duration::from_secs(30) {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while let Some(event) = events.next_event().await {
        if let Some(pod) = event?.object::<Object>()
            && pod?.text("status.phase") == Some("Running")
        {
            let now = DeleteOptions::new().grace(0);
            client.delete_collection(&PODS, "default", &now, &ListOptions::all()).await?;
            return Ok(());
        }
    }
    bail!("the watch of pods ended before the first one ran")
}

fn pod(name: &str, group: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"bench": group}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": image, "command": ["/bin/busybox", "sleep", "3600"]}],
        },
    })
}

async fn node_ready(client: &Client) -> Result<()> {
    let is_ready = |node: &Object| {
        let conditions = node.at("status.conditions").and_then(Value::as_array);
        conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    let list = client.list::<Object>(&NODES, "", &ListOptions::all()).await?;
    if list.items.iter().any(is_ready) {
        return Ok(());
    }
    let options = ListOptions { resource_version: list.resource_version, ..ListOptions::all() };
    let mut events = client.watch(&NODES, "", &options).await?;
    while let Some(event) = events.next_event().await {
        if let Some(node) = event?.object::<Object>()
            && is_ready(&node?)
        {
            return Ok(());
        }
    }
    bail!("the watch of nodes ended before one was ready")
}

/// Creates pods at once and waits until all are ready; the time each took, as its watcher saw it. The
/// pods are deleted afterwards.
async fn start_pods(client: &Client, image: &str, name: &str, count: usize) -> Result<Vec<f64>> {
    let list = client.list::<IgnoredAny>(&PODS, "default", &ListOptions::all()).await?;
    let options = ListOptions {
        resource_version: list.resource_version,
        ..ListOptions::labels(format!("bench={name}"))
    };
    let mut events = client.watch(&PODS, "default", &options).await?;
    let mut started: HashMap<String, Instant> = HashMap::new();
    let mut creates = tokio::task::JoinSet::new();
    for i in 0..count {
        let pod_name = format!("{name}-{i}");
        let pod = pod(&pod_name, name, image);
        started.insert(pod_name, Instant::now());
        let client = client.clone();
        creates.spawn(async move { client.create::<IgnoredAny>(&PODS, "default", &pod).await });
    }
    while let Some(done) = creates.join_next().await {
        done??;
    }
    let mut times = HashMap::new();
    while times.len() < count {
        let event = events.next_event().await.context("the watch of pods ended")??;
        if let WatchEvent::Bookmark { .. } = event {
            continue;
        }
        let Some(pod) = event.object::<Object>() else { continue };
        let pod = pod?;
        let conditions = pod.at("status.conditions").and_then(Value::as_array);
        let ready =
            conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
        if ready && let Some(began) = started.get(pod.name()) {
            times.entry(pod.name().to_owned()).or_insert_with(|| began.elapsed().as_secs_f64());
        }
    }
    let select = ListOptions::labels(format!("bench={name}"));
    client.delete_collection(&PODS, "default", &DeleteOptions::new().grace(0), &select).await?;
    Ok(times.into_values().collect())
}
