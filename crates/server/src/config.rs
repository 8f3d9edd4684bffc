//! What an API server is started with, and why a start fails.
//!
//! Not here: command-line parsing, or the starting itself (`start`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How an API server runs. Field names follow upstream's flags.
#[derive(Clone, Debug)]
pub struct Config {
    /// Certificates, keys and kubeconfigs live in `pki` under it.
    pub data_dir: PathBuf,
    /// Where to listen.
    pub bind_address: IpAddr,
    /// 0: any free port.
    pub secure_port: u16,
    /// The address that others reach this server at, for the `kubernetes` service and kubeconfigs;
    /// `None`: found out.
    pub advertise_address: Option<IpAddr>,
    /// The range of cluster IPs, as in `10.43.0.0/16`.
    pub service_cidr: String,
    /// The range of pod addresses.
    pub cluster_cidr: String,
    /// The first and last node port.
    pub node_port_range: (u16, u16),
    /// Upstream's CSV: `token,user,uid,"group,group"`.
    pub token_auth_file: Option<PathBuf>,
    /// `api/all=true`, `group/version=bool`, `group/version/plural=bool`.
    pub runtime_config: Vec<(String, bool)>,
    /// `Name=bool`, of the gates that kinds need; `AllAlpha` and `AllBeta` stand for many.
    pub feature_gates: Vec<(String, bool)>,
    /// The DNS domain of services.
    pub cluster_domain: String,
    /// Who vouches for kubelets' serving certificates; `None`: nobody has to, as upstream.
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Where to write the administrator's kubeconfig, before the first request is answered.
    pub admin_kubeconfig: Option<PathBuf>,
    /// Further names and addresses in the serving certificate.
    pub tls_san: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/isopod"),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            secure_port: 6443,
            advertise_address: None,
            service_cidr: "10.43.0.0/16".to_owned(),
            cluster_cidr: "10.42.0.0/16".to_owned(),
            node_port_range: (30000, 32767),
            token_auth_file: None,
            runtime_config: Vec::new(),
            feature_gates: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            kubelet_certificate_authority: None,
            admin_kubeconfig: None,
            tls_san: Vec::new(),
        }
    }
}

/// Why the API server did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken.
    #[error(
        "{address} is already in use by another process: stop it, or choose another --secure-port"
    )]
    AddressInUse {
        /// What was to be bound.
        address: SocketAddr,
    },
    /// Listening failed otherwise.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// What was to be bound.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file under the data directory.
    #[error("{}: {source} (is the data directory writable?)", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A flag's value.
    #[error("--{flag}: {why}")]
    Flag {
        /// Its name.
        flag: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Certificates and keys.
    #[error("certificates: {0}")]
    Pki(String),
    /// The objects every cluster has could not be written.
    #[error("writing the initial objects: {0}")]
    Bootstrap(String),
}
