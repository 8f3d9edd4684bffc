//! Tokens from request to identity, over a store that changes under them.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::gate::TokenIssuer;
use crate::pki::{Identity, Pki};
use crate::tokens::{Signer, Tokens};
use api::clock::{Clock, Rng};
use api::{Key, Object, codec, kinds};
use serde_json::{Value, json};
use store::{Change, Expect, Store, Write};

struct World {
    _dir: tempfile::TempDir,
    store: Store,
    clock: Clock,
    pki: Pki,
    tokens: Tokens,
    authn: Authn,
}

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn world() -> World {
    let dir = tempfile::tempdir().expect("temporary directory");
    let clock = Clock::manual(jiff::Timestamp::from_second(1_800_000_000).expect("in range"));
    let pki = Pki::open(dir.path(), &[], &[], clock.clone()).expect("opens");
    let signer = Arc::new(Signer::new(pki.token_key(), ISSUER, "https://h:1").expect("a key"));
    let store = Store::memory();
    let authn = Authn {
        certificates: Certificates::new(pki.client_verifier().clone(), clock.clone()),
        token_file: TokenFile::default(),
        accounts: ServiceAccounts::new(signer.clone(), &store, clock.clone()),
    };
    let tokens = Tokens::new(signer, store.clone(), clock.clone(), Rng::seeded(1));
    World { _dir: dir, store, clock, pki, tokens, authn }
}

impl World {
    async fn put(&self, value: Value) -> Object {
        let object = Object::from_value(value).expect("a map");
        let kind = kinds::of_object(object.api_version(), object.kind()).expect("known");
        let encoded = codec::json::encode_for_store(&object);
        let write = Write {
            key: Key::new(kind.plural, object.namespace(), object.name()),
            expect: Expect::Any,
            change: Change::Put {
                bytes: encoded.bytes,
                rv_at: encoded.rv_at,
                card: kind.card(&object),
            },
        };
        self.store.commit(write).await.expect("committed");
        object
    }

    async fn account(&self, uid: &str) -> Object {
        self.put(json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "sa", "namespace": "a", "uid": uid}}))
            .await
    }

    fn issue(&self, account: &Object, spec: Value) -> Result<Object, api::ApiError> {
        let request = Object::from_value(json!({"spec": spec})).expect("a map");
        self.tokens.issue(account, request, None, &UserInfo::default())
    }

    fn token(&self, account: &Object, spec: Value) -> String {
        let answer = self.issue(account, spec).expect("issued");
        answer.text("status.token").expect("a token").to_owned()
    }

    fn ask(&self, token: &str) -> Result<Option<UserInfo>, AuthnError> {
        let request = http::Request::builder().header("authorization", format!("Bearer {token}"));
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        self.authn.authenticate(&parts, &[])
    }
}

#[tokio::test]
async fn a_token_lives_as_long_as_its_account() {
    let w = world();
    let account = w.account("u1").await;
    let token = w.token(&account, json!({}));
    let user = w.ask(&token).expect("good").expect("known");
    assert_eq!(user.name, "system:serviceaccount:a:sa");
    assert_eq!(
        user.groups,
        ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
    );
    // Another account of the same name is another account.
    w.account("u2").await;
    let error = w.ask(&token).expect_err("refused");
    assert!(error.0.contains("does not match claim (u1)"), "{error}");
    w.account("u1").await;
    assert!(w.ask(&token).is_ok());
    w.clock.advance(Duration::from_secs(3600 + 61));
    assert_eq!(w.ask(&token).expect_err("refused").0, "service account token has expired");
}

#[tokio::test]
async fn forged_and_foreign_tokens_are_refused() {
    let (w, other) = (world(), world());
    let account = w.account("u1").await;
    let token = w.token(&account, json!({}));
    let theirs = other.token(&account, json!({}));
    assert!(w.ask(&theirs).is_err());
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let flipped: String = signature.chars().rev().collect();
    assert!(w.ask(&format!("{head}.{flipped}")).is_err());
    let (header, _) = head.split_once('.').expect("two parts");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    assert!(w.ask(&token.replacen(header, &none, 1)).is_err());
    assert!(w.ask("nonsense").is_err());
    assert!(w.ask(&token).is_ok());
}

#[tokio::test]
async fn a_bound_token_dies_with_its_pod() {
    let w = world();
    let account = w.account("u1").await;
    let spec = json!({"expirationSeconds": 3607,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}});
    assert_eq!(
        w.issue(&account, spec.clone()).expect_err("no pod").message,
        "pods \"p\" not found"
    );
    let pod = |uid: &str, extra: Value| {
        let mut meta = json!({"name": "p", "namespace": "a", "uid": uid});
        if let (Value::Object(meta), Value::Object(extra)) = (&mut meta, extra) {
            meta.extend(extra);
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {"serviceAccountName": "sa", "nodeName": "n1"}})
    };
    w.put(pod("p1", json!({}))).await;
    let token = w.token(&account, spec);
    let user = w.ask(&token).expect("good").expect("known");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-uid"], ["p1"]);
    assert_eq!(user.extra["authentication.kubernetes.io/node-name"], ["n1"]);
    // Projected tokens outlive what they say.
    w.clock.advance(Duration::from_secs(7200));
    assert!(w.ask(&token).is_ok());
    // Still good while the pod ends, but not long after.
    w.put(pod("p1", json!({"deletionTimestamp": w.clock.time()}))).await;
    assert!(w.ask(&token).is_ok());
    w.clock.advance(Duration::from_secs(90));
    assert_eq!(w.ask(&token).expect_err("refused").0, "service account token has been invalidated");
    w.put(pod("p2", json!({}))).await;
    assert!(w.ask(&token).is_err());
}

#[tokio::test]
async fn audiences_must_have_something_in_common() {
    let w = world();
    let account = w.account("u1").await;
    let token = w.token(&account, json!({"audiences": ["vault", "db"]}));
    assert!(w.ask(&token).is_err());
    let facts = w.authn.token(&token, &["db".into(), "x".into()]).expect("good").expect("known");
    assert_eq!(facts.audiences, ["db"]);
    let refused = w.authn.token(&token, &["x".into(), "y".into()]).expect_err("not for them");
    assert_eq!(
        refused.0,
        r#"token audiences ["vault" "db"] is invalid for the target audiences ["x" "y"]"#
    );
}

#[tokio::test]
async fn lifetimes_have_bounds() {
    let w = world();
    let account = w.account("u1").await;
    for (seconds, word) in [(599, "less than 10 minutes"), (9_999_999_999i64, "larger than 2^32")] {
        let error = w.issue(&account, json!({"expirationSeconds": seconds})).expect_err("refused");
        assert!(error.message.contains(word), "{error}");
    }
}

#[test]
fn certificates_name_users() {
    let w = world();
    let issued = w.pki.identity(&Identity::Node("n1".into())).expect("issued");
    let cert = <CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
        issued.cert.as_bytes(),
    )
    .expect("PEM");
    let (parts, ()) = http::Request::new(()).into_parts();
    let user =
        w.authn.authenticate(&parts, std::slice::from_ref(&cert)).expect("good").expect("known");
    assert_eq!(user.name, "system:node:n1");
    assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
    assert!(world().authn.authenticate(&parts, &[cert]).is_err());
    assert_eq!(w.authn.authenticate(&parts, &[]), Ok(None));
}

#[tokio::test]
async fn browsers_carry_a_token_beside_a_protocol() {
    let w = world();
    let account = w.account("uid-1").await;
    let encoded = URL_SAFE_NO_PAD.encode(w.token(&account, json!({})));
    let token = format!("base64url.bearer.authorization.k8s.io.{encoded}");
    let ask = |protocols: &str| {
        let request = http::Request::get("/").header("sec-websocket-protocol", protocols);
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        w.authn.authenticate(&parts, &[])
    };
    assert!(ask(&format!("{token}, mine")).is_ok_and(|user| user.is_some()));
    // By itself it is refused, and so is one that is none.
    assert!(ask(&token).is_err());
    assert!(ask("base64url.bearer.authorization.k8s.io.!, mine").is_err());
    assert_eq!(ask("mine"), Ok(None));
}
