//! Takes everything away that a node's pods and its own containerd left on the machine: processes,
//! mounts, network namespaces, cgroups, logs.
//!
//! For removal only: pods are not ended gracefully here. Not here: links and rules of the network
//! (the `network` crate), or the data directory itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::config::Config;

/// How long processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where libcni, in containerd, keeps what plugins answered; of no use without the sandboxes.
const CNI_CACHE: &str = "/var/lib/cni";

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Processes that survive SIGKILL wait for the kernel.
    #[error("processes {0:?} do not end; they hold what is to be removed")]
    Processes(Vec<u32>),
    /// A mount that stays.
    #[error("cannot unmount {0}: {1}")]
    Mount(PathBuf, io::Error),
}

/// Removes it all. Safe to repeat, and safe where nothing is left.
pub fn remove(config: &Config) -> Result<(), CleanupError> {
    let containerd = config.data_dir.join("containerd");
    let namespaces = network_namespaces(&containerd);
    let pods = pod_uids(&config.kubelet_dir());
    let containers = container_ids(&containerd);
    stop_processes(&containerd)?;
    for namespace in &namespaces {
        detach(namespace)?;
        // The file that the namespace was bound to.
        let _ = std::fs::remove_file(namespace);
    }
    for point in mounts_below(&config.data_dir) {
        detach(&point)?;
    }
    remove_cgroups(config.runtime.cgroup_root.trim_start_matches('/'));
    remove_logs(config, &pods, &containers);
    remove_results(Path::new(CNI_CACHE), &containers);
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bundle {
    linux: BundleLinux,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BundleLinux {
    namespaces: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: PathBuf,
}

/// The network namespaces that our containerd's sandboxes run in, by their bundles.
fn network_namespaces(containerd: &Path) -> HashSet<PathBuf> {
    let bundles = containerd.join("state/io.containerd.runtime.v2.task/k8s.io");
    let mut out = HashSet::new();
    for bundle in entries(&bundles) {
        let Ok(text) = std::fs::read(bundle.join("config.json")) else { continue };
        let bundle: Bundle = serde_json::from_slice(&text).unwrap_or_default();
        let named = bundle.linux.namespaces.into_iter().filter(|n| n.kind == "network");
        // A pod of the host's network has the namespace of a process, which is not ours to remove.
        out.extend(named.map(|n| n.path).filter(|p| p.to_string_lossy().contains("/netns/")));
    }
    out
}

/// The sandboxes and containers, ended ones as well, that our containerd knows.
fn container_ids(containerd: &Path) -> HashSet<String> {
    let store = containerd.join("root/io.containerd.grpc.v1.cri");
    let known = ["sandboxes", "containers"].into_iter().flat_map(|d| entries(&store.join(d)));
    known.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect()
}

fn pod_uids(kubelet: &Path) -> HashSet<String> {
    let names = entries(&kubelet.join("pods")).into_iter();
    names.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(dir).into_iter().flatten();
    read.filter_map(|e| Some(e.ok()?.path())).collect()
}

/// Every process: its parent, and its command line.
fn processes() -> HashMap<u32, (u32, String)> {
    let mut out = HashMap::new();
    for path in entries(Path::new("/proc")) {
        let Some(pid) = path.file_name().and_then(|n| n.to_str()?.parse().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let mut fields = stat.rsplit(')').next().unwrap_or("").split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|p| p.parse().ok()));
        if state == Some("Z") {
            continue;
        }
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        out.insert(pid, (parent.unwrap_or(0), command));
    }
    out
}

/// containerd, its shims, and all below them.
fn ours(containerd: &Path) -> Vec<u32> {
    let all = processes();
    let mark = format!("{}/", containerd.display());
    let own = std::process::id();
    let mut found: Vec<u32> = all
        .iter()
        .filter(|(pid, (_, command))| {
            let program = command.split(' ').next().unwrap_or("").rsplit('/').next().unwrap_or("");
            program.starts_with("containerd") && command.contains(&mark) && **pid != own
        })
        .map(|(pid, _)| *pid)
        .collect();
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        let children = all.iter().filter(|(_, (p, _))| *p == parent).map(|(pid, _)| *pid);
        found.extend(children.filter(|c| *c != own).collect::<Vec<_>>());
        at += 1;
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn stop_processes(containerd: &Path) -> Result<(), CleanupError> {
    let started = Instant::now();
    loop {
        let left = ours(containerd);
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(CleanupError::Processes(left));
        }
        for pid in left {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // Gone meanwhile is as good.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        // Processes end on their own time; there is no event for those that are not our children.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Mount points below a directory, the innermost first.
fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|l| l.split(' ').nth(4)).map(unescape);
    let mut found: Vec<PathBuf> =
        points.map(PathBuf::from).filter(|p| p.starts_with(dir) && p != dir).collect();
    found.reverse();
    found
}

/// Blanks and the like are octal in `mountinfo`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn detach(point: &Path) -> Result<(), CleanupError> {
    match unmount(point, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(CleanupError::Mount(point.to_owned(), error.into())),
    }
}

/// Removes the pods' cgroups in every hierarchy; those that still hold processes of others stay.
fn remove_cgroups(root: &str) {
    for hierarchy in entries(Path::new("/sys/fs/cgroup"))
        .iter()
        .map(PathBuf::as_path)
        .chain([Path::new("/sys/fs/cgroup")])
    {
        let top = hierarchy.join(root);
        if !root.is_empty() && top.is_dir() {
            remove_tree(&top);
        }
    }
}

fn remove_tree(dir: &Path) {
    for child in entries(dir) {
        if child.is_dir() && !child.is_symlink() {
            remove_tree(&child);
        }
    }
    let _ = std::fs::remove_dir(dir);
}

/// A pod's logs outlive its directory when it has ended: those are found by its containers' links.
fn remove_logs(config: &Config, pods: &HashSet<String>, containers: &HashSet<String>) {
    let links = || config.runtime.container_logs.iter().flat_map(|d| entries(d));
    for link in links() {
        let name = link.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let ours = name.rsplit('-').next().is_some_and(|id| containers.contains(id));
        let target = std::fs::read_link(&link).unwrap_or_default();
        if let Some(dir) = target.ancestors().nth(2)
            && ours
            && dir.parent() == Some(&config.runtime.pod_logs)
        {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
    for dir in entries(&config.runtime.pod_logs) {
        let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.rsplit('_').next().is_some_and(|uid| pods.contains(uid)) {
            let _ = std::fs::remove_dir_all(&dir);
        }
    }
    for link in links() {
        let dangling = link.is_symlink() && !link.exists();
        if dangling
            && std::fs::read_link(&link).is_ok_and(|to| to.starts_with(&config.runtime.pod_logs))
        {
            let _ = std::fs::remove_file(&link);
        }
    }
    for dir in [Some(&config.runtime.pod_logs), config.runtime.container_logs.as_ref()]
        .into_iter()
        .flatten()
    {
        // Only where nothing else is in it.
        let _ = std::fs::remove_dir(dir);
    }
}

/// Removes libcni's files of our containers, named `NETWORK-CONTAINER-INTERFACE`.
fn remove_results(cache: &Path, containers: &HashSet<String>) {
    let results = cache.join("results");
    for file in entries(&results) {
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.rsplit('-').nth(1).is_some_and(|id| containers.contains(id)) {
            let _ = std::fs::remove_file(&file);
        }
    }
    // Only where nothing else is in it.
    let _ = std::fs::remove_dir(&results).and_then(|()| std::fs::remove_dir(cache));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_others_stay() {
        let cache = tempfile::tempdir().expect("a directory");
        let results = cache.path().join("results");
        std::fs::create_dir(&results).expect("made");
        for name in ["isopod-aa-eth0", "cni-loopback-aa-lo", "cni-loopback-bb-lo"] {
            std::fs::write(results.join(name), "{}").expect("written");
        }
        remove_results(cache.path(), &HashSet::from(["aa".to_owned()]));
        assert_eq!(entries(&results), [results.join("cni-loopback-bb-lo")]);
        remove_results(cache.path(), &HashSet::from(["bb".to_owned()]));
        assert!(!cache.path().exists());
    }

    #[test]
    fn mount_points_are_read_as_written() {
        assert_eq!(unescape("/a\\040b"), "/a b");
    }

    #[test]
    fn nothing_left_is_no_fault() {
        let dir = std::env::temp_dir().join("isopod-nothing-here");
        let mut config = Config::new("n", dir);
        // Not the machine's own: this test removes nothing.
        config.runtime.cgroup_root = "/isopod-nothing-here".into();
        config.runtime.pod_logs = "/isopod-nothing-here".into();
        config.runtime.container_logs = None;
        remove(&config).expect("nothing to remove");
    }
}
