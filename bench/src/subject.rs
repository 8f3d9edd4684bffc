//! The servers under test as processes: started, awaited, measured, ended.
//!
//! Not here: the load.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use client::Client;
use client::https::{Config, Credential};

/// The token of the load's user.
const TOKEN: &str = "bench-token";

/// What is measured.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The binary of this project.
    Isopod(PathBuf),
    /// The same with the controllers and the scheduler in its process.
    Cluster(PathBuf),
    /// Upstream's API server with etcd.
    Upstream(Upstream),
}

/// Upstream's binaries.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// kube-apiserver.
    pub server: PathBuf,
    /// etcd.
    pub etcd: PathBuf,
}

/// A running server; ended on drop.
pub struct Running {
    children: Vec<Child>,
    /// Where it listens.
    pub port: u16,
    /// From the first process to the first answer of `/readyz`.
    pub ready_after: Duration,
    /// Everything it writes; none once it was taken over by the next start.
    dir: Option<tempfile::TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A free port of this machine.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A client of a server on this machine, with connections of its own.
pub fn client(port: u16) -> Result<Client> {
    Ok(Client::from_config(Config {
        server: format!("https://127.0.0.1:{port}"),
        insecure: true,
        credential: Credential::Token(TOKEN.to_owned()),
        ..Config::default()
    })?)
}

/// Waits for `/readyz`, looking every 2 ms.
pub async fn ready(port: u16, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let client = client(port)?;
    loop {
        if client.raw(http::Method::GET, "/readyz", "").await.is_ok() {
            return Ok(());
        }
        if started.elapsed() > limit {
            bail!("the server on port {port} is not ready after {limit:?}");
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The token file that both kinds of server take.
pub fn token_file(dir: &Path) -> Result<PathBuf> {
    let path = dir.join("tokens.csv");
    std::fs::write(&path, format!("{TOKEN},bench,1,\"system:masters\"\n"))?;
    Ok(path)
}

fn quiet(command: &mut Command, dir: &Path, name: &str) -> Result<Child> {
    let log = std::fs::File::create(dir.join(format!("{name}.log")))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("starting {:?}", command.get_program()))
}

impl Subject {
    /// Whether this is upstream.
    pub fn is_upstream(&self) -> bool {
        matches!(self, Self::Upstream(_))
    }

    /// Starts an API server with an empty store and waits until it is ready.
    pub async fn start(&self) -> Result<Running> {
        self.start_in(tempfile::tempdir()?).await
    }

    /// Stops a server and starts it again with what it has stored.
    pub async fn restart(&self, mut running: Running) -> Result<Running> {
        running.stop();
        let dir = running.dir.take().context("the server has no directory")?;
        self.start_in(dir).await
    }

    async fn start_in(&self, dir: tempfile::TempDir) -> Result<Running> {
        let port = free_port()?;
        let tokens = token_file(dir.path())?;
        let started = Instant::now();
        let children = match self {
            Self::Isopod(binary) => {
                let mut command = Command::new(binary);
                command.args(["apiserver", "--bind-address", "127.0.0.1", "--log", "warn"]);
                command.arg("--secure-port").arg(port.to_string());
                command.arg("--data-dir").arg(dir.path().join("data"));
                command.arg("--token-auth-file").arg(&tokens);
                vec![quiet(&mut command, dir.path(), "isopod")?]
            }
            Self::Cluster(binary) => {
                let mut command = Command::new(binary);
                command.args(["server", "--bind-address", "127.0.0.1", "--log", "warn"]);
                for part in ["node", "proxy", "dns"] {
                    command.args(["--disable", part]);
                }
                command.arg("--secure-port").arg(port.to_string());
                command.arg("--data-dir").arg(dir.path().join("data"));
                command.arg("--token-auth-file").arg(&tokens);
                vec![quiet(&mut command, dir.path(), "isopod")?]
            }
            Self::Upstream(upstream) => upstream.start(dir.path(), port, &tokens)?,
        };
        let mut running = Running { children, port, ready_after: Duration::ZERO, dir: Some(dir) };
        ready(port, Duration::from_secs(120)).await?;
        running.ready_after = started.elapsed();
        Ok(running)
    }
}

impl Upstream {
    fn start(&self, dir: &Path, port: u16, tokens: &Path) -> Result<Vec<Child>> {
        let (peer, etcd) = (free_port()?, free_port()?);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut store = Command::new(&self.etcd);
        store.arg("--data-dir").arg(dir.join("etcd"));
        store
            .arg("--listen-client-urls")
            .arg(url(etcd))
            .arg("--advertise-client-urls")
            .arg(url(etcd));
        store
            .arg("--listen-peer-urls")
            .arg(url(peer))
            .arg("--initial-advertise-peer-urls")
            .arg(url(peer));
        store.arg("--initial-cluster").arg(format!("default={}", url(peer)));
        let key = dir.join("sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .stderr(Stdio::null())
            .status()
            .context("openssl makes upstream's service account key")?;
        if !made.success() {
            bail!("openssl failed");
        }
        let mut server = Command::new(&self.server);
        server.args(["--bind-address=127.0.0.1", "--authorization-mode=Node,RBAC"]);
        server.args([
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.43.0.0/16",
        ]);
        server.arg(format!("--secure-port={port}")).arg(format!("--etcd-servers={}", url(etcd)));
        server.arg(format!("--cert-dir={}", dir.join("certs").display()));
        server.arg(format!("--token-auth-file={}", tokens.display()));
        server.arg(format!("--service-account-key-file={}", key.display()));
        server.arg(format!("--service-account-signing-key-file={}", key.display()));
        Ok(vec![quiet(&mut store, dir, "etcd")?, quiet(&mut server, dir, "kube-apiserver")?])
    }
}

impl Running {
    /// Ends the processes, in order, and waits for them.
    fn stop(&mut self) {
        for mut child in self.children.drain(..).rev() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }

    /// CPU time that all processes have used, in seconds.
    pub fn cpu(&self) -> Result<f64> {
        self.children.iter().map(|child| cpu_seconds(child.id())).sum()
    }

    /// Resident memory of all processes, in MB.
    pub fn resident(&self) -> Result<f64> {
        let mut total = 0.0;
        for child in &self.children {
            total += resident(child.id())?;
        }
        Ok(total)
    }
}

/// Resident memory of a process, in MB.
pub fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// CPU time that a process has used, in seconds.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').context("no command in stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    // The kernel reports in USER_HZ, which is 100 on every Linux of today.
    Ok(ticks / 100.0)
}
