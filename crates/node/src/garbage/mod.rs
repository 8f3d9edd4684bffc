//! Keeping the node tidy: logs rotated, dead containers and unused images removed.
//!
//! One slow round each; nothing here is on a pod's path. Not here: ending pods (`eviction`), or what
//! is left of pods that are gone (`run`).

mod images;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::Shutdown;

pub use self::images::{Ages, disk_of_images, reclaim};
use crate::cri::ReopenContainerLogRequest;
use crate::kubelet::Kubelet;
use crate::pod::observed::State;
use crate::pod::view::Kind;

/// How often logs are looked at.
const LOGS: Duration = Duration::from_secs(10);
/// How often dead containers are.
const CONTAINERS: Duration = Duration::from_secs(60);
/// How often the disk is.
const IMAGES: Duration = Duration::from_secs(300);
/// Dead containers kept of each name.
const KEPT: usize = 1;

/// Tidies up until shutdown.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: Shutdown) {
    let mut logs = tokio::time::interval(LOGS);
    let mut containers = tokio::time::interval(CONTAINERS);
    let mut images = tokio::time::interval(IMAGES);
    for interval in [&mut logs, &mut containers, &mut images] {
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval.reset();
    }
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = logs.tick() => rotate_logs(&kubelet).await,
            _ = containers.tick() => {
                remove_containers(&kubelet).await;
                remove_sandboxes(&kubelet).await;
                kubelet.images.sweep();
            }
            _ = images.tick() => images::relieve(&kubelet).await,
        }
    }
}

/// Rotates the logs of running containers that have grown too large.
async fn rotate_logs(kubelet: &Kubelet) {
    let limits = &kubelet.config.limits;
    for snapshot in kubelet.snapshots() {
        for c in snapshot.observed.containers.iter().filter(|c| c.state == State::Running) {
            let path = PathBuf::from(&c.log_path);
            if std::fs::metadata(&path).map_or(0, |m| m.len()) < limits.log_size {
                continue;
            }
            let stamp = kubelet.clock.now().strftime("%Y%m%d-%H%M%S").to_string();
            let result = async {
                let (from, files) = (path.clone(), limits.log_files);
                let work = tokio::task::spawn_blocking(move || rotate(&from, &stamp, files));
                let rotated = work.await.map_err(io::Error::other)??;
                let request = ReopenContainerLogRequest { container_id: c.id.clone() };
                if let Err(e) = kubelet.cri.reopen_container_log(request).await {
                    // The runtime writes on into the file: it gets its name back.
                    std::fs::rename(&rotated, &path)?;
                    return Err(io::Error::other(e.to_string()));
                }
                Ok(())
            };
            if let Err(error) = result.await {
                tracing::warn!(pod = %snapshot.pod.key(), container = c.name, %error, "a log is not rotated");
            }
        }
    }
}

/// Moves a log out of the way, compresses the one before it, and removes the oldest; answers the new
/// name. Of `files`, one is the log itself.
fn rotate(path: &Path, stamp: &str, files: usize) -> io::Result<PathBuf> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let dir = path.parent().unwrap_or(path);
    let mut old: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}.")))
        })
        .collect();
    old.sort();
    // The log itself and the one that is made now are two of them.
    let keep = files.saturating_sub(2);
    for gone in old.drain(..old.len().saturating_sub(keep)) {
        std::fs::remove_file(gone)?;
    }
    for plain in old.iter().filter(|p| p.extension().is_none_or(|e| e != "gz")) {
        compress(plain)?;
    }
    let rotated = dir.join(format!("{name}.{stamp}"));
    std::fs::rename(path, &rotated)?;
    Ok(rotated)
}

fn compress(path: &Path) -> io::Result<()> {
    let mut target = path.as_os_str().to_owned();
    target.push(".gz");
    let mut pending = path.as_os_str().to_owned();
    pending.push(".tmp");
    let out = std::fs::File::create(&pending)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    io::copy(&mut std::fs::File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    std::fs::rename(&pending, &target)?;
    std::fs::remove_file(path)
}

/// Removes dead containers that have been followed by others of their name.
async fn remove_containers(kubelet: &Kubelet) {
    for snapshot in kubelet.snapshots() {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let newest: HashSet<&str> = snapshot
            .pod
            .all_containers()
            .filter_map(|(_, c)| snapshot.observed.latest(&c.name).map(|c| c.id.as_str()))
            .collect();
        for c in &snapshot.observed.containers {
            if c.state != State::Exited || newest.contains(c.id.as_str()) {
                continue;
            }
            let count = counts.entry(&c.name).or_default();
            *count += 1;
            if *count <= KEPT {
                continue;
            }
            if let Err(error) = kubelet.cri.delete_container(&c.id).await {
                tracing::warn!(pod = %snapshot.pod.key(), container = c.name, %error, "a dead container is not removed");
                continue;
            }
            let _ = std::fs::remove_file(&c.log_path);
            if let Some(dir) = &kubelet.config.runtime.container_logs {
                let link = crate::pod::start::link_name(&snapshot.pod, &c.name, &c.id);
                let _ = std::fs::remove_file(dir.join(link));
            }
            kubelet.tell(snapshot.pod.uid(), crate::kubelet::Message::Changed(c.id.clone()));
        }
    }
}

/// Removes dead sandboxes that another has replaced, once every container runs in that one.
async fn remove_sandboxes(kubelet: &Kubelet) {
    for snapshot in kubelet.snapshots() {
        let observed = &snapshot.observed;
        let Some(newest) = observed.sandbox().filter(|s| s.ready) else { continue };
        let moved =
            snapshot.pod.containers(Kind::Regular).iter().all(|c| {
                observed.latest(&c.name).is_some_and(|c| c.created_at > newest.created_at)
            });
        if !moved || observed.sandboxes.len() < 2 {
            continue;
        }
        for old in observed.sandboxes[1..].iter().filter(|s| !s.ready) {
            if let Err(error) = kubelet.cri.remove_sandbox(&old.id).await {
                tracing::warn!(pod = %snapshot.pod.key(), %error, "a dead sandbox is not removed");
            }
            kubelet.owners.lock().remove(&old.id);
        }
        kubelet.tell(snapshot.pod.uid(), crate::kubelet::Message::Relist);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_rotate_compress_and_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        for round in 0..5 {
            std::fs::write(&path, format!("round {round}\n")).expect("written");
            rotate(&path, &format!("20260101-00000{round}"), 4).expect("rotated");
        }
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .expect("readable")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let wanted =
            ["0.log.20260101-000002.gz", "0.log.20260101-000003.gz", "0.log.20260101-000004"];
        assert_eq!(names, wanted, "three beside the log itself");
    }
}
