//! What the node does once it knows its pod CIDR: kernel switches, the gateway's address, the pods'
//! table, the plugin's links in the bin folder, and last the configuration file, whose appearance
//! tells the runtime that the network is ready.
//!
//! Every step may be repeated. Not here: the pods themselves.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record::{Record, write_atomically};
use super::{CniError, LEAK_AGE, Pool, forget, free_leaks, ports};
use crate::cidr::Cidr;
use crate::netlink::nft::{self, Family};
use crate::netlink::route::{self, full_prefix};
use crate::netlink::{Socket, Writer};

/// Where claims and records are kept: a tmpfs, so that they end with the pods at a reboot.
pub const STATE_DIR: &str = "/run/isopod/network";

/// The configuration's file name; early in the order that runtimes read.
const FILE: &str = "10-isopod.conflist";

/// What to set up.
#[derive(Clone, Debug)]
pub struct Configuration<'a> {
    /// The runtime's CNI configuration folder.
    pub conf_dir: &'a Path,
    /// The runtime's CNI plugin folder.
    pub bin_dir: &'a Path,
    /// Where claims and records are kept; [`STATE_DIR`] but in tests.
    pub state_dir: &'a Path,
    /// The isopod binary.
    pub executable: &'a Path,
    /// `spec.podCIDRs` of the node, one a family.
    pub pod_cidrs: &'a [Cidr],
    /// The ranges of all nodes' pods: no masquerading towards them.
    pub cluster_cidrs: &'a [Cidr],
    /// Of the pods' links; `None` takes the smallest of the machine's own links.
    pub mtu: Option<u32>,
}

/// Why the pod network could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// A file could not be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel or the address files refused.
    #[error("pod network: {0}")]
    Network(String),
}

impl From<CniError> for ConfigureError {
    fn from(error: CniError) -> Self {
        Self::Network(error.message)
    }
}

impl From<crate::netlink::Error> for ConfigureError {
    fn from(error: crate::netlink::Error) -> Self {
        Self::Network(error.to_string())
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ConfigureError + '_ {
    move |source| ConfigureError::File { path: path.to_owned(), source }
}

/// Sets the machine up for pods of these ranges; returns the configuration file's path.
pub fn configure(c: &Configuration<'_>) -> Result<PathBuf, ConfigureError> {
    for dir in [c.conf_dir, c.bin_dir, c.state_dir] {
        fs::create_dir_all(dir).map_err(at(dir))?;
    }
    for name in ["isopod", "loopback"] {
        link(c.executable, &c.bin_dir.join(name))?;
    }
    forwarding(c)?;
    let socket = Socket::route()?;
    let mtu = match c.mtu {
        Some(mtu) => mtu,
        None => smallest_mtu(&socket)?,
    };
    for cidr in c.pod_cidrs {
        if let Some(gateway) = Pool::gateway(*cidr) {
            let mut w = Writer::new();
            let (bits, scope) = (full_prefix(gateway), route::SCOPE_GLOBAL);
            route::set_up(&mut w, 1);
            route::add_address(&mut w, 1, gateway, bits, scope);
            socket.run(&w).or_else(|e| if e.is_present() { Ok(()) } else { Err(e) })?;
        }
        restore(c.state_dir, *cidr, c.cluster_cidrs)?;
        let pods = c.cluster_cidrs.iter().find(|all| all.contains(cidr.ip())).unwrap_or(cidr);
        super::firewall::let_pods_pass(&Socket::netfilter()?, *pods)?;
    }
    let note = Note { pod_cidrs: c.pod_cidrs.to_vec(), cluster_cidrs: c.cluster_cidrs.to_vec() };
    let path = c.state_dir.join(NOTE);
    let text = serde_json::to_vec(&note).unwrap_or_default();
    write_atomically(&path, &text).map_err(at(&path))?;
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "isopod",
        "plugins": [{
            "type": "isopod",
            "podCIDRs": c.pod_cidrs,
            "mtu": mtu,
            "stateDir": c.state_dir,
            "capabilities": {"portMappings": true},
        }],
    });
    let path = c.conf_dir.join(FILE);
    let text = format!("{list:#}\n");
    write_atomically(&path, text.as_bytes()).map_err(at(&path))?;
    Ok(path)
}

/// What [`heal`] needs to know.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    pod_cidrs: Vec<Cidr>,
    cluster_cidrs: Vec<Cidr>,
}

const NOTE: &str = "ranges.json";

/// Puts the pods' nftables table up again where somebody removed it (a firewall's reload flushes
/// everything), and keeps other firewalls open for pods. Nothing where no pod network was set up.
pub fn heal(state_dir: &Path) -> Result<(), ConfigureError> {
    let Ok(text) = fs::read(state_dir.join(NOTE)) else { return Ok(()) };
    let Ok(note) = serde_json::from_slice::<Note>(&text) else { return Ok(()) };
    let socket = Socket::netfilter()?;
    for cidr in note.pod_cidrs {
        let family = Family::of(cidr.ip());
        if !nft::table_exists(&socket, family, ports::TABLE)? {
            tracing::warn!("somebody removed the nftables table of pods; writing it anew");
            restore(state_dir, cidr, &note.cluster_cidrs)?;
        }
        let pods = note.cluster_cidrs.iter().find(|all| all.contains(cidr.ip())).unwrap_or(&cidr);
        super::firewall::let_pods_pass(&socket, *pods)?;
    }
    Ok(())
}

/// Frees leaked addresses and puts the table up with the host ports of the pods that are there.
fn restore(state_dir: &Path, cidr: Cidr, cluster_cidrs: &[Cidr]) -> Result<(), ConfigureError> {
    let family = Family::of(cidr.ip());
    let pool = Pool::open(state_dir, cidr).map_err(CniError::from)?;
    let pools = [(cidr, pool)];
    for owner in free_leaks(&pools[0].1, LEAK_AGE)? {
        forget(state_dir, &owner, &pools)?;
    }
    let elements: Vec<ports::Elements> = Record::all(state_dir)
        .iter()
        .flat_map(|record| {
            let ips = record.ips.iter().filter(|ip| Family::of(**ip) == family);
            ips.map(|ip| ports::Elements::of(family, *ip, &record.ports)).collect::<Vec<_>>()
        })
        .collect();
    let batch = ports::table(family, cidr, cluster_cidrs, &elements);
    Ok(batch.commit(&Socket::netfilter()?)?)
}

/// A symbolic link, so that an upgraded binary is the plugin too.
fn link(executable: &Path, path: &Path) -> Result<(), ConfigureError> {
    if fs::read_link(path).is_ok_and(|target| target == executable) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(at(&temporary)(e)),
        _ => {}
    }
    std::os::unix::fs::symlink(executable, &temporary).map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))
}

/// Forwarding on, with what it was before noted for [`crate::cleanup`].
fn forwarding(c: &Configuration<'_>) -> Result<(), ConfigureError> {
    for cidr in c.pod_cidrs {
        let (note, path) = if cidr.ip().is_ipv4() {
            ("ip_forward", "/proc/sys/net/ipv4/ip_forward")
        } else {
            ("ip6_forward", "/proc/sys/net/ipv6/conf/all/forwarding")
        };
        let before = fs::read_to_string(path).map_err(at(Path::new(path)))?;
        if before.trim() != "1" {
            let note = c.state_dir.join(note);
            fs::write(&note, before.trim()).map_err(at(&note))?;
            fs::write(path, "1").map_err(at(Path::new(path)))?;
        }
    }
    Ok(())
}

fn smallest_mtu(socket: &Socket) -> Result<u32, ConfigureError> {
    const ETHERNET: u32 = 1500;
    let links = route::links(socket)?;
    let own = links.iter().filter(|l| l.up && l.name != "lo" && l.kind.is_empty());
    Ok(own.map(|l| l.mtu).filter(|mtu| *mtu >= 576).min().unwrap_or(ETHERNET))
}
