//! The configuration of a pod's sandbox.
//!
//! Not here: its containers, and resolv.conf's contents ([`super::files`]).

use std::collections::HashMap;
use std::path::Path;

use super::{resources, security};
use crate::cri;
use crate::pod::observed::keys;
use crate::pod::view::{Kind, PodView};

/// What of the node a sandbox's configuration shows.
#[derive(Debug)]
pub struct Place<'a> {
    /// The pod's log directory.
    pub log_dir: &'a Path,
    /// The cgroup under which the sandbox goes.
    pub cgroup_parent: &'a str,
    /// `resolv.conf`.
    pub dns: cri::DnsConfig,
    /// Where local seccomp profiles are.
    pub seccomp_dir: &'a str,
    /// Whether the sandbox's program confines itself: ours does.
    pub confined: bool,
}

/// The pod's host name: the spec's, else its name, cut to what the kernel takes.
pub fn hostname(pod: &PodView) -> String {
    if let Some(name) = pod.spec.hostname_override.as_deref().filter(|n| !n.is_empty()) {
        return name.to_owned();
    }
    let name = pod.spec.hostname.as_deref().filter(|h| !h.is_empty()).unwrap_or(pod.name());
    let cut = name.get(..63).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The fully qualified name where the pod has a subdomain.
pub fn fqdn(pod: &PodView, cluster_domain: &str) -> Option<String> {
    let subdomain = pod.spec.subdomain.as_deref().filter(|s| !s.is_empty())?;
    Some(format!("{}.{subdomain}.{}.svc.{cluster_domain}", hostname(pod), pod.namespace()))
}

/// The labels that name a pod to the runtime.
pub fn identity(pod: &PodView) -> HashMap<String, String> {
    HashMap::from([
        (keys::POD_NAME.to_owned(), pod.name().to_owned()),
        (keys::POD_NAMESPACE.to_owned(), pod.namespace().to_owned()),
        (keys::POD_UID.to_owned(), pod.uid().to_owned()),
    ])
}

/// Makes the configuration.
pub fn sandbox(
    pod: &PodView,
    attempt: u32,
    place: &Place<'_>,
    cluster_domain: &str,
) -> cri::PodSandboxConfig {
    let mut labels: HashMap<String, String> =
        pod.labels().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.extend(identity(pod));
    let mut annotations: HashMap<String, String> =
        pod.annotations().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    annotations.entry("kubernetes.io/config.source".into()).or_insert_with(|| "api".into());
    let port_mappings = [Kind::Init, Kind::Regular]
        .into_iter()
        .flat_map(|k| pod.containers(k))
        .flat_map(|c| c.ports.iter().flatten())
        .filter(|p| p.host_port.unwrap_or(0) > 0 && !pod.host_network())
        .map(|p| cri::PortMapping {
            protocol: match p.protocol.as_deref() {
                Some("UDP") => cri::Protocol::Udp,
                Some("SCTP") => cri::Protocol::Sctp,
                _ => cri::Protocol::Tcp,
            } as i32,
            container_port: p.container_port,
            host_port: p.host_port.unwrap_or(0),
            host_ip: p.host_ip.clone().unwrap_or_default(),
        })
        .collect();
    let sysctls = pod.spec.security_context.as_ref().and_then(|s| s.sysctls.as_ref());
    let limits = resources::pod_limits(pod);
    let total = cri::LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: limits.cpu_quota.unwrap_or(0),
        cpu_shares: limits.cpu_shares,
        memory_limit_in_bytes: limits.memory.unwrap_or(0),
        ..Default::default()
    };
    let hostname = if pod.spec.set_hostname_as_fqdn == Some(true) {
        fqdn(pod, cluster_domain).unwrap_or_else(|| hostname(pod))
    } else {
        hostname(pod)
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt,
        }),
        // In the node's network a pod has the node's name.
        hostname: if pod.host_network() { String::new() } else { hostname },
        log_directory: place.log_dir.display().to_string(),
        dns_config: Some(place.dns.clone()),
        port_mappings,
        labels,
        annotations,
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: place.cgroup_parent.to_owned(),
            security_context: Some(security::sandbox(pod, place.seccomp_dir, place.confined)),
            sysctls: sysctls
                .into_iter()
                .flatten()
                .map(|s| (s.name.clone(), s.value.clone()))
                .collect(),
            overhead: Some(cri::LinuxContainerResources::default()),
            resources: Some(total),
        }),
    }
}
