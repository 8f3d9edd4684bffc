//! Volumes of pods.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::at::{At, Faults};
use super::env;
use super::{common, persistent, storage};
use crate::names;

/// Sources in the order in which upstream looks at them, with the path that it gives to a second one.
const SOURCES: &[(&str, &str)] = &[
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// Checks the volumes of a pod; returns the valid ones by name.
pub(super) fn all<'a>(
    spec: &At<'a>,
    pod: &str,
    f: &mut Faults,
) -> BTreeMap<String, &'a Map<String, Value>> {
    let list = spec.get("volumes");
    let made: BTreeSet<String> = list
        .items()
        .filter(|v| !pod.is_empty() && v.get("ephemeral").is_set())
        .map(|v| format!("{pod}-{}", v.get("name").text()))
        .collect();
    let mut known = BTreeMap::new();
    let values = spec.value.get("volumes").and_then(Value::as_array);
    for (volume, value) in list.items().zip(values.into_iter().flatten()) {
        let before = f.len();
        source(&volume, pod, f);
        let name = volume.get("name");
        name.need_check(f, names::dns_label);
        if known.contains_key(name.text()) {
            name.duplicate(f);
        }
        if let (true, Some(map)) = (f.len() == before, value.as_object()) {
            known.insert(name.text().to_owned(), map);
        }
        let claim = volume.get("persistentVolumeClaim.claimName");
        if made.contains(claim.text()) {
            claim.invalid(f, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    known
}

fn source(volume: &At<'_>, pod: &str, f: &mut Faults) {
    let mut count = 0;
    for (field, second) in SOURCES {
        let at = source_at(volume, field);
        if !at.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            volume.get(second).forbidden(f, "may not specify more than 1 volume type");
            continue;
        }
        one(field, &at, volume, pod, f);
    }
    let iscsi = volume.get("iscsi");
    if iscsi.get("initiatorName").is_set()
        && volume.get("name").len() + 1 + iscsi.get("targetPortal").len() > 64
    {
        volume.get("name").invalid(f, TOO_LONG);
    }
    if count == 0 {
        volume.required(f, "must specify a volume type");
    }
}

/// A source of a volume. Upstream calls one of them otherwise.
pub(super) fn source_at<'s>(volume: &'s At<'_>, field: &'s str) -> At<'s> {
    let at = volume.get(field);
    if field == "gcePersistentDisk" { volume.get("persistentDisk").with(at.value) } else { at }
}

fn need_all(at: &At<'_>, fields: &[&str], f: &mut Faults) {
    for field in fields {
        at.get(field).need(f);
    }
}

fn one(field: &str, at: &At<'_>, volume: &At<'_>, pod: &str, f: &mut Faults) {
    match field {
        "emptyDir" => {
            let limit = at.get("sizeLimit");
            if limit.quantity().is_some_and(|q| q.signum() < 0) {
                limit.forbidden(f, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(at, f),
        "gitRepo" => {
            at.get("repository").need(f);
            let directory = at.get("directory");
            if !directory.is_empty() {
                common::descending_path(&directory, f);
            }
        }
        "secret" => {
            at.get("secretName").need(f);
            modes_and_items(at, f);
        }
        "configMap" => {
            at.get("name").need(f);
            modes_and_items(at, f);
        }
        "downwardAPI" => {
            mode(&at.get("defaultMode"), f);
            for file in at.get("items").items() {
                // Faults of files name the volume's source.
                downward_file(&at.with(file.value), f);
            }
        }
        "projected" => projected(at, f),
        "persistentVolumeClaim" => {
            at.get("claimName").need(f);
        }
        "csi" => {
            storage::driver_name(&at.get("driver"), f);
            let secret = at.get("nodePublishSecretRef");
            let name = secret.get("name");
            if secret.is_set() && name.need(f) {
                at.get("name").with(name.value).check(f, names::dns_subdomain);
            }
        }
        "ephemeral" => {
            let template = at.get("volumeClaimTemplate");
            if template.is_set() {
                template_meta(&template.get("metadata"), f);
                persistent::claim_spec(&template.get("spec"), f);
            } else {
                template.required(f, "");
            }
            let name = volume.get("name");
            if !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{}", name.text());
                for why in names::dns_subdomain(&claim) {
                    name.invalid(f, &format!("PVC name {}: {why}", names::quote(&claim)));
                }
            }
        }
        "image" => {
            if !pod.is_empty() {
                at.get("reference").need(f);
            }
            at.get("pullPolicy").need_one_of(f, &["Always", "IfNotPresent", "Never"]);
        }
        other => device(other, at, None, f),
    }
}

/// The metadata of a claim's template.
pub(super) fn template_meta(meta: &At<'_>, f: &mut Faults) {
    common::annotations(&meta.get("annotations"), f);
    common::labels(&meta.get("labels"), f);
    for field in NOT_IN_TEMPLATES {
        if !meta.get(field).is_empty() {
            // Upstream's path is made of Go's name.
            let shown = if *field == "uid" { "uID" } else { field };
            meta.get(shown).forbidden(f, "cannot be set");
        }
    }
}

/// What the template of a claim does not say of its metadata.
const NOT_IN_TEMPLATES: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// A reference to a secret: persistent volumes are in no namespace, so theirs names one.
fn secret_ref(at: &At<'_>, persistent: bool, f: &mut Faults) {
    let secret = at.get("secretRef");
    if secret.is_set() {
        secret.get("name").need(f);
        if persistent {
            secret.get("namespace").need(f);
        }
    }
}

/// A partition of a disk: upstream's message has another range than its rule.
fn partition(at: &At<'_>, f: &mut Faults) {
    if !(0..=255).contains(&at.number()) {
        at.invalid(f, &names::between(1, 255));
    }
}

/// Sources that a persistent volume can have as well; `volume` is its name.
pub(super) fn device(field: &str, at: &At<'_>, volume: Option<&str>, f: &mut Faults) {
    let persistent = volume.is_some();
    match field {
        "nfs" => {
            need_all(at, &["server", "path"], f);
            let path = at.get("path");
            if !path.text().starts_with('/') {
                path.invalid_as(f, path.text(), "must be an absolute path");
            }
        }
        "iscsi" => iscsi(at, volume, f),
        "fc" => fibre_channel(at, f),
        "gcePersistentDisk" => {
            at.get("pdName").need(f);
            partition(&at.get("partition"), f);
        }
        "awsElasticBlockStore" => {
            at.get("volumeID").need(f);
            partition(&at.get("partition"), f);
        }
        "glusterfs" => {
            need_all(at, &["endpoints", "path"], f);
            let namespace = at.get("endpointsNamespace");
            if !persistent || !namespace.is_set() {
                return;
            }
            if namespace.is_empty() {
                let why = "if the endpointnamespace is set, it must be a valid namespace name";
                namespace.invalid(f, why);
            }
            namespace.check_if_set(f, names::dns_label);
        }
        "flocker" => {
            let (name, id) = (at.get("datasetName"), at.get("datasetUUID"));
            if name.is_empty() && id.is_empty() {
                at.required(f, "one of datasetName and datasetUUID is required");
            }
            if !name.is_empty() && !id.is_empty() {
                at.invalid_as(
                    f,
                    "resource",
                    "datasetName and datasetUUID can not be specified simultaneously",
                );
            }
            if name.text().contains('/') {
                name.invalid(f, "must not contain '/'");
            }
        }
        "rbd" => need_all(at, &["monitors", "image"], f),
        "cinder" => {
            at.get("volumeID").need(f);
            secret_ref(at, persistent, f);
        }
        "cephfs" => {
            at.get("monitors").need(f);
        }
        "quobyte" => {
            let (registry, tenant) = (at.get("registry"), at.get("tenant"));
            let why = "must be a host:port pair or multiple pairs separated by commas";
            if registry.is_empty() {
                registry.required(f, why);
            } else if tenant.len() >= 65 {
                tenant.required(f, "must be a UUID and may not exceed a length of 64 characters");
            } else {
                for _ in registry.text().split(',').filter(|pair| !is_host_and_port(pair)) {
                    registry.invalid(f, why);
                }
            }
            at.get("volume").need(f);
        }
        "flexVolume" => {
            at.get("driver").need(f);
            let options = at.get("options");
            for (key, _) in options.entries() {
                let prefix = key.split_once('/').map_or(key, |(prefix, _)| prefix);
                let domain = format!(".{}", prefix.to_lowercase());
                if [".kubernetes.io", ".k8s.io"].iter().any(|end| domain.ends_with(end)) {
                    let why = "kubernetes.io and k8s.io namespaces are reserved";
                    options.key(key).invalid_as(f, key, why);
                }
            }
        }
        "azureFile" => {
            need_all(at, &["secretName", "shareName"], f);
            let namespace = at.get("secretNamespace");
            if persistent && namespace.is_set() {
                namespace.need(f);
            }
        }
        "storageos" => {
            at.get("volumeName").need_check(f, names::dns_label);
            at.get("volumeNamespace").check_if_set(f, names::dns_label);
            secret_ref(at, persistent, f);
        }
        "vsphereVolume" => {
            at.get("volumePath").need(f);
        }
        "photonPersistentDisk" => {
            at.get("pdID").need(f);
        }
        "portworxVolume" => {
            at.get("volumeID").need(f);
        }
        "azureDisk" => {
            need_all(at, &["diskName", "diskURI"], f);
            at.get("cachingMode").one_of_if_set(f, &["None", "ReadOnly", "ReadWrite"]);
            let (kind, disk) = (at.get("kind"), at.get("diskURI"));
            kind.one_of_if_set(f, &["Dedicated", "Managed", "Shared"]);
            if kind.text() == "Managed" && !disk.text().starts_with("/subscriptions/") {
                disk.unsupported(f, &["/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"]);
            }
            if kind.text() != "Managed" && !disk.text().starts_with("https://") {
                disk.unsupported(f, &["https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"]);
            }
        }
        "scaleIO" => need_all(at, &["gateway", "system", "volumeName"], f),
        _ => {}
    }
}

/// A path on the host.
pub(super) fn host_path(at: &At<'_>, f: &mut Faults) {
    let path = at.get("path");
    if !path.need(f) {
        return;
    }
    common::no_backsteps(&path, f);
    at.get("type").one_of_if_set(
        f,
        &[
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ],
    );
}

/// As in `host:port` or `[::1]:port`.
fn is_host_and_port(text: &str) -> bool {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:").is_some_and(|(_, port)| !port.contains(':')),
        None => text.split_once(':').is_some_and(|(_, port)| !port.contains(':')),
    }
}

fn iscsi(at: &At<'_>, volume: Option<&str>, f: &mut Faults) {
    let portal = at.get("targetPortal");
    portal.need(f);
    let initiator = at.get("initiatorName");
    if let (Some(volume), true) = (volume, initiator.is_set())
        && volume.len() + 1 + portal.len() > 64
    {
        at.get("targetportal").with(portal.value).invalid(f, TOO_LONG);
    }
    let name = at.get("iqn");
    if name.is_empty() {
        name.required(f, "");
    } else {
        qualified_target(&name, volume.is_none(), f);
    }
    let lun = at.get("lun");
    if !(0..=255).contains(&lun.number()) {
        lun.invalid(f, &names::between(0, 255));
    }
    let secret = at.get("secretRef");
    let chap = at.get("chapAuthDiscovery").is_true() || at.get("chapAuthSession").is_true();
    if chap && !secret.is_set() {
        secret.required(f, "");
    }
    if volume.is_some() && secret.is_set() {
        secret.get("name").need(f);
    }
    if initiator.is_set() {
        let path = at.get("initiatorname");
        qualified_target(&path.with(initiator.value), volume.is_none(), f);
    }
}

const TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

fn qualified_target(at: &At<'_>, in_pod: bool, f: &mut Faults) {
    let text = at.text();
    let hex = |t: &str, lengths: &[usize]| {
        lengths.contains(&t.len()) && t.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let fits = match text.get(..3) {
        Some("iqn") => {
            // iqn.2001-04.com.example:storage
            let rest = text.strip_prefix("iqn.").unwrap_or("");
            let date = rest.bytes().take(7).enumerate();
            let dated = date.fold(true, |fits, (at, b)| {
                fits && if at == 4 { b == b'-' } else { b.is_ascii_digit() }
            });
            let tail = rest.get(7..).unwrap_or("");
            dated && tail.starts_with('.') && tail.len() > 1
        }
        Some("eui") => text.strip_prefix("eui.").is_some_and(|t| hex(t, &[16])),
        Some("naa") => text.strip_prefix("naa.").is_some_and(|t| hex(t, &[16, 32])),
        _ if in_pod => return at.invalid(f, "must be valid format starting with iqn, eui, or naa"),
        _ => false,
    };
    if !fits {
        at.invalid(f, "must be valid format");
    }
}

fn fibre_channel(at: &At<'_>, f: &mut Faults) {
    let (targets, ids, lun) = (at.get("targetWWNs"), at.get("wwids"), at.get("lun"));
    if targets.is_empty() && ids.is_empty() {
        targets.required(f, "must specify either targetWWNs or wwids, but not both");
    }
    if !targets.is_empty() && !ids.is_empty() {
        targets.invalid(f, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !targets.is_empty() {
        if lun.is_set() {
            lun.range(f, 0, 255);
        } else {
            lun.required(f, "lun is required if targetWWNs is specified");
        }
    }
}

/// Permissions of a file.
fn mode(at: &At<'_>, f: &mut Faults) {
    if at.int().is_some_and(|m| !(0..=0o777).contains(&m)) {
        at.invalid(f, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn modes_and_items(at: &At<'_>, f: &mut Faults) {
    mode(&at.get("defaultMode"), f);
    for item in at.get("items").items() {
        key_to_path(&item, f);
    }
}

fn key_to_path(item: &At<'_>, f: &mut Faults) {
    item.get("key").need(f);
    let path = item.get("path");
    path.need(f);
    common::local_path(&path, f);
    mode(&item.get("mode"), f);
}

fn downward_file(file: &At<'_>, f: &mut Faults) {
    let path = file.get("path");
    path.need(f);
    common::local_path(&path, f);
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    if field.is_set() {
        env::field_ref(&field, true, f);
        if resource.is_set() {
            file.invalid_as(
                f,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if resource.is_set() {
        env::resource_field_ref(&resource, true, f);
    } else {
        file.required(f, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&file.get("mode"), f);
}

fn projected(at: &At<'_>, f: &mut Faults) {
    mode(&at.get("defaultMode"), f);
    let mut paths = BTreeSet::new();
    for source in at.get("sources").items() {
        let mut count = 0;
        for kind in ["secret", "configMap"] {
            let source = source.get(kind);
            if !source.is_set() {
                continue;
            }
            count += 1;
            let name = source.get("name");
            name.need(f);
            for item in source.get("items").items() {
                key_to_path(&item, f);
                let path = item.get("path");
                if !path.is_empty() && !paths.insert(path.text().to_owned()) {
                    at.invalid_as(f, name.text(), "conflicting duplicate paths");
                }
            }
        }
        let downward = source.get("downwardAPI");
        if downward.is_set() {
            count += 1;
            for file in downward.get("items").items() {
                downward_file(&downward.with(file.value), f);
                let path = file.get("path");
                if !path.is_empty() && !paths.insert(path.text().to_owned()) {
                    at.invalid_as(f, path.text(), "conflicting duplicate paths");
                }
            }
        }
        let token = source.get("serviceAccountToken");
        if token.is_set() {
            count += 1;
            let seconds = token.get("expirationSeconds");
            if seconds.number() < 600 {
                seconds.invalid_as(
                    f,
                    seconds.number(),
                    "may not specify a duration less than 10 minutes",
                );
            }
            if seconds.number() > 1 << 32 {
                seconds.invalid(f, "may not specify a duration larger than 2^32 seconds");
            }
            let shown = at.get("path");
            let path = token.get("path");
            let path = shown.with(path.value);
            if path.need(f) {
                common::local_path(&path, f);
            }
        }
        if count > 1 {
            source.forbidden(f, "may not specify more than 1 volume type per source");
        }
    }
}
