//! The command line of every part, its flags named as upstream names them. Not here: what they start.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where everything lives unless told otherwise.
pub const DATA_DIR: &str = "/var/lib/isopod";

/// The same Kubernetes, one binary.
#[derive(Debug, Parser)]
#[command(name = "isopod", disable_version_flag = true, max_term_width = 100)]
pub struct Cli {
    /// What to log: error, warn, info, debug, trace, or directives as in `node=debug,info`.
    #[arg(long, global = true, env = "ISOPOD_LOG", default_value = "info")]
    pub log: String,
    /// What to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The parts and tools.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A whole cluster on this machine, in one process
    Server(Box<Server>),
    /// The API server with its store
    Apiserver(Box<ApiServer>),
    /// The scheduler
    Scheduler(Component),
    /// The controllers
    ControllerManager(ControllerManager),
    /// The node agent
    Kubelet(Box<Kubelet>),
    /// The service proxy
    Proxy(Proxy),
    /// Control a cluster, as kubectl does
    Kubectl(Box<cli::Args>),
    /// Stop isopod on this machine and remove all it made: pods, mounts, network, rules, data
    Uninstall(Uninstall),
    /// Print the version
    Version,
    /// Print a shell's completion script
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Flags of what serves the API.
#[derive(Clone, Debug, Args)]
pub struct Serving {
    /// Where everything is kept.
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// The address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// The address others reach this server at; the machine's own where not given.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// The port to listen on.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// The range of service addresses.
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cluster_ip_range: String,
    /// The range of node ports.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: (u16, u16),
    /// A file of static tokens: `token,user,uid,"group,group"`.
    #[arg(long)]
    pub token_auth_file: Option<PathBuf>,
    /// API versions to switch on or off: `api/all=true`, `apps/v1=false`, ….
    #[arg(long, value_delimiter = ',', value_parser = switch)]
    pub runtime_config: Vec<(String, bool)>,
    /// Features to switch on or off, of those that decide which APIs are served: `Name=true`, ….
    #[arg(long, value_delimiter = ',', value_parser = switch)]
    pub feature_gates: Vec<(String, bool)>,
    /// Further names and addresses in the serving certificate.
    #[arg(long, value_delimiter = ',')]
    pub tls_san: Vec<String>,
    /// The DNS domain of services.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
}

/// Parts of `server` that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The kubelet, with the container runtime, and with it this machine's service proxy and DNS.
    Node,
    /// The service proxy.
    Proxy,
    /// The cluster DNS.
    Dns,
    /// The scheduler.
    Scheduler,
    /// The controllers.
    Controllers,
}

/// `server`.
#[derive(Clone, Debug, Args)]
pub struct Server {
    /// The API server's flags.
    #[command(flatten)]
    pub serving: Serving,
    /// The range of pod addresses.
    #[arg(long, default_value = "10.42.0.0/16")]
    pub cluster_cidr: String,
    /// Parts to leave out.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub disable: Vec<Part>,
    /// The node's flags.
    #[command(flatten)]
    pub node: NodeFlags,
}

/// Flags of what runs pods.
#[derive(Clone, Debug, Args)]
pub struct NodeFlags {
    /// The node's name; the host's where not given.
    #[arg(long, visible_alias = "hostname-override")]
    pub node_name: Option<String>,
    /// The node's address; the machine's own where not given.
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// A CRI socket, as in unix:///run/containerd/containerd.sock; a containerd of isopod's own where
    /// not given.
    #[arg(long)]
    pub container_runtime_endpoint: Option<String>,
    /// The port of the node agent.
    #[arg(long = "kubelet-port", default_value_t = 10250)]
    pub kubelet_port: u16,
    /// Pods at most.
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// How little may be left before pods are ended: `<signal><<value>,…`; `0%` switches a signal off.
    #[arg(long, default_value = node::Thresholds::DEFAULT)]
    pub eviction_hard: node::Thresholds,
    /// The fullness of the disk, in percent, above which unused images are removed; 100: never.
    #[arg(long, default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_high_threshold: u8,
    /// The fullness of the disk, in percent, down to which they are.
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_low_threshold: u8,
    /// Labels that the node registers with: `a=b,c=d`.
    #[arg(long, value_delimiter = ',', value_parser = pair)]
    pub node_labels: Vec<(String, String)>,
}

/// `apiserver`.
#[derive(Clone, Debug, Args)]
pub struct ApiServer {
    /// The flags it shares with `server`.
    #[command(flatten)]
    pub serving: Serving,
}

/// Flags of every part that talks to an API server.
#[derive(Clone, Debug, Args)]
pub struct Component {
    /// How to reach the API server.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Work only while holding the lease, so that several may run.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub leader_elect: bool,
}

/// `controller-manager`.
#[derive(Clone, Debug, Args)]
pub struct ControllerManager {
    /// The way to the API server.
    #[command(flatten)]
    pub component: Component,
    /// The range of pod addresses.
    #[arg(long, default_value = "10.42.0.0/16")]
    pub cluster_cidr: String,
    /// The authority that pods are told to trust (`kube-root-ca.crt`); the kubeconfig's own where not
    /// given.
    #[arg(long)]
    pub root_ca_file: Option<PathBuf>,
    /// Controllers to run: names, `*` for all, `-name` to leave one out.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,
}

/// `kubelet`.
#[derive(Clone, Debug, Args)]
pub struct Kubelet {
    /// How to reach the API server.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// Where the node agent keeps its things.
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Addresses of the cluster DNS.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// The DNS domain of services.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// The authority of clients that may talk to the node agent.
    #[arg(long)]
    pub client_ca_file: Option<PathBuf>,
    /// The serving certificate; a self-signed one where not given.
    #[arg(long)]
    pub tls_cert_file: Option<PathBuf>,
    /// The serving certificate's key.
    #[arg(long)]
    pub tls_private_key_file: Option<PathBuf>,
    /// The flags it shares with `server`.
    #[command(flatten)]
    pub node: NodeFlags,
}

/// `proxy`.
#[derive(Clone, Debug, Args)]
pub struct Proxy {
    /// How to reach the API server.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The range of pod addresses; traffic to services from elsewhere is masqueraded.
    #[arg(long, default_value = "10.42.0.0/16")]
    pub cluster_cidr: String,
    /// The node's name; the host's where not given.
    #[arg(long)]
    pub hostname_override: Option<String>,
}

/// `uninstall`.
#[derive(Clone, Debug, Args)]
pub struct Uninstall {
    /// Where everything is kept.
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// The range of service addresses that it ran with.
    #[arg(long, default_value = "10.43.0.0/16")]
    pub service_cluster_ip_range: String,
    /// The range of pod addresses that it ran with.
    #[arg(long, default_value = "10.42.0.0/16")]
    pub cluster_cidr: String,
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let bad = || format!("{text:?} is not a range of ports, as in 30000-32767");
    let (from, to) = text.split_once('-').ok_or_else(bad)?;
    let range = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if range.0 == 0 || range.0 > range.1 { Err(bad()) } else { Ok(range) }
}

fn switch(text: &str) -> Result<(String, bool), String> {
    let (name, value) = text.split_once('=').unwrap_or((text, "true"));
    match value {
        "true" | "" => Ok((name.to_owned(), true)),
        "false" => Ok((name.to_owned(), false)),
        other => Err(format!("{name}={other}: expected true or false")),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn parts_and_switches() {
        let cli = Cli::parse_from([
            "isopod",
            "server",
            "--disable",
            "node,proxy",
            "--runtime-config",
            "api/all=true,apps/v1=false",
        ]);
        let Command::Server(server) = cli.command else { panic!("server") };
        assert_eq!(server.disable, [Part::Node, Part::Proxy]);
        assert_eq!(
            server.serving.runtime_config,
            [("api/all".to_owned(), true), ("apps/v1".to_owned(), false)]
        );
        assert!(
            Cli::try_parse_from(["isopod", "server", "--service-node-port-range", "9-8"]).is_err()
        );
    }
}
