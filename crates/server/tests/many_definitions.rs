//! Many definitions on a whole server: what is made of all of them is made once. Its own program:
//! it counts by the process's metrics.
#![allow(clippy::unwrap_used)] // a test that cannot set up has failed

use std::collections::BTreeSet;
use std::time::Duration;

use api::clock::{Clock, Rng};
use api::{Object, Resource, Value};
use bytes::Bytes;
use client::{Client, ListOptions, Shutdown, WatchEvent, WatchStream};
use http::{Request, StatusCode, header};
use isopod_server::{Config, start};
use serde_json::json;
use store::Store;

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn definition(i: usize) -> Object {
    let group = format!("group-{}.example.com", i % 4);
    Object::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("things{i}.{group}")},
        "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": format!("things{i}"), "kind": format!("Thing{i}")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema":
                {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}}]},
    }))
    .unwrap()
}

async fn get(client: &Client, path: &str, accept: &str, tag: &str) -> (StatusCode, String, Bytes) {
    let request = Request::get(path).header(header::ACCEPT, accept);
    let request = request.header(header::IF_NONE_MATCH, tag).body(Bytes::new()).unwrap();
    let (parts, body) = client.send(request).await.unwrap().into_parts();
    let tag = parts.headers.get(header::ETAG).map_or("", |tag| tag.to_str().unwrap());
    (parts.status, tag.to_owned(), body.bytes().await.unwrap())
}

/// Waits until so many definitions are served.
async fn established(watch: &mut WatchStream, wanted: usize) {
    let mut names = BTreeSet::new();
    let looking = async {
        while names.len() < wanted {
            let event = watch.next_event().await.unwrap().unwrap();
            let (WatchEvent::Added(bytes) | WatchEvent::Modified(bytes)) = event else { continue };
            let object: Value = serde_json::from_slice(&bytes).unwrap();
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if conditions.iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
                names.insert(object["metadata"]["name"].to_string());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("in time");
}

async fn made(client: &Client) -> u64 {
    let (_, _, text) = get(client, "/metrics", "", "").await;
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line =
        text.lines().find_map(|l| l.strip_prefix("aggregator_discovery_aggregation_count_total "));
    line.map_or(0, |figure| figure.parse().unwrap())
}

#[tokio::test]
async fn discovery_is_made_once_a_change() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Shutdown::new();
    let config = Config {
        data_dir: dir.path().to_owned(),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        ..Config::default()
    };
    let running = start(config, Store::memory(), Clock::system(), Rng::seeded(1), stop.clone())
        .await
        .unwrap();
    let client = running.client_as("admin", &["system:masters"]);
    let mut watch = client.watch(&DEFINITIONS, "", &ListOptions::all()).await.unwrap();
    let all = (0..60).map(|i| {
        let client = &client;
        async move { client.create::<Object>(&DEFINITIONS, "", &definition(i)).await.unwrap() }
    });
    futures_util::future::join_all(all).await;
    established(&mut watch, 60).await;

    let before = made(&client).await;
    let (status, tag, body) = get(&client, "/apis", AGGREGATED, "").await;
    assert_eq!(status, StatusCode::OK);
    let text = String::from_utf8(body.to_vec()).unwrap();
    assert!((0..60).all(|i| text.contains(&format!("\"things{i}\""))));
    for _ in 0..5 {
        let (_, _, again) = get(&client, "/apis", AGGREGATED, "").await;
        assert_eq!(again, body);
        let (status, ..) = get(&client, "/apis", AGGREGATED, &tag).await;
        assert_eq!(status, StatusCode::NOT_MODIFIED);
        // Nor are all groups made for the sake of one.
        let (status, _, one) = get(&client, "/apis/group-1.example.com/v1", "", "").await;
        assert_eq!(status, StatusCode::OK);
        let one: Value = serde_json::from_slice(&one).unwrap();
        assert_eq!(one["resources"].as_array().unwrap().len(), 15);
        let (_, _, list) = get(&client, "/apis", "", "").await;
        assert!(list.windows(19).any(|w| w == b"group-3.example.com"));
    }
    assert_eq!(made(&client).await, before + 1);

    let (_, _, index) = get(&client, "/openapi/v3", "", "").await;
    client.create::<Object>(&DEFINITIONS, "", &definition(60)).await.unwrap();
    established(&mut watch, 1).await;
    let (status, _, body) = get(&client, "/apis", AGGREGATED, &tag).await;
    assert_eq!(status, StatusCode::OK);
    assert!(body.windows(10).any(|w| w == b"\"things60\""), "a new one is there at once");
    assert_eq!(made(&client).await, before + 2);

    let old: Value = serde_json::from_slice(&index).unwrap();
    let (_, _, index) = get(&client, "/openapi/v3", "", "").await;
    let new: Value = serde_json::from_slice(&index).unwrap();
    for (path, entry) in new["paths"].as_object().unwrap() {
        let changed = old["paths"][path] != *entry;
        assert_eq!(changed, path == "apis/group-0.example.com/v1", "{path}");
        let url = entry["serverRelativeURL"].as_str().unwrap();
        if path.contains("example.com") {
            let (status, _, document) = get(&client, url, "", "").await;
            assert_eq!(status, StatusCode::OK, "{url}");
            let document: Value = serde_json::from_slice(&document).unwrap();
            let schemas = document["components"]["schemas"].as_object().unwrap();
            let things = schemas.keys().filter(|k| k.contains("Thing") && !k.ends_with("List"));
            assert_eq!(things.count(), if changed { 16 } else { 15 }, "{url}");
        }
    }
    stop.cancel();
}
