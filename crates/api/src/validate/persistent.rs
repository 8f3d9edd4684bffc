//! Persistent volumes and the claims for them. Not here: their sources (`volumes`), classes (`storage`).

use serde_json::Value;

use super::at::{At, Faults};
use super::storage::driver_name;
use super::{common, placement, volumes};
use crate::names;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

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
            let why = "may not be specified when dataSourceRef.namespace is specified";
            at.invalid_as(f, serde_json::json!({}), why);
        }
    } else if source.is_set() && reference.is_set() && !same_source(&source, &reference) {
        at.invalid_as(f, serde_json::json!({}), "must match dataSourceRef");
    }
    at.get("volumeAttributesClassName").check_if_set(f, names::dns_subdomain);
}

fn same_source(source: &At<'_>, reference: &At<'_>) -> bool {
    ["apiGroup", "kind", "name"].iter().all(|x| source.get(x).value == reference.get(x).value)
}

pub(super) fn claim(root: &At<'_>, f: &mut Faults) {
    claim_spec(&root.get("spec"), f);
}

/// The class of a claim, as old clients say it.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn claim_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    claim(new, f);
    let (spec, was) = (new.get("spec"), old.get("spec"));
    let mut now = spec.value.clone();
    let mut before = was.value.clone();
    let put = |value: &mut Value, field: &str, from: &Value| {
        if let Some(map) = value.as_object_mut() {
            match from {
                Value::Null => map.remove(field),
                from => map.insert(field.to_owned(), from.clone()),
            };
        }
    };
    if was.get("volumeName").is_empty() {
        put(&mut before, "volumeName", spec.get("volumeName").value);
    }
    late_class(new, old, &mut now, f);
    if new.get("status.phase").text() == "Bound" {
        if let Some(requests) = now.pointer_mut("/resources/requests") {
            put(requests, "storage", was.get("resources.requests.storage").value);
        }
        let field = "volumeAttributesClassName";
        put(&mut now, field, was.get(field).value);
    }
    if now != before {
        let difference = super::diff::print("PersistentVolumeClaimSpec", &before, &now);
        let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        spec.forbidden(f, &format!("{why}\n{difference}"));
    }
    let size = |at: &At<'_>, path: &str| at.get(path).quantity();
    let wanted = spec.get("resources.requests.storage");
    if let Some(before) = size(&was, "resources.requests.storage") {
        let now = wanted.quantity().unwrap_or(crate::quantity::Quantity::ZERO);
        let have = size(old, "status.capacity.storage").unwrap_or(crate::quantity::Quantity::ZERO);
        if now < before && now <= have {
            wanted.forbidden(f, "field can not be less than status.capacity");
        }
    }
    at_top(new, "volumeMode", &spec.get("volumeMode"), &was.get("volumeMode"), f);
    let (class, had) =
        (spec.get("volumeAttributesClassName"), was.get("volumeAttributesClassName"));
    if class.value != had.value && new.get("status.currentVolumeAttributesClassName").is_set() {
        let why = "is forbidden when status.currentVolumeAttributesClassName is not nil";
        if !class.is_set() {
            class.forbidden(f, &format!("update to nil {why}"));
        } else if class.is_empty() {
            class.forbidden(f, &format!("update to empty string {why}"));
        }
    }
}

/// A field of the spec that must not change; upstream gives it a path at the top.
fn at_top(root: &At<'_>, field: &str, now: &At<'_>, was: &At<'_>, f: &mut Faults) {
    if now.value != was.value {
        root.get(field).with(now.value).invalid(f, super::at::IMMUTABLE);
    }
}

/// A class may be given late: where an annotation said it before, or nothing did.
fn late_class(new: &At<'_>, old: &At<'_>, now: &mut Value, f: &mut Faults) {
    const FIELD: &str = "storageClassName";
    let (class, had) = (new.get("spec.storageClassName"), old.get("spec.storageClassName"));
    let (notes, old_notes) = (new.get("metadata.annotations"), old.get("metadata.annotations"));
    let (note, old_note) = (notes.key(OLD_CLASS), old_notes.key(OLD_CLASS));
    let agrees = class.is_set() && !had.is_set();
    let moved = agrees
        && old_note.is_set()
        && class.value == old_note.value
        && (!note.is_set() || note.value == old_note.value);
    if !moved && note.text() != old_note.text() {
        notes.get(OLD_CLASS).invalid_as(f, note.text(), super::at::IMMUTABLE);
    }
    if agrees
        && (!old_note.is_set() || class.value == old_note.value)
        && let Some(map) = now.as_object_mut()
    {
        map.remove(FIELD);
    }
}

pub(super) fn claim_status(new: &At<'_>, _: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    for (_, amount) in status.get("capacity").entries() {
        valid_amount(&amount, f);
    }
    const RESIZES: &[&str] = &[
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    let list = status.get("allocatedResourceStatuses");
    for (key, value) in list.entries() {
        claimed_resource(&list, key, f);
        if !RESIZES.contains(&value.text()) {
            list.with(&key.into()).unsupported(f, RESIZES);
        }
    }
    let list = status.get("allocatedResources");
    for (key, amount) in list.entries() {
        let before = f.len();
        claimed_resource(&list, key, f);
        if f.len() == before {
            valid_amount(&amount, f);
        }
    }
}

fn claimed_resource(at: &At<'_>, key: &str, f: &mut Faults) {
    let before = f.len();
    for why in names::qualified_name(key) {
        at.invalid_as(f, key, &why);
    }
    let native = !key.contains('/') || key.contains("kubernetes.io/");
    if f.len() == before && native && key != "storage" {
        at.with(&key.into()).unsupported(f, &["storage"]);
    }
}

fn valid_amount(at: &At<'_>, f: &mut Faults) {
    if let Some(amount) = at.quantity().filter(|q| q.value() < 0) {
        at.invalid_as(f, amount.value(), "must be a valid resource quantity");
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
    volume_spec(&root.get("spec"), root.get("metadata.name").text(), false, f);
}

/// A volume's spec; inline ones are those of attachments.
pub(super) fn volume_spec(spec: &At<'_>, name: &str, inline: bool, f: &mut Faults) {
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
            valid_amount(&amount, f);
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
        } else {
            let required = affinity.get("required");
            if required.is_set() {
                placement::node_selector(&required, f);
            } else {
                required.required(f, "must specify required node constraints");
            }
            placed = true;
        }
    }
    let mut count = 0;
    for (field, second) in SOURCES {
        let at = volumes::source_at(spec, field);
        if !at.is_set() {
            continue;
        }
        count += 1;
        if count > 1 && *field != "flexVolume" {
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
            other => volumes::device(other, &at, Some(name), f),
        }
    }
    if count == 0 {
        spec.required(f, "must specify a volume type");
    }
    if is_root(spec.get("hostPath.path").text()) && reclaim.text() == "Recycle" {
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
    if attributes.is_set() && !inline {
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

/// Whether a path leads to the root.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        depth = if part == ".." { depth.saturating_sub(1) } else { depth + 1 };
    }
    path.starts_with('/') && depth == 0
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
            secret.get("name").need_check(f, names::dns_subdomain);
            secret.get("namespace").need_check(f, names::dns_label);
        }
    }
}

pub(super) fn volume_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    // Upstream looks twice.
    volume(new, f);
    volume(new, f);
    let source = |at: &At<'_>| {
        let map = at.get("spec").map().cloned().unwrap_or_default();
        Value::Object(
            map.into_iter().filter(|(k, _)| SOURCES.iter().any(|(s, _)| s == k)).collect(),
        )
    };
    let (mut now, was) = (source(new), source(old));
    // The secret for growing may come later.
    if was["csi"].is_object()
        && was["csi"].get("controllerExpandSecretRef").is_none()
        && let Some(csi) = now.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove("controllerExpandSecretRef");
    }
    if now != was {
        new.get("spec.persistentvolumesource").forbidden(
            f,
            &format!(
                "spec.persistentvolumesource is immutable after creation\n{}",
                super::diff::print("PersistentVolumeSource", &was, &now)
            ),
        );
    }
    let (spec, was) = (new.get("spec"), old.get("spec"));
    at_top(new, "volumeMode", &spec.get("volumeMode"), &was.get("volumeMode"), f);
    let (affinity, had) = (spec.get("nodeAffinity"), was.get("nodeAffinity"));
    if had.is_set() && !same_but_renamed(affinity.value, had.value) {
        let why = "field is immutable, except for updating from beta label to GA";
        new.get("nodeAffinity").with(affinity.value).invalid_struct(f, "VolumeNodeAffinity", why);
    }
    let class = spec.get("volumeAttributesClassName");
    if was.get("volumeAttributesClassName").is_set() && !class.is_set() {
        class.forbidden(f, "update from non-nil value to nil is forbidden");
    }
}

/// Labels of nodes that got other names.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// Whether a node affinity is as before, labels' new names in the place of old ones aside.
fn same_but_renamed(now: &Value, was: &Value) -> bool {
    match (now, was) {
        (Value::Object(now), Value::Object(was)) => {
            now.len() == was.len()
                && was.iter().all(|(field, was)| {
                    let now = now.get(field).unwrap_or(&Value::Null);
                    let renamed =
                        field == "key" && RENAMED.iter().any(|(old, new)| was == old && now == new);
                    renamed || same_but_renamed(now, was)
                })
        }
        (Value::Array(now), Value::Array(was)) => {
            now.len() == was.len() && now.iter().zip(was).all(|(a, b)| same_but_renamed(a, b))
        }
        (now, was) => now == was,
    }
}
