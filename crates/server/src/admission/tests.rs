//! The chain over a store, as the registry runs it: all plugins mutate, then all validate.

use std::sync::Arc;

use super::*;
use crate::gate::{Operation, UserInfo, Write};
use api::{ApiError, Key, Object, Resource, codec, kinds, resource};
use serde_json::{Value, json};
use store::{Change, Expect};
use tokio_util::sync::CancellationToken;

pub(super) struct World {
    pub store: Store,
    chain: Vec<Arc<dyn Admission>>,
    _shutdown: tokio_util::sync::DropGuard,
}

pub(super) async fn world() -> World {
    let store = Store::memory();
    let shutdown = CancellationToken::new();
    let authz = Authz::start(&store, &shutdown);
    let chain = chain(&store, &authz, &Clock::system(), &Rng::seeded(1));
    let w = World { store, chain, _shutdown: shutdown.drop_guard() };
    w.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})).await;
    let account = json!({"name": "default", "namespace": "a", "uid": "u"});
    w.put(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})).await;
    w
}

pub(super) fn object(value: Value) -> Object {
    Object::from_value(value).expect("a map")
}

fn pod(spec: Value) -> Object {
    object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}))
}

fn plain() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

impl World {
    pub async fn put(&self, value: Value) {
        let object = object(value);
        let kind = kinds::of_object(object.api_version(), object.kind()).expect("known");
        let encoded = codec::json::encode_for_store(&object);
        let card = kind.card(&object);
        let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
        let name = api::resource::qualified(kind.storage.0, kind.plural);
        self.commit(&name, &object, change).await;
    }

    /// Stores a custom resource.
    pub async fn put_custom(&self, resource: &str, object: &Object) {
        let encoded = codec::json::encode_for_store(object);
        let card = api::Card::of(object, &[]);
        let change = Change::Put { bytes: encoded.bytes, rv_at: encoded.rv_at, card };
        self.commit(resource, object, change).await;
    }

    async fn commit(&self, resource: &str, object: &Object, change: Change) {
        let key = Key::new(resource, object.namespace(), object.name());
        let write = store::Write { key, expect: Expect::Any, change };
        self.store.commit(write).await.expect("committed");
    }

    async fn run(
        &self,
        (resource, subresource): (&Resource, &str),
        user: &UserInfo,
        object: Object,
        old: Option<&Object>,
    ) -> Result<(Object, Vec<String>), ApiError> {
        self.run_as((resource, subresource), user, object, old, false).await
    }

    /// The same, on a dry run where that is asked for.
    pub async fn run_as(
        &self,
        (resource, subresource): (&Resource, &str),
        user: &UserInfo,
        object: Object,
        old: Option<&Object>,
        dry_run: bool,
    ) -> Result<(Object, Vec<String>), ApiError> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let name = object.name().to_owned();
        let options = Object::default();
        let mut write = Write {
            resource,
            subresource,
            operation,
            namespace: if resource.namespaced { "a" } else { "" },
            name: &name,
            object: Some(object),
            old,
            options: &options,
            user,
            dry_run,
            warnings: Vec::new(),
            noted: parking_lot::Mutex::default(),
            again: crate::gate::Reinvocation::default(),
        };
        let of = |p: &&Arc<dyn Admission>| p.handles(resource, subresource, operation);
        for plugin in self.chain.iter().filter(of) {
            plugin.admit(&mut write).await?;
        }
        if std::mem::take(&mut write.again.wanted) {
            write.again.second = true;
            for plugin in self.chain.iter().filter(of) {
                plugin.admit(&mut write).await?;
            }
        }
        let mut warnings = std::mem::take(&mut write.warnings);
        for plugin in self.chain.iter().filter(of) {
            plugin.validate(&write).await?;
            warnings.extend(plugin.warnings(&write));
        }
        warnings.append(&mut write.noted.lock());
        Ok((write.object.unwrap_or_default(), warnings))
    }

    async fn create(&self, resource: &Resource, object: Object) -> Result<Object, ApiError> {
        let user = UserInfo::new("alice", &[]);
        self.run((resource, ""), &user, object, None).await.map(|(object, _)| object)
    }
}

#[tokio::test]
async fn a_pod_gets_what_every_pod_has() {
    let w = world().await;
    let made = w.create(&resource::PODS, pod(plain())).await.expect("admitted");
    assert_eq!(made.text("spec.serviceAccountName"), Some("default"));
    assert_eq!(made.int("spec.priority"), Some(0));
    let list = |path: &str| made.at(path).and_then(Value::as_array).cloned().unwrap_or_default();
    assert_eq!(list("spec.tolerations").len(), 2);
    let volume = &list("spec.volumes")[0]["name"];
    assert!(volume.as_str().is_some_and(|v| v.starts_with("kube-api-access-")));
    assert_eq!(list("spec.containers")[0]["volumeMounts"][0]["name"], *volume);
    // What is there already is left alone.
    let again = w.create(&resource::PODS, made.clone()).await.expect("admitted");
    assert_eq!(again, made);
    let mut spec = plain();
    spec["automountServiceAccountToken"] = false.into();
    let bare = w.create(&resource::PODS, pod(spec)).await.expect("admitted");
    assert_eq!(bare.at("spec.volumes"), None);
}

#[tokio::test]
async fn namespaces_must_live() {
    let w = world().await;
    w.put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}))
        .await;
    let map = object(json!({"metadata": {"name": "m"}}));
    let error = w.create(&resource::CONFIG_MAPS, map).await.expect_err("refused");
    assert_eq!(
        error.message,
        "configmaps \"m\" is forbidden: unable to create new content in namespace a because it is being terminated"
    );
    assert_eq!(error.causes[0].reason.as_str(), "NamespaceTerminating");
}

#[tokio::test]
async fn levels_are_enforced_and_told() {
    let w = world().await;
    let label = |mode: &str, level: &str| {
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a",
            "labels": {format!("pod-security.kubernetes.io/{mode}"): level}}})
    };
    let mut spec = plain();
    spec["hostPID"] = true.into();
    w.put(label("enforce", "baseline")).await;
    let error = w.create(&resource::PODS, pod(spec.clone())).await.expect_err("refused");
    assert_eq!(
        error.message,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
    );
    w.put(label("warn", "baseline")).await;
    let user = UserInfo::new("alice", &[]);
    let (_, warnings) =
        w.run((&resource::PODS, ""), &user, pod(spec), None).await.expect("admitted");
    assert_eq!(
        warnings,
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"]
    );
    assert!(w.create(&resource::PODS, pod(plain())).await.is_ok());
}

#[tokio::test]
async fn a_quota_is_charged_once_a_write() {
    let w = world().await;
    let amount = json!({"pods": "2", "requests.cpu": "1"});
    let zero = json!({"pods": "0", "requests.cpu": "0"});
    w.put(json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "a", "uid": "u"},
        "spec": {"hard": amount}, "status": {"hard": amount, "used": zero}}))
        .await;
    let asking = |cpu: &str| {
        let mut spec = plain();
        spec["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
        pod(spec)
    };
    let error = w.create(&resource::PODS, pod(plain())).await.expect_err("refused");
    assert!(
        error.message.ends_with("failed quota: q: must specify requests.cpu for: c"),
        "{error}"
    );
    // Concurrent writes: the quota takes exactly as much as fits.
    let pods = resource::PODS;
    let writes = (0..6).map(|_| w.create(&pods, asking("400m")));
    let results = futures_util::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 2);
    let quota = w.store.resource("resourcequotas").get("a", "q").expect("there");
    let quota = quota.object().expect("JSON");
    assert_eq!(quota.at("status.used"), Some(&json!({"pods": "2", "requests.cpu": "800m"})));
}

#[tokio::test]
async fn a_kubelet_writes_only_its_own() {
    let w = world().await;
    let kubelet = UserInfo::new("system:node:n1", &["system:nodes"]);
    let node = |name: &str, labels: Value| {
        object(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}),
        )
    };
    let at = (&resource::NODES, "");
    assert!(
        w.run(at, &kubelet, node("n1", json!({"kubernetes.io/os": "linux"})), None).await.is_ok()
    );
    assert!(w.run(at, &kubelet, node("n2", json!({})), None).await.is_err());
    let own = node("n1", json!({"node-restriction.kubernetes.io/x": "y"}));
    let error = w.run(at, &kubelet, own, None).await.expect_err("refused");
    assert!(error.message.contains("node-restriction.kubernetes.io/x"), "{error}");
    let error =
        w.run((&resource::PODS, ""), &kubelet, pod(plain()), None).await.expect_err("refused");
    assert!(error.message.contains("can only create mirror pods"), "{error}");
    let bound = |node: &str| {
        let mut spec = plain();
        spec["nodeName"] = node.into();
        pod(spec)
    };
    let status = (&resource::PODS, "status");
    assert!(w.run(status, &kubelet, bound("n1"), Some(&bound("n1"))).await.is_ok());
    assert!(w.run(status, &kubelet, bound("n2"), Some(&bound("n2"))).await.is_err());
}

#[tokio::test]
async fn rights_are_not_given_away() {
    let w = world().await;
    let rule = |verbs: Value| json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
    let role = |name: &str, rules: Value| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": {"name": name, "namespace": "a", "uid": "u"}, "rules": rules})
    };
    w.put(role("mine", rule(json!(["get", "list"])))).await;
    w.put(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "mine", "namespace": "a", "uid": "u"},
        "subjects": [{"kind": "User", "name": "alice"}],
        "roleRef": {"kind": "Role", "name": "mine"}}))
        .await;
    let user = UserInfo::new("alice", &[]);
    let roles = resource::ROLES;
    let make = |rules: Value| w.run((&roles, ""), &user, object(role("new", rules)), None);
    assert!(make(rule(json!(["get"]))).await.is_ok());
    let error = make(rule(json!(["get", "delete"]))).await.expect_err("refused");
    assert_eq!(
        error.message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"alice\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"
    );
}
