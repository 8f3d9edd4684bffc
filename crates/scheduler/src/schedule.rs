//! One decision: the node for a pod, or why there is none. Pure but for the random tie-break.
//!
//! Not here: acting on it (`run`), or evicting others to make room (`preempt`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::clock::Rng;

use crate::cache::Cache;
use crate::cycle::{Cycle, GroupSelectors};
use crate::filter::{self, Plugin, Refusal};
use crate::node::Node;
use crate::pod::Pod;
use crate::score;

/// Clusters up to this size are looked at whole; larger ones in part (`percentageOfNodesToScore`).
const MIN_FEASIBLE: usize = 100;

/// No node took the pod.
#[derive(Debug, Default)]
pub struct Unschedulable {
    /// How many nodes there are.
    pub nodes: usize,
    /// What each node said, by name.
    pub refusals: BTreeMap<Arc<str>, Refusal>,
    /// What the pod itself lacks, before any node is asked.
    pub early: Option<(Plugin, String)>,
}

impl Unschedulable {
    /// The plugins that refused, for the queue.
    pub fn refused_by(&self) -> BTreeSet<Plugin> {
        let nodes = self.refusals.values().map(|r| r.filter);
        nodes.chain(self.early.as_ref().map(|(p, _)| *p)).collect()
    }

    /// As events and the condition print it: `0/3 nodes are available: 1 Insufficient cpu, 2 ….`
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let mut out = format!("0/{} nodes are available: ", self.nodes);
        if let Some((_, reason)) = &self.early {
            out.push_str(reason);
        } else {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for reason in self.refusals.values().flat_map(|r| &r.reasons) {
                *counts.entry(reason).or_default() += 1;
            }
            let mut parts: Vec<String> =
                counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
            parts.sort();
            out.push_str(&parts.join(", "));
        }
        out.push('.');
        out
    }
}

/// How many feasible nodes are enough for a cluster of that size.
fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(MIN_FEASIBLE)
}

/// Chooses a node. `start` is where the search begins; it is moved on, so that over time every node
/// of a large cluster is looked at.
pub fn choose(
    pod: &Pod,
    cache: &Cache,
    groups: &GroupSelectors,
    rng: &Rng,
    start: &mut usize,
) -> Result<Arc<str>, Unschedulable> {
    let nodes = cache.nodes();
    let mut failure = Unschedulable { nodes: nodes.len(), ..Unschedulable::default() };
    if nodes.is_empty() {
        return Err(failure);
    }
    let cycle = Cycle::new(pod, cache, groups, nodes.iter());
    let wanted = enough(nodes.len());
    let mut feasible: Vec<&Node> = Vec::new();
    let mut looked = 0;
    let first = *start % nodes.len();
    for node in nodes[first..].iter().chain(&nodes[..first]) {
        looked += 1;
        let judged = match cache.reserved(node, pod) {
            // It must fit beside those that the node is reserved for, and without them too: they may
            // never come.
            Some(reserved) => {
                filter::run(&cycle, &reserved).and_then(|()| filter::run(&cycle, node))
            }
            None => filter::run(&cycle, node),
        };
        match judged {
            Ok(()) => feasible.push(node),
            Err(refusal) => {
                // Only read when nothing fits; a large cluster that fits stops early.
                failure.refusals.insert(node.name().clone(), refusal);
            }
        }
        if feasible.len() >= wanted {
            break;
        }
    }
    *start = (first + looked) % nodes.len();
    // A node that an earlier preemption made room on comes first.
    if let Some(node) = feasible.iter().find(|n| **n.name() == *pod.nominated) {
        return Ok(node.name().clone());
    }
    match feasible.as_slice() {
        [] => Err(failure),
        [only] => Ok(only.name().clone()),
        many => {
            let scores = score::run(&cycle, many);
            let best = scores.iter().copied().max().unwrap_or(0);
            let equals: Vec<&&Node> =
                many.iter().zip(&scores).filter(|(_, s)| **s == best).map(|(n, _)| n).collect();
            let pick = usize::try_from(rng.below(equals.len() as u64)).unwrap_or(0);
            Ok(equals[pick].name().clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod};

    fn cluster(nodes: Vec<Node>, placed: &[(&str, &str, &str)]) -> Cache {
        let mut cache = Cache::default();
        nodes.into_iter().for_each(|n| cache.set_node(n));
        for (name, spec, on) in placed {
            cache.place(pod(name, spec), on);
        }
        cache
    }

    fn decide(cache: &Cache, spec: &str) -> Result<String, String> {
        choose(&pod("new", spec), cache, &[], &Rng::seeded(1), &mut 0)
            .map(|n| n.to_string())
            .map_err(|u| u.message())
    }

    const TWO_CPUS: &str = "{containers: [{resources: {requests: {cpu: '2'}}}]}";

    #[test]
    fn resources() {
        let full = [("x", TWO_CPUS, "n1"), ("y", TWO_CPUS, "n1")];
        let cache = cluster(vec![node("n1", "{}"), node("n2", "{}")], &full);
        assert_eq!(decide(&cache, TWO_CPUS), Ok("n2".into()));
        let cache = cluster(vec![node("n1", "{}")], &full);
        assert_eq!(
            decide(&cache, TWO_CPUS),
            Err("0/1 nodes are available: 1 Insufficient cpu.".into())
        );
        let none = Cache::default();
        assert_eq!(decide(&none, "{}"), Err("no nodes available to schedule pods".into()));
    }

    #[test]
    fn taints_and_selectors() {
        let cache = cluster(
            vec![
                node("n1", "{spec: {taints: [{key: k, value: v, effect: NoSchedule}]}}"),
                node("n2", "{metadata: {labels: {disk: ssd}}}"),
                node("n3", "{spec: {unschedulable: true}}"),
            ],
            &[],
        );
        assert_eq!(decide(&cache, "{}"), Ok("n2".into()));
        assert_eq!(
            decide(&cache, "{nodeSelector: {disk: hdd}}"),
            Err("0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, \
                 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
                .into())
        );
        let both = "{tolerations: [{key: k, operator: Exists}], affinity: {nodeAffinity: \
            {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields: \
            [{key: metadata.name, operator: In, values: [n1]}]}]}}}}";
        assert_eq!(decide(&cache, both), Ok("n1".into()));
    }

    #[test]
    fn host_ports() {
        let port = |ip| {
            format!("{{containers: [{{ports: [{{hostPort: 80, hostIP: {ip}, protocol: TCP}}]}}]}}")
        };
        let cache = cluster(vec![node("n1", "{}")], &[("x", &port("127.0.0.1"), "n1")]);
        assert_eq!(decide(&cache, &port("127.0.0.2")), Ok("n1".into()));
        assert!(decide(&cache, &port("0.0.0.0")).is_err());
    }

    #[test]
    fn spreading_forbids_and_counts_the_pod_itself() {
        let zone = |n: &str, z: &str| node(n, &format!("{{metadata: {{labels: {{zone: {z}}}}}}}"));
        let cache = cluster(vec![zone("n1", "a"), zone("n2", "b")], &[("n-old", "{}", "n1")]);
        let spread = "{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, \
            whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: n}}}]}";
        for _ in 0..8 {
            assert_eq!(decide(&cache, spread), Ok("n2".into()));
        }
    }

    #[test]
    fn anti_affinity_works_both_ways() {
        let anti = "{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
            [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: n}}}]}}}";
        let nodes = || vec![node("n1", "{}"), node("n2", "{}")];
        let theirs = cluster(nodes(), &[("guard", anti, "n1")]);
        assert_eq!(decide(&theirs, "{}"), Ok("n2".into()));
        let ours = cluster(nodes(), &[("n-old", "{}", "n2")]);
        assert_eq!(decide(&ours, anti), Ok("n1".into()));
    }

    #[test]
    fn the_first_of_a_group_may_start_it() {
        let affinity = |app: &str| {
            format!(
                "{{affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: \
                [{{topologyKey: kubernetes.io/hostname, labelSelector: {{matchLabels: {{app: {app}}}}}}}]}}}}}}"
            )
        };
        let cache = cluster(vec![node("n1", "{}")], &[]);
        assert_eq!(decide(&cache, &affinity("n")), Ok("n1".into()));
        assert!(decide(&cache, &affinity("other")).is_err());
    }

    #[test]
    fn empties_fill_evenly() {
        let mut cache = cluster(vec![node("n1", "{}"), node("n2", "{}")], &[]);
        let rng = Rng::seeded(3);
        for i in 0..6 {
            let next = pod(&format!("p{i}"), TWO_CPUS.replace('2', "500m").as_str());
            let on = choose(&next, &cache, &[], &rng, &mut 0).expect("fits");
            cache.place(next, &on);
        }
        assert_eq!(cache.nodes().iter().map(|n| n.pods.len()).collect::<Vec<_>>(), [3, 3]);
    }
}
