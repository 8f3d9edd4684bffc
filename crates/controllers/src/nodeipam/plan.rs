//! Which ranges a node gets.
//!
//! Pure. Not here: arithmetic (`range`).

use api::resource::NODES;
use serde_json::json;

use super::Node;
use super::range::Range;
use crate::action::{Action, Plan};

/// One range out of each of the cluster's; none at all if one of them is used up. A node that holds
/// ranges already, though it does not show them yet, gets the same again.
pub fn plan(
    node: &Node,
    clusters: &[Range],
    (v4, v6): (u8, u8),
    used: &[Range],
    held: &[Range],
) -> (Plan, Vec<Range>) {
    let mut plan = Plan::default();
    let cut = |c: &Range| c.cut(if c.is_v6() { v6 } else { v4 }, used);
    let ranges = if held.is_empty() {
        clusters.iter().map(cut).collect::<Option<Vec<Range>>>()
    } else {
        Some(held.to_vec())
    };
    let Some(ranges) = ranges else {
        let about = node.metadata.reference(&NODES);
        let note = format!("Node {} status is now: CIDRNotAvailable", node.metadata.name);
        plan.push(Action::event(&about, "CIDRNotAvailable", note));
        return (plan, Vec::new());
    };
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let patch = json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
    plan.push(Action::patch(&NODES, "", &node.metadata.name, patch));
    (plan, ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        crate::golden::run(include_str!("cases.yaml"), |case| {
            let ranges = |role: &str| -> Vec<Range> {
                case.roles::<String>(role).iter().filter_map(|t| Range::parse(t)).collect()
            };
            plan(&case.role("node"), &ranges("cluster"), (24, 64), &ranges("used"), &ranges("held"))
                .0
        });
    }
}
