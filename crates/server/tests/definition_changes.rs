//! Definitions that change under their objects, and what they may not say. Not here: objects under a
//! definition that stays (`custom`).

mod common;

use std::time::Duration;

use api::{Object, Resource, Value};
use client::{Client, Error, ListOptions, Patch, Shutdown, WatchEvent, WatchStream};
use serde_json::json;
use store::Store;

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const ZEBRAS: Resource = Resource::namespaced("example.com", "v1", "zebras", "Zebra");

fn object(value: Value) -> Object {
    Object::from_value(value).expect("a map")
}

fn definition(schema: &Value) -> Object {
    object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "zebras.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "zebras", "kind": "Zebra"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]},
    }))
}

async fn next(watch: &mut WatchStream) -> (&'static str, Object) {
    let event = tokio::time::timeout(Duration::from_secs(30), watch.next_event());
    let event = event.await.expect("in time").expect("goes on").expect("an event");
    let (kind, json) = match event {
        WatchEvent::Added(json) => ("ADDED", json),
        WatchEvent::Modified(json) => ("MODIFIED", json),
        WatchEvent::Deleted(json) => ("DELETED", json),
        other => panic!("{other:?}"),
    };
    (kind, object(serde_json::from_slice(&json).expect("JSON")))
}

/// Makes a definition and waits until it is served.
async fn define(client: &Client, definition: &Object) {
    client.create::<Object>(&DEFINITIONS, "", definition).await.expect("created");
    let mut watch = client.watch(&DEFINITIONS, "", &ListOptions::default()).await.expect("a watch");
    while next(&mut watch).await.1.at("status.storedVersions").is_none_or(|v| *v == json!([])) {}
}

fn color() -> Value {
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "color": {"type": "string"}}}}})
}

fn zebra(name: &str, color: &str) -> Object {
    object(json!({"apiVersion": "example.com/v1", "kind": "Zebra", "metadata": {"name": name},
        "spec": {"color": color}}))
}

async fn names(client: &Client, fields: &str) -> Vec<String> {
    let options = ListOptions::fields(fields);
    let list = client.list::<Object>(&ZEBRAS, "default", &options).await.expect("a list");
    list.items.iter().map(|zebra| zebra.name().to_owned()).collect()
}

#[tokio::test]
async fn fields_made_selectable_select_older_objects() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    define(&client, &definition(&color())).await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        client.create::<Object>(&ZEBRAS, "default", &zebra(name, color)).await.expect("created");
    }
    let options = ListOptions::fields("spec.color=red");
    assert!(client.list::<Object>(&ZEBRAS, "default", &options).await.is_err());

    let select = json!([{"op": "add", "path": "/spec/versions/0/selectableFields",
        "value": [{"jsonPath": ".spec.color"}]}]);
    let patched = client
        .patch::<Object>(&DEFINITIONS, "", "zebras.example.com", None, Patch::Json, &select)
        .await;
    patched.expect("patched");
    assert_eq!(names(&client, "spec.color=red").await, ["a", "c"]);
    assert_eq!(names(&client, "spec.color!=red").await, ["b"]);
    assert_eq!(names(&client, "spec.color=").await, [""; 0]);

    // What leaves a selection is seen, though its card said nothing of the field.
    let mut watch = client.watch(&ZEBRAS, "default", &options).await.expect("a watch");
    for name in ["a", "c"] {
        let (kind, found) = next(&mut watch).await;
        assert_eq!((kind, found.name()), ("ADDED", name));
    }
    let paint = |color: &str| json!({"spec": {"color": color}});
    for (name, color) in [("a", "blue"), ("b", "red"), ("c", "green")] {
        client
            .patch::<Object>(&ZEBRAS, "default", name, None, Patch::Merge, &paint(color))
            .await
            .expect("patched");
    }
    for expected in [("DELETED", "a"), ("ADDED", "b"), ("DELETED", "c")] {
        let (kind, found) = next(&mut watch).await;
        assert_eq!((kind, found.name()), expected);
    }
    assert_eq!(names(&client, "spec.color=red").await, ["b"]);
    stop.cancel();
}

fn causes(error: &Error) -> Vec<String> {
    let status = error.api().expect("a status").to_status();
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |cause: &Value, key: &str| cause[key].as_str().unwrap_or("").to_owned();
    causes.map(|c| format!("{}: {}", text(c, "field"), text(c, "message"))).collect()
}

#[tokio::test]
async fn defaults_obey_the_rules_of_their_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let of = |spec: Value| definition(&json!({"type": "object", "properties": {"spec": spec}}));
    let number = |default: i64, rules: Value| {
        of(json!({"type": "object", "properties": {"size": {"type": "integer",
            "default": default, "x-kubernetes-validations": rules}}}))
    };
    let place = "spec.validation.openAPIV3Schema.properties[spec]";
    let big = json!([{"rule": "self > 1", "message": "too small"}]);
    let new = json!([{"rule": "self > oldSelf.orValue(3)", "optionalOldSelf": true,
        "message": "must grow"}]);
    let whole = json!({"type": "object", "default": {"list": [1, 2]},
        "properties": {"list": {"type": "array", "maxItems": 3, "items": {"type": "integer",
            "x-kubernetes-validations": [{"rule": "self > 1"}]}}}});
    for (definition, expected) in [
        (
            number(0, big.clone()),
            format!("{place}.properties[size].default: Invalid value: 0: too small"),
        ),
        (number(0, new), format!("{place}.properties[size].default: Invalid value: 0: must grow")),
        (of(whole), format!("{place}.default.list[0]: Invalid value: 1: failed rule: self > 1")),
        (
            of(json!({"type": "string", "pattern": "(?=a)"})),
            format!(
                "{place}.pattern: Invalid value: \"(?=a)\": must be a valid regular expression, but isn't: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"
            ),
        ),
    ] {
        let error = client
            .create::<Object>(&DEFINITIONS, "", &definition)
            .await
            .expect_err("a fault in the definition");
        assert_eq!(causes(&error), [expected]);
    }
    client.create::<Object>(&DEFINITIONS, "", &number(2, big)).await.expect("a good default");
    stop.cancel();
}
