//! What the status of a validating policy says of its expressions. Not here: what policies do.

mod common;

use std::time::Duration;

use api::{Object, Resource, Value};
use client::{Client, ListOptions, Shutdown, WatchEvent};
use serde_json::json;
use store::Store;

const DEFINITIONS: Resource = Resource::cluster(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
);
const POLICIES: Resource = Resource::cluster(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
);

fn object(value: Value) -> Object {
    Object::from_value(value).expect("a map")
}

/// Creates an object and waits until a path of it says something.
async fn settled(client: &Client, resource: &Resource, new: Value, path: &str) -> Object {
    let new = object(new);
    let created = client.create::<Object>(resource, "", &new).await.expect("created");
    let options = ListOptions::fields(format!("metadata.name={}", created.name()));
    let mut watch = client.watch(resource, "", &options).await.expect("a watch");
    let looking = async {
        loop {
            let event = watch.next_event().await.expect("goes on").expect("an event");
            let (WatchEvent::Added(json) | WatchEvent::Modified(json)) = event else { continue };
            let found = object(serde_json::from_slice(&json).expect("JSON"));
            if found.at(path).is_some_and(|v| *v != json!([])) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), looking).await.expect("in time")
}

/// The warnings about a policy with some validations, by field.
async fn warnings(
    client: &Client,
    name: &str,
    (group, resources): (&str, &[&str]),
    validations: Value,
    params: Value,
) -> Vec<(String, String)> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"],
                "operations": ["*"], "resources": resources}]},
            "validations": validations, "paramKind": params,
            "variables": [{"name": "count", "expression": "object.spec.replicas"}],
        },
    });
    let found = settled(client, &POLICIES, policy, "status.typeChecking").await;
    assert_eq!(found.int("status.observedGeneration"), Some(1));
    let list = found.at("status.typeChecking.expressionWarnings").and_then(Value::as_array);
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or("").to_owned();
    let pair = |warning: &Value| (text(warning, "fieldRef"), text(warning, "warning"));
    list.into_iter().flatten().map(pair).collect()
}

#[tokio::test]
async fn expressions_are_held_against_the_types_of_their_resources() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    running.check_policies();
    let deployments = ("apps", &["deployments"][..]);
    let good = json!([{"expression": "object.spec.replicas > 1 && variables.count > 2"},
        {"expression": "object.metadata.labels['a'] == 'b'"},
        {"expression": "object.spec.template.spec.containers.all(c, c.image != '')"}]);
    assert!(warnings(&client, "good", deployments, good, Value::Null).await.is_empty());

    let bad = json!([
        {"expression": "object.spec.replicas > '1'",
            "messageExpression": "'only ' + object.spec.replicas"},
        {"expression": "variables.count == 'x'"},
        {"expression": "params.data.size == 1"},
    ]);
    let maps = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let found = warnings(&client, "bad", deployments, bad, maps).await;
    let expected = [
        (
            "spec.validations[0].expression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n",
        ),
        (
            "spec.validations[0].messageExpression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:9: found no matching overload for '_+_' applied to '(string, int)'\n | 'only ' + object.spec.replicas\n | ........^\n",
        ),
        (
            "spec.validations[1].expression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:17: found no matching overload for '_==_' applied to '(int, string)'\n | variables.count == 'x'\n | ................^\n",
        ),
        (
            "spec.validations[2].expression",
            "apps/v1, Kind=Deployment: ERROR: <input>:1:18: found no matching overload for '_==_' applied to '(string, int)'\n | params.data.size == 1\n | .................^\n",
        ),
    ];
    assert_eq!(found, expected.map(|(field, text)| (field.to_owned(), text.to_owned())));

    // Of several types each is told; a resource without a group is meant in all groups.
    let both = json!([{"expression": "object.spec.containers.size() > 0"},
        {"expression": "object.note == 1"}]);
    let found = warnings(&client, "both", ("", &["pods", "events"]), both, Value::Null).await;
    let lines = |text: &str| -> Vec<String> {
        let heads = text.lines().filter(|line| line.contains("ERROR"));
        heads.map(|line| line.rsplit_once(": ").map_or("", |(head, _)| head).to_owned()).collect()
    };
    assert_eq!(
        lines(&found[0].1),
        ["/v1, Kind=Event: ERROR: <input>:1:7", "events.k8s.io/v1, Kind=Event: ERROR: <input>:1:7"]
    );
    // What names all resources names no type.
    let all = json!([{"expression": "object.note == 1"}]);
    assert!(warnings(&client, "all", ("apps", &["*"]), all, Value::Null).await.is_empty());
    stop.cancel();
}

#[tokio::test]
async fn custom_resources_have_types_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    running.check_policies();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "day": {"type": "string", "format": "date"},
        "port": {"x-kubernetes-int-or-string": true}}}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crons.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "crons", "kind": "Cron"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}}]},
    });
    settled(&client, &DEFINITIONS, definition, "status.storedVersions").await;
    let validations = json!([
        {"expression": "object.spec.replicas > 1 && object.spec.port == 1"},
        {"expression": "object.spec.retries < 10"},
        {"expression": "object.spec.day == 1"},
        {"expression": "object.metadata.labels.a == 1"},
    ]);
    let found = warnings(&client, "p", ("example.com", &["crons"]), validations, Value::Null).await;
    let heads: Vec<(&str, &str)> = found
        .iter()
        .map(|(field, text)| (field.as_str(), text.lines().next().unwrap_or("")))
        .collect();
    let of = |what: &str| format!("example.com/v1, Kind=Cron: ERROR: <input>:{what}");
    let (field, day, label) = (
        of("1:12: undefined field 'retries'"),
        of("1:17: found no matching overload for '_==_' applied to '(timestamp, int)'"),
        of("1:26: found no matching overload for '_==_' applied to '(string, int)'"),
    );
    assert_eq!(
        heads,
        [
            ("spec.validations[1].expression", field.as_str()),
            ("spec.validations[2].expression", day.as_str()),
            ("spec.validations[3].expression", label.as_str()),
        ]
    );
    stop.cancel();
}
