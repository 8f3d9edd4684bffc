//! Takes down everything of ours on this machine: for `isopod`'s removal command, when no pod runs.
//!
//! Not here: the runtime's configuration folder, which lies under the data folder.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use crate::cidr::Cidr;
use crate::cni::{self, pod::LINK_PREFIX, ports};
use crate::netlink::nft::{self, Family};
use crate::netlink::route::{self, full_prefix};
use crate::netlink::{Socket, Writer};
use crate::proxy;

/// What was taken down, and what could not be.
#[derive(Debug, Default)]
pub struct Report {
    /// For people, one thing each.
    pub removed: Vec<String>,
    /// For people, one fault each.
    pub failed: Vec<String>,
}

impl Report {
    fn note(&mut self, what: String, result: Result<bool, crate::netlink::Error>) {
        match result {
            Ok(true) => self.removed.push(what),
            Ok(false) => {}
            Err(error) => self.failed.push(format!("{what}: {error}")),
        }
    }
}

/// Removes our links, nftables tables, addresses and routes on `lo`, the forwarding switches that
/// were off before, and the state folder. Nothing there is no fault, so it may be repeated.
pub fn cleanup(pod_cidrs: &[Cidr], service_cidrs: &[Cidr], dns: &[IpAddr]) -> Report {
    cleanup_in(Path::new(cni::STATE_DIR), pod_cidrs, service_cidrs, dns)
}

/// [`cleanup`] with another state folder.
pub fn cleanup_in(
    state_dir: &Path,
    pod_cidrs: &[Cidr],
    service_cidrs: &[Cidr],
    dns: &[IpAddr],
) -> Report {
    let mut report = Report::default();
    let opened = Socket::route().and_then(|r| Ok((r, Socket::netfilter()?)));
    let (routes, filter) = match opened {
        Ok(sockets) => sockets,
        Err(error) => {
            report.failed.push(error.to_string());
            return report;
        }
    };
    for link in route::links(&routes).unwrap_or_default() {
        if link.kind == "veth" && link.name.starts_with(LINK_PREFIX) {
            let result = run(&routes, |w| route::delete_link(w, &link.name));
            report.note(format!("link {}", link.name), result);
        }
    }
    for family in [Family::V4, Family::V6] {
        for table in [proxy::table::TABLE, ports::TABLE] {
            let result = match nft::table_exists(&filter, family, table) {
                Ok(true) => nft::delete_table(&filter, family, table).map(|()| true),
                other => other,
            };
            report.note(format!("nftables table {table}"), result);
        }
        let result = cni::firewall::forget_pods(&filter, family);
        report.note("rules for pods in iptables' FORWARD chain".to_owned(), result);
    }
    let mut cidrs = pod_cidrs.to_vec();
    cidrs.extend(known_ranges(state_dir));
    cidrs.sort();
    cidrs.dedup();
    let gateways = cidrs.iter().filter_map(|c| cni::ipam::Pool::gateway(*c));
    for ip in gateways.chain(dns.iter().copied()) {
        let result = run(&routes, |w| route::delete_address(w, 1, ip, full_prefix(ip)));
        report.note(format!("address {ip}"), result);
    }
    for cidr in service_cidrs {
        let result = run(&routes, |w| route::delete_route(w, &proxy::service_route(*cidr)));
        report.note(format!("route to {cidr}"), result);
    }
    for (note, path) in [
        ("ip_forward", "/proc/sys/net/ipv4/ip_forward"),
        ("ip6_forward", "/proc/sys/net/ipv6/conf/all/forwarding"),
    ] {
        if let Ok(before) = fs::read_to_string(state_dir.join(note))
            && fs::write(path, before).is_ok()
        {
            report.removed.push(format!("{path} is as it was"));
        }
    }
    match fs::remove_dir_all(state_dir) {
        Ok(()) => report.removed.push(state_dir.display().to_string()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => report.failed.push(format!("{}: {e}", state_dir.display())),
    }
    report
}

/// The ranges that pods got addresses from, by the claims' folders.
fn known_ranges(state_dir: &Path) -> Vec<Cidr> {
    let Ok(entries) = fs::read_dir(state_dir.join("ips")) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.replace('_', "/").parse().ok())
        .collect()
}

/// `false` where it was not there.
fn run(socket: &Socket, write: impl FnOnce(&mut Writer)) -> Result<bool, crate::netlink::Error> {
    let mut w = Writer::new();
    write(&mut w);
    match socket.run(&w) {
        Ok(()) => Ok(true),
        Err(error) if error.is_missing() => Ok(false),
        Err(error) => Err(error),
    }
}
