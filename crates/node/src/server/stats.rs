//! Usage figures: `/metrics`, `/metrics/resource`, `/stats/summary`.
//!
//! They come from the runtime when they are asked for; nothing is sampled in between. Not here:
//! Prometheus's registry itself.

use std::collections::HashMap;
use std::fmt::Write as _;

use http::{Response, StatusCode};
use prometheus::Encoder;
use serde_json::{Value, json};

use super::{Body, json as json_body, respond, text};
use crate::cri::{ContainerStats, UInt64Value};
use crate::kubelet::Kubelet;
use crate::machine::{disk, meminfo};
use crate::pod::observed::keys;

const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The process's own metrics.
pub fn metrics(kubelet: &Kubelet) -> Response<Body> {
    let running = kubelet
        .snapshots()
        .iter()
        .filter(|s| s.observed.sandbox().is_some_and(|s| s.ready))
        .count();
    crate::metrics::running_pods(running);
    let mut out = Vec::new();
    match prometheus::TextEncoder::new().encode(&prometheus::gather(), &mut out) {
        Ok(()) => respond(StatusCode::OK, MEDIA, out),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

/// Figures of one container.
struct Usage {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    cpu_nanos: u64,
    memory: u64,
    rss: u64,
    usage: u64,
    disk: u64,
    time: i64,
}

fn value(v: Option<&UInt64Value>) -> u64 {
    v.map_or(0, |v| v.value)
}

fn usage(stats: &ContainerStats) -> Option<Usage> {
    let attributes = stats.attributes.as_ref()?;
    let label = |key: &str| attributes.labels.get(key).cloned().unwrap_or_default();
    let memory = stats.memory.as_ref();
    Some(Usage {
        namespace: label(keys::POD_NAMESPACE),
        pod: label(keys::POD_NAME),
        uid: label(keys::POD_UID),
        container: label(keys::CONTAINER_NAME),
        cpu_nanos: value(stats.cpu.as_ref().and_then(|c| c.usage_core_nano_seconds.as_ref())),
        memory: value(memory.and_then(|m| m.working_set_bytes.as_ref())),
        rss: value(memory.and_then(|m| m.rss_bytes.as_ref())),
        usage: value(memory.and_then(|m| m.usage_bytes.as_ref())),
        disk: value(stats.writable_layer.as_ref().and_then(|w| w.used_bytes.as_ref())),
        time: stats.cpu.as_ref().map_or(0, |c| c.timestamp),
    })
}

async fn all(kubelet: &Kubelet) -> Result<Vec<Usage>, String> {
    let stats = kubelet.cri.container_stats().await.map_err(|e| e.to_string())?;
    Ok(stats.iter().filter_map(usage).filter(|u| !u.container.is_empty()).collect())
}

/// Nanoseconds of processor time since boot, from /proc/stat (hundredths of a second).
fn node_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|f| f.parse().ok())
        .collect();
    // All but idle and waiting for disks; guests are counted in the others.
    let busy: u64 =
        fields.iter().take(8).enumerate().filter(|(i, _)| *i != 3 && *i != 4).map(|(_, v)| v).sum();
    busy * 10_000_000
}

fn node_memory() -> i64 {
    meminfo("MemTotal") - meminfo("MemAvailable")
}

#[allow(clippy::cast_precision_loss)]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// `/metrics/resource`: what autoscalers read.
pub async fn resource(kubelet: &Kubelet) -> Response<Body> {
    let (usages, error) = match all(kubelet).await {
        Ok(usages) => (usages, 0),
        Err(error) => {
            tracing::warn!(error, "usage figures are not available");
            (Vec::new(), 1)
        }
    };
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<String>| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}");
        for line in lines {
            let _ = writeln!(out, "{name}{line}");
        }
    };
    let labels = |u: &Usage| {
        format!("{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}}", u.container, u.namespace, u.pod)
    };
    let at = |u: &Usage| u.time / 1_000_000;
    let cpu = usages.iter().map(|u| format!("{} {} {}", labels(u), seconds(u.cpu_nanos), at(u)));
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        cpu.collect(),
    );
    let memory = usages.iter().map(|u| format!("{} {} {}", labels(u), u.memory, at(u)));
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        memory.collect(),
    );
    let snapshots = kubelet.snapshots();
    let starts = snapshots.iter().flat_map(|s| {
        let pod = &s.pod;
        s.observed.containers.iter().filter(|c| c.started_at > 0 && c.finished_at == 0).map(
            move |c| {
                let began = seconds(u64::try_from(c.started_at).unwrap_or(0));
                format!(
                    "{{container=\"{}\",namespace=\"{}\",pod=\"{}\"}} {began}",
                    c.name,
                    pod.namespace(),
                    pod.name()
                )
            },
        )
    });
    family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        starts.collect(),
    );
    let now = kubelet.clock.micros() / 1000;
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        vec![format!(" {} {now}", seconds(node_cpu()))],
    );
    family(
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
        vec![format!(" {} {now}", node_memory())],
    );
    let mut pods: HashMap<(&str, &str), (u64, u64, i64)> = HashMap::new();
    for u in &usages {
        let sum = pods.entry((&u.namespace, &u.pod)).or_default();
        *sum = (sum.0 + u.cpu_nanos, sum.1 + u.memory, at(u));
    }
    let mut pods: Vec<_> = pods.into_iter().collect();
    pods.sort_unstable();
    let of = |(n, p): &(&str, &str)| format!("{{namespace=\"{n}\",pod=\"{p}\"}}");
    let cpu = pods.iter().map(|(k, (cpu, _, at))| format!("{} {} {at}", of(k), seconds(*cpu)));
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        cpu.collect(),
    );
    let memory = pods.iter().map(|(k, (_, memory, at))| format!("{} {memory} {at}", of(k)));
    family(
        "pod_memory_working_set_bytes",
        "gauge",
        "Current working set of the pod in bytes",
        memory.collect(),
    );
    family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
        vec![format!(" {error}")],
    );
    respond(StatusCode::OK, MEDIA, out.into_bytes())
}

/// `/stats/summary`.
pub async fn summary(kubelet: &Kubelet) -> Response<Body> {
    let usages = match all(kubelet).await {
        Ok(usages) => usages,
        Err(e) => return text(StatusCode::INTERNAL_SERVER_ERROR, e),
    };
    let now = kubelet.clock.time();
    let fs = disk(&kubelet.config.kubelet_dir()).map(|[total, free, inodes, inodes_free]| {
        json!({ "time": now, "availableBytes": free, "capacityBytes": total, "usedBytes": total - free.min(total),
            "inodesFree": inodes_free, "inodes": inodes, "inodesUsed": inodes - inodes_free.min(inodes) })
    });
    let pods: Vec<Value> = kubelet
        .snapshots()
        .iter()
        .map(|s| {
            let own: Vec<&Usage> = usages.iter().filter(|u| u.uid == s.pod.uid()).collect();
            let containers: Vec<Value> = own
                .iter()
                .map(|u| {
                    json!({ "name": u.container,
                        "cpu": { "time": now, "usageCoreNanoSeconds": u.cpu_nanos },
                        "memory": { "time": now, "workingSetBytes": u.memory, "rssBytes": u.rss, "usageBytes": u.usage },
                        "rootfs": { "time": now, "usedBytes": u.disk } })
                })
                .collect();
            let cpu: u64 = own.iter().map(|u| u.cpu_nanos).sum();
            let sum = |part: fn(&Usage) -> u64| own.iter().map(|u| part(u)).sum::<u64>();
            json!({ "podRef": { "name": s.pod.name(), "namespace": s.pod.namespace(), "uid": s.pod.uid() },
                "startTime": s.status.get("startTime"),
                "containers": containers,
                "cpu": { "time": now, "usageCoreNanoSeconds": cpu },
                "memory": { "time": now, "workingSetBytes": sum(|u| u.memory), "rssBytes": sum(|u| u.rss),
                    "usageBytes": sum(|u| u.usage) } })
        })
        .collect();
    json_body(&json!({
        "node": {
            "nodeName": kubelet.config.node_name,
            "cpu": { "time": now, "usageCoreNanoSeconds": node_cpu() },
            "memory": { "time": now, "availableBytes": meminfo("MemAvailable"), "workingSetBytes": node_memory(),
                "usageBytes": meminfo("MemTotal") - meminfo("MemFree"), "rssBytes": meminfo("AnonPages") },
            "fs": fs,
        },
        "pods": pods,
    }))
}
