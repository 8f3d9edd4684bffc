//! Pods: the spec, which templates share. Not here: what a change may touch (`pod_update`), and the
//! status (`pod_status`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::at::{At, Faults};
use super::{common, container, env, placement, profiles, resources, volumes, windows};
use crate::names;

/// What rules of a pod's parts must know of the whole.
pub(super) struct Context<'a> {
    /// Valid volumes by name.
    pub volumes: BTreeMap<String, &'a Map<String, Value>>,
    /// Names of resource claims.
    pub claims: BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`.
    pub grace: i64,
    /// `restartPolicy`.
    pub restart: &'a str,
    /// `os.name`.
    pub os: &'a str,
    pub host_users: bool,
}

/// A new pod, but for `metadata`.
pub(super) fn create(root: &At<'_>, f: &mut Faults) {
    let meta = root.get("metadata");
    let spec_at = root.get("spec");
    annotations(&meta.get("annotations"), &spec_at, f);
    spec(&spec_at, meta.get("name").text(), f);
    if spec_at.get("serviceAccountName").is_empty() {
        for volume in spec_at.get("volumes").items() {
            for source in volume.get("projected.sources").items() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    token.forbidden(f, "must not be specified when serviceAccountName is not set");
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for item in spec_at.get(list).items() {
            container::image_padding(&item, f);
        }
    }
}

/// What only pods being made must not have.
pub(super) fn create_only(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    if !spec.get("ephemeralContainers").is_empty() {
        spec.get("ephemeralContainers").forbidden(f, "cannot be set on create");
    }
    if !spec.get("nodeName").is_empty() && !spec.get("schedulingGates").is_empty() {
        spec.get("nodeName")
            .forbidden(f, "cannot be set until all schedulingGates have been cleared");
    }
    profiles::match_annotations(&root.get("metadata.annotations"), &spec, f);
}

pub(super) fn annotations(at: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    let mirror = at.key("kubernetes.io/config.mirror");
    if mirror.is_set() && spec.get("nodeName").is_empty() {
        mirror.invalid(f, "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = at.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.is_set() {
        let text = cost.text();
        let canonical = !text.starts_with('+')
            && (text == "0" || !text.trim_start_matches('-').starts_with('0'));
        if text.parse::<i32>().is_err() || !canonical {
            cost.invalid(f, "must be a 32bit integer");
        }
    }
    profiles::annotations(at, spec, f);
}

/// A pod template.
pub(super) fn template(at: &At<'_>, f: &mut Faults) {
    let labels = at.get("metadata.labels");
    // Upstream leaves `metadata` out of these paths.
    let path = at.get("labels");
    common::labels(&path.with(labels.value), f);
    let notes = at.get("metadata.annotations");
    let path = at.get("annotations");
    let notes = path.with(notes.value);
    common::annotations(&notes, f);
    let spec_at = at.get("spec");
    annotations(&notes, &spec_at, f);
    spec(&spec_at, "", f);
    profiles::match_annotations(&notes, &spec_at, f);
    if !spec_at.get("ephemeralContainers").is_empty() {
        spec_at
            .get("ephemeralContainers")
            .forbidden(f, "ephemeral containers not allowed in pod template");
    }
}

/// A pod's spec; `name` is the pod's, empty in templates.
pub(super) fn spec(at: &At<'_>, name: &str, f: &mut Faults) {
    let grace = at.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(f, "");
    }
    let (restart, os, users) = (at.get("restartPolicy"), at.get("os.name"), at.get("hostUsers"));
    let list = at.get("resourceClaims");
    let claims: BTreeSet<&str> = at
        .value
        .get("resourceClaims")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|c| c.get("name")?.as_str())
        .collect();
    let cx = Context {
        volumes: volumes::all(at, name, f),
        claims,
        grace: grace.number(),
        restart: restart.text(),
        os: os.text(),
        host_users: users.value != &Value::Bool(false),
    };
    resource_claims(&list, f);
    container::all(at, &cx, f);
    let resources = at.get("resources");
    if resources.is_set() && os.text() == "windows" {
        resources.forbidden(f, "may not be set for a windows pod");
    } else if resources.is_set() {
        if resources.get("claims").is_set() {
            let why = "claims may not be set for Resources at pod-level";
            resources.get("claims").forbidden(f, why);
        }
        resources::pod_resources(&resources, &cx, f);
        resources::within_pod(&resources, at, f);
    }
    host_network_ports(at, !name.is_empty(), f);
    restart.need_one_of(f, &["Always", "OnFailure", "Never"]);
    at.get("dnsPolicy")
        .need_one_of(f, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    common::labels(&at.get("nodeSelector"), f);
    security(at, f);
    placement::affinity(&at.get("affinity"), f);
    dns(at, f);
    for gate in at.get("readinessGates").items() {
        gate.get("conditionType").qualified(f);
    }
    let mut seen = BTreeSet::new();
    for gate in at.get("schedulingGates").items() {
        let name = gate.get("name");
        for why in names::qualified_name(name.text()) {
            gate.invalid_as(f, name.text(), &why);
        }
        if !seen.insert(name.text().to_owned()) {
            gate.duplicate_as(f, name.text());
        }
    }
    placement::spreading(&at.get("topologySpreadConstraints"), f);
    windows::host_process(at, f);
    host_users(at, &cx, f);
    host_name(at, f);
    for field in ["serviceAccountName", "nodeName"] {
        at.get(field).check_if_set(f, names::dns_subdomain);
    }
    let deadline = at.get("activeDeadlineSeconds");
    deadline.range(f, 1, i64::from(i32::MAX));
    at.get("hostname").check_if_set(f, names::dns_label);
    at.get("subdomain").check_if_set(f, names::dns_label);
    placement::tolerations(&at.get("tolerations"), f);
    for alias in at.get("hostAliases").items() {
        common::legacy_ip(&alias.get("ip"), f);
        for name in alias.get("hostnames").items() {
            name.check(f, names::dns_subdomain);
        }
    }
    at.get("priorityClassName").check_if_set(f, names::dns_subdomain);
    let runtime = at.get("runtimeClassName");
    if runtime.is_set() {
        runtime.check(f, names::dns_subdomain);
    }
    preemption_policy(&at.get("preemptionPolicy"), f);
    let overhead = at.get("overhead");
    if overhead.is_set() {
        let limits = serde_json::json!({ "limits": overhead.value });
        resources::resources(&overhead.with(&limits), &cx, f);
    }
    let system = at.get("os");
    if system.is_set() {
        if os.is_empty() {
            os.required(f, "");
        } else if !["linux", "windows"].contains(&os.text()) {
            system.with(os.value).unsupported(f, &["linux", "windows"]);
        } else if os.text() == "windows" {
            windows::pod(at, f);
        } else {
            windows::none(at, f);
        }
    }
    env::files(at, f);
}

/// The lists of containers, in the order in which upstream visits them.
pub(super) const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// What pods of a priority may do to others.
pub(super) fn preemption_policy(at: &At<'_>, f: &mut Faults) {
    if at.is_set() {
        at.need_one_of(f, &["PreemptLowerPriority", "Never"]);
    }
}

fn resource_claims(list: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for claim in list.items() {
        let name = claim.get("name");
        if name.is_empty() {
            name.required(f, "");
        } else if !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        } else {
            name.check(f, names::dns_label);
        }
        let (direct, template) =
            (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        if direct.is_set() && template.is_set() {
            claim.invalid_struct(f, "PodResourceClaim", "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified");
        }
        if !direct.is_set() && !template.is_set() {
            claim.invalid_struct(
                f,
                "PodResourceClaim",
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            );
        }
        for at in [direct, template] {
            if at.is_set() {
                at.check(f, names::dns_subdomain);
            }
        }
    }
}

/// On the host's network a port of a container is the host's; templates may leave that open.
fn host_network_ports(at: &At<'_>, is_pod: bool, f: &mut Faults) {
    if !at.get("hostNetwork").is_true() {
        return;
    }
    for container in at.get("containers").items() {
        for port in container.get("ports").items() {
            let (host, own) = (port.get("hostPort"), port.get("containerPort"));
            if (is_pod || host.number() != 0) && host.number() != own.number() {
                let why = "must match `containerPort` when `hostNetwork` is true";
                host.invalid_as(f, host.number(), why);
            }
        }
    }
}

fn security(spec: &At<'_>, f: &mut Faults) {
    let at = spec.get("securityContext");
    if !at.is_set() {
        return;
    }
    let most = i64::from(i32::MAX);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        at.get(field).range(f, 0, most);
    }
    for group in at.get("supplementalGroups").items() {
        group.range(f, 0, most);
    }
    let share = spec.get("shareProcessNamespace");
    if share.is_true() && spec.get("hostPID").is_true() {
        at.get("shareProcessNamespace")
            .with(share.value)
            .invalid(f, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    sysctls(spec, &at.get("sysctls"), f);
    at.get("fsGroupChangePolicy").one_of_if_set(f, &["Always", "OnRootMismatch"]);
    container::seccomp(&at.get("seccompProfile"), f);
    windows::options(&at.get("windowsOptions"), f);
    container::app_armor(&at.get("appArmorProfile"), f);
    at.get("supplementalGroupsPolicy").one_of_if_set(f, &["Merge", "Strict"]);
    at.get("seLinuxChangePolicy").one_of_if_set(f, &["Recursive"]);
}

fn sysctls(spec: &At<'_>, list: &At<'_>, f: &mut Faults) {
    const PATTERN: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let name = item.get("name");
        let text = name.text();
        let part = |p: &str| {
            let b = p.as_bytes();
            let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
            !b.is_empty()
                && word(b[0])
                && word(b[b.len() - 1])
                && b.iter().all(|c| word(*c) || b"-_".contains(c))
        };
        if text.is_empty() {
            name.required(f, "");
        } else if text.len() > 253 || !text.split(['.', '/']).all(part) {
            name.invalid(f, &format!("must have at most 253 characters and match regex {PATTERN}"));
        } else if !seen.insert(text.to_owned()) {
            name.duplicate(f);
        }
        let dotted = text.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|p| dotted.starts_with(p));
        if spec.get("hostNetwork").is_true() && dotted.starts_with("net.") {
            name.invalid(f, "may not be specified when 'hostNetwork' is true");
        } else if spec.get("hostIPC").is_true() && ipc {
            name.invalid(f, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn dns(spec: &At<'_>, f: &mut Faults) {
    let at = spec.get("dnsConfig");
    let servers = at.get("nameservers");
    if spec.get("dnsPolicy").text() == "None" {
        if !at.is_set() {
            return at.required(f, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        if servers.is_empty() {
            return servers
                .required(f, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        }
    }
    if servers.len() > 3 {
        servers.invalid(f, "must not have more than 3 nameservers");
    }
    for server in servers.items() {
        common::legacy_ip(&server, f);
    }
    let searches = at.get("searches");
    if searches.len() > 32 {
        searches.invalid(f, "must not have more than 32 search paths");
    }
    let length = searches.items().map(|s| s.len() + 1).sum::<usize>();
    if length > 2049 {
        searches.invalid(
            f,
            "must not have more than 2048 characters (including spaces) in the search list",
        );
    }
    for search in searches.items().filter(|s| s.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        for why in names::dns_subdomain_with_underscore(text) {
            search.invalid_as(f, text, &why);
        }
    }
    for option in at.get("options").items() {
        if option.get("name").is_empty() {
            option.required(f, "must not be empty");
        }
    }
}

fn host_users(spec: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    if cx.host_users {
        return;
    }
    for (field, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.get(field).is_true() {
            spec.get(shown).forbidden(f, "when `hostUsers` is false");
        }
    }
    for list in CONTAINERS {
        for container in spec.get(list).items() {
            if !container.get("volumeDevices").is_empty() {
                container.get("volumeDevices").forbidden(f, "when `hostUsers` is false");
            }
        }
    }
}

fn host_name(spec: &At<'_>, f: &mut Faults) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    if spec.get("setHostnameAsFQDN").is_true() {
        name.forbidden(f, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.get("hostNetwork").is_true() {
        name.forbidden(f, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        name.too_long(f, 64);
    }
    name.check(f, names::dns_subdomain);
}
