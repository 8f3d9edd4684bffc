//! Custom resources on a whole server over memory or disk, asked in process.

mod common;

use std::time::Duration;

use api::{Object, Resource, Value};
use bytes::Bytes;
use client::{Client, Error, ListOptions, Patch, Shutdown, WatchEvent, WatchStream};
use common::server;
use http::Method;
use serde_json::json;
use store::Store;

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const WIDGETS: Resource = Resource::namespaced("example.com", "v1", "widgets", "Widget");
const WIDGETS_2: Resource = Resource::namespaced("example.com", "v2", "widgets", "Widget");

fn object(value: Value) -> Object {
    Object::from_value(value).expect("an object")
}

fn definition(plural: &str, kind: &str, versions: &Value) -> Object {
    object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind}, "versions": versions},
    }))
}

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    json!({"name": name, "served": true, "storage": storage, "subresources": {"status": {}},
    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}}})
}

fn widget(name: &str, spec: &Value) -> Object {
    object(json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name},
        "spec": spec}))
}

/// Waits for an event that a test is after.
async fn until(watch: &mut WatchStream, wanted: impl Fn(&WatchEvent, &Value) -> bool) {
    let looking = async {
        loop {
            let event = watch.next_event().await.expect("an event").expect("decodes");
            let bytes = match &event {
                WatchEvent::Added(b) | WatchEvent::Modified(b) | WatchEvent::Deleted(b) => b,
                _ => continue,
            };
            let value: Value = serde_json::from_slice(bytes).expect("JSON");
            if wanted(&event, &value) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("in time");
}

fn has(object: &Value, condition: &str, status: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.is_some_and(|c| c.iter().any(|c| c["type"] == condition && c["status"] == status))
}

async fn watch_definition(client: &Client, name: &str) -> WatchStream {
    let options = ListOptions::fields(format!("metadata.name={name}"));
    client.watch(&DEFINITIONS, "", &options).await.expect("a watch")
}

/// Makes a definition and waits until it is served.
async fn define(client: &Client, definition: &Object) {
    let mut watch = watch_definition(client, definition.name()).await;
    client.create::<Object>(&DEFINITIONS, "", definition).await.expect("created");
    until(&mut watch, |_, object| has(object, "Established", "True")).await;
}

fn spec() -> Value {
    json!({"type": "object", "properties": {
        "color": {"type": "string", "default": "blue"},
        "size": {"type": "integer", "maximum": 10},
    }, "x-kubernetes-validations": [
        {"rule": "self.color != 'red' || self.size > 1", "message": "red ones are bigger"}]})
}

fn causes(error: &Error) -> Vec<String> {
    let status = error.api().expect("a status");
    status.to_status()["details"]["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| {
            format!(
                "{}: {}",
                c["field"].as_str().unwrap_or(""),
                c["message"].as_str().unwrap_or("")
            )
        })
        .collect()
}

#[tokio::test]
async fn objects_obey_their_schema() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    define(&client, &definition("widgets", "Widget", &json!([version("v1", true, &spec())]))).await;

    let made = widget("a", &json!({"size": 3, "unknown": 1}));
    let made = client.create::<Object>(&WIDGETS, "default", &made).await.expect("created");
    assert_eq!(made.0["spec"], json!({"size": 3, "color": "blue"}));
    assert_eq!(made.generation(), 1);

    let wrong = widget("b", &json!({"size": 11}));
    let error = client.create::<Object>(&WIDGETS, "default", &wrong).await.expect_err("refused");
    assert_eq!(
        causes(&error),
        ["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"]
    );
    let wrong = widget("b", &json!({"size": 1, "color": "red"}));
    let error = client.create::<Object>(&WIDGETS, "default", &wrong).await.expect_err("refused");
    assert_eq!(causes(&error), ["spec: Invalid value: red ones are bigger"]);

    let mut changed = made.clone();
    changed.0.insert("status".into(), json!({"phase": "x"}));
    changed.map_mut("spec").insert("size".into(), 4.into());
    let put =
        client.replace::<Object>(&WIDGETS, "default", "a", None, &changed).await.expect("put");
    assert!(put.0.get("status").is_none(), "the status has a path of its own");
    assert_eq!(put.generation(), 2);
    let mut status = put.clone();
    status.0.insert("status".into(), json!({"phase": "x"}));
    let sub = Some("status");
    let put = client.replace::<Object>(&WIDGETS, "default", "a", sub, &status).await.expect("put");
    assert_eq!((put.0["status"]["phase"].as_str(), put.generation()), (Some("x"), 2));
    stop.cancel();
}

#[tokio::test]
async fn old_objects_are_shown_in_the_new_form() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let before =
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}});
    define(&client, &definition("widgets", "Widget", &json!([version("v1", true, &before)]))).await;
    let made = widget("old", &json!({"a": "long", "b": "gone"}));
    client.create::<Object>(&WIDGETS, "default", &made).await.expect("created");
    let mut watch = client.watch(&WIDGETS, "default", &ListOptions::all()).await.expect("a watch");

    let after = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 2}, "c": {"type": "string", "default": "new"}}});
    let mut live =
        client.get::<Object>(&DEFINITIONS, "", "widgets.example.com").await.expect("there");
    live.map_mut("spec").insert(
        "versions".into(),
        json!([version("v1", false, &after), version("v2", true, &after)]),
    );
    client
        .replace::<Object>(&DEFINITIONS, "", "widgets.example.com", None, &live)
        .await
        .expect("put");

    for (resource, version) in [(&WIDGETS, "example.com/v1"), (&WIDGETS_2, "example.com/v2")] {
        let old = client.get::<Object>(resource, "default", "old").await.expect("there");
        assert_eq!(old.api_version(), version);
        assert_eq!(old.0["spec"], json!({"a": "long", "c": "new"}));
        let list =
            client.list::<Object>(resource, "default", &ListOptions::all()).await.expect("listed");
        assert_eq!(list.items[0].0["spec"], json!({"a": "long", "c": "new"}));
    }
    // What is not touched may stay as it is, however strict the schema became.
    let patch = json!({"spec": {"c": "x"}});
    client
        .patch::<Object>(&WIDGETS, "default", "old", None, client::Patch::Merge, &patch)
        .await
        .expect("an unchanged field is not judged again");
    let patch = json!({"spec": {"a": "else"}});
    let error = client
        .patch::<Object>(&WIDGETS, "default", "old", None, client::Patch::Merge, &patch)
        .await;
    assert_eq!(
        causes(&error.expect_err("refused")),
        ["spec.a: Too long: may not be more than 2 bytes"]
    );
    let stored =
        client.get::<Object>(&DEFINITIONS, "", "widgets.example.com").await.expect("there");
    assert_eq!(stored.at("status.storedVersions"), Some(&json!(["v1", "v2"])));
    // Watches of the old form end, so that clients look again.
    let ended = async { while watch.next_event().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the watch ends");
    stop.cancel();
}

#[tokio::test]
async fn a_deleted_definition_takes_its_objects_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    define(&client, &definition("widgets", "Widget", &json!([version("v1", true, &spec())]))).await;
    let mut held = widget("held", &json!({}));
    held.set_meta("finalizers", json!(["example.com/hold"]));
    for made in [widget("free", &json!({})), held] {
        client.create::<Object>(&WIDGETS, "default", &made).await.expect("created");
    }
    // Another definition waits for the kind's name.
    let mut waiting = watch_definition(&client, "gadgets.example.com").await;
    let second = definition("gadgets", "Widget", &json!([version("v1", true, &spec())]));
    client.create::<Object>(&DEFINITIONS, "", &second).await.expect("created");
    until(&mut waiting, |_, object| has(object, "NamesAccepted", "False")).await;

    let mut watch = client.watch(&WIDGETS, "default", &ListOptions::all()).await.expect("a watch");
    let mut ending = watch_definition(&client, "widgets.example.com").await;
    let options = client::DeleteOptions::new();
    client.delete(&DEFINITIONS, "", "widgets.example.com", &options).await.expect("deleted");
    until(&mut watch, |event, object| {
        matches!(event, WatchEvent::Deleted(_)) && object["metadata"]["name"] == "free"
    })
    .await;
    let error = client.create::<Object>(&WIDGETS, "default", &widget("late", &json!({}))).await;
    let error = error.expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("create not allowed while custom resource definition is terminating"),
        "{error}"
    );
    let patch = json!({"metadata": {"finalizers": null}});
    client
        .patch::<Object>(&WIDGETS, "default", "held", None, client::Patch::Merge, &patch)
        .await
        .expect("released");
    until(&mut ending, |event, _| matches!(event, WatchEvent::Deleted(_))).await;
    until(&mut waiting, |_, object| has(object, "Established", "True")).await;
    let error = client.get::<Object>(&WIDGETS, "default", "held").await.expect_err("gone");
    assert!(error.is_not_found(), "{error}");
    stop.cancel();
}

#[tokio::test]
async fn definitions_outlive_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = dir.path().join("store");
    for round in 0..2 {
        let stop = Shutdown::new();
        let store = Store::open(store::Options::new(&files)).expect("opens");
        let (running, client) = server(dir.path(), store.clone(), &stop).await;
        if round == 0 {
            let versions = json!([version("v1", true, &spec())]);
            define(&client, &definition("widgets", "Widget", &versions)).await;
            client
                .create::<Object>(&WIDGETS, "default", &widget("a", &json!({"size": 1})))
                .await
                .expect("created");
        } else {
            let list =
                client.list::<Object>(&WIDGETS, "", &ListOptions::all()).await.expect("served");
            assert_eq!(list.items[0].0["spec"], json!({"color": "blue", "size": 1}));
        }
        drop(client);
        stop.cancel();
        running.wait().await;
        store.close().await;
    }
}

#[tokio::test]
async fn definitions_appear_in_documents_and_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let get = async |path: &str| -> Option<Value> {
        let response = client.raw(Method::GET, path, Bytes::new()).await.ok()?;
        serde_json::from_slice(&response.into_body().bytes().await.ok()?).ok()
    };
    assert!(get("/apis/example.com/v1").await.is_none());
    define(&client, &definition("widgets", "Widget", &json!([version("v1", true, &spec())]))).await;
    let list = get("/apis/example.com/v1").await.expect("listed");
    assert_eq!(list["resources"][0]["name"], "widgets");
    assert_eq!(list["resources"][1]["name"], "widgets/status");
    let document = get("/openapi/v3/apis/example.com/v1").await.expect("a document");
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    assert!(schemas.contains_key("com.example.v1.Widget"), "{:?}", schemas.keys());
    let mut ending = watch_definition(&client, "widgets.example.com").await;
    let options = client::DeleteOptions::new();
    client.delete(&DEFINITIONS, "", "widgets.example.com", &options).await.expect("deleted");
    until(&mut ending, |event, _| matches!(event, WatchEvent::Deleted(_))).await;
    assert!(get("/apis/example.com").await.is_none());
    assert!(get("/openapi/v3/apis/example.com/v1").await.is_none());
    stop.cancel();
}

#[tokio::test]
async fn a_name_is_given_to_one_and_then_to_the_next() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let mut watch = client.watch(&DEFINITIONS, "", &ListOptions::all()).await.expect("a watch");
    let versions = json!([version("v1", true, &spec())]);
    let all: Vec<Object> =
        (0..6).map(|i| definition(&format!("widgets{i}"), "Widget", &versions)).collect();
    let created = all.iter().map(async |d| client.create::<Object>(&DEFINITIONS, "", d).await);
    futures_util::future::try_join_all(created).await.expect("created");

    // Each that is served goes; then the next one's turn has come.
    let mut gone = std::collections::BTreeSet::new();
    while gone.len() < all.len() {
        let mut next = String::new();
        let looking = async {
            loop {
                let event = watch.next_event().await.expect("an event").expect("decodes");
                let (WatchEvent::Added(bytes) | WatchEvent::Modified(bytes)) = event else {
                    continue;
                };
                let object: Value = serde_json::from_slice(&bytes).expect("JSON");
                next = object["metadata"]["name"].as_str().expect("a name").to_owned();
                if has(&object, "Established", "True") && !gone.contains(&next) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await.expect("in time");
        let list =
            client.list::<Object>(&DEFINITIONS, "", &ListOptions::all()).await.expect("a list");
        let served = list.items.iter().map(|object| Value::Object(object.0.clone()));
        let served = served.filter(|object| has(object, "Established", "True"));
        assert!(served.count() <= 1, "the kind is one definition's alone");
        let options = client::DeleteOptions::default();
        client.delete(&DEFINITIONS, "", &next, &options).await.expect("deleted");
        gone.insert(next);
    }
    stop.cancel();
}

#[tokio::test]
async fn objects_move_to_the_stored_version() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let store = Store::memory();
    let (_running, client) = server(dir.path(), store.clone(), &stop).await;
    let one = json!([version("v1", true, &spec())]);
    define(&client, &definition("widgets", "Widget", &one)).await;
    for name in ["put", "patched"] {
        client
            .create::<Object>(&WIDGETS, "default", &widget(name, &json!({"size": 1})))
            .await
            .expect("created");
    }
    let stored = |name: &str| {
        let entry = store.resource("widgets.example.com").get("default", name).expect("there");
        entry.object().expect("reads").api_version().to_owned()
    };
    let change = async |versions: Value| {
        let patch = json!({"spec": {"versions": versions}});
        client
            .patch::<Object>(&DEFINITIONS, "", "widgets.example.com", None, Patch::Merge, &patch)
            .await
    };
    let two = json!([version("v1", false, &spec()), version("v2", true, &spec())]);
    let changed = change(two).await.expect("changed");
    assert_eq!(changed.at("status.storedVersions"), Some(&json!(["v1", "v2"])));
    assert_eq!(stored("put"), "example.com/v1", "nothing moves by itself");

    // What changes nothing but the version is a change.
    let held = client.get::<Object>(&WIDGETS_2, "default", "put").await.expect("read");
    let put =
        client.replace::<Object>(&WIDGETS_2, "default", "put", None, &held).await.expect("put");
    assert_ne!(put.resource_version(), held.resource_version());
    assert_eq!(put.generation(), held.generation());
    let held = client.get::<Object>(&WIDGETS, "default", "patched").await.expect("read");
    let nothing = json!({});
    let patched = client
        .patch::<Object>(&WIDGETS, "default", "patched", None, Patch::Merge, &nothing)
        .await
        .expect("patched");
    assert_ne!(patched.resource_version(), held.resource_version());
    assert_eq!(patched.api_version(), "example.com/v1", "as it was asked for");
    for name in ["put", "patched"] {
        assert_eq!(stored(name), "example.com/v2", "{name}");
    }
    // A second time there is nothing to do.
    let again = client
        .patch::<Object>(&WIDGETS, "default", "patched", None, Patch::Merge, &nothing)
        .await
        .expect("patched");
    assert_eq!(again.resource_version(), patched.resource_version());

    // The old version stays until its objects are known to have moved.
    let only_two = json!([version("v2", true, &spec())]);
    let error = change(only_two.clone()).await.expect_err("refused");
    assert!(
        causes(&error)[0].starts_with("status.storedVersions[0]: Invalid value: \"v1\""),
        "{error}"
    );
    let moved = json!({"status": {"storedVersions": ["v2"]}});
    client
        .patch::<Object>(
            &DEFINITIONS,
            "",
            "widgets.example.com",
            Some("status"),
            Patch::Merge,
            &moved,
        )
        .await
        .expect("moved");
    let changed = change(only_two).await.expect("changed");
    assert_eq!(changed.at("status.storedVersions"), Some(&json!(["v2"])));
    let left = client.get::<Object>(&WIDGETS_2, "default", "put").await.expect("read");
    assert_eq!(left.at("spec.size"), Some(&json!(1)));
    let gone = client.get::<Object>(&WIDGETS, "default", "put").await.expect_err("gone");
    assert!(gone.is_not_found());
    stop.cancel();
}

#[tokio::test]
async fn long_lists_are_of_the_version_and_form_that_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let of = |names: [&str; 2], color: &str| {
        let mut spec = spec();
        spec["properties"]["color"]["default"] = color.into();
        spec["properties"]["mood"] = json!({"type": "string", "default": color});
        names.map(|name| version(name, name == names[0], &spec))
    };
    let old = json!([version("v1", true, &spec())]);
    define(&client, &definition("widgets", "Widget", &old)).await;
    // More than are sent at once.
    for i in 0..100 {
        let made = widget(&format!("w{i:03}"), &json!({"size": 1}));
        client.create::<Object>(&WIDGETS, "default", &made).await.expect("created");
    }
    let patch = json!({"spec": {"versions": of(["v2", "v1"], "green")}});
    client
        .patch::<Object>(&DEFINITIONS, "", "widgets.example.com", None, Patch::Merge, &patch)
        .await
        .expect("changed");
    for resource in [&WIDGETS, &WIDGETS_2] {
        let path = resource.path(Some("default"), None, None);
        for query in ["", "?limit=80"] {
            let body =
                client.raw(Method::GET, &format!("{path}{query}"), "").await.expect("a list");
            let body = body.into_body().bytes().await.expect("read");
            let list: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(list["apiVersion"], *resource.api_version());
            let items = list["items"].as_array().expect("items");
            assert_eq!(items.len(), if query.is_empty() { 100 } else { 80 });
            for (i, item) in items.iter().enumerate() {
                assert_eq!(item["apiVersion"], *resource.api_version());
                assert_eq!(item["metadata"]["name"], format!("w{i:03}"));
                let spec = json!({"size": 1, "color": "blue", "mood": "green"});
                assert_eq!(item["spec"], spec, "defaults of before are stored, new ones are shown");
            }
        }
    }
    stop.cancel();
}
