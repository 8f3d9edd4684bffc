//! Ending a pod: its containers, then its volumes and cgroup, at last what the runtime keeps of it. Not
//! here: stopping one container (`stop`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Life, Outcome, Worker};
use crate::pod::{start, stop};

impl Worker {
    /// Ends the pod's containers, once no start is under way.
    pub(super) fn drive_end(&mut self, wake: &mut Vec<Instant>) {
        if self.making_sandbox || self.starting.is_some() || self.stopping {
            return;
        }
        let grace = if self.verdict.is_some() && !self.pod.is_deleting() {
            self.pod.grace().min(Duration::from_secs(30))
        } else {
            self.pod.grace()
        };
        // A deletion may shorten what is left, never lengthen it.
        if self.grace.is_some_and(|g| g <= grace) {
            return;
        }
        if !self.end.due() {
            wake.extend(self.end.at);
            return;
        }
        self.grace = Some(grace);
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        self.tasks
            .spawn(async move { Outcome::Ended(grace, stop::stop_pod(kubelet, pod, grace).await) });
    }

    /// Takes the pod's volumes and cgroup away.
    pub(super) fn drive_clean(&mut self, wake: &mut Vec<Instant>) {
        if self.stopping || self.setting_up {
            return;
        }
        if !self.end.due() {
            wake.extend(self.end.at);
            return;
        }
        self.stopping = true;
        let (kubelet, uid) = (Arc::clone(&self.kubelet), self.uid.clone());
        self.tasks.spawn_blocking(move || {
            let result = kubelet.volumes.tear_down(&uid).map_err(|e| e.to_string());
            kubelet.cgroups.remove(&uid);
            Outcome::Clean(result)
        });
    }

    /// Removes what is left at the runtime.
    pub(super) fn remove(&mut self) {
        self.life = Life::Removing;
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        let observed = self.observed.clone();
        self.tasks.spawn(async move {
            if let Some(dir) = &kubelet.config.runtime.container_logs {
                for c in &observed.containers {
                    let _ = std::fs::remove_file(dir.join(start::link_name(&pod, &c.name, &c.id)));
                }
            }
            let logs = kubelet.log_dir(&pod);
            Outcome::Removed(stop::remove_pod(&kubelet, Some(&logs), &observed).await)
        });
    }
}
