//! The harness of the end-to-end tests: starts the isopod binary, runs real clients against it, waits
//! for conditions, and leaves nothing behind.
//!
//! Not here: the tests (`tests/`).

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitId, WaitIdOptions};
use serde_json::Value;

/// Token of a user in `system:masters`.
pub const ADMIN: &str = "admintoken";
/// Token of a user without rights.
pub const ALICE: &str = "alicetoken";

const TOKENS: &str = "admintoken,admin,1,\"system:masters\"\nalicetoken,alice,2,\"dev\"\nlimitedtoken,limited,3,\"limited-group\"\n";

/// What keeps a test's node from looking at the machine's own disk: how full that is, is not the test's
/// business (as other clusters for tests have it).
const ANY_DISK: [&str; 3] = [
    "--eviction-hard=memory.available<100Mi",
    "--image-gc-high-threshold=100",
    "--image-gc-low-threshold=80",
];

/// Those, for the parts that have a node.
fn node_args(part: &str) -> &'static [&'static str] {
    if matches!(part, "server" | "kubelet") { &ANY_DISK } else { &[] }
}

/// How long anything may take before a test gives up. Generous: CI machines are slow and shared.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The binary under test: `$ISOPOD_BIN`, else the one beside the test's own.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ISOPOD_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().expect("a test has a path");
    let beside = own.ancestors().nth(2).expect("target/PROFILE/deps").join("isopod");
    assert!(beside.exists(), "no isopod binary: cargo build -p isopod, or set ISOPOD_BIN");
    beside
}

/// A free port of this machine.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// Waits until `look` gives something; fails the test, saying what was missing, after a time.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// What a command printed, with whether it succeeded.
#[derive(Clone, Debug)]
pub struct Said {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    /// Standard output of a command that had to succeed.
    #[track_caller]
    pub fn expect_ok(self) -> String {
        assert!(self.ok, "failed:\n{}\n{}", self.out, self.err);
        self.out
    }

    /// Standard error of a command that had to fail.
    #[track_caller]
    pub fn expect_fail(self) -> String {
        assert!(!self.ok, "succeeded:\n{}", self.out);
        self.err
    }
}

/// Runs a command with input, to its end; what it leaves running in its process group ends with it, so
/// that nobody waits for what those still might print.
pub fn run(command: &mut Command, input: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let group = rustix::process::Pid::from_child(&child);
    let mut stdin = child.stdin.take().expect("piped");
    let (mut out, mut err) =
        (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    std::thread::scope(|scope| {
        let read = |from: &mut dyn std::io::Read| {
            let mut text = Vec::new();
            from.read_to_end(&mut text).expect("reads");
            String::from_utf8_lossy(&text).into_owned()
        };
        let out = scope.spawn(move || read(&mut out));
        let err = scope.spawn(move || read(&mut err));
        // A command that reads nothing may have closed its input already.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        // Looked at before it is reaped, so that the group's number is still its own.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(group), ended).expect("waits");
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let ok = child.wait().expect("waits").success();
        Said { ok, out: out.join().expect("reads"), err: err.join().expect("reads") }
    })
}

/// This machine, to oneself: whole clusters own its network rules.
pub struct Alone {
    _lock: File,
}

/// Waits for the machine.
pub fn alone() -> Alone {
    let path = std::env::temp_dir().join("isopod-tests.lock");
    let lock = File::create(path).expect("a lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    Alone { _lock: lock }
}

/// A running isopod with a data directory of its own.
pub struct Isopod {
    child: Option<Child>,
    args: Vec<String>,
    dir: tempfile::TempDir,
    data: PathBuf,
    /// Where it listens.
    pub port: u16,
    machine: Option<Alone>,
}

impl Isopod {
    /// An API server alone.
    pub fn api_server(args: &[&str]) -> Self {
        Self::start("apiserver", args, None)
    }

    /// A whole cluster on this machine. One at a time: it owns the machine's network rules.
    pub fn cluster(args: &[&str]) -> Self {
        Self::cluster_on(alone(), args)
    }

    /// The same on a machine that the caller has to itself already.
    pub fn cluster_on(machine: Alone, args: &[&str]) -> Self {
        Self::start("server", args, Some(machine))
    }

    /// An API server that parts of a cluster on this machine will use, with the machine to itself as
    /// [`Isopod::cluster`] has it.
    pub fn cluster_of_parts(args: &[&str]) -> Self {
        Self::start("apiserver", args, Some(alone()))
    }

    /// Starts another part of the cluster; its arguments come after its name.
    pub fn part(&self, name: &str, args: &[&str]) -> Part {
        let path = self.scratch().join(format!("{name}.log"));
        let log = File::create(&path).expect("a log");
        let child = Command::new(binary())
            .arg(name)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(node_args(name))
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clones"))
            .stderr(log)
            .spawn()
            .expect("starts");
        Part { child, log: path }
    }

    fn start(part: &str, args: &[&str], machine: Option<Alone>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let tokens = dir.path().join("tokens.csv");
        std::fs::write(&tokens, TOKENS).expect("writes");
        let port = free_port();
        let mut all: Vec<String> = vec![part.into(), "--secure-port".into(), port.to_string()];
        let given = args.iter().position(|a| *a == "--data-dir").and_then(|i| args.get(i + 1));
        let data = given.map_or_else(|| dir.path().join("data"), PathBuf::from);
        if given.is_none() {
            all.extend(["--data-dir".into(), data.display().to_string()]);
        }
        all.extend(["--token-auth-file".into(), tokens.display().to_string()]);
        all.extend(node_args(part).iter().map(|a| (*a).to_owned()));
        all.extend(args.iter().map(|a| (*a).to_owned()));
        let mut isopod = Self { child: None, args: all, dir, data, port, machine };
        isopod.start_again();
        isopod
    }

    /// Starts the process (again) and waits until it is ready; how long that took.
    pub fn start_again(&mut self) -> Duration {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log");
        let started = Instant::now();
        let child = Command::new(binary())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clones"))
            .stderr(log)
            .spawn()
            .expect("starts");
        self.child = Some(child);
        loop {
            let answer = self.get("/readyz");
            if answer.as_ref().is_some_and(|(status, _)| *status == 200) {
                return started.elapsed();
            }
            let child = self.child.as_mut().expect("started");
            if let Some(status) = child.try_wait().expect("waits") {
                panic!("isopod ended with {status}:\n{}", self.log());
            }
            assert!(started.elapsed() < PATIENCE, "not ready ({answer:?}):\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("isopod.log")
    }

    /// What isopod has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone()
    }

    /// A directory that ends with this isopod.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("running").id()
    }

    /// Kills the process as a power cut would.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("running");
        child.kill().expect("kills");
        child.wait().expect("waits");
    }

    /// Ends the process with SIGTERM; whether it said goodbye with status 0.
    pub fn terminate(&mut self) -> bool {
        let mut child = self.child.take().expect("running");
        terminate(&mut child)
    }

    /// Removes all that it made of this machine, itself included where it runs.
    pub fn uninstall(&self) -> Said {
        let mut uninstall = Command::new(binary());
        run(uninstall.arg("uninstall").arg("--data-dir").arg(self.data_dir()), "")
    }

    /// Sends a request with curl; status and body, or none where nothing answers.
    pub fn request(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let mut curl = Command::new("curl");
        curl.args(["-sk", "--max-time", "30", "-w", "\n%{http_code}", "-X", method]);
        if !token.is_empty() {
            curl.arg("-H").arg(format!("Authorization: Bearer {token}"));
        }
        if !body.is_empty() {
            curl.args(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        curl.arg(format!("https://127.0.0.1:{}{path}", self.port));
        let said = run(&mut curl, body);
        let (text, status) = said.out.rsplit_once('\n')?;
        let status = status.parse().ok().filter(|s| *s != 0)?;
        Some((status, text.to_owned()))
    }

    /// GET as administrator.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.request(ADMIN, "GET", path, "")
    }

    /// The administrator's kubeconfig that isopod wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    /// isopod's own command line.
    pub fn kubectl(&self, args: &[&str]) -> Said {
        self.kubectl_with(None, args, "")
    }

    /// A kubectl, ours where none is given, with input.
    pub fn kubectl_with(&self, kubectl: Option<&Path>, args: &[&str], input: &str) -> Said {
        let mut command = match kubectl {
            Some(path) => Command::new(path),
            None => {
                let mut command = Command::new(binary());
                command.arg("kubectl");
                command
            }
        };
        // Real kubectls cache discovery under HOME; each server has its own.
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", self.scratch()).args(args);
        run(&mut command, input)
    }

    /// An object as JSON.
    #[track_caller]
    pub fn object(&self, what: &[&str]) -> Value {
        let mut args = vec!["get", "-o", "json"];
        args.extend(what);
        serde_json::from_str(&self.kubectl(&args).expect_ok()).expect("JSON")
    }

    /// Imports an OCI archive into the cluster's containerd.
    pub fn import(&self, archive: &Path) {
        self.try_import(archive).expect_ok();
    }

    /// The same where containerd may not be up yet.
    pub fn try_import(&self, archive: &Path) -> Said {
        run(self.ctr().args(["images", "import"]).arg(archive), "")
    }

    /// containerd's own tool, at the cluster's containerd.
    pub fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.data_dir().join("containerd/containerd.sock"));
        ctr.args(["--namespace", "k8s.io"]);
        ctr
    }
}

impl Isopod {
    /// Prints what a reader of a failed test wants to know of the cluster.
    fn describe(&self) {
        let nodes = r"jsonpath={range .items[*]}{.metadata.name} {range .status.conditions[*]}{.type}={.status} {end}{end}";
        for args in [
            &["get", "nodes", "-o", nodes][..],
            &["get", "pods", "-A", "-o", "wide"],
            &["get", "events", "-A"],
        ] {
            let said = self.kubectl(args);
            eprintln!("{}:", args[..2].join(" "));
            tail(&said.out);
            tail(&said.err);
        }
    }
}

impl Drop for Isopod {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            self.describe();
        }
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the end of isopod's log:");
            tail(&self.log());
        }
        if self.machine.is_some() {
            let removed = self.uninstall();
            if !removed.ok {
                eprintln!("uninstall: {}", removed.err);
            }
        }
    }
}

/// A part of a cluster in a process of its own; killed at the end.
pub struct Part {
    child: Child,
    log: PathBuf,
}

impl Part {
    /// Ends it with SIGTERM; whether it said goodbye with status 0.
    pub fn terminate(mut self) -> bool {
        terminate(&mut self.child)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the end of {}:", self.log.display());
            tail(&std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// Sends SIGTERM and waits; whether the process ended with status 0.
fn terminate(child: &mut Child) -> bool {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a pid"), Signal::TERM).expect("signals");
    child.wait().expect("waits").success()
}

/// Prints a log's last lines, for whoever reads why a test failed.
fn tail(log: &str) {
    let tail: Vec<&str> = log.lines().rev().take(60).collect();
    tail.iter().rev().for_each(|line| eprintln!("  {line}"));
}

/// Every real kubectl of this machine: the one on the path, and versions beside it
/// (`kubectl.1.30`).
pub fn kubectls() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|d| d.join("kubectl")).find(|p| p.exists());
    let Some(kubectl) = found.and_then(|p| p.canonicalize().ok()) else { return Vec::new() };
    let mut all: Vec<PathBuf> = kubectl
        .parent()
        .and_then(|d| d.read_dir().ok())
        .into_iter()
        .flatten()
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("kubectl.1.")))
        .collect();
    all.sort();
    if all.is_empty() { vec![kubectl] } else { all }
}

/// Why the tests on real containers cannot run here; `None` where they can.
pub fn no_containers() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    ["containerd", "runc", "busybox"]
        .iter()
        .find(|n| !on_path(n))
        .map(|_| "needs containerd, runc and busybox-static")
}

/// Makes the examples' image as an OCI archive; its name.
pub fn image(archive: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-image/build");
    run(Command::new(script).arg(archive), "").expect_ok().trim().to_owned()
}

/// Whether a program is installed.
pub fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).exists())
}
