//! Names and amounts of resources, and what containers and pods ask for.

use std::collections::BTreeSet;

use super::at::{At, Faults};
use super::common::repeated;
use super::pod::Context;
use crate::names;
use crate::quantity::Quantity;

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// The name of a resource.
pub(super) fn resource_name(at: &At<'_>, name: &str, f: &mut Faults) -> bool {
    let before = f.len();
    for why in names::qualified_name(name) {
        at.invalid_as(f, name, &why);
    }
    if f.len() == before && !name.contains('/') && !STANDARD.contains(&name) && !is_huge(name) {
        let quota = name.starts_with("requests.hugepages-");
        if !quota {
            at.invalid_as(f, name, "must be a standard resource type or fully qualified");
        }
    }
    f.len() == before
}

/// Whether a resource has a vendor's name and can be granted whole only.
pub(super) fn is_extended(name: &str) -> bool {
    !native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// The name of a resource of a container.
pub(super) fn container_resource_name(at: &At<'_>, name: &str, f: &mut Faults) {
    resource_name(at, name, f);
    if !name.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !is_huge(name) {
            at.invalid_as(f, name, "must be a standard resource for containers");
        }
    } else if !native(name) && !is_extended(name) {
        at.invalid_as(f, name, "doesn't follow extended resource name standard");
    }
}

/// An amount of a resource.
pub(super) fn resource_amount(at: &At<'_>, name: &str, f: &mut Faults) {
    const COUNTED: &[&str] = &[
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let Some(quantity) = at.quantity() else { return };
    if quantity.signum() < 0 {
        at.invalid_as(f, quantity.to_string(), super::at::NON_NEGATIVE);
    }
    if (COUNTED.contains(&name) || is_extended(name)) && quantity.milli_value() % 1000 != 0 {
        at.invalid(f, "must be an integer");
    }
}

/// Large pages come whole.
fn whole_pages(at: &At<'_>, name: &str, f: &mut Faults) {
    let Some(size) = name.strip_prefix("hugepages-") else { return };
    let Some(amount) = at.quantity() else { return };
    let whole = Quantity::parse(size).is_ok_and(|size| {
        size.signum() > 0
            && size.milli_value() % 1000 == 0
            && amount.value() % size.value().max(1) == 0
    });
    if !whole {
        let why = format!("{amount} is not positive integer multiple of {name}");
        at.invalid_as(f, amount.to_string(), &why);
    }
}

pub(super) fn overcommits(name: &str) -> bool {
    native(name) && !is_huge(name)
}

/// Requests and limits of a container.
pub(super) fn resources(at: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    resources_with(at, cx, container_resource_name, f);
}

/// Requests and limits of a pod.
pub(super) fn pod_resources(at: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    fn pod_name(at: &At<'_>, name: &str, f: &mut Faults) {
        if resource_name(at, name, f) && !["cpu", "memory"].contains(&name) && !is_huge(name) {
            at.with(&name.into()).unsupported(f, &["cpu", "hugepages-", "memory"]);
        }
    }
    resources_with(at, cx, pod_name, f);
}

/// What the containers of a pod want of a resource at most at once: those that run, or one that
/// starts before them along with the sidecars that were started by then.
fn wanted(spec: &At<'_>, part: &str, name: &str) -> Quantity {
    let of =
        |c: &At<'_>| c.get("resources").get(part).key(name).quantity().unwrap_or(Quantity::ZERO);
    let running = spec.get("containers").items().fold(Quantity::ZERO, |sum, c| sum + of(&c));
    let (mut sidecars, mut starting) = (Quantity::ZERO, Quantity::ZERO);
    for container in spec.get("initContainers").items() {
        if container.get("restartPolicy").text() == "Always" {
            sidecars += of(&container);
            starting = starting.max(sidecars);
        } else {
            starting = starting.max(sidecars + of(&container));
        }
    }
    (running + sidecars).max(starting)
}

/// What the containers want fits into what the pod has.
pub(super) fn within_pod(at: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    let containers = spec.get("containers");
    for (name, amount) in at.get("requests").entries() {
        let sum = wanted(spec, "requests", name);
        if amount.quantity().is_some_and(|have| sum > have) {
            let (why, have) =
                ("must be greater than or equal to aggregate container requests of", amount.text());
            amount.invalid_as(f, have, &format!("{why} {sum}"));
        }
    }
    for (name, amount) in at.get("limits").entries().filter(|(name, _)| is_huge(name)) {
        let sum = wanted(spec, "limits", name);
        if amount.quantity().is_some_and(|have| sum > have) {
            let (why, have) =
                ("must be greater than or equal to aggregate container limits of", amount.text());
            amount.invalid_as(f, have, &format!("{why} {sum}"));
        }
    }
    let shown = at.get("containers");
    for (index, container) in containers.items().enumerate() {
        for (name, limit) in container.get("resources.limits").entries() {
            let (Some(wanted), Some(have)) =
                (limit.quantity(), at.get("limits").key(name).quantity())
            else {
                continue;
            };
            if wanted > have {
                shown.index(index).key(name).get("limits").invalid_as(
                    f,
                    wanted.to_string(),
                    &format!("must be less than or equal to pod limits of {have}"),
                );
            }
        }
    }
}

fn resources_with(
    at: &At<'_>,
    cx: &Context<'_>,
    rule: fn(&At<'_>, &str, &mut Faults),
    f: &mut Faults,
) {
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    let (mut compute, mut huge) = (false, false);
    for list in [&limits, &requests] {
        for (name, amount) in list.entries() {
            rule(&amount, name, f);
            resource_amount(&amount, name, f);
            compute |= name == "cpu" || name == "memory";
            huge |= is_huge(name);
            if list.path() != requests.path() {
                whole_pages(&amount, name, f);
                continue;
            }
            let Some(wanted) = amount.quantity() else { continue };
            match limits.key(name).quantity() {
                Some(limit) if wanted != limit && !overcommits(name) => requests.invalid_as(
                    f,
                    wanted.to_string(),
                    &format!("must be equal to {name} limit of {limit}"),
                ),
                Some(limit) if wanted > limit => requests.invalid_as(
                    f,
                    wanted.to_string(),
                    &format!("must be less than or equal to {name} limit of {limit}"),
                ),
                None if !overcommits(name) => {
                    limits.required(f, "Limit must be set for non overcommitable resources");
                }
                _ => {}
            }
            whole_pages(&amount, name, f);
        }
    }
    if huge && !compute {
        at.forbidden(f, "HugePages require cpu or memory");
    }
    // Whole claims, and requests of claims as in `claim/request`.
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in at.get("claims").items() {
        let (name, request) = (claim.get("name"), claim.get("request"));
        if name.is_empty() {
            claim.required(f, "");
        } else if seen.contains(name.text()) {
            claim.duplicate_as(f, name.text());
        } else {
            request.check_if_set(f, names::dns_label);
            let key = match request.text() {
                "" => name.text().to_owned(),
                request => format!("{}/{request}", name.text()),
            };
            let parts = format!("{}/", name.text());
            if seen.contains(&key) {
                claim.duplicate_as(f, key.as_str());
            } else if request.is_empty() {
                for _ in seen.iter().filter(|held| held.starts_with(&parts)) {
                    claim.duplicate_as(f, name.text());
                }
            }
            seen.insert(key);
        }
        if !name.is_empty() && !cx.claims.contains(name.text()) {
            claim.with(&name.text().into()).not_found(f);
            let known: Vec<&str> = cx.claims.iter().copied().collect();
            let known = match known[..] {
                [] => " which is empty".to_owned(),
                _ => format!(": {}", known.join(", ")),
            };
            if let Some(last) = f.last_mut() {
                last.message +=
                    &format!(": must be one of the names in pod.spec.resourceClaims{known}");
            }
        }
    }
}

pub(super) fn resize_policy(list: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for policy in list.items() {
        let (name, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if repeated(&mut seen, name.text()) {
            policy.duplicate_as(f, name.text());
        }
        for (value, supported) in [
            (name.value, &["cpu", "memory"]),
            (restart.value, &["NotRequired", "RestartContainer"]),
        ] {
            list.with(value).need_one_of(f, supported);
        }
        if cx.restart == "Never" && restart.text() != "NotRequired" {
            list.invalid_as(
                f,
                restart.text(),
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}
