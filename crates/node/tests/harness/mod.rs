//! A kubelet with its own containerd in a temporary directory, for tests on the real runtime.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use api::clock::{Clock, Rng};
use api::object::Object;
use api::resource::{NODES, PODS};
use client::testing::FakeServer;
use client::{DeleteOptions, Informers, Shutdown};
use isopod_node::containerd::api::import;
use isopod_node::containerd::{Containerd, layout, pause};
use isopod_node::cri::Cri;
use serde_json::{Value, json};

const NODE: &str = "test-node";

pub struct Harness {
    pub server: FakeServer,
    pub dir: PathBuf,
    pub config: isopod_node::Config,
    identity: Option<(String, String)>,
    shutdown: Shutdown,
    task: Option<tokio::task::JoinHandle<Result<(), isopod_node::RunError>>>,
    _tmp: tempfile::TempDir,
}

/// A pod in the node's network.
pub fn host_pod(name: &str, containers: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}") },
        "spec": { "nodeName": NODE, "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "containers": containers } })
}

/// A pod with its own network.
pub fn net_pod(name: &str, containers: Value) -> Value {
    let mut pod = host_pod(name, containers);
    pod["spec"]["hostNetwork"] = false.into();
    pod
}

pub fn phase(pod: &Object) -> &str {
    pod.text("status.phase").unwrap_or("")
}

pub fn condition<'a>(pod: &'a Object, kind: &str) -> Option<&'a str> {
    let list = pod.at("status.conditions")?.as_array()?;
    list.iter().find(|c| c["type"] == kind)?.get("status")?.as_str()
}

pub fn ready(pod: &Object) -> bool {
    condition(pod, "Ready") == Some("True")
}

pub fn container_status(pod: &Object, name: &str) -> Value {
    let list = pod.at("status.containerStatuses").and_then(Value::as_array);
    list.into_iter().flatten().find(|s| s["name"] == name).cloned().unwrap_or_default()
}

fn busybox_layer(dir: &Path) -> Vec<u8> {
    let root = dir.join("image");
    std::fs::create_dir_all(root.join("bin")).expect("made");
    std::fs::create_dir_all(root.join("tmp")).expect("made");
    std::fs::create_dir_all(root.join("etc")).expect("made");
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox is there");
    for tool in [
        "sh", "sleep", "cat", "echo", "ls", "true", "false", "nc", "httpd", "wget", "env", "touch",
        "test", "id", "trap", "kill", "ps", "hostname", "stat", "mount",
    ] {
        let _ = std::os::unix::fs::symlink("busybox", root.join("bin").join(tool));
    }
    Command::new("tar").arg("-C").arg(&root).args(["-cf", "-", "."]).output().expect("tar").stdout
}

/// A CNI plugin that gives every sandbox an address and nothing behind it.
fn install_cni(config: &isopod_node::Config) {
    let bin = &config.runtime.cni_bin_dir;
    let conf = &config.runtime.cni_conf_dir;
    std::fs::create_dir_all(bin).expect("made");
    std::fs::create_dir_all(conf).expect("made");
    let script = "#!/bin/sh\ncat >/dev/null\ncase \"$CNI_COMMAND\" in\nADD) echo '{\"cniVersion\":\"0.4.0\",\"interfaces\":[{\"name\":\"eth0\",\"sandbox\":\"'$CNI_NETNS'\"}],\"ips\":[{\"version\":\"4\",\"interface\":0,\"address\":\"10.99.0.5/24\"}]}';;\nVERSION) echo '{\"cniVersion\":\"0.4.0\",\"supportedVersions\":[\"0.3.1\",\"0.4.0\"]}';;\nesac\n";
    for name in ["loopback", "testnet"] {
        let path = bin.join(name);
        std::fs::write(&path, script).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("set");
    }
    std::fs::write(
        conf.join("10-test.conflist"),
        r#"{"cniVersion":"0.4.0","name":"testnet","plugins":[{"type":"testnet"}]}"#,
    )
    .expect("written");
}

/// Has the configuration's server listen on a free port and trust a new authority; answers a client's
/// certificate and key of that authority.
fn serve(config: &mut isopod_node::Config) -> (String, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    config.server.port = listener.local_addr().expect("an address").port();
    config.server.address = std::net::IpAddr::from([127, 0, 0, 1]);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed");
    config.server.client_ca = Some(authority.pem());
    let issuer = rcgen::Issuer::new(params, key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(rcgen::DnType::CommonName, "tester");
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
    let cert = params.signed_by(&key, &issuer).expect("signed");
    (cert.pem(), key.serialize_pem())
}

impl Harness {
    /// A client of the kubelet's server that may do everything.
    pub fn kubelet_client(&self) -> client::Client {
        use client::https::{Config, Pem};
        let (cert, key) = self.identity.clone().expect("with HTTPS");
        client::Client::from_config(Config {
            server: format!("https://127.0.0.1:{}", self.config.server.port),
            insecure: true,
            identity: Some((Pem::Data(cert.into_bytes()), Pem::Data(key.into_bytes()))),
            ..Default::default()
        })
        .expect("a client")
    }

    pub async fn start(name: &str) -> Option<Self> {
        Self::start_with(name, |_| {}, false).await
    }

    /// With changes to the configuration, and with the HTTPS server on a free port if wanted.
    pub async fn start_with(
        name: &str,
        change: impl FnOnce(&mut isopod_node::Config),
        https: bool,
    ) -> Option<Self> {
        if isopod_node::containerd::find_program("containerd").is_none()
            || !rustix::process::geteuid().is_root()
        {
            println!("skipped: needs containerd and root");
            return None;
        }
        let _ = tracing_subscriber::fmt()
            .with_env_filter("warn,isopod_node=debug")
            .with_test_writer()
            .try_init();
        let tmp = tempfile::Builder::new().prefix("isopod-node-").tempdir().expect("a directory");
        let dir = tmp.path().to_owned();
        let mut config = isopod_node::Config::new(NODE, &dir);
        config.runtime.pod_logs = dir.join("logs/pods");
        config.runtime.container_logs = Some(dir.join("logs/containers"));
        config.runtime.cgroup_root = format!("/isopod-test-{name}-{}", std::process::id());
        config.server.port = 0;
        change(&mut config);
        let identity = https.then(|| serve(&mut config));
        install_cni(&config);
        // The image is there before the kubelet is.
        let l = layout(
            &dir.join("containerd"),
            &config.runtime.cni_conf_dir,
            &config.runtime.cni_bin_dir,
        )
        .expect("a layout");
        let now = Clock::system().time();
        let containerd = Containerd::start(l, &now).await.expect("containerd starts");
        let image = pause::image_of(busybox_layer(&dir), "amd64", json!({ "Env": ["PATH=/bin"] }));
        let cri = Cri::new(&containerd.socket()).expect("a client");
        import(&cri.channel(), "docker.io/test/busybox:1", &image, &now).await.expect("imported");
        while cri.image("test/busybox:1").await.expect("answers").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut this = Self {
            server: FakeServer::new(Clock::system()),
            dir,
            config,
            identity,
            shutdown: Shutdown::new(),
            task: None,
            _tmp: tmp,
        };
        this.server.share_cache();
        this.run();
        Some(this)
    }

    pub fn run(&mut self) {
        self.shutdown = Shutdown::new();
        let client = self.server.client();
        let informers = Informers::new(client.clone());
        let run = isopod_node::run(
            self.config.clone(),
            client,
            informers,
            Clock::system(),
            Rng::system(),
            self.shutdown.clone(),
        );
        self.task = Some(tokio::spawn(run));
    }

    pub async fn halt(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await.expect("no panic").expect("ends well");
        }
    }

    pub fn cri(&self) -> Cri {
        Cri::new(&self.dir.join("containerd/containerd.sock")).expect("a client")
    }

    pub async fn node_ready(&self) {
        self.wait("the node is ready", |s| {
            s.object(&NODES, "", NODE).is_some_and(|n| condition(&n, "Ready") == Some("True"))
        })
        .await;
    }

    pub fn create(&self, pod: Value) {
        self.server.put(pod);
    }

    pub fn pod(&self, name: &str) -> Option<Object> {
        self.server.object(&PODS, "default", name)
    }

    async fn wait(&self, what: &str, wanted: impl Fn(&FakeServer) -> bool) {
        let limit = Duration::from_secs(60);
        if tokio::time::timeout(limit, self.server.until(wanted)).await.is_err() {
            for pod in self.server.all(&PODS) {
                println!("{}", serde_json::to_string_pretty(&pod).unwrap_or_default());
            }
            panic!("it never came to be that {what}");
        }
    }

    pub async fn until(&self, name: &str, wanted: impl Fn(&Object) -> bool) {
        self.wait(name, |s| s.object(&PODS, "default", name).is_some_and(|p| wanted(&p))).await;
    }

    pub async fn until_gone(&self, name: &str) {
        self.wait("it is gone", |s| s.object(&PODS, "default", name).is_none()).await;
    }

    /// As the API server does it: marks the pod, the kubelet removes it.
    pub async fn delete(&self, name: &str, grace: i64) {
        let mut pod = self.pod(name).expect("there");
        let now = Clock::system().time();
        pod.set_meta("deletionTimestamp", now);
        pod.set_meta("deletionGracePeriodSeconds", grace);
        self.server.put(pod.into());
    }

    pub async fn remove(&self, name: &str) {
        let options = DeleteOptions::new().grace(0);
        self.server.client().delete(&PODS, "default", name, &options).await.expect("deleted");
    }

    /// Ends everything, containers included.
    pub async fn stop(mut self) {
        for pod in self.server.all(&PODS) {
            if !pod.is_deleting() {
                self.delete(pod.name(), 0).await;
            }
        }
        self.wait("all pods are gone", |s| s.all(&PODS).is_empty()).await;
        let cri = self.cri();
        let limit = tokio::time::Instant::now() + Duration::from_secs(20);
        while !cri.list_pod_sandboxes(None).await.expect("answers").is_empty() {
            assert!(tokio::time::Instant::now() < limit, "sandboxes are left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.halt().await;
        let c = &self.config.runtime;
        let l = layout(&self.dir.join("containerd"), &c.cni_conf_dir, &c.cni_bin_dir)
            .expect("a layout");
        Containerd::start(l, "").await.expect("adopted").stop().await;
        self.clean();
    }

    fn clean(&self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = self.dir.display().to_string();
        let left: Vec<&str> = table
            .lines()
            .filter_map(|l| l.split(' ').nth(4))
            .filter(|p| p.starts_with(&below))
            .collect();
        for point in left.iter().rev() {
            let _ = Command::new("umount").arg("-l").arg(point).status();
        }
        let root = self.config.runtime.cgroup_root.trim_start_matches('/');
        let _ = Command::new("find")
            .args([
                "/sys/fs/cgroup",
                "-depth",
                "-type",
                "d",
                "-path",
                &format!("*/{root}*"),
                "-exec",
                "rmdir",
                "{}",
                ";",
            ])
            .output();
    }
}
