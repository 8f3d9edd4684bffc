//! What goes wrong is said clearly, and nothing is lost: bad requests, bad credentials, taken ports,
//! unusable data directories, a full disk, a crash.

use std::process::Command;

use isopod_tests::{ADMIN, ALICE, Isopod, binary, no_containers, run};
use serde_json::Value;

fn status(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"k":"{}"}}}}"#,
        "x".repeat(2000)
    )
}

#[test]
fn bad_requests_are_refused_with_a_status() {
    let isopod = Isopod::api_server(&[]);
    let cases = [
        (ADMIN, "POST", MAPS, "{not json", 400, "BadRequest"),
        (ADMIN, "GET", "/apis/nobody.example.com/v1/things", "", 404, ""),
        (ADMIN, "GET", "/api/v1/namespaces/default/pods/nobody", "", 404, "NotFound"),
        (
            ADMIN,
            "POST",
            MAPS,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NOT_ok"}}"#,
            422,
            "Invalid",
        ),
        (
            ADMIN,
            "POST",
            MAPS,
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}}"#,
            400,
            "BadRequest",
        ),
        ("wrong-token", "GET", MAPS, "", 401, "Unauthorized"),
        (ALICE, "GET", MAPS, "", 403, "Forbidden"),
        ("", "GET", MAPS, "", 403, "Forbidden"),
    ];
    for (token, method, path, body, code, reason) in cases {
        let (got, answer) = isopod.request(token, method, path, body).expect("an answer");
        assert_eq!(got, code, "{method} {path} {body}: {answer}");
        if !reason.is_empty() {
            let answer = status(&answer);
            assert_eq!(answer["kind"], "Status");
            assert_eq!(answer["reason"], reason, "{answer}");
        }
    }
    let (_, answer) = isopod.request(ALICE, "GET", MAPS, "").expect("an answer");
    assert_eq!(
        status(&answer)["message"],
        "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
}

#[test]
fn a_second_isopod_is_told_what_is_taken() {
    let isopod = Isopod::api_server(&[]);
    let start = |port: u16, dir: &std::path::Path| {
        let mut command = Command::new(binary());
        command
            .args(["apiserver", "--secure-port"])
            .arg(port.to_string())
            .arg("--data-dir")
            .arg(dir);
        run(&mut command, "").expect_fail()
    };
    let said = start(isopod.port, &isopod.scratch().join("other"));
    assert!(said.contains(&isopod.port.to_string()) && said.contains("in use"), "{said}");
    let said = start(isopod_tests::free_port(), &isopod.data_dir());
    assert!(
        said.contains("in use") && said.contains(&isopod.data_dir().display().to_string()),
        "{said}"
    );
    let file = isopod.scratch().join("a-file");
    std::fs::write(&file, "").expect("writes");
    let said = start(isopod_tests::free_port(), &file);
    assert!(said.contains("a-file"), "{said}");
    assert_eq!(isopod.get("/readyz").expect("still there").0, 200);
}

#[test]
fn a_missing_container_runtime_is_named() {
    if let Some(why) = no_containers() {
        eprintln!("skipped: {why}");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    // In a mount namespace of its own, where containerd is no file.
    let hide = r#"mount --bind /dev/null "$(command -v containerd)" && exec "$@""#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(binary());
    command.args(["server", "--secure-port", &isopod_tests::free_port().to_string()]);
    let said = run(command.arg("--data-dir").arg(&data), "").expect_fail();
    for word in ["containerd was not found", "apt-get install", "--container-runtime-endpoint"] {
        assert!(said.contains(word), "{said}");
    }
    assert!(!data.exists(), "refused before anything is made");
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let mut isopod = Isopod::api_server(&[]);
    for i in 0..50 {
        let (code, answer) =
            isopod.request(ADMIN, "POST", MAPS, &map(&format!("m{i}"))).expect("an answer");
        assert_eq!(code, 201, "{answer}");
    }
    isopod.kill();
    isopod.start_again();
    let (_, answer) = isopod.get(MAPS).expect("an answer");
    let count = status(&answer)["items"].as_array().expect("items").len();
    assert_eq!(count, 50);
}

#[test]
fn a_full_disk_refuses_writes_and_keeps_what_it_has() {
    if let Some(why) = no_containers() {
        eprintln!("skipped: mounting a small disk {why}");
        return;
    }
    let disk = tempfile::tempdir().expect("a directory");
    run(
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(disk.path()),
        "",
    )
    .expect_ok();
    let data = disk.path().join("data");
    let mut acknowledged = 0;
    {
        let mut isopod = Isopod::api_server(&["--data-dir", &data.display().to_string()]);
        let refused = loop {
            let (code, answer) = isopod
                .request(ADMIN, "POST", MAPS, &map(&format!("m{acknowledged}")))
                .expect("an answer");
            if code != 201 {
                break answer;
            }
            acknowledged += 1;
            assert!(acknowledged < 100_000, "12 MB are never full");
        };
        let refused = status(&refused);
        assert!(refused["code"].as_u64().is_some_and(|c| c >= 500), "{refused}");
        assert!(refused["message"].as_str().unwrap_or("").contains("space"), "{refused}");
        let (code, answer) = isopod.get(MAPS).expect("reads go on");
        assert_eq!(code, 200);
        assert_eq!(status(&answer)["items"].as_array().expect("items").len(), acknowledged);
        isopod.kill();
        // Room again, as after an administrator's help.
        run(Command::new("mount").args(["-o", "remount,size=64m"]).arg(disk.path()), "")
            .expect_ok();
        isopod.start_again();
        let (_, answer) = isopod.get(MAPS).expect("an answer");
        assert_eq!(status(&answer)["items"].as_array().expect("items").len(), acknowledged);
        let (code, answer) = isopod.request(ADMIN, "POST", MAPS, &map("after")).expect("an answer");
        assert_eq!(code, 201, "{answer}");
    }
    run(Command::new("umount").arg(disk.path()), "").expect_ok();
}
