//! Making room for a pod by ending pods of lower priority: which node, and which pods.
//!
//! Pure. The fewest disruption budgets are broken, then the least important pods go, as few as will
//! do. Not here: ending them (`bind`).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use api::selector::LabelSelector;

use crate::cache::Cache;
use crate::cycle::{Cycle, GroupSelectors};
use crate::filter;
use crate::node::Node;
use crate::pod::Pod;
use crate::schedule::Unschedulable;

/// A pod disruption budget as far as it matters here.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Which pods it protects.
    pub selector: LabelSelector,
    /// How many of them may still go.
    pub allowed: i64,
}

/// Who must go, and from where.
#[derive(Debug)]
pub struct Plan {
    /// The node that the pod is meant for.
    pub node: Arc<str>,
    /// The pods to end.
    pub victims: Vec<Arc<Pod>>,
}

/// Nodes looked at: a tenth, and at least this many.
const MIN_CANDIDATES: usize = 100;

struct Candidate {
    node: Arc<str>,
    victims: Vec<Arc<Pod>>,
    violations: usize,
}

/// Finds room for a pod that no node took, or says for each node why there is none.
pub fn plan(
    pod: &Pod,
    cache: &Cache,
    groups: &GroupSelectors,
    budgets: &[Budget],
    failure: &Unschedulable,
) -> Result<Plan, String> {
    if !pod.may_preempt {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if let Some(node) = cache.node(&pod.nominated)
        && node.pods.iter().any(|p| p.entry.card.deleting && p.priority < pod.priority)
    {
        return Err(
            "preemption: not eligible due to a terminating pod on the nominated node.".to_owned()
        );
    }
    let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
    let mut say = |reason: Cow<'static, str>| *reasons.entry(reason).or_default() += 1;
    let enough = (cache.nodes().len() / 10).max(MIN_CANDIDATES);
    let mut candidates: Vec<Candidate> = Vec::new();
    for node in cache.nodes() {
        if !failure.refusals.get(node.name()).is_some_and(|r| r.resolvable) {
            say("Preemption is not helpful for scheduling".into());
            continue;
        }
        match room_on(pod, cache, groups, budgets, node) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => why.into_iter().for_each(&mut say),
        }
        if candidates.len() >= enough {
            break;
        }
    }
    let best = candidates.into_iter().min_by_key(|c| {
        let highest = c.victims.iter().map(|v| v.priority).max().unwrap_or(i32::MIN);
        let sum: i64 = c.victims.iter().map(|v| i64::from(v.priority) - i64::from(i32::MIN)).sum();
        // Of equals, the node whose most important victim is the youngest.
        let top = c.victims.iter().filter(|v| v.priority == highest);
        let oldest = top.map(|v| v.start_time.clone()).min().unwrap_or_default();
        (c.violations, highest, sum, c.victims.len(), Reverse(oldest))
    });
    match best {
        Some(Candidate { node, victims, .. }) => Ok(Plan { node, victims }),
        None => {
            let mut parts: Vec<String> = reasons.iter().map(|(r, n)| format!("{n} {r}")).collect();
            parts.sort();
            Err(format!(
                "preemption: 0/{} nodes are available: {}.",
                cache.nodes().len(),
                parts.join(", ")
            ))
        }
    }
}

/// Whether the pod fits on a node as `changed` describes it.
fn fits(
    pod: &Pod,
    cache: &Cache,
    groups: &GroupSelectors,
    changed: &Node,
) -> Result<(), Vec<Cow<'static, str>>> {
    let nodes = cache.nodes().iter().map(|n| if n.name() == changed.name() { changed } else { n });
    let cycle = Cycle::new(pod, cache, groups, nodes);
    filter::run(&cycle, changed).map_err(|r| r.reasons)
}

fn room_on(
    pod: &Pod,
    cache: &Cache,
    groups: &GroupSelectors,
    budgets: &[Budget],
    node: &Node,
) -> Result<Candidate, Vec<Cow<'static, str>>> {
    let mut lower: Vec<Arc<Pod>> =
        node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    let mut changed = node.clone();
    for victim in &lower {
        changed.remove(&victim.entry.card.uid);
    }
    fits(pod, cache, groups, &changed)?;
    // Bring back whom we can: those whose end would break a budget first, then the more important.
    lower.sort_by_key(|p| (Reverse(p.priority), p.start_time.clone()));
    let (violating, free) = split_by_budgets(lower, budgets);
    let (mut victims, mut violations) = (Vec::new(), 0);
    for (list, violates) in [(violating, true), (free, false)] {
        for candidate in list {
            changed.add(candidate.clone());
            if fits(pod, cache, groups, &changed).is_err() {
                changed.remove(&candidate.entry.card.uid);
                violations += usize::from(violates);
                victims.push(candidate);
            }
        }
    }
    Ok(Candidate { node: node.name().clone(), victims, violations })
}

/// Pods whose end would break a budget, and the others, in order.
fn split_by_budgets(pods: Vec<Arc<Pod>>, budgets: &[Budget]) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
    let mut left: Vec<i64> = budgets.iter().map(|b| b.allowed).collect();
    pods.into_iter().partition(|pod| {
        let card = &pod.entry.card;
        let mut broken = false;
        for (budget, left) in budgets.iter().zip(&mut left) {
            if budget.namespace == card.namespace && budget.selector.matches(card) {
                *left -= 1;
                broken |= *left < 0;
            }
        }
        broken
    })
}

#[cfg(test)]
mod tests {
    use api::clock::Rng;

    use super::*;
    use crate::schedule::choose;
    use crate::testing::{node, pod};

    fn with_cpu(priority: i32, cpu: u32) -> String {
        format!(
            "{{priority: {priority}, containers: [{{resources: {{requests: {{cpu: '{cpu}'}}}}}}]}}"
        )
    }

    fn decide(
        cache: &Cache,
        spec: &str,
        budgets: &[Budget],
    ) -> Result<(String, Vec<String>), String> {
        let new = pod("new", spec);
        let failure = choose(&new, cache, &[], &Rng::seeded(1), &mut 0).expect_err("no room");
        plan(&new, cache, &[], budgets, &failure).map(|p| {
            let names = p.victims.iter().map(|v| v.entry.card.name.to_string()).collect();
            (p.node.to_string(), names)
        })
    }

    #[test]
    fn the_least_important_go_and_no_more_than_needed() {
        let mut cache = Cache::default();
        cache.set_node(node("n1", "{}"));
        cache.place(pod("a", &with_cpu(5, 2)), "n1");
        cache.place(pod("b", &with_cpu(1, 2)), "n1");
        assert_eq!(decide(&cache, &with_cpu(10, 2), &[]), Ok(("n1".into(), vec!["b".into()])));
        assert_eq!(
            decide(&cache, &with_cpu(10, 4), &[]),
            Ok(("n1".into(), vec!["a".into(), "b".into()]))
        );
        assert_eq!(
            decide(&cache, &with_cpu(1, 2), &[]),
            Err("preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.".into())
        );
        assert_eq!(
            decide(&cache, &with_cpu(10, 8), &[]),
            Err("preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
                .into())
        );
    }

    #[test]
    fn budgets_choose_the_node() {
        let mut cache = Cache::default();
        cache.set_node(node("n1", "{}"));
        cache.set_node(node("n2", "{}"));
        cache.place(pod("kept", &with_cpu(1, 4)), "n1");
        cache.place(pod("other", &with_cpu(5, 4)), "n2");
        let selector = LabelSelector(vec![api::selector::Requirement {
            key: "app".into(),
            op: api::selector::Op::In(["k".to_owned()].into()),
        }]);
        let budget = Budget { namespace: "default".into(), selector, allowed: 0 };
        assert_eq!(decide(&cache, &with_cpu(10, 2), &[]).expect("room").0, "n1");
        assert_eq!(decide(&cache, &with_cpu(10, 2), &[budget]).expect("room").0, "n2");
    }
}
