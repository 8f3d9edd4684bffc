//! What this machine has: processors, memory, disk, kernel, identity.
//!
//! Not here: how the node object shows it ([`crate::registration`]).

use std::path::Path;

use crate::eviction::{Signal, Thresholds};

/// What pods may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a processor.
    pub cpu_milli: i64,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of disk.
    pub storage: i64,
}

/// Facts that do not change while the machine runs.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Everything there is.
    pub capacity: Amounts,
    /// Huge pages by size, as in `2Mi`: bytes.
    pub hugepages: Vec<(String, i64)>,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// The DMI product's UUID, or the machine id.
    pub system_uuid: String,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// As `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// As Go names it: `amd64`.
    pub architecture: &'static str,
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).map(|t| t.trim().to_owned()).unwrap_or_default()
}

/// How a Go program names this processor.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Bytes of `key` in /proc/meminfo.
pub fn meminfo(key: &str) -> i64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    value.and_then(|v| v.split_whitespace().next()?.parse::<i64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Total and available bytes, and total and free inodes, of the filesystem that holds `path`.
pub fn disk(path: &Path) -> Option<[u64; 4]> {
    let path = path.ancestors().find(|p| p.exists())?;
    let fs = rustix::fs::statvfs(path).ok()?;
    Some([fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize, fs.f_files, fs.f_ffree])
}

/// Processes (threads) there are, and how many there may be.
pub fn pids() -> Option<[u64; 2]> {
    let load = line("/proc/loadavg");
    let used = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    let most = ["pid_max", "threads-max"]
        .into_iter()
        .filter_map(|name| line(&format!("/proc/sys/kernel/{name}")).parse().ok())
        .min()?;
    Some([used, most])
}

fn hugepages() -> Vec<(String, i64)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name.strip_prefix("hugepages-").and_then(|s| s.strip_suffix("kB"));
        let Some(kib) = size.and_then(|s| s.parse::<i64>().ok()) else { continue };
        let pages: i64 =
            line(&entry.path().join("nr_hugepages").display().to_string()).parse().unwrap_or(0);
        let text = match kib {
            k if k >= 1 << 20 => format!("{}Gi", k >> 20),
            k if k >= 1 << 10 => format!("{}Mi", k >> 10),
            k => format!("{k}Ki"),
        };
        out.push((text, pages * kib * 1024));
    }
    out.sort();
    out
}

impl Machine {
    /// Looks at this machine; `root` is on the disk that pods use.
    pub fn detect(root: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let os_image = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
        let machine_id = line("/etc/machine-id");
        let uuid = line("/sys/class/dmi/id/product_uuid");
        let storage = disk(root).map_or(0, |d| i64::try_from(d[0]).unwrap_or(i64::MAX));
        Self {
            capacity: Amounts {
                cpu_milli: i64::try_from(cpus).unwrap_or(1) * 1000,
                memory: meminfo("MemTotal"),
                storage,
            },
            hugepages: hugepages(),
            system_uuid: if uuid.is_empty() { machine_id.clone() } else { uuid.to_lowercase() },
            machine_id,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: os_image.unwrap_or("Linux").trim_matches('"').to_owned(),
            architecture: architecture(),
        }
    }

    /// What pods may use of it: what the eviction thresholds keep free is not theirs.
    pub fn allocatable(&self, thresholds: &Thresholds) -> Amounts {
        let c = self.capacity;
        let left = |capacity: i64, signal| {
            let all = u64::try_from(capacity).unwrap_or(0);
            let kept = all.saturating_sub(thresholds.reserved(signal, all));
            i64::try_from(kept).unwrap_or(i64::MAX)
        };
        Amounts {
            cpu_milli: c.cpu_milli,
            memory: left(c.memory, Signal::Memory),
            storage: left(c.storage, Signal::NodeDisk),
        }
    }
}
