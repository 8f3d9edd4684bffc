//! Amounts of resources in the scheduler's units, and what a pod asks for.
//!
//! Not here: comparing amounts with a node (`filter::fit`, `score`).

use std::collections::BTreeMap;

use api::quantity::Quantity;
use serde::Deserialize;

/// CPU that a container without a request counts for when nodes are scored, in milli-cores.
const DEFAULT_MILLI_CPU: i64 = 100;
/// Memory that a container without a request counts for when nodes are scored, in bytes.
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// A `ResourceList` as objects carry it; quantities may be written as text or numbers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct ResourceList(pub BTreeMap<String, serde_json::Value>);

/// Amounts: CPU in milli-cores, everything else in whole units (bytes, counts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `cpu`, in milli-cores.
    pub milli_cpu: i64,
    /// `memory`, in bytes.
    pub memory: i64,
    /// `ephemeral-storage`, in bytes.
    pub ephemeral: i64,
    /// `pods`; only nodes offer it.
    pub pods: i64,
    /// Extended resources, huge pages and attachable volumes, sorted by name.
    pub scalar: Vec<(String, i64)>,
}

impl ResourceList {
    /// The amounts; a quantity that cannot be read counts as 0 (the API server has validated it).
    pub fn resources(&self) -> Resources {
        let mut out = Resources::default();
        for (name, value) in &self.0 {
            let text = match value {
                serde_json::Value::String(s) => s.clone(),
                other => other.to_string(),
            };
            let Ok(quantity) = Quantity::parse(&text) else { continue };
            match name.as_str() {
                "cpu" => out.milli_cpu = quantity.milli_value(),
                "memory" => out.memory = quantity.value(),
                "ephemeral-storage" => out.ephemeral = quantity.value(),
                "pods" => out.pods = quantity.value(),
                _ => out.scalar.push((name.clone(), quantity.value())),
            }
        }
        out
    }
}

impl Resources {
    /// The amount of an extended resource.
    pub fn scalar(&self, name: &str) -> i64 {
        let at = self.scalar.binary_search_by(|(n, _)| n.as_str().cmp(name));
        at.map_or(0, |i| self.scalar[i].1)
    }

    fn combine(&mut self, other: &Self, f: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral = f(self.ephemeral, other.ephemeral);
        self.pods = f(self.pods, other.pods);
        for (name, amount) in &other.scalar {
            match self.scalar.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(i) => self.scalar[i].1 = f(self.scalar[i].1, *amount),
                Err(i) => self.scalar.insert(i, (name.clone(), f(0, *amount))),
            }
        }
    }

    /// Adds every amount.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes every amount away.
    pub fn sub(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    /// Raises every amount to at least the other's.
    pub fn max(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// Replaces the amounts that the other list names (pod-level requests, KEP-2837).
    fn override_with(&mut self, named: &ResourceList) {
        let amounts = named.resources();
        for name in named.0.keys() {
            match name.as_str() {
                "cpu" => self.milli_cpu = amounts.milli_cpu,
                "memory" => self.memory = amounts.memory,
                "ephemeral-storage" => {}
                _ => {
                    let amount = amounts.scalar(name);
                    match self.scalar.binary_search_by(|(n, _)| n.cmp(name)) {
                        Ok(i) => self.scalar[i].1 = amount,
                        Err(i) => self.scalar.insert(i, (name.clone(), amount)),
                    }
                }
            }
        }
    }
}

/// The part of a container that requests resources.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawContainer {
    /// `image`.
    pub image: String,
    /// `resources`.
    pub resources: RawRequirements,
    /// `restartPolicy`: `Always` makes an init container a sidecar.
    pub restart_policy: String,
    /// `ports`.
    pub ports: Vec<RawPort>,
}

/// `resources` of a container or pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct RawRequirements {
    /// What is reserved.
    pub requests: ResourceList,
}

/// A container port; only host ports matter here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RawPort {
    /// 0 where the container wants none.
    pub host_port: u16,
    /// Empty means all addresses.
    #[serde(rename = "hostIP")]
    pub host_ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
}

/// What a pod reserves, and the same with stand-ins for missing CPU and memory requests, which only
/// scoring uses.
pub fn pod_requests(
    containers: &[RawContainer],
    init: &[RawContainer],
    overhead: &ResourceList,
    pod_level: &ResourceList,
) -> (Resources, Resources) {
    let real = total(containers, init, |c| c.resources.requests.resources());
    let scored = total(containers, init, |c| {
        let mut r = c.resources.requests.resources();
        if !c.resources.requests.0.contains_key("cpu") && !pod_level.0.contains_key("cpu") {
            r.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !c.resources.requests.0.contains_key("memory") && !pod_level.0.contains_key("memory") {
            r.memory = DEFAULT_MEMORY;
        }
        r
    });
    let finish = |mut r: Resources| {
        r.override_with(pod_level);
        r.add(&overhead.resources());
        r
    };
    (finish(real), finish(scored))
}

/// The larger of what runs together (containers and sidecars) and what any init container needs
/// beside the sidecars started before it (KEP-753).
fn total(
    containers: &[RawContainer],
    init: &[RawContainer],
    of: impl Fn(&RawContainer) -> Resources,
) -> Resources {
    let mut together = Resources::default();
    for container in containers {
        together.add(&of(container));
    }
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in init {
        let mut need = of(container);
        if container.restart_policy == "Always" {
            together.add(&need);
            sidecars.add(&need);
            need = sidecars.clone();
        } else {
            need.add(&sidecars);
        }
        peak.max(&need);
    }
    together.max(&peak);
    together
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str, policy: &str) -> RawContainer {
        serde_json::from_value(serde_json::json!({
            "resources": {"requests": {"cpu": cpu}}, "restartPolicy": policy,
        }))
        .expect("a container")
    }

    #[test]
    fn init_containers_count_beside_earlier_sidecars() {
        let main = [container("500m", "")];
        let init = [container("200m", "Always"), container("1", "")];
        let none = ResourceList::default();
        let (real, scored) = pod_requests(&main, &init, &none, &none);
        assert_eq!(real.milli_cpu, 1200);
        assert_eq!(real.memory, 0);
        assert_eq!(scored.memory, 2 * DEFAULT_MEMORY);
    }

    #[test]
    fn pod_level_requests_win() {
        let pod: ResourceList =
            serde_json::from_value(serde_json::json!({"cpu": "3"})).expect("a list");
        let (real, _) = pod_requests(&[container("500m", "")], &[], &ResourceList::default(), &pod);
        assert_eq!(real.milli_cpu, 3000);
    }
}
