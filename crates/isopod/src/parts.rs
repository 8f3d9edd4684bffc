//! One part alone, over HTTPS, as its upstream counterpart runs. Not here: all in one (`server`).

use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use api::clock::{Clock, Rng};
use client::https::{Config as Target, Kubeconfig, Pem};
use client::{Client, Informers, Shutdown, leader};
use network::cidr::Cidr;

use crate::args::{ApiServer, Component, ControllerManager, Kubelet, NodeFlags, Proxy, Serving};
use crate::process::{hostname, until_signal};

/// The administrator's kubeconfig, in the data directory.
const ADMIN_KUBECONFIG: &str = "admin.kubeconfig";

/// A part's way to the API server, with what every part is given.
struct Hands {
    client: Client,
    target: Target,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
}

fn hands(kubeconfig: &Path) -> Result<Hands> {
    let target = Kubeconfig::load(kubeconfig)?.config(None)?;
    let client = Client::from_config(target.clone())?;
    let shutdown = until_signal()?;
    Ok(Hands { client, target, clock: Clock::system(), rng: Rng::system(), shutdown })
}

impl Hands {
    fn informers(&self) -> Informers {
        Informers::with_rng(self.client.clone(), self.rng.clone())
    }

    /// Runs `work` while holding the lease `name`, or at once where no lease is wanted. A lost lease
    /// ends the process with an error, so that two never work at once.
    async fn lead<F, Fut>(&self, elect: bool, name: &str, work: F) -> Result<()>
    where
        F: FnOnce(Shutdown) -> Fut,
        Fut: Future<Output = ()>,
    {
        if !elect {
            work(self.shutdown.clone()).await;
            return Ok(());
        }
        let identity = format!("{}_{}", hostname(), self.rng.uuid());
        let config = leader::Config::new("kube-system", name, identity);
        let (client, clock, rng) = (self.client.clone(), self.clock.clone(), self.rng.clone());
        leader::run(client, config, clock, rng, self.shutdown.clone(), work).await;
        if self.shutdown.is_cancelled() {
            Ok(())
        } else {
            bail!("lost the lease kube-system/{name}")
        }
    }
}

/// The API server's configuration out of its flags.
pub fn api_config(serving: &Serving, cluster_cidr: &str) -> server::Config {
    server::Config {
        data_dir: serving.data_dir.clone(),
        bind_address: serving.bind_address,
        secure_port: serving.secure_port,
        advertise_address: serving.advertise_address,
        service_cidr: serving.service_cluster_ip_range.clone(),
        cluster_cidr: cluster_cidr.to_owned(),
        node_port_range: serving.service_node_port_range,
        token_auth_file: serving.token_auth_file.clone(),
        runtime_config: serving.runtime_config.clone(),
        feature_gates: serving.feature_gates.clone(),
        cluster_domain: serving.cluster_domain.clone(),
        tls_san: serving.tls_san.clone(),
        admin_kubeconfig: Some(serving.data_dir.join(ADMIN_KUBECONFIG)),
        ..server::Config::default()
    }
}

/// Opens the store and starts the API server over it.
pub async fn start_api(
    config: server::Config,
    clock: &Clock,
    rng: &Rng,
    shutdown: &Shutdown,
) -> Result<(server::Running, store::Store)> {
    let data_dir = config.data_dir.clone();
    let store = store::Store::open(server::store_options(data_dir.join("store")))?;
    let started =
        server::start(config, store.clone(), clock.clone(), rng.clone(), shutdown.clone()).await;
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            store.close().await;
            return Err(error.into());
        }
    };
    Ok((running, store))
}

/// The one line that says where everything is.
pub fn announce(began: Instant, running: &server::Running, data_dir: &Path) {
    println!(
        "isopod is ready after {:.0} ms at {} (kubeconfig {})",
        began.elapsed().as_secs_f64() * 1000.0,
        running.url(),
        data_dir.join(ADMIN_KUBECONFIG).display()
    );
}

/// `apiserver`.
pub async fn apiserver(args: ApiServer) -> Result<()> {
    let began = Instant::now();
    let (clock, rng, shutdown) = (Clock::system(), Rng::system(), until_signal()?);
    let config = api_config(&args.serving, "");
    let (running, store) = start_api(config, &clock, &rng, &shutdown).await?;
    announce(began, &running, &args.serving.data_dir);
    running.wait().await;
    store.close().await;
    Ok(())
}

/// `scheduler`.
pub async fn scheduler(args: Component) -> Result<()> {
    let hands = hands(&args.kubeconfig)?;
    hands
        .lead(args.leader_elect, "kube-scheduler", |stop| {
            let config = scheduler::Config::default();
            let (client, informers) = (hands.client.clone(), hands.informers());
            scheduler::run(config, client, informers, hands.clock.clone(), hands.rng.clone(), stop)
        })
        .await
}

/// `controller-manager`.
pub async fn controller_manager(args: ControllerManager) -> Result<()> {
    let hands = hands(&args.component.kubeconfig)?;
    let root_ca = match (&args.root_ca_file, &hands.target.ca) {
        (Some(path), _) => std::fs::read_to_string(path)
            .with_context(|| format!("reading --root-ca-file {}", path.display()))?,
        (None, Some(pem)) => String::from_utf8_lossy(&Pem::read(pem)?).into_owned(),
        (None, None) => String::new(),
    };
    let config = controllers::Config {
        controllers: args.controllers.clone(),
        cluster_cidr: vec![args.cluster_cidr.clone()],
        root_ca,
        ..controllers::Config::default()
    };
    hands
        .lead(args.component.leader_elect, "kube-controller-manager", |stop| {
            let (client, informers) = (hands.client.clone(), hands.informers());
            controllers::run(
                config,
                client,
                informers,
                hands.clock.clone(),
                hands.rng.clone(),
                stop,
            )
        })
        .await
}

/// The kubelet's configuration out of the flags it shares with `server`.
pub fn node_config(flags: &NodeFlags, data_dir: &Path) -> Result<node::Config> {
    let name = flags.node_name.clone().unwrap_or_else(hostname).to_lowercase();
    let mut config = node::Config::new(name, data_dir);
    config.node.max_pods = flags.max_pods;
    config.node.version = crate::KUBERNETES.to_owned();
    config.node.labels = flags.node_labels.iter().cloned().collect();
    config.node.ips = flags.node_ip.into_iter().collect();
    config.server.port = flags.kubelet_port;
    if flags.image_gc_low_threshold >= flags.image_gc_high_threshold {
        bail!(
            "--image-gc-low-threshold {} must be below --image-gc-high-threshold {}",
            flags.image_gc_low_threshold,
            flags.image_gc_high_threshold
        );
    }
    config.limits.eviction_hard = flags.eviction_hard.clone();
    config.limits.image_gc_high = flags.image_gc_high_threshold;
    config.limits.image_gc_low = flags.image_gc_low_threshold;
    if let Some(endpoint) = &flags.container_runtime_endpoint {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        if !path.starts_with('/') {
            bail!("--container-runtime-endpoint {endpoint}: expected unix:///path/to/socket");
        }
        config.runtime.endpoint = Some(path.into());
    }
    Ok(config)
}

/// `kubelet`.
pub async fn kubelet(args: Kubelet) -> Result<()> {
    let hands = hands(&args.kubeconfig)?;
    let mut config = node_config(&args.node, &args.data_dir)?;
    let read = |path: &Path| {
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    if !args.cluster_dns.is_empty() {
        config.cluster.dns = args.cluster_dns.clone();
    }
    config.cluster.domain = args.cluster_domain.clone();
    config.server.client_ca = args.client_ca_file.as_deref().map(read).transpose()?;
    if let (Some(cert), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        config.server.certificate = Some((read(cert)?, read(key)?).into());
    }
    let informers = hands.informers();
    let network = crate::network_setup::PodNetwork {
        node_name: config.node_name.clone(),
        conf_dir: config.runtime.cni_conf_dir.clone(),
        bin_dir: config.runtime.cni_bin_dir.clone(),
        cluster_cidrs: Vec::new(),
    };
    let own_runtime = config.runtime.endpoint.is_none();
    let (setup_informers, stop) = (informers.clone(), hands.shutdown.clone());
    // Where the runtime is somebody else's, so is its network.
    let setup = async move {
        if own_runtime {
            network.run(setup_informers, stop).await;
        }
    };
    let run = node::run(
        config,
        hands.client.clone(),
        informers,
        hands.clock.clone(),
        hands.rng.clone(),
        hands.shutdown.clone(),
    );
    let (result, ()) = tokio::join!(run, setup);
    Ok(result?)
}

/// `proxy`.
pub async fn proxy(args: Proxy) -> Result<()> {
    let hands = hands(&args.kubeconfig)?;
    let config = network::proxy::Config {
        node_name: args.hostname_override.clone().unwrap_or_else(hostname).to_lowercase(),
        cluster_cidrs: cidrs(&args.cluster_cidr)?,
        service_cidrs: Vec::new(),
        masquerade_all: false,
        answered_here: Default::default(),
        health_address: Some(([0, 0, 0, 0], 10256).into()),
    };
    let (client, informers) = (hands.client.clone(), hands.informers());
    Ok(network::proxy::run(config, client, informers, hands.clock, hands.rng, hands.shutdown)
        .await?)
}

/// Ranges, comma-separated.
pub fn cidrs(text: &str) -> Result<Vec<Cidr>> {
    let each = text.split(',').filter(|c| !c.is_empty());
    each.map(|c| {
        c.parse().with_context(|| format!("{c:?} is not a range of addresses, as in 10.42.0.0/16"))
    })
    .collect()
}

/// The `n`th address of a range.
pub fn nth_address(range: &str, n: u32) -> Result<IpAddr> {
    let bad = || format!("{range:?} is not a range of addresses, as in 10.43.0.0/16");
    let (base, _) = range.split_once('/').with_context(bad)?;
    Ok(match base.parse().with_context(bad)? {
        IpAddr::V4(v4) => IpAddr::V4((u32::from(v4) + n).into()),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) + u128::from(n)).into()),
    })
}
