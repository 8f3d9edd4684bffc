//! `isopod server`: a whole cluster in one process. Parts share one watch cache and speak to the API
//! server in process; each could be swapped for its upstream counterpart.
//!
//! Not here: what the parts do.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use api::clock::{Clock, Rng};
use client::{Informers, Shutdown};
use tokio::task::JoinSet;

use crate::args::{Part, Server};
use crate::network_setup::PodNetwork;
use crate::parts::{announce, api_config, cidrs, node_config, nth_address, start_api};
use crate::process::until_signal;

/// How long parts may take to stop.
const GOODBYE: Duration = Duration::from_secs(20);
/// Which address of the service range the cluster's DNS has.
pub const DNS_ADDRESS: u32 = 10;
const MASTERS: &[&str] = &["system:masters", "system:authenticated"];

/// Runs the cluster until a signal.
pub async fn run(mut args: Server) -> Result<()> {
    let began = Instant::now();
    args.serving.data_dir = absolute(&args.serving.data_dir)?;
    // The node's address is where the API server on it is found, unless said otherwise.
    args.serving.advertise_address = args.serving.advertise_address.or(args.node.node_ip);
    let (clock, rng, shutdown) = (Clock::system(), Rng::system(), until_signal()?);
    let enabled = |part: Part| !args.disable.contains(&part);
    // Found out before anything is made: a node that cannot run should not half start.
    let node_config =
        enabled(Part::Node).then(|| node_config(&args.node, &args.serving.data_dir)).transpose()?;
    if let Some(config) = &node_config
        && config.runtime.endpoint.is_none()
    {
        node::containerd::layout(
            &config.data_dir.join("containerd"),
            &config.runtime.cni_conf_dir,
            &config.runtime.cni_bin_dir,
        )?;
    }
    let mut config = api_config(&args.serving, &args.cluster_cidr);
    // The nodes of this cluster have certificates of its own authority.
    config.kubelet_certificate_authority = Some(config.data_dir.join("pki/ca.crt"));
    // The API server outlives its clients, so that their last words are heard.
    let api_shutdown = Shutdown::new();
    let (running, store) = start_api(config, &clock, &rng, &api_shutdown).await?;
    let cluster =
        Cluster { args: &args, running: &running, clock, rng, shutdown: shutdown.clone() };
    let mut tasks = cluster.start(node_config)?;
    announce(began, &running, &args.serving.data_dir);
    let outcome = loop {
        tokio::select! {
            () = shutdown.cancelled() => break Ok(()),
            Some(ended) = tasks.join_next() => match ended {
                Ok((name, Err(error))) => break Err(error.context(format!("the {name} ended"))),
                Ok((name, Ok(()))) if shutdown.is_cancelled() => tracing::debug!(part = name, "stopped"),
                Ok((name, Ok(()))) => break Err(anyhow::anyhow!("the {name} ended by itself")),
                Err(error) => break Err(error.into()),
            },
        }
    };
    shutdown.cancel();
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(GOODBYE, all).await.is_err() {
        tracing::warn!("some parts did not stop within {GOODBYE:?}");
    }
    api_shutdown.cancel();
    running.wait().await;
    store.close().await;
    outcome
}

struct Cluster<'a> {
    args: &'a Server,
    running: &'a server::Running,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
}

/// The parts at work, each with its name.
type Parts = JoinSet<(&'static str, Result<()>)>;

impl Cluster<'_> {
    fn start(&self, node_config: Option<node::Config>) -> Result<Parts> {
        let (args, running) = (self.args, self.running);
        let enabled = |part: Part| !args.disable.contains(&part);
        // Everyone reads through the same informers; each writes as itself.
        let informers =
            Informers::with_rng(running.client_as("system:isopod", MASTERS), self.rng.clone());
        let given = || (self.clock.clone(), self.rng.clone(), self.shutdown.clone());
        let mut parts = Parts::new();
        if enabled(Part::Scheduler) {
            let client = running.client_as("system:kube-scheduler", &["system:authenticated"]);
            let (informers, (clock, rng, stop)) = (informers.clone(), given());
            parts.spawn(async move {
                scheduler::run(scheduler::Config::default(), client, informers, clock, rng, stop)
                    .await;
                ("scheduler", Ok(()))
            });
        }
        if enabled(Part::Controllers) {
            let client = running.client_as("system:kube-controller-manager", MASTERS);
            let config = controllers::Config {
                cluster_cidr: vec![args.cluster_cidr.clone()],
                root_ca: running.pki.ca_cert().to_owned(),
                ..controllers::Config::default()
            };
            running.check_policies();
            let (informers, (clock, rng, stop)) = (informers.clone(), given());
            parts.spawn(async move {
                controllers::run(config, client, informers, clock, rng, stop).await;
                ("controllers", Ok(()))
            });
        }
        let dns = nth_address(&args.serving.service_cluster_ip_range, DNS_ADDRESS)?;
        let node_name =
            args.node.node_name.clone().unwrap_or_else(crate::process::hostname).to_lowercase();
        if enabled(Part::Proxy) && enabled(Part::Node) {
            let answered_here = enabled(Part::Dns).then_some(dns).into_iter().collect();
            let config = network::proxy::Config {
                node_name: node_name.clone(),
                cluster_cidrs: cidrs(&args.cluster_cidr)?,
                service_cidrs: cidrs(&args.serving.service_cluster_ip_range)?,
                masquerade_all: false,
                answered_here,
                health_address: None,
            };
            let client = running.client_as("system:kube-proxy", &["system:authenticated"]);
            let (informers, (clock, rng, stop)) = (informers.clone(), given());
            parts.spawn(async move {
                let done = network::proxy::run(config, client, informers, clock, rng, stop).await;
                ("service proxy", done.map_err(Into::into))
            });
        }
        if enabled(Part::Dns) && enabled(Part::Node) {
            let mut config = network::dns::Config::new(dns);
            config.domain.clone_from(&args.serving.cluster_domain);
            let client = running.client_as("system:isopod:dns", MASTERS);
            let (informers, (clock, rng, stop)) = (informers.clone(), given());
            parts.spawn(async move {
                let done = network::dns::run(config, client, informers, clock, rng, stop).await;
                ("cluster DNS", done.map_err(Into::into))
            });
        }
        if let Some(config) = node_config {
            self.start_node(config, dns, &informers, &mut parts)?;
        }
        Ok(parts)
    }

    fn start_node(
        &self,
        mut config: node::Config,
        dns: std::net::IpAddr,
        informers: &Informers,
        parts: &mut Parts,
    ) -> Result<()> {
        let (args, running) = (self.args, self.running);
        if config.node.ips.is_empty() {
            config.node.ips.push(running.advertised.ip());
        }
        config.cluster.dns = vec![dns];
        config.cluster.domain.clone_from(&args.serving.cluster_domain);
        let mut served = config.node.ips.clone();
        served.push(std::net::Ipv4Addr::LOCALHOST.into());
        let (pki, name) = (running.pki.clone(), config.node_name.clone());
        // Asked again in time: the certificate is renewed by then.
        config.server.certificate = Some(node::config::Certificate(Arc::new(move || {
            let issued = pki.kubelet_serving(&name, &served).map_err(|e| e.to_string())?;
            Ok((issued.cert, issued.key))
        })));
        config.server.client_ca = Some(running.pki.ca_cert().to_owned());
        if config.runtime.endpoint.is_none() {
            let network = PodNetwork {
                node_name: config.node_name.clone(),
                conf_dir: config.runtime.cni_conf_dir.clone(),
                bin_dir: config.runtime.cni_bin_dir.clone(),
                cluster_cidrs: cidrs(&args.cluster_cidr)?,
            };
            let (informers, stop) = (informers.clone(), self.shutdown.clone());
            parts.spawn(async move {
                network.run(informers, stop).await;
                ("pod network", Ok(()))
            });
        }
        let user = format!("system:node:{}", config.node_name);
        let client = running.client_as(&user, &["system:nodes", "system:authenticated"]);
        let (clock, rng, stop) = (self.clock.clone(), self.rng.clone(), self.shutdown.clone());
        let informers = informers.clone();
        parts.spawn(async move {
            let done = node::run(config, client, informers, clock, rng, stop).await;
            ("node", done.map_err(Into::into))
        });
        Ok(())
    }
}

/// The data directory's absolute form: the runtime and its shims are told it.
pub fn absolute(path: &Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).with_context(|| format!("data directory {}", path.display()))
}
