//! Pods on a real containerd with a real OCI runtime, the API server in memory.
//!
//! Skipped, with a line that says so, where containerd is not installed or the user is not root.

mod harness;

use harness::{Harness, host_pod, phase, ready};
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
    h.until("one", |p| ready(p)).await;
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
