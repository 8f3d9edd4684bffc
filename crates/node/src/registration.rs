//! The node object: registered at the start, its status kept true, its lease renewed.
//!
//! Not here: judging the node (the node lifecycle controller's).

use std::sync::Arc;
use std::time::Duration;

use api::clock::format_time;
use api::object::Object;
use api::resource::{LEASES, NODES};
use client::{EventType, Informer, ObjectRef, Patch, Shutdown};
use serde_json::{Map, Value, json};

use crate::eviction::Condition as Pressed;
use crate::kubelet::{Kubelet, RuntimeHealth};
use crate::machine::meminfo;

/// How long a lease is good for.
const LEASE: i64 = 40;
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// How often the status is written when nothing changes.
const STATUS: Duration = Duration::from_secs(300);
/// How often it is looked whether something has changed.
const LOOK: Duration = Duration::from_secs(10);
/// How often the images are looked at: the runtime has to work for it.
const IMAGES_LOOK: Duration = Duration::from_secs(60);
/// How many images the status shows.
const IMAGES: usize = 50;

const NAMESPACE: &str = "kube-node-lease";

fn bytes(n: i64) -> String {
    format!("{}Ki", n / 1024)
}

fn resources(kubelet: &Kubelet, all: bool) -> Value {
    let amounts = if all { kubelet.machine.capacity } else { kubelet.allocatable() };
    let cpu = if amounts.cpu_milli % 1000 == 0 {
        (amounts.cpu_milli / 1000).to_string()
    } else {
        format!("{}m", amounts.cpu_milli)
    };
    let storage = if all { bytes(amounts.storage) } else { amounts.storage.to_string() };
    let mut out = json!({
        "cpu": cpu,
        "memory": bytes(amounts.memory),
        "ephemeral-storage": storage,
        "pods": kubelet.config.node.max_pods.to_string(),
    });
    for (size, amount) in &kubelet.machine.hugepages {
        let text = if *amount == 0 { "0".to_owned() } else { bytes(*amount) };
        out[format!("hugepages-{size}")] = text.into();
    }
    out
}

/// The labels that every node has.
fn labels(kubelet: &Kubelet) -> Map<String, Value> {
    let arch = kubelet.machine.architecture;
    let mut out = Map::new();
    for (key, value) in [
        ("beta.kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("kubernetes.io/hostname", kubelet.config.node_name.as_str()),
        ("kubernetes.io/os", "linux"),
    ] {
        out.insert(key.to_owned(), value.into());
    }
    for (key, value) in &kubelet.config.node.labels {
        out.insert(key.clone(), value.as_str().into());
    }
    out
}

/// A taint from `key=value:effect` or `key:effect`.
fn taint(text: &str) -> Option<Value> {
    let (head, effect) = text.rsplit_once(':')?;
    Some(match head.split_once('=') {
        Some((key, value)) => json!({ "key": key, "value": value, "effect": effect }),
        None => json!({ "key": head, "effect": effect }),
    })
}

/// A condition's verdict.
struct Condition {
    kind: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

fn conditions(kubelet: &Kubelet, health: &RuntimeHealth) -> Vec<Condition> {
    let short = *kubelet.pressure.lock();
    let pressure = |of: Pressed, reason: [&'static str; 2], text: [&str; 2]| Condition {
        kind: of.name(),
        status: short.has(of),
        reason: reason[usize::from(short.has(of))],
        message: format!("kubelet has {}", text[usize::from(short.has(of))]),
    };
    let complaint = [&health.runtime, &health.network].into_iter().flatten().next();
    vec![
        pressure(
            Pressed::Memory,
            ["KubeletHasSufficientMemory", "KubeletHasInsufficientMemory"],
            ["sufficient memory available", "insufficient memory available"],
        ),
        pressure(
            Pressed::Disk,
            ["KubeletHasNoDiskPressure", "KubeletHasDiskPressure"],
            ["no disk pressure", "disk pressure"],
        ),
        pressure(
            Pressed::Pids,
            ["KubeletHasSufficientPID", "KubeletHasInsufficientPID"],
            ["sufficient PID available", "insufficient PID available"],
        ),
        Condition {
            kind: "Ready",
            status: complaint.is_none(),
            reason: if complaint.is_none() { "KubeletReady" } else { "KubeletNotReady" },
            message: complaint.cloned().unwrap_or_else(|| "kubelet is posting ready status".into()),
        },
    ]
}

/// The node's status as it is now; `old` keeps transition times.
fn status(kubelet: &Kubelet, old: &Map<String, Value>, images: &Value) -> Map<String, Value> {
    let now = format_time(kubelet.clock.now());
    let health = kubelet.health.borrow().clone();
    let list: Vec<Value> = conditions(kubelet, &health)
        .into_iter()
        .map(|c| {
            let status = if c.status { "True" } else { "False" };
            let before = old
                .get("conditions")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .find(|o| o.get("type").and_then(Value::as_str) == Some(c.kind));
            let since = before
                .filter(|o| o.get("status").and_then(Value::as_str) == Some(status))
                .and_then(|o| o.get("lastTransitionTime"))
                .cloned()
                .unwrap_or_else(|| now.as_str().into());
            json!({ "type": c.kind, "status": status, "reason": c.reason, "message": c.message,
                "lastHeartbeatTime": now, "lastTransitionTime": since })
        })
        .collect();
    let mut addresses: Vec<Value> =
        kubelet.host_ips.iter().map(|ip| json!({ "type": "InternalIP", "address": ip })).collect();
    addresses.push(json!({ "type": "Hostname", "address": kubelet.config.node_name }));
    let machine = &kubelet.machine;
    let mut out = Map::new();
    out.insert("addresses".into(), addresses.into());
    out.insert("allocatable".into(), resources(kubelet, false));
    out.insert("capacity".into(), resources(kubelet, true));
    out.insert("conditions".into(), list.into());
    if kubelet.config.server.port != 0 {
        let port = json!({ "kubeletEndpoint": { "Port": kubelet.config.server.port } });
        out.insert("daemonEndpoints".into(), port);
    }
    out.insert("images".into(), images.clone());
    out.insert(
        "nodeInfo".into(),
        json!({
            "architecture": machine.architecture,
            "bootID": machine.boot_id,
            "containerRuntimeVersion": format!("{}://{}", kubelet.runtime_name, kubelet.runtime_version),
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": kubelet.config.node.version,
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        }),
    );
    // A machine without swap says nothing of it: a capacity of zero is not valid.
    let swap = meminfo("SwapTotal");
    if swap > 0 {
        out["nodeInfo"]["swap"] = json!({ "capacity": swap });
    }
    out
}

async fn images(kubelet: &Kubelet) -> Value {
    let mut images = kubelet.cri.images().await.unwrap_or_default();
    images.sort_by_key(|i| (std::cmp::Reverse(i.size), i.id.clone()));
    images
        .iter()
        .take(IMAGES)
        .map(|i| {
            let names: Vec<&String> = i.repo_digests.iter().chain(&i.repo_tags).take(5).collect();
            json!({ "names": names, "sizeBytes": i.size })
        })
        .collect()
}

/// Whether two statuses differ in more than heartbeats.
fn differs(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    let strip = |status: &Map<String, Value>| {
        let mut status = status.clone();
        for c in status.get_mut("conditions").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(map) = c.as_object_mut() {
                map.remove("lastHeartbeatTime");
            }
        }
        status
    };
    let (a, b) = (strip(a), strip(b));
    b.iter().any(|(key, value)| a.get(key) != Some(value))
}

/// The patch from one status to another. Conditions merge by type, addresses are replaced.
fn patch(new: &Map<String, Value>) -> Value {
    let mut status = new.clone();
    if let Some(Value::Array(list)) = status.get_mut("addresses") {
        list.insert(0, json!({ "$patch": "replace" }));
    }
    json!({ "status": status })
}

/// Registers the node, or brings its labels up to date where it is registered.
async fn register(kubelet: &Kubelet) -> client::Result<Object> {
    let name = kubelet.config.node_name.as_str();
    match kubelet.client.get::<Object>(&NODES, "", name).await {
        Ok(node) => {
            let wanted = labels(kubelet);
            let has = |k: &str, v: &Value| {
                node.labels().any(|(key, value)| key == k && Some(value) == v.as_str())
            };
            let missing: Map<String, Value> =
                wanted.into_iter().filter(|(k, v)| !has(k, v)).collect();
            if missing.is_empty() {
                return Ok(node);
            }
            let body = json!({ "metadata": { "labels": missing } });
            kubelet.client.patch(&NODES, "", name, None, Patch::Merge, &body).await
        }
        Err(e) if e.is_not_found() => {
            let taints: Vec<Value> =
                kubelet.config.node.taints.iter().filter_map(|t| taint(t)).collect();
            let mut body = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": { "name": name, "labels": labels(kubelet),
                    "annotations": { "volumes.kubernetes.io/controller-managed-attach-detach": "true" } },
                "spec": {},
                "status": status(kubelet, &Map::new(), &json!([])),
            });
            if !taints.is_empty() {
                body["spec"]["taints"] = taints.into();
            }
            kubelet.client.create(&NODES, "", &body).await
        }
        Err(e) => Err(e),
    }
}

fn status_of(node: &Object) -> Map<String, Value> {
    node.0.get("status").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// What was last written, and what the server made of it.
struct Written {
    told: Map<String, Value>,
    shown: Map<String, Value>,
    at: tokio::time::Instant,
}

/// The node's status is to be kept as it is here.
struct Keeper {
    kubelet: Arc<Kubelet>,
    node: Arc<Informer>,
    written: Option<Written>,
    /// The images, and when they were last looked at.
    images: (Option<tokio::time::Instant>, Value),
}

impl Keeper {
    /// Registers the node where it is not, and writes its status where that differs from what the
    /// server has, or was written long ago.
    async fn refresh(&mut self) -> client::Result<()> {
        let kubelet = Arc::clone(&self.kubelet);
        let name = kubelet.config.node_name.as_str();
        let node = self.node.get("", name).and_then(|entry| entry.object().ok());
        let node = match node {
            Some(node) if self.written.is_some() => node,
            // Deleted under us: whoever does that wants the pods elsewhere. The node comes back when
            // they have been collected, so that they are replaced and not taken up again.
            None if self.written.is_some() && !kubelet.pods.read().is_empty() => return Ok(()),
            _ => {
                self.written = None;
                register(&kubelet).await?
            }
        };
        let shown = status_of(&node);
        if self.images.0.is_none_or(|at| at.elapsed() >= IMAGES_LOOK) {
            self.images = (Some(tokio::time::Instant::now()), images(&kubelet).await);
        }
        let images = &self.images.1;
        let new = status(&kubelet, &shown, images);
        if let Some(written) = &self.written
            && written.at.elapsed() < STATUS
        {
            // What the server shows otherwise than it was told is not told again each time; what
            // somebody else has changed is.
            let untouched = !differs(&shown, &written.shown) && !differs(&written.shown, &shown);
            let known = if untouched { &written.told } else { &shown };
            if !differs(known, &new) {
                return Ok(());
            }
        }
        self.announce(&shown, &new);
        let answer: Object = kubelet
            .client
            .patch(&NODES, "", name, Some("status"), Patch::Strategic, &patch(&new))
            .await?;
        let at = tokio::time::Instant::now();
        self.written = Some(Written { told: new, shown: status_of(&answer), at });
        Ok(())
    }

    /// Events for conditions that have changed.
    fn announce(&self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let kubelet = &self.kubelet;
        for c in new.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| c.get(key).and_then(Value::as_str).unwrap_or("");
            let before = old.get("conditions").and_then(Value::as_array).into_iter().flatten();
            let before = before.into_iter().find(|o| o.get("type") == c.get("type"));
            if before.and_then(|b| b.get("status")) == c.get("status") {
                continue;
            }
            let reason = match (text("type"), text("status")) {
                ("Ready", "True") => "NodeReady",
                ("Ready", _) => "NodeNotReady",
                ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
                ("MemoryPressure", _) => "NodeHasSufficientMemory",
                ("DiskPressure", "True") => "NodeHasDiskPressure",
                ("DiskPressure", _) => "NodeHasNoDiskPressure",
                ("PIDPressure", "True") => "NodeHasInsufficientPID",
                ("PIDPressure", _) => "NodeHasSufficientPID",
                _ => continue,
            };
            let name = &kubelet.config.node_name;
            let note = format!("Node {name} status is now: {reason}");
            kubelet.recorder.event(&node_ref(name), EventType::Normal, reason, note);
        }
    }
}

/// The node as the kubelet's events refer to it: by its name as uid, as upstream does.
pub fn node_ref(name: &str) -> ObjectRef {
    ObjectRef {
        kind: "Node".into(),
        api_version: "v1".into(),
        name: name.to_owned(),
        uid: name.to_owned(),
        ..ObjectRef::default()
    }
}

/// Keeps the node object until shutdown.
pub async fn keep_node(kubelet: Arc<Kubelet>, node: Arc<Informer>, shutdown: Shutdown) {
    let name = kubelet.config.node_name.clone();
    let mut health = kubelet.health.clone();
    let mut delay = Duration::from_millis(50);
    kubelet.recorder.event(&node_ref(&name), EventType::Normal, "Starting", "Starting kubelet.");
    let mut keeper = Keeper { kubelet, node, written: None, images: (None, json!([])) };
    loop {
        let pause = match keeper.refresh().await {
            Ok(()) => {
                delay = Duration::from_millis(50);
                LOOK
            }
            Err(error) => {
                tracing::warn!(node = name, %error, "the node's status is not written; trying again");
                if !error.is_not_found() {
                    keeper.written = None;
                }
                delay = (delay * 2).min(LOOK);
                delay
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            Ok(()) = health.changed() => {}
        }
    }
}

/// Renews the node's lease until shutdown.
pub async fn keep_lease(kubelet: Arc<Kubelet>, shutdown: Shutdown) {
    let name = kubelet.config.node_name.clone();
    let mut exists = false;
    let mut delay = Duration::from_millis(100);
    loop {
        let now = kubelet.clock.micro_time();
        let result = if exists {
            let body = json!({ "spec": { "renewTime": now, "holderIdentity": name } });
            kubelet
                .client
                .patch::<Object>(&LEASES, NAMESPACE, &name, None, Patch::Merge, &body)
                .await
        } else {
            create_lease(&kubelet, &name, &now).await
        };
        let pause = match result {
            Ok(_) => {
                exists = true;
                delay = Duration::from_millis(100);
                RENEW
            }
            Err(error) => {
                if error.is_already_exists() {
                    exists = true;
                    continue;
                }
                exists &= !error.is_not_found();
                tracing::debug!(%error, "the node's lease is not renewed; trying again");
                delay = (delay * 2).min(Duration::from_secs(7));
                delay
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn create_lease(kubelet: &Kubelet, name: &str, now: &str) -> client::Result<Object> {
    let mut metadata = json!({ "name": name, "namespace": NAMESPACE });
    if let Ok(node) = kubelet.client.get::<Object>(&NODES, "", name).await {
        // The lease goes with the node.
        metadata["ownerReferences"] =
            json!([{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid() }]);
    }
    let body = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": { "holderIdentity": name, "leaseDurationSeconds": LEASE, "renewTime": now },
    });
    kubelet.client.create(&LEASES, NAMESPACE, &body).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_alone_are_no_difference() {
        let of = |time: &str, status: &str| {
            let value = json!({ "conditions": [{ "type": "Ready", "status": status, "lastHeartbeatTime": time }] });
            value.as_object().cloned().expect("a map")
        };
        assert!(!differs(&of("a", "True"), &of("b", "True")));
        assert!(differs(&of("a", "True"), &of("a", "False")));
    }

    #[test]
    fn taints() {
        let full = taint("a.b/c=v:NoSchedule").expect("a taint");
        assert_eq!(full, json!({ "key": "a.b/c", "value": "v", "effect": "NoSchedule" }));
        assert_eq!(taint("k:NoExecute"), Some(json!({ "key": "k", "effect": "NoExecute" })));
        assert_eq!(taint("k"), None);
    }
}
