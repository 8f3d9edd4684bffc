//! Nodes: their taints, addresses, resources, and what they say of themselves.

use serde_json::Value;

use super::at::{At, Faults};
use super::{common, placement, resources};
use crate::names;

pub(super) fn node(root: &At<'_>, f: &mut Faults) {
    // Upstream gives the taints a path under `metadata`.
    let taints = root.get("spec.taints");
    placement::taints(&root.get("metadata").get("taints").with(taints.value), f);
    node_resources(root, f);
    let swap = root.get("status.nodeInfo.swap.capacity");
    if swap.int().is_some_and(|bytes| bytes <= 0) {
        let shown = root.get("metadata.nodeSwapStatus.capacity");
        shown.with(swap.value).positive(f);
    }
    features(&root.get("status.declaredFeatures"), f);
    let list = root.get("spec.podCIDRs");
    for value in list.items() {
        common::legacy_cidr(&value, f);
    }
    if list.len() > 1 {
        let six = list.items().filter(|c| c.text().contains(':')).count();
        if six == 0 || six == list.len() || list.len() > 2 {
            list.invalid(f, "may specify no more than one CIDR for each IP family");
        }
    }
}

fn node_resources(root: &At<'_>, f: &mut Faults) {
    for part in ["capacity", "allocatable"] {
        let status = root.get("status");
        let map = status.get(part);
        for (name, amount) in map.entries() {
            let shown = map.get(name);
            resources::resource_amount(&shown.with(amount.value), name, f);
        }
    }
}

/// A changed node is looked at as a new one, and then as a changed one, its taints twice.
pub(super) fn node_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    node(new, f);
    node_status(new, old, f);
}

pub(super) fn node_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    node_resources(new, f);
    features(&new.get("status.declaredFeatures"), f);
    let addresses = new.get("status.addresses");
    let mut seen: Vec<&Value> = Vec::new();
    let values = new.value.pointer("/status/addresses").and_then(Value::as_array);
    for (address, value) in addresses.items().zip(values.into_iter().flatten()) {
        if seen.contains(&value) {
            address.duplicate_struct(f, "NodeAddress");
        }
        seen.push(value);
    }
    let (now, was) = (new.get("spec.podCIDRs"), old.get("spec.podCIDRs"));
    let why = "node updates may not change podCIDR except from \"\" to valid";
    if !was.is_empty() {
        if was.len() != now.len() {
            now.forbidden(f, why);
        } else {
            for (a, b) in was.items().zip(now.items()) {
                if a.value != b.value {
                    now.forbidden(f, why);
                }
            }
        }
    }
    let (id, had) = (new.get("spec.providerID"), old.get("spec.providerID"));
    if !had.is_empty() && id.value != had.value {
        id.forbidden(f, "node updates may not change providerID except from \"\" to valid");
    }
    let taints = new.get("spec.taints");
    placement::taints(&new.get("metadata").get("taints").with(taints.value), f);
    let (external, before) = (new.get("spec.externalID"), old.get("spec.externalID"));
    if external.value != before.value {
        external.forbidden(f, "may not be updated");
    }
}

/// What a node says that it can do: sorted names.
fn features(list: &At<'_>, f: &mut Faults) {
    let mut last: Option<String> = None;
    for item in list.items() {
        let text = item.text();
        if let Some(last) = &last {
            match last.as_str().cmp(text) {
                std::cmp::Ordering::Equal => item.duplicate(f),
                std::cmp::Ordering::Greater => {
                    item.invalid(f, "list must be sorted alphabetically")
                }
                std::cmp::Ordering::Less => {}
            }
        }
        last = Some(text.to_owned());
        let quoted = names::quote(text);
        if text.len() > 253 {
            let why = "must be no more than 253 characters";
            item.invalid(f, &format!("invalid feature name {quoted}: {why}"));
        } else if !is_feature(text) {
            let why = "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes";
            item.invalid(f, &format!("invalid feature name {quoted}: {why}"));
        }
    }
}

fn is_feature(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}
