//! Ending pods before the node runs out of memory or disk: one at a time, those first that use more
//! than they asked for.
//!
//! The thresholds are upstream's hard ones. Not here: ending a pod (its worker's), removing images
//! (`garbage`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{EventType, Shutdown};
use tokio::time::Instant;

use crate::kubelet::{Kubelet, Message, Snapshot, pod_ref};
use crate::machine::{disk, meminfo};
use crate::pod::config::resources::request;
use crate::pod::observed::keys;
use crate::pod::status::Waiting;
use crate::pod::view::Kind;

/// How often the node is looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How long a pressure is told after it has gone.
const LINGER: Duration = Duration::from_secs(300);
/// Available memory below which pods are ended.
pub const MEMORY: i64 = 100 << 20;

/// What the node is short of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Memory.
    pub memory: bool,
    /// Disk space or inodes.
    pub disk: bool,
}

/// What is short, with the words for it.
struct Shortage {
    resource: &'static str,
    threshold: String,
    available: String,
}

fn shortages(kubelet: &Kubelet) -> (Option<Shortage>, Option<Shortage>) {
    let available = meminfo("MemAvailable");
    let memory = (available < MEMORY).then(|| Shortage {
        resource: "memory",
        threshold: "100Mi".into(),
        available: format!("{}Ki", available / 1024),
    });
    let disk = disk(&kubelet.config.data_dir).and_then(|[total, free, inodes, inodes_free]| {
        if free.saturating_mul(10) < total {
            let (threshold, available) = ((total / 10).to_string(), format!("{}Ki", free / 1024));
            Some(Shortage { resource: "ephemeral-storage", threshold, available })
        } else if inodes > 0 && inodes_free.saturating_mul(20) < inodes {
            let (threshold, available) = ((inodes / 20).to_string(), inodes_free.to_string());
            Some(Shortage { resource: "inodes", threshold, available })
        } else {
            None
        }
    });
    (memory, disk)
}

/// Looks after the node until shutdown.
pub async fn run(kubelet: Arc<Kubelet>, shutdown: Shutdown) {
    let mut last: [Option<Instant>; 2] = [None, None];
    loop {
        let (memory, disk) = shortages(&kubelet);
        let now = Instant::now();
        for (last, short) in last.iter_mut().zip([memory.is_some(), disk.is_some()]) {
            if short {
                *last = Some(now);
            }
        }
        let recent = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < LINGER);
        let pressure = Pressure { memory: recent(last[0]), disk: recent(last[1]) };
        *kubelet.pressure.lock() = pressure;
        if let Some(shortage) = memory.or(disk) {
            evict_one(&kubelet, &shortage).await;
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
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
    let stats = kubelet.cri.container_stats().await.unwrap_or_default();
    let mut used: HashMap<String, i64> = HashMap::new();
    for s in &stats {
        let uid = s.attributes.as_ref().and_then(|a| a.labels.get(keys::POD_UID));
        let amount = if shortage.resource == "memory" {
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
        "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
        shortage.resource, shortage.threshold, shortage.available
    );
    tracing::warn!(pod = %victim.pod.key(), message, "evicting a pod");
    kubelet.recorder.event(&pod_ref(&victim.pod), EventType::Warning, "Evicted", message.clone());
    kubelet.tell(victim.pod.uid(), Message::Evict(Waiting { reason: "Evicted".into(), message }));
}

#[cfg(test)]
mod tests {
    use super::*;

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
