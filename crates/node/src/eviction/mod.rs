//! Ending pods before the node runs out of memory, disk or process ids: what nobody uses goes first,
//! then pods, one at a time, those first that use more than they asked for.
//!
//! Not here: the thresholds' form (`thresholds`), ending a pod (its worker's), removing images and
//! dead containers (`garbage`).

mod thresholds;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{EventType, Shutdown};
use tokio::time::Instant;

pub use self::thresholds::{Condition, Least, Signal, Thresholds};
use crate::garbage;
use crate::kubelet::{Kubelet, Message, Snapshot, pod_ref};
use crate::machine::{disk, meminfo, pids};
use crate::pod::config::resources::request;
use crate::pod::observed::keys;
use crate::pod::status::Waiting;
use crate::pod::view::Kind;

/// How often the node is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How long a pressure is told after it has gone.
const LINGER: Duration = Duration::from_secs(300);

/// What the node is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure([bool; Condition::ALL.len()]);

impl Pressure {
    /// Whether the node is short of what the condition is about.
    pub const fn has(self, condition: Condition) -> bool {
        self.0[condition as usize]
    }
}

/// What is short, by how much.
struct Shortage {
    signal: Signal,
    threshold: Least,
    available: u64,
}

/// What is available of each signal and how much there is in all.
async fn observe(kubelet: &Kubelet) -> Vec<(Signal, u64, u64)> {
    let memory = |key| u64::try_from(meminfo(key)).unwrap_or(0);
    let mut seen = vec![(Signal::Memory, memory("MemAvailable"), memory("MemTotal"))];
    let disks = [
        (kubelet.config.data_dir.clone(), Signal::NodeDisk, Signal::NodeInodes),
        (garbage::disk_of_images(kubelet).await, Signal::ImageDisk, Signal::ImageInodes),
    ];
    for (path, bytes, files) in disks {
        let Some([total, free, inodes, inodes_free]) = disk(&path) else { continue };
        seen.push((bytes, free, total));
        // Some filesystems do not count inodes.
        if inodes > 0 {
            seen.push((files, inodes_free, inodes));
        }
    }
    seen.extend(pids().map(|[used, most]| (Signal::Pids, most.saturating_sub(used), most)));
    seen
}

/// What of `seen` is below its threshold.
fn shortages(thresholds: &Thresholds, seen: &[(Signal, u64, u64)]) -> Vec<Shortage> {
    let short = thresholds.iter().filter_map(|(signal, threshold)| {
        let (_, available, capacity) = *seen.iter().find(|(s, ..)| *s == signal)?;
        let short = available < threshold.of(capacity);
        short.then_some(Shortage { signal, threshold, available })
    });
    short.collect()
}

/// Looks after the node until shutdown.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: Shutdown) {
    let mut last: [Option<Instant>; Condition::ALL.len()] = Default::default();
    let thresholds = &kubelet.config.limits.eviction_hard;
    loop {
        let mut short = shortages(thresholds, &observe(&kubelet).await);
        let now = Instant::now();
        for shortage in &short {
            last[shortage.signal.condition() as usize] = Some(now);
        }
        let recent = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < LINGER);
        let pressure = Pressure(last.map(recent));
        let before = std::mem::replace(&mut *kubelet.pressure.lock(), pressure);
        tell(before, pressure, &short);
        if short.iter().any(|s| s.signal.condition() == Condition::Disk) {
            garbage::reclaim(&kubelet).await;
            short = shortages(thresholds, &observe(&kubelet).await);
        }
        if let Some(shortage) = short.iter().min_by_key(|s| s.signal) {
            evict_one(&kubelet, shortage).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Logs what has become short, and what is so no more.
fn tell(before: Pressure, now: Pressure, short: &[Shortage]) {
    for condition in Condition::ALL {
        let name = condition.name();
        match (before.has(condition), now.has(condition)) {
            (false, true) => {
                for s in short.iter().filter(|s| s.signal.condition() == condition) {
                    tracing::warn!(
                        signal = s.signal.name(),
                        available = s.signal.print(s.available),
                        threshold = %s.threshold,
                        "the node is under {name}: it takes no pods and may end some"
                    );
                }
            }
            (true, false) => tracing::info!("the node is no longer under {name}"),
            _ => {}
        }
    }
}

/// What pods are ordered by: those above their requests first, then the least important, then those
/// furthest above.
fn rank(requested: i64, used: i64, priority: i32) -> (bool, i32, i64) {
    (used <= requested, priority, requested - used)
}

fn memory_request(snapshot: &Snapshot) -> i64 {
    let list = snapshot.pod.containers(Kind::Regular).iter();
    list.filter_map(|c| request(c, "memory")).map(api::quantity::Quantity::value).sum()
}

async fn evict_one(kubelet: &Kubelet, shortage: &Shortage) {
    let resource = shortage.signal.resource();
    let stats = kubelet.cri.container_stats().await.unwrap_or_default();
    let mut used: HashMap<String, i64> = HashMap::new();
    for s in &stats {
        let uid = s.attributes.as_ref().and_then(|a| a.labels.get(keys::POD_UID));
        let amount = if shortage.signal == Signal::Memory {
            s.memory.as_ref().and_then(|m| m.working_set_bytes.as_ref())
        } else {
            s.writable_layer.as_ref().and_then(|w| w.used_bytes.as_ref())
        };
        if let (Some(uid), Some(amount)) = (uid, amount) {
            *used.entry(uid.clone()).or_default() +=
                i64::try_from(amount.value).unwrap_or(i64::MAX);
        }
    }
    let of = |s: &Snapshot| used.get(s.pod.uid()).copied().unwrap_or(0);
    let victim = kubelet
        .snapshots()
        .into_iter()
        // Those without which the node does not work stay.
        .filter(|s| s.pod.spec.priority.unwrap_or(0) < 2_000_001_000)
        .filter(|s| !s.pod.is_deleting() && !s.pod.is_finished() && s.observed.anything_runs())
        .min_by_key(|s| rank(memory_request(s), of(s), s.pod.spec.priority.unwrap_or(0)));
    let Some(victim) = victim else { return };
    let message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        shortage.threshold,
        shortage.signal.print(shortage.available)
    );
    tracing::warn!(pod = %victim.pod.key(), message, "evicting a pod");
    kubelet.recorder.event(&pod_ref(&victim.pod), EventType::Warning, "Evicted", message.clone());
    kubelet.tell(victim.pod.uid(), Message::Evict(Waiting { reason: "Evicted".into(), message }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_its_threshold_is_short() {
        let thresholds = "memory.available<1Mi,nodefs.available<10%,imagefs.available<15%";
        let thresholds: Thresholds = thresholds.parse().expect("thresholds");
        let short = |seen: &[_]| {
            let short = shortages(&thresholds, seen);
            short.iter().map(|s| (s.signal, s.available)).collect::<Vec<_>>()
        };
        let plenty = [(Signal::Memory, 1 << 20, 1 << 30), (Signal::NodeDisk, 10, 100)];
        assert_eq!(short(&plenty), []);
        let full =
            [(Signal::NodeDisk, 12, 100), (Signal::ImageDisk, 12, 100), (Signal::Pids, 0, 9)];
        assert_eq!(short(&full), [(Signal::ImageDisk, 12)], "pids have no threshold");
        let little = [(Signal::Memory, (1 << 20) - 1, 1 << 30), (Signal::NodeDisk, 9, 100)];
        assert_eq!(short(&little), [(Signal::Memory, (1 << 20) - 1), (Signal::NodeDisk, 9)]);
    }

    #[test]
    fn the_greedy_and_unimportant_go_first() {
        let mut pods = [
            ("modest", rank(100, 50, 0)),
            ("important", rank(0, 500, 1000)),
            ("greedy", rank(100, 500, 0)),
            ("greedier", rank(100, 900, 0)),
        ];
        pods.sort_by_key(|(_, r)| *r);
        assert_eq!(pods.map(|(n, _)| n), ["greedier", "greedy", "important", "modest"]);
    }
}
