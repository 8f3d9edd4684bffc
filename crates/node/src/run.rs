//! Putting the kubelet together: the runtime, the shared parts, the loops, and the pods from the API
//! server to their workers.
//!
//! Not here: what any of these do.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::entry::Entry;
use api::resource::{NODES, PODS, SERVICES};
use client::{Client, Event, Informers, ListOptions, Recorder, Shutdown};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, watch};

use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::containerd::{self, Containerd};
use crate::cri::{Cri, CriError, VersionRequest};
use crate::events;
use crate::eviction;
use crate::garbage;
use crate::gate::Gate;
use crate::images::Images;
use crate::kubelet::{Kubelet, Message};
use crate::machine::Machine;
use crate::objects::Objects;
use crate::pod::observed::{Observed, keys};
use crate::pod::stop::{observe, remove_pod};
use crate::pod::view::PodView;
use crate::pod::worker::Worker;
use crate::probe::Prober;
use crate::registration;
use crate::report::Reporter;
use crate::volumes::Volumes;
use crate::volumes::token::Tokens;

/// Why the kubelet does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Our containerd does not start.
    #[error(transparent)]
    Containerd(#[from] containerd::StartError),
    /// The runtime does not answer.
    #[error("the container runtime at {endpoint} does not answer: {source}")]
    Runtime {
        /// Its socket.
        endpoint: std::path::PathBuf,
        /// Why.
        source: CriError,
    },
    /// A directory could not be made.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The HTTPS server does not start.
    #[error("the kubelet's server: {0}")]
    Server(String),
}

/// The address from which this machine reaches others.
fn default_ip() -> IpAddr {
    let probe = |local: &str, remote: &str| -> Option<IpAddr> {
        let socket = std::net::UdpSocket::bind(local).ok()?;
        // Sends nothing: it only chooses a route.
        socket.connect(remote.parse::<SocketAddr>().ok()?).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified() && !ip.is_loopback())
    };
    probe("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|| probe("[::]:0", "[2001:db8::1]:9"))
        .or_else(interface_ip)
        .unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

/// The first address of any interface that is not the loopback's.
fn interface_ip() -> Option<IpAddr> {
    let table = std::fs::read_to_string("/proc/net/fib_trie").ok()?;
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(ip) = line.strip_prefix("|-- ") {
            last = ip.parse::<std::net::Ipv4Addr>().ok();
        } else if line.contains("host LOCAL")
            && let Some(ip) = last.filter(|ip| !ip.is_loopback())
        {
            return Some(IpAddr::V4(ip));
        }
    }
    None
}

/// Runs the kubelet until shutdown. Pods, and the containerd that we started, go on without it.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
) -> Result<(), RunError> {
    let root = config.kubelet_dir();
    let pods_dir = root.join("pods");
    std::fs::create_dir_all(&pods_dir)
        .map_err(|source| RunError::Io { path: pods_dir.clone(), source })?;
    let stop = shutdown.child_token();
    let endpoint = match &config.runtime.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => {
            let dir = config.data_dir.join("containerd");
            let layout = containerd::layout(
                &dir,
                &config.runtime.cni_conf_dir,
                &config.runtime.cni_bin_dir,
            )?;
            let ours = Containerd::start(layout, &clock.time()).await?;
            let socket = ours.socket();
            tokio::spawn(ours.supervise(stop.clone()));
            socket
        }
    };
    let failed = |source| RunError::Runtime { endpoint: endpoint.clone(), source };
    let cri = Cri::new(&endpoint).map_err(failed)?;
    let version = cri.version(VersionRequest { version: "v1".into() }).await.map_err(failed)?;

    let recorder =
        Recorder::with_clock(client.clone(), "kubelet", &config.node_name, clock.clone());
    let (changed, mut changes) = mpsc::unbounded_channel();
    let objects = Arc::new(Objects::new(informers.clone(), changed));
    let tokens = Tokens::new(client.clone(), clock.clone(), rng.clone());
    let volumes =
        Volumes::new(pods_dir, Arc::clone(&objects), tokens, client.clone(), clock.clone());
    let (health_sender, health) = watch::channel(events::ask(&cri).await);
    tokio::spawn(events::watch_health(cri.clone(), health_sender, stop.clone()));
    let host_ips =
        if config.node.ips.is_empty() { vec![default_ip()] } else { config.node.ips.clone() };
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let width =
        if config.runtime.parallel_starts == 0 { cpus * 2 } else { config.runtime.parallel_starts };
    let kubelet = Arc::new(Kubelet {
        images: Images::new(cri.clone(), clock.clone(), recorder.clone(), Arc::clone(&objects)),
        prober: Prober::new(cri.clone(), recorder.clone()),
        machine: Machine::detect(&root),
        host_ips: host_ips.iter().map(ToString::to_string).collect(),
        cgroups: Cgroups::new(&config.runtime.cgroup_root),
        reporter: Reporter::new(client.clone()),
        gate: Gate::new(width),
        services: informers.get(&SERVICES),
        pressure: Mutex::default(),
        image_ages: Mutex::default(),
        pods: RwLock::default(),
        owners: Mutex::default(),
        runtime_name: version.runtime_name,
        runtime_version: version.runtime_version,
        objects,
        volumes,
        health,
        recorder,
        client,
        clock,
        rng,
        cri,
        config,
    });
    if kubelet.config.server.port != 0 {
        crate::server::start(Arc::clone(&kubelet), stop.clone()).await.map_err(RunError::Server)?;
    }
    let own = ListOptions::fields(format!("metadata.name={}", kubelet.config.node_name));
    let node = informers.get_filtered(&NODES, own);
    tokio::spawn(registration::keep_node(Arc::clone(&kubelet), node, stop.clone()));
    tokio::spawn(registration::keep_lease(Arc::clone(&kubelet), stop.clone()));
    tokio::spawn(events::watch(Arc::clone(&kubelet), stop.clone()));
    tokio::spawn(eviction::run(Arc::clone(&kubelet), stop.clone()));
    tokio::spawn(garbage::run(Arc::clone(&kubelet), stop.clone()));
    let pods = tokio::spawn(follow_pods(Arc::clone(&kubelet), informers, stop.clone()));
    let told = Arc::clone(&kubelet);
    tokio::spawn(async move {
        while let Some(uid) = changes.recv().await {
            told.tell(&uid, Message::Objects);
        }
    });
    shutdown.cancelled().await;
    stop.cancel();
    // Workers end with their mailboxes; what they were doing at the runtime, it finishes.
    kubelet.pods.write().clear();
    kubelet.prober.clear();
    let _ = pods.await;
    Ok(())
}

/// What the runtime has of every pod.
async fn observe_all(kubelet: &Kubelet) -> HashMap<String, Observed> {
    let mut uids = HashSet::new();
    let sandboxes = kubelet.cri.list_pod_sandboxes(None).await.unwrap_or_default();
    uids.extend(sandboxes.iter().filter_map(|s| s.labels.get(keys::POD_UID).cloned()));
    let containers = kubelet.cri.list_containers(None).await.unwrap_or_default();
    uids.extend(containers.iter().filter_map(|c| c.labels.get(keys::POD_UID).cloned()));
    let mut all = HashMap::new();
    for uid in uids {
        match observe(kubelet, &uid).await {
            Ok(observed) => {
                all.insert(uid, observed);
            }
            Err(error) => tracing::warn!(uid, %error, "a pod at the runtime cannot be looked at"),
        }
    }
    all
}

/// Follows the pods bound to this node and keeps a worker for each.
async fn follow_pods(kubelet: Arc<Kubelet>, informers: Informers, shutdown: Shutdown) {
    let mut observed = observe_all(&kubelet).await;
    kubelet.services.synced().await;
    let options = ListOptions::fields(format!("spec.nodeName={}", kubelet.config.node_name));
    let informer = informers.get_filtered(&PODS, options);
    let mut events = informer.subscribe();
    let mut order = 0;
    let mut first: Vec<Arc<Entry>> = Vec::new();
    let mut synced = false;
    loop {
        let batch = tokio::select! {
            () = shutdown.cancelled() => return,
            batch = events.next_batch() => batch,
        };
        if batch.is_empty() {
            return;
        }
        for event in batch {
            match event {
                Event::Synced => {
                    synced = true;
                    // Those that run are adopted before others start.
                    first.sort_by_key(|e| !observed.contains_key(&*e.card.uid));
                    for entry in first.drain(..) {
                        order += 1;
                        update(&kubelet, &entry, &mut observed, order);
                    }
                    let orphans = std::mem::take(&mut observed);
                    tokio::spawn(remove_orphans(Arc::clone(&kubelet), orphans));
                }
                Event::Changed(delta) => {
                    let gone = match (&delta.old, &delta.new) {
                        // Another pod of the same name has taken its place.
                        (Some(old), Some(new)) if old.card.uid != new.card.uid => Some(old),
                        (Some(old), None) => Some(old),
                        _ => None,
                    };
                    if let Some(old) = gone {
                        kubelet.tell(&old.card.uid, Message::Removed);
                    }
                    if let Some(new) = delta.new {
                        if synced {
                            order += 1;
                            update(&kubelet, &new, &mut observed, order);
                        } else {
                            first.push(new);
                        }
                    }
                }
            }
        }
    }
}

fn update(
    kubelet: &Arc<Kubelet>,
    entry: &Entry,
    observed: &mut HashMap<String, Observed>,
    order: u64,
) {
    let pod = match entry.object().and_then(PodView::new) {
        Ok(pod) => pod,
        Err(error) => {
            tracing::error!(pod = %entry.card.name, %error, "a pod cannot be read");
            return;
        }
    };
    let uid = pod.uid().to_owned();
    if kubelet.pods.read().contains_key(&uid) {
        kubelet.tell(&uid, Message::Update(Box::new(pod)));
        return;
    }
    let found = observed.remove(&uid).unwrap_or_default();
    let (worker, handle) = Worker::new(Arc::clone(kubelet), pod, found, order);
    kubelet.pods.write().insert(uid, handle);
    tokio::spawn(worker.run());
}

/// Removes what belongs to pods that the API server does not have (any more).
async fn remove_orphans(kubelet: Arc<Kubelet>, orphans: HashMap<String, Observed>) {
    for (uid, observed) in orphans {
        tracing::info!(uid, "removing a pod that is no more");
        let stops = observed.containers.iter().map(|c| async {
            let grace = std::time::Duration::from_secs(c.grace);
            if let Err(error) = kubelet.cri.stop_container(&c.id, grace).await {
                tracing::warn!(uid, %error, "an orphaned container cannot be stopped");
            }
        });
        futures_util::future::join_all(stops).await;
        for s in &observed.sandboxes {
            let _ = kubelet.cri.stop_sandbox(&s.id).await;
        }
        // The pod's log directory is that of its containers' logs, two levels up.
        let logs =
            observed.containers.iter().find_map(|c| Path::new(&c.log_path).parent()?.parent());
        let logs = logs.filter(|l| l.parent() == Some(&kubelet.config.runtime.pod_logs));
        if let Err(error) = remove_pod(&kubelet, logs, &observed).await {
            tracing::warn!(uid, error, "an orphaned pod cannot be removed");
        }
        kubelet.cgroups.remove(&uid);
    }
    let known = |uid: &String| kubelet.pods.read().contains_key(uid);
    // Cgroups only of pods that were ours: another kubelet on this machine may use the same tree.
    for uid in kubelet.volumes.on_disk().into_iter().filter(|u| !known(u)) {
        if let Err(error) = kubelet.volumes.tear_down(&uid) {
            tracing::warn!(uid, %error, "an orphaned pod's directory cannot be removed");
        }
        kubelet.cgroups.remove(&uid);
    }
}
