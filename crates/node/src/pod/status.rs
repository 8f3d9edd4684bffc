//! A pod's `status` from what is observed: phase, conditions, container statuses, addresses.
//!
//! Pure. Not here: writing it to the API server ([`crate::report`]).

use std::collections::HashMap;

use api::clock::format_time;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as Spec;
use serde_json::{Map, Value, json};

use super::observed::{Container, Observed, State, time};
use super::view::{Kind, PodView, RestartPolicy, is_sidecar, restarts_after};

/// Why a container does not run: a reason in a word and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// As in `ErrImagePull`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What the probes say of a running container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Past its startup probe.
    pub started: bool,
    /// And past its readiness probe.
    pub ready: bool,
}

/// What a status is made of.
pub struct Input<'a> {
    /// The pod, with the status that the API server has.
    pub pod: &'a PodView,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// Why containers (by name) are not running, where that is known.
    pub waiting: &'a HashMap<String, Waiting>,
    /// The probes' findings by container id.
    pub readiness: &'a dyn Fn(&str) -> Readiness,
    /// Whether the pod has been ended: nothing of it will run again.
    pub ended: bool,
    /// A verdict on the whole pod (evicted, deadline exceeded): it has failed.
    pub verdict: Option<&'a Waiting>,
    /// The node's addresses.
    pub host_ips: &'a [String],
    /// The QoS class.
    pub qos: &'static str,
    /// The runtime's name, for container ids.
    pub runtime: &'a str,
    /// Now.
    pub now: Timestamp,
}

fn stamp(nanos: i64) -> Value {
    time(nanos).map_or(Value::Null, |t| format_time(t).into())
}

fn terminated(c: &Container, runtime: &str) -> Value {
    let mut map = json!({
        "exitCode": c.exit_code,
        "reason": if !c.reason.is_empty() { &c.reason } else if c.exit_code == 0 { "Completed" } else { "Error" },
        "startedAt": stamp(c.started_at),
        "finishedAt": stamp(c.finished_at),
        "containerID": format!("{runtime}://{}", c.id),
    });
    if !c.message.is_empty() {
        map["message"] = c.message.as_str().into();
    }
    json!({ "terminated": map })
}

fn waiting(w: &Waiting) -> Value {
    let mut map = json!({ "reason": w.reason });
    if !w.message.is_empty() {
        map["message"] = w.message.as_str().into();
    }
    json!({ "waiting": map })
}

fn old_status<'a>(pod: &'a PodView, list: &str, name: &str) -> Option<&'a Value> {
    let list = pod.status.get(list)?.as_array()?;
    list.iter().find(|s| s.get("name").and_then(Value::as_str) == Some(name))
}

fn list_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Init => "initContainerStatuses",
        Kind::Regular => "containerStatuses",
        Kind::Ephemeral => "ephemeralContainerStatuses",
    }
}

/// The status of one container.
fn container(input: &Input<'_>, kind: Kind, spec: &Spec) -> Value {
    let pod = input.pod;
    let old = old_status(pod, list_name(kind), &spec.name);
    let has_init = !pod.containers(Kind::Init).is_empty();
    let latest = input.observed.latest(&spec.name);
    let mut out = json!({
        "name": spec.name,
        "image": spec.image.as_deref().unwrap_or(""),
        "imageID": "",
        "ready": false,
        "started": false,
        "restartCount": 0,
        "lastState": {},
    });
    let creating = Waiting {
        reason: if has_init { "PodInitializing" } else { "ContainerCreating" }.to_owned(),
        message: String::new(),
    };
    let why = input.waiting.get(&spec.name);
    let Some(latest) = latest else {
        out["state"] = waiting(why.unwrap_or(&creating));
        if let Some(old) = old {
            lost(input, kind, old, &mut out);
        } else if input.ended {
            out["state"] = waiting(&creating);
        }
        extras(spec, &mut out, false);
        return out;
    };
    if !latest.image.is_empty() && !latest.image.starts_with("sha256:") {
        out["image"] = latest.image.as_str().into();
    }
    out["imageID"] = latest.image_ref.as_str().into();
    out["containerID"] = format!("{}://{}", input.runtime, latest.id).into();
    out["restartCount"] = latest.restart_count.into();
    if let Some(previous) = input.observed.previous(&spec.name) {
        if previous.state == State::Exited {
            out["lastState"] = terminated(previous, input.runtime);
        }
    } else if let Some(last) =
        old.and_then(|o| o.get("lastState")).filter(|_| latest.restart_count > 0)
    {
        out["lastState"] = last.clone();
    }
    match latest.state {
        State::Running => {
            let r = (input.readiness)(&latest.id);
            out["state"] = json!({ "running": { "startedAt": stamp(latest.started_at) } });
            out["started"] = r.started.into();
            let init = kind == Kind::Init && !is_sidecar(spec);
            out["ready"] = (r.ready && !init && kind != Kind::Ephemeral).into();
            if let Some((uid, gid, groups)) = &latest.user {
                let linux = json!({ "uid": uid, "gid": gid, "supplementalGroups": groups });
                out["user"] = json!({ "linux": linux });
            }
        }
        State::Exited => {
            match why {
                // It is about to run again, or would if it could.
                Some(why) if !input.ended => {
                    out["state"] = waiting(why);
                    out["lastState"] = terminated(latest, input.runtime);
                }
                _ => out["state"] = terminated(latest, input.runtime),
            }
            out["ready"] =
                (kind == Kind::Init && !is_sidecar(spec) && latest.exit_code == 0).into();
        }
        State::Created => out["state"] = waiting(why.unwrap_or(&creating)),
        State::Unknown => {
            let reason = "ContainerStatusUnknown";
            out["state"] = json!({ "terminated": { "exitCode": 137, "reason": reason,
                "message": "The container could not be located when the pod was terminated" } });
        }
    }
    extras(spec, &mut out, latest.state == State::Running);
    out
}

/// A container of which the API server knows and the runtime does not: it was removed.
fn lost(input: &Input<'_>, kind: Kind, old: &Value, out: &mut Value) {
    let state = old.get("state").unwrap_or(&Value::Null);
    let keep = |out: &mut Value| {
        for key in ["containerID", "imageID", "restartCount", "lastState"] {
            if let Some(value) = old.get(key) {
                out[key] = value.clone();
            }
        }
    };
    if state.get("terminated").is_some() {
        // Its end is known already; the garbage collection has taken it.
        keep(out);
        out["state"] = state.clone();
        out["ready"] = old.get("ready").cloned().unwrap_or(false.into());
    } else if state.get("running").is_some() {
        keep(out);
        let message = if input.ended {
            "The container could not be located when the pod was terminated"
        } else {
            "The container could not be located when the pod was deleted.  The container used to be Running"
        };
        let gone = json!({ "terminated": { "exitCode": 137, "reason": "ContainerStatusUnknown", "message": message } });
        let restarts =
            input.pod.restart_policy() != RestartPolicy::Never && kind != Kind::Ephemeral;
        if input.ended || !restarts {
            out["state"] = gone;
        } else {
            out["lastState"] = gone;
            let count = old.get("restartCount").and_then(Value::as_i64).unwrap_or(0);
            out["restartCount"] = (count + 1).into();
        }
    }
}

/// What the status repeats of the spec.
fn extras(spec: &Spec, out: &mut Value, running: bool) {
    let mounts: Vec<Value> = spec
        .volume_mounts
        .iter()
        .flatten()
        .map(|m| {
            let mut mount = json!({ "name": m.name, "mountPath": m.mount_path });
            if m.read_only == Some(true) {
                mount["readOnly"] = true.into();
                mount["recursiveReadOnly"] = match m.recursive_read_only.as_deref() {
                    Some("Enabled") => "Enabled".into(),
                    _ => "Disabled".into(),
                };
            }
            mount
        })
        .collect();
    if !mounts.is_empty() {
        out["volumeMounts"] = mounts.into();
    }
    if running && let Some(resources) = &spec.resources {
        let value = serde_json::to_value(resources).unwrap_or_default();
        if let Some(requests) = value.get("requests") {
            out["allocatedResources"] = requests.clone();
        }
        out["resources"] = value;
    }
}

/// The status of every container of a list.
fn containers(input: &Input<'_>, kind: Kind) -> Vec<Value> {
    input.pod.containers(kind).iter().map(|c| container(input, kind, c)).collect()
}

fn exit_code(status: &Value) -> Option<i64> {
    status.pointer("/state/terminated/exitCode")?.as_i64()
}

fn last_exit_code(status: &Value) -> Option<i64> {
    status.pointer("/lastState/terminated/exitCode")?.as_i64()
}

fn is_waiting(status: &Value) -> bool {
    status.pointer("/state/waiting").is_some()
}

fn is_running(status: &Value) -> bool {
    status.pointer("/state/running").is_some()
}

fn flag(status: &Value, key: &str) -> bool {
    status.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn phase(input: &Input<'_>, init: &[Value], regular: &[Value]) -> &'static str {
    if input.verdict.is_some() {
        return "Failed";
    }
    let policy = input.pod.restart_policy();
    let (mut pending_init, mut failed_init) = (0, 0);
    let initialized = regular.iter().any(|s| !is_waiting(s) || last_exit_code(s).is_some());
    for (spec, status) in input.pod.containers(Kind::Init).iter().zip(init) {
        if is_sidecar(spec) {
            let up = is_running(status) && flag(status, "started");
            if !(initialized || up) {
                pending_init += 1;
            }
            continue;
        }
        let code =
            exit_code(status).or_else(|| last_exit_code(status).filter(|_| is_waiting(status)));
        match code {
            Some(0) => {}
            Some(_) => failed_init += 1,
            None if initialized => {}
            None => pending_init += 1,
        }
    }
    if failed_init > 0 && policy == RestartPolicy::Never {
        return "Failed";
    }
    let (mut waits, mut runs, mut stopped, mut succeeded, mut again) = (0, 0, 0, 0, 0);
    for (spec, status) in input.pod.containers(Kind::Regular).iter().zip(regular) {
        if is_running(status) {
            runs += 1;
            continue;
        }
        let code = exit_code(status).or_else(|| last_exit_code(status));
        let Some(code) = code else {
            waits += 1;
            continue;
        };
        stopped += 1;
        succeeded += i32::from(code == 0);
        let code = i32::try_from(code).unwrap_or(1);
        again += i32::from(restarts_after(policy, spec, code));
    }
    if input.ended {
        return if failed_init == 0 && stopped > 0 && stopped == succeeded && waits == 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if pending_init + failed_init > 0 || waits > 0 {
        "Pending"
    } else if runs > 0 || again > 0 {
        "Running"
    } else if stopped > 0 {
        if stopped == succeeded { "Succeeded" } else { "Failed" }
    } else {
        "Pending"
    }
}

/// Status, reason and message of a condition.
type Verdict = (&'static str, String, String);

fn truth() -> Verdict {
    ("True", String::new(), String::new())
}

fn no(reason: &str, message: String) -> Verdict {
    ("False", reason.to_owned(), message)
}

fn initialized(input: &Input<'_>, phase: &str, init: &[Value], regular: &[Value]) -> Verdict {
    let started = regular.iter().any(|s| !is_waiting(s) || last_exit_code(s).is_some());
    let incomplete: Vec<&str> = (input.pod.containers(Kind::Init).iter().zip(init))
        .filter(|(spec, status)| {
            if is_sidecar(spec) {
                !started && !flag(status, "started")
            } else {
                !started && !flag(status, "ready")
            }
        })
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    if phase == "Succeeded" {
        ("True", "PodCompleted".into(), String::new())
    } else if incomplete.is_empty() {
        truth()
    } else {
        let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
        no("ContainersNotInitialized", message)
    }
}

fn containers_ready(input: &Input<'_>, phase: &str, init: &[Value], regular: &[Value]) -> Verdict {
    let sidecars =
        input.pod.containers(Kind::Init).iter().zip(init).filter(|(spec, _)| is_sidecar(spec));
    let unready: Vec<&str> = sidecars
        .chain(input.pod.containers(Kind::Regular).iter().zip(regular))
        .filter(|(_, status)| !flag(status, "ready"))
        .map(|(spec, _)| spec.name.as_str())
        .collect();
    match phase {
        "Succeeded" => no("PodCompleted", String::new()),
        "Failed" => no("PodFailed", String::new()),
        _ if unready.is_empty() => truth(),
        _ => no(
            "ContainersNotReady",
            format!("containers with unready status: [{}]", unready.join(" ")),
        ),
    }
}

fn condition<'a>(status: &'a Map<String, Value>, kind: &str) -> Option<&'a Value> {
    let list = status.get("conditions")?.as_array()?;
    list.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

/// The pod's `ready` verdict: its containers' and its readiness gates'.
fn ready(input: &Input<'_>, containers: &Verdict) -> Verdict {
    if containers.0 != "True" {
        return containers.clone();
    }
    let complaints: Vec<String> = input
        .pod
        .spec
        .readiness_gates
        .iter()
        .flatten()
        .filter_map(|gate| {
            let kind = &gate.condition_type;
            match condition(&input.pod.status, kind) {
                None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(c) => {
                    let status = c.get("status").and_then(Value::as_str).unwrap_or("Unknown");
                    (status != "True").then(|| {
                        format!("the status of pod readiness gate {kind:?} is not \"True\", but {status}")
                    })
                }
            }
        })
        .collect();
    if complaints.is_empty() {
        truth()
    } else {
        no("ReadinessGatesNotReady", complaints.join(", "))
    }
}

/// The conditions that the kubelet owns, with transition times kept where nothing changed.
fn conditions(input: &Input<'_>, phase: &str, init: &[Value], regular: &[Value]) -> Vec<Value> {
    let containers = containers_ready(input, phase, init, regular);
    let sandbox =
        input.observed.sandbox().is_some_and(|s| s.ready && (s.host_network || !s.ips.is_empty()));
    let verdicts = [
        (
            "PodReadyToStartContainers",
            if sandbox && !input.ended { truth() } else { no("", String::new()) },
        ),
        ("Initialized", initialized(input, phase, init, regular)),
        ("Ready", ready(input, &containers)),
        ("ContainersReady", containers),
        ("PodScheduled", truth()),
    ];
    verdicts
        .into_iter()
        .map(|(kind, (status, reason, message))| {
            let old = condition(&input.pod.status, kind);
            let text = |key| old.and_then(|o| o.get(key)).and_then(Value::as_str);
            let since = match text("lastTransitionTime") {
                Some(since) if text("status") == Some(status) => since.to_owned(),
                _ => format_time(input.now),
            };
            let mut out = json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": since });
            if input.pod.generation() > 0 {
                out["observedGeneration"] = input.pod.generation().into();
            }
            for (key, value) in [("reason", reason), ("message", message)] {
                if !value.is_empty() {
                    out[key] = value.into();
                }
            }
            out
        })
        .collect()
}

/// Makes the whole status.
pub fn status(input: &Input<'_>) -> Map<String, Value> {
    let pod = input.pod;
    let init = containers(input, Kind::Init);
    let regular = containers(input, Kind::Regular);
    let ephemeral = containers(input, Kind::Ephemeral);
    // A last phase is the last one.
    let phase = if pod.is_finished() {
        pod.phase().to_owned()
    } else {
        phase(input, &init, &regular).to_owned()
    };
    let mut out = Map::new();
    out.insert("conditions".into(), conditions(input, &phase, &init, &regular).into());
    out.insert("phase".into(), phase.into());
    let old = |key: &str| pod.status.get(key).cloned();
    match input.verdict {
        Some(v) => {
            out.insert("reason".into(), v.reason.as_str().into());
            out.insert("message".into(), v.message.as_str().into());
        }
        None if pod.is_finished() => {
            for key in ["reason", "message"] {
                old(key).and_then(|value| out.insert(key.into(), value));
            }
        }
        None => {}
    }
    if pod.generation() > 0 {
        out.insert("observedGeneration".into(), pod.generation().into());
    }
    out.insert(
        "startTime".into(),
        old("startTime").unwrap_or_else(|| format_time(input.now).into()),
    );
    out.insert("qosClass".into(), input.qos.into());
    if let Some(ip) = input.host_ips.first() {
        out.insert("hostIP".into(), ip.as_str().into());
        out.insert("hostIPs".into(), input.host_ips.iter().map(|ip| json!({ "ip": ip })).collect());
    }
    let ips = match input.observed.sandbox() {
        _ if pod.host_network() => input.host_ips,
        Some(s) => &s.ips[..],
        None => &[],
    };
    if let Some(ip) = ips.first() {
        out.insert("podIP".into(), ip.as_str().into());
        out.insert("podIPs".into(), ips.iter().map(|ip| json!({ "ip": ip })).collect());
    } else if let (Some(ip), Some(ips)) = (old("podIP"), old("podIPs")) {
        // The sandbox is gone; what was told about it stays until there is a new one.
        out.insert("podIP".into(), ip);
        out.insert("podIPs".into(), ips);
    }
    for (key, list) in [
        ("initContainerStatuses", init),
        ("containerStatuses", regular),
        ("ephemeralContainerStatuses", ephemeral),
    ] {
        if !list.is_empty() {
            out.insert(key.into(), list.into());
        }
    }
    out
}

/// The strategic merge patch that turns one status into another; `None` where they are equal.
/// Conditions of others are left alone.
pub fn patch(old: &Map<String, Value>, new: &Map<String, Value>, uid: &str) -> Option<Value> {
    const OWN: [&str; 12] = [
        "phase",
        "reason",
        "message",
        "observedGeneration",
        "startTime",
        "qosClass",
        "hostIP",
        "podIP",
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
        "resize",
    ];
    let mut change = Map::new();
    for key in OWN {
        match (old.get(key), new.get(key)) {
            (Some(_), None) => {
                change.insert(key.into(), Value::Null);
            }
            (before, Some(after)) if before != Some(after) => {
                change.insert(key.into(), after.clone());
            }
            _ => {}
        }
    }
    for key in ["hostIPs", "podIPs"] {
        if let Some(after) = new.get(key).and_then(Value::as_array)
            && old.get(key).and_then(Value::as_array) != Some(after)
        {
            let mut list = vec![json!({ "$patch": "replace" })];
            list.extend(after.iter().cloned());
            // Without a list before, there is nothing to replace.
            let list = if old.contains_key(key) { list } else { after.clone() };
            change.insert(key.into(), list.into());
        }
    }
    let mut conditions = Vec::new();
    for c in new.get("conditions").and_then(Value::as_array).into_iter().flatten() {
        let kind = c.get("type").and_then(Value::as_str).unwrap_or("");
        match condition(old, kind) {
            Some(before) if same_condition(before, c) => {}
            Some(before) => {
                let mut c = c.clone();
                for key in ["reason", "message"] {
                    if before.get(key).is_some() && c.get(key).is_none() {
                        c[key] = Value::Null;
                    }
                }
                conditions.push(c);
            }
            None => conditions.push(c.clone()),
        }
    }
    if !conditions.is_empty() {
        change.insert("conditions".into(), conditions.into());
    }
    if change.is_empty() {
        return None;
    }
    // The uid is a precondition: a namesake made meanwhile must not get this status.
    Some(json!({ "metadata": { "uid": uid }, "status": change }))
}

fn same_condition(a: &Value, b: &Value) -> bool {
    ["status", "reason", "message", "observedGeneration"].iter().all(|key| {
        let get =
            |v: &Value| v.get(*key).filter(|v| !v.is_null() && v.as_str() != Some("")).cloned();
        get(a) == get(b)
    })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
