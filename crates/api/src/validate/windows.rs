//! Pods on Windows, and what of Windows pods elsewhere cannot have.

use super::at::{At, Faults};
use super::pod::CONTAINERS;
use crate::names;

/// What a pod on Windows cannot have.
pub(super) fn pod(spec: &At<'_>, f: &mut Faults) {
    const POD: &[&str] = &[
        "securityContext.appArmorProfile",
        "securityContext.seLinuxOptions",
        "hostUsers",
        "hostPID",
        "hostIPC",
        "securityContext.seccompProfile",
        "securityContext.fsGroup",
        "securityContext.fsGroupChangePolicy",
        "securityContext.sysctls",
        "shareProcessNamespace",
        "securityContext.runAsUser",
        "securityContext.runAsGroup",
        "securityContext.supplementalGroups",
        "securityContext.supplementalGroupsPolicy",
        "securityContext.seLinuxChangePolicy",
    ];
    const CONTAINER: &[&str] = &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "capabilities",
        "readOnlyRootFilesystem",
        "privileged",
        "allowPrivilegeEscalation",
        "procMount",
        "runAsUser",
        "runAsGroup",
    ];
    for field in POD {
        let at = spec.get(field);
        let flag = matches!(*field, "hostPID" | "hostIPC");
        let list = *field == "securityContext.sysctls";
        if (flag && at.is_true()) || (list && !at.is_empty()) || !(flag || list) && at.is_set() {
            at.forbidden(f, "cannot be set for a windows pod");
        }
    }
    for list in CONTAINERS {
        for container in spec.get(list).items() {
            let at = container.get("securityContext");
            for field in CONTAINER {
                if at.get(field).is_set() {
                    at.get(field).forbidden(f, "cannot be set for a windows pod");
                }
            }
        }
    }
}

/// A pod on Linux has no options of Windows.
pub(super) fn none(spec: &At<'_>, f: &mut Faults) {
    let refuse = |at: &At<'_>, f: &mut Faults| {
        let options = at.get("securityContext");
        let options = options.get("windowsOptions");
        if options.is_set() {
            options.forbidden(f, "windows options cannot be set for a linux pod");
        }
    };
    refuse(spec, f);
    for list in CONTAINERS {
        for container in spec.get(list).items() {
            refuse(&container, f);
        }
    }
}

/// The options of a pod or container.
pub(super) fn options(at: &At<'_>, f: &mut Faults) {
    at.get("gmsaCredentialSpecName").check_if_set_at_all(f, names::dns_subdomain);
    let spec = at.get("gmsaCredentialSpec");
    if spec.is_set() && spec.is_empty() {
        spec.invalid(f, "gmsaCredentialSpec cannot be an empty string");
    } else if spec.len() > 64 * 1024 {
        spec.invalid(f, "gmsaCredentialSpec size must be under 64 KiB");
    }
    let user = at.get("runAsUserName");
    if user.is_set() {
        user_name(&user, f);
    }
}

/// `user` or `DOMAIN\user`.
fn user_name(at: &At<'_>, f: &mut Faults) {
    let text = at.text();
    if text.is_empty() {
        return at.invalid(f, "runAsUserName cannot be an empty string");
    }
    if text.bytes().any(|b| b.is_ascii_control()) {
        return at.invalid(f, "runAsUserName cannot contain control characters");
    }
    if text.matches('\\').count() > 1 {
        return at.invalid(f, "runAsUserName cannot contain more than one backslash");
    }
    let (domain, user) = match text.split_once('\\') {
        Some((domain, user)) => (Some(domain), user),
        None => (None, text),
    };
    if domain.is_some_and(|domain| domain.len() >= 256) {
        at.invalid(f, "runAsUserName's Domain length must be under 256 characters");
    }
    if domain.is_some_and(|domain| !is_net_bios(domain) && !is_dns(domain)) {
        at.invalid(f, "runAsUserName's Domain doesn't match the NetBios nor the DNS format");
    }
    if user.is_empty() {
        at.invalid(f, "runAsUserName's User cannot be empty");
    } else if user.len() > 104 {
        at.invalid(f, "runAsUserName's User length must not be longer than 104 characters");
    }
    if !user.is_empty() && user.chars().all(|c| c == '.' || c == ' ') {
        at.invalid(f, "runAsUserName's User cannot contain only periods or spaces");
    }
    if user
        .contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'])
    {
        let why =
            r#"runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]"#;
        at.invalid(f, why);
    }
}

fn is_net_bios(text: &str) -> bool {
    (1..=15).contains(&text.chars().count())
        && !text.starts_with('.')
        && !text.contains(['\\', '/', ':', '*', '?', '"', '<', '>', '|'])
}

fn is_dns(text: &str) -> bool {
    text.split('.').all(|label| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    })
}

/// Either all containers are processes of the host, or none is.
pub(super) fn host_process(spec: &At<'_>, f: &mut Faults) {
    const FLAG: &str = "securityContext.windowsOptions.hostProcess";
    let whole = spec.get(FLAG).value.as_bool();
    let (mut count, mut on_host) = (0, 0);
    for list in CONTAINERS {
        for container in spec.get(list).items() {
            count += 1;
            let flag = container.get(FLAG);
            let own = flag.value.as_bool();
            if let (Some(whole), Some(own)) = (whole, own)
                && whole != own
            {
                flag.invalid(
                    f,
                    &format!(
                        "pod hostProcess value must be identical if both are specified, was {whole}"
                    ),
                );
            }
            on_host += usize::from(own.or(whole) == Some(true));
        }
    }
    if on_host == 0 {
        return;
    }
    if on_host != count {
        spec.invalid_as(f, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers");
    }
    if !spec.get("hostNetwork").is_true() {
        let why = "hostNetwork must be true if pod contains any hostProcess containers";
        spec.get("hostNetwork").invalid_as(f, false, why);
    }
}
