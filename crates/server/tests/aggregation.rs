//! An API version that another server answers for: a real one, over TLS, which trusts the front
//! proxy's certificate and nobody else.
#![allow(clippy::unwrap_used)] // a test that cannot set up has failed

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use api::{Object, Resource, Value};
use bytes::Bytes;
use client::{Client, Shutdown};
use common::server;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use store::Store;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

const API: &str = "/apis/things.example.io/v1";
const SERVICES: Resource =
    Resource::cluster("apiregistration.k8s.io", "v1", "apiservices", "APIService");

async fn text(client: &Client, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
    let request = Request::get(path).header(header::ACCEPT, accept).body(Bytes::new()).unwrap();
    let response = client.send(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.bytes().await.unwrap();
    (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn get(client: &Client, path: &str) -> Value {
    let (status, _, body) = text(client, path, "application/json").await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Asks until the answer fits: what depends on checks comes when they have run.
async fn until(client: &Client, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..600 {
        let (status, _, body) = text(client, path, "application/json").await;
        let value = serde_json::from_str(&body).unwrap_or(Value::Null);
        if status == StatusCode::OK && fits(&value) {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} never says what it should");
}

/// The reason in the condition of our registration.
async fn reason(client: &Client, wanted: &str) -> Value {
    let path = "/apis/apiregistration.k8s.io/v1/apiservices/v1.things.example.io";
    let object = until(client, path, |o| o["status"]["conditions"][0]["reason"] == wanted).await;
    object["status"]["conditions"][0].clone()
}

/// An address of this machine that endpoints may have: not a loopback one.
fn own_address() -> std::net::IpAddr {
    // Connecting a datagram socket sends nothing; it only chooses a route.
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).unwrap();
    socket
        .connect(("198.51.100.1", 9))
        .expect("a route; the test needs an address that is not local");
    socket.local_addr().unwrap().ip()
}

/// The other server.
struct Extension {
    address: SocketAddr,
    ca: String,
    healthy: Arc<AtomicBool>,
}

impl Extension {
    async fn start(trusted: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["ext.default.svc".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        );
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(builder.build().unwrap())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind((own_address(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let healthy = Arc::new(AtomicBool::new(true));
        let health = healthy.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, health) = (acceptor.clone(), health.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request| answer(request, health.clone()));
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let _ =
                        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, ca: certificate.pem(), healthy }
    }
}

/// Answers as an extension server does; resources are echoes of who asked for what.
async fn answer(
    mut request: Request<Incoming>,
    healthy: Arc<AtomicBool>,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let json = |value: Value| {
        let body = Full::new(Bytes::from(value.to_string()));
        Response::builder().header(header::CONTENT_TYPE, "application/json").body(body).unwrap()
    };
    if !healthy.load(Ordering::SeqCst) {
        let mut broken = json(json!({}));
        *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return Ok(broken);
    }
    if request.headers().contains_key(header::UPGRADE) {
        let upgrade = hyper::upgrade::on(&mut request);
        let user = request.headers()["x-remote-user"].to_str().unwrap().to_owned();
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            io.write_all(format!("{user}:").as_bytes()).await.unwrap();
            let mut byte = [0];
            while io.read_exact(&mut byte).await.is_ok() {
                io.write_all(&byte).await.unwrap();
            }
        });
        let switch = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "echo")
            .body(Full::default());
        return Ok(switch.unwrap());
    }
    let schema = json!({"type": "object", "description": "A thing."});
    let names: Vec<Value> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-remote-") || *name == "authorization")
        .map(|(name, value)| json!([name.as_str(), value.to_str().unwrap()]))
        .collect();
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/apis" => {
            let mut none = json(json!({}));
            *none.status_mut() = StatusCode::NOT_FOUND;
            none
        }
        API => json(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "things.example.io/v1",
            "resources": [
                {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing",
                    "verbs": ["get", "list"], "shortNames": ["th"]},
                {"name": "things/status", "singularName": "", "namespaced": true, "kind": "Thing",
                    "verbs": ["get"]},
            ],
        })),
        "/openapi/v2" => json(json!({
            "swagger": "2.0", "info": {"title": "x", "version": "1"},
            "paths": {
                "/apis/things.example.io/v1/things": {"get": {"responses": {"200": {
                    "description": "OK", "schema": {"$ref": "#/definitions/io.example.v1.Thing"}}}}},
                "/healthz": {"get": {"responses": {}}},
            },
            "definitions": {"io.example.v1.Thing": schema, "io.example.v1.Other": {}},
        })),
        "/openapi/v3" => json(json!({"paths": {
            "apis/things.example.io/v1":
                {"serverRelativeURL": "/openapi/v3/apis/things.example.io/v1?hash=ABC"},
            "version": {"serverRelativeURL": "/openapi/v3/version?hash=DEF"},
        }})),
        "/openapi/v3/apis/things.example.io/v1" => {
            json(json!({"openapi": "3.0.0", "of": "things"}))
        }
        _ => json(json!({
            "kind": "Echo", "path": path, "query": request.uri().query(), "headers": names,
            "method": request.method().as_str(),
        })),
    })
}

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

/// Registers the version, then makes what it needs, one thing after the other.
async fn register(client: &Client, extension: &Extension) {
    use base64::Engine;
    let registration = object(json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.things.example.io"},
        "spec": {
            "group": "things.example.io", "version": "v1", "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "caBundle": base64::engine::general_purpose::STANDARD.encode(&extension.ca),
            "service": {"name": "ext", "namespace": "default"},
        },
    }));
    client.create::<Object>(&SERVICES, "", &registration).await.unwrap();
    let found = reason(client, "ServiceNotFound").await;
    assert_eq!(found["status"], "False");
    assert_eq!(found["message"], r#"service/ext in "default" is not present"#);
    let (status, headers, body) = text(client, &format!("{API}/things"), "*/*").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "service unavailable\n");
    assert_eq!(headers[header::CONTENT_TYPE], "text/plain; charset=utf-8");

    let services = Resource::namespaced("", "v1", "services", "Service");
    let service = object(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "ext"},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": 8443}]},
    }));
    client.create::<Object>(&services, "default", &service).await.unwrap();
    reason(client, "EndpointsNotFound").await;
    let slices = Resource::namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    let mut slice = object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "ext-1", "labels": {"kubernetes.io/service-name": "ext"}},
        "ports": [{"name": "https", "port": extension.address.port(), "protocol": "TCP"}],
        "endpoints": [],
    }));
    client.create::<Object>(&slices, "default", &slice).await.unwrap();
    let found = reason(client, "MissingEndpoints").await;
    assert_eq!(
        found["message"],
        r#"endpointslices for service/ext in "default" have no addresses with port name "https""#
    );
    slice.0.insert("endpoints".into(), json!([{"addresses": [extension.address.ip()]}]));
    client.replace::<Object>(&slices, "default", "ext-1", None, &slice).await.unwrap();
    let found = reason(client, "Passed").await;
    assert_eq!(
        (&found["status"], &found["message"]),
        (&json!("True"), &json!("all checks passed"))
    );
}

#[tokio::test]
async fn another_server_answers_for_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Shutdown::new();
    let (running, client) = server(dir.path(), Store::memory(), &stop).await;
    let map = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
    let published = get(&client, map).await;
    let trusted = published["data"]["requestheader-client-ca-file"].as_str().unwrap();
    let extension = Extension::start(trusted).await;
    register(&client, &extension).await;

    // Requests arrive with who asks, and with no credentials of theirs.
    let alice = running.client_as("alice", &["dev", "system:masters"]);
    let request = Request::post(format!("{API}/namespaces/a/things?dryRun=All"))
        .header(header::AUTHORIZATION, "Bearer secret")
        .header("x-remote-user", "mallory")
        .body(Bytes::from_static(b"{}"));
    let response = alice.send(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let echo: Value = serde_json::from_slice(&response.into_body().bytes().await.unwrap()).unwrap();
    assert_eq!(echo["path"], format!("{API}/namespaces/a/things"));
    assert_eq!((&echo["query"], &echo["method"]), (&json!("dryRun=All"), &json!("POST")));
    let expected = json!([
        ["x-remote-user", "alice"],
        ["x-remote-group", "dev"],
        ["x-remote-group", "system:masters"],
        ["x-remote-group", "system:authenticated"],
    ]);
    assert_eq!(echo["headers"], expected);

    // Authorization is ours.
    let nobody = running.client_as("nobody", &[]);
    let (status, ..) = text(&nobody, &format!("{API}/things"), "*/*").await;
    assert_eq!(status, StatusCode::FORBIDDEN);

    documents(&client).await;
    upgrades(&running).await;

    // A server that fails is seen at the next look at it, and so is its recovery.
    extension.healthy.store(false, Ordering::SeqCst);
    touch(&client).await;
    let found = reason(&client, "FailedDiscoveryCheck").await;
    assert!(found["message"].as_str().unwrap().contains("bad status from"), "{found}");
    let path = format!("{API}/things");
    let (status, _, body) = text(&client, &path, "*/*").await;
    assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n"));
    let all = aggregated(&client).await;
    let version = &all["versions"][0];
    assert_eq!(version["freshness"], "Stale", "{all}");
    assert_eq!(version["resources"][0]["resource"], "things", "what was known stays");
    extension.healthy.store(true, Ordering::SeqCst);
    reason(&client, "Passed").await;

    // Without the registration nothing is left of it.
    let name = "v1.things.example.io";
    client.delete(&SERVICES, "", name, &client::DeleteOptions::default()).await.unwrap();
    until(&client, "/apis", |apis| !apis.to_string().contains("things.example.io")).await;
    let (status, ..) = text(&client, API, "*/*").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    stop.cancel();
}

/// Changes the service, so that the servers behind it are looked at.
async fn touch(client: &Client) {
    let services = Resource::namespaced("", "v1", "services", "Service");
    let patch = json!({"metadata": {"annotations": {"touched": "1"}}});
    let merge = client::Patch::Merge;
    client.patch::<Object>(&services, "default", "ext", None, merge, &patch).await.unwrap();
}

/// Our group in the aggregated form.
async fn aggregated(client: &Client) -> Value {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (_, _, body) = text(client, "/apis", accept).await;
    let all: Value = serde_json::from_str(&body).unwrap();
    let groups = all["items"].as_array().unwrap();
    groups.iter().find(|g| g["metadata"]["name"] == "things.example.io").unwrap().clone()
}

async fn documents(client: &Client) {
    let apis = get(client, "/apis").await;
    let last = apis["groups"].as_array().unwrap().last().unwrap();
    assert_eq!(last["name"], "things.example.io", "by its priority");
    assert_eq!(last["preferredVersion"]["version"], "v1");
    let group = get(client, "/apis/things.example.io").await;
    assert_eq!(group["versions"][0]["groupVersion"], "things.example.io/v1");
    let resources = get(client, API).await;
    assert_eq!(resources["resources"][0]["shortNames"], json!(["th"]));
    let group = aggregated(client).await;
    let thing = &group["versions"][0]["resources"][0];
    assert_eq!(thing["scope"], "Namespaced");
    assert_eq!(
        thing["responseKind"],
        json!({"group": "things.example.io", "version": "v1", "kind": "Thing"})
    );
    assert_eq!(thing["subresources"][0]["subresource"], "status");

    let index = get(client, "/openapi/v3").await;
    let url = &index["paths"]["apis/things.example.io/v1"]["serverRelativeURL"];
    assert_eq!(get(client, url.as_str().unwrap()).await["of"], "things");
    assert!(index["paths"]["version"]["serverRelativeURL"] != "/openapi/v3/version?hash=DEF");
    let swagger = get(client, "/openapi/v2").await;
    assert!(swagger["paths"]["/apis/things.example.io/v1/things"]["get"].is_object());
    assert!(swagger["paths"]["/healthz"].is_null());
    assert_eq!(swagger["definitions"]["io.example.v1.Thing"]["description"], "A thing.");
    assert!(swagger["definitions"]["io.example.v1.Other"].is_null());
    assert!(swagger["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
}

/// An upgraded connection goes all the way; over the wire, as clients do it.
async fn upgrades(running: &isopod_server::Running) {
    let identity = running.pki.identity(&isopod_server::pki::Identity::Admin).unwrap();
    let client = Client::from_config(client::https::Config {
        server: format!("https://{}", running.address),
        ca: Some(client::https::Pem::Data(running.pki.ca_cert().as_bytes().to_vec())),
        identity: Some((
            client::https::Pem::Data(identity.cert.into_bytes()),
            client::https::Pem::Data(identity.key.into_bytes()),
        )),
        ..client::https::Config::default()
    });
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("{API}/namespaces/a/things/x/stream"))
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "echo")
        .body(Bytes::new());
    let mut stream = client.unwrap().upgrade(request.unwrap()).await.unwrap();
    stream.io.write_all(b"hello").await.unwrap();
    let mut said = vec![0; "kubernetes-admin:hello".len()];
    stream.io.read_exact(&mut said).await.unwrap();
    assert_eq!(said, b"kubernetes-admin:hello");
}

#[tokio::test]
async fn versions_served_here_register_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let stop = Shutdown::new();
    let (_running, client) = server(dir.path(), Store::memory(), &stop).await;
    let path = "/apis/apiregistration.k8s.io/v1/apiservices";
    let all = get(&client, path).await;
    let find = |name: &str| {
        let items = all["items"].as_array().unwrap();
        items.iter().find(|item| item["metadata"]["name"] == name).cloned()
    };
    let apps = find("v1.apps").unwrap();
    assert_eq!(apps["spec"]["groupPriorityMinimum"], 17800);
    assert_eq!(apps["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    assert_eq!(apps["status"]["conditions"][0]["reason"], "Local");
    assert!(find("v1.").is_some());
    assert!(find("v1.apiregistration.k8s.io").is_none());

    // A custom resource's version comes and goes with its definition.
    let definitions = Resource::cluster(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    );
    let definition = object(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    }));
    client.create::<Object>(&definitions, "", &definition).await.unwrap();
    let one = format!("{path}/v1.example.com");
    let local = until(&client, &one, |o| o["status"]["conditions"][0]["reason"] == "Local").await;
    assert_eq!(local["spec"]["groupPriorityMinimum"], 1000);
    assert_eq!(local["spec"]["versionPriority"], 100);
    // What somebody changes or deletes is put back.
    let patch = json!({"spec": {"versionPriority": 1}});
    let merge = client::Patch::Merge;
    client.patch::<Object>(&SERVICES, "", "v1.example.com", None, merge, &patch).await.unwrap();
    until(&client, &one, |o| o["spec"]["versionPriority"] == 100).await;
    let none = client::DeleteOptions::default();
    client.delete(&SERVICES, "", "v1.example.com", &none).await.unwrap();
    until(&client, &one, |o| o["spec"]["versionPriority"] == 100).await;
    client.delete(&definitions, "", "widgets.example.com", &none).await.unwrap();
    until(&client, path, |all| !all.to_string().contains("v1.example.com")).await;
    stop.cancel();
}
