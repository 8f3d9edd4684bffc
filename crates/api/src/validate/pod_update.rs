//! What of a pod an update may change, in the object itself and through the subresources
//! `ephemeralcontainers` and `resize`.

use serde_json::{Value, json};

use super::at::{At, Faults};
use super::{container, diff, placement, pod, profiles};
use crate::names;
use crate::object::Object;
use crate::strategy::qos_class;

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// A changed pod, but for `metadata`.
pub(super) fn update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    pod::create(new, f);
    let (notes, had) = (new.get("metadata.annotations"), old.get("metadata.annotations"));
    profiles::changed(&notes, &had, f);
    pod::annotations(&notes, &new.get("spec"), f);
    let (spec, was) = (new.get("spec"), old.get("spec"));
    for list in ["containers", "initContainers"] {
        let (now, before) = (spec.get(list), was.get(list));
        if now.len() != before.len() {
            return now.forbidden(f, "pod updates may not add or remove containers");
        }
        for container in now.items() {
            if container.get("image").is_empty() {
                container.get("image").required(f, "");
            }
            container::image_padding(&container, f);
        }
    }
    let (deadline, before) = (spec.get("activeDeadlineSeconds"), was.get("activeDeadlineSeconds"));
    match (deadline.int(), before.int()) {
        (Some(now), _) if !(0..=i64::from(i32::MAX)).contains(&now) => {
            return deadline.invalid(f, &names::between(0, i64::from(i32::MAX)));
        }
        (Some(now), Some(before)) if before < now => {
            return deadline.invalid(f, "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            deadline.invalid(f, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
    only_added_tolerations(&spec.get("tolerations"), &was.get("tolerations"), f);
    let gates = spec.get("schedulingGates");
    for gate in gates.items() {
        let name = gate.get("name");
        if !was.get("schedulingGates").items().any(|g| g.get("name").value == name.value) {
            name.forbidden(
                f,
                &format!(
                    "only deletion is allowed, but found new scheduling gate '{}'",
                    name.text()
                ),
            );
        }
    }
    if spec.value == was.value {
        return;
    }
    let munged = munge(&spec, &was, f);
    if &munged != was.value {
        let difference = diff::print("PodSpec", was.value, &munged);
        spec.forbidden(
            f,
            &format!("pod updates may not change fields other than {UPDATABLE}\n{difference}"),
        );
    }
}

/// The new spec with all that may change set back.
fn munge(spec: &At<'_>, was: &At<'_>, f: &mut Faults) -> Value {
    let mut munged = spec.value.clone();
    for list in ["containers", "initContainers"] {
        let items = munged.get_mut(list).and_then(Value::as_array_mut);
        for (container, old) in items.into_iter().flatten().zip(was.get(list).items()) {
            container["image"] = old.get("image").value.clone();
        }
    }
    let mut back: Vec<&str> = vec!["activeDeadlineSeconds", "schedulingGates", "tolerations"];
    if !was.get("schedulingGates").is_empty() {
        let selector = spec.get("nodeSelector");
        for (key, value) in was.get("nodeSelector").entries() {
            if selector.key(key).value != value.value {
                selector.invalid(
                    f,
                    "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
                );
                break;
            }
        }
        back.push("nodeSelector");
        node_affinity(&spec.get("affinity.nodeAffinity"), &was.get("affinity.nodeAffinity"), f);
        give_back_affinity(&mut munged, was.value);
    }
    if was.get("terminationGracePeriodSeconds").number() < 0
        && spec.get("terminationGracePeriodSeconds").int() == Some(1)
    {
        back.push("terminationGracePeriodSeconds");
    }
    if let Value::Object(map) = &mut munged {
        for field in back {
            match was.value.get(field) {
                Some(old) => map.insert(field.to_owned(), old.clone()),
                None => map.remove(field),
            };
        }
    }
    munged
}

fn only_added_tolerations(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let bare = |at: &At<'_>| {
        let mut map = at.map().cloned().unwrap_or_default();
        map.remove("tolerationSeconds");
        map
    };
    for toleration in old.items() {
        if !new.items().any(|t| bare(&t) == bare(&toleration)) {
            return new.forbidden(
                f,
                "existing toleration can not be modified except its tolerationSeconds",
            );
        }
    }
    placement::tolerations(new, f);
}

/// Where a gated pod may go can only be narrowed.
fn node_affinity(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    const TERMS: &str = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (terms, before) = (new.get(TERMS), old.get(TERMS));
    if new.value == old.value || before.is_empty() {
        return;
    }
    if terms.len() != before.len() {
        return terms.invalid_struct(
            f,
            "NodeSelectorTerm",
            "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
        );
    }
    for (term, was) in terms.items().zip(before.items()) {
        let parts = ["matchExpressions", "matchFields"];
        let added = |part: &&str| {
            let (now, had) = (term.get(part), was.get(part));
            now.len() >= had.len() && had.items().zip(now.items()).all(|(a, b)| a.value == b.value)
        };
        let matched_nothing = parts.iter().all(|part| was.get(part).is_empty());
        let matches = parts.iter().any(|part| !term.get(part).is_empty());
        if !parts.iter().all(added) || (matched_nothing && matches) {
            term.invalid_struct(
                f,
                "NodeSelectorTerm",
                "only additions are allowed (no mutations or deletions)",
            );
        }
    }
}

/// Sets the affinity to nodes back to what it was.
fn give_back_affinity(munged: &mut Value, was: &Value) {
    let before = was.get("affinity").and_then(|a| a.get("nodeAffinity")).cloned();
    let Some(map) = munged.as_object_mut() else { return };
    match (map.get_mut("affinity").and_then(Value::as_object_mut), before) {
        (None, None) => {}
        (None, Some(before)) => {
            map.insert("affinity".into(), json!({ "nodeAffinity": before }));
        }
        (Some(affinity), before) => {
            affinity.remove("nodeAffinity");
            if let Some(before) = before {
                affinity.insert("nodeAffinity".into(), before);
            } else if affinity.is_empty() && was.get("affinity").is_none() {
                map.remove("affinity");
            }
        }
    }
}

/// A pod whose ephemeral containers changed.
pub(super) fn ephemeral_containers(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    pod::create(new, f);
    let (notes, had) = (new.get("metadata.annotations"), old.get("metadata.annotations"));
    profiles::changed(&notes, &had, f);
    pod::annotations(&notes, &new.get("spec"), f);
    if is_mirror(old) {
        f.clear();
        return new.get("").forbidden(f, "static pods do not support ephemeral containers");
    }
    let list = new.get("spec.ephemeralContainers");
    for was in old.get("spec.ephemeralContainers").items() {
        let name = names::quote(was.get("name").text());
        match list.items().filter(|c| c.get("name").value == was.get("name").value).last() {
            None => list.forbidden(
                f,
                &format!("existing ephemeral containers {name} may not be removed\n"),
            ),
            Some(now) if now.value != was.value => {
                let difference = diff::print("EphemeralContainer", was.value, now.value);
                list.forbidden(
                    f,
                    &format!(
                        "existing ephemeral containers {name} may not be changed\n{difference}"
                    ),
                );
            }
            Some(_) => {}
        }
    }
}

fn is_mirror(pod: &At<'_>) -> bool {
    pod.get("metadata.annotations").key("kubernetes.io/config.mirror").is_set()
}

/// A pod whose resources changed.
pub(super) fn resize(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    const ONLY: &str = "only cpu and memory resources are mutable";
    pod::create(new, f);
    if is_mirror(old) {
        f.clear();
        return new.get("").forbidden(f, "static pods cannot be resized");
    }
    if old.get("spec.os.name").text() == "windows" {
        f.clear();
        return new.get("").forbidden(f, "windows pods cannot be resized");
    }
    let (spec, was) = (new.get("spec"), old.get("spec"));
    let class = |pod: &At<'_>| pod.map().map_or("", |map| qos_class(&Object(map.clone())));
    let stated = old.get("status.qosClass");
    let before = match stated.text() {
        "" => class(old),
        stated => stated,
    };
    if class(new) != before {
        let text = "Pod QOS Class may not change as a result of resizing";
        spec.invalid_as(f, new.get("status.qosClass").text(), text);
    }
    let statuses = old.get("status.containerStatuses");
    let running = statuses.items().find(|s| s.get("state.running").is_set());
    if running.is_some_and(|s| !s.get("resources").is_set()) {
        spec.forbidden(f, "Pod running on node without support for resize");
    }
    let mut munged = spec.value.clone();
    let (whole, before) = (spec.get("resources"), was.get("resources"));
    let stated = |at: &At<'_>| !at.get("requests").is_empty() || !at.get("limits").is_empty();
    if stated(&whole) || stated(&before) {
        whole_resize(&whole, &before, &mut munged, f);
    }
    if !old.get("status.nodeAllocatableResourceClaimStatuses").is_empty() {
        spec.forbidden(f, "pods with node allocatable resource claims cannot be resized");
    }
    if !same_order(&spec, &was, f) {
        return;
    }
    for list in ["initContainers", "containers"] {
        let (now, had) = (spec.get(list), was.get(list));
        for (now, had) in now.items().zip(had.items()) {
            for part in ["requests", "limits"] {
                let path = format!("resources.{part}");
                if removed(&now.get(&path), &had.get(&path)) {
                    now.get(&path).forbidden(f, &format!("resource {part} cannot be removed"));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        let items = munged.get_mut(list).and_then(Value::as_array_mut);
        let now = spec.get(list);
        for ((container, was), at) in
            items.into_iter().flatten().zip(was.get(list).items()).zip(now.items())
        {
            let changed = container != was.value;
            keep_amounts(container, was.value);
            if let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) {
                resources.remove("claims");
            }
            if container != was.value && list == "containers" {
                spec.forbidden(f, ONLY);
            } else if container != was.value {
                at.forbidden(
                    f,
                    "only cpu and memory resources for init or sidecar containers are mutable",
                );
            }
            let sidecar = at.get("restartPolicy").text() == "Always";
            if list == "initContainers" && changed && !sidecar {
                for policy in at.get("resizePolicy").items() {
                    if policy.get("restartPolicy").text() == "RestartContainer" {
                        at.forbidden(f, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized");
                    }
                }
            }
        }
    }
    if f.is_empty() && &munged != was.value {
        spec.forbidden(f, ONLY);
    }
}

/// Resources of the pod as a whole.
fn whole_resize(now: &At<'_>, was: &At<'_>, munged: &mut Value, f: &mut Faults) {
    if was.is_set() && !now.is_set() {
        return now.forbidden(f, "pod-level resources cannot be removed");
    }
    for part in ["requests", "limits"] {
        if was.is_set() && removed(&now.get(part), &was.get(part)) {
            now.get(part).forbidden(f, &format!("pod-level resource {part} cannot be removed"));
        }
    }
    let empty = json!({});
    keep_amounts(munged, &json!({ "resources": if was.is_set() { was.value } else { &empty } }));
    let left = munged.get("resources").cloned().unwrap_or(Value::Null);
    let same =
        left == *was.value || (!was.is_set() && left.as_object().is_none_or(|m| m.is_empty()));
    if !same {
        let path = now.path();
        let spec = path.strip_suffix(".resources").unwrap_or(&path);
        let why = "only cpu and memory resources are mutable at pod-level";
        f.push(crate::Cause::forbidden(spec, why));
    }
    if let Some(map) = munged.as_object_mut() {
        match was.is_set() {
            true => map.insert("resources".into(), was.value.clone()),
            false => map.remove("resources"),
        };
    }
}

/// Containers are neither added, removed, renamed nor moved.
fn same_order(spec: &At<'_>, was: &At<'_>, f: &mut Faults) -> bool {
    let before = f.len();
    for list in ["containers", "initContainers"] {
        let (now, had) = (spec.get(list), was.get(list));
        if now.len() != had.len() {
            now.forbidden(f, &format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (now, had) in now.items().zip(had.items()) {
            if now.get("name").value != had.get("name").value {
                now.get("name")
                    .forbidden(f, &format!("{list} may not be renamed or reordered on resize"));
            }
        }
    }
    f.len() == before
}

fn removed(now: &At<'_>, was: &At<'_>) -> bool {
    was.entries().any(|(name, _)| !now.key(name).is_set())
}

/// Sets processor and memory in the resources of `of` to what they were.
fn keep_amounts(of: &mut Value, was: &Value) {
    let amounts = |part: &str| was.get("resources").and_then(|r| r.get(part));
    for part in ["requests", "limits"] {
        let Some(resources) = of
            .as_object_mut()
            .and_then(|m| m.entry("resources").or_insert_with(|| json!({})).as_object_mut())
        else {
            return;
        };
        let map = resources.entry(part).or_insert_with(|| json!({}));
        if let Some(map) = map.as_object_mut() {
            for name in ["cpu", "memory"] {
                map.remove(name);
                if let Some(amount) = amounts(part).and_then(|a| a.get(name)) {
                    map.insert(name.to_owned(), amount.clone());
                }
            }
        }
        if map.as_object().is_some_and(|m| m.is_empty()) && amounts(part).is_none() {
            resources.remove(part);
        }
    }
}
