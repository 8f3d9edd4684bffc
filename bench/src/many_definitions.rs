//! Very many custom resources: definitions made and served, what they cost everything else, when a
//! new one is seen, objects of one of them.
//!
//! Not here: the rows that have a budget (`api_rows`), objects of built-in kinds (`many_objects`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use api::Resource;
use api::resource::{CONFIG_MAPS, NAMESPACES};
use client::{Client, DeleteOptions, WatchEvent};
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::api_rows::{median, read};
use crate::load::{clients, run as load};
use crate::subject::{Running, Subject};

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
/// The resource of the first definition.
const FIRST: Resource = Resource::namespaced("group-0.example.com", "v1", "things-0", "Thing0");
const NAMESPACE: &str = "default";
/// Built-in objects read before and after.
const READS: usize = 10_000;
/// How long the definitions may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Makes `count` definitions in `groups` groups and twenty objects of the first for each, and prints
/// what that takes.
pub async fn run(count: usize, groups: usize, subject: &Subject) -> Result<()> {
    let (groups, objects) = (groups.max(1), 20 * count);
    let controllers = matches!(subject, Subject::Cluster(_));
    let server = subject.start().await?;
    let all = clients(server.port)?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    all[0].create::<IgnoredAny>(&CONFIG_MAPS, NAMESPACE, &map).await?;
    documents(&all[0], "").await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = server.resident()?;
    row("resident memory, empty", empty, "MB");
    reads(&all[0], &server, "no definitions").await?;
    if controllers {
        namespace(&all[0], "no definitions").await?;
    }

    row("a definition's JSON", definition(0, groups).to_string().len() as f64, "bytes");
    establish(&all, &server, count, groups).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory(&server, empty, count, "a definition")?;
    idle(&server).await?;
    reads(&all[0], &server, "the definitions").await?;
    if controllers {
        namespace(&all[0], "the definitions").await?;
    }
    let before = server.resident()?;
    let took = load(&all, objects, 64, |client, i| async move {
        client.create::<IgnoredAny>(&FIRST, NAMESPACE, &thing(i)).await?;
        Ok(())
    })
    .await?;
    row("custom objects created, 64 in flight", objects as f64 / took.as_secs_f64(), "/s");
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory(&server, before, objects, "a custom object")?;
    list(&all[0], "LIST of them").await?;
    // Objects that were stored before their definition changed are looked at again.
    let mut more = json!({"spec": {"versions": definition(0, groups)["spec"]["versions"]}});
    more["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["more"] =
        json!({"type": "string"});
    let name = definition(0, groups)["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let patch = client::Patch::Merge;
    all[0].patch::<IgnoredAny>(&DEFINITIONS, "", &name, None, patch, &more).await?;
    let started = Instant::now();
    read(&all[0], &FIRST.path(Some(NAMESPACE), None, None)).await?;
    row("LIST, their definition changed", started.elapsed().as_secs_f64(), "s");
    list(&all[0], "LIST after that").await?;
    fresh(&all[0], count, groups).await?;
    documents(&all[0], ", with the definitions").await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    row("resident memory, documents read", server.resident()?, "MB");

    drop(all);
    let server = subject.restart(server).await?;
    row("started again, ready", server.ready_after.as_secs_f64(), "s");
    Ok(())
}

fn row(what: &str, figure: f64, unit: &str) {
    println!("| {what} | {figure:.3} | {unit} |");
}

fn memory(server: &Running, before: f64, count: usize, of: &str) -> Result<()> {
    let resident = server.resident()?;
    row("resident memory", resident, "MB");
    row(&format!("resident memory {of}"), (resident - before) * 1e3 / count as f64, "KB");
    Ok(())
}

async fn list(client: &Client, what: &str) -> Result<()> {
    let (mut times, mut bytes) = (Vec::new(), 0);
    for _ in 0..5 {
        let started = Instant::now();
        bytes = read(client, &FIRST.path(Some(NAMESPACE), None, None)).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    row(&format!("{what} ({:.1} MB)", bytes as f64 / 1e6), median(&mut times), "s");
    Ok(())
}

/// What the server does while nobody asks it.
async fn idle(server: &Running) -> Result<()> {
    let before = server.cpu()?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    row("CPU at rest", (server.cpu()? - before) * 100.0 / 5.0, "% of a core");
    Ok(())
}

/// Reads a built-in object again and again.
async fn reads(client: &Client, server: &Running, when: &str) -> Result<()> {
    let path = CONFIG_MAPS.path(Some(NAMESPACE), Some("one"), None);
    let mut times = Vec::new();
    let before = server.cpu()?;
    for _ in 0..READS {
        let started = Instant::now();
        read(client, &path).await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let cpu = (server.cpu()? - before) * 1e6 / READS as f64;
    row(&format!("GET of a config map, {when} (median)"), median(&mut times), "ms");
    row("  the server's CPU time of one", cpu, "µs");
    Ok(())
}

/// A namespace is deleted: of every resource there may be objects in it.
async fn namespace(client: &Client, when: &str) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "short"}});
    client.create::<IgnoredAny>(&NAMESPACES, "", &namespace).await?;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}});
    client.create::<IgnoredAny>(&CONFIG_MAPS, "short", &map).await?;
    let started = Instant::now();
    client.delete(&NAMESPACES, "", "short", &DeleteOptions::new()).await?;
    let path = NAMESPACES.path(None, Some("short"), None);
    while get(client, &path, "").await?.0 == StatusCode::OK {
        ensure!(started.elapsed() < LIMIT, "the namespace stays");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed().as_secs_f64() * 1000.0;
    row(&format!("a namespace deleted, {when}"), took, "ms");
    Ok(())
}

/// Creates the definitions and waits until a watch has seen all of them served.
async fn establish(
    all: &Arc<Vec<Client>>,
    server: &Running,
    count: usize,
    groups: usize,
) -> Result<()> {
    let mut watch = all[0].watch(&DEFINITIONS, "", &client::ListOptions::all()).await?;
    let seen = tokio::spawn(async move {
        let mut names = BTreeSet::new();
        while names.len() < count {
            let event = watch.next_event().await.context("the watch ended")??;
            let (WatchEvent::Added(bytes) | WatchEvent::Modified(bytes)) = event else { continue };
            let object: Value = serde_json::from_slice(&bytes)?;
            let conditions = object["status"]["conditions"].as_array();
            let served = |c: &Value| c["type"] == "Established" && c["status"] == "True";
            if conditions.is_some_and(|c| c.iter().any(served)) {
                names.insert(object["metadata"]["name"].to_string());
            }
        }
        anyhow::Ok(())
    });
    let (started, cpu) = (Instant::now(), server.cpu()?);
    let took = load(all, count, 16, move |client, i| async move {
        client.create::<IgnoredAny>(&DEFINITIONS, "", &definition(i, groups)).await?;
        Ok(())
    })
    .await?;
    row("definitions created, 16 in flight", took.as_secs_f64(), "s");
    tokio::time::timeout(LIMIT, seen).await.context("not all definitions are established")???;
    row("all of them Established", started.elapsed().as_secs_f64(), "s");
    let cpu = (server.cpu()? - cpu) * 1e3 / count as f64;
    row("  the server's CPU time of one", cpu, "ms");
    Ok(())
}

/// One more definition: how long until documents have it.
async fn fresh(client: &Client, at: usize, groups: usize) -> Result<()> {
    let plural = format!("things-{at}");
    let group = format!("group-{}.example.com", at % groups);
    let started = Instant::now();
    client.create::<IgnoredAny>(&DEFINITIONS, "", &definition(at, groups)).await?;
    row("one more definition, created", started.elapsed().as_secs_f64() * 1000.0, "ms");
    let until = async |path: &str, accept: &str, text: &str| -> Result<f64> {
        while started.elapsed() < LIMIT {
            let (status, body) = get(client, path, accept).await?;
            if status == StatusCode::OK && find(&body, text.as_bytes()) {
                return Ok(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
        anyhow::bail!("{path} never has {text}")
    };
    let list = format!("/apis/{group}/v1");
    row("  in its version's discovery", until(&list, "", &plural).await?, "ms");
    row("  in aggregated discovery", until("/apis", AGGREGATED, &plural).await?, "ms");
    let document = format!("/openapi/v3/apis/{group}/v1");
    let marked = format!("Thing{at}\"");
    row("  in OpenAPI, version 3", until(&document, "", &marked).await?, "ms");
    row("  in OpenAPI, version 2", until("/openapi/v2", PROTO, &plural).await?, "ms");
    Ok(())
}

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const PROTO: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// What clients read at their start, one after the other, each twice.
async fn documents(client: &Client, when: &str) -> Result<()> {
    let core = "/openapi/v3/api/v1";
    let paths = [
        ("aggregated discovery", "/apis", AGGREGATED),
        ("OpenAPI 3, index", "/openapi/v3", ""),
        ("OpenAPI 3, of the core group", core, ""),
        ("OpenAPI 2, JSON", "/openapi/v2", ""),
        ("OpenAPI 2, protobuf", "/openapi/v2", PROTO),
    ];
    for (what, path, accept) in paths {
        for again in ["", " again"] {
            let started = Instant::now();
            let (status, body) = get(client, path, accept).await?;
            ensure!(status == StatusCode::OK, "{path}: {status}");
            let took = started.elapsed().as_secs_f64() * 1000.0;
            let size = body.len() as f64 / 1e6;
            row(&format!("{what}{again} ({size:.1} MB){when}"), took, "ms");
        }
    }
    Ok(())
}

async fn get(client: &Client, path: &str, accept: &str) -> Result<(StatusCode, bytes::Bytes)> {
    let mut request = Request::builder().method(Method::GET).uri(path);
    if !accept.is_empty() {
        request = request.header(ACCEPT, accept);
    }
    let response = client.send(request.body(bytes::Bytes::new())?).await?;
    let status = response.status();
    Ok((status, response.into_body().bytes().await?))
}

fn find(body: &[u8], text: &[u8]) -> bool {
    body.windows(text.len()).any(|window| window == text)
}

/// A definition whose schema is of a usual size: some 8 KB.
fn definition(i: usize, groups: usize) -> Value {
    let text = |i: usize| {
        format!(
            "Field {i} says how the thing is to be run; when it is not given, the operator decides by \
             what it finds in the cluster."
        )
    };
    let string = |i: usize| json!({"type": "string", "description": text(i), "maxLength": 253});
    let part = |name: &str, from: usize| {
        let fields = (0..8).map(|f| (format!("{name}{f}"), string(from + f)));
        let mut fields: Map<String, Value> = fields.collect();
        fields.insert(
            "mode".into(),
            json!({"type": "string", "enum": ["Auto", "Manual"], "default": "Auto"}),
        );
        json!({"type": "object", "description": text(from), "properties": fields})
    };
    let container = json!({"type": "object", "required": ["name"], "properties": {
        "name": string(100), "image": string(101), "policy": part("policy", 110),
        "ports": {"type": "array", "items": {"type": "object", "properties": {
            "name": string(102), "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        }}},
    }});
    let spec = json!({"type": "object", "properties": {
        "replicas": {"type": "integer", "minimum": 0, "default": 1},
        "selector": {"type": "object", "additionalProperties": {"type": "string"}},
        "network": part("network", 0), "storage": part("storage", 10), "security": part("security", 20),
        "containers": {"type": "array", "maxItems": 50, "items": container,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        "size": {"x-kubernetes-int-or-string": true},
    }, "x-kubernetes-validations": [
        {"rule": "!has(self.replicas) || self.replicas < 1000", "message": "too many"},
    ]});
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": string(200), "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": string(201), "message": string(202),
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    }});
    let status = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "phase": string(203),
        "conditions": {"type": "array", "items": condition,
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    }});
    let group = format!("group-{}.example.com", i % groups);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things-{i}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": format!("things-{i}"), "kind": format!("Thing{i}"),
                "shortNames": [format!("t{i}")], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "apiVersion": {"type": "string"}, "kind": {"type": "string"},
                    "metadata": {"type": "object"}, "spec": spec, "status": status,
                }}},
            }],
        },
    })
}

/// An object of the first definition.
fn thing(i: usize) -> Value {
    json!({
        "apiVersion": "group-0.example.com/v1", "kind": "Thing0",
        "metadata": {"name": format!("thing-{i:06}"), "labels": {"shard": format!("s{}", i % 100)}},
        "spec": {
            "replicas": i % 10, "selector": {"app": format!("app-{i}")},
            "network": {"network0": "eth0", "network1": "10.0.0.0/8"},
            "containers": [{"name": "main", "image": "registry.example.com/team/app:v1.2.3",
                "ports": [{"name": "http", "port": 8080}]}],
            "size": "10Gi",
        },
    })
}
