//! Volumes and claims, storage classes, and what CSI drivers say of themselves.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Faults};
use super::{common, placement, volumes};
use crate::names;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

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

fn access_modes(at: &At<'_>, f: &mut Faults) {
    for mode in at.items() {
        if !MODES.contains(&mode.text()) {
            at.with(mode.value).unsupported(f, MODES);
        }
    }
    let (mut single, mut other) = (false, false);
    for mode in at.items() {
        single |= mode.text() == "ReadWriteOncePod";
        other |= mode.text() != "ReadWriteOncePod" && MODES.contains(&mode.text());
    }
    if single && other {
        at.forbidden(f, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive_amount(at: &At<'_>, f: &mut Faults) {
    if at.quantity().is_some_and(|q| q.signum() <= 0) {
        at.invalid(f, "must be greater than zero");
    }
}

/// A claim's spec, in claims and templates of claims.
pub(super) fn claim_spec(at: &At<'_>, f: &mut Faults) {
    let modes = at.get("accessModes");
    if modes.is_empty() {
        modes.required(f, "at least 1 access mode is required");
    }
    if at.get("selector").is_set() {
        common::label_selector(&at.get("selector"), f);
    }
    access_modes(&modes, f);
    let storage = at.get("resources.requests.storage");
    let resources = at.get("resources");
    let shown = resources.key("storage");
    let shown = shown.with(storage.value);
    if storage.is_set() {
        positive_amount(&shown, f);
    } else {
        shown.required(f, "");
    }
    at.get("storageClassName").check_if_set(f, names::dns_subdomain);
    at.get("volumeMode").one_of_if_set(f, VOLUME_MODES);
    let (source, reference) = (at.get("dataSource"), at.get("dataSourceRef"));
    for source in [&source, &reference] {
        if !source.is_set() {
            continue;
        }
        source.get("name").need(f);
        source.get("kind").need(f);
        let group = source.get("apiGroup");
        if group.is_empty() && source.get("kind").text() != "PersistentVolumeClaim" {
            source.invalid_as(
                f,
                source.get("kind").text(),
                "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            );
        }
        group.check_if_set(f, names::dns_subdomain);
    }
    let namespace = reference.get("namespace");
    namespace.check_if_set(f, names::dns_label);
    if !namespace.is_empty() {
        if source.is_set() {
            at.invalid_as(
                f,
                "dataSource",
                "may not be specified when dataSourceRef.namespace is specified",
            );
        }
    } else if source.is_set() && reference.is_set() && source.value != reference.value {
        at.invalid_as(f, serde_json::json!({}), "must match dataSourceRef");
    }
    at.get("volumeAttributesClassName").check_if_set(f, names::dns_subdomain);
}

pub(super) fn claim(root: &At<'_>, f: &mut Faults) {
    claim_spec(&root.get("spec"), f);
}

pub(super) fn claim_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    claim(new, f);
    let bound = new.get("status.phase").text() == "Bound";
    let (spec, was) = (new.get("spec"), old.get("spec"));
    let mut now = spec.value.clone();
    let mut before = was.value.clone();
    if was.get("volumeName").is_empty() {
        before["volumeName"] = now.get("volumeName").cloned().unwrap_or(Value::Null);
        now["volumeName"] = before["volumeName"].clone();
    }
    if !was.get("storageClassName").is_set()
        && spec.get("storageClassName").is_set()
        && !was.get("storageClassName").is_set()
    {
        // A class may be given late, where the cluster's default comes late.
        before["storageClassName"] = spec.get("storageClassName").value.clone();
    }
    if bound {
        for value in [&mut now, &mut before] {
            if let Some(requests) = value.get_mut("resources").and_then(|r| r.get_mut("requests")) {
                requests["storage"] = Value::Null;
            }
            value["volumeAttributesClassName"] = Value::Null;
        }
    }
    if now != before {
        spec.forbidden(
            f,
            &format!(
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
                super::diff::print("PersistentVolumeClaimSpec", &before, &now)
            ),
        );
    }
    let size = |at: &At<'_>, path: &str| at.get(path).quantity();
    let wanted = spec.get("resources.requests.storage");
    if let (Some(now), Some(before)) = (wanted.quantity(), size(&was, "resources.requests.storage"))
    {
        let have = size(old, "status.capacity.storage").unwrap_or(crate::quantity::Quantity::ZERO);
        if now < before && now <= have {
            wanted.forbidden(f, "field can not be less than status.capacity");
        }
    }
    let (mode, old_mode) = (spec.get("volumeMode"), was.get("volumeMode"));
    if mode.value != old_mode.value {
        let path = At::root(mode.value);
        path.get("volumeMode").with(mode.value).invalid(f, super::at::IMMUTABLE);
    }
}

/// Sources of a volume in the order in which upstream looks at them.
const SOURCES: &[(&str, &str)] = &[
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

pub(super) fn volume(root: &At<'_>, f: &mut Faults) {
    volume_spec(&root.get("spec"), false, f);
}

/// A volume's spec; inline ones are those of attachments.
fn volume_spec(spec: &At<'_>, inline: bool, f: &mut Faults) {
    let context = "may not be specified in the context of inline volumes";
    if inline {
        for field in ["claimRef", "capacity"] {
            if !spec.get(field).is_empty() {
                spec.get(field).forbidden(f, context);
            }
        }
        if !spec.get("csi").is_set() {
            spec.get("csi").required(f, "has to be specified in the context of inline volumes");
        }
    }
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(f, "");
    }
    access_modes(&modes, f);
    let capacity = spec.get("capacity");
    if !inline {
        if capacity.is_empty() {
            capacity.required(f, "");
        }
        if !capacity.get("storage").is_set() || capacity.len() > 1 {
            let shown =
                if capacity.is_set() { capacity.value.clone() } else { serde_json::json!({}) };
            let list = "supported values: \"storage\"";
            f.push(crate::Cause::new(
                crate::CauseReason::NotSupported,
                capacity.path(),
                format!("Unsupported value: {shown}: {list}"),
            ));
        }
        for (_, amount) in capacity.entries() {
            if amount.quantity().is_some_and(|q| q.signum() < 0) {
                amount.invalid_as(
                    f,
                    amount.quantity().map_or(0, |q| q.value()),
                    "must be a valid resource quantity",
                );
            }
            positive_amount(&amount, f);
        }
    }
    let reclaim = spec.get("persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() {
        if !inline {
            reclaim.one_of(f, &["Delete", "Recycle", "Retain"]);
        } else if reclaim.text() != "Retain" {
            reclaim.forbidden(f, "may only be Retain in the context of inline volumes");
        }
    }
    let affinity = spec.get("nodeAffinity");
    let mut placed = false;
    if affinity.is_set() {
        if inline {
            affinity.forbidden(f, context);
        } else if affinity.get("required").is_set() {
            placement::node_selector(&affinity.get("required"), f);
            placed = true;
        } else {
            affinity.get("required").required(f, "must specify required node constraints");
        }
    }
    let mut count = 0;
    for (field, second) in SOURCES {
        let at = spec.get(field);
        if !at.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            spec.get(second).forbidden(f, "may not specify more than 1 volume type");
            continue;
        }
        match *field {
            "hostPath" => volumes::host_path(&at, f),
            "local" => {
                let path = at.get("path");
                if path.need(f) {
                    common::no_backsteps(&path, f);
                }
                if !placed {
                    affinity.required(f, "Local volume requires node affinity");
                }
            }
            "csi" => csi_source(&at, f),
            other => volumes::device(other, &at, f),
        }
    }
    if count == 0 {
        spec.required(f, "must specify a volume type");
    }
    if spec.get("hostPath.path").text() == "/" && reclaim.text() == "Recycle" {
        reclaim.forbidden(f, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.get("storageClassName");
    if !class.is_empty() {
        if inline {
            class.forbidden(f, context);
        } else {
            class.check(f, names::dns_subdomain);
        }
    }
    let mode = spec.get("volumeMode");
    if mode.is_set() {
        if !inline {
            mode.one_of(f, VOLUME_MODES);
        } else if mode.text() != "Filesystem" {
            mode.forbidden(
                f,
                "may not specify volumeMode other than Filesystem in the context of inline volumes",
            );
        }
    }
    let attributes = spec.get("volumeAttributesClassName");
    if attributes.is_set() {
        if attributes.is_empty() {
            attributes.required(f, "an empty string is disallowed");
        } else {
            attributes.check(f, names::dns_subdomain);
        }
        if !spec.get("csi").is_set() {
            spec.get("csi").required(f, "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn csi_source(at: &At<'_>, f: &mut Faults) {
    driver_name(&at.get("driver"), f);
    at.get("volumeHandle").need(f);
    for secret in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = at.get(secret);
        if secret.is_set() {
            secret.get("name").need(f);
            secret.get("namespace").need_check(f, names::dns_label);
        }
    }
}

pub(super) fn volume_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    volume(new, f);
    let source = |at: &At<'_>| {
        let map = at.get("spec").map().cloned().unwrap_or_default();
        Value::Object(
            map.into_iter().filter(|(k, _)| SOURCES.iter().any(|(s, _)| s == k)).collect(),
        )
    };
    let (now, was) = (source(new), source(old));
    if now != was {
        new.get("spec.persistentvolumesource").forbidden(
            f,
            &format!(
                "spec.persistentvolumesource is immutable after creation\n{}",
                super::diff::print("PersistentVolumeSource", &was, &now)
            ),
        );
    }
    let (mode, was) = (new.get("spec.volumeMode"), old.get("spec.volumeMode"));
    if mode.value != was.value {
        let root = At::root(mode.value);
        root.get("volumeMode").with(mode.value).invalid(f, super::at::IMMUTABLE);
    }
}

pub(super) fn class(root: &At<'_>, f: &mut Faults) {
    root.get("provisioner").need(f);
    let parameters = root.get("parameters");
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            parameters.invalid_as(f, key, "field can not be empty.");
        }
        size += key.len() + value.len();
    }
    if parameters.len() > 512 {
        parameters.too_long(f, 512);
    } else if size > 256 * 1024 {
        parameters.too_long(f, 256 * 1024);
    }
    root.get("reclaimPolicy").one_of_if_set(f, &["Delete", "Retain"]);
    let binding = root.get("volumeBindingMode");
    if binding.is_set() {
        binding.one_of(f, &["Immediate", "WaitForFirstConsumer"]);
    } else {
        binding.required(f, "");
    }
    allowed_topologies(&root.get("allowedTopologies"), f);
}

fn allowed_topologies(list: &At<'_>, f: &mut Faults) {
    let mut terms: Vec<Value> = Vec::new();
    for term in list.items() {
        let mut keys = BTreeSet::new();
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
            if !keys.insert(key.text().to_owned()) {
                key.duplicate(f);
            }
        }
        if terms.contains(term.value) {
            expressions.duplicate_as(f, "");
        }
        terms.push(term.value.clone());
    }
}

pub(super) fn class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("parameters").immutable(f, &old.get("parameters"));
    for field in ["provisioner", "reclaimPolicy"] {
        let (now, was) = (new.get(field), old.get(field));
        if now.value != was.value {
            now.forbidden(f, &format!("updates to {field} are forbidden."));
        }
    }
    new.get("volumeBindingMode").immutable(f, &old.get("volumeBindingMode"));
    allowed_topologies(&new.get("allowedTopologies"), f);
}

pub(super) fn driver(root: &At<'_>, f: &mut Faults) {
    let name = root.get("metadata.name");
    if name.len() > 63 {
        name.too_long(f, 63);
    }
    let spec = root.get("spec");
    for field in ["attachRequired", "podInfoOnMount", "storageCapacity"] {
        if !spec.get(field).is_set() {
            spec.get(field).required(f, "");
        }
    }
    spec.get("fsGroupPolicy").one_of_if_set(f, &["File", "None", "ReadWriteOnceWithFSType"]);
    let mut audiences = BTreeSet::new();
    for token in spec.get("tokenRequests").items() {
        let audience = token.get("audience");
        if !audiences.insert(audience.text().to_owned()) {
            audience.duplicate_as(f, audience.text());
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
        } else if node.len() > 192 {
            node.invalid(f, "must be 192 characters or less");
        }
        let count = driver.get("allocatable.count");
        count.non_negative(f);
        let mut keys = BTreeSet::new();
        for key in driver.get("topologyKeys").items() {
            if key.is_empty() {
                key.required(f, "");
            }
            if !keys.insert(key.text().to_owned()) {
                key.duplicate(f);
            }
            key.qualified(f);
        }
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
    }
}

pub(super) fn capacity(root: &At<'_>, f: &mut Faults) {
    root.get("storageClassName").check(f, names::dns_subdomain);
    let topology = root.get("nodeTopology");
    if topology.is_set() {
        common::label_selector(&topology, f);
    }
    for field in ["capacity", "maximumVolumeSize"] {
        let at = root.get(field);
        if at.quantity().is_some_and(|q| q.signum() < 0) {
            at.invalid(f, super::at::NON_NEGATIVE);
        }
    }
}

pub(super) fn capacity_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    capacity(new, f);
    for field in ["nodeTopology", "storageClassName"] {
        new.get(field).immutable(f, &old.get(field));
    }
}

pub(super) fn attachment(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let attacher = spec.get("attacher");
    driver_name(&attacher, f);
    let source = spec.get("source");
    let (inline, volume) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    match (inline.is_set(), !volume.is_empty()) {
        (false, false) => {
            source.required(
                f,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        }
        (true, true) => source
            .forbidden(f, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"),
        (false, true) => volume.check(f, names::dns_subdomain),
        (true, false) => volume_spec(&inline, true, f),
    }
    spec.get("nodeName").check(f, names::dns_subdomain);
    for error in ["attachError", "detachError"] {
        let message = root.get("status").get(error).get("message").len();
        if message > 256 * 1024 {
            root.get("status").get(error).get("message").too_long(f, 256 * 1024);
        }
    }
}

pub(super) fn attachment_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("spec"), old.get("spec"));
    if now.value != was.value {
        now.invalid(f, super::at::IMMUTABLE);
    }
}

pub(super) fn attributes_class(root: &At<'_>, f: &mut Faults) {
    driver_name(&root.get("driverName"), f);
    let parameters = root.get("parameters");
    if parameters.is_empty() {
        parameters.required(f, "must contain at least one key/value pair");
    }
    for (key, _) in parameters.entries() {
        if key.is_empty() {
            parameters.invalid_as(f, key, "field can not be empty.");
        }
    }
}

pub(super) fn attributes_class_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for field in ["driverName", "parameters"] {
        let (now, was) = (new.get(field), old.get(field));
        if now.value != was.value {
            if field == "driverName" {
                now.forbidden(f, "updates to driverName are forbidden.");
            } else {
                now.forbidden(f, "updates to parameters are forbidden.");
            }
        }
    }
}
