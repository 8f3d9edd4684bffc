//! What the kubelet is told when it starts.
//!
//! Not here: command lines.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::eviction::Thresholds;

/// The kubelet's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// The directory below which everything is kept (`kubelet`, `containerd`).
    pub data_dir: PathBuf,
    /// The container runtime.
    pub runtime: Runtime,
    /// How the node presents itself.
    pub node: Node,
    /// The HTTPS server.
    pub server: Server,
    /// Cluster-wide settings that pods see.
    pub cluster: Cluster,
    /// When old things are removed.
    pub limits: Limits,
}

/// The container runtime.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// The CRI socket of a runtime that is there; without one, our own containerd is started.
    pub endpoint: Option<PathBuf>,
    /// CNI configurations, for our own containerd.
    pub cni_conf_dir: PathBuf,
    /// CNI plugins, for our own containerd.
    pub cni_bin_dir: PathBuf,
    /// The cgroup below which all pods go.
    pub cgroup_root: String,
    /// Where pods' logs go.
    pub pod_logs: PathBuf,
    /// Where links to containers' logs go; `None` for no links.
    pub container_logs: Option<PathBuf>,
    /// How many starts run at the same time; 0: by the number of processors.
    pub parallel_starts: usize,
}

/// How the node presents itself.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Its addresses; empty: the one that leads to the default route.
    pub ips: Vec<IpAddr>,
    /// Labels that it registers with.
    pub labels: BTreeMap<String, String>,
    /// Taints that it registers with, as in `key=value:NoSchedule`.
    pub taints: Vec<String>,
    /// How many pods it takes.
    pub max_pods: u32,
    /// The version that it shows.
    pub version: String,
}

/// The HTTPS server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: IpAddr,
    /// The port; 0 for none at all.
    pub port: u16,
    /// Where its certificate comes from; without, it makes its own.
    pub certificate: Option<Certificate>,
    /// PEM of the authority that issues clients' certificates; without, only tokens are taken.
    pub client_ca: Option<String>,
}

/// Gives the server's certificate chain and key as PEM. Asked again every hour, so that a renewed
/// one is taken up.
#[derive(Clone)]
pub struct Certificate(pub Arc<dyn Fn() -> Result<(String, String), String> + Send + Sync>);

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate")
    }
}

impl From<(String, String)> for Certificate {
    fn from(pair: (String, String)) -> Self {
        Self(Arc::new(move || Ok(pair.clone())))
    }
}

/// Cluster-wide settings that pods see.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Addresses of the cluster's DNS.
    pub dns: Vec<IpAddr>,
    /// The cluster's domain.
    pub domain: String,
    /// The node's own resolver configuration.
    pub resolv_conf: PathBuf,
}

/// When old things are removed.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How little may be left before pods are ended.
    pub eviction_hard: Thresholds,
    /// Images are removed when the disk is fuller than this (percent); 100: never.
    pub image_gc_high: u8,
    /// Until it is less full than this.
    pub image_gc_low: u8,
    /// A container's log is rotated at this size.
    pub log_size: u64,
    /// How many files of a container's log are kept.
    pub log_files: usize,
}

impl Config {
    /// The defaults for a data directory and a node name.
    pub fn new(node_name: impl Into<String>, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            node_name: node_name.into(),
            runtime: Runtime {
                endpoint: None,
                cni_conf_dir: data_dir.join("cni/conf"),
                cni_bin_dir: data_dir.join("cni/bin"),
                cgroup_root: "/kubepods".into(),
                pod_logs: "/var/log/pods".into(),
                container_logs: Some("/var/log/containers".into()),
                parallel_starts: 0,
            },
            data_dir,
            node: Node { max_pods: 110, version: "v1.36.0".into(), ..Node::default() },
            server: Server {
                address: IpAddr::from([0, 0, 0, 0]),
                port: 10250,
                certificate: None,
                client_ca: None,
            },
            cluster: Cluster {
                dns: vec![IpAddr::from([10, 43, 0, 10])],
                domain: "cluster.local".into(),
                resolv_conf: "/etc/resolv.conf".into(),
            },
            limits: Limits {
                eviction_hard: Thresholds::DEFAULT.parse().unwrap_or_default(),
                image_gc_high: 85,
                image_gc_low: 80,
                log_size: 10 << 20,
                log_files: 5,
            },
        }
    }

    /// The kubelet's own directory.
    pub fn kubelet_dir(&self) -> PathBuf {
        self.data_dir.join("kubelet")
    }
}
