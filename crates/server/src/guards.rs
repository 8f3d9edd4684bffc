//! Puts the guards of the request stack together: keys, authentication, authorization, admission,
//! allocation, tokens, and the objects a cluster starts with.
//!
//! Not here: any of their rules.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use api::clock::{Clock, Rng};
use store::Store;
use tokio_util::sync::CancellationToken;

use crate::authn::{Authn, Certificates, ServiceAccounts, TokenFile};
use crate::authz::Authz;
use crate::bootstrap::{self, Facts};
use crate::config::{Config, StartError};
use crate::endpoints::served::Served;
use crate::gate::Guards;
use crate::pki::Pki;
use crate::tokens::{Signer, Tokens};
use crate::{admission, alloc};

/// What guards a server, ready to serve.
pub struct Assembled {
    /// For the request stack.
    pub guards: Guards,
    /// Keys, certificates, kubeconfigs.
    pub pki: Arc<Pki>,
}

/// Makes or loads the keys, writes the initial objects where they are missing, and starts what keeps
/// the guards current. `advertise` is the address that others reach this server at, and the port
/// that it listens on.
pub async fn assemble(
    config: &Config,
    served: &Served,
    store: &Store,
    advertise: SocketAddr,
    clock: &Clock,
    rng: &Rng,
    shutdown: &CancellationToken,
) -> Result<Assembled, StartError> {
    let flag = |flag: &'static str| move |why: String| StartError::Flag { flag, why };
    let ranges = alloc::ranges(&config.service_cidr).map_err(flag("service-cluster-ip-range"))?;
    let service_ip = ranges[0].first();
    let pki = open_pki(config, service_ip, advertise.ip(), clock)?;
    let token_file = match &config.token_auth_file {
        None => TokenFile::default(),
        Some(path) => TokenFile::open(path)
            .map_err(|e| StartError::Flag { flag: "token-auth-file", why: e.to_string() })?,
    };
    let facts = Facts {
        advertise_address: advertise.ip(),
        secure_port: advertise.port(),
        service_cidrs: ranges.iter().map(ToString::to_string).collect(),
        service_ip,
        client_ca: pki.ca_cert().to_owned(),
        front_proxy_ca: pki.front_proxy_cert().to_owned(),
        api_versions: served
            .all()
            .iter()
            .map(|kind| (kind.group.to_owned(), kind.version.to_owned()))
            .collect(),
    };
    bootstrap::run(store, &facts, clock, rng)
        .await
        .map_err(|e| StartError::Bootstrap(e.to_string()))?;
    let issuer = format!("https://kubernetes.default.svc.{}", config.cluster_domain);
    let signer = Signer::new(pki.token_key(), &issuer, &format!("https://{advertise}"))
        .map_err(|e| StartError::Pki(e.to_string()))?;
    let signer = Arc::new(signer);
    let authn = Authn {
        certificates: Certificates::new(pki.client_verifier().clone(), clock.clone()),
        token_file,
        accounts: ServiceAccounts::new(signer.clone(), store, clock.clone()),
    };
    let authz = Authz::start(store, shutdown);
    let guards = Guards {
        authenticator: Arc::new(authn),
        authorizer: authz.clone(),
        admission: admission::chain(store, &authz, clock, rng),
        allocators: alloc::allocators(store, ranges, config.node_port_range, clock, rng),
        impersonation: Arc::default(),
        tokens: Arc::new(Tokens::new(signer, store.clone(), clock.clone(), rng.clone())),
    };
    tokio::spawn({
        let (pki, shutdown) = (pki.clone(), shutdown.clone());
        async move { pki.keep_fresh(shutdown).await }
    });
    Ok(Assembled { guards, pki })
}

fn open_pki(
    config: &Config,
    service_ip: IpAddr,
    advertise: IpAddr,
    clock: &Clock,
) -> Result<Arc<Pki>, StartError> {
    let mut names = crate::pki::service_names(&config.cluster_domain);
    let mut ips = vec![config.bind_address, advertise, service_ip];
    names.extend(std::fs::read_to_string("/proc/sys/kernel/hostname").ok().and_then(|name| {
        let name = name.trim().to_lowercase();
        api::names::dns_subdomain(&name).is_empty().then_some(name)
    }));
    for extra in &config.tls_san {
        match extra.parse() {
            Ok(ip) => ips.push(ip),
            Err(_) => names.push(extra.clone()),
        }
    }
    Pki::open(&config.data_dir, &names, &ips, clock.clone())
        .map(Arc::new)
        .map_err(|e| StartError::Pki(e.to_string()))
}
