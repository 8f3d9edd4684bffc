//! Watches over WebSocket: one event a message, in the negotiated form, until the time is over.
//! Not here: what watches show.

mod common;

use std::time::Duration;

use api::resource::CONFIG_MAPS;
use api::{Object, Value};
use bytes::Bytes;
use client::transport::Upgraded;
use client::{Client, Shutdown};
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use serde_json::json;
use store::Store;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

type Socket = WebSocketStream<Box<dyn client::Io>>;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn ask(
    client: &Client,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Upgraded, client::Error> {
    let mut request = Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.upgrade(request.body(Bytes::new()).expect("a request")).await
}

async fn open(client: &Client, path: &str, headers: &[(&str, &str)]) -> Socket {
    let headers = [&[("origin", "https://here")], headers].concat();
    let upgraded = ask(client, path, &headers).await.expect("upgrades");
    WebSocketStream::from_raw_socket(upgraded.io, Role::Client, None).await
}

async fn put(client: &Client, name: &str, text: &str) {
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name}, "data": {"k": text}});
    let map = Object::from_value(map).expect("a map");
    client.create::<Object>(&CONFIG_MAPS, "default", &map).await.expect("created");
}

fn event(message: &Message) -> (String, String) {
    let text = message.to_text().expect("text");
    assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text}");
    let event: Value = serde_json::from_str(text).expect("one event");
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or("");
    (event["type"].as_str().unwrap_or("").to_owned(), name.to_owned())
}

#[tokio::test]
async fn each_event_is_a_message() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    for name in ["a", "b"] {
        put(&client, name, "x").await;
    }
    let path = format!("{MAPS}?watch=true&fieldSelector=metadata.name!%3Dkube-root-ca.crt");
    let mut socket = open(&client, &path, &[]).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(event(&socket.next().await.expect("an event").expect("a message")));
    }
    put(&client, "c", "x").await;
    seen.push(event(&socket.next().await.expect("an event").expect("a message")));
    let added = |name: &str| ("ADDED".to_owned(), name.to_owned());
    assert_eq!(seen, [added("a"), added("b"), added("c")]);

    // What the client sends is heard, whatever it says; its close is answered.
    socket.send(Message::text("hello")).await.expect("sent");
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.expect("sent");
    let pong = socket.next().await.expect("an answer").expect("a message");
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    socket.close(None).await.expect("closes");
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close(), "{message:?}");
    }

    // The binary form has no length in front: messages have one of their own.
    let accept = ("accept", "application/vnd.kubernetes.protobuf");
    let mut socket = open(&client, &path, &[accept]).await;
    let first = socket.next().await.expect("an event").expect("a message");
    let Message::Binary(bytes) = first else { panic!("{first:?}") };
    assert_eq!(bytes[..7], *b"\n\x05ADDED");
    stop.cancel();
}

#[tokio::test]
async fn a_watch_ends_with_its_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    put(&client, "a", "x").await;
    // The older paths too.
    let path = "/api/v1/watch/namespaces/default/configmaps/a?timeoutSeconds=1";
    let mut socket = open(&client, path, &[("sec-websocket-protocol", "mine")]).await;
    let mut all = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        all.push(message);
    }
    assert_eq!(event(&all[0]).1, "a");
    let Some(Message::Close(Some(end))) = all.last() else { panic!("{all:?}") };
    assert_eq!((u16::from(end.code), all.len()), (1000, 2));
    stop.cancel();
}

#[tokio::test]
async fn handshakes_that_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let origin = ("origin", "https://here");
    let path = format!("{MAPS}?watch=true");
    for (headers, status) in [
        (&[][..], StatusCode::FORBIDDEN),
        (&[("origin", "null")], StatusCode::FORBIDDEN),
        (&[origin, ("sec-websocket-protocol", "a, b")], StatusCode::BAD_REQUEST),
        (&[origin, ("accept", "application/yaml")], StatusCode::NOT_ACCEPTABLE),
    ] {
        let refused = ask(&client, &path, headers).await.expect_err("refused");
        let code = refused.api().map(|e| e.code);
        assert_eq!(code, Some(status.as_u16()), "{headers:?}: {refused}");
    }
    stop.cancel();
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let stop = Shutdown::new();
    let (_running, client) = common::server(dir.path(), Store::memory(), &stop).await;
    let mut idle = open(&client, &format!("{MAPS}?watch=true"), &[]).await;
    let text = "x".repeat(64 * 1024);
    let writes = async {
        for n in 0..400 {
            put(&client, &format!("m{n}"), &text).await;
        }
    };
    // 25 MB that nobody takes.
    tokio::time::timeout(Duration::from_secs(60), writes).await.expect("writes go on");
    // What is there is whole, and the rest is either there too or said to be lost.
    let mut last = String::new();
    while last != "m399" {
        let message = idle.next().await.expect("an end that is said").expect("a message");
        let (kind, name) = event(&message);
        if kind == "ERROR" {
            break;
        }
        last = name;
    }
    stop.cancel();
}
