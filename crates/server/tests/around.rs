//! What goes around the answers: metrics under upstream's names, health as metrics, the id of a request,
//! compression, and what paths get that lead nowhere.

mod common;

use api::resource::CONFIG_MAPS;
use api::{Object, Value};
use bytes::Bytes;
use client::{Client, Shutdown};
use futures_util::StreamExt;
use http::{Method, Request, Response};
use serde_json::json;
use store::Store;

async fn send(client: &Client, path: &str, headers: &[(&str, &str)]) -> Response<client::Body> {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Bytes::new()).expect("a request")).await.expect("answers")
}

async fn text(client: &Client, path: &str) -> String {
    let body = send(client, path, &[]).await.into_body().bytes().await.expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}

/// The value of the series that has all of the labels.
fn value(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit_once(' ')?.1.parse().ok()
}

fn config_map(name: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    Object::from_value(value).expect("a map")
}

#[tokio::test]
async fn requests_are_counted_as_upstream_names_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    for name in ["a", "b", "c"] {
        client.create::<Value>(&CONFIG_MAPS, "default", &config_map(name)).await.expect("made");
    }
    client.get::<Value>(&CONFIG_MAPS, "default", "a").await.expect("found");
    let maps = "/api/v1/namespaces/default/configmaps";
    let list = text(&client, maps).await;
    let watch = send(&client, &format!("{maps}?watch=true"), &[]).await;
    let mut events = watch.into_body();
    let first = events.next().await.expect("an event").expect("bytes");
    let events_seen = first.iter().filter(|b| **b == b'\n').count();

    let metrics = text(&client, "/metrics").await;
    let resource = [r#"resource="configmaps""#, r#"component="apiserver""#, r#"version="v1""#];
    let of = |labels: &[&'static str]| [&resource[..], labels].concat();
    let created = of(&[r#"verb="POST""#, r#"scope="resource""#, r#"code="201""#, r#"dry_run="""#]);
    assert_eq!(value(&metrics, "apiserver_request_total", &created), Some(3.0));
    for (verb, scope) in [("GET", "resource"), ("LIST", "namespace")] {
        let labels = [format!("verb=\"{verb}\""), format!("scope=\"{scope}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).chain(resource).collect();
        for name in [
            "apiserver_request_total",
            "apiserver_request_duration_seconds_count",
            "apiserver_request_sli_duration_seconds_count",
            "apiserver_response_sizes_count",
        ] {
            assert_eq!(value(&metrics, name, &labels), Some(1.0), "{name} {labels:?}");
        }
    }
    let listed = value(&metrics, "apiserver_response_sizes_sum", &of(&[r#"verb="LIST""#]));
    #[allow(clippy::cast_precision_loss)]
    let expected = list.len() as f64;
    assert_eq!(listed, Some(expected));
    let watches = of(&[r#"verb="WATCH""#, r#"scope="namespace""#]);
    assert_eq!(value(&metrics, "apiserver_longrunning_requests", &watches), Some(1.0));
    let sent = value(&metrics, "apiserver_watch_events_total", &resource[..1]);
    #[allow(clippy::cast_precision_loss)]
    let expected = events_seen as f64;
    assert_eq!(sent, Some(expected));
    let all: Value =
        serde_json::from_str(&text(&client, "/api/v1/configmaps").await).expect("a list");
    #[allow(clippy::cast_precision_loss)]
    let expected = all["items"].as_array().expect("items").len() as f64;
    assert_eq!(value(&metrics, "apiserver_resource_objects", &resource[..1]), Some(expected));
    let reads = value(&metrics, "apiserver_current_inflight_requests", &[r#""readOnly""#]);
    assert_eq!(reads, Some(1.0), "the scrape itself");
    let filled = [r#"type="admit""#, r#"operation="CREATE""#, r#"rejected="false""#];
    let plugins = "apiserver_admission_step_admission_duration_seconds_count";
    assert!(value(&metrics, plugins, &filled).is_some_and(|count| count >= 3.0));
    assert_eq!(value(&metrics, "kubernetes_build_info", &[r#"minor="36""#]), Some(1.0));
    assert!(value(&metrics, "process_resident_memory_bytes", &[]).is_some_and(|b| b > 1e6));

    // A watch counts until nobody reads it, and paths of nothing make no series.
    drop(events);
    text(&client, "/apis/nobody.example.com/v1/things").await;
    let metrics = text(&client, "/metrics").await;
    assert_eq!(value(&metrics, "apiserver_longrunning_requests", &watches), Some(0.0));
    assert!(!metrics.contains("nobody.example.com") && !metrics.contains("things"));
}

#[tokio::test]
async fn long_reads_are_compressed_for_who_takes_it() {
    use std::io::Read;
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let mut long = config_map("long");
    long.0.insert("data".into(), json!({"k": "v".repeat(200_000)}));
    client.create::<Value>(&CONFIG_MAPS, "default", &long).await.expect("made");
    client.create::<Value>(&CONFIG_MAPS, "default", &config_map("short")).await.expect("made");
    let maps = "/api/v1/namespaces/default/configmaps";
    for (path, compressed) in [
        (&*format!("{maps}/long"), true),
        (&*format!("{maps}/short"), false),
        (maps, true),
        ("/openapi/v2", true),
        ("/openapi/v3/api/v1", false),
    ] {
        let plain = text(&client, path).await;
        let answer = send(&client, path, &[("accept-encoding", "deflate, gzip;q=0.9")]).await;
        let headers = answer.headers().clone();
        let vary: Vec<_> = headers.get_all("vary").iter().collect();
        let body = answer.into_body().bytes().await.expect("a body");
        assert_eq!(
            headers.get("content-encoding").is_some_and(|e| e == "gzip"),
            compressed,
            "{path}"
        );
        assert_eq!(vary.contains(&&http::HeaderValue::from_static("Accept-Encoding")), compressed);
        if compressed {
            let mut said = String::new();
            flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut said).expect("gzip");
            assert_eq!(said, plain, "{path}");
            assert!(body.len() * 4 < plain.len());
        }
    }
}

#[tokio::test]
async fn health_is_a_metric_and_paths_to_nowhere_say_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    text(&client, "/readyz/ping").await;
    let slis = text(&client, "/metrics/slis").await;
    let ping = [r#"name="ping""#, r#"type="readyz""#];
    assert_eq!(value(&slis, "kubernetes_healthcheck", &ping), Some(1.0));
    assert!(value(&slis, "kubernetes_healthchecks_total", &ping).is_some_and(|n| n >= 1.0));
    assert!(!slis.contains("apiserver_"), "only health");

    for (path, code, says) in [
        ("/api/v1/watch", 500, "unable to determine kind and namespace from url, /api/v1/watch"),
        ("/api/v1/proxy/namespaces/default/pods/x", 404, "could not find the requested resource"),
        ("//api/v1", 404, "404 page not found"),
        ("/openapi/v2/", 404, "404 page not found"),
    ] {
        let answer = send(&client, path, &[]).await;
        assert_eq!(answer.status(), code, "{path}");
        let body = answer.into_body().bytes().await.expect("a body");
        assert!(String::from_utf8_lossy(&body).contains(says), "{path}: {body:?}");
    }

    let own = send(&client, "/version", &[]).await;
    let id = own.headers().get("audit-id").expect("an id");
    assert_eq!(id.len(), 36);
    let long = "x".repeat(70);
    for (given, expected) in [("mine", "mine"), (long.as_str(), &long[..64])] {
        let answer = send(&client, "/version", &[("audit-id", given)]).await;
        assert_eq!(answer.headers().get("audit-id").expect("an id"), expected);
    }
}
