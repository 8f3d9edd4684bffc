//! Ranking the nodes that passed the filters: one table of scorers with upstream's default weights.
//!
//! Each scorer gives raw scores for all nodes, then brings them to 0..=100 its own way. Not here:
//! choosing among equals (`schedule`).

use std::collections::HashMap;

use crate::cycle::Cycle;
use crate::node::Node;
use crate::pod::Pod;

/// The highest score of one scorer.
const MAX: i64 = 100;
/// How much a required affinity term of an existing pod counts (`hardPodAffinityWeight`).
const HARD_AFFINITY_WEIGHT: i64 = 1;
const MIB: i64 = 1024 * 1024;
/// Image sizes below and above which a node's images count nothing and everything.
const IMAGE_BOUNDS: (i64, i64) = (23 * MIB, 1000 * MIB);

type Scorer = fn(&Cycle<'_>, &[&Node]) -> Vec<i64>;

/// `(weight, scorer)` as in upstream's default profile.
const SCORERS: &[(i64, Scorer)] = &[
    (3, taints),
    (2, node_affinity),
    (2, spread),
    (2, pod_affinity),
    (1, least_allocated),
    (1, balanced),
    (1, images),
];

/// The weighted sum for each node.
pub fn run(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    for (weight, scorer) in SCORERS {
        for (total, score) in totals.iter_mut().zip(scorer(cycle, nodes)) {
            *total += weight * score;
        }
    }
    totals
}

/// Scales raw scores so that the largest becomes 100; `reverse` turns them round.
fn by_largest(mut raw: Vec<i64>, reverse: bool) -> Vec<i64> {
    let top = raw.iter().copied().max().unwrap_or(0);
    for score in &mut raw {
        *score = if top == 0 { 0 } else { *score * MAX / top };
        if reverse {
            *score = MAX - *score;
        }
    }
    raw
}

fn taints(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let intolerable = |node: &&Node| {
        let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|t| !cycle.pod.tolerates(t)).count() as i64
    };
    by_largest(nodes.iter().map(intolerable).collect(), true)
}

fn node_affinity(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let preferred = &cycle.pod.node_preferences;
    if preferred.is_empty() {
        return vec![0; nodes.len()];
    }
    let weight = |node: &&Node| {
        preferred.iter().filter(|(_, term)| term.matches(&node.entry)).map(|(w, _)| w).sum()
    };
    by_largest(nodes.iter().map(weight).collect(), false)
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn spread(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let constraints = &cycle.soft_spread;
    if constraints.is_empty() {
        return vec![0; nodes.len()];
    }
    let has = |node: &Node, key: &str| node.entry.card.label(key).is_some();
    // Nodes without the labels are ranked last, unless the constraints are the built-in ones.
    let ignored = |node: &Node| {
        !cycle.default_spread && constraints.iter().any(|d| !has(node, &d.constraint.topology_key))
    };
    // More domains among the candidates: each difference in count weighs more.
    let weights: Vec<f64> = constraints
        .iter()
        .map(|d| {
            let key = d.constraint.topology_key.as_str();
            let mut values: Vec<&str> = nodes
                .iter()
                .filter(|n| !ignored(n))
                .filter_map(|n| n.entry.card.label(key))
                .collect();
            values.sort_unstable();
            values.dedup();
            ((values.len() + 2) as f64).ln()
        })
        .collect();
    let raw: Vec<Option<i64>> = nodes
        .iter()
        .map(|node| {
            if ignored(node) {
                return None;
            }
            let mut score = 0.0;
            for (d, weight) in constraints.iter().zip(&weights) {
                if let Some(value) = node.entry.card.label(&d.constraint.topology_key) {
                    let count = d.counts.get(value).copied().unwrap_or(0);
                    score += count as f64 * weight + (d.constraint.max_skew - 1) as f64;
                }
            }
            Some(score.round() as i64)
        })
        .collect();
    let top = raw.iter().flatten().copied().max().unwrap_or(0);
    let low = raw.iter().flatten().copied().min().unwrap_or(0);
    raw.into_iter()
        .map(|score| match score {
            None => 0,
            Some(_) if top == 0 => MAX,
            Some(score) => MAX * (top + low - score) / top,
        })
        .collect()
}

fn pod_affinity(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let own = &cycle.pod.affinity;
    let others = cycle.cache.nodes();
    if own.preferred.is_empty() && others.iter().all(|n| n.with_affinity == 0) {
        return vec![0; nodes.len()];
    }
    let mut weights: HashMap<(&str, &str), i64> = HashMap::new();
    for node in others {
        for pod in &node.pods {
            tally(cycle, node, pod, &mut weights);
        }
    }
    let raw: Vec<i64> = nodes
        .iter()
        .map(|node| {
            let here = |((key, value), w): (&(&str, &str), &i64)| {
                (node.entry.card.label(key) == Some(*value)).then_some(*w)
            };
            weights.iter().filter_map(here).sum()
        })
        .collect();
    let top = raw.iter().copied().max().unwrap_or(0);
    let low = raw.iter().copied().min().unwrap_or(0);
    let scale = |score| if top > low { MAX * (score - low) / (top - low) } else { 0 };
    raw.into_iter().map(scale).collect()
}

/// What one existing pod adds to its node's domains: as the target of the new pod's preferences, and
/// with its own preferences about the new pod.
fn tally<'c>(
    cycle: &Cycle<'c>,
    node: &'c Node,
    existing: &'c Pod,
    weights: &mut HashMap<(&'c str, &'c str), i64>,
) {
    let names = &cycle.cache.namespaces;
    let mut add = |key: &'c str, weight: i64| {
        if let Some(value) = node.entry.card.label(key) {
            *weights.entry((key, value)).or_default() += weight;
        }
    };
    for (weight, term) in &cycle.pod.affinity.preferred {
        if term.matches(existing, names) {
            add(&term.topology_key, *weight);
        }
    }
    for term in &existing.affinity.required {
        if term.matches(cycle.pod, names) {
            add(&term.topology_key, HARD_AFFINITY_WEIGHT);
        }
    }
    for (weight, term) in &existing.affinity.preferred {
        if term.matches(cycle.pod, names) {
            add(&term.topology_key, *weight);
        }
    }
}

/// CPU and memory in use with the pod on the node, each with what the node has.
fn cpu_and_memory(cycle: &Cycle<'_>, node: &Node) -> [(i64, i64); 2] {
    let want = &cycle.pod.scored;
    [
        (node.scored.milli_cpu + want.milli_cpu, node.allocatable.milli_cpu),
        (node.scored.memory + want.memory, node.allocatable.memory),
    ]
}

fn least_allocated(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let free = |(used, have): &(i64, i64)| {
        if *have == 0 || used > have { 0 } else { (have - used) * MAX / have }
    };
    let score = |node: &&Node| {
        let parts = cpu_and_memory(cycle, node);
        let offered: Vec<_> = parts.iter().filter(|(_, have)| *have > 0).collect();
        let sum: i64 = offered.iter().map(|p| free(p)).sum();
        if offered.is_empty() { 0 } else { sum / offered.len() as i64 }
    };
    nodes.iter().map(score).collect()
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn balanced(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let asks_nothing = cycle.pod.requests.milli_cpu == 0 && cycle.pod.requests.memory == 0;
    if asks_nothing {
        return vec![0; nodes.len()];
    }
    let score = |node: &&Node| {
        let (want, used) = (&cycle.pod.requests, &node.requested);
        let share = |used: i64, have: i64| {
            if have == 0 { 1.0 } else { (used as f64 / have as f64).min(1.0) }
        };
        let cpu = share(used.milli_cpu + want.milli_cpu, node.allocatable.milli_cpu);
        let memory = share(used.memory + want.memory, node.allocatable.memory);
        let deviation = (cpu - memory).abs() / 2.0;
        ((1.0 - deviation) * MAX as f64) as i64
    };
    nodes.iter().map(score).collect()
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn images(cycle: &Cycle<'_>, nodes: &[&Node]) -> Vec<i64> {
    let total = cycle.cache.nodes().len().max(1) as f64;
    let wanted: Vec<String> = cycle.pod.images.iter().map(|i| normalized(i)).collect();
    let (low, high) = IMAGE_BOUNDS;
    let high = high * wanted.len().max(1) as i64;
    let score = |node: &&Node| {
        // An image on many nodes counts more, so that one lucky node is not flooded.
        let sum: i64 = wanted
            .iter()
            .filter_map(|name| {
                let size = *node.images.get(name)?;
                let on = cycle.cache.images.get(name).copied().unwrap_or(0) as f64;
                Some((size as f64 * on / total) as i64)
            })
            .sum();
        MAX * (sum.clamp(low, high) - low) / (high - low)
    };
    nodes.iter().map(score).collect()
}

/// Image names without a tag mean `:latest`.
fn normalized(image: &str) -> String {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}
