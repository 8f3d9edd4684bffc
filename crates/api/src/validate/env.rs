//! Variables of containers, and the fields and amounts that variables and files take from pods.

use super::at::{At, Faults};
use super::common;
use super::pod::CONTAINERS;
use crate::names;

/// The variables of a container.
pub(super) fn environment(container: &At<'_>, f: &mut Faults) {
    for variable in container.get("env").items() {
        variable.get("name").need_check(f, names::env_var_name);
        let from = variable.get("valueFrom");
        if from.is_set() {
            value_from(&from, &variable, f);
        }
    }
    let list = container.get("envFrom");
    for source in list.items() {
        source.get("prefix").check_if_set(f, names::env_var_name);
        let mut count = 0;
        for kind in ["configMapRef", "secretRef"] {
            if source.get(kind).is_set() {
                count += 1;
                source
                    .get(kind)
                    .get("name")
                    .need_check(f, |name| names::prefix(name, names::dns_subdomain));
            }
        }
        match count {
            0 => list.invalid_as(f, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => list.invalid_as(f, "", "may not have more than one field specified at a time"),
        }
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

fn value_from(from: &At<'_>, variable: &At<'_>, f: &mut Faults) {
    let mut count = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.get(kind);
        if !source.is_set() {
            continue;
        }
        count += 1;
        match kind {
            "fieldRef" => field_ref(&source, false, f),
            "resourceFieldRef" => resource_field_ref(&source, false, f),
            "fileKeyRef" => {
                source.get("key").need_check(f, names::env_var_name);
                source.get("volumeName").need_check(f, names::dns_label);
                let path = source.get("path");
                if path.need(f) {
                    common::no_backsteps(&path, f);
                }
            }
            _ => {
                source.get("name").check(f, names::dns_subdomain);
                source.get("key").need_check(f, names::config_key);
            }
        }
    }
    if count == 0 {
        from.invalid_as(
            f,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !variable.get("value").is_empty() {
        from.invalid_as(f, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        from.invalid_as(f, "", "may not have more than one field specified at a time");
    }
}

/// Files that variables come from are in volumes that vanish with the pod.
pub(super) fn files(spec: &At<'_>, f: &mut Faults) {
    let volumes = spec.get("volumes");
    for list in CONTAINERS {
        for container in spec.get(list).items() {
            for variable in container.get("env").items() {
                let volume = variable.get("valueFrom.fileKeyRef.volumeName");
                if !variable.get("valueFrom.fileKeyRef").is_set() {
                    continue;
                }
                match volumes.items().filter(|v| v.get("name").text() == volume.text()).last() {
                    None => volume.with(&volume.text().into()).not_found(f),
                    Some(found) if !found.get("emptyDir").is_set() => {
                        volume.invalid(f, "referenced volume must be of type emptyDir");
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

/// A field of the pod, by path.
pub(super) fn field_ref(at: &At<'_>, volume: bool, f: &mut Faults) {
    let (version, path) = (at.get("apiVersion"), at.get("fieldPath"));
    if version.is_empty() {
        return version.required(f, "");
    }
    if path.is_empty() {
        return path.required(f, "");
    }
    let text = path.text();
    let convert =
        |f: &mut Faults, why: &str| path.invalid(f, &format!("error converting fieldPath: {why}"));
    if version.text() != "v1" {
        return convert(f, &format!("unsupported pod version: {}", version.text()));
    }
    let (field, subscript) = match text.strip_suffix("']").and_then(|t| t.split_once("['")) {
        Some((field, subscript)) => (field, Some(subscript)),
        None => (text, None),
    };
    if let Some(subscript) = subscript {
        let rule = match field {
            "metadata.annotations" => names::qualified_name(&subscript.to_lowercase()),
            "metadata.labels" => names::qualified_name(subscript),
            _ => return convert(f, &format!("field label does not support subscript: {text}")),
        };
        for why in rule {
            at.invalid_as(f, subscript, &why);
        }
        return;
    }
    let known = ENV_FIELDS.contains(&field)
        || VOLUME_FIELDS.contains(&field)
        || field == "spec.restartPolicy"
        || field == "spec.schedulerName"
        || field == "status.phase"
        || field == "status.nominatedNodeName";
    if !known {
        return convert(f, &format!("field label not supported: {text}"));
    }
    let allowed = if volume { VOLUME_FIELDS } else { ENV_FIELDS };
    path.one_of(f, allowed);
}

/// An amount of a container's resources.
pub(super) fn resource_field_ref(at: &At<'_>, volume: bool, f: &mut Faults) {
    let resource = at.get("resource");
    let name = resource.text();
    let huge = ["requests.hugepages-", "limits.hugepages-"].iter().any(|p| name.starts_with(p));
    if volume && at.get("containerName").is_empty() {
        at.get("containerName").required(f, "");
    } else if name.is_empty() {
        resource.required(f, "");
    } else if !huge {
        resource.one_of(f, RESOURCES);
    }
    let divisor = at.get("divisor");
    let Some(amount) = divisor.quantity().filter(|q| !q.is_zero()) else { return };
    let text = amount.to_string();
    const WHOLE: &[&str] =
        &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let fault = match name {
        "limits.cpu" | "requests.cpu" if !["1m", "1"].contains(&text.as_str()) => {
            "only divisor's values 1m and 1 are supported with the cpu resource"
        }
        "limits.memory" | "requests.memory" if !WHOLE.contains(&text.as_str()) => {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
        }
        "limits.ephemeral-storage" | "requests.ephemeral-storage"
            if !WHOLE.contains(&text.as_str()) =>
        {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource"
        }
        _ if huge && !WHOLE.contains(&text.as_str()) => {
            "only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource"
        }
        _ => return,
    };
    divisor.invalid_as(f, name, fault);
}
