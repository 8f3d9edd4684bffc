//! What one scheduling cycle computes once for its pod: how pods are spread over domains, and which
//! domains affinity asks for or forbids.
//!
//! Not here: judging single nodes (`filter`, `score`).

use std::collections::HashMap;
use std::sync::Arc;

use api::selector::LabelSelector;

use crate::cache::Cache;
use crate::node::Node;
use crate::pod::{Pod, PodAffinity, PodTerm, Spread};

/// Counts by topology pair: `(key, value)`.
pub type Pairs = HashMap<(String, String), i64>;

/// A spread constraint with the matching pods of each domain.
#[derive(Debug)]
pub struct Domains {
    /// The constraint.
    pub constraint: Spread,
    /// Matching pods by value of the topology key; eligible domains without pods count 0.
    pub counts: HashMap<String, i64>,
    /// Whether the pod itself matches the selector.
    pub counts_self: bool,
}

/// Inter-pod affinity over the cluster.
#[derive(Debug, Default)]
pub struct AffinityState {
    /// Pods that each required affinity term means, by the term's index and domain.
    pub required: Vec<HashMap<String, i64>>,
    /// Whether the pod meets its own required terms: the first of a group may go anywhere.
    pub self_match: bool,
    /// Domains holding pods that the pod's required anti-affinity means.
    pub anti: Pairs,
    /// Domains holding pods whose required anti-affinity means this pod.
    pub existing_anti: Pairs,
}

impl AffinityState {
    /// Whether a node's domains hold what every required term wants.
    pub fn satisfied<'n>(
        &self,
        wanted: &PodAffinity,
        label: impl Fn(&str) -> Option<&'n str>,
    ) -> bool {
        let mut all_keys = true;
        let all_found =
            wanted.required.iter().zip(&self.required).all(|(term, counts)| {
                match label(&term.topology_key) {
                    Some(value) => counts.get(value).is_some_and(|n| *n > 0),
                    None => {
                        all_keys = false;
                        false
                    }
                }
            });
        if all_found {
            return true;
        }
        let first = self.required.iter().all(HashMap::is_empty) && self.self_match;
        first && all_keys && wanted.required.iter().all(|t| label(&t.topology_key).is_some())
    }
}

/// Everything one cycle knows.
pub struct Cycle<'a> {
    /// The pod to place.
    pub pod: &'a Pod,
    /// The cluster.
    pub cache: &'a Cache,
    /// Constraints that forbid.
    pub hard_spread: Vec<Domains>,
    /// Constraints that rank.
    pub soft_spread: Vec<Domains>,
    /// Whether the soft constraints are the built-in ones, which accept nodes without the labels.
    pub default_spread: bool,
    /// Required affinity; `None` where neither the pod nor any other has some.
    pub affinity: Option<AffinityState>,
}

/// Selectors of the services and workload owners that a pod belongs to, for the built-in spreading.
pub type GroupSelectors = [LabelSelector];

/// `(max skew, topology key)` of the built-in constraints, both soft.
const DEFAULT_SPREAD: [(i64, &str); 2] =
    [(3, "kubernetes.io/hostname"), (5, "topology.kubernetes.io/zone")];

impl<'a> Cycle<'a> {
    /// Computes the state over the nodes that `nodes` yields (the cache's, or with one exchanged
    /// where preemption asks what if).
    pub fn new<'n>(
        pod: &'a Pod,
        cache: &'a Cache,
        groups: &GroupSelectors,
        nodes: impl Iterator<Item = &'n Node> + Clone,
    ) -> Self {
        let default_spread = pod.spread.is_empty();
        let constraints = if default_spread { built_in(groups) } else { pod.spread.clone() };
        let (hard, soft): (Vec<_>, Vec<_>) = constraints.into_iter().partition(|c| c.hard);
        let hard_spread = count_domains(hard, pod, nodes.clone(), true);
        let soft_spread = count_domains(soft, pod, nodes.clone(), !default_spread);
        let relevant = !pod.affinity.required.is_empty()
            || !pod.affinity.anti.is_empty()
            || nodes.clone().any(|n| n.with_anti > 0);
        let affinity = relevant.then(|| count_affinity(pod, cache, nodes));
        Self { pod, cache, hard_spread, soft_spread, default_spread, affinity }
    }
}

fn built_in(groups: &GroupSelectors) -> Vec<Spread> {
    if groups.is_empty() {
        return Vec::new();
    }
    let all = LabelSelector(groups.iter().flat_map(|s| s.0.iter().cloned()).collect());
    DEFAULT_SPREAD
        .iter()
        .map(|(max_skew, key)| Spread {
            max_skew: *max_skew,
            topology_key: (*key).to_owned(),
            hard: false,
            selector: Some(all.clone()),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
        })
        .collect()
}

/// A node counts for a constraint when it has the labels of all constraints (`all_keys`) and the
/// node inclusion policies accept it.
fn count_domains<'n>(
    constraints: Vec<Spread>,
    pod: &Pod,
    nodes: impl Iterator<Item = &'n Node> + Clone,
    all_keys: bool,
) -> Vec<Domains> {
    if constraints.is_empty() {
        return Vec::new();
    }
    let mut out: Vec<Domains> = constraints
        .into_iter()
        .map(|constraint| {
            let own = constraint.selector.as_ref().is_some_and(|s| s.matches(&pod.entry.card));
            Domains { constraint, counts: HashMap::new(), counts_self: own }
        })
        .collect();
    let keys: Vec<String> = out.iter().map(|d| d.constraint.topology_key.clone()).collect();
    for node in nodes {
        let card = &node.entry.card;
        if all_keys && !keys.iter().all(|k| card.label(k).is_some()) {
            continue;
        }
        let accepted = std::cell::OnceCell::new();
        let tolerated = std::cell::OnceCell::new();
        for domain in &mut out {
            let c = &domain.constraint;
            if c.honor_affinity && !*accepted.get_or_init(|| pod.node_rules.matches(&node.entry)) {
                continue;
            }
            let untainted =
                || node.taints.iter().all(|t| t.effect == "PreferNoSchedule" || pod.tolerates(t));
            if c.honor_taints && !*tolerated.get_or_init(untainted) {
                continue;
            }
            let Some(value) = card.label(&c.topology_key) else { continue };
            let n = c.selector.as_ref().map_or(0, |selector| matching(node, pod, selector));
            match domain.counts.get_mut(value) {
                Some(count) => *count += n,
                None => {
                    domain.counts.insert(value.to_owned(), n);
                }
            }
        }
    }
    out
}

/// Pods of the same namespace on a node that a selector means; those being deleted do not count.
fn matching(node: &Node, pod: &Pod, selector: &LabelSelector) -> i64 {
    let own = &pod.entry.card;
    let count = node
        .pods
        .iter()
        .map(|p| &p.entry.card)
        .filter(|c| !c.deleting && c.namespace == own.namespace && c.uid != own.uid)
        .filter(|c| selector.matches(c))
        .count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count_affinity<'n>(
    pod: &Pod,
    cache: &Cache,
    nodes: impl Iterator<Item = &'n Node>,
) -> AffinityState {
    let own = &pod.affinity;
    let means = |term: &PodTerm, other: &Pod| term.matches(other, &cache.namespaces);
    let mut state = AffinityState {
        required: vec![HashMap::new(); own.required.len()],
        self_match: own.required.iter().all(|t| means(t, pod)),
        ..AffinityState::default()
    };
    let scan = !own.required.is_empty() || !own.anti.is_empty();
    for node in nodes {
        let card = &node.entry.card;
        let bump = |pairs: &mut Pairs, key: &str| {
            if let Some(value) = card.label(key) {
                *pairs.entry((key.to_owned(), value.to_owned())).or_default() += 1;
            }
        };
        if node.with_anti > 0 {
            for (other, term) in node
                .pods
                .iter()
                .flat_map(|p: &Arc<Pod>| p.affinity.anti.iter().map(move |t| (p, t)))
            {
                if other.entry.card.uid != pod.entry.card.uid && means(term, pod) {
                    bump(&mut state.existing_anti, &term.topology_key);
                }
            }
        }
        if !scan {
            continue;
        }
        for other in &node.pods {
            for term in own.anti.iter().filter(|t| means(t, other)) {
                bump(&mut state.anti, &term.topology_key);
            }
            // A pod counts for affinity only when it meets every term.
            if !own.required.is_empty() && own.required.iter().all(|t| means(t, other)) {
                for (term, counts) in own.required.iter().zip(&mut state.required) {
                    if let Some(value) = card.label(&term.topology_key) {
                        *counts.entry(value.to_owned()).or_default() += 1;
                    }
                }
            }
        }
    }
    state
}
