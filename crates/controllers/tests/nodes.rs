//! Nodes that fall silent, come back, and vanish, on the in-memory server with time paused.

use std::time::Duration;

use api::clock::{Clock, Rng};
use api::resource::{LEASES, NODES, PODS};
use api::{Object, Value};
use client::testing::FakeServer;
use client::{Informers, Patch, Shutdown};
use isopod_controllers::Config;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::Instant;

/// A clock that follows tokio's paused one.
fn ticking() -> Clock {
    let clock = Clock::manual("2026-01-01T00:00:00Z".parse().expect("a time"));
    let ticks = clock.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticks.advance(Duration::from_secs(1));
        }
    });
    clock
}

fn start() -> (FakeServer, Shutdown) {
    let clock = ticking();
    let server = FakeServer::new(clock.clone());
    server.share_cache();
    let (stop, rng) = (Shutdown::new(), Rng::seeded(3));
    let informers = Informers::with_rng(server.client(), rng.clone());
    let config = Config {
        controllers: [
            "node-lifecycle-controller",
            "taint-eviction-controller",
            "pod-garbage-collector-controller",
        ]
        .map(String::from)
        .to_vec(),
        ..Config::default()
    };
    tokio::spawn(isopod_controllers::run(
        config,
        server.client(),
        informers,
        clock,
        rng,
        stop.clone(),
    ));
    for name in ["n1", "n2"] {
        let status = json!({"conditions": [{"type": "Ready", "status": "True",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        server.put(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status}));
        server.put(lease(name, 0));
        let tolerations = json!([{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                                  "effect": "NoExecute", "tolerationSeconds": 100}]);
        server.put(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("on-{name}"), "namespace": "a"},
            "spec": {"nodeName": name, "tolerations": tolerations},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }));
    }
    (server, stop)
}

fn lease(node: &str, seconds: u64) -> Value {
    let time = format!("2026-01-01T00:{:02}:{:02}.000000Z", seconds / 60 % 60, seconds % 60);
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
           "metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": {"renewTime": time}})
}

/// Renews a node's lease for ever.
fn renew(server: &FakeServer, node: &'static str) -> tokio::task::JoinHandle<()> {
    let server = server.clone();
    tokio::spawn(async move {
        for beat in 1.. {
            tokio::time::sleep(Duration::from_secs(10)).await;
            server.put(lease(node, beat * 10));
        }
    })
}

fn ready(server: &FakeServer, node: &str) -> String {
    let node = server.object(&NODES, "", node).expect("a node");
    let conditions = node.at("status.conditions").and_then(Value::as_array).cloned();
    let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready");
    ready.and_then(|c| c["status"].as_str().map(str::to_owned)).unwrap_or_default()
}

fn taints(server: &FakeServer, node: &str) -> usize {
    let node = server.object(&NODES, "", node).expect("a node");
    node.at("spec.taints").and_then(Value::as_array).map_or(0, Vec::len)
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_loses_its_pods_and_may_come_back() {
    let (server, stop) = start();
    let began = Instant::now();
    let (one, _two) = (renew(&server, "n1"), renew(&server, "n2"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!((ready(&server, "n1"), taints(&server, "n1")), ("True".into(), 0));

    one.abort();
    let silent = Instant::now();
    server.until(|s| ready(s, "n1") == "Unknown").await;
    let took = silent.elapsed().as_secs();
    assert!((40..=61).contains(&took), "{took} s");
    server.until(|s| taints(s, "n1") == 2).await;
    let unready = |s: &FakeServer| {
        let pod = s.object(&PODS, "a", "on-n1").expect("a pod");
        pod.at("status.conditions.0").is_none()
            && Value::from(pod).to_string().contains(r#""status":"False","type":"Ready""#)
    };
    server.until(unready).await;
    let tainted = Instant::now();
    let deleting =
        |s: &FakeServer| s.object(&PODS, "a", "on-n1").is_none_or(|p: Object| p.is_deleting());
    server.until(deleting).await;
    let took = tainted.elapsed().as_secs();
    assert!((98..=103).contains(&took), "{took} s after the taint");
    assert_eq!(ready(&server, "n2"), "True");

    // It speaks again: the kubelet sets its condition, the taints go.
    let _one = renew(&server, "n1");
    let beat = json!({"status": {"conditions": [{"type": "Ready", "status": "True",
        "lastHeartbeatTime": "2026-01-01T01:00:00Z", "lastTransitionTime": "2026-01-01T01:00:00Z"}]}});
    server
        .client()
        .patch::<IgnoredAny>(&NODES, "", "n1", Some("status"), Patch::Merge, &beat)
        .await
        .expect("patches");
    server.until(|s| taints(s, "n1") == 0).await;
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(ready(&server, "n1"), "True");
    assert!(began.elapsed() < Duration::from_secs(3600));
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn where_all_are_silent_nobody_is_driven_out() {
    let (server, stop) = start();
    server.until(|s| ready(s, "n1") == "Unknown" && ready(s, "n2") == "Unknown").await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(server.all(&PODS).iter().filter(|p| !p.is_deleting()).count(), 2);
    assert_eq!(taints(&server, "n1"), 1, "only kept from new pods");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn the_pods_of_a_vanished_node_go() {
    let (server, stop) = start();
    let _two = renew(&server, "n2");
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.remove(&NODES, "", "n1");
    let gone = Instant::now();
    server.until(|s| s.object(&PODS, "a", "on-n1").is_none()).await;
    let took = gone.elapsed().as_secs();
    assert!((40..=65).contains(&took), "{took} s");
    assert!(server.object(&PODS, "a", "on-n2").is_some());
    assert!(server.all(&LEASES).len() == 2);
    stop.cancel();
}
