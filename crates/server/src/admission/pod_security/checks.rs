//! The checks of the levels, each with the version from which on it is made.

use std::collections::BTreeSet;

use api::{Map, Value};

use super::policy::{Level, Rung};
use crate::admission::lookup::{CONTAINERS, maps, text};

type Fields = Map<String, Value>;

/// A violation, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which rule.
    pub reason: String,
    /// By whom.
    pub detail: String,
}

/// What checks read of a pod or pod template.
pub struct Pod<'a> {
    annotations: Option<&'a Fields>,
    spec: Option<&'a Fields>,
    context: Option<&'a Fields>,
    containers: Vec<&'a Fields>,
}

impl<'a> Pod<'a> {
    /// Of an object with `metadata` and `spec`.
    pub fn read(object: &'a Fields) -> Self {
        let spec = object.get("spec").and_then(Value::as_object);
        let meta = object.get("metadata").and_then(Value::as_object);
        let containers =
            CONTAINERS.iter().flat_map(|list| maps(spec.and_then(|s| s.get(*list)))).collect();
        Self {
            annotations: meta.and_then(|m| m.get("annotations")?.as_object()),
            spec,
            context: spec.and_then(|s| s.get("securityContext")?.as_object()),
            containers,
        }
    }

    fn flag(&self, key: &str) -> bool {
        self.spec.is_some_and(|s| s.get(key) == Some(&Value::Bool(true)))
    }

    fn is_windows(&self) -> bool {
        let os = self.spec.and_then(|s| s.get("os")?.get("name")?.as_str());
        os == Some("windows")
    }

    /// Whether root in the pod is nobody on the node.
    fn has_own_users(&self) -> bool {
        self.spec.is_some_and(|s| s.get("hostUsers") == Some(&Value::Bool(false)))
    }

    /// The names of the containers that are bad, in order.
    fn bad(&self, mut is_bad: impl FnMut(&Fields) -> bool) -> Vec<String> {
        let bad = self.containers.iter().filter(|c| is_bad(c));
        bad.map(|c| text(c, "name").to_owned()).collect()
    }

    fn volumes(&self) -> impl Iterator<Item = &'a Fields> {
        maps(self.spec.and_then(|s| s.get("volumes")))
    }
}

fn context(container: &Fields) -> Option<&Fields> {
    container.get("securityContext")?.as_object()
}

fn quoted<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|n| format!("\"{}\"", n.as_ref())).collect();
    names.join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

fn named(names: &[String]) -> String {
    format!("{} {}", plural("container", "containers", names.len()), quoted(names))
}

/// `pod and containers "a", "b"`, or whichever is bad.
fn setters(pod: bool, containers: &[String]) -> Option<String> {
    let mut parts = Vec::new();
    if pod {
        parts.push("pod".to_owned());
    }
    if !containers.is_empty() {
        parts.push(named(containers));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn fault(reason: &str, detail: String) -> Option<Fault> {
    Some(Fault { reason: reason.to_owned(), detail })
}

struct Check {
    level: Level,
    /// Made from this minor version on.
    from: u32,
    /// And before this one.
    until: u32,
    /// In the restricted level another check takes its place, from this version on.
    replaced_from: u32,
    run: fn(&Pod<'_>) -> Option<Fault>,
}

const NEVER: u32 = u32::MAX;
use Level::{Baseline, Restricted};

const fn check(level: Level, from: u32, until: u32, run: fn(&Pod<'_>) -> Option<Fault>) -> Check {
    Check { level, from, until, replaced_from: NEVER, run }
}

const fn replaced(mut check: Check, from: u32) -> Check {
    check.replaced_from = from;
    check
}

/// In the order in which violations are told: by upstream's names, baseline first.
const CHECKS: [Check; 30] = [
    check(Baseline, 0, NEVER, app_armor),
    replaced(check(Baseline, 0, NEVER, added_capabilities), 22),
    check(Baseline, 0, NEVER, host_namespaces),
    replaced(check(Baseline, 0, NEVER, host_paths), 0),
    check(Baseline, 0, NEVER, host_ports),
    check(Baseline, 34, NEVER, probe_hosts),
    check(Baseline, 0, NEVER, privileged),
    check(Baseline, 0, 35, proc_mount),
    replaced(check(Baseline, 35, NEVER, |p| unless(p.has_own_users(), p, proc_mount)), 35),
    check(Baseline, 0, 31, |p| se_linux(p, &SE_LINUX_TYPES[..4])),
    check(Baseline, 31, NEVER, |p| se_linux(p, &SE_LINUX_TYPES)),
    replaced(check(Baseline, 0, 19, seccomp_annotations), 19),
    replaced(check(Baseline, 19, NEVER, seccomp_fields), 19),
    check(Baseline, 0, 27, |p| sysctls(p, 5)),
    check(Baseline, 27, 29, |p| sysctls(p, 6)),
    check(Baseline, 29, 32, |p| sysctls(p, 10)),
    check(Baseline, 32, NEVER, |p| sysctls(p, 12)),
    check(Baseline, 0, NEVER, windows_host_process),
    check(Restricted, 8, 25, escalation),
    check(Restricted, 25, NEVER, |p| unless(p.is_windows(), p, escalation)),
    check(Restricted, 22, 25, capabilities),
    check(Restricted, 25, NEVER, |p| unless(p.is_windows(), p, capabilities)),
    check(Restricted, 35, NEVER, proc_mount),
    check(Restricted, 0, NEVER, volume_types),
    check(Restricted, 0, 35, non_root),
    check(Restricted, 35, NEVER, |p| unless(p.has_own_users(), p, non_root)),
    check(Restricted, 23, 35, user_zero),
    check(Restricted, 35, NEVER, |p| unless(p.has_own_users(), p, user_zero)),
    check(Restricted, 19, 25, seccomp_required),
    check(Restricted, 25, NEVER, |p| unless(p.is_windows(), p, seccomp_required)),
];

fn unless(exempt: bool, pod: &Pod<'_>, run: fn(&Pod<'_>) -> Option<Fault>) -> Option<Fault> {
    if exempt { None } else { run(pod) }
}

/// What a pod violates of a level.
pub fn faults(pod: &Pod<'_>, rung: Rung) -> Vec<Fault> {
    let version = rung.version.unwrap_or(NEVER - 1);
    CHECKS
        .iter()
        .filter(|c| {
            let replaced = rung.level == Restricted && version >= c.replaced_from;
            rung.level >= c.level && (c.from..c.until).contains(&version) && !replaced
        })
        .filter_map(|c| (c.run)(pod))
        .collect()
}

fn app_armor(pod: &Pod<'_>) -> Option<Fault> {
    const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
    let mut values = BTreeSet::new();
    let mut bad = |context: Option<&Fields>| {
        let kind = context.and_then(|c| c.get("appArmorProfile")?.get("type")?.as_str());
        let bad = kind.filter(|k| !matches!(*k, "RuntimeDefault" | "Localhost"));
        values.extend(bad.map(str::to_owned));
        bad.is_some()
    };
    let of_pod = bad(pod.context);
    let containers = pod.bad(|c| bad(context(c)));
    let mut who: Vec<String> = setters(of_pod, &containers).into_iter().collect();
    let mut list: Vec<String> = values.into_iter().collect();
    let mut notes: Vec<String> = pod
        .annotations
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| {
            let fine =
                value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(PREFIX) && !fine
        })
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !notes.is_empty() {
        notes.sort();
        who.push(plural("annotation", "annotations", notes.len()).to_owned());
        list.extend(notes);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", list.len());
    let who = who.join(" and ");
    fault(reason, format!("{who} must not set AppArmor profile type to {}", quoted(list)))
}

fn capability_list<'a>(container: &'a Fields, key: &str) -> impl Iterator<Item = &'a str> {
    let list = context(container).and_then(|c| c.get("capabilities")?.get(key)?.as_array());
    list.into_iter().flatten().filter_map(Value::as_str)
}

fn added_capabilities(pod: &Pod<'_>) -> Option<Fault> {
    const COMMON: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    let mut added = BTreeSet::new();
    let bad = pod.bad(|c| {
        let before: Vec<&str> = capability_list(c, "add").filter(|a| !COMMON.contains(a)).collect();
        added.extend(before.iter().map(|a| (*a).to_owned()));
        !before.is_empty()
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        named(&bad),
        quoted(added)
    );
    fault("non-default capabilities", detail)
}

fn capabilities(pod: &Pod<'_>) -> Option<Fault> {
    let keeping = pod.bad(|c| !capability_list(c, "drop").any(|d| d == "ALL"));
    let mut added = BTreeSet::new();
    let adding = pod.bad(|c| {
        let bad: Vec<&str> =
            capability_list(c, "add").filter(|a| *a != "NET_BIND_SERVICE").collect();
        added.extend(bad.iter().map(|a| (*a).to_owned()));
        !bad.is_empty()
    });
    let mut parts = Vec::new();
    if !keeping.is_empty() {
        parts.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            named(&keeping)
        ));
    }
    if !adding.is_empty() {
        parts.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            named(&adding),
            quoted(added)
        ));
    }
    if parts.is_empty() { None } else { fault("unrestricted capabilities", parts.join("; ")) }
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Fault> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|key| pod.flag(key))
        .map(|key| format!("{key}=true"))
        .collect();
    if set.is_empty() { None } else { fault("host namespaces", set.join(", ")) }
}

fn host_paths(pod: &Pod<'_>) -> Option<Fault> {
    let names: Vec<&str> =
        pod.volumes().filter(|v| v.contains_key("hostPath")).map(|v| text(v, "name")).collect();
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    fault("hostPath volumes", format!("{word} {}", quoted(names)))
}

fn host_ports(pod: &Pod<'_>) -> Option<Fault> {
    let mut ports = BTreeSet::new();
    let bad = pod.bad(|c| {
        let held = maps(c.get("ports")).filter_map(|p| p.get("hostPort")?.as_i64());
        let held: Vec<String> = held.filter(|p| *p != 0).map(|p| p.to_string()).collect();
        let bad = !held.is_empty();
        ports.extend(held);
        bad
    });
    if bad.is_empty() {
        return None;
    }
    let (uses, word) =
        (plural("uses", "use", bad.len()), plural("hostPort", "hostPorts", ports.len()));
    let ports: Vec<String> = ports.into_iter().collect();
    fault("hostPort", format!("{} {uses} {word} {}", named(&bad), ports.join(", ")))
}

fn probe_hosts(pod: &Pod<'_>) -> Option<Fault> {
    let mut hosts = BTreeSet::new();
    let mut bad = pod.bad(|c| {
        let probes =
            ["livenessProbe", "readinessProbe", "startupProbe"].iter().filter_map(|p| c.get(*p));
        let hooks = ["postStart", "preStop"].iter().filter_map(|h| c.get("lifecycle")?.get(*h));
        let found: Vec<String> = probes
            .chain(hooks)
            .flat_map(|handler| ["httpGet", "tcpSocket"].map(|kind| handler.get(kind)))
            .filter_map(|target| target?.get("host")?.as_str())
            .filter(|host| !host.is_empty())
            .map(str::to_owned)
            .collect();
        let bad = !found.is_empty();
        hosts.extend(found);
        bad
    });
    if bad.is_empty() {
        return None;
    }
    bad.sort();
    let uses = plural("uses", "use", bad.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    fault("probe or lifecycle host", format!("{} {uses} {word} {}", named(&bad), quoted(hosts)))
}

fn privileged(pod: &Pod<'_>) -> Option<Fault> {
    let bad =
        pod.bad(|c| context(c).is_some_and(|s| s.get("privileged") == Some(&Value::Bool(true))));
    if bad.is_empty() {
        return None;
    }
    fault("privileged", format!("{} must not set securityContext.privileged=true", named(&bad)))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Fault> {
    let mut kinds = BTreeSet::new();
    let bad = pod.bad(|c| {
        let kind = context(c).map_or("", |s| text(s, "procMount"));
        let bad = !matches!(kind, "" | "Default");
        if bad {
            kinds.insert(kind.to_owned());
        }
        bad
    });
    if bad.is_empty() {
        return None;
    }
    let detail =
        format!("{} must not set securityContext.procMount to {}", named(&bad), quoted(kinds));
    fault("procMount", detail)
}

const SE_LINUX_TYPES: [&str; 5] =
    ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

fn se_linux(pod: &Pod<'_>, allowed: &[&str]) -> Option<Fault> {
    let (mut types, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |context: Option<&Fields>| {
        let Some(options) = context.and_then(|c| c.get("seLinuxOptions")?.as_object()) else {
            return false;
        };
        let kind = text(options, "type");
        let of_kind = !allowed.contains(&kind);
        if of_kind {
            types.insert(kind.to_owned());
        }
        let (of_user, of_role) =
            (!text(options, "user").is_empty(), !text(options, "role").is_empty());
        user |= of_user;
        role |= of_role;
        of_kind || of_user || of_role
    };
    let of_pod = bad(pod.context);
    let containers = pod.bad(|c| bad(context(c)));
    let who = setters(of_pod, &containers)?;
    let mut parts = Vec::new();
    if !types.is_empty() {
        parts.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    if user {
        parts.push("user may not be set".to_owned());
    }
    if role {
        parts.push("role may not be set".to_owned());
    }
    let detail =
        format!("{who} set forbidden securityContext.seLinuxOptions: {}", parts.join("; "));
    fault("seLinuxOptions", detail)
}

fn seccomp_annotations(pod: &Pod<'_>) -> Option<Fault> {
    const POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
    const CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
    let names = pod.containers.iter().map(|c| format!("{CONTAINER}{}", text(c, "name")));
    let bad: BTreeSet<String> = std::iter::once(POD.to_owned())
        .chain(names)
        .filter_map(|key| {
            let value = pod.annotations?.get(&key)?.as_str()?;
            let fine = matches!(value, "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            (!fine).then(|| format!("{key}={value:?}"))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    let bad: Vec<String> = bad.into_iter().collect();
    fault("seccompProfile", format!("forbidden {word} {}", bad.join(", ")))
}

fn seccomp_type(context: Option<&Fields>) -> Option<&str> {
    let profile = context?.get("seccompProfile")?.as_object()?;
    Some(text(profile, "type"))
}

fn seccomp_fields(pod: &Pod<'_>) -> Option<Fault> {
    let mut values = BTreeSet::new();
    let mut bad = |context: Option<&Fields>| {
        let kind = seccomp_type(context).filter(|k| !matches!(*k, "RuntimeDefault" | "Localhost"));
        values.extend(kind.map(str::to_owned));
        kind.is_some()
    };
    let of_pod = bad(pod.context);
    let containers = pod.bad(|c| bad(context(c)));
    let who = setters(of_pod, &containers)?;
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values));
    fault("seccompProfile", detail)
}

fn seccomp_required(pod: &Pod<'_>) -> Option<Fault> {
    seccomp_fields(pod).or_else(|| {
        if seccomp_type(pod.context).is_some() {
            return None;
        }
        let bad = pod.bad(|c| seccomp_type(context(c)).is_none());
        if bad.is_empty() {
            return None;
        }
        let detail = format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            named(&bad)
        );
        fault("seccompProfile", detail)
    })
}

/// The harmless ones, in the order in which upstream found them to be.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod<'_>, known: usize) -> Option<Fault> {
    let set = maps(pod.context.and_then(|c| c.get("sysctls"))).map(|s| text(s, "name"));
    let bad: Vec<&str> = set.filter(|name| !SYSCTLS[..known].contains(name)).collect();
    if bad.is_empty() { None } else { fault("forbidden sysctls", bad.join(", ")) }
}

fn windows_host_process(pod: &Pod<'_>) -> Option<Fault> {
    let bad = |context: Option<&Fields>| {
        let set = context.and_then(|c| c.get("windowsOptions")?.get("hostProcess"));
        set == Some(&Value::Bool(true))
    };
    let who = setters(bad(pod.context), &pod.bad(|c| bad(context(c))))?;
    fault(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}

fn escalation(pod: &Pod<'_>) -> Option<Fault> {
    let bad = pod.bad(|c| {
        context(c).and_then(|s| s.get("allowPrivilegeEscalation")) != Some(&Value::Bool(false))
    });
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&bad));
    fault("allowPrivilegeEscalation != false", detail)
}

fn volume_types(pod: &Pod<'_>) -> Option<Fault> {
    const FINE: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let mut types = BTreeSet::new();
    let mut names = Vec::new();
    for volume in pod.volumes() {
        if volume.keys().any(|k| FINE.contains(&k.as_str())) {
            continue;
        }
        names.push(text(volume, "name"));
        let kind = volume.keys().find(|k| *k != "name").map_or("unknown", String::as_str);
        types.insert(kind);
    }
    if names.is_empty() {
        return None;
    }
    let (word, uses) =
        (plural("volume", "volumes", names.len()), plural("uses", "use", names.len()));
    let kinds = plural("restricted volume type", "restricted volume types", types.len());
    let detail = format!("{word} {} {uses} {kinds} {}", quoted(names), quoted(types));
    fault("restricted volume types", detail)
}

fn non_root(pod: &Pod<'_>) -> Option<Fault> {
    const REASON: &str = "runAsNonRoot != true";
    let set = |context: Option<&Fields>| context.and_then(|c| c.get("runAsNonRoot")?.as_bool());
    let of_pod = set(pod.context);
    let refusing = pod.bad(|c| set(context(c)) == Some(false));
    if let Some(who) = setters(of_pod == Some(false), &refusing) {
        return fault(REASON, format!("{who} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.bad(|c| set(context(c)).is_none() && of_pod != Some(true));
    if silent.is_empty() {
        return None;
    }
    fault(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", named(&silent)))
}

fn user_zero(pod: &Pod<'_>) -> Option<Fault> {
    let zero =
        |context: Option<&Fields>| context.and_then(|c| c.get("runAsUser")?.as_i64()) == Some(0);
    let who = setters(zero(pod.context), &pod.bad(|c| zero(context(c))))?;
    fault("runAsUser=0", format!("{who} must not set runAsUser=0"))
}
