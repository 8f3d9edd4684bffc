//! Images come from a registry: with and without credentials, and what is said when they do not.
//!
//! The registry is Debian's docker-registry on a port of its own. Skipped, with the reason, where it or
//! containers are missing.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use isopod_tests::{Isopod, eventually, free_port, image, no_containers, on_path, run};
use serde_json::json;

/// The registry's only user, and the line of its password file (bcrypt of `p4ss`).
const USER: &str = "user:p4ss";
const PASSWORDS: &str = "user:$2b$05$abcdefghijklmnopqrstuuAhFzwZwHy5Yo9kuGNrV3HJuDLDVWzC2\n";

/// A registry; killed at the end.
struct Registry {
    child: Child,
    address: String,
}

impl Registry {
    fn start(dir: &Path) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let (passwords, config) = (dir.join("htpasswd"), dir.join("registry.yaml"));
        std::fs::write(&passwords, PASSWORDS).expect("writes");
        let text = json!({"version": 0.1, "http": {"addr": address},
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": dir.join("registry")}},
            "auth": {"htpasswd": {"realm": "tests", "path": passwords}}});
        std::fs::write(&config, text.to_string()).expect("writes");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let url = format!("http://{address}/v2/");
        eventually("the registry answers", || {
            run(Command::new("curl").args(["-sf", "-u", USER, &url]), "").ok.then_some(())
        });
        Self { child, address }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pod(name: &str, image: &str, policy: &str, secrets: &[&str]) -> String {
    let secrets: Vec<_> = secrets.iter().map(|name| json!({"name": name})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"imagePullSecrets": secrets, "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, "imagePullPolicy": policy,
                "command": ["/bin/busybox", "sleep", "1000"]}]}})
    .to_string()
}

fn create(isopod: &Isopod, object: &str) {
    isopod.kubectl_with(None, &["create", "-f", "-"], object).expect_ok();
}

fn runs(isopod: &Isopod, pod: &str) {
    eventually(&format!("{pod} runs"), || {
        let phase = isopod.kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"]).out;
        (phase == "Running").then_some(())
    });
}

/// The waiting reason of a pod's container.
fn reason(isopod: &Isopod, pod: &str) -> String {
    let path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
    isopod.kubectl(&["get", "pod", pod, "-o", path]).out
}

fn events(isopod: &Isopod, pod: &str) -> String {
    let path = "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}";
    let of = format!("involvedObject.name={pod}");
    isopod.kubectl(&["get", "events", "--field-selector", &of, "-o", path]).expect_ok()
}

#[test]
fn images_are_pulled_with_credentials() {
    let why = no_containers().or_else(|| (!on_path("docker-registry")).then_some("no registry"));
    if let Some(why) = why {
        eprintln!("skipped: {why}");
        return;
    }
    let isopod = Isopod::cluster(&[]);
    let registry = Registry::start(isopod.scratch());
    let archive = isopod.scratch().join("image.tar");
    let local = image(&archive);
    eventually("containerd takes images", || isopod.try_import(&archive).ok.then_some(()));
    let name = format!("{}/hello:1", registry.address);
    run(isopod.ctr().args(["images", "tag", &local, &name]), "").expect_ok();
    run(isopod.ctr().args(["images", "push", "--plain-http", "--user", USER, &name]), "")
        .expect_ok();
    run(isopod.ctr().args(["images", "rm", "--sync", &name, &local]), "").expect_ok();
    eventually("the default service account is there", || {
        isopod.kubectl(&["get", "serviceaccount", "default"]).ok.then_some(())
    });
    // Without credentials: refused, tried again ever later.
    create(&isopod, &pod("stranger", &name, "IfNotPresent", &[]));
    eventually("the stranger's pull backs off", || {
        (reason(&isopod, "stranger") == "ImagePullBackOff").then_some(())
    });
    let said = events(&isopod, "stranger");
    for part in ["Pulling: Pulling image", "Failed: Failed to pull image", "Error: ErrImagePull"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // With them.
    let auths = json!({"auths": {&registry.address: {"username": "user", "password": "p4ss"}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": auths.to_string()}});
    create(&isopod, &secret.to_string());
    create(&isopod, &pod("guest", &name, "IfNotPresent", &["registry"]));
    runs(&isopod, "guest");
    let said = events(&isopod, "guest");
    assert!(said.contains("Pulled: Successfully pulled image"), "{said}");
    // Present now: not pulled again unless asked to.
    create(&isopod, &pod("second", &name, "IfNotPresent", &["registry"]));
    runs(&isopod, "second");
    let said = events(&isopod, "second");
    assert!(said.contains("already present on machine"), "{said}");
    create(&isopod, &pod("always", &name, "Always", &["registry"]));
    runs(&isopod, "always");
    let said = events(&isopod, "always");
    assert!(said.contains("Pulled: Successfully pulled image"), "{said}");
    // What is nowhere, and what may not be fetched.
    create(
        &isopod,
        &pod("lost", &format!("{}/nobody:1", registry.address), "Always", &["registry"]),
    );
    create(&isopod, &pod("never", "localhost/nobody:1", "Never", &[]));
    eventually("the lost one's pull backs off", || {
        (reason(&isopod, "lost") == "ImagePullBackOff").then_some(())
    });
    eventually("the other is not tried", || {
        (reason(&isopod, "never") == "ErrImageNeverPull").then_some(())
    });
    create(&isopod, &pod("wrong", "Not/AN image", "Always", &[]));
    eventually("a name that is none is told so", || {
        (reason(&isopod, "wrong") == "InvalidImageName").then_some(())
    });
}
