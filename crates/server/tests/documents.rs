//! The documents that clients learn the API from, as they are asked for: forms, tags, redirects, and
//! custom resources among them.
#![allow(clippy::unwrap_used)] // a test that cannot set up has failed

mod common;

use api::{Object, Resource, Value};
use bytes::Bytes;
use client::{Client, Shutdown};
use common::server;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::json;
use store::Store;

async fn get(
    client: &Client,
    path: &str,
    headers: &[(header::HeaderName, &str)],
) -> (StatusCode, HeaderMap, Bytes) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let response = client.send(request.body(Bytes::new()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    (parts.status, parts.headers, body.bytes().await.unwrap())
}

async fn value(client: &Client, path: &str) -> Value {
    let (status, _, body) = get(client, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn tags_hashes_and_forms() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let index = value(&client, "/openapi/v3").await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (status, headers, _) = get(&client, url, &[]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CACHE_CONTROL], "public, immutable");
    let tag = headers[header::ETAG].to_str().unwrap().to_owned();
    let (status, ..) = get(&client, url, &[(header::IF_NONE_MATCH, &tag)]).await;
    assert_eq!(status, StatusCode::NOT_MODIFIED);
    let (status, headers, _) = get(&client, "/openapi/v3/apis/apps/v1?hash=OLD", &[]).await;
    assert_eq!(status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(headers[header::LOCATION], url);
    let (status, ..) = get(&client, "/openapi/v3/apis/nope/v1", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);

    let proto = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let (_, headers, body) = get(&client, "/openapi/v2", &[(header::ACCEPT, proto)]).await;
    assert_eq!(headers[header::CONTENT_TYPE], proto.replace('@', "."));
    assert_eq!(&body[..5], b"\x0a\x032.0", "swagger is the first field");
    let (status, ..) = get(&client, "/openapi/v2", &[(header::ACCEPT, "text/plain")]).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);

    let (_, _, version) = get(&client, "/version", &[]).await;
    assert!(version.starts_with(b"{\n  \""), "indented, as upstream's");
    stop.cancel();
}

#[tokio::test]
async fn custom_resources_are_documented() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let definitions = Resource::cluster(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    );
    let definition = |text: &str| {
        Object::from_value(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": "widgets", "kind": "Widget"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                        "spec": {"type": "object", "description": text, "properties": {
                            "size": {"type": "integer", "nullable": true}}}}}}}],
            },
        }))
        .unwrap()
    };
    let before = value(&client, "/openapi/v3").await;
    assert!(before["paths"]["apis/example.com/v1"].is_null());
    client.create::<Object>(&definitions, "", &definition("First.")).await.unwrap();
    let url = documented(&client, "First.").await;
    let merge = json!({"spec": definition("Second.").0["spec"]});
    let (name, patch) = ("widgets.example.com", client::Patch::Merge);
    client.patch::<Object>(&definitions, "", name, None, patch, &merge).await.unwrap();
    assert_ne!(documented(&client, "Second.").await, url, "another document, another address");

    let swagger = value(&client, "/openapi/v2").await;
    let spec = &swagger["definitions"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["properties"]["size"], json!({}), "old clients know no null");
    let list = &swagger["paths"]["/apis/example.com/v1/widgets"]["get"];
    assert_eq!(list["operationId"], "listExampleComV1WidgetForAllNamespaces");
    assert!(swagger["paths"]["/apis/example.com/v1/watch/widgets"].is_null());
    stop.cancel();
}

/// Waits until the custom resource's document says a text; returns its address.
async fn documented(client: &Client, text: &str) -> String {
    for _ in 0..600 {
        let index = value(client, "/openapi/v3").await;
        if let Some(url) = index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str() {
            let document = value(client, url).await;
            let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
            if widget["properties"]["spec"]["description"] == text {
                let meta = &widget["properties"]["metadata"]["allOf"][0]["$ref"];
                assert!(meta.as_str().unwrap().ends_with(".ObjectMeta"), "{widget}");
                return url.to_owned();
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the definition is never documented");
}
