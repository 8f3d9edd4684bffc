//! The controllers on the real API server, in process: what they do must pass its authorization,
//! admission and validation, and keep up with it.

use std::time::Duration;

use api::clock::{Clock, Rng};
use api::resource::{
    CONFIG_MAPS, DEPLOYMENTS, ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, NODES, PODS, REPLICA_SETS,
    SERVICE_ACCOUNTS, SERVICES,
};
use api::{Object, Resource, Value};
use client::{Client, DeleteOptions, Informers, ListOptions, Patch, Propagation, Shutdown};
use isopod_controllers::Config;
use serde::de::IgnoredAny;
use serde_json::json;

struct Cluster {
    client: Client,
    stop: Shutdown,
    _dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start() -> Cluster {
    let dir = tempfile::tempdir().expect("a directory");
    let config = server::Config {
        data_dir: dir.path().to_owned(),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        ..server::Config::default()
    };
    let (stop, store) = (Shutdown::new(), store::Store::memory());
    let (clock, rng) = (Clock::system(), Rng::system());
    let running = server::start(config, store, clock.clone(), rng.clone(), stop.clone());
    let running = running.await.expect("the server starts");
    let client = running.client_as("system:admin", &["system:masters"]);
    let as_controllers = running.client_as("system:kube-controller-manager", &["system:masters"]);
    let config = Config {
        cluster_cidr: vec!["10.42.0.0/16".into()],
        root_ca: "PEM".into(),
        ..Config::default()
    };
    let informers = Informers::new(as_controllers.clone());
    tokio::spawn(isopod_controllers::run(
        config,
        as_controllers,
        informers,
        clock,
        rng,
        stop.clone(),
    ));
    Cluster { client, stop, _dir: dir }
}

impl Cluster {
    async fn create(&self, resource: &Resource, object: Value) -> Object {
        let ns = object["metadata"]["namespace"].as_str().unwrap_or("").to_owned();
        self.client.create(resource, &ns, &object).await.expect("creates")
    }

    async fn list(&self, resource: &Resource, ns: &str) -> Vec<Object> {
        self.client.list(resource, ns, &ListOptions::all()).await.expect("lists").items
    }

    /// Waits until a check of a resource's objects holds.
    async fn until(&self, what: &str, resource: &Resource, check: impl Fn(&[Object]) -> bool) {
        let mut last = Vec::new();
        for _ in 0..600 {
            last = self.list(resource, "").await;
            if check(&last) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: {}", serde_json::to_string_pretty(&last).unwrap_or_default());
    }
}

fn named(objects: &[Object], name: &str) -> Option<Object> {
    objects.iter().find(|o| o.name() == name).cloned()
}

fn deployment(name: &str, replicas: i64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"name": "www", "containerPort": 8080}]}]},
            },
        },
    })
}

fn node(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
}

async fn set_ready(cluster: &Cluster, node: &str) {
    let conditions = json!({"status": {"conditions": [
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok",
         "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
    cluster
        .client
        .patch::<IgnoredAny>(&NODES, "", node, Some("status"), Patch::Merge, &conditions)
        .await
        .expect("patches");
}

#[tokio::test(flavor = "multi_thread")]
async fn furniture_nodes_and_services() {
    let cluster = start().await;
    cluster
        .until("accounts", &SERVICE_ACCOUNTS, |o| o.iter().any(|o| o.namespace() == "default"))
        .await;
    cluster
        .until("authorities", &CONFIG_MAPS, |o| {
            named(o, "kube-root-ca.crt").is_some_and(|m| m.text("data.ca.crt").is_none())
        })
        .await;
    cluster.create(&NODES, node("n1")).await;
    cluster
        .until("a pod range", &NODES, |o| {
            named(o, "n1").is_some_and(|n| n.text("spec.podCIDR").is_some())
        })
        .await;
    let tainted = named(&cluster.list(&NODES, "").await, "n1").expect("a node");
    assert!(tainted.at("spec.taints").is_some(), "admission taints new nodes");
    set_ready(&cluster, "n1").await;
    cluster
        .until("the taint goes", &NODES, |o| {
            named(o, "n1").is_some_and(|n| n.at("spec.taints").is_none())
        })
        .await;

    cluster.create(&DEPLOYMENTS, deployment("web", 2)).await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "www"}]},
    });
    cluster.create(&SERVICES, service).await;
    cluster.until("pods", &PODS, |o| o.len() == 2).await;
    for (i, pod) in cluster.list(&PODS, "default").await.iter().enumerate() {
        let target = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod.name()},
                            "target": {"kind": "Node", "name": "n1"}});
        cluster
            .client
            .create_sub::<IgnoredAny>(&PODS, "default", pod.name(), "binding", &target)
            .await
            .expect("binds");
        let ip = format!("10.42.0.{}", i + 2);
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        cluster
            .client
            .patch::<IgnoredAny>(
                &PODS,
                "default",
                pod.name(),
                Some("status"),
                Patch::Merge,
                &status,
            )
            .await
            .expect("runs");
    }
    cluster
        .until("slices", &ENDPOINT_SLICES, |o| {
            o.iter()
                .any(|s| s.at("endpoints").and_then(Value::as_array).is_some_and(|e| e.len() == 2))
        })
        .await;
    cluster
        .until("endpoints", &ENDPOINTS, |o| {
            named(o, "web").is_some_and(|e| e.at("subsets").is_some())
        })
        .await;
    cluster
        .until("a finished rollout", &DEPLOYMENTS, |o| {
            named(o, "web").is_some_and(|d| {
                d.int("status.availableReplicas") == Some(2)
                    && d.annotation("deployment.kubernetes.io/revision") == Some("1")
                    && Value::from(d.clone()).to_string().contains("NewReplicaSetAvailable")
            })
        })
        .await;
    // A node that is deleted takes its pods with it, after a while; a lost service its endpoints.
    cluster
        .client
        .delete(&SERVICES, "default", "web", &DeleteOptions::new())
        .await
        .expect("deletes");
    cluster
        .until("no slices", &ENDPOINT_SLICES, |o| o.iter().all(|s| !s.name().starts_with("web-")))
        .await;
    cluster.until("no endpoints", &ENDPOINTS, |o| named(o, "web").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions() {
    let cluster = start().await;
    for (name, propagation) in [
        ("back", Propagation::Background),
        ("fore", Propagation::Foreground),
        ("orphan", Propagation::Orphan),
    ] {
        cluster.create(&DEPLOYMENTS, deployment(name, 3)).await;
        let mine = |o: &Object| o.name().starts_with(name);
        cluster.until("pods", &PODS, |o| o.iter().filter(|p| mine(p)).count() == 3).await;
        let options = DeleteOptions::new().propagation(propagation);
        cluster.client.delete(&DEPLOYMENTS, "default", name, &options).await.expect("deletes");
        cluster.until("no deployment", &DEPLOYMENTS, |o| !o.iter().any(mine)).await;
        let left = usize::from(name == "orphan");
        cluster
            .until("replica sets", &REPLICA_SETS, |o| {
                o.iter().filter(|s| mine(s)).count() == left
                    && o.iter().all(|s| !mine(s) || s.owner_references().next().is_none())
            })
            .await;
        cluster.until("pods", &PODS, |o| o.iter().filter(|p| mine(p)).count() == left * 3).await;
    }

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    cluster.create(&NAMESPACES, namespace).await;
    cluster
        .until("an account", &SERVICE_ACCOUNTS, |o| o.iter().any(|o| o.namespace() == "gone"))
        .await;
    for i in 0..20 {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
                         "metadata": {"name": format!("m{i}"), "namespace": "gone"}});
        cluster.create(&CONFIG_MAPS, map).await;
    }
    cluster.client.delete(&NAMESPACES, "", "gone", &DeleteOptions::new()).await.expect("deletes");
    cluster.until("no namespace", &NAMESPACES, |o| named(o, "gone").is_none()).await;
    assert!(cluster.list(&CONFIG_MAPS, "gone").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_are_collected_and_go_with_their_namespace() {
    let cluster = start().await;
    let definitions = Resource::cluster(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    );
    let things = Resource::namespaced("example.com", "v1", "things", "Thing");
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    cluster.create(&definitions, definition).await;
    cluster
        .until("established", &definitions, |o| {
            let conditions = o.iter().filter_map(|o| o.at("status.conditions")?.as_array());
            conditions.flatten().any(|c| c["type"] == "Established" && c["status"] == "True")
        })
        .await;
    let thing = |namespace: &str, name: &str, owner: Option<&Object>| {
        let owners: Vec<Value> = owner
            .iter()
            .map(|owner| {
                json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": owner.name(),
                    "uid": owner.uid(), "blockOwnerDeletion": true})
            })
            .collect();
        json!({"apiVersion": "example.com/v1", "kind": "Thing",
            "metadata": {"name": name, "namespace": namespace, "ownerReferences": owners}})
    };
    for (name, propagation) in
        [("back", Propagation::Background), ("fore", Propagation::Foreground)]
    {
        let owner = cluster.create(&things, thing("default", name, None)).await;
        for i in 0..3 {
            let part = format!("{name}-{i}");
            let part = cluster.create(&things, thing("default", &part, Some(&owner))).await;
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": part.name(), "namespace": "default",
                "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Thing",
                    "name": part.name(), "uid": part.uid()}]}});
            cluster.create(&CONFIG_MAPS, map).await;
        }
        let options = DeleteOptions::new().propagation(propagation);
        cluster.client.delete(&things, "default", name, &options).await.expect("deletes");
        cluster.until("no things", &things, |o| o.is_empty()).await;
        let maps = |o: &Object| o.name().starts_with(name);
        cluster.until("no maps", &CONFIG_MAPS, |o| !o.iter().any(maps)).await;
    }

    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gone"}});
    cluster.create(&NAMESPACES, namespace).await;
    for i in 0..30 {
        cluster.create(&things, thing("gone", &format!("thing-{i}"), None)).await;
    }
    cluster.create(&things, thing("default", "stays", None)).await;
    cluster.client.delete(&NAMESPACES, "", "gone", &DeleteOptions::new()).await.expect("deletes");
    cluster.until("no namespace", &NAMESPACES, |o| named(o, "gone").is_none()).await;
    assert_eq!(cluster.list(&things, "").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_thousand_pods() {
    let cluster = start().await;
    cluster
        .until("accounts", &SERVICE_ACCOUNTS, |o| o.iter().any(|o| o.namespace() == "default"))
        .await;
    let began = std::time::Instant::now();
    cluster.create(&DEPLOYMENTS, deployment("big", 3000)).await;
    let informer = Informers::new(cluster.client.clone()).get(&PODS);
    let done = async {
        while informer.len() < 3000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), done).await.expect("all pods");
    println!("3000 pods in {:?}", began.elapsed());
    cluster
        .until("a true status", &DEPLOYMENTS, |o| {
            named(o, "big").is_some_and(|d| d.int("status.replicas") == Some(3000))
        })
        .await;
    assert_eq!(informer.len(), 3000, "and not one more");
}
