//! Deployments end to end on the in-memory server, with time paused: controllers share its cache, and a
//! stand-in for the kubelet makes pods ready.

use std::time::Duration;

use api::clock::{Clock, Rng};
use api::resource::{DEPLOYMENTS, PODS, REPLICA_SETS};
use api::{Object, Value};
use client::testing::FakeServer;
use client::{DeleteOptions, Event, Informers, Patch, Shutdown};
use isopod_controllers::Config;
use serde::de::IgnoredAny;
use serde_json::json;

fn clock() -> Clock {
    Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"))
}

/// Binds pods and reports those of working images ready; finishes the deletion of the others.
async fn kubelet(server: FakeServer, informers: Informers) {
    let client = server.client();
    let mut events = informers.get(&PODS).subscribe();
    while let Some(event) = events.next_event().await {
        let Event::Changed(delta) = event else { continue };
        let Some(pod) = delta.new else { continue };
        let pod: Object = pod.object().expect("a pod");
        let (ns, name) = (pod.namespace(), pod.name());
        if pod.is_deleting() {
            let now = DeleteOptions::uid(pod.uid()).grace(0);
            let _ = client.delete(&PODS, ns, name, &now).await;
        } else if pod.text("spec.nodeName").is_none() {
            let body = json!({"target": {"name": "n1"}});
            let _ = client.create_sub::<IgnoredAny>(&PODS, ns, name, "binding", &body).await;
        } else if pod.at("status").is_none() && pod.text("metadata.labels.v") != Some("broken") {
            let ready = json!({"type": "Ready", "status": "True",
                               "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let body = json!({"status": {"phase": "Running", "conditions": [ready]}});
            let sub = Some("status");
            let _ = client.patch::<IgnoredAny>(&PODS, ns, name, sub, Patch::Merge, &body).await;
        }
    }
}

struct Cluster {
    server: FakeServer,
    stop: Shutdown,
}

fn start() -> Cluster {
    let server = FakeServer::new(clock());
    server.share_cache();
    let stop = Shutdown::new();
    let informers = Informers::with_rng(server.client(), Rng::seeded(7));
    let config = Config {
        controllers: vec!["deployment-controller".into(), "replicaset-controller".into()],
        ..Config::default()
    };
    tokio::spawn(kubelet(server.clone(), informers.clone()));
    let (client, rng) = (server.client(), Rng::seeded(9));
    tokio::spawn(isopod_controllers::run(config, client, informers, clock(), rng, stop.clone()));
    Cluster { server, stop }
}

fn deployment(replicas: i64, version: &str, strategy: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "a"},
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 1,
            "strategy": strategy,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web", "v": version}},
                "spec": {"containers": [{"name": "c", "image": version}]},
            },
        },
    })
}

fn rolling() -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}})
}

fn arrived(server: &FakeServer, replicas: i64, version: &str) -> bool {
    let Some(web) = server.object(&DEPLOYMENTS, "a", "web") else { return false };
    let pods = server.all(&PODS);
    let right = |p: &Object| p.text("metadata.labels.v") == Some(version);
    web.int("status.availableReplicas").unwrap_or(0) == replicas
        && web.int("status.updatedReplicas").unwrap_or(0) == replicas
        && web.int("status.replicas").unwrap_or(0) == replicas
        && web.int("status.observedGeneration") == Some(web.generation())
        && i64::try_from(pods.len()) == Ok(replicas)
        && pods.iter().all(right)
}

impl Cluster {
    async fn until(&self, replicas: i64, version: &str) {
        let wait = self.server.until(|s| arrived(s, replicas, version));
        if tokio::time::timeout(Duration::from_secs(120), wait).await.is_err() {
            let web = self.server.object(&DEPLOYMENTS, "a", "web");
            panic!("{replicas} of {version}: {}", Value::from(web.unwrap_or_default()));
        }
    }

    async fn patch(&self, patch: Value) {
        let client = self.server.client();
        client
            .patch::<IgnoredAny>(&DEPLOYMENTS, "a", "web", None, Patch::Merge, &patch)
            .await
            .expect("patches");
    }

    async fn set_version(&self, version: &str) {
        let container = json!({"name": "c", "image": version});
        self.patch(json!({"spec": {"template": {
            "metadata": {"labels": {"v": version}}, "spec": {"containers": [container]}}}}))
            .await;
    }

    fn revisions(&self) -> Vec<(String, i64)> {
        let mut all: Vec<(String, i64)> = self
            .server
            .all(&REPLICA_SETS)
            .iter()
            .map(|s| {
                let revision = s.annotation("deployment.kubernetes.io/revision").unwrap_or("");
                (revision.to_owned(), s.int("spec.replicas").unwrap_or(-1))
            })
            .collect();
        all.sort();
        all
    }
}

#[tokio::test(start_paused = true)]
async fn roll_out_roll_back_scale() {
    let cluster = start();
    let client = cluster.server.client();
    let body = deployment(3, "1", rolling());
    client.create::<IgnoredAny>(&DEPLOYMENTS, "a", &body).await.expect("creates");
    cluster.until(3, "1").await;
    cluster.patch(json!({"spec": {"replicas": 12}})).await;
    cluster.until(12, "1").await;

    // Never fewer ready than allowed, never more than the surge.
    let watching = cluster.server.clone();
    let guard = tokio::spawn(async move {
        watching
            .until(|s| {
                let pods = s.all(&PODS);
                let active = pods.iter().filter(|p| !p.is_deleting()).count();
                let ready =
                    pods.iter().filter(|p| !p.is_deleting() && p.at("status").is_some()).count();
                assert!(active <= 13, "{active} pods");
                assert!(ready >= 10, "{ready} ready");
                arrived(s, 12, "2")
            })
            .await;
    });
    cluster.set_version("2").await;
    cluster.until(12, "2").await;
    guard.await.expect("within bounds all the time");
    assert_eq!(cluster.revisions(), [("1".into(), 0), ("2".into(), 12)]);

    cluster.set_version("1").await;
    cluster.until(12, "1").await;
    assert_eq!(
        cluster.revisions(),
        [("2".into(), 0), ("3".into(), 12)],
        "a rollback is a revision"
    );
    let web = cluster.server.object(&DEPLOYMENTS, "a", "web").expect("is there");
    assert_eq!(web.annotation("deployment.kubernetes.io/revision"), Some("3"));
    let complete = |s: &FakeServer| {
        let web = s.object(&DEPLOYMENTS, "a", "web").expect("is there");
        web.to_string_has("NewReplicaSetAvailable")
    };
    cluster.server.until(complete).await;

    // History is limited to one old set.
    cluster.set_version("3").await;
    cluster.until(12, "3").await;
    cluster.server.until(|s| s.all(&REPLICA_SETS).len() == 2).await;

    // A broken image stops half-way; a resize then keeps proportions.
    cluster.set_version("broken").await;
    let stuck = |s: &FakeServer| {
        let sizes: i64 = s.all(&REPLICA_SETS).iter().filter_map(|s| s.int("spec.replicas")).sum();
        sizes == 13
    };
    cluster.server.until(stuck).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.patch(json!({"spec": {"replicas": 24}})).await;
    cluster
        .server
        .until(|s| {
            let sets = s.all(&REPLICA_SETS);
            sets.iter().filter_map(|s| s.int("spec.replicas")).sum::<i64>() == 25
        })
        .await;
    let mut sizes: Vec<i64> =
        cluster.revisions().into_iter().map(|(_, n)| n).filter(|n| *n > 0).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 2, "both keep their share: {sizes:?}");
    cluster.stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn recreate_and_pause() {
    let cluster = start();
    let client = cluster.server.client();
    let body = deployment(3, "1", json!({"type": "Recreate"}));
    client.create::<IgnoredAny>(&DEPLOYMENTS, "a", &body).await.expect("creates");
    cluster.until(3, "1").await;
    let watching = cluster.server.clone();
    let guard = tokio::spawn(async move {
        watching
            .until(|s| {
                let versions: std::collections::BTreeSet<String> = s
                    .all(&PODS)
                    .iter()
                    .filter_map(|p| p.text("metadata.labels.v").map(str::to_owned))
                    .collect();
                assert!(versions.len() <= 1, "{versions:?} at once");
                arrived(s, 3, "2")
            })
            .await;
    });
    cluster.set_version("2").await;
    cluster.until(3, "2").await;
    guard.await.expect("never both at once");

    cluster.patch(json!({"spec": {"paused": true}})).await;
    cluster.set_version("3").await;
    cluster.patch(json!({"spec": {"replicas": 5}})).await;
    cluster.server.until(|s| s.all(&PODS).len() == 5).await;
    let right = |p: &Object| p.text("metadata.labels.v") == Some("2");
    assert!(cluster.server.all(&PODS).iter().all(right), "a paused rollout does not move");
    cluster.patch(json!({"spec": {"paused": false}})).await;
    cluster.until(5, "3").await;
    cluster.stop.cancel();
}

trait Has {
    fn to_string_has(&self, text: &str) -> bool;
}

impl Has for Object {
    fn to_string_has(&self, text: &str) -> bool {
        Value::Object(self.0.clone()).to_string().contains(text)
    }
}
