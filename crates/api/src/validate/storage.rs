//! Storage classes, and what CSI drivers say of themselves and their volumes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::at::{At, Faults};
use super::common;
use super::persistent::volume_spec;
use crate::names;

/// The name of a CSI driver.
pub(super) fn driver_name(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        at.required(f, "");
        return;
    }
    if text.len() > 63 {
        at.too_long(f, 63);
    }
    for why in names::dns_subdomain(&text.to_lowercase()) {
        at.invalid_as(f, text, &why);
    }
}

fn parameters(at: &At<'_>, f: &mut Faults) {
    if at.len() > 512 {
        return at.too_long(f, 512);
    }
    let mut size = 0;
    for (key, value) in at.entries() {
        if key.is_empty() {
            at.invalid_as(f, key, "field can not be empty.");
        }
        size += key.len() + value.len();
    }
    if size > 256 * 1024 {
        at.too_long(f, 256 * 1024);
    }
}

/// Who makes volumes: a name in any case.
fn provisioner(at: &At<'_>, f: &mut Faults) {
    if at.need(f) {
        at.with(&at.text().to_lowercase().into()).qualified(f);
    }
}

pub(super) fn class(root: &At<'_>, f: &mut Faults) {
    provisioner(&root.get("provisioner"), f);
    parameters(&root.get("parameters"), f);
    let reclaim = root.get("reclaimPolicy");
    if !reclaim.is_empty() {
        reclaim.one_of(f, &["Delete", "Retain"]);
    }
    let binding = root.get("volumeBindingMode");
    if binding.is_set() {
        binding.one_of(f, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        binding.required(f, "");
    }
    allowed_topologies(&root.get("allowedTopologies"), f);
}

fn allowed_topologies(list: &At<'_>, f: &mut Faults) {
    let mut terms: Vec<BTreeMap<String, BTreeSet<String>>> = vec![BTreeMap::new(); list.len()];
    for term in list.items() {
        let mut keys = BTreeMap::new();
        let expressions = term.get("matchLabelExpressions");
        for rule in expressions.items() {
            let (key, values) = (rule.get("key"), rule.get("values"));
            let mut seen = BTreeSet::new();
            if values.is_empty() {
                values.required(f, "");
            }
            for value in values.items() {
                if !seen.insert(value.text().to_owned()) {
                    value.duplicate(f);
                }
            }
            key.qualified(f);
            if keys.insert(key.text().to_owned(), seen).is_some() {
                key.duplicate(f);
            }
        }
        // Upstream's list starts with as many empty terms as there are.
        for _ in terms.iter().filter(|held| **held == keys) {
            expressions.duplicate_as(f, "");
        }
        terms.push(keys);
    }
}

pub(super) fn class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    class(new, f);
    for field in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
        new.get(field).immutable(f, &old.get(field));
    }
}

pub(super) fn driver(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    // Upstream misspells the first.
    for (field, shown) in [
        ("attachRequired", "attachedRequired"),
        ("podInfoOnMount", "podInfoOnMount"),
        ("storageCapacity", "storageCapacity"),
    ] {
        if !spec.get(field).is_set() {
            spec.get(shown).required(f, "");
        }
    }
    spec.get("fsGroupPolicy").one_of_if_set(f, &["File", "None", "ReadWriteOnceWithFSType"]);
    let mut audiences = BTreeSet::new();
    for token in spec.get("tokenRequests").items() {
        let audience = token.get("audience");
        if !audiences.insert(audience.text().to_owned()) {
            audience.duplicate_as(f, audience.text());
            continue;
        }
        let seconds = token.get("expirationSeconds");
        if let Some(n) = seconds.int() {
            if n < 600 {
                seconds.invalid(f, "may not specify a duration less than 10 minutes");
            } else if n > 1 << 32 {
                seconds.invalid(f, "may not specify a duration larger than 2^32 seconds");
            }
        }
    }
    let modes = spec.get("volumeLifecycleModes");
    for mode in modes.items() {
        if !["Ephemeral", "Persistent"].contains(&mode.text()) {
            modes.with(mode.value).unsupported(f, &["Persistent", "Ephemeral"]);
        }
    }
    if !spec.get("seLinuxMount").is_set() {
        spec.get("seLinuxMount").required(f, "");
    }
    let period = spec.get("nodeAllocatableUpdatePeriodSeconds");
    if period.int().is_some_and(|s| s < 10) {
        period.invalid(f, "must be greater than or equal to 10 seconds");
    }
    let tokens = spec.get("serviceAccountTokenInSecrets");
    if tokens.is_set() && spec.get("tokenRequests").is_empty() {
        tokens.invalid(f, "serviceAccountTokenInSecrets is set but no tokenRequests are specified");
    }
}

pub(super) fn driver_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    driver(new, f);
    // Upstream misspells the path.
    if new.get("spec.attachRequired").value != old.get("spec.attachRequired").value {
        let value = new.get("spec.attachRequired").value.clone();
        new.get("spec.attachedRequired").invalid_as(f, value, super::at::IMMUTABLE);
    }
    let path = "spec.volumeLifecycleModes";
    new.get(path).immutable(f, &old.get(path));
}

pub(super) fn csi_node(root: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for driver in root.get("spec.drivers").items() {
        let (name, node) = (driver.get("name"), driver.get("nodeID"));
        driver_name(&name, f);
        if node.is_empty() {
            node.required(f, "");
        } else if node.len() > 256 {
            node.invalid(f, "must be 256 characters or less");
        }
        let count = driver.get("allocatable.count");
        count.non_negative(f);
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
        let mut keys = BTreeSet::new();
        for key in driver.get("topologyKeys").items() {
            // Faults of keys name the driver.
            let key = driver.with(key.value);
            if key.is_empty() {
                key.required(f, "");
            }
            if !keys.insert(key.text().to_owned()) {
                key.duplicate(f);
            }
            key.qualified(f);
        }
    }
}

pub(super) fn csi_node_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    csi_node(new, f);
    let drivers = new.get("spec.drivers");
    let fixed = |at: &At<'_>| {
        let mut map = at.map().cloned().unwrap_or_default();
        map.remove("allocatable");
        Value::Object(map)
    };
    for was in old.get("spec.drivers").items() {
        for now in drivers.items().filter(|d| d.get("name").value == was.get("name").value) {
            let (now, was) = (fixed(&now), fixed(&was));
            if now != was {
                let why = super::at::IMMUTABLE;
                drivers.with(&now).invalid_struct(f, "CSINodeDriver", why);
            }
        }
    }
}

pub(super) fn capacity(root: &At<'_>, f: &mut Faults) {
    let topology = root.get("nodeTopology");
    if topology.is_set() {
        common::label_selector(&topology, f);
    }
    root.get("storageClassName").check(f, names::dns_subdomain);
    let capacity = root.get("capacity");
    if let Some(amount) = capacity.quantity().filter(|q| q.signum() < 0) {
        capacity.invalid_as(f, amount.to_string(), super::at::NON_NEGATIVE);
    }
}

pub(super) fn capacity_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    capacity(new, f);
    new.get("nodeTopology").immutable_struct(f, &old.get("nodeTopology"), "LabelSelector");
    new.get("storageClassName").immutable(f, &old.get("storageClassName"));
}

pub(super) fn attachment(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let attacher = spec.get("attacher");
    driver_name(&attacher, f);
    let source = spec.get("source");
    let (inline, volume) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    match (inline.is_set(), volume.is_set()) {
        (false, false) => {
            source.required(
                f,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        }
        (true, true) => source
            .forbidden(f, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (false, true) => {
            if volume.is_empty() {
                volume.required(f, "must specify non empty persistentVolumeName");
            }
        }
        (true, false) => volume_spec(&inline, "", true, f),
    }
    spec.get("nodeName").check(f, names::dns_subdomain);
    let status = root.get("status");
    let notes = status.get("attachmentMetadata");
    const MOST: usize = 256 * 1024;
    if notes.entries().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MOST {
        notes.too_long(f, MOST);
    }
    for error in ["attachError", "detachError"] {
        let error = status.get(error);
        let (message, code) = (error.get("message"), error.get("errorCode"));
        if message.len() > 1024 {
            // The message names another bound than the rule.
            message.too_long(f, MOST);
        }
        code.range(f, 0, i64::from(i32::MAX));
    }
    volume.check_if_set_at_all(f, names::dns_subdomain);
}

pub(super) fn attachment_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    attachment(new, f);
    new.get("spec").immutable_struct(f, &old.get("spec"), "VolumeAttachmentSpec");
}

pub(super) fn attributes_class(root: &At<'_>, f: &mut Faults) {
    provisioner(&root.get("driverName"), f);
    let given = root.get("parameters");
    parameters(&given, f);
    if given.is_empty() {
        given.required(f, "must contain at least one key/value pair");
    }
}

pub(super) fn attributes_class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for field in ["driverName", "parameters"] {
        if new.get(field).value != old.get(field).value {
            new.get(field).forbidden(f, &format!("updates to {field} are forbidden."));
        }
    }
    attributes_class(new, f);
}
