//! Pods on a real containerd with a real OCI runtime, the API server in memory.
//!
//! Skipped, with a line that says so, where containerd is not installed or the user is not root.

mod harness;

use harness::{Harness, host_pod, net_pod, phase, ready};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_is_reported_and_goes() {
    let Some(h) = Harness::start("runs").await else { return };
    h.node_ready().await;
    let begun = std::time::Instant::now();
    h.create(host_pod(
        "one",
        json!([{ "name": "c", "image": "test/busybox:1", "command": ["sleep", "1000"] }]),
    ));
    h.until("one", ready).await;
    println!("ready after {:?}", begun.elapsed());
    let pod = h.pod("one").expect("there");
    assert_eq!(phase(&pod), "Running");
    assert_eq!(pod.text("status.qosClass"), Some("BestEffort"));
    let begun = std::time::Instant::now();
    h.delete("one", 0).await;
    h.until_gone("one").await;
    println!("gone after {:?}", begun.elapsed());
    h.stop().await;
}

/// What pods cost to start. Prints figures; the assertion is only that all become ready.
#[tokio::test(flavor = "multi_thread")]
async fn forty_at_once() {
    let Some(h) = Harness::start("forty").await else { return };
    h.node_ready().await;
    let spec = || json!([{ "name": "c", "image": "test/busybox:1", "command": ["sleep", "1000"] }]);
    for i in 0..5 {
        let name = format!("single-{i}");
        let begun = std::time::Instant::now();
        h.create(net_pod(&name, spec()));
        h.until(&name, ready).await;
        println!("single: ready after {:?}", begun.elapsed());
        h.delete(&name, 0).await;
        h.until_gone(&name).await;
    }
    let begun = std::time::Instant::now();
    for i in 0..40 {
        h.create(net_pod(&format!("p{i}"), spec()));
    }
    let waits = (0..40).map(|i| {
        let h = &h;
        async move {
            h.until(&format!("p{i}"), ready).await;
            begun.elapsed()
        }
    });
    let mut times = futures_util::future::join_all(waits).await;
    times.sort();
    println!("forty: median {:?}, last {:?}", times[20], times[39]);
    h.stop().await;
}
