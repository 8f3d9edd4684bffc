//! Starting an API server: guards, kinds, listener; and what a running one offers its process.
//!
//! Not here: the parts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::clock::{Clock, Rng};
use client::https::Pem;
use client::{Client, Shutdown};
use store::Store;
use tokio::task::JoinHandle;

use crate::aggregate::{self, Aggregator};
use crate::config::{Config, StartError};
use crate::custom::{self, Customs};
use crate::edge::listen;
use crate::endpoints::served::Served;
use crate::flow::FlowControl;
use crate::guards;
use crate::pki::{Identity, Pki};
use crate::proxy::Upstream;
use crate::server::Server;
use crate::transport::Local;

/// A running API server. Dropping it leaves it running; the shutdown token ends it.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The address that others reach it at, with its port.
    pub advertised: SocketAddr,
    /// Keys, certificates, kubeconfigs.
    pub pki: Arc<Pki>,
    server: Arc<Server>,
    task: JoinHandle<()>,
}

impl Running {
    /// A client in this process, acting as a user of these groups.
    pub fn client_as(&self, user: &str, groups: &[&str]) -> Client {
        Local::client(&self.server, user, groups)
    }

    /// Fills in the status of validating policies from now on: the part of a controller manager that
    /// is done here, for who has one beside this server.
    pub fn check_policies(&self) {
        tokio::spawn(crate::admission::policy::status::run(self.server.clone()));
    }

    /// The URL that others reach it at.
    pub fn url(&self) -> String {
        url_of(self.advertised)
    }

    /// Waits until it has ended.
    pub async fn wait(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the API server's listener failed");
        }
    }
}

fn url_of(address: SocketAddr) -> String {
    format!("https://{address}")
}

/// How the store of an API server is opened in a directory: objects that an older release wrote get the
/// index cards that this one's selectors need.
pub fn store_options(dir: impl Into<PathBuf>) -> store::Options {
    let recard = store::Recard { version: api::kinds::cards_version(), make: api::kinds::card_of };
    store::Options { recard: Some(recard), ..store::Options::new(dir) }
}

/// Starts an API server over a store.
pub async fn start(
    mut config: Config,
    store: Store,
    clock: Clock,
    rng: Rng,
    shutdown: Shutdown,
) -> Result<Running, StartError> {
    let served = Served::new(&config.runtime_config, &config.feature_gates)?;
    let listener = listen::bind(SocketAddr::new(config.bind_address, config.secure_port)).await?;
    let address = listener.local_addr().map_err(|source| StartError::Listen {
        address: SocketAddr::new(config.bind_address, config.secure_port),
        source,
    })?;
    config.secure_port = address.port();
    let advertise = config.advertise_address.unwrap_or_else(|| reachable(config.bind_address));
    config.advertise_address = Some(advertise);
    let advertised = SocketAddr::new(advertise, address.port());
    let assembled =
        guards::assemble(&config, &served, &store, advertised, &clock, &rng, &shutdown).await?;
    let pki = assembled.pki;
    let fault = |error: crate::pki::PkiError| StartError::Pki(error.to_string());
    let identity = pki.identity(&Identity::KubeletClient).map_err(fault)?;
    let pair = (
        Pem::Data(identity.cert.clone().into_bytes()),
        Pem::Data(identity.key.clone().into_bytes()),
    );
    let authority = config.kubelet_certificate_authority.clone().map(Pem::File);
    let tls = Arc::new(pki.server_config().map_err(fault)?);
    let customs = Customs::new(&store, &rng);
    if let Some(path) = &config.admin_kubeconfig {
        pki.write_kubeconfig(path, Identity::Admin, &url_of(advertised)).map_err(fault)?;
    }
    let server = Arc::new(Server {
        store,
        clock,
        rng,
        guards: assembled.guards,
        served,
        customs,
        documents: crate::endpoints::kept::Documents::default(),
        flow: FlowControl::default(),
        aggregator: Aggregator::new(pki.clone()),
        config,
        upstream: Upstream::new(Some(pair), authority),
        shutdown: shutdown.clone(),
        ready: AtomicBool::new(true),
    });
    server.ready.store(true, Ordering::Release);
    tokio::spawn(crate::flow::start(server.clone()));
    tokio::spawn(custom::controller::run(server.clone()));
    tokio::spawn(aggregate::controller::run(server.clone()));
    let task = tokio::spawn(listen::run(server.clone(), listener, tls, shutdown));
    Ok(Running { address, advertised, pki, server, task })
}

/// The address that others reach this machine at: the one of the default route.
fn reachable(bind: IpAddr) -> IpAddr {
    if !bind.is_unspecified() {
        return bind;
    }
    // Connecting a datagram socket sends nothing; it only chooses a route.
    let route = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    route().filter(|ip| !ip.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}
