//! What one client can cost: large, deep and slow requests end early, and nobody waits for who does
//! not read.

mod common;

use std::time::{Duration, Instant};

use api::resource::CONFIG_MAPS;
use api::{Object, Value};
use bytes::Bytes;
use client::{Client, Shutdown};
use http::{Method, Request, StatusCode};
use isopod_server::Running;
use serde_json::json;
use store::Store;

/// The answer to a request of a body and content type: its code and text.
async fn send(
    client: &Client,
    method: Method,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::CONTENT_TYPE, content_type)
        .body(body.into())
        .expect("a request");
    let response = client.send(request).await.expect("answers");
    let status = response.status();
    let body = response.into_body().bytes().await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, text: &str) -> Object {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name}, "data": {"k": text}});
    Object::from_value(value).expect("a map")
}

#[tokio::test]
async fn requests_have_a_size_a_depth_and_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let json = "application/json";

    let large = config_map("large", &"x".repeat(3 * 1024 * 1024));
    let large = Value::Object(large.0).to_string();
    let (status, text) = send(&client, Method::POST, MAPS, json, large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("limit is 3145728"), "{text}");

    let deep = format!("{}{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
    let (status, text) = send(&client, Method::POST, MAPS, json, deep).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");

    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h", "i"]
        .iter()
        .zip(["a", "b", "c", "d", "e", "f", "g", "h"])
    {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","));
    }
    let started = Instant::now();
    let (status, text) = send(&client, Method::POST, MAPS, "application/yaml", bomb).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    assert!(started.elapsed() < Duration::from_secs(5), "aliases are bounded");

    let path = format!("{MAPS}?timeout=x");
    let (status, text) = send(&client, Method::GET, &path, json, "").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("invalid timeout specified in the request URL"), "{text}");
    stop.cancel();
}

#[tokio::test]
async fn patches_have_bounds() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    client.create::<Object>(&CONFIG_MAPS, "default", &config_map("x", "v")).await.expect("created");
    let path = format!("{MAPS}/x");
    let patch = async |operations: Vec<Value>| {
        let body = Value::from(operations).to_string();
        send(&client, Method::PATCH, &path, "application/json-patch+json", body).await
    };
    let add = json!({"op": "add", "path": "/data/k", "value": "w"});
    let (status, text) = patch(vec![add.clone(); 10_001]).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{text}");
    assert!(text.contains("maximum operations in a JSON patch is 10000"), "{text}");
    assert_eq!(patch(vec![add; 10_000]).await.0, StatusCode::OK);

    // Each copy doubles the map.
    let copies =
        (0..64).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/c{n}")}));
    assert_eq!(patch(copies.collect()).await.0, StatusCode::UNPROCESSABLE_ENTITY);

    let nest = ["add /y", "move /x /y/x", "move /y /x"].map(|text| {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            [op, from, path] => json!({"op": op, "from": from, "path": path}),
            [op, path] => json!({"op": op, "path": path, "value": {}}),
            _ => Value::Null,
        }
    });
    let mut operations = vec![json!({"op": "add", "path": "/x", "value": {}})];
    operations.extend(nest.iter().cycle().take(9_000).cloned());
    assert_eq!(patch(operations).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    stop.cancel();
}

#[tokio::test]
async fn who_does_not_read_a_watch_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let watch = Request::builder()
        .uri(format!("{MAPS}?watch=true&resourceVersion=0"))
        .body(Bytes::new())
        .expect("a request");
    let unread = client.send(watch).await.expect("answers");
    assert_eq!(unread.status(), StatusCode::OK);
    let text = "x".repeat(1000);
    let writes = async {
        for n in 0..2_000 {
            let object = config_map(&format!("m{n}"), &text);
            client.create::<Object>(&CONFIG_MAPS, "default", &object).await.expect("created");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), writes).await.expect("writers do not wait");
    drop(unread);
    stop.cancel();
}

#[tokio::test]
async fn who_sends_slowly_is_answered_in_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (running, _client) = common::server(dir.path(), Store::memory(), &stop).await;
    let mut stream = wire(&running, dir.path()).await;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    // A body that is promised and never comes.
    let head = format!(
        "POST {MAPS}?timeout=1s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 64];
    let read = stream.read(&mut answer);
    let count = tokio::time::timeout(Duration::from_secs(20), read)
        .await
        .expect("in time")
        .expect("an answer");
    let text = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(text.starts_with("HTTP/1.1 504"), "{text}");
    stop.cancel();
}

/// A TLS connection as the administrator.
async fn wire(
    running: &Running,
    dir: &std::path::Path,
) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    running
        .pki
        .write_kubeconfig(
            &dir.join("admin.kubeconfig"),
            isopod_server::pki::Identity::Admin,
            &running.url(),
        )
        .expect("written");
    let text = std::fs::read_to_string(dir.join("admin.kubeconfig")).expect("readable");
    let config: Value = {
        let line = |key: &str| {
            let at = text.find(key).expect("there") + key.len();
            text[at..].lines().next().expect("a line").trim().to_owned()
        };
        json!({"ca": line("certificate-authority-data:"), "crt": line("client-certificate-data:"), "key": line("client-key-data:")})
    };
    let decode = |key: &str| {
        use base64::Engine as _;
        let text = config[key].as_str().expect("a text").trim_matches('"');
        base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&decode("ca")) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let chain = CertificateDer::pem_slice_iter(&decode("crt")).collect::<Result<_, _>>();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&decode("key")).expect("a key");
    let tls = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.expect("certificates"), key)
        .expect("a pair");
    let stream = tokio::net::TcpStream::connect(running.address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls))
        .connect(name, stream)
        .await
        .expect("a handshake")
}
