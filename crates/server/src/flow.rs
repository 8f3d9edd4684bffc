//! Flow control: how many requests run at once, by priority level, and what the others are told.
//!
//! A handful of levels after upstream's suggested configuration, each with seats of its own and a
//! bounded queue. Not here: fair queuing among the flows of a level.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use api::{ApiError, Reason};
use prometheus::{IntCounterVec, IntGaugeVec, register_int_counter_vec, register_int_gauge_vec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::gate::UserInfo;
use crate::request::RequestInfo;

static REJECTED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    register_int_counter_vec!(
        "apiserver_flowcontrol_rejected_requests_total",
        "Number of requests rejected by API Priority and Fairness subsystem",
        &["priority_level", "reason"]
    )
    .ok()
});
static EXECUTING: LazyLock<Option<IntGaugeVec>> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "apiserver_flowcontrol_current_executing_requests",
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage",
        &["priority_level"]
    )
    .ok()
});

/// A request waits this long for a seat at most.
const PATIENCE: Duration = Duration::from_secs(15);

struct Level {
    name: &'static str,
    seats: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Level {
    fn new(name: &'static str, seats: usize, queue: usize) -> Self {
        Self { name, seats: Semaphore::new(seats).into(), queue: Semaphore::new(queue).into() }
    }
}

/// The levels. Requests of `system:masters` and of health checks are exempt.
pub struct FlowControl {
    levels: [Level; 6],
}

impl Default for FlowControl {
    fn default() -> Self {
        // Upstream splits 600 seats by shares; the queue is what its 50-128 queues hold at most.
        Self {
            levels: [
                Level::new("node-high", 98, 3200),
                Level::new("system", 74, 3200),
                Level::new("leader-election", 25, 800),
                Level::new("workload-high", 98, 6400),
                Level::new("workload-low", 245, 6400),
                Level::new("global-default", 60, 6400),
            ],
        }
    }
}

/// The right to run; ends with the response's head, so a running watch holds none.
pub struct Seat {
    level: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(gauge) = &*EXECUTING {
            gauge.with_label_values(&[self.level]).dec();
        }
    }
}

fn level_of(user: &UserInfo, info: &RequestInfo) -> Option<usize> {
    if user.in_group("system:masters") {
        return None;
    }
    if matches!(info.path.as_str(), "/healthz" | "/livez" | "/readyz") {
        return None;
    }
    let node = user.in_group("system:nodes");
    if info.resource == "leases" && info.group == "coordination.k8s.io" {
        return Some(if node { 0 } else { 2 });
    }
    if node {
        let status = info.resource == "nodes" && matches!(info.subresource.as_str(), "" | "status");
        return Some(if status { 0 } else { 1 });
    }
    let controller =
        matches!(user.name.as_str(), "system:kube-controller-manager" | "system:kube-scheduler");
    if controller || user.in_group("system:serviceaccounts:kube-system") {
        return Some(3);
    }
    Some(if user.in_group("system:serviceaccounts") { 4 } else { 5 })
}

impl FlowControl {
    /// Waits for a seat. `None` for exempt requests.
    pub async fn admit(
        &self,
        user: &UserInfo,
        info: &RequestInfo,
    ) -> Result<Option<Seat>, ApiError> {
        let Some(at) = level_of(user, info) else { return Ok(None) };
        let level = &self.levels[at];
        let permit = match level.seats.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let Ok(_waiting) = level.queue.clone().try_acquire_owned() else {
                    return Err(too_many(level.name, "queue-full"));
                };
                match tokio::time::timeout(PATIENCE, level.seats.clone().acquire_owned()).await {
                    Ok(Ok(permit)) => permit,
                    _ => return Err(too_many(level.name, "time-out")),
                }
            }
        };
        if let Some(gauge) = &*EXECUTING {
            gauge.with_label_values(&[level.name]).inc();
        }
        Ok(Some(Seat { level: level.name, _permit: permit }))
    }
}

fn too_many(level: &'static str, reason: &str) -> ApiError {
    if let Some(counter) = &*REJECTED {
        counter.with_label_values(&[level, reason]).inc();
    }
    ApiError::new(
        Reason::TooManyRequests,
        "the server has received too many requests and has asked us to try again later",
    )
    .detail("retryAfterSeconds", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_level_turns_requests_away() {
        let mut flow = FlowControl::default();
        flow.levels[5] = Level::new("global-default", 1, 0);
        let info = RequestInfo::default();
        let user = UserInfo::new("bob", &["system:authenticated"]);
        let seat = flow.admit(&user, &info).await.expect("a seat");
        let error = flow.admit(&user, &info).await.err().expect("full");
        assert_eq!(error.code, 429);
        let master = UserInfo::new("root", &["system:masters"]);
        assert!(flow.admit(&master, &info).await.expect("exempt").is_none());
        drop(seat);
        assert!(flow.admit(&user, &info).await.is_ok());
    }
}
