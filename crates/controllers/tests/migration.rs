//! Storage version migrations on the real API server.

use std::time::Duration;

use api::clock::{Clock, Rng};
use api::{Object, Resource, Value};
use client::{Client, Informers, ListOptions, Patch, Shutdown, WatchEvent};
use isopod_controllers::Config;
use serde::de::IgnoredAny;
use serde_json::json;

const MIGRATIONS: Resource = Resource::cluster(
    "storagemigration.k8s.io",
    "v1beta1",
    "storageversionmigrations",
    "StorageVersionMigration",
);
const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const MOTHS: Resource = Resource::namespaced("example.com", "v1", "moths", "Moth");

fn is(object: &Object, kind: &str, status: &str) -> bool {
    let conditions = object.at("status.conditions").and_then(Value::as_array);
    let fits = |c: &Value| c["type"] == kind && c["status"] == status;
    conditions.is_some_and(|c| c.iter().any(fits))
}

/// Waits until an object is as wanted.
async fn until(
    client: &Client,
    resource: &Resource,
    name: &str,
    wanted: impl Fn(&Object) -> bool,
) -> Object {
    let options = ListOptions::fields(format!("metadata.name={name}"));
    let mut watch = client.watch(resource, "", &options).await.expect("a watch");
    let looking = async {
        loop {
            let event = watch.next_event().await.expect("goes on").expect("an event");
            let (WatchEvent::Added(json) | WatchEvent::Modified(json)) = event else { continue };
            let found: Object = serde_json::from_slice(&json).expect("an object");
            if wanted(&found) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.expect("in time")
}

fn versions(stored: &str) -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object",
        "x-kubernetes-preserve-unknown-fields": true}});
    let of = |name: &str| json!({"name": name, "served": true, "storage": name == stored, "schema": schema});
    json!([of("v1"), of("v2")])
}

fn migration(name: &str, group: &str, resource: &str) -> Value {
    json!({"apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration",
        "metadata": {"name": name}, "spec": {"resource": {"group": group, "resource": resource}}})
}

#[tokio::test]
async fn objects_are_written_in_the_version_that_is_stored_now() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = server::Config {
        data_dir: dir.path().to_owned(),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        runtime_config: vec![("storagemigration.k8s.io/v1beta1".into(), true)],
        feature_gates: vec![("StorageVersionMigrator".into(), true)],
        ..server::Config::default()
    };
    let (stop, store) = (Shutdown::new(), store::Store::memory());
    let (clock, rng) = (Clock::system(), Rng::system());
    let running = server::start(config, store.clone(), clock.clone(), rng.clone(), stop.clone());
    let running = running.await.expect("the server starts");
    let client = running.client_as("system:admin", &["system:masters"]);
    let config = Config {
        controllers: vec!["storage-version-migrator-controller".into()],
        ..Config::default()
    };
    let informers = Informers::new(client.clone());
    let as_controllers = client.clone();
    tokio::spawn(isopod_controllers::run(
        config,
        as_controllers,
        informers,
        clock,
        rng,
        stop.clone(),
    ));

    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": "moths.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "moths", "kind": "Moth"}, "versions": versions("v1")}});
    client.create::<IgnoredAny>(&DEFINITIONS, "", &definition).await.expect("created");
    until(&client, &DEFINITIONS, "moths.example.com", |d| is(d, "Established", "True")).await;
    for n in 0..40 {
        let moth = json!({"apiVersion": "example.com/v1", "kind": "Moth",
            "metadata": {"name": format!("m{n}")}, "spec": {"n": n}});
        client.create::<IgnoredAny>(&MOTHS, "default", &moth).await.expect("created");
    }
    let change = json!({"spec": {"versions": versions("v2")}});
    client
        .patch::<IgnoredAny>(&DEFINITIONS, "", "moths.example.com", None, Patch::Merge, &change)
        .await
        .expect("patched");
    let both = |d: &Object| d.at("status.storedVersions") == Some(&json!(["v1", "v2"]));
    until(&client, &DEFINITIONS, "moths.example.com", both).await;
    let stored = || {
        let list = store.resource("moths.example.com").list(None);
        let versions = list.iter().map(|e| e.object().expect("an object").api_version().to_owned());
        versions.collect::<std::collections::BTreeSet<String>>()
    };
    assert!(stored().contains("example.com/v1"));

    for (name, group, resource) in
        [("moths", "example.com", "moths"), ("spaces", "", "namespaces"), ("none", "", "nones")]
    {
        client
            .create::<IgnoredAny>(&MIGRATIONS, "", &migration(name, group, resource))
            .await
            .expect("created");
    }
    for name in ["moths", "spaces"] {
        let ended = |m: &Object| is(m, "Succeeded", "True") && is(m, "Running", "False");
        let done = until(&client, &MIGRATIONS, name, ended).await;
        assert!(done.text("status.resourceVersion").is_some_and(|rv| !rv.is_empty()));
    }
    assert_eq!(stored(), ["example.com/v2".to_owned()].into());
    let ended = |d: &Object| is(d, "StorageMigrating", "False");
    let definition = until(&client, &DEFINITIONS, "moths.example.com", ended).await;
    assert_eq!(definition.at("status.storedVersions"), Some(&json!(["v2"])));
    // What there is not yet may come.
    until(&client, &MIGRATIONS, "none", |m| is(m, "Running", "True")).await;
    stop.cancel();
}
