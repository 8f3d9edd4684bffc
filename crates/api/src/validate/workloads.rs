//! Deployments, replica sets, stateful sets, daemon sets, and what they have in common.

use serde_json::Value;

use super::at::{At, Faults};
use super::{common, persistent, pod};
use crate::names;

fn non_negative(at: &At<'_>, fields: &[&str], f: &mut Faults) {
    for field in fields {
        at.get(field).non_negative(f);
    }
}

/// The selector, and that it selects the template.
fn selector(spec: &At<'_>, empty: &str, f: &mut Faults) {
    let at = spec.get("selector");
    if !at.is_set() {
        at.required(f, "");
    } else {
        common::label_selector(&at, f);
        if common::selects_all(&at) {
            at.invalid(f, empty);
        }
    }
}

fn selected_template(spec: &At<'_>, invalid: &str, f: &mut Faults) -> bool {
    let at = spec.get("selector");
    let labels = spec.get("template.metadata.labels");
    // No selector selects nothing.
    let matches = if at.is_set() { common::selects(at.value, labels.value) } else { Some(false) };
    let Some(matches) = matches else {
        at.invalid_struct(f, "LabelSelector", invalid);
        return false;
    };
    if !matches && (!at.is_set() || !common::selects_all(&at)) {
        labels.invalid(f, "`selector` does not match template `labels`");
    }
    true
}

/// A template whose pods run forever.
fn endless(template: &At<'_>, kind: &str, f: &mut Faults) {
    let policy = template.get("spec.restartPolicy");
    if policy.text() != "Always" {
        policy.unsupported(f, &["Always"]);
    }
    let deadline = template.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(f, &format!("activeDeadlineSeconds in {kind} is not Supported"));
    }
}

pub(super) fn deployment(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    spec.get("replicas").non_negative(f);
    selector(&spec, "empty selector is invalid for deployment", f);
    if selected_template(&spec, "invalid label selector", f) {
        let template = spec.get("template");
        pod::template(&template, f);
        endless(&template, "ReplicaSet", f);
    }
    let strategy = spec.get("strategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "Recreate" => {
            if rolling.is_set() {
                rolling.forbidden(f, "may not be specified when strategy `type` is 'Recreate'");
            }
        }
        "RollingUpdate" => {
            let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            common::count_or_percent(&down, f);
            common::count_or_percent(&up, f);
            if common::is_zero(&down) && common::is_zero(&up) {
                down.invalid(f, "may not be 0 when `maxSurge` is 0");
            }
            common::at_most_100(&down, f);
        }
        _ => whole_strategy(&strategy, &["Recreate", "RollingUpdate"], f),
    }
    non_negative(&spec, &["minReadySeconds", "revisionHistoryLimit"], f);
    let deadline = spec.get("progressDeadlineSeconds");
    deadline.non_negative(f);
    if deadline.int().is_some_and(|d| d <= spec.get("minReadySeconds").number()) {
        deadline.invalid(f, "must be greater than minReadySeconds");
    }
}

/// A strategy of an unknown type is shown whole, as upstream's own struct.
fn whole_strategy(strategy: &At<'_>, supported: &[&str], f: &mut Faults) {
    // Of every kind the same, but for what an update may roll by.
    let text = super::shown::line("UpdateStrategy", strategy.value);
    let list: Vec<String> = supported.iter().map(|s| names::quote(s)).collect();
    f.push(crate::Cause::new(
        crate::CauseReason::NotSupported,
        strategy.path(),
        format!("Unsupported value: {text}: supported values: {}", list.join(", ")),
    ));
}

/// The selector is what it was.
pub(super) fn same_selector(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("spec.selector").immutable_struct(f, &old.get("spec.selector"), "LabelSelector");
}

fn immutable(new: &At<'_>, old: &At<'_>, path: &str, f: &mut Faults) {
    new.get(path).immutable(f, &old.get(path));
}

pub(super) fn deployment_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    deployment(new, f);
    same_selector(new, old, f);
}

fn not_more(status: &At<'_>, fields: &[&str], than: &str, why: &str, f: &mut Faults) {
    let limit = status.get(than).number();
    for field in fields {
        let at = status.get(field);
        if at.number() > limit {
            at.invalid_as(f, at.number(), why);
        }
    }
}

fn collisions(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("status.collisionCount"), old.get("status.collisionCount"));
    if was.int().is_some_and(|was| !now.is_set() || now.number() < was) {
        now.invalid_as(f, now.number(), "cannot be decremented");
    }
}

pub(super) fn deployment_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    non_negative(
        &status,
        &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "terminatingReplicas",
            "collisionCount",
        ],
        f,
    );
    let why = "cannot be greater than status.replicas";
    not_more(
        &status,
        &["updatedReplicas", "readyReplicas", "availableReplicas"],
        "replicas",
        why,
        f,
    );
    not_more(
        &status,
        &["availableReplicas"],
        "readyReplicas",
        "cannot be greater than readyReplicas",
        f,
    );
    collisions(new, old, f);
}

pub(super) fn replica_set(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    non_negative(&spec, &["replicas", "minReadySeconds"], f);
    selector(&spec, "empty selector is invalid for deployment", f);
    if selected_template(&spec, "invalid label selector", f) {
        let template = spec.get("template");
        pod::template(&template, f);
        endless(&template, "ReplicaSet", f);
    }
}

pub(super) fn replica_set_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    replica_set(new, f);
    same_selector(new, old, f);
}

pub(super) fn replica_set_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    let counts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    non_negative(&status, &["replicas"], f);
    non_negative(&status, &counts, f);
    non_negative(&status, &["observedGeneration", "terminatingReplicas"], f);
    not_more(&status, &counts, "replicas", "cannot be greater than status.replicas", f);
    not_more(
        &status,
        &["availableReplicas"],
        "readyReplicas",
        "cannot be greater than readyReplicas",
        f,
    );
}

pub(super) fn replication_controller(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    spec.get("minReadySeconds").non_negative(f);
    let selector = spec.get("selector");
    selector.need(f);
    let replicas = spec.get("replicas");
    if replicas.is_set() {
        replicas.non_negative(f);
    } else {
        replicas.required(f, "");
    }
    let template = spec.get("template");
    if !template.is_set() {
        return template.required(f, "");
    }
    let labels = template.get("metadata.labels");
    let matches = selector.entries().all(|(key, value)| labels.key(key).value == value.value);
    if !matches {
        labels.invalid(f, "`selector` does not match template `labels`");
    }
    pod::template(&template, f);
    endless(&template, "ReplicationController", f);
}

pub(super) fn stateful_set(root: &At<'_>, f: &mut Faults) {
    stateful_set_with(root, true, true, f);
}

/// `checked`: whether the template is looked at.
fn stateful_set_with(root: &At<'_>, new: bool, checked: bool, f: &mut Faults) {
    let spec = root.get("spec");
    let management = spec.get("podManagementPolicy");
    if management.need(f) && !["OrderedReady", "Parallel"].contains(&management.text()) {
        management.invalid(f, "must be 'OrderedReady' or 'Parallel'");
    }
    let strategy = spec.get("updateStrategy");
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").text() {
        "" => strategy.required(f, ""),
        "OnDelete" => {
            if rolling.is_set() {
                let of = "RollingUpdateStatefulSetStrategy";
                rolling.invalid_struct(f, of, "only allowed for updateStrategy 'RollingUpdate'");
            }
        }
        "RollingUpdate" => {
            rolling.get("partition").non_negative(f);
            let down = rolling.get("maxUnavailable");
            if down.is_set() {
                common::count_or_percent(&down, f);
                if common::is_zero(&down) {
                    down.invalid(f, "cannot be 0");
                }
                common::at_most_100(&down, f);
            }
        }
        _ => strategy.invalid_struct(
            f,
            "StatefulSetUpdateStrategy",
            "must be 'RollingUpdate' or 'OnDelete'",
        ),
    }
    for field in ["whenDeleted", "whenScaled"] {
        let path = format!("persistentVolumeClaimRetentionPolicy.{field}");
        spec.get(&path).one_of(f, &["Retain", "Delete"]);
    }
    let templates = spec.get("volumeClaimTemplates");
    if new {
        for claim in templates.items() {
            persistent::claim_spec(&claim.get("spec"), f);
        }
    }
    non_negative(&spec, &["replicas", "minReadySeconds", "ordinals.start"], f);
    if new {
        spec.get("serviceName").check_if_set(f, names::dns_label);
    }
    selector(&spec, "empty selector is invalid for statefulset", f);
    if selected_template(&spec, "", f) {
        // The claims' volumes are there when the pods are made.
        let template = spec.get("template");
        let mut whole = template.value.clone();
        let claimed: Vec<Value> = templates
            .items()
            .map(|c| {
                let name = c.get("metadata.name").text().to_owned();
                serde_json::json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
            })
            .collect();
        if let Some(pod) = whole.get_mut("spec").and_then(Value::as_object_mut) {
            pod.remove("subdomain");
            pod.remove("hostname");
            if !claimed.is_empty() {
                let own = pod.get("volumes").and_then(Value::as_array).cloned().unwrap_or_default();
                let rest =
                    own.into_iter().filter(|v| !claimed.iter().any(|c| c["name"] == v["name"]));
                let volumes: Vec<Value> = claimed.iter().cloned().chain(rest).collect();
                pod.insert("volumes".to_owned(), volumes.into());
            }
        }
        let at = template.with(&whole);
        if checked {
            pod::template(&at, f);
        }
        // Upstream looks at these twice.
        let labels = at.get("metadata.labels");
        common::labels(&at.get("labels").with(labels.value), f);
        let notes = at.get("metadata.annotations");
        let notes = at.get("annotations").with(notes.value);
        common::annotations(&notes, f);
        pod::annotations(&notes, &at.get("spec"), f);
    }
    endless(&spec.get("template"), "StatefulSet", f);
}

pub(super) fn stateful_set_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    // Where the stored template has faults already, a new one may have them too.
    let mut held = Vec::new();
    stateful_set_with(old, false, true, &mut held);
    stateful_set_with(new, false, held.is_empty(), f);
    const MUTABLE: &[&str] = &[
        "replicas",
        "template",
        "updateStrategy",
        "minReadySeconds",
        "ordinals",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
    ];
    let rest = |at: &At<'_>| {
        let mut map = at.get("spec").map().cloned().unwrap_or_default();
        map.retain(|k, _| !MUTABLE.contains(&k.as_str()));
        map
    };
    if rest(new) != rest(old) {
        new.get("spec").forbidden(f, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
    }
}

pub(super) fn stateful_set_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    let counts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    non_negative(&status, &["replicas"], f);
    non_negative(&status, &counts, f);
    non_negative(&status, &["observedGeneration", "collisionCount"], f);
    not_more(&status, &counts, "replicas", "cannot be greater than status.replicas", f);
    let why = "cannot be greater than status.readyReplicas";
    not_more(&status, &["availableReplicas"], "readyReplicas", why, f);
    collisions(new, old, f);
}

pub(super) fn daemon_set(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let at = spec.get("selector");
    if at.is_set() {
        common::label_selector(&at, f);
    }
    let labels = spec.get("template.metadata.labels");
    // No selector selects nothing.
    if !at.is_set() || common::selects(at.value, labels.value) == Some(false) {
        spec.get("template.metadata.labels")
            .invalid(f, "`selector` does not match template `labels`");
    }
    if at.is_set() && common::selects_all(&at) {
        at.invalid(f, "empty selector is invalid for daemonset");
    }
    let template = spec.get("template");
    pod::template(&template, f);
    let policy = template.get("spec.restartPolicy");
    if policy.text() != "Always" {
        policy.unsupported(f, &["Always"]);
    }
    let deadline = template.get("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(f, "activeDeadlineSeconds in DaemonSet is not Supported");
    }
    spec.get("minReadySeconds").non_negative(f);
    let strategy = spec.get("updateStrategy");
    match strategy.get("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => {
            let rolling = strategy.get("rollingUpdate");
            if !rolling.is_set() {
                rolling.required(f, "");
            } else {
                let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
                common::count_or_percent(&down, f);
                common::count_or_percent(&up, f);
                common::at_most_100(&down, f);
                common::at_most_100(&up, f);
                match (common::is_zero(&down), common::is_zero(&up)) {
                    (false, false) => {
                        up.invalid(f, "may not be set when maxUnavailable is non-zero")
                    }
                    (true, true) => down.required(f, "cannot be 0 when maxSurge is 0"),
                    _ => {}
                }
            }
        }
        _ => whole_strategy(&strategy, &["RollingUpdate", "OnDelete"], f),
    }
    spec.get("revisionHistoryLimit").non_negative(f);
}

pub(super) fn daemon_set_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    daemon_set(new, f);
    same_selector(new, old, f);
}

pub(super) fn daemon_set_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    non_negative(
        &status,
        &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        f,
    );
    collisions(new, old, f);
}

pub(super) fn controller_revision(root: &At<'_>, f: &mut Faults) {
    root.get("revision").non_negative(f);
    let data = root.get("data");
    match data.value {
        Value::Null => data.required(f, "data is mandatory"),
        Value::Object(_) => {}
        _ => data.required(f, "data must be a valid JSON object"),
    }
}

pub(super) fn controller_revision_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("revision").non_negative(f);
    immutable(new, old, "data", f);
}

pub(super) fn pod_template(root: &At<'_>, f: &mut Faults) {
    pod::template(&root.get("template"), f);
}
