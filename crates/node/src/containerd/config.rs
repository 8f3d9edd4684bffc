//! The configuration file of our own containerd, as text.
//!
//! Not here: starting it ([`super`]).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::pause;

/// Where our containerd keeps its things, and what it is to use.
#[derive(Clone, Debug)]
pub struct Layout {
    /// `<data-dir>/containerd`.
    pub dir: PathBuf,
    /// Where CNI configurations are looked for.
    pub cni_conf_dir: PathBuf,
    /// Where CNI plugins are looked for.
    pub cni_bin_dir: PathBuf,
    /// Path of the OCI runtime, and its name as containerd shows it.
    pub oci_runtime: PathBuf,
    /// overlayfs, or native where the data directory cannot hold an overlay.
    pub snapshotter: &'static str,
    /// Whether `oom_score_adj` may not be lowered below our own: CAP_SYS_RESOURCE is missing.
    pub restrict_oom_score_adj: bool,
}

impl Layout {
    /// The socket of containerd, CRI included.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join("config.toml")
    }

    /// The file with the process id.
    pub fn pid_file(&self) -> PathBuf {
        self.dir.join("containerd.pid")
    }

    /// The state directory: bundles, fifos, root filesystems of what runs.
    pub fn state_dir(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// The text of `config.toml`. Version 2, which containerd 1.6 to 2.x read.
    pub fn config(&self) -> String {
        const CRI: &str = "plugins.\"io.containerd.grpc.v1.cri\"";
        let mut out = String::new();
        // Plugins that cost memory or wake up by themselves and that nothing here uses.
        let unused = [
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.zfs",
            "io.containerd.internal.v1.opt",
            "io.containerd.internal.v1.restart",
            "io.containerd.internal.v1.tracing",
            "io.containerd.tracing.processor.v1.otlp",
        ];
        let unused: Vec<String> = unused.iter().map(|u| format!("\"{u}\"")).collect();
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{text}");
        };
        line(format_args!("version = 2"));
        line(format_args!("root = {}", quoted(&self.dir.join("root"))));
        line(format_args!("state = {}", quoted(&self.state_dir())));
        line(format_args!("disabled_plugins = [{}]", unused.join(", ")));
        line(format_args!("[grpc]\naddress = {}", quoted(&self.socket())));
        line(format_args!("[debug]\nlevel = \"warn\""));
        line(format_args!("[{CRI}]"));
        line(format_args!("sandbox_image = \"{}\"", pause::IMAGE));
        line(format_args!("restrict_oom_score_adj = {}", self.restrict_oom_score_adj));
        line(format_args!("stream_server_address = \"127.0.0.1\"\nstream_server_port = \"0\""));
        line(format_args!("enable_unprivileged_ports = true\nenable_unprivileged_icmp = true"));
        line(format_args!("tolerate_missing_hugetlb_controller = true"));
        // All that is ours lies below our directory, so that removing it leaves nothing.
        line(format_args!("netns_mounts_under_state_dir = true"));
        line(format_args!("stats_collect_period = 60\nmax_container_log_line_size = 16384"));
        line(format_args!("[{CRI}.cni]"));
        line(format_args!("bin_dir = {}", quoted(&self.cni_bin_dir)));
        line(format_args!("conf_dir = {}\nmax_conf_num = 1", quoted(&self.cni_conf_dir)));
        line(format_args!("[{CRI}.containerd]\nsnapshotter = \"{}\"", self.snapshotter));
        line(format_args!("default_runtime_name = \"runc\"\ndiscard_unpacked_layers = false"));
        line(format_args!(
            "[{CRI}.containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\""
        ));
        line(format_args!("[{CRI}.containerd.runtimes.runc.options]"));
        line(format_args!("BinaryName = {}\nSystemdCgroup = false", quoted(&self.oci_runtime)));
        out
    }
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
