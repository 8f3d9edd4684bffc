//! Our own containerd: started when no runtime endpoint is given, adopted when it already runs,
//! started again when it dies, and left running when isopod ends, so that pods outlive it.
//!
//! Not here: what is asked of it (`cri`), CNI configuration files (the network's).

pub mod api;
pub mod config;
pub mod pause;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use api::import;
use client::Shutdown;
pub use config::Layout;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tokio::io::unix::AsyncFd;

use crate::cri::{Cri, CriError, VersionRequest};

/// Why our containerd could not be brought up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program is not on the PATH.
    #[error(
        "{program} was not found: install the packages `containerd` and `runc` (Debian, Ubuntu: apt-get install containerd runc; Fedora: dnf install containerd runc), or pass --container-runtime-endpoint"
    )]
    Missing {
        /// Its name.
        program: &'static str,
    },
    /// The socket's path is longer than the kernel takes.
    #[error("{0} is too long for a socket (107 bytes at most): choose a shorter --data-dir")]
    LongPath(PathBuf),
    /// A file or directory could not be made.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It started, but its socket never answered.
    #[error("containerd does not answer on {socket}; the end of {log}:\n{tail}")]
    NoAnswer {
        /// Its socket.
        socket: PathBuf,
        /// Its log file.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The pause image could not be put into it.
    #[error("importing the pause image: {0}")]
    Pause(String),
    /// No channel could be made.
    #[error(transparent)]
    Cri(#[from] CriError),
}

/// Finds a program on the PATH, and where distributions put system programs.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    std::env::split_paths(&path)
        .chain(known.iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
}

/// Whether this process may lower `oom_score_adj` (CAP_SYS_RESOURCE, bit 24 of the effective set).
pub fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .is_some_and(|caps| caps & (1 << 24) != 0)
}

/// The layout for a data directory, with what this machine has. crun starts containers in a
/// fraction of runc's time, so it is taken where it is installed and works: it refuses machines
/// that mount both versions of cgroups, and without CAP_SYS_RESOURCE it cannot raise the limit of
/// locked memory, as it does for the rules of devices of version 2.
pub fn layout(dir: &Path, cni_conf_dir: &Path, cni_bin_dir: &Path) -> Result<Layout, StartError> {
    find_program("containerd").ok_or(StartError::Missing { program: "containerd" })?;
    let crun = crate::cgroups::is_v2() && has_sys_resource();
    let names = if crun { ["crun", "runc"] } else { ["runc", "crun"] };
    let oci_runtime = names
        .iter()
        .find_map(|p| find_program(p))
        .ok_or(StartError::Missing { program: "runc" })?;
    let layout = Layout {
        dir: dir.to_owned(),
        cni_conf_dir: cni_conf_dir.to_owned(),
        cni_bin_dir: cni_bin_dir.to_owned(),
        oci_runtime,
        snapshotter: if is_overlay(dir) { "native" } else { "overlayfs" },
        restrict_oom_score_adj: !has_sys_resource(),
    };
    if layout.socket().as_os_str().len() > 107 {
        return Err(StartError::LongPath(layout.socket()));
    }
    Ok(layout)
}

/// An overlay cannot have its upper directory on another overlay.
fn is_overlay(dir: &Path) -> bool {
    const OVERLAYFS_MAGIC: i64 = 0x794c_7630;
    dir.ancestors()
        .find_map(|d| rustix::fs::statfs(d).ok())
        .is_some_and(|fs| fs.f_type == OVERLAYFS_MAGIC)
}

/// A running containerd of ours.
#[derive(Debug)]
pub struct Containerd {
    layout: Layout,
    pid: Pid,
}

impl Containerd {
    /// Adopts the containerd that runs for this layout, or starts one, and waits until it answers
    /// and has the pause image.
    pub async fn start(layout: Layout, now: &str) -> Result<Self, StartError> {
        for dir in [&layout.dir, &layout.cni_conf_dir, &layout.cni_bin_dir] {
            std::fs::create_dir_all(dir)
                .map_err(|source| StartError::Io { path: dir.clone(), source })?;
        }
        let text = layout.config();
        let file = layout.config_file();
        let changed = std::fs::read_to_string(&file).ok().as_deref() != Some(&text);
        if changed {
            std::fs::write(&file, text)
                .map_err(|source| StartError::Io { path: file.clone(), source })?;
        }
        let running = running(&layout);
        let pid = match running {
            Some(pid) if !changed => pid,
            Some(pid) => {
                // A new configuration: containers go on without it for the moment it takes.
                end(pid).await;
                spawn(&layout)?
            }
            None => spawn(&layout)?,
        };
        let this = Self { layout, pid };
        this.wait_answer().await?;
        if running.is_none() || changed {
            this.import_pause(now).await?;
        }
        Ok(this)
    }

    /// The CRI socket.
    pub fn socket(&self) -> PathBuf {
        self.layout.socket()
    }

    /// Watches over it until shutdown: starts it again, with back-off, whenever it has died.
    /// Shutdown leaves it running.
    pub async fn supervise(mut self, shutdown: Shutdown) {
        const LONGEST: Duration = Duration::from_secs(30);
        let mut delay = Duration::from_millis(100);
        loop {
            let started = tokio::time::Instant::now();
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = ended(self.pid) => {}
            }
            if started.elapsed() > LONGEST {
                delay = Duration::from_millis(100);
            }
            tracing::warn!(
                pid = self.pid.as_raw_nonzero(),
                ?delay,
                "containerd has died; starting it again"
            );
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(delay) => {}
            }
            delay = (delay * 2).min(LONGEST);
            match spawn(&self.layout) {
                Ok(pid) => self.pid = pid,
                Err(error) => tracing::error!(%error, "containerd does not start"),
            }
        }
    }

    /// Stops it. Containers that run go on; this is for removing everything after them.
    pub async fn stop(self) {
        end(self.pid).await;
        let _ = std::fs::remove_file(self.layout.pid_file());
    }

    async fn wait_answer(&self) -> Result<(), StartError> {
        let socket = self.layout.socket();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut pause = Duration::from_millis(5);
        while tokio::time::Instant::now() < deadline {
            // A fresh channel each time: a failed one backs off for longer than the start takes.
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                let request = VersionRequest { version: String::new() };
                if Cri::new(&socket)?.version(request).await.is_ok() {
                    return Ok(());
                }
            }
            if !alive(self.pid) {
                break;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(Duration::from_millis(50));
        }
        let log = self.layout.dir.join("containerd.log");
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n");
        Err(StartError::NoAnswer { socket, log, tail })
    }

    async fn import_pause(&self, now: &str) -> Result<(), StartError> {
        let arch = std::env::consts::ARCH;
        let image = pause::image()
            .ok_or_else(|| StartError::Pause(format!("there is no pause program for {arch}")))?;
        let channel = Cri::new(&self.layout.socket())?.channel();
        import(&channel, pause::IMAGE, &image, now)
            .await
            .map_err(|s| StartError::Pause(s.message().to_owned()))
    }
}

fn spawn(layout: &Layout) -> Result<Pid, StartError> {
    let program =
        find_program("containerd").ok_or(StartError::Missing { program: "containerd" })?;
    let log = layout.dir.join("containerd.log");
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Io { path, source }
    };
    if std::fs::metadata(&log).is_ok_and(|m| m.len() > 16 << 20) {
        std::fs::rename(&log, log.with_extension("log.1")).map_err(io(&log))?;
    }
    let out = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(io(&log))?;
    let mut command = std::process::Command::new(&program);
    command
        .arg("--config")
        .arg(layout.config_file())
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(io(&log))?)
        .stderr(out);
    new_session(&mut command);
    let mut child = command.spawn().map_err(io(&program))?;
    let pid = Pid::from_child(&child);
    std::fs::write(layout.pid_file(), pid.as_raw_nonzero().to_string())
        .map_err(io(&layout.pid_file()))?;
    // Its parent must collect it when it ends, or it stays a zombie.
    std::thread::Builder::new()
        .name("containerd-wait".into())
        .stack_size(64 << 10)
        .spawn(move || child.wait())
        .map_err(io(&program))?;
    Ok(pid)
}

/// Gives the command a session of its own: neither a terminal's Ctrl-C nor its hang-up reach it.
#[allow(unsafe_code)]
fn new_session(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec only `setsid` is called, which is async-signal-safe and
    // touches no memory.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            Ok(())
        });
    }
}

/// The process of the pid file, if it is a containerd with our configuration.
fn running(layout: &Layout) -> Option<Pid> {
    let text = std::fs::read_to_string(layout.pid_file()).ok()?;
    let pid = Pid::from_raw(text.trim().parse().ok()?)?;
    let cmdline = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
    let config = layout.config_file();
    let ours = cmdline
        .split(|b| *b == 0)
        .any(|arg| arg == std::os::unix::ffi::OsStrExt::as_bytes(config.as_os_str()));
    (ours && alive(pid)).then_some(pid)
}

fn alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The state follows the name, which may hold anything, in parentheses.
    stat.is_ok_and(|s| s.rsplit(')').next().is_some_and(|s| !s.trim_start().starts_with('Z')))
}

/// A descriptor whose readiness tokio tells.
pub(crate) fn async_fd(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    #[allow(unsafe_code)]
    // SAFETY: the descriptor is owned, by the `AsyncFd` from here on, and nothing else has it.
    let registered = unsafe { AsyncFd::register(fd) };
    registered.map_err(std::io::Error::from)
}

/// Waits until a process has ended, its child or not.
async fn ended(pid: Pid) {
    let Ok(fd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else { return };
    let Ok(fd) = async_fd(fd) else { return };
    let _ = fd.readable().await;
}

async fn end(pid: Pid) {
    let _ = kill_process(pid, Signal::TERM);
    if tokio::time::timeout(Duration::from_secs(10), ended(pid)).await.is_err() {
        let _ = kill_process(pid, Signal::KILL);
        ended(pid).await;
    }
}
