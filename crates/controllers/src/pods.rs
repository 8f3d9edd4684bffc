//! Pods as controllers see them: a lean projection, decoded once a revision, and what can be said of
//! it (active, ready, available, which to delete first).
//!
//! Not here: pod templates.

use std::collections::HashMap;
use std::sync::Arc;

use api::Entry;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::condition::{Condition, find};
use crate::meta::Meta;

/// What controllers read of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub node_name: String,
    pub hostname: String,
    pub subdomain: String,
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub tolerations: Vec<api::Value>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    pub ports: Vec<ContainerPort>,
    pub restart_policy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    pub name: String,
    pub container_port: i64,
    pub protocol: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    pub reason: String,
    pub conditions: Vec<Condition>,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    #[serde(rename = "podIPs")]
    pub pod_ips: Vec<PodIp>,
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodIp {
    pub ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    pub restart_count: i64,
}

impl Pod {
    /// Whether it has ended for good.
    pub fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it counts as a replica.
    pub fn is_active(&self) -> bool {
        !self.is_terminal() && !self.metadata.is_deleting()
    }

    pub fn is_ready(&self) -> bool {
        find(&self.status.conditions, "Ready").is_some_and(Condition::is_true)
    }

    /// Since when it is ready.
    pub fn ready_since(&self) -> Option<Timestamp> {
        let ready = find(&self.status.conditions, "Ready").filter(|c| c.is_true())?;
        ready.last_transition_time.as_deref()?.parse().ok()
    }

    /// How many seconds are missing until it has been ready for long enough; `None` where it is not
    /// ready.
    pub fn seconds_to_available(&self, min_ready: i64, now: Timestamp) -> Option<u64> {
        if !self.is_ready() {
            return None;
        }
        if min_ready <= 0 {
            return Some(0);
        }
        let since = self.ready_since()?;
        let left = since.as_second().saturating_add(min_ready).saturating_sub(now.as_second());
        Some(u64::try_from(left).unwrap_or(0))
    }

    fn restarts(&self) -> i64 {
        self.status.container_statuses.iter().map(|c| c.restart_count).max().unwrap_or(0)
    }

    fn deletion_cost(&self) -> i64 {
        let cost = self.metadata.annotation("controller.kubernetes.io/pod-deletion-cost");
        cost.and_then(|c| c.parse::<i32>().ok()).unwrap_or(0).into()
    }

    fn created(&self) -> Option<Timestamp> {
        self.metadata.creation_timestamp.parse().ok()
    }
}

/// Ages are compared by powers of two, so that pods of about the same age are deleted at random.
fn age_bucket(since: Option<Timestamp>, now: Timestamp) -> u32 {
    let Some(since) = since else { return 0 };
    let age = u64::try_from(now.as_second() - since.as_second()).unwrap_or(0);
    if age == 0 { 0 } else { age.ilog2() + 1 }
}

/// Sorts pods so that those to delete first come first; `crowd` tells how many related pods a pod's
/// node has.
pub fn rank_for_deletion(pods: &mut [Arc<Pod>], now: Timestamp, crowd: impl Fn(&Pod) -> usize) {
    use std::cmp::Reverse;
    pods.sort_by_cached_key(|pod| {
        let phase = match pod.status.phase.as_str() {
            "Pending" | "" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        (
            !pod.spec.node_name.is_empty(),
            phase,
            pod.is_ready(),
            pod.deletion_cost(),
            Reverse(crowd(pod)),
            age_bucket(pod.ready_since(), now),
            Reverse(pod.restarts()),
            age_bucket(pod.created(), now),
            pod.metadata.uid.clone(),
        )
    });
}

/// Projections of entries, decoded once a revision and shared.
pub struct Views<T> {
    /// By uid, with the revision they show.
    views: Mutex<ByUid<T>>,
}

type ByUid<T> = HashMap<Box<str>, (u64, Arc<T>)>;

impl<T> Default for Views<T> {
    fn default() -> Self {
        Self { views: Mutex::default() }
    }
}

impl<T: DeserializeOwned> Views<T> {
    /// The projection of an entry.
    pub fn of(&self, entry: &Entry) -> Result<Arc<T>, serde_json::Error> {
        if let Some((revision, view)) = self.views.lock().get(&entry.card.uid)
            && *revision == entry.revision
        {
            return Ok(view.clone());
        }
        let view: Arc<T> = Arc::new(entry.decode()?);
        self.views.lock().insert(entry.card.uid.clone(), (entry.revision, view.clone()));
        Ok(view)
    }

    /// The projections of entries; one that cannot be read is left out, with a line in the log.
    pub fn all<'a>(&self, entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> Vec<Arc<T>> {
        let read = |entry: &Arc<Entry>| match self.of(entry) {
            Ok(view) => Some(view),
            Err(error) => {
                tracing::warn!(object = %entry.card.name, "cannot read object: {error}");
                None
            }
        };
        entries.into_iter().filter_map(read).collect()
    }

    /// Drops the projection of an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.views.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, ready_since: Option<&str>, cost: &str) -> Arc<Pod> {
        let conditions = ready_since
            .map(|t| json!([{"type": "Ready", "status": "True", "lastTransitionTime": t}]));
        let pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z",
                "annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}},
            "spec": {"nodeName": node},
            "status": {"phase": if node.is_empty() { "Pending" } else { "Running" },
                "conditions": conditions.unwrap_or(json!([]))},
        });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    #[test]
    fn the_least_useful_go_first() {
        let now = "2026-01-02T00:00:00Z".parse().expect("a time");
        let mut pods = vec![
            pod("old", "n1", Some("2026-01-01T00:00:01Z"), "0"),
            pod("young", "n1", Some("2026-01-01T23:59:00Z"), "0"),
            pod("crowded", "n2", Some("2026-01-01T00:00:01Z"), "0"),
            pod("cheap", "n1", Some("2026-01-01T00:00:01Z"), "-5"),
            pod("unready", "n1", None, "100"),
            pod("unbound", "", None, "100"),
        ];
        rank_for_deletion(&mut pods, now, |p| if p.spec.node_name == "n2" { 5 } else { 4 });
        let names: Vec<_> = pods.iter().map(|p| p.metadata.name.as_str()).collect();
        assert_eq!(names, ["unbound", "unready", "cheap", "crowded", "young", "old"]);
    }

    #[test]
    fn availability_takes_time() {
        let now = "2026-01-01T00:00:10Z".parse().expect("a time");
        let ready = pod("a", "n", Some("2026-01-01T00:00:05Z"), "0");
        assert_eq!(ready.seconds_to_available(0, now), Some(0));
        assert_eq!(ready.seconds_to_available(30, now), Some(25));
        assert_eq!(pod("a", "n", None, "0").seconds_to_available(0, now), None);
    }
}
