//! A whole server over memory, asked in process: writes, lists, pages, watches, deletions.

mod common;

use api::resource::{CONFIG_MAPS, PODS};
use api::{Object, Value};
use bytes::Bytes;
use client::{Client, ListOptions, Shutdown};
use common::server;
use http::Method;
use serde_json::json;
use store::Store;

fn config_map(name: &str, labels: &Value) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels}, "data": {"k": "v"}});
    Object::from_value(value).expect("a map")
}

async fn get(client: &Client, path: &str) -> Value {
    let response = client.raw(Method::GET, path, Bytes::new()).await.expect("answers");
    let body = response.into_body().bytes().await.expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

#[tokio::test]
async fn pages_are_of_one_revision() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    for name in ["a", "b", "c", "d"] {
        let object = config_map(name, &json!({"app": "web"}));
        client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect("created");
    }
    let path = "/api/v1/namespaces/default/configmaps?limit=2";
    let first = get(&client, path).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    assert!(first["items"][0].get("kind").is_none(), "items carry no type");
    let object = config_map("bb", &json!({}));
    client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect("created");
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let rest = get(&client, &format!("{path}&continue={token}")).await;
    let names: Vec<&str> = rest["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    stop.cancel();
}

#[tokio::test]
async fn a_watch_sees_objects_enter_and_leave_its_selector() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let options = ListOptions::labels("on=1");
    let mut watch = client.watch(&CONFIG_MAPS, "default", &options).await.expect("a watch");
    let mut labels = json!({});
    for (on, kind) in [(true, "Added"), (false, "Deleted")] {
        labels["on"] = if on { json!("1") } else { json!("0") };
        let object = config_map("x", &labels);
        if on {
            client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect("created");
        } else {
            client
                .replace::<Object>(&CONFIG_MAPS, "default", "x", None, &object)
                .await
                .expect("put");
        }
        let event = watch.next_event().await.expect("an event").expect("decodes");
        assert!(format!("{event:?}").starts_with(kind), "{event:?}");
    }
    stop.cancel();
}

#[tokio::test]
async fn strangers_may_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (running, _) = server(dir.path(), Store::memory(), &stop).await;
    let stranger = running.client_as("nobody", &[]);
    let error = stranger.get::<Object>(&PODS, "default", "x").await.expect_err("forbidden");
    assert!(error.is_forbidden(), "{error}");
    stop.cancel();
}

/// What a manager owns is named as in the version that it wrote in; writes in another version take it
/// away all the same.
#[tokio::test]
async fn fields_are_owned_across_versions() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/h";
    let apply = |manager: &str, version: &str, force: bool, spec: &Value| {
        let path = path.replacen("v1", version, 1);
        let uri = format!("{path}?fieldManager={manager}&force={force}");
        let body = json!({"apiVersion": format!("autoscaling/{version}"),
            "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec});
        let request = http::Request::patch(uri)
            .header("content-type", "application/apply-patch+yaml")
            .body(Bytes::from(body.to_string()))
            .expect("a request");
        let client = client.clone();
        async move {
            let response = client.send(request).await.expect("answers");
            let status = response.status().as_u16();
            let body = response.into_body().bytes().await.expect("a body");
            (status, serde_json::from_slice::<Value>(&body).expect("JSON"))
        }
    };
    let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
    let old = json!({"scaleTargetRef": target, "maxReplicas": 5,
        "targetCPUUtilizationPercentage": 50});
    assert_eq!(apply("one", "v1", false, &old).await.0, 201);
    let new = json!({"scaleTargetRef": target, "maxReplicas": 5, "metrics": [{"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]});
    let (status, refused) = apply("two", "v2", false, &new).await;
    assert_eq!(status, 409, "{refused}");
    let message = refused["message"].as_str().expect("a message");
    assert!(message.contains(".spec.targetCPUUtilizationPercentage"), "{message}");
    let (status, taken) = apply("two", "v2", true, &new).await;
    assert_eq!(status, 200, "{taken}");
    let one = taken["metadata"]["managedFields"]
        .as_array()
        .expect("managers")
        .iter()
        .find(|m| m["manager"] == "one")
        .expect("the first one");
    assert_eq!(one["apiVersion"], "autoscaling/v1");
    assert!(one["fieldsV1"]["f:spec"]["f:targetCPUUtilizationPercentage"].is_null(), "{one}");
    assert!(one["fieldsV1"]["f:spec"]["f:maxReplicas"].is_object(), "{one}");
    stop.cancel();
}

#[tokio::test]
async fn a_scales_replicas_are_owned_as_the_objects() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let send = async |method: Method, path: String, kind: &str, body: Value| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, kind)
            .body(Bytes::from(body.to_string()))
            .expect("a request");
        let response = client.send(request).await.expect("answers");
        let status = response.status().as_u16();
        let body = response.into_body().bytes().await.expect("a body");
        (status, serde_json::from_slice::<Value>(&body).expect("JSON"))
    };
    let body = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let created = format!("{path}?fieldManager=maker");
    assert_eq!(send(Method::POST, created, "application/json", body).await.0, 201);

    let scale = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": replicas}});
    let apply = "application/apply-patch+yaml";
    let url = format!("{path}/d/scale?fieldManager=scaler");
    let (status, answer) = send(Method::PATCH, url.clone(), apply, scale(4)).await;
    assert_eq!(status, 409, "{answer}");
    let message = "Apply failed with 1 conflict: conflict with \"maker\" using autoscaling/v1: .spec.replicas";
    assert_eq!(answer["message"], message);

    let (status, answer) = send(Method::PATCH, format!("{url}&force=true"), apply, scale(4)).await;
    assert_eq!((status, &answer["spec"]["replicas"]), (200, &json!(4)), "{answer}");
    assert!(answer["metadata"].get("managedFields").is_none(), "{answer}");
    let deployment = get(&client, &format!("{path}/d")).await;
    let managers = deployment["metadata"]["managedFields"].as_array().expect("managers");
    let of = |name: &str| managers.iter().find(|m| m["manager"] == name).expect("owns");
    let owned = json!({"f:spec": {"f:replicas": {}}});
    assert_eq!(
        (&of("scaler")["fieldsV1"], &of("scaler")["subresource"]),
        (&owned, &json!("scale"))
    );
    assert_eq!(of("scaler")["apiVersion"], "apps/v1");
    assert!(of("maker")["fieldsV1"]["f:spec"].get("f:replicas").is_none());

    // A patch takes them over without asking.
    let merge = "application/merge-patch+json";
    let url = format!("{path}/d/scale?fieldManager=patcher&fieldValidation=Strict");
    let (status, answer) = send(Method::PATCH, url.clone(), merge, json!({"spec": {"x": 1}})).await;
    assert_eq!(status, 422, "{answer}");
    let (status, _) = send(Method::PATCH, url, merge, json!({"spec": {"replicas": 5}})).await;
    assert_eq!(status, 200);
    let deployment = get(&client, &format!("{path}/d")).await;
    let managers = deployment["metadata"]["managedFields"].as_array().expect("managers");
    let names: Vec<&Value> = managers.iter().map(|m| &m["manager"]).collect();
    assert_eq!(names, ["patcher", "maker"]);
    stop.cancel();
}

#[tokio::test]
async fn an_owner_is_named_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let owner = |uid: &str| json!({"apiVersion": "v1", "kind": "Node", "name": "n", "uid": uid});
    let mut object = config_map("m", &json!({}));
    object.set_meta("ownerReferences", json!([owner("1"), owner("2"), owner("1")]));
    let request = http::Request::builder()
        .method(Method::POST)
        .uri("/api/v1/namespaces/default/configmaps")
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Bytes::from(serde_json::to_vec(&object.0).expect("JSON")))
        .expect("a request");
    let response = client.send(request).await.expect("answers");
    let warning = response.headers()["warning"].to_str().expect("text").to_owned();
    assert!(
        warning.contains("contains duplicate entries; ") && warning.ends_with("observed: 1\""),
        "{warning}"
    );
    let stored = get(&client, "/api/v1/namespaces/default/configmaps/m").await;
    assert_eq!(stored["metadata"]["ownerReferences"], json!([owner("1"), owner("2")]));
}

#[tokio::test]
async fn a_name_that_exists_is_told_by_its_prefix() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let mut object = config_map("taken", &json!({}));
    client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect("created");
    let refused =
        client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect_err("exists");
    assert!(refused.to_string().ends_with("\"taken\" already exists"), "{refused}");
    object.set_meta("generateName", "t");
    let refused =
        client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect_err("exists");
    assert!(refused.to_string().contains("was not able to generate a unique name"), "{refused}");
    stop.cancel();
}

#[tokio::test]
async fn an_eviction_notes_the_last_disruption_of_a_budget() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let send = async |method: Method, path: &str, body: Value| {
        let kind = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, kind)
            .body(Bytes::from(body.to_string()))
            .expect("a request");
        let response = client.send(request).await.expect("answers");
        let status = response.status().as_u16();
        let body = response.into_body().bytes().await.expect("a body");
        (status, serde_json::from_slice::<Value>(&body).expect("JSON"))
    };
    let (pods, budgets) = (
        "/api/v1/namespaces/default/pods",
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
    );
    send(
        Method::POST,
        "/api/v1/namespaces/default/serviceaccounts",
        json!({"metadata": {"name": "default"}}),
    )
    .await;
    for name in ["a", "b"] {
        let pod = json!({"metadata": {"name": name, "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let (status, answer) = send(Method::POST, pods, pod).await;
        assert_eq!(status, 201, "{answer}");
        let ready = json!({"status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}]}});
        send(Method::PATCH, &format!("{pods}/{name}/status"), ready).await;
    }
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1,
        "selector": {"matchLabels": {"app": "x"}}}});
    assert_eq!(send(Method::POST, budgets, budget).await.0, 201);
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 1,
        "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2}});
    send(Method::PATCH, &format!("{budgets}/b/status"), status).await;

    let evict = async |name: &str, options: Value| {
        let body = json!({"metadata": {"name": name}, "deleteOptions": options});
        send(Method::POST, &format!("{pods}/{name}/eviction"), body).await
    };
    let (status, answer) =
        evict("a", json!({"propagationPolicy": "Sometimes", "dryRun": ["All"]})).await;
    assert_eq!((status, &answer["details"]["kind"]), (422, &json!("DeleteOptions")), "{answer}");
    assert_eq!(evict("a", json!({})).await.0, 201);
    let left = get(&client, &format!("{budgets}/b")).await;
    let condition = &left["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"]),
        (&json!("DisruptionAllowed"), &json!("False"), &json!("InsufficientPods")),
        "{left}"
    );
    let (status, answer) = evict("b", json!({})).await;
    assert_eq!(status, 429, "{answer}");
    assert_eq!(
        answer["details"]["causes"][0]["message"],
        "The disruption budget b does not allow evicting pods currently"
    );
    stop.cancel();
}
