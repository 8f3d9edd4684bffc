//! Saying how a pod is: to the API server, and to who asks on this node. Not here: the wording
//! (`status`).

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Life, Worker};
use crate::kubelet::Snapshot;
use crate::pod::config::resources::Qos;
use crate::pod::status;

impl Worker {
    pub(super) fn report(&mut self) {
        let prober = &self.kubelet.prober;
        let status = status::status(&status::Input {
            pod: &self.pod,
            observed: &self.observed,
            waiting: &self.waiting,
            readiness: &|id| prober.readiness(id),
            ended: self.ended,
            verdict: self.verdict.as_ref(),
            host_ips: &self.kubelet.host_ips,
            qos: Qos::of(&self.pod).as_str(),
            runtime: &self.kubelet.runtime_name,
            now: self.kubelet.clock.now(),
        });
        let delete = self.life == Life::Clean && self.pod.is_deleting() && !self.removed;
        if !self.removed && (status != self.status || delete) {
            self.kubelet.reporter.set(&self.pod, status.clone(), delete);
        }
        // What follows is made on top of what was just said: conditions keep their times.
        if status != self.status || !Arc::ptr_eq(&self.snapshot.lock().pod, &self.pod) {
            let mut pod = (*self.pod).clone();
            for (key, value) in &status {
                pod.status.insert(
                    key.clone(),
                    if key == "conditions" { merged(&pod.status, value) } else { value.clone() },
                );
            }
            self.pod = Arc::new(pod);
        }
        if status.get("phase").and_then(Value::as_str) == Some("Running")
            && let Some(seen) = self.seen.take()
        {
            crate::metrics::pod_started(seen.elapsed());
        }
        self.status = status;
        *self.snapshot.lock() = Snapshot {
            pod: Arc::clone(&self.pod),
            observed: self.observed.clone(),
            status: self.pod.status.clone(),
        };
    }
}

/// Our conditions among those of others.
fn merged(old: &Map<String, Value>, ours: &Value) -> Value {
    let own =
        |kind: Option<&Value>| ours.as_array().into_iter().flatten().any(|c| c.get("type") == kind);
    let others = old.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let others = others.filter(|c| !own(c.get("type"))).cloned();
    ours.as_array().into_iter().flatten().cloned().chain(others).collect()
}
