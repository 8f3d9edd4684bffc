//! Webhooks against a real HTTPS server.

use std::sync::Arc;

use api::{ApiError, Object, resource};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::admission::tests::{World, object, world};
use crate::gate::UserInfo;

/// What the server answers to a request: the `response` of a review, or a whole body; `None`: nothing.
type Answer = Arc<dyn Fn(&Json) -> Option<Json> + Send + Sync>;

/// A webhook's server.
struct Hook {
    port: u16,
    /// In base64, as configurations have it.
    bundle: String,
    /// The paths and requests it has seen.
    seen: Arc<Mutex<Vec<(String, Json)>>>,
}

fn authority() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Each its own name: a certificate is not to be looked for in the wrong place.
    let name = key.public_key_raw().iter().map(|b| format!("{b:02x}")).collect::<String>();
    params.distinguished_name.push(rcgen::DnType::CommonName, &name[..40]);
    let pem = params.self_signed(&key).expect("signed").pem();
    (Issuer::new(params, key), STANDARD.encode(pem))
}

/// Serves HTTPS for `127.0.0.1` and `hook.a.svc`.
async fn serve(answer: impl Fn(&Json) -> Option<Json> + Send + Sync + 'static) -> Hook {
    let (issuer, bundle) = authority();
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "hook.a.svc".to_owned()];
    let params = CertificateParams::new(names).expect("names");
    let chain = vec![params.signed_by(&key, &issuer).expect("signed").der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (answer, noted): (Answer, _) = (Arc::new(answer), seen.clone());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, answer, noted) = (acceptor.clone(), answer.clone(), noted.clone());
            tokio::spawn(async move {
                // A client that does not trust us goes away here.
                let Ok(tls) = acceptor.accept(tcp).await else { return };
                let serve = service_fn(|request: http::Request<hyper::body::Incoming>| {
                    let (answer, noted) = (answer.clone(), noted.clone());
                    async move {
                        let path = request.uri().to_string();
                        let body = request.into_body().collect().await.expect("a body").to_bytes();
                        let review: Json = serde_json::from_slice(&body).expect("a review");
                        let reply = answer(&review);
                        noted.lock().push((path, review.clone()));
                        let Some(mut response) = reply else {
                            return std::future::pending().await;
                        };
                        response["uid"] = review["request"]["uid"].clone();
                        let reply = json!({"apiVersion": review["apiVersion"],
                            "kind": review["kind"], "response": response});
                        let body = Full::new(Bytes::from(reply.to_string()));
                        Ok::<_, std::convert::Infallible>(http::Response::new(body))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(tls), serve).await;
            });
        }
    });
    Hook { port, bundle, seen }
}

impl Hook {
    fn client(&self) -> Json {
        json!({"url": format!("https://127.0.0.1:{}/hook", self.port), "caBundle": self.bundle})
    }
}

/// Stores a configuration with one webhook.
async fn configure(w: &World, kind: &str, name: &str, client: Json, more: Json) {
    let mut hook = json!({
        "name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "timeoutSeconds": 5,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"],
            "resources": ["configmaps"]}],
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        hook[key] = value.clone();
    }
    let kind = format!("{kind}WebhookConfiguration");
    w.put(json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": name}, "webhooks": [hook]}))
        .await;
}

fn map() -> Object {
    object(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "m", "namespace": "a"}, "data": {"k": "v"}}))
}

async fn write(w: &World, dry_run: bool) -> Result<(Object, Vec<String>), ApiError> {
    let user = UserInfo::new("alice", &["dev"]);
    w.run_as((&resource::CONFIG_MAPS, ""), &user, map(), None, dry_run).await
}

fn patch(operations: Json) -> Json {
    json!({"allowed": true, "patchType": "JSONPatch",
        "patch": STANDARD.encode(operations.to_string())})
}

#[tokio::test]
async fn a_webhook_is_told_everything_and_may_refuse() {
    let w = world().await;
    let hook = serve(|review| {
        let value = review["request"]["object"]["data"]["k"].as_str().unwrap_or("");
        Some(json!({"allowed": false, "warnings": ["careful"],
            "status": {"code": 409, "reason": "Conflict", "message": format!("no {value}")}}))
    })
    .await;
    configure(&w, "Validating", "v", hook.client(), json!({})).await;
    let error = write(&w, false).await.expect_err("refused");
    assert_eq!(error.message, "admission webhook \"v.example.com\" denied the request: no v");
    assert_eq!((error.code, error.reason.as_str()), (409, "Conflict"));
    let seen = hook.seen.lock();
    let (path, review) = &seen[0];
    assert_eq!(path, "/hook?timeout=5s");
    let request = &review["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"]["resource"], "configmaps");
    assert_eq!(request["operation"], "CREATE");
    assert_eq!(request["userInfo"], json!({"username": "alice", "groups": ["dev"]}));
    assert_eq!((&request["name"], &request["namespace"]), (&json!("m"), &json!("a")));
    assert_eq!((&request["oldObject"], &request["dryRun"]), (&Json::Null, &json!(false)));
}

#[tokio::test]
async fn allowed_with_warnings() {
    let w = world().await;
    let hook = serve(|_| Some(json!({"allowed": true, "warnings": ["careful"]}))).await;
    configure(&w, "Validating", "v", hook.client(), json!({})).await;
    configure(&w, "Mutating", "m", hook.client(), json!({})).await;
    let (_, warnings) = write(&w, false).await.expect("admitted");
    assert_eq!(warnings, ["careful", "careful"]);
    let other = json!({"matchConditions": [{"name": "c", "expression": "object.data.k == 'w'"}]});
    configure(&w, "Validating", "v", hook.client(), other).await;
    assert_eq!(write(&w, false).await.expect("admitted").1.len(), 1);
}

#[tokio::test]
async fn patches_change_the_object_and_are_seen_by_others() {
    for (again, calls) in [("Never", 1), ("IfNeeded", 2)] {
        let w = world().await;
        let first = serve(|review| {
            let late = !review["request"]["object"]["data"]["late"].is_null();
            let value = if late { "2" } else { "1" };
            Some(patch(json!([{"op": "add", "path": "/data/first", "value": value}])))
        })
        .await;
        let second =
            serve(|_| Some(patch(json!([{"op": "add", "path": "/data/late", "value": "x"}]))))
                .await;
        let policy = json!({"reinvocationPolicy": again});
        configure(&w, "Mutating", "a", first.client(), policy).await;
        configure(&w, "Mutating", "b", second.client(), json!({})).await;
        let (made, _) = write(&w, false).await.expect("admitted");
        let value = calls.to_string();
        assert_eq!(made.at("data"), Some(&json!({"k": "v", "first": value, "late": "x"})));
        assert_eq!((first.seen.lock().len(), second.seen.lock().len()), (calls, 1));
    }
}

#[tokio::test]
async fn what_cannot_be_asked_fails_closed_or_open() {
    let w = world().await;
    let hook = serve(|_| Some(json!({"allowed": true}))).await;
    let stranger = serve(|_| Some(json!({"allowed": true}))).await;
    let url = format!("https://127.0.0.1:{}/hook", hook.port);
    let distrusted = json!({"url": url, "caBundle": stranger.bundle});
    configure(&w, "Validating", "v", distrusted.clone(), json!({})).await;
    let error = write(&w, false).await.expect_err("refused");
    assert_eq!(
        error.message,
        format!(
            "Internal error occurred: failed calling webhook \"v.example.com\": failed to call webhook: Post \"{url}?timeout=5s\": tls: failed to verify certificate: x509: certificate signed by unknown authority"
        )
    );
    assert_eq!(error.code, 500);
    configure(&w, "Validating", "v", distrusted, json!({"failurePolicy": "Ignore"})).await;
    write(&w, false).await.expect("admitted");
    // A webhook may be wrong about itself.
    let confused = serve(|_| Some(json!({"allowed": true, "patchType": "JSONPatch"}))).await;
    configure(&w, "Validating", "v", confused.client(), json!({})).await;
    let error = write(&w, false).await.expect_err("refused");
    assert_eq!(
        error.message,
        "Internal error occurred: failed calling webhook \"v.example.com\": received invalid webhook response: validating webhook may not return response.patchType"
    );
}

#[tokio::test]
async fn a_webhook_has_its_time() {
    let w = world().await;
    let hook = serve(|_| None).await;
    configure(&w, "Validating", "v", hook.client(), json!({"timeoutSeconds": 1})).await;
    let error = write(&w, false).await.expect_err("refused");
    assert!(error.message.ends_with("/hook?timeout=1s\": context deadline exceeded"), "{error}");
}

#[tokio::test]
async fn dry_runs_ask_only_the_harmless() {
    let w = world().await;
    let hook = serve(|_| Some(json!({"allowed": true}))).await;
    configure(&w, "Mutating", "m", hook.client(), json!({"sideEffects": "Some"})).await;
    let error = write(&w, true).await.expect_err("refused");
    assert_eq!(error.message, "admission webhook \"m.example.com\" does not support dry run");
    assert_eq!((error.code, hook.seen.lock().len()), (400, 0));
    configure(&w, "Mutating", "m", hook.client(), json!({"sideEffects": "NoneOnDryRun"})).await;
    write(&w, true).await.expect("admitted");
    assert_eq!(hook.seen.lock()[0].1["request"]["dryRun"], true);
}

#[tokio::test]
async fn services_lead_to_their_endpoints() {
    let w = world().await;
    let hook = serve(|_| Some(json!({"allowed": true}))).await;
    let client = json!({"service": {"namespace": "a", "name": "hook", "path": "/p"},
        "caBundle": hook.bundle});
    configure(&w, "Validating", "v", client, json!({})).await;
    let error = write(&w, false).await.expect_err("refused");
    assert!(
        error
            .message
            .ends_with("Post \"https://hook.a.svc:443/p?timeout=5s\": service \"hook\" not found"),
        "{error}"
    );
    w.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "hook", "namespace": "a"},
        "spec": {"ports": [{"name": "h", "port": 443}]}}))
        .await;
    w.put(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "hook-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "hook"}},
        "ports": [{"name": "h", "port": hook.port}],
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": true}}]}))
        .await;
    write(&w, false).await.expect("admitted");
    assert_eq!(hook.seen.lock()[0].0, "/p?timeout=5s");
}

/// Converts between versions that call one field differently.
fn renamed(review: &Json) -> Json {
    let wanted = &review["request"]["desiredAPIVersion"];
    let (from, to) = if wanted == "example.com/v1" { ("size", "width") } else { ("width", "size") };
    let one = |object: &Json| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.clone();
        object["spec"] = json!({to: object["spec"][from]});
        object
    };
    let objects = review["request"]["objects"].as_array().expect("objects");
    let objects: Vec<Json> = objects.iter().map(one).collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

#[tokio::test]
async fn custom_resources_are_converted_to_the_version_asked_for() {
    let w = world().await;
    let converter = serve(|review| Some(renamed(review))).await;
    let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1"});
    w.put(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "gadgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "gadgets", "kind": "Gadget"},
            "versions": [version("v1"), version("v2")],
            "conversion": {"strategy": "Webhook", "webhook": {
                "conversionReviewVersions": ["v1"], "clientConfig": converter.client()}}}}))
        .await;
    let rules = json!([{"apiGroups": ["example.com"], "apiVersions": ["v1"],
        "operations": ["*"], "resources": ["gadgets"]}]);
    let wider = json!([{"op": "replace", "path": "/spec/width", "value": 5}]);
    let hook = serve(move |_| Some(patch(wider.clone()))).await;
    let on_width = json!([{"name": "w", "expression": "object.spec.width == 3"}]);
    let more = json!({"rules": rules, "matchConditions": on_width});
    configure(&w, "Mutating", "m", hook.client(), more).await;
    let policy = json!({"validations": [{"expression": "object.spec.width < 5"}],
        "matchConstraints": {"resourceRules": rules}});
    let of = |kind: &str, spec: Json| {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": "p"}, "spec": spec})
    };
    let gadgets = api::Resource::namespaced("example.com", "v2", "gadgets", "Gadget");
    let write = async || {
        let gadget = object(json!({"apiVersion": "example.com/v2", "kind": "Gadget",
            "metadata": {"name": "g", "namespace": "a"}, "spec": {"size": 3}}));
        let user = UserInfo::new("alice", &["dev"]);
        w.run_as((&gadgets, ""), &user, gadget, None, false).await
    };
    // Shown in the one version, changed there, written in the other.
    let (made, _) = write().await.expect("admitted");
    assert_eq!(made.at("spec"), Some(&json!({"size": 5})));
    assert_eq!(made.api_version(), "example.com/v2");
    let seen = hook.seen.lock()[0].1["request"].clone();
    assert_eq!(seen["object"]["spec"], json!({"width": 3}));
    assert_eq!(seen["kind"]["version"], "v1");
    assert_eq!(seen["requestKind"]["version"], "v2");

    w.put(of("ValidatingAdmissionPolicy", policy)).await;
    let binding = json!({"policyName": "p", "validationActions": ["Deny"]});
    w.put(of("ValidatingAdmissionPolicyBinding", binding)).await;
    let refused = write().await.expect_err("too wide");
    assert!(refused.message.contains("failed expression: object.spec.width < 5"), "{refused}");
}
