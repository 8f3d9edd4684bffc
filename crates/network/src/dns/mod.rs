//! The cluster's DNS server, on its service address on every machine that runs it.
//!
//! The address (the tenth of the service range) is put on `lo`, and the server bound to it. So it
//! needs neither the proxy nor an endpoint, answers as soon as it is bound, is reached by pods and
//! by the machine alike, and answers leave from the address that was asked. The proxy is told to
//! leave that address alone ([`crate::proxy::Config::answered_here`]). A redirection by the proxy
//! would have coupled the two at every start and restart.
//!
//! Names are answered from services, endpoint slices and namespaces as informers show them; other
//! names are forwarded to the machine's own resolvers. Until the informers have shown everything,
//! questions wait in the sockets instead of getting a wrong "no such name".
//!
//! Not here: `resolv.conf` of pods (`node`).

pub mod answer;
pub mod forward;
mod metrics;
pub mod server;
pub mod zone;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::clock::{Clock, Rng};
use api::resource::{ENDPOINT_SLICES, NAMESPACES, Resource, SERVICES};
use client::{Client, Delta, Event, Informers, Shutdown};
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::netlink::route::{self, full_prefix};
use crate::netlink::{Socket, Writer};
use answer::Domain;
use forward::Forwarder;
use server::Server;
use zone::Zone;

/// What the server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The service address to answer on.
    pub address: IpAddr,
    /// 53, but in tests.
    pub port: u16,
    /// The cluster's domain.
    pub domain: String,
    /// The machine's resolvers.
    pub resolv_conf: PathBuf,
    /// Whether to put the address on `lo`; otherwise it has to be there.
    pub manage_address: bool,
    /// Whether to make the service `kube-system/kube-dns` that has the address, where it is missing.
    pub publish: bool,
}

impl Config {
    /// The usual server on an address.
    pub fn new(address: IpAddr) -> Self {
        Self {
            address,
            port: 53,
            domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            manage_address: true,
            publish: true,
        }
    }
}

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The domain is no name.
    #[error("{0:?} is not a domain name")]
    Domain(String),
    /// An informer ended.
    #[error("cluster DNS: the watch of {0} ended")]
    Ended(&'static str),
}

/// Some ten thousand questions.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Pause before another try at what did not work.
const RETRY: Duration = Duration::from_secs(2);
/// Where the service is that has the address: where everybody looks for it.
const NAMESPACE: &str = "kube-system";
const SERVICE: &str = "kube-dns";

/// Runs the server until told to stop.
pub async fn run(
    config: Config,
    client: Client,
    informers: Informers,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let domain = Domain::new(&config.domain, config.address)
        .ok_or_else(|| Error::Domain(config.domain.clone()))?;
    let server = Server {
        domain: Arc::new(domain),
        zone: Arc::new(RwLock::new(Zone::default())),
        forwarder: Forwarder::new(config.resolv_conf.clone(), vec![config.address], rng),
        clock,
    };
    let (complete, mut shown) = watch::channel(false);
    let following = follow(&server.zone, &informers, &complete);
    let serving = async {
        let (udp, tcp) = bind(&config).await;
        // The sender lives as long as `following`, which ends all of this when it ends.
        let _ = shown.wait_for(|complete| *complete).await;
        tracing::info!(address = %config.address, "cluster DNS answers");
        server.clone().serve(udp, tcp).await;
    };
    let publishing = async {
        if config.publish {
            publish(&client, &config).await;
        }
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        ended = following => Err(ended),
        () = serving => Ok(()),
        () = publishing => Ok(()),
    };
    result
}

/// Keeps the zone up to date, and says when it has everything for the first time; returns only when
/// an informer ends.
async fn follow(
    zone: &RwLock<Zone>,
    informers: &Informers,
    complete: &watch::Sender<bool>,
) -> Error {
    let mut outstanding = 3;
    let mut services = informers.get(&SERVICES).subscribe();
    let mut slices = informers.get(&ENDPOINT_SLICES).subscribe();
    let mut namespaces = informers.get(&NAMESPACES).subscribe();
    loop {
        let (what, batch) = tokio::select! {
            batch = services.next_batch() => ("services", batch),
            batch = slices.next_batch() => ("endpointslices", batch),
            batch = namespaces.next_batch() => ("namespaces", batch),
        };
        if batch.is_empty() {
            return Error::Ended(what);
        }
        for event in batch {
            match event {
                Event::Changed(delta) => take(zone, what, &delta),
                Event::Synced => outstanding -= 1,
            }
        }
        if outstanding == 0 {
            complete.send_if_modified(|complete| !std::mem::replace(complete, true));
        }
    }
}

fn take(zone: &RwLock<Zone>, what: &str, delta: &Delta) {
    let card = &delta.latest().card;
    let unreadable = |error| {
        tracing::warn!(name = %card.name, namespace = %card.namespace, %error, "unreadable {what}");
    };
    match (what, &delta.new) {
        ("services", Some(entry)) => match entry.decode() {
            Ok(service) => zone.write().set_service(&service),
            Err(error) => unreadable(error),
        },
        ("services", None) => zone.write().remove_service(&card.namespace, &card.name),
        ("endpointslices", Some(entry)) => match entry.decode() {
            Ok(slice) => zone.write().set_slice(&slice),
            Err(error) => unreadable(error),
        },
        ("endpointslices", None) => zone.write().remove_slice(&card.namespace, &card.name),
        (_, new) => zone.write().set_namespace(&card.name, new.is_some()),
    }
}

/// Binds both sockets, for as long as it takes: the address may be another process's for a while.
async fn bind(config: &Config) -> (UdpSocket, TcpListener) {
    let address = (config.address, config.port);
    loop {
        if config.manage_address
            && let Err(error) = own_address(config.address)
        {
            tracing::warn!(address = %config.address, %error, "cluster DNS: address on lo");
        }
        let both = async {
            let udp = UdpSocket::bind(address).await?;
            // A burst of questions waits here; without the privilege, the usual size has to do.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&udp, RECEIVE_BUFFER);
            Ok::<_, std::io::Error>((udp, TcpListener::bind(address).await?))
        };
        match both.await {
            Ok(both) => return both,
            Err(error) => {
                let (ip, port) = address;
                tracing::warn!(
                    "cluster DNS cannot listen on {ip} port {port}: {error}; is another DNS server \
                     listening on all addresses?"
                );
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Puts the address on `lo`, only for this machine: never a source address towards others.
fn own_address(ip: IpAddr) -> Result<(), crate::netlink::Error> {
    let mut w = Writer::new();
    route::set_up(&mut w, 1);
    route::add_address(&mut w, 1, ip, full_prefix(ip), route::SCOPE_HOST);
    Socket::route()?.run(&w).or_else(|e| if e.is_present() { Ok(()) } else { Err(e) })
}

/// Makes the service that has the address, once its namespace is there, and the slice that tells other
/// service proxies where it is answered. A service of somebody else's DNS pods has a selector, and no
/// slice of ours.
async fn publish(client: &Client, config: &Config) {
    let port = |name: &str, protocol: &str| {
        serde_json::json!({
            "name": name, "port": config.port, "protocol": protocol,
        })
    };
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE,
            "labels": {
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            },
        },
        "spec": {
            "clusterIP": config.address, "clusterIPs": [config.address],
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    });
    let service = ensure(client, &SERVICES, service).await;
    let selects = service.at("spec.selector").and_then(serde_json::Value::as_object);
    if selects.is_some_and(|s| !s.is_empty()) {
        return;
    }
    let slice = serde_json::json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": SERVICE, "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": SERVICE,
                "endpointslice.kubernetes.io/managed-by": "dns.isopod",
            },
            // It goes with the service.
            "ownerReferences": [{
                "apiVersion": "v1", "kind": "Service", "name": SERVICE, "uid": service.uid(),
            }],
        },
        "addressType": if config.address.is_ipv4() { "IPv4" } else { "IPv6" },
        // Every machine answers it itself: it is on its `lo`.
        "endpoints": [{"addresses": [config.address], "conditions": {"ready": true}}],
        "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
    });
    ensure(client, &ENDPOINT_SLICES, slice).await;
}

/// The object of that name, made where there is none; waits for a server that takes it.
async fn ensure(client: &Client, kind: &Resource, wanted: serde_json::Value) -> api::Object {
    let mut said = false;
    loop {
        // Looked for first: a service that is there holds the address, which refuses a second by itself.
        let made: Result<api::Object, client::Error> =
            match client.get(kind, NAMESPACE, SERVICE).await {
                Err(error) if error.is_not_found() => client.create(kind, NAMESPACE, &wanted).await,
                found => found,
            };
        match made {
            Ok(made) => return made,
            Err(error) if error.api().is_some_and(api::ApiError::is_already_exists) => {}
            Err(error) => {
                if !said {
                    tracing::info!(%error, "{} {SERVICE} is not made yet; trying again", kind.kind);
                }
                said = true;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
