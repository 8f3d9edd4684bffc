//! The service proxy: services and their endpoints as nftables elements.
//!
//! [`run`] follows services, endpoint slices and its node, plans anew what changed ([`plan`]),
//! renders it ([`render`]), and commits the difference ([`state`]) in one transaction, at once and
//! without a timer: while a transaction runs, further changes gather for the next one. [`table`]
//! has the rules. A transaction that fails, or a table that somebody else removed, is followed by
//! writing everything anew.
//!
//! nftables is spoken over netlink in process; [`crate::netlink::nft`] says why.
//!
//! Not here: pods' own links and host ports ([`crate::cni`]), names ([`crate::dns`]).

pub mod health;
mod metrics;
pub mod plan;
pub mod render;
pub mod stale;
pub mod state;
pub mod table;

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use api::clock::{Clock, Rng, parse_time};
use api::resource::{ENDPOINT_SLICES, NODES, SERVICES};
use api::{Entry, Resource};
use client::{Client, Event, Index, Informer, Informers, ListOptions, Shutdown, Subscription};
use futures_util::FutureExt;

use crate::cidr::Cidr;
use crate::netlink::Socket;
use crate::netlink::nft::{self, Batch, Family};
use crate::netlink::route::{self, Route};
use crate::objects::{EndpointSlice, HEADLESS, LAST_CHANGE, SERVICE_NAME, Service};
use plan::{Node, ServicePlan};
use state::{ServiceKey, State};

/// What the proxy is told.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The node's name.
    pub node_name: String,
    /// Ranges of pod addresses (`--cluster-cidr`); empty where unknown.
    pub cluster_cidrs: Vec<Cidr>,
    /// Ranges of cluster addresses. With one, the machine reaches services even without a default
    /// route.
    pub service_cidrs: Vec<Cidr>,
    /// Masquerade everything sent to cluster addresses (`--masquerade-all`).
    pub masquerade_all: bool,
    /// Service addresses that this machine answers itself: the cluster DNS address where
    /// [`crate::dns`] runs.
    pub answered_here: BTreeSet<IpAddr>,
    /// Where the proxy's own health is served (`--healthz-bind-address`).
    pub health_address: Option<SocketAddr>,
}

/// Why the proxy ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel cannot be spoken to.
    #[error("service proxy: {0}")]
    Netlink(#[from] crate::netlink::Error),
    /// An informer ended.
    #[error("service proxy: the watch of {0} ended")]
    Ended(&'static str),
}

/// How often to look whether our table is still there.
const WATCHDOG: Duration = Duration::from_secs(10);
/// Transactions up to so many bytes are carried out on the spot.
const SMALL: usize = 64 << 10;
/// Pause after a refused transaction.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the proxy until told to stop. What is in the kernel stays, so that services work on while
/// the proxy is restarted.
pub async fn run(
    config: Config,
    _client: Client,
    informers: Informers,
    clock: Clock,
    _rng: Rng,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let healthy = Arc::new(AtomicBool::new(false));
    enlarge_connection_table();
    let own_health = config.health_address.map(|address| {
        let task = tokio::spawn(health::serve_own(address, healthy.clone()));
        AbortOnDrop(task.abort_handle())
    });
    let result = Proxy::new(config, &informers, clock, healthy)?.run(shutdown).await;
    drop(own_health);
    result
}

/// Room for tracked connections as upstream's defaults have it (32,768 a core, at least 131,072);
/// never less than there was.
fn enlarge_connection_table() {
    const A_CORE: usize = 32_768;
    const LEAST: usize = 131_072;
    const PATH: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = LEAST.max(A_CORE * cores);
    let now = std::fs::read_to_string(PATH).ok().and_then(|t| t.trim().parse::<usize>().ok());
    if now.is_some_and(|now| now < wanted)
        && let Err(error) = std::fs::write(PATH, wanted.to_string())
    {
        // In a container, as a rule: the machine's own limit holds.
        tracing::debug!(%error, "{PATH}");
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Proxy {
    config: Config,
    clock: Clock,
    healthy: Arc<AtomicBool>,
    socket: Arc<Socket>,
    services: Arc<Informer>,
    slices: Arc<Informer>,
    nodes: Arc<Informer>,
    node: Node,
    state: State,
    checks: health::Checks,
    /// The services to plan anew.
    dirty: HashSet<ServiceKey>,
    /// Whether the kernel has to be written whole.
    rebuild: bool,
    /// Informers that have not shown everything yet.
    unsynced: usize,
    /// When the last sync began, in microseconds; 0 before the first.
    synced_at: u64,
}

/// The service that a slice is the proxy's way for. Those of headless services are for names only.
fn slice_service(entry: &Entry) -> Vec<String> {
    let name = entry.card.label(SERVICE_NAME).filter(|_| entry.card.label(HEADLESS).is_none());
    name.map(|name| format!("{}/{name}", entry.card.namespace)).into_iter().collect()
}

const BY_SERVICE: Index = Index::Custom("service", slice_service);

impl Proxy {
    fn new(
        config: Config,
        informers: &Informers,
        clock: Clock,
        healthy: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        let field = format!("metadata.name={}", config.node_name);
        let mine = ListOptions { field_selector: field, ..ListOptions::default() };
        let layout = table::Layout {
            cluster_cidrs: config.cluster_cidrs.clone(),
            service_cidrs: config.service_cidrs.clone(),
            masquerade_all: config.masquerade_all,
        };
        let node = Node {
            name: config.node_name.clone(),
            zone: String::new(),
            answered_here: config.answered_here.clone(),
        };
        Ok(Self {
            clock,
            healthy,
            socket: Arc::new(Socket::netfilter()?),
            services: informers.get(&SERVICES),
            slices: informers.get(&ENDPOINT_SLICES),
            nodes: informers.get_filtered(&NODES, mine),
            node,
            state: State::new(Family::V4, layout),
            checks: health::Checks::default(),
            dirty: HashSet::new(),
            rebuild: true,
            unsynced: 3,
            synced_at: 0,
            config,
        })
    }

    async fn run(mut self, shutdown: Shutdown) -> Result<(), Error> {
        let mut services = self.services.subscribe();
        let mut slices = self.slices.subscribe();
        let mut nodes = self.nodes.subscribe();
        let mut watchdog = tokio::time::interval(WATCHDOG);
        watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pause: Option<tokio::time::Instant> = None;
        loop {
            let retry = async {
                match pause {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                batch = services.next_batch() => self.note(&SERVICES, batch)?,
                batch = slices.next_batch() => self.note(&ENDPOINT_SLICES, batch)?,
                batch = nodes.next_batch() => self.note(&NODES, batch)?,
                _ = watchdog.tick() => self.look_after_table(),
                () = retry => {}
            }
            self.gather(&mut services, &mut slices, &mut nodes)?;
            let waiting = pause.is_some_and(|until| until > tokio::time::Instant::now());
            if self.unsynced > 0 || waiting || (self.dirty.is_empty() && !self.rebuild) {
                continue;
            }
            pause = match self.sync().await {
                Ok(()) => None,
                Err(error) => {
                    tracing::error!(%error, "nftables refused a transaction; writing it all anew");
                    metrics::SYNC_FAILURES.inc();
                    self.healthy.store(false, Ordering::Relaxed);
                    self.rebuild = true;
                    Some(tokio::time::Instant::now() + RETRY)
                }
            };
        }
    }

    /// Takes what else is there by now.
    fn gather(
        &mut self,
        services: &mut Subscription,
        slices: &mut Subscription,
        nodes: &mut Subscription,
    ) -> Result<(), Error> {
        let three = [(&SERVICES, services), (&ENDPOINT_SLICES, slices), (&NODES, nodes)];
        for (resource, subscription) in three {
            while let Some(batch) = subscription.next_batch().now_or_never() {
                self.note(resource, batch)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, resource: &Resource, batch: Vec<Event>) -> Result<(), Error> {
        if batch.is_empty() {
            let name = match &*resource.plural {
                "services" => "services",
                "nodes" => "nodes",
                _ => "endpointslices",
            };
            return Err(Error::Ended(name));
        }
        for event in batch {
            let Event::Changed(delta) = event else {
                self.unsynced = self.unsynced.saturating_sub(1);
                continue;
            };
            match &*resource.plural {
                "services" => {
                    metrics::SERVICE_CHANGES.inc();
                    let card = &delta.latest().card;
                    self.dirty.insert((card.namespace.to_string(), card.name.to_string()));
                }
                "nodes" => self.learn_node(delta.new.as_deref()),
                _ => {
                    metrics::ENDPOINT_CHANGES.inc();
                    // A slice may change hands.
                    for entry in delta.old.iter().chain(&delta.new) {
                        if let Some(name) = entry.card.label(SERVICE_NAME) {
                            let key = (entry.card.namespace.to_string(), name.to_owned());
                            self.dirty.insert(key);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn learn_node(&mut self, entry: Option<&Entry>) {
        const ZONE: &str = "topology.kubernetes.io/zone";
        let Some(entry) = entry.filter(|e| *e.card.name == *self.config.node_name) else { return };
        let zone = entry.card.label(ZONE).unwrap_or("");
        if zone != self.node.zone {
            self.node.zone = zone.to_owned();
            self.services.for_each(|entry| {
                let card = &entry.card;
                self.dirty.insert((card.namespace.to_string(), card.name.to_string()));
            });
        }
    }

    /// The service's plan; when what its slices follow last changed goes to `triggers`.
    fn plan(&self, key: &ServiceKey, triggers: &mut Vec<u64>) -> Option<ServicePlan> {
        let entry = self.services.get(&key.0, &key.1)?;
        let service: Service = match entry.decode() {
            Ok(service) => service,
            Err(error) => {
                tracing::warn!(service = %format!("{}/{}", key.0, key.1), %error, "unreadable");
                return None;
            }
        };
        let slices: Vec<EndpointSlice> = self
            .slices
            .by_index(&BY_SERVICE, &format!("{}/{}", key.0, key.1))
            .iter()
            .filter_map(|entry| entry.decode().ok())
            .collect();
        let changed = slices.iter().filter_map(|s| s.metadata.annotations.get(LAST_CHANGE));
        triggers.extend(
            changed
                .filter_map(|text| u64::try_from(parse_time(text)?.as_microsecond()).ok())
                .filter(|at| *at > self.synced_at)
                .max(),
        );
        Some(plan::plan(self.state.family(), &service, &slices, &self.node))
    }

    /// Brings the kernel up to date with everything that is dirty.
    async fn sync(&mut self) -> Result<(), crate::netlink::Error> {
        let started = Instant::now();
        let mut suspects = stale::Suspects::default();
        let (began, mut triggers) = (self.clock.micros(), Vec::new());
        let dirty: Vec<ServiceKey> = self.dirty.drain().collect();
        let mut plans = Vec::with_capacity(dirty.len());
        for key in dirty {
            let new = self.plan(&key, &mut triggers);
            suspects.note(self.state.plan(&key), new.as_ref());
            self.checks.set(&key, new.as_ref().and_then(|p| p.health.as_ref()));
            plans.push((key, new));
        }
        let change = self.state.take(plans);
        let batch =
            if self.rebuild { self.state.rebuild() } else { self.state.transaction(&change) };
        let (socket, family) = (self.socket.clone(), self.state.family());
        // A change is done in less time than handing it over takes; a first sync or a look through
        // the connection table may take a while, and the runtime's other tasks should not wait.
        let cleaned = if batch.len() <= SMALL && suspects.is_empty() {
            commit(&socket, family, batch, &suspects)?
        } else {
            blocking(move || commit(&socket, family, batch, &suspects)).await?
        };
        if self.rebuild {
            // Only now: before there are rules, such a route would lead connections in circles.
            for cidr in &self.config.service_cidrs {
                if let Err(error) = route_services(*cidr) {
                    tracing::warn!(%cidr, %error, "no route for services");
                }
            }
        }
        self.rebuild = false;
        self.healthy.store(true, Ordering::Relaxed);
        metrics::STALE_FLOWS.inc_by(cleaned as u64);
        metrics::SERVICES.set(i64::try_from(self.state.len()).unwrap_or(i64::MAX));
        metrics::SYNC_SECONDS.observe(started.elapsed().as_secs_f64());
        let now = self.clock.micros();
        #[allow(clippy::cast_precision_loss)]
        metrics::LAST_SYNC.set(now as f64 / 1e6);
        if self.synced_at > 0 {
            for trigger in triggers {
                let latency = Duration::from_micros(now.saturating_sub(trigger));
                metrics::PROGRAMMING_SECONDS.observe(latency.as_secs_f64());
            }
        }
        // What changes while this ran is the next sync's.
        self.synced_at = began;
        tracing::debug!(changes = change.size(), took = ?started.elapsed(), "services synced");
        Ok(())
    }

    /// A firewall's reload may have flushed everything, ours too; and the pods' own table, which
    /// nothing else that runs for long looks after.
    fn look_after_table(&mut self) {
        if let Err(error) = crate::cni::heal(std::path::Path::new(crate::cni::STATE_DIR)) {
            tracing::warn!(%error, "looking after the pods' nftables table");
        }
        if self.rebuild || self.unsynced > 0 {
            return;
        }
        match nft::table_exists(&self.socket, self.state.family(), table::TABLE) {
            Ok(false) => {
                tracing::warn!("somebody removed the nftables table of services; writing it anew");
                self.rebuild = true;
            }
            Ok(true) => {}
            Err(error) => tracing::warn!(%error, "looking after the nftables table"),
        }
    }
}

fn commit(
    socket: &Socket,
    family: Family,
    batch: Batch,
    suspects: &stale::Suspects,
) -> Result<usize, crate::netlink::Error> {
    batch.commit(socket)?;
    // The new rules count by now; a failure here leaves a client with an old flow, no more.
    suspects.clean(socket, family).or_else(|error| {
        tracing::warn!(%error, "stale flows");
        Ok(0)
    })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Leads service addresses to `lo`, so that the machine's own connections have a route, and with it
/// a way to the rules, where there is no default route. Rewritten packets get their real route.
pub fn route_services(cidr: Cidr) -> Result<(), crate::netlink::Error> {
    let mut w = crate::netlink::Writer::new();
    route::set_route(&mut w, &service_route(cidr));
    Socket::route()?.run(&w)
}

pub(crate) fn service_route(cidr: Cidr) -> Route {
    Route {
        destination: (cidr.ip(), cidr.prefix()),
        link: 1,
        gateway: None,
        source: None,
        priority: 0,
    }
}
