//! Sets the machine's pod network up as soon as the node has got its range of addresses.
//!
//! Not here: what is set up (`network::cni`), or who gives out ranges (the controllers).

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::resource::NODES;
use client::{Event, Informers, ListOptions, Shutdown};
use network::cidr::Cidr;
use network::cni;
use serde::Deserialize;

/// What the pod network needs to know.
pub struct PodNetwork {
    /// Whose range it is.
    pub node_name: String,
    /// The runtime's CNI configuration folder.
    pub conf_dir: PathBuf,
    /// The runtime's CNI plugin folder.
    pub bin_dir: PathBuf,
    /// The ranges of all nodes' pods.
    pub cluster_cidrs: Vec<Cidr>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Node {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

impl PodNetwork {
    /// Follows the node's object until told to stop; a range that changes is set up anew.
    pub async fn run(self, informers: Informers, shutdown: Shutdown) {
        tokio::select! {
            () = self.follow(&informers) => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn follow(&self, informers: &Informers) {
        let own = ListOptions::fields(format!("metadata.name={}", self.node_name));
        let nodes = informers.get_filtered(&NODES, own);
        let mut events = nodes.subscribe();
        let mut done: Vec<Cidr> = Vec::new();
        while let Some(event) = events.next_event().await {
            let Event::Changed(delta) = event else { continue };
            let Some(node) = delta.new.and_then(|e| e.decode::<Node>().ok()) else { continue };
            let mut texts = node.spec.pod_cidrs;
            if texts.is_empty() && !node.spec.pod_cidr.is_empty() {
                texts.push(node.spec.pod_cidr);
            }
            let ranges: Vec<Cidr> = texts.iter().filter_map(|t| t.parse().ok()).collect();
            if ranges.is_empty() || ranges == done {
                continue;
            }
            self.set_up(&ranges).await;
            tracing::info!(node = %self.node_name, ranges = ?texts, "the pod network is set up");
            done = ranges;
        }
    }

    /// Tries until it works: without a network the node stays not ready, and says so.
    async fn set_up(&self, ranges: &[Cidr]) {
        let mut pause = Duration::from_millis(200);
        loop {
            let (conf_dir, bin_dir) = (self.conf_dir.clone(), self.bin_dir.clone());
            let (pod_cidrs, cluster_cidrs) = (ranges.to_vec(), self.cluster_cidrs.clone());
            let work = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
                cni::configure(&cni::Configuration {
                    conf_dir: &conf_dir,
                    bin_dir: &bin_dir,
                    state_dir: Path::new(cni::STATE_DIR),
                    executable: &crate::process::executable()?,
                    pod_cidrs: &pod_cidrs,
                    cluster_cidrs: &cluster_cidrs,
                    mtu: None,
                })?;
                Ok(())
            });
            match work.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!("the pod network cannot be set up: {error:#}"),
                Err(error) => tracing::error!("setting up the pod network failed: {error}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }
}
