//! Containers: ports, environment, mounts, probes, resources, security.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Faults};
use super::common::{self, repeated};
use super::pod::Context;
use super::{env, resources, windows};
use crate::names;

/// All containers of a pod.
pub(super) fn all(spec: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    let containers = spec.get("containers");
    if containers.is_empty() {
        containers.required(f, "");
    }
    let mut names = BTreeSet::new();
    for container in containers.items() {
        common_rules(&container, cx, f);
        let name = container.get("name");
        if !names.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
        running(&container, cx, f);
        restart_policy(&container, f);
    }
    host_ports(containers.items(), f);

    let list = spec.get("initContainers");
    for container in list.items() {
        common_rules(&container, cx, f);
        restart_policy(&container, f);
        let name = container.get("name");
        if !name.is_empty() && !names.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
        // Each is looked at alone, and so as the first.
        host_ports(std::iter::once(list.index(0).with(container.value)), f);
        if container.get("restartPolicy").text() == "Always" {
            running(&container, cx, f);
        } else {
            for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.get(field).is_set() {
                    container.get(field).forbidden(
                        f,
                        "may not be set for init containers without restartPolicy=Always",
                    );
                }
            }
            for policy in container.get("resizePolicy").items() {
                let restart = policy.get("restartPolicy");
                if restart.text() == "RestartContainer" {
                    restart.invalid(
                        f,
                        "must not be set to 'RestartContainer' for non-sidecar initContainers",
                    );
                }
            }
        }
    }

    let targets = names.clone();
    for container in spec.get("ephemeralContainers").items() {
        ephemeral(&container, &targets, &mut names, cx, f);
    }
}

/// In the order of the fields of a container.
const NOT_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

fn ephemeral(
    container: &At<'_>,
    targets: &BTreeSet<String>,
    names: &mut BTreeSet<String>,
    cx: &Context<'_>,
    f: &mut Faults,
) {
    common_rules(container, cx, f);
    image_padding(container, f);
    let name = container.get("name");
    if !names.insert(name.text().to_owned()) {
        name.duplicate(f);
    }
    let target = container.get("targetContainerName");
    if !target.is_empty() && !targets.contains(target.text()) {
        target.not_found(f);
    }
    for field in NOT_EPHEMERAL {
        if !container.get(field).is_empty() {
            container.get(field).forbidden(f, "cannot be set for an Ephemeral Container");
        }
    }
    for mount in container.get("volumeMounts").items() {
        for field in ["subPath", "subPathExpr"] {
            if !mount.get(field).is_empty() {
                mount.get(field).forbidden(f, "cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// Spaces around an image's name, which templates may have.
pub(super) fn image_padding(container: &At<'_>, f: &mut Faults) {
    let image = container.get("image");
    if image.text().trim() != image.text() {
        image.invalid(f, "must not have leading or trailing whitespace");
    }
}

fn common_rules(container: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    container.get("name").need_check(f, names::dns_label);
    container.get("image").need(f);
    container.get("terminationMessagePolicy").need_one_of(f, &["File", "FallbackToLogsOnError"]);
    ports(&container.get("ports"), f);
    env::environment(container, f);
    mounts(container, cx, f);
    container.get("imagePullPolicy").need_one_of(f, &["Always", "IfNotPresent", "Never"]);
    resources::resources(&container.get("resources"), cx, f);
    resources::resize_policy(&container.get("resizePolicy"), cx, f);
    security(&container.get("securityContext"), cx, f);
}

/// What only running containers have.
fn running(container: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    let lifecycle = container.get("lifecycle");
    for hook in ["postStart", "preStop"] {
        if lifecycle.get(hook).is_set() {
            handler(&lifecycle.get(hook), cx, f);
        }
    }
    let signal = lifecycle.get("stopSignal");
    if signal.is_set() && cx.os.is_empty() {
        signal.forbidden(f, "may not be set for containers with empty `spec.os.name`");
    }
    for (field, once) in
        [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)]
    {
        let probe = container.get(field);
        if !probe.is_set() {
            continue;
        }
        handler(&probe, cx, f);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            probe.get(field).non_negative(f);
        }
        let grace = probe.get("terminationGracePeriodSeconds");
        if grace.int().is_some_and(|s| s <= 0) {
            grace.invalid(f, "must be greater than 0");
        }
        let threshold = probe.get("successThreshold");
        if once && threshold.number() != 1 {
            threshold.invalid_as(f, threshold.number(), "must be 1");
        }
        if !once && grace.is_set() {
            grace.invalid(f, "must not be set for readinessProbes");
        }
    }
}

fn handler(at: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    let mut count = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let action = at.get(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            action.forbidden(f, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" => {
                action.get("command").need(f);
            }
            "httpGet" => {
                action.get("path").need(f);
                common::port_or_name(&action.get("port"), f);
                action.get("scheme").one_of(f, &["HTTP", "HTTPS"]);
                for header in action.get("httpHeaders").items() {
                    let name = header.get("name");
                    for why in names::http_header_name(name.text()) {
                        action.get("httpHeaders").invalid_as(f, name.text(), &why);
                    }
                }
            }
            "tcpSocket" | "grpc" => common::port_or_name(&action.get("port"), f),
            _ => {
                let (seconds, grace) = (action.get("seconds").number(), cx.grace);
                if seconds < 0 || seconds > grace {
                    action.invalid_as(
                        f,
                        seconds,
                        &format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})"),
                    );
                }
            }
        }
    }
    if count == 0 {
        at.required(f, "must specify a handler type");
    }
}

fn ports(list: &At<'_>, f: &mut Faults) {
    let mut names = BTreeSet::new();
    for port in list.items() {
        let name = port.get("name");
        if !name.is_empty() {
            let faults = names::port_name(name.text());
            if !faults.is_empty() {
                name.check(f, names::port_name);
            } else if !names.insert(name.text().to_owned()) {
                name.duplicate(f);
            }
        }
        let number = port.get("containerPort");
        if number.number() == 0 {
            number.required(f, "");
        } else {
            number.range(f, 1, 65535);
        }
        if port.get("hostPort").number() != 0 {
            port.get("hostPort").range(f, 1, 65535);
        }
        port.get("protocol").need_one_of(f, &["SCTP", "TCP", "UDP"]);
    }
}

fn host_ports<'a>(containers: impl Iterator<Item = At<'a>>, f: &mut Faults) {
    let mut taken = BTreeSet::new();
    for container in containers {
        for port in container.get("ports").items() {
            let host = port.get("hostPort");
            if host.number() == 0 {
                continue;
            }
            let text = format!(
                "{}/{}/{}",
                port.get("protocol").text(),
                port.get("hostIP").text(),
                host.number()
            );
            if !taken.insert(text.clone()) {
                host.duplicate_as(f, text);
            }
        }
    }
}

fn mounts(container: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let uses = |list: &At<'_>, field: &str, text: &str| {
        !text.is_empty() && list.items().any(|i| i.get(field).text() == text)
    };
    let mut paths = BTreeSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.is_empty() {
            name.required(f, "");
        }
        if !cx.volumes.contains_key(name.text()) {
            name.with(&name.text().into()).not_found(f);
        }
        if path.is_empty() {
            path.required(f, "");
        }
        if repeated(&mut paths, path.text()) {
            path.invalid_as(f, path.text(), "must be unique");
        }
        if uses(&devices, "name", name.text()) {
            name.invalid(f, "must not already exist in volumeDevices");
        }
        if uses(&devices, "devicePath", path.text()) {
            path.invalid(f, "must not already exist as a path in volumeDevices");
        }
        // Faults of these fields name the list, as upstream's do.
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        let sub_at = mounts.get("subPath");
        if !sub.is_empty() {
            common::descending_path(&sub_at.with(sub.value), f);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                expression.invalid(f, "subPathExpr and subPath are mutually exclusive");
            }
            let at = mounts.get("subPathExpr");
            common::descending_path(&at.with(expression.value), f);
        }
        propagation(&mount, &mounts, container, f);
    }
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in devices.items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        let source = cx.volumes.get(name.text());
        if name.is_empty() {
            name.required(f, "");
        }
        if names.contains(name.text()) {
            name.invalid(f, "must be unique");
        }
        match source {
            None => name.not_found(f),
            Some(v) if v.get("persistentVolumeClaim").is_none() && v.get("ephemeral").is_none() => {
                name.invalid(f, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode");
            }
            Some(_) => {}
        }
        if path.is_empty() {
            path.required(f, "");
        }
        if paths.contains(path.text()) {
            path.invalid(f, "must be unique");
        }
        if path.text().split('/').any(|p| p == "..") {
            path.invalid(f, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.text().to_owned());
        }
        if uses(&mounts, "name", name.text()) {
            name.invalid(f, "must not already exist in volumeMounts");
        }
        if uses(&mounts, "mountPath", path.text()) {
            path.invalid(f, "must not already exist as a path in volumeMounts");
        }
        if !name.is_empty() {
            names.insert(name.text().to_owned());
        }
    }
}

fn propagation(mount: &At<'_>, mounts: &At<'_>, container: &At<'_>, f: &mut Faults) {
    let value = mount.get("mountPropagation");
    if value.is_set() {
        let path = mounts.get("mountPropagation");
        let at = path.with(value.value);
        at.one_of(f, &["Bidirectional", "HostToContainer", "None"]);
        if value.text() == "Bidirectional" && !container.get("securityContext.privileged").is_true()
        {
            at.forbidden(
                f,
                "Bidirectional mount propagation is available only to privileged containers",
            );
        }
    }
    let recursive = mount.get("recursiveReadOnly");
    let path = mounts.get("recursiveReadOnly");
    let at = path.with(recursive.value);
    match recursive.text() {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").is_true() {
                at.forbidden(f, "may only be specified when readOnly is true");
            }
            if value.is_set() && value.text() != "None" {
                at.forbidden(
                    f,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        _ => at.unsupported(f, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn restart_policy(container: &At<'_>, f: &mut Faults) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if policy.is_set() {
        policy.one_of(f, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        policy.required(f, "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > 20 {
        rules.too_many(f, 20);
    }
    for rule in rules.items() {
        rule.get("action").one_of(f, &["Restart", "RestartAllContainers"]);
        let codes = rule.get("exitCodes");
        if codes.is_set() {
            codes.get("operator").one_of(f, &["In", "NotIn"]);
            if codes.get("values").len() > 255 {
                codes.get("values").too_many(f, 255);
            }
        } else {
            codes.required(f, "must be specified");
        }
    }
}

fn security(at: &At<'_>, cx: &Context<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let id = (0, i64::from(i32::MAX));
    at.get("runAsUser").range(f, id.0, id.1);
    at.get("runAsGroup").range(f, id.0, id.1);
    let proc_mount = at.get("procMount");
    if proc_mount.is_set() {
        proc_mount.one_of(f, &["Default", "Unmasked"]);
        if cx.host_users && proc_mount.text() == "Unmasked" {
            proc_mount.invalid(f, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(&at.get("seccompProfile"), f);
    if at.get("allowPrivilegeEscalation").value == &Value::Bool(false) {
        if at.get("privileged").is_true() {
            at.invalid(
                f,
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        for capability in at.get("capabilities.add").items() {
            if capability.text() == "CAP_SYS_ADMIN" {
                at.invalid(f, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN");
            }
        }
    }
    windows::options(&at.get("windowsOptions"), f);
    app_armor(&at.get("appArmorProfile"), f);
}

/// A seccomp profile.
pub(super) fn seccomp(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    if kind.is_empty() {
        kind.required(f, "type is required when seccompProfile is set");
    } else {
        kind.one_of(f, &["Localhost", "RuntimeDefault", "Unconfined"]);
    }
    if kind.text() == "Localhost" {
        if profile.is_set() {
            common::descending_path(&profile, f);
        } else {
            profile.required(f, "must be set when seccomp type is Localhost");
        }
    } else if profile.is_set() {
        let why = "can only be set when seccomp type is Localhost";
        profile.with(at.value).invalid_struct(f, "SeccompProfile", why);
    }
}

/// An AppArmor profile.
pub(super) fn app_armor(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.get("type"), at.get("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            let text = profile.text();
            if !profile.is_set() || text.is_empty() {
                profile.required(f, "must be set when AppArmor type is Localhost");
            } else if text.trim() != text {
                profile.invalid(f, "must not be padded with whitespace");
            }
            if text.len() > 4095 {
                profile.too_long(f, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if profile.is_set() {
                profile.invalid(f, "can only be set when AppArmor type is Localhost");
            }
        }
        "" => kind.required(f, "type is required when appArmorProfile is set"),
        _ => kind.unsupported(f, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}
