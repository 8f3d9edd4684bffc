//! Every part in a process of its own, over HTTPS: together they are the same cluster, and each can go
//! and come back alone.
//!
//! Not here: all parts in one process (`cluster`). Skipped, with the reason, where containers cannot run.

use std::process::Command;

use isopod_tests::{Isopod, eventually, free_port, image, no_containers, run};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: IMAGE
        command: [/bin/busybox, sh, -c, "echo started; exec /bin/busybox httpd -f -p 8080 -h /www"]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"#;

fn field(isopod: &Isopod, what: &[&str], path: &str) -> String {
    let output = format!("jsonpath={path}");
    let mut args = vec!["get", "-o", &output];
    args.extend(what);
    isopod.kubectl(&args).out
}

fn answers(url: &str) -> Option<()> {
    run(Command::new("curl").args(["-sf", "--max-time", "2", url]), "").ok.then_some(())
}

#[test]
fn parts_alone_are_a_cluster_together() {
    if let Some(why) = no_containers() {
        eprintln!("skipped: {why}");
        return;
    }
    let isopod = Isopod::cluster_of_parts(&[]);
    let scheduler = isopod.part("scheduler", &[]);
    let controllers = isopod.part("controller-manager", &[]);
    let port = free_port().to_string();
    let data = isopod.data_dir().display().to_string();
    let ca = isopod.data_dir().join("pki/ca.crt").display().to_string();
    let kubelet_args = ["--data-dir", &data, "--kubelet-port", &port, "--client-ca-file", &ca];
    let kubelet = isopod.part("kubelet", &kubelet_args);
    let proxy = isopod.part("proxy", &[]);
    let ready = "{.items[*].status.conditions[?(@.type=='Ready')].status}";
    eventually("the node is ready", || (field(&isopod, &["nodes"], ready) == "True").then_some(()));
    let archive = isopod.scratch().join("image.tar");
    let manifest = DEPLOYMENT.replace("IMAGE", &image(&archive));
    isopod.import(&archive);
    isopod.kubectl_with(None, &["apply", "-f", "-"], &manifest).expect_ok();
    isopod.kubectl(&["rollout", "status", "deployment/web", "--timeout", "90s"]).expect_ok();
    let page = format!("http://{}/", field(&isopod, &["service", "web"], "{.spec.clusterIP}"));
    eventually("the service answers", || answers(&page));
    // Streams go API server → kubelet → runtime.
    let first = field(&isopod, &["pods", "-l", "app=web"], "{.items[0].metadata.name}");
    assert_eq!(isopod.kubectl(&["logs", &first]).expect_ok(), "started\n");
    assert_eq!(isopod.kubectl(&["exec", &first, "--", "hostname"]).expect_ok().trim(), first);
    // Each leads by a lease of its own.
    for name in ["kube-scheduler", "kube-controller-manager"] {
        let holder =
            field(&isopod, &["lease", name, "-n", "kube-system"], "{.spec.holderIdentity}");
        assert!(!holder.is_empty(), "nobody holds {name}");
    }
    // Each leaves on SIGTERM, and its work goes on when it is back.
    assert!(scheduler.terminate());
    isopod.kubectl(&["scale", "deployment/web", "--replicas", "3"]).expect_ok();
    let phases = "{.items[*].status.phase}";
    eventually("a pod waits for the scheduler", || {
        field(&isopod, &["pods", "-l", "app=web"], phases).contains("Pending").then_some(())
    });
    let _scheduler = isopod.part("scheduler", &[]);
    isopod.kubectl(&["rollout", "status", "deployment/web", "--timeout", "90s"]).expect_ok();
    let ids = "{.items[*].status.containerStatuses[*].containerID}";
    let before = field(&isopod, &["pods", "-l", "app=web"], ids);
    assert!(kubelet.terminate());
    assert!(proxy.terminate());
    assert!(answers(&page).is_some(), "pods and rules stay");
    let _kubelet = isopod.part("kubelet", &kubelet_args);
    let _proxy = isopod.part("proxy", &[]);
    assert!(controllers.terminate());
    let _controllers = isopod.part("controller-manager", &[]);
    isopod.kubectl(&["scale", "deployment/web", "--replicas", "4"]).expect_ok();
    isopod.kubectl(&["rollout", "status", "deployment/web", "--timeout", "90s"]).expect_ok();
    let after = field(&isopod, &["pods", "-l", "app=web"], ids);
    for id in before.split(' ') {
        assert!(after.contains(id), "{id} did not stay: {after}");
    }
}
