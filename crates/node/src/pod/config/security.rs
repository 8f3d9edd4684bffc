//! Security contexts: the pod's, overridden by the container's, as the runtime is told them.
//!
//! Not here: judging whether they are allowed (admission), and files' groups (volumes).

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, SELinuxOptions, SeccompProfile, SecurityContext,
};

use crate::cri;
use crate::pod::view::PodView;

/// Paths of /proc and /sys that containers do not see.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths of /proc that containers cannot write.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn int(value: Option<i64>) -> Option<cri::Int64Value> {
    value.map(|value| cri::Int64Value { value })
}

/// Which namespaces are the node's, the pod's, or the container's own.
pub fn namespaces(pod: &PodView) -> cri::NamespaceOption {
    use cri::NamespaceMode::{Container, Node, Pod};
    let node = |on: Option<bool>| on == Some(true);
    let pid = if node(pod.spec.host_pid) {
        Node
    } else if node(pod.spec.share_process_namespace) {
        Pod
    } else {
        Container
    };
    cri::NamespaceOption {
        network: if pod.host_network() { Node } else { Pod } as i32,
        pid: pid as i32,
        ipc: if node(pod.spec.host_ipc) { Node } else { Pod } as i32,
        ..Default::default()
    }
}

fn selinux(options: Option<&SELinuxOptions>) -> Option<cri::SeLinuxOption> {
    let o = options?;
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    Some(cri::SeLinuxOption {
        user: text(&o.user),
        role: text(&o.role),
        r#type: text(&o.type_),
        level: text(&o.level),
    })
}

fn seccomp(profile: Option<&SeccompProfile>, privileged: bool, dir: &str) -> cri::SecurityProfile {
    let (kind, local) = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) if !privileged => {
            (cri::ProfileType::RuntimeDefault, String::new())
        }
        Some(("Localhost", Some(file))) if !privileged => {
            (cri::ProfileType::Localhost, format!("{dir}/{file}"))
        }
        _ => (cri::ProfileType::Unconfined, String::new()),
    };
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: local }
}

fn apparmor(profile: Option<&AppArmorProfile>) -> Option<cri::SecurityProfile> {
    let p = profile?;
    let (kind, local) = match p.type_.as_str() {
        "RuntimeDefault" => (cri::ProfileType::RuntimeDefault, String::new()),
        "Localhost" => {
            (cri::ProfileType::Localhost, p.localhost_profile.clone().unwrap_or_default())
        }
        _ => (cri::ProfileType::Unconfined, String::new()),
    };
    Some(cri::SecurityProfile { profile_type: kind as i32, localhost_ref: local })
}

fn policy(pod: &PodView) -> i32 {
    let context = pod.spec.security_context.as_ref();
    let strict = context.and_then(|c| c.supplemental_groups_policy.as_deref()) == Some("Strict");
    let policy = if strict {
        cri::SupplementalGroupsPolicy::Strict
    } else {
        cri::SupplementalGroupsPolicy::Merge
    };
    policy as i32
}

/// Supplemental groups of the pod, with `fsGroup`.
fn groups(pod: &PodView) -> Vec<i64> {
    let context = pod.spec.security_context.as_ref();
    let mut groups: Vec<i64> =
        context.and_then(|c| c.supplemental_groups.clone()).unwrap_or_default();
    groups.extend(context.and_then(|c| c.fs_group));
    groups
}

/// The sandbox's security context; `confined`: its program confines itself.
pub fn sandbox(
    pod: &PodView,
    seccomp_dir: &str,
    confined: bool,
) -> cri::LinuxSandboxSecurityContext {
    let context = pod.spec.security_context.as_ref();
    let privileged = pod.all_containers().any(|(_, c)| is_privileged(c));
    let profile = SeccompProfile { type_: "RuntimeDefault".into(), localhost_profile: None };
    let own = context.and_then(|c| c.seccomp_profile.as_ref());
    let own = own.or(Some(&profile).filter(|_| !confined));
    cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod)),
        selinux_options: selinux(context.and_then(|c| c.se_linux_options.as_ref())),
        run_as_user: int(context.and_then(|c| c.run_as_user)),
        run_as_group: int(context.and_then(|c| c.run_as_group)),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: policy(pod),
        privileged,
        seccomp: Some(seccomp(own, false, seccomp_dir)),
        ..Default::default()
    }
}

fn is_privileged(c: &Container) -> bool {
    c.security_context.as_ref().and_then(|s| s.privileged) == Some(true)
}

/// A container's security context. `image_user` is the image's own user, checked against
/// `runAsNonRoot`.
pub fn container(
    pod: &PodView,
    c: &Container,
    target_id: Option<&str>,
    seccomp_dir: &str,
) -> cri::LinuxContainerSecurityContext {
    let none = SecurityContext::default();
    let own = c.security_context.as_ref().unwrap_or(&none);
    let of_pod = pod.spec.security_context.as_ref();
    let privileged = own.privileged == Some(true);
    let mut namespace_options = namespaces(pod);
    if let Some(target) = target_id {
        namespace_options.pid = cri::NamespaceMode::Target as i32;
        target.clone_into(&mut namespace_options.target_id);
    }
    let capabilities = own.capabilities.as_ref().map(|c| cri::Capability {
        add_capabilities: c.add.clone().unwrap_or_default(),
        drop_capabilities: c.drop.clone().unwrap_or_default(),
        ..Default::default()
    });
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked") || privileged;
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() }
    };
    let may_gain = own.allow_privilege_escalation != Some(false) || privileged;
    cri::LinuxContainerSecurityContext {
        capabilities,
        privileged,
        namespace_options: Some(namespace_options),
        selinux_options: selinux(
            own.se_linux_options.as_ref().or(of_pod.and_then(|p| p.se_linux_options.as_ref())),
        ),
        run_as_user: int(own.run_as_user.or(of_pod.and_then(|p| p.run_as_user))),
        run_as_group: int(own.run_as_group.or(of_pod.and_then(|p| p.run_as_group))),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: policy(pod),
        no_new_privs: !may_gain,
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(
            own.seccomp_profile.as_ref().or(of_pod.and_then(|p| p.seccomp_profile.as_ref())),
            privileged,
            seccomp_dir,
        )),
        apparmor: apparmor(
            own.app_armor_profile.as_ref().or(of_pod.and_then(|p| p.app_armor_profile.as_ref())),
        ),
        ..Default::default()
    }
}

/// Refuses an image that would run as root where the spec forbids that.
pub fn check_non_root(pod: &PodView, c: &Container, image: &cri::Image) -> Result<(), String> {
    let own = c.security_context.as_ref();
    let of_pod = pod.spec.security_context.as_ref();
    let forbidden = own.and_then(|s| s.run_as_non_root).or(of_pod.and_then(|s| s.run_as_non_root))
        == Some(true);
    if !forbidden {
        return Ok(());
    }
    let user = own.and_then(|s| s.run_as_user).or(of_pod.and_then(|s| s.run_as_user));
    let place = format!(
        "pod: {:?}, container: {}",
        format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid()),
        c.name
    );
    match (user, image.uid.as_ref().map(|u| u.value), image.username.as_str()) {
        (Some(0), ..) => Err(format!("container's runAsUser breaks non-root policy ({place})")),
        (Some(_), ..) => Ok(()),
        (None, Some(0), _) => {
            Err(format!("container has runAsNonRoot and image will run as root ({place})"))
        }
        (None, None, name) if !name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root ({place})"
        )),
        (None, None, _) => {
            Err(format!("container has runAsNonRoot and image will run as root ({place})"))
        }
        (None, Some(_), _) => Ok(()),
    }
}
