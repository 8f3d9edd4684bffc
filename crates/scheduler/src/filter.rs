//! Which nodes a pod can run on: one table of filters, each a function of the cycle and a node.
//!
//! Names and reasons are the ones of upstream's plugins, since events print them. Not here: ranking
//! the nodes that pass (`score`), or what the whole cluster says (`topology`, made once a cycle).

use std::borrow::Cow;

use crate::cycle::Cycle;
use crate::node::Node;

/// Why a node was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: Plugin,
    /// Reasons as events print them.
    pub reasons: Vec<Cow<'static, str>>,
    /// Whether evicting pods from the node could help.
    pub resolvable: bool,
}

/// The filters, by upstream's plugin names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Plugin {
    NodeUnschedulable,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeBinding,
    PodTopologySpread,
    InterPodAffinity,
}

type Filter = fn(&Cycle<'_>, &Node) -> Result<(), Refused>;

/// `(reasons, resolvable)`.
type Refused = (Vec<Cow<'static, str>>, bool);

/// In upstream's order; the first refusal counts.
const FILTERS: &[(Plugin, Filter)] = &[
    (Plugin::NodeUnschedulable, unschedulable),
    (Plugin::TaintToleration, taints),
    (Plugin::NodeAffinity, node_affinity),
    (Plugin::NodePorts, ports),
    (Plugin::NodeResourcesFit, fit),
    (Plugin::PodTopologySpread, spread),
    (Plugin::InterPodAffinity, pod_affinity),
];

/// Runs every filter on a node.
pub fn run(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refusal> {
    for (plugin, filter) in FILTERS {
        if let Err((reasons, resolvable)) = filter(cycle, node) {
            return Err(Refusal { filter: *plugin, reasons, resolvable });
        }
    }
    Ok(())
}

fn refuse(reason: &'static str, resolvable: bool) -> Result<(), Refused> {
    Err((vec![Cow::Borrowed(reason)], resolvable))
}

fn unschedulable(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    let taint = crate::pod::Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        value: String::new(),
        effect: "NoSchedule".into(),
    };
    if node.unschedulable && !cycle.pod.tolerates(&taint) {
        return refuse("node(s) were unschedulable", false);
    }
    Ok(())
}

fn taints(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    let hard = |t: &&crate::pod::Taint| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute");
    if node.taints.iter().filter(hard).any(|t| !cycle.pod.tolerates(t)) {
        return refuse("node(s) had untolerated taint(s)", false);
    }
    Ok(())
}

fn node_affinity(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    if cycle.pod.node_rules.matches(&node.entry) {
        Ok(())
    } else {
        refuse("node(s) didn't match Pod's node affinity/selector", false)
    }
}

fn ports(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    if cycle.pod.ports.iter().any(|p| node.ports.iter().any(|taken| taken.conflicts(p))) {
        return refuse("node(s) didn't have free ports for the requested pod ports", true);
    }
    Ok(())
}

fn fit(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    let (want, have, used) = (&cycle.pod.requests, &node.allocatable, &node.requested);
    let mut reasons: Vec<Cow<'static, str>> = Vec::new();
    // A request above what the node has at all cannot be helped by eviction.
    let mut hopeless = false;
    let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    if pods + 1 > have.pods {
        reasons.push("Too many pods".into());
    }
    let mut check = |want: i64, have: i64, used: i64, reason: Cow<'static, str>| {
        if want > 0 && want > have - used {
            reasons.push(reason);
            hopeless |= want > have;
        }
    };
    check(want.milli_cpu, have.milli_cpu, used.milli_cpu, "Insufficient cpu".into());
    check(want.memory, have.memory, used.memory, "Insufficient memory".into());
    check(want.ephemeral, have.ephemeral, used.ephemeral, "Insufficient ephemeral-storage".into());
    for (name, amount) in &want.scalar {
        let reason = Cow::Owned(format!("Insufficient {name}"));
        check(*amount, have.scalar(name), used.scalar(name), reason);
    }
    if reasons.is_empty() { Ok(()) } else { Err((reasons, !hopeless)) }
}

fn spread(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    for domain in &cycle.hard_spread {
        let Some(value) = node.entry.card.label(&domain.constraint.topology_key) else {
            return refuse(
                "node(s) didn't match pod topology spread constraints (missing required label)",
                false,
            );
        };
        let here = domain.counts.get(value).copied().unwrap_or(0);
        let domains = i64::try_from(domain.counts.len()).unwrap_or(i64::MAX);
        let least = if domains < domain.constraint.min_domains {
            0
        } else {
            domain.counts.values().copied().min().unwrap_or(0)
        };
        if here + i64::from(domain.counts_self) - least > domain.constraint.max_skew {
            return refuse("node(s) didn't match pod topology spread constraints", true);
        }
    }
    Ok(())
}

fn pod_affinity(cycle: &Cycle<'_>, node: &Node) -> Result<(), Refused> {
    let Some(state) = &cycle.affinity else { return Ok(()) };
    let label = |key: &str| node.entry.card.label(key);
    if !state.satisfied(&cycle.pod.affinity, label) {
        return refuse("node(s) didn't match pod affinity rules", false);
    }
    let blocked = |counts: &crate::cycle::Pairs| {
        counts.iter().any(|((key, value), n)| *n > 0 && label(key) == Some(value.as_str()))
    };
    if blocked(&state.anti) {
        return refuse("node(s) didn't match pod anti-affinity rules", true);
    }
    if blocked(&state.existing_anti) {
        return refuse("node(s) didn't satisfy existing pods anti-affinity rules", true);
    }
    Ok(())
}
