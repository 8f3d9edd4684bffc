//! What pods see and how they live, on a real containerd: volumes, environment, init containers,
//! probes, hooks, restarts, logs, commands.

mod harness;

use std::time::Duration;

use client::stream::remotecommand::{Outcome, Wanted, connect};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use harness::{Harness, condition, container_status, host_pod, net_pod, phase, ready};

const IMAGE: &str = "test/busybox:1";

#[tokio::test(flavor = "multi_thread")]
async fn volumes_environment_and_last_words() {
    let Some(h) = Harness::start("volumes").await else { return };
    h.create(json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "cm", "namespace": "default" }, "data": { "a.txt": "one", "b.txt": "two" } }));
    h.create(json!({ "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "s", "namespace": "default" }, "data": { "key": "c2VjcmV0" } }));
    let script = r#"
        test "$(cat /cm/a.txt)" = one || exit 2
        test "$(cat /one/b.txt)" = two || exit 3
        test "$(cat /s/key)" = secret || exit 4
        test "$(cat /d/labels)" = 'app="x"' || exit 5
        test "$SECRET" = secret || exit 6
        test "$NAME/$FROM_a" = full/ || exit 7
        test "$EXPANDED" = "hello full" || exit 8
        test "$(cat /shared/from-init)" = init || exit 9
        test -d /sub/inner || exit 10
        echo written > /sub/inner/file
        test "$(cat /shared/made/inner/file)" = written || exit 11
        test "$(stat -f -c %T /mem)" = tmpfs || exit 12
        echo "all is well" > /dev/termination-log
    "#;
    let mut pod = host_pod(
        "full",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "terminationMessagePath": "/dev/termination-log",
        "env": [
            { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "s", "key": "key" } } },
            { "name": "NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
            { "name": "EXPANDED", "value": "hello $(NAME)" } ],
        "volumeMounts": [
            { "name": "cm", "mountPath": "/cm" }, { "name": "one", "mountPath": "/one" },
            { "name": "s", "mountPath": "/s" }, { "name": "d", "mountPath": "/d" },
            { "name": "shared", "mountPath": "/shared" }, { "name": "mem", "mountPath": "/mem" },
            { "name": "shared", "mountPath": "/sub", "subPath": "made" } ] }]),
    );
    pod["metadata"]["labels"] = json!({ "app": "x" });
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["initContainers"] = json!([{ "name": "i", "image": IMAGE,
        "command": ["sh", "-c", "echo init > /shared/from-init; mkdir -p /shared/made/inner"],
        "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] }]);
    pod["spec"]["volumes"] = json!([
        { "name": "cm", "configMap": { "name": "cm" } },
        { "name": "one", "projected": { "sources": [{ "configMap": { "name": "cm", "items": [{ "key": "b.txt", "path": "b.txt" }] } }] } },
        { "name": "s", "secret": { "secretName": "s" } },
        { "name": "d", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
        { "name": "shared", "emptyDir": {} },
        { "name": "mem", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } } ]);
    h.create(pod);
    h.until("full", |p| matches!(phase(p), "Succeeded" | "Failed")).await;
    let pod = h.pod("full").expect("there");
    let end = &container_status(&pod, "c")["state"]["terminated"];
    assert_eq!(
        (end["exitCode"].as_i64(), end["message"].as_str()),
        (Some(0), Some("all is well\n")),
        "{end}"
    );
    assert_eq!(phase(&pod), "Succeeded");
    assert_eq!(condition(&pod, "Initialized"), Some("True"));
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn config_maps_update_while_the_pod_runs() {
    let Some(h) = Harness::start("updates").await else { return };
    let map = |v: &str| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "cm", "namespace": "default" }, "data": { "k": v } })
    };
    h.create(map("one"));
    let script = "until test \"$(cat /cm/k)\" = two; do sleep 0.05; done";
    let mut pod = host_pod(
        "watcher",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "volumeMounts": [{ "name": "cm", "mountPath": "/cm" }] }]),
    );
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["volumes"] = json!([{ "name": "cm", "configMap": { "name": "cm" } }]);
    h.create(pod);
    h.until("watcher", ready).await;
    h.create(map("two"));
    h.until("watcher", |p| phase(p) == "Succeeded").await;
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_config_map_holds_the_pod_until_it_is_there() {
    let Some(h) = Harness::start("missing").await else { return };
    let mut pod = host_pod(
        "waits",
        json!([{ "name": "c", "image": IMAGE, "command": ["sleep", "1000"],
        "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "late", "key": "k" } } }] }]),
    );
    pod["spec"]["volumes"] = json!([]);
    h.create(pod);
    let reason =
        |p: &_| container_status(p, "c")["state"]["waiting"]["reason"].as_str().map(str::to_owned);
    h.until("waits", |p| reason(p).as_deref() == Some("CreateContainerConfigError")).await;
    h.create(json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "late", "namespace": "default" }, "data": { "k": "v" } }));
    h.until("waits", ready).await;
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_restart_with_back_off_and_probes_decide() {
    let Some(h) = Harness::start("probes").await else { return };
    // Ready once the file is there; then it is taken away by a command.
    let script = "sleep 0.3; touch /tmp/ok; sleep 1000";
    h.create(net_pod("probed", json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "readinessProbe": { "exec": { "command": ["cat", "/tmp/ok"] }, "periodSeconds": 1, "failureThreshold": 1 } }])));
    h.create(net_pod(
        "crasher",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", "exit 3"] }]),
    ));
    // Dies of its liveness probe, and is started again.
    h.create(net_pod("unalive", json!([{ "name": "c", "image": IMAGE, "command": ["sleep", "1000"],
        "livenessProbe": { "tcpSocket": { "port": 1, "host": "127.0.0.1" }, "periodSeconds": 1, "failureThreshold": 1 } }])));
    h.until("probed", |p| phase(p) == "Running" && condition(p, "Ready") == Some("False")).await;
    h.until("probed", ready).await;
    h.until("crasher", |p| {
        let s = container_status(p, "c");
        s["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            && s["restartCount"] == 1
            && s["lastState"]["terminated"]["exitCode"] == 3
    })
    .await;
    h.until("unalive", |p| container_status(p, "c")["restartCount"].as_i64() >= Some(1)).await;
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_ends_gracefully() {
    let Some(h) = Harness::start("graceful").await else { return };
    let dir = h.dir.join("shared");
    std::fs::create_dir_all(&dir).expect("made");
    let script = "trap 'echo term >> /shared/log; exit 0' TERM; touch /shared/up; while true; do sleep 0.05; done";
    let mut pod = host_pod(
        "polite",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "echo hook >> /shared/log"] } },
                       "postStart": { "exec": { "command": ["sh", "-c", "echo start >> /shared/log; until test -e /shared/up; do sleep 0.02; done"] } } },
        "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] }]),
    );
    pod["spec"]["volumes"] =
        json!([{ "name": "shared", "hostPath": { "path": dir, "type": "Directory" } }]);
    h.create(pod);
    h.until("polite", ready).await;
    h.delete("polite", 20).await;
    h.until_gone("polite").await;
    assert_eq!(std::fs::read_to_string(dir.join("log")).expect("written"), "start\nhook\nterm\n");
    // One that does not listen, whose deletion is then forced.
    let mut pod = host_pod(
        "deaf",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", "trap '' TERM; while true; do sleep 0.05; done"] }]),
    );
    pod["spec"]["terminationGracePeriodSeconds"] = 600.into();
    h.create(pod);
    h.until("deaf", ready).await;
    h.delete("deaf", 600).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(h.pod("deaf").is_some(), "it has its time");
    h.delete("deaf", 0).await;
    h.until_gone("deaf").await;
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_kubelet_finds_its_pods() {
    let Some(mut h) = Harness::start("restart").await else { return };
    h.create(net_pod(
        "stays",
        json!([{ "name": "c", "image": IMAGE, "command": ["sleep", "1000"],
        "readinessProbe": { "exec": { "command": ["true"] } } }]),
    ));
    h.create(net_pod(
        "dies",
        json!([{ "name": "c", "image": IMAGE, "command": ["sleep", "1000"] }]),
    ));
    h.create(net_pod(
        "leaves",
        json!([{ "name": "c", "image": IMAGE, "command": ["sleep", "1000"] }]),
    ));
    for name in ["stays", "dies", "leaves"] {
        h.until(name, ready).await;
    }
    let status = |h: &Harness, name: &str| container_status(&h.pod(name).expect("there"), "c");
    let before = status(&h, "stays");
    let dying = status(&h, "dies")["containerID"].as_str().unwrap_or("").to_owned();
    h.halt().await;
    let id = dying.trim_start_matches("containerd://");
    h.cri().stop_container(id, Duration::ZERO).await.expect("stopped");
    h.remove("leaves").await;
    h.run();
    h.until("dies", |p| ready(p) && container_status(p, "c")["restartCount"] == 1).await;
    assert_eq!(status(&h, "stays"), before, "untouched and never unready");
    let cri = h.cri();
    while cri.list_pod_sandboxes(None).await.expect("answers").len() > 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_and_commands_over_https() {
    let Some(h) = Harness::start_with("https", |_| {}, true).await else { return };
    let script = "echo one; echo two; echo three; while true; do sleep 0.05; test -e /tmp/go && echo four && rm /tmp/go; done";
    h.create(net_pod(
        "talks",
        json!([{ "name": "c", "image": IMAGE, "command": ["sh", "-c", script] }]),
    ));
    h.until("talks", ready).await;
    let client = h.kubelet_client();
    let get = async |path: &str| -> String {
        let bytes = client.raw(http::Method::GET, path, "").await.expect("answered");
        let bytes = bytes.into_body().bytes().await.expect("read");
        String::from_utf8(bytes.to_vec()).expect("text")
    };
    let log = "/containerLogs/default/talks/c";
    while get(log).await != "one\ntwo\nthree\n" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(&format!("{log}?tailLines=1")).await, "three\n");
    assert_eq!(get(&format!("{log}?limitBytes=5")).await, "one\nt");
    let stamped = get(&format!("{log}?timestamps=true&tailLines=1")).await;
    assert!(stamped.ends_with("Z three\n") && stamped.starts_with("20"), "{stamped}");

    // Followed while a command makes it say more.
    let request = http::Request::get(format!("{log}?follow=true&tailLines=1"));
    let response =
        client.send(request.body(bytes::Bytes::new()).expect("a request")).await.expect("answered");
    let mut follow = tokio_util::io::StreamReader::new(futures_util::TryStreamExt::map_err(
        response.into_body(),
        std::io::Error::other,
    ));
    let mut first = [0; 6];
    follow.read_exact(&mut first).await.expect("read");
    assert_eq!(&first, b"three\n");

    let wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };
    let path = "/exec/default/talks/c?command=sh&command=-c&command=cat%3B+touch+%2Ftmp%2Fgo%3B+echo+bad+%3E%262%3B+exit+7&input=1&output=1&error=1";
    let mut streams = connect(&client, path, wanted).await.expect("connected");
    let mut stdin = streams.stdin.take().expect("asked for");
    stdin.write_all(b"typed").await.expect("written");
    stdin.shutdown().await.expect("ended");
    let (mut out, mut err) = (String::new(), String::new());
    streams.stdout.take().expect("asked for").read_to_string(&mut out).await.expect("read");
    streams.stderr.take().expect("asked for").read_to_string(&mut err).await.expect("read");
    assert_eq!((out.as_str(), err.as_str()), ("typed", "bad\n"));
    assert_eq!(streams.outcome.await.expect("told"), Outcome::Exit(7));

    let mut more = [0; 5];
    follow.read_exact(&mut more).await.expect("read");
    assert_eq!(&more, b"four\n");

    let pods: Value = serde_json::from_str(&get("/pods").await).expect("JSON");
    assert_eq!(pods["items"][0]["metadata"]["name"], "talks");
    assert_eq!(get("/healthz").await, "ok");
    assert!(
        get("/metrics/resource")
            .await
            .contains("pod_memory_working_set_bytes{namespace=\"default\",pod=\"talks\"}")
    );
    h.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sidecars_debuggers_and_resizes() {
    let Some(h) = Harness::start("sidecars").await else { return };
    let sleeper = json!({ "name": "c", "image": IMAGE, "command": ["sh", "-c", "trap 'exit 0' TERM; while true; do sleep 0.05; done"],
        "resources": { "limits": { "cpu": "500m" } } });
    let mut pod = net_pod("team", json!([sleeper]));
    pod["spec"]["initContainers"] = json!([
        { "name": "side", "image": IMAGE, "restartPolicy": "Always", "command": ["sleep", "1000"],
          "startupProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 } },
        { "name": "init", "image": IMAGE, "command": ["true"] }]);
    h.create(pod);
    h.until("team", ready).await;
    let init = |p: &api::object::Object, name: &str| -> Value {
        let list = p.at("status.initContainerStatuses").and_then(Value::as_array);
        list.into_iter().flatten().find(|s| s["name"] == name).cloned().unwrap_or_default()
    };
    let pod = h.pod("team").expect("there");
    assert_eq!(init(&pod, "side")["ready"], true);
    assert_eq!(init(&pod, "init")["state"]["terminated"]["reason"], "Completed");

    // A debugger beside them, which sees the container's processes.
    let mut pod: Value = pod.into();
    pod["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": IMAGE, "targetContainerName": "c",
        "command": ["sh", "-c", "case \"$(ps)\" in *trap*) exit 0;; *) exit 1;; esac"] }]);
    h.create(pod);
    let debug = |p: &api::object::Object| {
        p.at("status.ephemeralContainerStatuses")
            .and_then(|l| l[0].pointer("/state/terminated/exitCode")?.as_i64())
    };
    h.until("team", |p| debug(p).is_some()).await;
    assert_eq!(debug(&h.pod("team").expect("there")), Some(0));

    // More of the processor, without a restart.
    let mut pod: Value = h.pod("team").expect("there").into();
    pod["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "1500m".into();
    h.create(pod);
    h.until("team", |p| container_status(p, "c")["resources"]["limits"]["cpu"] == "1500m").await;
    let id = container_status(&h.pod("team").expect("there"), "c")["containerID"]
        .as_str()
        .unwrap_or("")
        .replace("containerd://", "");
    let quota = || {
        let out = std::process::Command::new("find")
            .args([
                "/sys/fs/cgroup",
                "-path",
                &format!("*{id}/cpu.cfs_quota_us"),
                "-o",
                "-path",
                &format!("*{id}/cpu.max"),
            ])
            .output()
            .expect("found");
        let path = String::from_utf8_lossy(&out.stdout).lines().next().unwrap_or("").to_owned();
        std::fs::read_to_string(path).unwrap_or_default()
    };
    while !quota().starts_with("150000") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(container_status(&h.pod("team").expect("there"), "c")["restartCount"], 0);
    h.stop().await;
}
