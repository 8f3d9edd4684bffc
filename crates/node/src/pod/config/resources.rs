//! From quantities to cgroup figures: shares, quotas, limits, QoS classes, OOM scores.
//!
//! Not here: writing them to cgroups ([`crate::cgroups`]).

use std::collections::{BTreeMap, HashMap};

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::Container;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::cri;
use crate::pod::view::{Kind, PodView, is_sidecar};

/// The CFS period.
const PERIOD: i64 = 100_000;
/// The least CFS quota that the kernel takes.
const MIN_QUOTA: i64 = 1_000;
/// The least and the most CPU shares.
const SHARES: (i64, i64) = (2, 262_144);

/// How much the kernel is to spare a pod when memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some request or limit.
    Burstable,
    /// None.
    BestEffort,
}

impl Qos {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// The class of a pod.
    pub fn of(pod: &PodView) -> Self {
        let pod_level = pod.spec.resources.as_ref();
        let has = |m: Option<&BTreeMap<String, Text>>| {
            m.is_some_and(|m| {
                m.iter().any(|(k, q)| (k == "cpu" || k == "memory") && !parse(q).is_zero())
            })
        };
        let lists: Vec<_> =
            match pod_level.filter(|r| has(r.requests.as_ref()) || has(r.limits.as_ref())) {
                Some(r) => vec![(r.requests.as_ref(), r.limits.as_ref())],
                None => [Kind::Init, Kind::Regular]
                    .into_iter()
                    .flat_map(|k| pod.containers(k))
                    .map(|c| {
                        let r = c.resources.as_ref();
                        (r.and_then(|r| r.requests.as_ref()), r.and_then(|r| r.limits.as_ref()))
                    })
                    .collect(),
            };
        let mut any = false;
        let mut guaranteed = true;
        for (requests, limits) in lists {
            any |= has(requests) || has(limits);
            for name in ["cpu", "memory"] {
                let limit = limits.and_then(|m| m.get(name)).map(parse).filter(|q| !q.is_zero());
                let request =
                    requests.and_then(|m| m.get(name)).map(parse).filter(|q| !q.is_zero());
                guaranteed &= limit.is_some() && request.or(limit) == limit;
            }
        }
        match (any, guaranteed) {
            (false, _) => Self::BestEffort,
            (true, true) => Self::Guaranteed,
            (true, false) => Self::Burstable,
        }
    }
}

fn parse(q: &Text) -> Quantity {
    Quantity::parse(&q.0).unwrap_or(Quantity::milli(0))
}

fn get(map: Option<&BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    map?.get(name).map(parse).filter(|q| !q.is_zero())
}

/// A container's request, its limit standing in for a missing one.
pub fn request(c: &Container, name: &str) -> Option<Quantity> {
    let r = c.resources.as_ref()?;
    get(r.requests.as_ref(), name).or_else(|| get(r.limits.as_ref(), name))
}

/// A container's limit.
pub fn limit(c: &Container, name: &str) -> Option<Quantity> {
    get(c.resources.as_ref()?.limits.as_ref(), name)
}

/// CPU shares for a request in thousandths of a CPU.
pub fn shares(milli: i64) -> i64 {
    (milli.saturating_mul(1024) / 1000).clamp(SHARES.0, SHARES.1)
}

/// CFS quota for a limit in thousandths of a CPU.
pub fn quota(milli: i64) -> i64 {
    (milli.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA)
}

/// cgroup v2's weight for v1's shares.
pub fn weight(shares: i64) -> i64 {
    1 + ((shares - 2) * 9999) / 262_142
}

/// The OOM score adjustment of a container.
pub fn oom_score_adj(pod: &PodView, container: &Container, capacity: i64) -> i64 {
    // Pods without which the node does not work.
    if pod.spec.priority.unwrap_or(0) >= 2_000_001_000 {
        return -997;
    }
    let burstable = |request: i64| {
        let score = 1000
            - i64::try_from(1000 * i128::from(request) / i128::from(capacity.max(1))).unwrap_or(0);
        score.clamp(3, 999)
    };
    let memory = |c: &Container| request(c, "memory").map_or(0, Quantity::value);
    match Qos::of(pod) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable if is_sidecar(container) => {
            // A sidecar is not to be killed before the containers it serves.
            let regular = pod.containers(Kind::Regular).iter().map(|c| burstable(memory(c))).min();
            burstable(memory(container)).min(regular.unwrap_or(999))
        }
        Qos::Burstable => burstable(memory(container)),
    }
}

/// What a container gets.
pub fn linux(
    pod: &PodView,
    c: &Container,
    memory_capacity: i64,
    v2: bool,
) -> cri::LinuxContainerResources {
    let cpu_request = request(c, "cpu").map_or(0, Quantity::milli_value);
    let cpu_limit = limit(c, "cpu").map_or(0, Quantity::milli_value);
    let memory = limit(c, "memory").map_or(0, Quantity::value);
    let huge = c.resources.as_ref().and_then(|r| r.limits.as_ref()).into_iter().flatten();
    let hugepage_limits = huge
        .filter_map(|(name, q)| {
            let size = name.strip_prefix("hugepages-")?;
            let bytes = Quantity::parse(size).ok()?.value();
            let page_size = match bytes {
                b if b >= 1 << 30 => format!("{}GB", b >> 30),
                b if b >= 1 << 20 => format!("{}MB", b >> 20),
                b => format!("{}KB", b >> 10),
            };
            Some(cri::HugepageLimit {
                page_size,
                limit: u64::try_from(parse(q).value()).unwrap_or(0),
            })
        })
        .collect();
    let mut unified = HashMap::new();
    if v2 && memory > 0 {
        // One process out of memory ends the container, rather than leaving it half alive.
        unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    cri::LinuxContainerResources {
        cpu_period: PERIOD,
        cpu_quota: if cpu_limit > 0 { quota(cpu_limit) } else { 0 },
        cpu_shares: shares(cpu_request),
        memory_limit_in_bytes: memory,
        oom_score_adj: oom_score_adj(pod, c, memory_capacity),
        // Without swap for containers: swap and memory together are bounded like memory.
        memory_swap_limit_in_bytes: if v2 { 0 } else { memory },
        hugepage_limits,
        unified,
        ..Default::default()
    }
}

/// Whether the change of a container's resources asks for its restart, by its resize policy.
pub fn resize_restarts(before: &Container, after: &Container) -> bool {
    after.resize_policy.iter().flatten().filter(|p| p.restart_policy == "RestartContainer").any(
        |p| {
            let figures = |c: &Container| {
                let r = c.resources.as_ref();
                let requests = r.and_then(|r| r.requests.as_ref());
                let limits = r.and_then(|r| r.limits.as_ref());
                (get(requests, &p.resource_name), get(limits, &p.resource_name))
            };
            figures(before) != figures(after)
        },
    )
}

/// What the pod's own cgroup is set to. `None`: not bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLimits {
    /// CPU shares.
    pub cpu_shares: i64,
    /// CFS quota for a period of 100 ms.
    pub cpu_quota: Option<i64>,
    /// Memory in bytes.
    pub memory: Option<i64>,
}

/// The pod's requests of cpu in thousandths: what its containers and sidecars ask for together, or
/// its largest init container if that is more, plus overhead.
pub fn pod_cpu_request(pod: &PodView) -> i64 {
    total(pod, |c| request(c, "cpu").map(Quantity::milli_value)).0
        + overhead(pod, "cpu").map_or(0, Quantity::milli_value)
}

fn overhead(pod: &PodView, name: &str) -> Option<Quantity> {
    get(pod.spec.overhead.as_ref(), name)
}

/// The sum over a pod, and whether every container has a figure.
fn total(pod: &PodView, figure: impl Fn(&Container) -> Option<i64>) -> (i64, bool) {
    let mut all = true;
    let mut sum = |c: &Container| {
        let f = figure(c);
        all &= f.is_some();
        f.unwrap_or(0)
    };
    let regular: i64 = pod.containers(Kind::Regular).iter().map(&mut sum).sum();
    let (mut sidecars, mut peak) = (0, 0);
    for c in pod.containers(Kind::Init) {
        if is_sidecar(c) {
            sidecars += sum(c);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + sum(c));
        }
    }
    ((regular + sidecars).max(peak), all)
}

/// The limits of a pod's cgroup.
pub fn pod_limits(pod: &PodView) -> PodLimits {
    let level = pod.spec.resources.as_ref();
    let pod_level = |name: &str| get(level.and_then(|r| r.limits.as_ref()), name);
    let cpu = total(pod, |c| limit(c, "cpu").map(Quantity::milli_value));
    let memory = total(pod, |c| limit(c, "memory").map(Quantity::value));
    let extra = |name: &str, f: fn(Quantity) -> i64| overhead(pod, name).map_or(0, f);
    let cpu = match pod_level("cpu") {
        Some(q) => Some(q.milli_value()),
        None => cpu.1.then_some(cpu.0 + extra("cpu", Quantity::milli_value)),
    };
    let memory = match pod_level("memory") {
        Some(q) => Some(q.value()),
        None => memory.1.then_some(memory.0 + extra("memory", Quantity::value)),
    };
    let request = get(level.and_then(|r| r.requests.as_ref()), "cpu");
    let request = request.map_or_else(|| pod_cpu_request(pod), Quantity::milli_value);
    PodLimits { cpu_shares: shares(request), cpu_quota: cpu.map(quota), memory }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::view::tests::pod;

    fn of(resources: serde_json::Value) -> PodView {
        pod(serde_json::json!({ "metadata": { "name": "p" },
            "spec": { "containers": [{ "name": "c", "resources": resources }] } }))
    }

    #[test]
    fn classes() {
        let cases = [
            (serde_json::json!({}), Qos::BestEffort, 1000),
            (serde_json::json!({ "requests": { "memory": "1Gi" } }), Qos::Burstable, 875),
            (
                serde_json::json!({ "limits": { "cpu": "1", "memory": "1Gi" } }),
                Qos::Guaranteed,
                -997,
            ),
            (
                serde_json::json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m", "memory": "1Gi" } }),
                Qos::Burstable,
                875,
            ),
        ];
        for (resources, qos, oom) in cases {
            let p = of(resources.clone());
            assert_eq!(Qos::of(&p), qos, "{resources}");
            assert_eq!(oom_score_adj(&p, &p.containers(Kind::Regular)[0], 8 << 30), oom);
        }
    }

    #[test]
    fn figures() {
        let p = of(
            serde_json::json!({ "limits": { "cpu": "500m", "memory": "64Mi", "hugepages-2Mi": "4Mi" },
            "requests": { "cpu": "100m" } }),
        );
        let r = linux(&p, &p.containers(Kind::Regular)[0], 1 << 33, false);
        assert_eq!((r.cpu_shares, r.cpu_quota, r.memory_limit_in_bytes), (102, 50_000, 64 << 20));
        assert_eq!(r.hugepage_limits[0].page_size, "2MB");
        assert_eq!(shares(0), 2);
        assert_eq!(quota(1), MIN_QUOTA);
        assert_eq!((weight(2), weight(1024), weight(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn resizes_restart_by_policy() {
        let of = |cpu: &str, memory: &str| {
            let p = pod(
                serde_json::json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c",
                "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" },
                                 { "resourceName": "cpu", "restartPolicy": "NotRequired" }],
                "resources": { "limits": { "cpu": cpu, "memory": memory } } }] } }),
            );
            p.containers(Kind::Regular)[0].clone()
        };
        assert!(!resize_restarts(&of("1", "1Gi"), &of("2", "1024Mi")));
        assert!(resize_restarts(&of("1", "1Gi"), &of("1", "2Gi")));
    }

    #[test]
    fn pods_sum_up_and_init_containers_peak() {
        let p = pod(serde_json::json!({ "metadata": { "name": "p" }, "spec": {
            "initContainers": [{ "name": "i", "resources": { "requests": { "cpu": "3" }, "limits": { "cpu": "3" } } }],
            "containers": [{ "name": "a", "resources": { "limits": { "cpu": "1" } } },
                           { "name": "b", "resources": { "limits": { "cpu": "1" } } }] } }));
        let limits = pod_limits(&p);
        assert_eq!(limits, PodLimits { cpu_shares: 3072, cpu_quota: Some(300_000), memory: None });
    }
}
