//! A pod's row: readiness, what its containers' states add up to, restarts.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::cells::{at, list, text};
use super::{Row, duration};
use crate::object::Object;

fn field<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

fn int(value: &Value, path: &str) -> i64 {
    at(value, path).and_then(Value::as_i64).unwrap_or(0)
}

fn flag(value: &Value, path: &str) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// Restarts, with the time of the last one.
#[derive(Default, Clone)]
struct Restarts {
    count: i64,
    last: String,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += int(status, "restartCount");
        let finished = field(status, "lastState.terminated.finishedAt");
        // Times are in one form, so that they compare as text.
        if finished > self.last.as_str() {
            self.last = finished.to_owned();
        }
    }

    fn show(&self, now: Timestamp) -> String {
        if self.count != 0 && !self.last.is_empty() {
            format!("{} ({} ago)", self.count, duration::since(Some(&self.last), now))
        } else {
            self.count.to_string()
        }
    }
}

/// What the containers' states add up to.
struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

pub fn row(pod: &Object, now: Timestamp) -> Row {
    let summary = summary(pod);
    let or_none = |text: &str| Value::from(if text.is_empty() { "<none>" } else { text });
    let cells = vec![
        pod.name().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        summary.restarts.show(now).into(),
        duration::since(Some(pod.creation_timestamp()), now).into(),
        or_none(text(pod, "status.podIPs.0.ip")),
        or_none(text(pod, "spec.nodeName")),
        or_none(text(pod, "status.nominatedNodeName")),
        readiness_gates(pod),
    ];
    let completed = |reason: &str, message: &str| json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
    let conditions = match text(pod, "status.phase") {
        "Succeeded" => Some(completed("Succeeded", "The pod has completed successfully.")),
        "Failed" => Some(completed("Failed", "The pod failed.")),
        _ => None,
    };
    Row { cells, conditions }
}

fn readiness_gates(pod: &Object) -> Value {
    let gates = list(pod, "spec.readinessGates");
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = list(pod, "status.conditions");
    let met = gates.iter().filter(|gate| {
        let kind = field(gate, "conditionType");
        let condition = conditions.iter().find(|c| field(c, "type") == kind);
        condition.is_some_and(|c| field(c, "status") == "True")
    });
    format!("{}/{}", met.count(), gates.len()).into()
}

fn condition<'a>(pod: &'a Object, kind: &str) -> Option<&'a Value> {
    list(pod, "status.conditions").iter().find(|c| field(c, "type") == kind)
}

/// Names of the init containers that keep running beside the others.
fn sidecars(pod: &Object) -> Map<String, Value> {
    list(pod, "spec.initContainers")
        .iter()
        .filter(|c| field(c, "restartPolicy") == "Always")
        .map(|c| (field(c, "name").to_owned(), Value::Null))
        .collect()
}

fn summary(pod: &Object) -> Summary {
    let sidecars = sidecars(pod);
    let phase = text(pod, "status.phase");
    let mut summary = Summary {
        ready: 0,
        total: list(pod, "spec.containers").len() + sidecars.len(),
        reason: match text(pod, "status.reason") {
            "" => phase.into(),
            reason => reason.into(),
        },
        restarts: Restarts::default(),
    };
    let gated = list(pod, "status.conditions")
        .iter()
        .any(|c| field(c, "type") == "PodScheduled" && field(c, "reason") == "SchedulingGated");
    if gated {
        summary.reason = "SchedulingGated".into();
    }
    let mut sidecar_restarts = Restarts::default();
    let initializing = init_containers(pod, &sidecars, &mut summary, &mut sidecar_restarts);
    let initialized = condition(pod, "Initialized").is_some_and(|c| field(c, "status") == "True");
    if !initializing || initialized {
        summary.restarts = sidecar_restarts;
        containers(pod, &mut summary);
    }
    if pod.is_deleting() {
        if text(pod, "status.reason") == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !matches!(phase, "Succeeded" | "Failed") {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

/// Adds the init containers up; whether one of them is still to end.
fn init_containers(
    pod: &Object,
    sidecars: &Map<String, Value>,
    summary: &mut Summary,
    sidecar_restarts: &mut Restarts,
) -> bool {
    for (index, status) in list(pod, "status.initContainerStatuses").iter().enumerate() {
        let sidecar = sidecars.contains_key(field(status, "name"));
        summary.restarts.add(status);
        if sidecar {
            sidecar_restarts.add(status);
        }
        let terminated = at(status, "state.terminated");
        let waiting = field(status, "state.waiting.reason");
        if terminated.is_some_and(|t| int(t, "exitCode") == 0) {
            continue;
        }
        if sidecar && flag(status, "started") {
            summary.ready += usize::from(flag(status, "ready"));
            continue;
        }
        summary.reason = match terminated {
            Some(terminated) => format!("Init:{}", ended(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => {
                format!("Init:{waiting}")
            }
            None => format!("Init:{index}/{}", list(pod, "spec.initContainers").len()),
        };
        return true;
    }
    false
}

/// Why a container ended: a reason, a signal, or an exit code.
fn ended(terminated: &Value) -> String {
    match (field(terminated, "reason"), int(terminated, "signal")) {
        ("", 0) => format!("ExitCode:{}", int(terminated, "exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    }
}

fn containers(pod: &Object, summary: &mut Summary) {
    let mut running = false;
    let mut error = String::new();
    for status in list(pod, "status.containerStatuses").iter().rev() {
        summary.restarts.add(status);
        let waiting = field(status, "state.waiting.reason");
        if !waiting.is_empty() {
            summary.reason = waiting.into();
        } else if let Some(terminated) = at(status, "state.terminated") {
            summary.reason = ended(terminated);
            if int(terminated, "exitCode") != 0 {
                error = summary.reason.clone();
            }
        } else if flag(status, "ready") && at(status, "state.running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container that still runs outweighs those that are done.
    if summary.reason == "Completed" {
        let ready = condition(pod, "Ready").is_some_and(|c| field(c, "status") == "True");
        if running && ready {
            summary.reason = "Running".into();
        } else if !error.is_empty() {
            summary.reason = error;
        } else if running {
            summary.reason = "NotReady".into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(pod: Value) -> Vec<Value> {
        let now = "2024-01-01T01:00:00Z".parse().unwrap();
        row(&Object::from_value(pod).unwrap(), now).cells
    }

    #[test]
    fn a_crash_loop() {
        let pod = json!({"metadata": {"name": "p", "creationTimestamp": "2024-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}], "nodeName": "n"},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
                {"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}},
                {"name": "b", "ready": false, "restartCount": 3,
                 "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2024-01-01T00:58:30Z"}}}]}});
        assert_eq!(
            cells(pod),
            json!([
                "p",
                "1/2",
                "CrashLoopBackOff",
                "3 (90s ago)",
                "60m",
                "10.0.0.1",
                "n",
                "<none>",
                "<none>"
            ])
            .as_array()
            .unwrap()
            .clone()
        );
    }

    #[test]
    fn initializing_and_terminating() {
        let mut pod = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]},
            "status": {"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "state": {"running": {}}, "restartCount": 0}]}});
        assert_eq!(cells(pod.clone())[1..4], [json!("0/1"), json!("Init:0/1"), json!("0")]);
        pod["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z".into();
        assert_eq!(cells(pod)[2], "Terminating");
    }
}
