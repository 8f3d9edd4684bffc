//! The main job on real containers: a Deployment behind a Service, reached by address and by name, and
//! what must not disturb it.
//!
//! Each test has a cluster of its own, one at a time. Skipped, with the reason, where containers cannot
//! run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use isopod_tests::{Isopod, eventually, image, no_containers, run};
use serde_json::Value;

/// A cluster with the examples' image.
fn cluster() -> Option<Isopod> {
    if let Some(why) = no_containers() {
        eprintln!("skipped: {why}");
        return None;
    }
    let isopod = Isopod::cluster(&[]);
    eventually("the node is ready", || {
        let nodes = isopod.kubectl(&[
            "get",
            "nodes",
            "-o",
            "jsonpath={.items[*].status.conditions[?(@.type=='Ready')].status}",
        ]);
        (nodes.out == "True").then_some(())
    });
    let archive = isopod.scratch().join("image.tar");
    image(&archive);
    isopod.import(&archive);
    Some(isopod)
}

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name).display().to_string()
}

fn deploy(isopod: &Isopod) {
    isopod
        .kubectl(&["apply", "-f", &example("hello.yaml"), "-f", &example("visitor.yaml")])
        .expect_ok();
    let said =
        isopod.kubectl(&["rollout", "status", "deployment/hello", "--timeout", "170s"]).expect_ok();
    assert!(said.contains("successfully rolled out"), "{said}");
    eventually("the visitor runs", || (phase(isopod, "visitor") == "Running").then_some(()));
}

fn phase(isopod: &Isopod, pod: &str) -> String {
    isopod.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"]).out
}

fn service_ip(isopod: &Isopod, name: &str) -> String {
    isopod.kubectl(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"]).expect_ok()
}

fn curl(url: &str) -> Option<String> {
    let said = run(Command::new("curl").args(["-sf", "--max-time", "2", url]), "");
    said.ok.then_some(said.out)
}

/// What the visitor's shell prints.
fn from_pod(isopod: &Isopod, command: &[&str]) -> Option<String> {
    let mut args = vec!["exec", "visitor", "--"];
    args.extend(command);
    let said = isopod.kubectl(&args);
    said.ok.then_some(said.out)
}

/// Pods of the example by name: uid, and each container's id and restart count.
fn pods(isopod: &Isopod) -> BTreeMap<String, (String, Vec<(String, i64)>)> {
    let list = isopod.object(&["pods", "-l", "app=hello"]);
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|pod| {
            let statuses =
                pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
            let containers = statuses
                .iter()
                .map(|s| (text(&s["containerID"]), s["restartCount"].as_i64().unwrap_or(-1)))
                .collect();
            (text(&pod["metadata"]["name"]), (text(&pod["metadata"]["uid"]), containers))
        })
        .collect()
}

#[test]
fn a_deployment_answers_behind_its_service() {
    let Some(isopod) = cluster() else { return };
    deploy(&isopod);
    let ip = service_ip(&isopod, "hello");
    let page = format!("http://{ip}/cgi-bin/index");
    let names: Vec<String> = pods(&isopod).into_keys().collect();
    assert_eq!(names.len(), 3);
    // Every pod answers in its turn, from the host and from a pod, by address and by name.
    let mut missing: Vec<&String> = names.iter().collect();
    eventually("every pod has answered the host", || {
        let answer = curl(&page)?;
        missing.retain(|n| !answer.contains(n.as_str()));
        missing.is_empty().then_some(())
    });
    for host in [&ip, "hello", "hello.default", "hello.default.svc.cluster.local"] {
        let url = format!("http://{host}/cgi-bin/index");
        let answer = eventually(&format!("{host} answers the visitor"), || {
            from_pod(&isopod, &["wget", "-q", "-O", "-", &url])
        });
        assert!(names.iter().any(|n| answer.contains(n.as_str())), "{answer}");
    }
    // A node port, from the host.
    isopod.kubectl(&["create", "service", "nodeport", "door", "--tcp", "80:8080"]).expect_ok();
    let select = r#"{"spec":{"selector":{"app":"hello"}}}"#;
    let (code, answer) = isopod_patch(&isopod, "/api/v1/namespaces/default/services/door", select);
    assert_eq!(code, 200, "{answer}");
    let port = isopod
        .kubectl(&["get", "service", "door", "-o", "jsonpath={.spec.ports[0].nodePort}"])
        .expect_ok();
    let address = isopod
        .kubectl(&[
            "get",
            "nodes",
            "-o",
            "jsonpath={.items[0].status.addresses[?(@.type=='InternalIP')].address}",
        ])
        .expect_ok();
    eventually("the node port answers", || curl(&format!("http://{address}:{port}/")));
    // Without endpoints a connection is refused at once, not left to time out.
    isopod.kubectl(&["scale", "deployment/hello", "--replicas", "0"]).expect_ok();
    eventually("connections are refused", || {
        let said = run(
            Command::new("curl").args(["-s", "--max-time", "5", "-w", "%{exitcode}", &page]),
            "",
        );
        // 7: could not connect; a packet that is dropped would end in 28, a time-out.
        (said.out == "7").then_some(())
    });
    isopod.kubectl(&["scale", "deployment/hello", "--replicas", "2"]).expect_ok();
    eventually("the service recovers", || curl(&page));
}

fn isopod_patch(isopod: &Isopod, path: &str, body: &str) -> (u16, String) {
    let url = format!("https://127.0.0.1:{}{path}", isopod.port);
    let said = run(
        Command::new("curl")
            .args(["-sk", "-X", "PATCH", "-w", "\n%{http_code}", "--data-binary", "@-"])
            .args(["-H", "Content-Type: application/merge-patch+json"])
            .args(["-H", &format!("Authorization: Bearer {}", isopod_tests::ADMIN), &url]),
        body,
    );
    let (text, code) = said.out.rsplit_once('\n').expect("a status");
    (code.parse().expect("a number"), text.to_owned())
}

#[test]
fn containers_outlive_isopod_and_restart_when_killed() {
    let Some(mut isopod) = cluster() else { return };
    deploy(&isopod);
    let page = format!("http://{}/", service_ip(&isopod, "hello"));
    let before = pods(&isopod);
    // SIGKILL: everything is found again, nothing restarts, and the service never stopped.
    isopod.kill();
    assert!(curl(&page).is_some(), "the rules stay while isopod is away");
    isopod.start_again();
    eventually("the node reports again", || {
        let ready = isopod.kubectl(&["get", "pods", "-l", "app=hello", "--no-headers"]).out;
        (ready.matches("Running").count() == 3).then_some(())
    });
    assert_eq!(pods(&isopod), before);
    // SIGTERM: the same, with a clean goodbye.
    assert!(isopod.terminate());
    assert!(curl(&page).is_some());
    isopod.start_again();
    eventually("the service answers", || curl(&page));
    assert_eq!(pods(&isopod), before);
    // A container killed from outside comes back, in the same pod.
    let (name, (uid, containers)) = before.iter().next().expect("a pod");
    let id = containers[0].0.trim_start_matches("containerd://").to_owned();
    run(isopod.ctr().args(["tasks", "kill", "--signal", "SIGKILL", &id]), "").expect_ok();
    eventually("the container has restarted", || {
        let now = pods(&isopod);
        let (same_uid, containers) = now.get(name)?;
        (same_uid == uid && containers[0].1 == 1 && containers[0].0 != before[name].1[0].0)
            .then_some(())
    });
    eventually("all are ready again", || {
        let ready = isopod
            .kubectl(&["get", "deployment", "hello", "-o", "jsonpath={.status.readyReplicas}"])
            .out;
        (ready == "3").then_some(())
    });
    // A deleted node object takes its pods along; the node comes back and new pods replace them.
    let node =
        isopod.kubectl(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]).expect_ok();
    isopod.kubectl(&["delete", "node", &node]).expect_ok();
    eventually("new pods replace the lost node's", || {
        let now = pods(&isopod);
        let fresh = now.keys().filter(|n| !before.contains_key(*n)).count();
        (fresh == 3 && now.len() == 3).then_some(())
    });
    eventually("the service answers again", || curl(&page));
}

#[test]
fn a_rolling_update_loses_no_request() {
    let Some(isopod) = cluster() else { return };
    deploy(&isopod);
    let page = format!("http://{}/", service_ip(&isopod, "hello"));
    eventually("the service answers", || curl(&page));
    // Ending pods serve on until the rules have left them, as any real server behind a Service must.
    let hook = r#"{"spec":{"minReadySeconds":1,"template":{"spec":{"containers":[{"name":"web","lifecycle":{"preStop":{"exec":{"command":["/bin/busybox","sleep","1"]}}}}]}}}}"#;
    let (stop, sent, lost) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    // Two, so that there is something left of a small machine to start containers with.
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, sent, lost, page) = (stop.clone(), sent.clone(), lost.clone(), page.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    if curl(&page).is_none() {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let url = "/apis/apps/v1/namespaces/default/deployments/hello";
    let said = run(
        Command::new("curl")
            .args(["-sk", "-X", "PATCH", "-w", "\n%{http_code}", "--data-binary", hook])
            .args(["-H", "Content-Type: application/strategic-merge-patch+json"])
            .args(["-H", &format!("Authorization: Bearer {}", isopod_tests::ADMIN)])
            .arg(format!("https://127.0.0.1:{}{url}", isopod.port)),
        "",
    );
    assert!(said.out.ends_with("200"), "{}", said.out);
    isopod.kubectl(&["rollout", "status", "deployment/hello", "--timeout", "170s"]).expect_ok();
    isopod.kubectl(&["rollout", "restart", "deployment/hello"]).expect_ok();
    isopod.kubectl(&["rollout", "status", "deployment/hello", "--timeout", "170s"]).expect_ok();
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|c| c.join().expect("joins"));
    let (sent, lost) = (sent.load(Ordering::Relaxed), lost.load(Ordering::Relaxed));
    assert!(sent > 50, "only {sent} requests were sent");
    assert_eq!(lost, 0, "of {sent} requests");
}
