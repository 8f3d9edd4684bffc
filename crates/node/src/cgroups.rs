//! The cgroups of the node's pods: one tree, a branch for each QoS class, a leaf for each pod; the
//! runtime puts containers below the leaves. Version 2 and version 1.
//!
//! Not here: what figures to set ([`crate::pod::config::resources`]).

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::pod::config::resources::{PodLimits, Qos, pod_cpu_request, pod_limits, shares, weight};
use crate::pod::view::PodView;

const MOUNT: &str = "/sys/fs/cgroup";
const CGROUP2_MAGIC: u32 = 0x6367_7270;
/// Controllers of version 2 that pods need.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// The node's pod cgroups.
pub struct Cgroups {
    /// As in `/kubepods`.
    root: String,
    /// The mount points: one for version 2; for version 1 by controller.
    hierarchies: Hierarchies,
    /// CPU requests of burstable pods by uid, whose sum is their branch's share.
    burstable: Mutex<HashMap<String, i64>>,
}

enum Hierarchies {
    V2(PathBuf),
    V1(HashMap<String, PathBuf>),
}

/// Whether this machine's cgroups are version 2 alone.
pub fn is_v2() -> bool {
    #[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation)]
    rustix::fs::statfs(MOUNT).is_ok_and(|s| s.f_type as u32 == CGROUP2_MAGIC)
}

fn v1_mounts() -> HashMap<String, PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut out = HashMap::new();
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - cgroup ") else { continue };
        let Some(point) = left.split(' ').nth(4) else { continue };
        let options = right.split(' ').next_back().unwrap_or("");
        for option in options.split(',') {
            out.entry(option.to_owned()).or_insert_with(|| PathBuf::from(point));
        }
    }
    // Mount options that are not controllers.
    for other in ["rw", "ro", "none", "xattr", "clone_children", "noprefix"] {
        out.remove(other);
    }
    out
}

impl Cgroups {
    /// Finds the hierarchies of this machine.
    pub fn new(root: &str) -> Self {
        let hierarchies =
            if is_v2() { Hierarchies::V2(MOUNT.into()) } else { Hierarchies::V1(v1_mounts()) };
        Self {
            root: root.trim_end_matches('/').to_owned(),
            hierarchies,
            burstable: Mutex::default(),
        }
    }

    /// Whether they are version 2.
    pub fn v2(&self) -> bool {
        matches!(self.hierarchies, Hierarchies::V2(_))
    }

    fn branch(&self, qos: Qos) -> String {
        match qos {
            Qos::Guaranteed => self.root.clone(),
            Qos::Burstable => format!("{}/burstable", self.root),
            Qos::BestEffort => format!("{}/besteffort", self.root),
        }
    }

    /// The path of a pod's cgroup, as the runtime is told it.
    pub fn pod_path(&self, uid: &str, qos: Qos) -> String {
        format!("{}/pod{uid}", self.branch(qos))
    }

    /// Makes a pod's cgroup with its limits and answers its path.
    pub fn ensure(&self, pod: &PodView) -> io::Result<String> {
        let qos = Qos::of(pod);
        let path = self.pod_path(pod.uid(), qos);
        if qos == Qos::Burstable {
            let sum = {
                let mut burstable = self.burstable.lock();
                burstable.insert(pod.uid().to_owned(), pod_cpu_request(pod));
                burstable.values().sum()
            };
            self.make(&self.branch(qos))?;
            self.set_cpu(&self.branch(qos), shares(sum));
        } else if qos == Qos::BestEffort {
            self.make(&self.branch(qos))?;
            self.set_cpu(&self.branch(qos), shares(0));
        }
        self.make(&path)?;
        self.set(&path, &pod_limits(pod));
        Ok(path)
    }

    /// Every directory of a cgroup: one with version 2, one per hierarchy with version 1.
    fn dirs(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        match &self.hierarchies {
            Hierarchies::V2(mount) => vec![mount.join(path)],
            Hierarchies::V1(mounts) => {
                let mut dirs: Vec<PathBuf> = mounts.values().map(|m| m.join(path)).collect();
                dirs.sort();
                dirs.dedup();
                dirs
            }
        }
    }

    fn make(&self, path: &str) -> io::Result<()> {
        match &self.hierarchies {
            Hierarchies::V2(mount) => {
                let mut at = mount.clone();
                for part in path.split('/').filter(|p| !p.is_empty()) {
                    for controller in CONTROLLERS {
                        // One that this kernel does not have is done without.
                        let _ = std::fs::write(
                            at.join("cgroup.subtree_control"),
                            format!("+{controller}"),
                        );
                    }
                    at.push(part);
                    make_dir(&at)?;
                }
                Ok(())
            }
            Hierarchies::V1(mounts) => {
                // The others the runtime makes as it needs them.
                for controller in ["cpu", "memory", "pids"] {
                    if let Some(mount) = mounts.get(controller) {
                        std::fs::create_dir_all(mount.join(path.trim_start_matches('/')))?;
                    }
                }
                Ok(())
            }
        }
    }

    fn write(&self, path: &str, controller: &str, file: &str, value: &str) {
        let path = path.trim_start_matches('/');
        let dir = match &self.hierarchies {
            Hierarchies::V2(mount) => mount.join(path),
            Hierarchies::V1(mounts) => match mounts.get(controller) {
                Some(mount) => mount.join(path),
                None => return,
            },
        };
        if let Err(error) = std::fs::write(dir.join(file), value) {
            tracing::debug!(path, file, value, %error, "a cgroup figure cannot be set");
        }
    }

    fn set_cpu(&self, path: &str, shares: i64) {
        if self.v2() {
            self.write(path, "cpu", "cpu.weight", &weight(shares).to_string());
        } else {
            self.write(path, "cpu", "cpu.shares", &shares.to_string());
        }
    }

    fn set(&self, path: &str, limits: &PodLimits) {
        self.set_cpu(path, limits.cpu_shares);
        if self.v2() {
            let quota = limits.cpu_quota.map_or("max".to_owned(), |q| q.to_string());
            self.write(path, "cpu", "cpu.max", &format!("{quota} 100000"));
            let memory = limits.memory.map_or("max".to_owned(), |m| m.to_string());
            self.write(path, "memory", "memory.max", &memory);
        } else {
            self.write(path, "cpu", "cpu.cfs_period_us", "100000");
            self.write(
                path,
                "cpu",
                "cpu.cfs_quota_us",
                &limits.cpu_quota.unwrap_or(-1).to_string(),
            );
            self.write(
                path,
                "memory",
                "memory.limit_in_bytes",
                &limits.memory.unwrap_or(-1).to_string(),
            );
        }
    }

    /// Removes a pod's cgroup, whatever its class was. What still holds processes stays.
    pub fn remove(&self, uid: &str) {
        self.burstable.lock().remove(uid);
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            for dir in self.dirs(&self.pod_path(uid, qos)) {
                remove_tree(&dir);
            }
        }
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match std::fs::create_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn remove_tree(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}
