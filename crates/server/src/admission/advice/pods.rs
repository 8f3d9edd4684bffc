//! What is worth a warning about pods and pod templates.

use api::{Map, Value};
use serde_json::json;

use super::addresses::address;
use super::{claim_spec, containers, fraction, go_port, volumes};
use crate::admission::lookup::{maps, text};

type Fields = Map<String, Value>;

/// Labels of nodes that others took the place of.
const OLD_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// Annotations that fields took the place of.
const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Volume sources whose drivers are gone: field, the name upstream tells, what became of it.
pub(super) const OLD_VOLUMES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "v1.28, non-functional in v1.31+"),
];

/// What became of a node label.
pub fn old_label(key: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(label, _)| *label == key).map(|(_, why)| *why)
}

/// Advises about a pod (`prefix` empty) or the template at `prefix`.
pub fn advise(prefix: &str, pod: &Fields, out: &mut Vec<String>) {
    let empty = Fields::new();
    let map = |key: &str| pod.get(key).and_then(Value::as_object).unwrap_or(&empty);
    let spec = map("spec");
    let annotations =
        map("metadata").get("annotations").and_then(Value::as_object).unwrap_or(&empty);
    labels(prefix, spec, out);
    for (key, why) in OLD_ANNOTATIONS {
        if annotations.contains_key(key) {
            out.push(format!("{prefix}metadata.annotations[{key}]: {why}"));
        }
    }
    for (i, volume) in maps(spec.get("volumes")).enumerate() {
        for (field, name, fate) in OLD_VOLUMES {
            if volume.contains_key(field) {
                out.push(format!("{prefix}spec.volumes[{i}].{name}: deprecated in {fate}"));
            }
            if field == "glusterfs" {
                let claim = volume.get("ephemeral").and_then(|e| e.get("volumeClaimTemplate"));
                let path = format!("{prefix}spec.volumes[{i}].ephemeral.volumeClaimTemplate.spec");
                claim_spec(&path, claim.and_then(|claim| claim.get("spec")), out);
            }
        }
    }
    for volume in maps(spec.get("volumes")) {
        volumes::overlaps(volume, out);
    }
    repeated(prefix, spec, ("hostAliases", "ip"), out);
    repeated(prefix, spec, ("imagePullSecrets", "name"), out);
    for (i, secret) in maps(spec.get("imagePullSecrets")).enumerate() {
        if text(secret, "name").is_empty() {
            out.push(format!("{prefix}spec.imagePullSecrets[{i}].name: invalid empty name \"\""));
        }
    }
    const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];
    fraction(format_args!("{prefix}spec.overhead"), spec.get("overhead"), &BYTES, out);
    let key = "seccomp.security.alpha.kubernetes.io/pod";
    let profile = spec.get("securityContext").and_then(|context| context.get("seccompProfile"));
    if annotations.contains_key(key) && profile.is_none_or(Value::is_null) {
        out.push(format!(
            "{prefix}metadata.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
        ));
    }
    for (path, container) in containers(prefix, spec) {
        profiles(prefix, spec, annotations, container, out);
        for name in BYTES {
            for which in ["limits", "requests"] {
                let amounts = container.get("resources").and_then(|r| r.get(which));
                fraction(format_args!("{path}.resources.{which}"), amounts, &[name], out);
            }
        }
        hidden(&path, container, out);
    }
    ports(prefix, spec, out);
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|s| s < 0) {
        out.push(format!(
            "{prefix}spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    unselective(prefix, spec, out);
    let servers = spec.get("dnsConfig").and_then(|dns| dns.get("nameservers")?.as_array());
    for (i, server) in servers.into_iter().flatten().enumerate() {
        let path = format_args!("{prefix}spec.dnsConfig.nameservers[{i}]");
        address(path, server.as_str().unwrap_or(""), out);
    }
    for (i, alias) in maps(spec.get("hostAliases")).enumerate() {
        address(format_args!("{prefix}spec.hostAliases[{i}].ip"), text(alias, "ip"), out);
    }
}

/// Terms of affinity that no pod is meant by.
fn unselective(prefix: &str, spec: &Fields, out: &mut Vec<String>) {
    const WHEN: [(&str, Option<&str>); 2] = [
        ("requiredDuringSchedulingIgnoredDuringExecution", None),
        ("preferredDuringSchedulingIgnoredDuringExecution", Some("podAffinityTerm")),
    ];
    for which in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.get("affinity").and_then(|affinity| affinity.get(which));
        for (when, inner) in WHEN {
            for (i, term) in maps(affinity.and_then(|a| a.get(when))).enumerate() {
                let term = inner.map_or(Some(term), |inner| term.get(inner)?.as_object());
                if term.is_none_or(|t| t.get("labelSelector").is_none_or(Value::is_null)) {
                    let inner = inner.map(|inner| format!(".{inner}")).unwrap_or_default();
                    out.push(format!(
                        "{prefix}spec.affinity.{which}.{when}[{i}]{inner}.labelSelector: a null labelSelector results in matching no pod"
                    ));
                }
            }
        }
    }
}

/// Old labels in a term about nodes, and values that no label has.
pub(super) fn selector_term(path: &str, term: &Fields, values: bool, out: &mut Vec<String>) {
    for (i, expression) in maps(term.get("matchExpressions")).enumerate() {
        let (path, key) = (format!("{path}.matchExpressions[{i}]"), text(expression, "key"));
        out.extend(old_label(key).map(|why| format!("{path}.key: {key} is {why}")));
        let list = expression.get("values").and_then(Value::as_array).filter(|_| values);
        for (j, value) in list.into_iter().flatten().enumerate() {
            let value = value.as_str().unwrap_or("");
            for why in api::names::label_value(value) {
                out.push(format!("{path}.values[{j}]: {value} is invalid, {why}"));
            }
        }
    }
}

fn labels(prefix: &str, spec: &Fields, out: &mut Vec<String>) {
    let selector = spec.get("nodeSelector").and_then(Value::as_object);
    for key in selector.into_iter().flat_map(Map::keys) {
        out.extend(old_label(key).map(|why| format!("{prefix}spec.nodeSelector[{key}]: {why}")));
    }
    let affinity = spec.get("affinity").and_then(|a| a.get("nodeAffinity"));
    let path = format!("{prefix}spec.affinity.nodeAffinity");
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = affinity.and_then(|a| a.get(REQUIRED)?.get("nodeSelectorTerms"));
    for (i, term) in maps(terms).enumerate() {
        selector_term(&format!("{path}.{REQUIRED}.nodeSelectorTerms[{i}]"), term, false, out);
    }
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, term) in maps(affinity.and_then(|a| a.get(PREFERRED))).enumerate() {
        if let Some(term) = term.get("preference").and_then(Value::as_object) {
            selector_term(&format!("{path}.{PREFERRED}[{i}].preference"), term, true, out);
        }
    }
    for (i, spread) in maps(spec.get("topologySpreadConstraints")).enumerate() {
        let path = format!("{prefix}spec.topologySpreadConstraints[{i}]");
        let key = text(spread, "topologyKey");
        out.extend(old_label(key).map(|why| format!("{path}.topologyKey: {key} is {why}")));
        if !spread.contains_key("labelSelector") {
            out.push(format!(
                "{path}.labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
}

fn repeated(prefix: &str, spec: &Fields, (list, key): (&str, &str), out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, item) in maps(spec.get(list)).enumerate() {
        let value = text(item, key);
        if seen.contains(&value) {
            out.push(format!("{prefix}spec.{list}[{i}].{key}: duplicate {key} {value:?}"));
        }
        seen.push(value);
    }
}

/// Annotations that hold profiles, which fields do now.
fn profiles(
    prefix: &str,
    spec: &Fields,
    annotations: &Fields,
    container: &Fields,
    out: &mut Vec<String>,
) {
    if annotations.is_empty() {
        return;
    }
    let name = text(container, "name");
    let lacks = |holder: Option<&Value>, field: &str| {
        holder.and_then(|h| h.get(field)).is_none_or(Value::is_null)
    };
    let (own, of_pod) = (container.get("securityContext"), spec.get("securityContext"));
    let key = format!("container.seccomp.security.alpha.kubernetes.io/{name}");
    if annotations.contains_key(&key) && lacks(own, "seccompProfile") {
        out.push(format!(
            "{prefix}metadata.annotations[{key}]: non-functional in v1.27+; use the \"seccompProfile\" field instead"
        ));
    }
    let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
    let told = prefix.is_empty() || lacks(own, "appArmorProfile");
    let same = || {
        let profile = app_armor(text(annotations, &key));
        profile.is_some() && profile.as_ref() == of_pod.and_then(|p| p.get("appArmorProfile"))
    };
    if annotations.contains_key(&key) && told && !same() {
        out.push(format!(
            "{prefix}metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
        ));
    }
}

/// The profile that an annotation names.
fn app_armor(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let profile = annotation.strip_prefix("localhost/").filter(|p| !p.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

/// Variables that are set twice, the second time not out of the first.
fn hidden(path: &str, container: &Fields, out: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (i, variable) in maps(container.get("env")).enumerate() {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if !seen.contains(&name) {
            seen.push(name);
            continue;
        }
        let reference = format!("$({name})");
        let extends = value.contains(&reference) && value != reference;
        if variable.contains_key("valueFrom") || !extends {
            out.push(format!(
                "{path}.env[{i}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

fn ports(prefix: &str, spec: &Fields, out: &mut Vec<String>) {
    let int = |port: &Fields, key: &str| port.get(key).and_then(Value::as_i64).unwrap_or(0);
    let mut before: Vec<(String, &Fields)> = Vec::new();
    for (path, container) in containers(prefix, spec) {
        for (i, port) in maps(container.get("ports")).enumerate() {
            let path = format!("{path}.ports[{i}]");
            let (host, ip) = (int(port, "hostPort"), text(port, "hostIP"));
            if !ip.is_empty() && host == 0 {
                out.push(format!("{path}: hostIP set without hostPort: {}", go_port(port)));
            }
            let same = |other: &Fields| {
                int(other, "containerPort") == int(port, "containerPort")
                    && text(other, "protocol") == text(port, "protocol")
            };
            for (other_path, other) in before.iter().filter(|(_, other)| same(other)) {
                let (other_host, other_ip) = (int(other, "hostPort"), text(other, "hostIP"));
                let what = if (ip, host) == (other_ip, other_host) {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                out.push(format!("{path}: {what} port definition with {other_path}"));
            }
            before.push((path, port));
        }
    }
    let mut named: Vec<(&str, &String)> = Vec::new();
    for (path, port) in &before {
        let name = text(port, "name");
        if name.is_empty() {
            continue;
        }
        match named.iter().find(|(known, _)| *known == name) {
            None => named.push((name, path)),
            Some((_, other)) => out.push(format!(
                "{path}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use {other}"
            )),
        }
    }
}
