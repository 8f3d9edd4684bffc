//! A pod's link: a veth pair, one /32 route, one address, two neighbours.
//!
//! A routed link instead of a bridge: there is no flooding, no limit of 1,024 ports, no dependence on
//! bridge netfilter for traffic between pods of a node, no ARP at all (both ends know each other's
//! hardware address from the start), and what a pod sends is checked against its own route, so it
//! cannot take another's address. The gateway's address is on `lo` of the machine, once.
//!
//! Not here: addresses ([`super::ipam`]), host ports ([`super::ports`]).

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use super::conf::{Attachment, CniError, Outcome};
use crate::cidr::Cidr;
use crate::netlink::route::{self, Mac, Route, VethEnd, full_prefix, mac_text};
use crate::netlink::{Socket, Writer};

/// Prefix of the machine's ends; with 11 hexadecimal digits it fills an interface name.
pub const LINK_PREFIX: &str = "isop";

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// The machine's end for an owner: always the same name, so that DEL finds it without a record.
pub fn link_name(owner: &str) -> String {
    format!("{LINK_PREFIX}{:011x}", hash(owner) & 0xFFF_FFFF_FFFF)
}

/// Locally administered addresses; the pod's follows from its IP, as kubelets have long done.
fn macs(owner: &str, ip: IpAddr) -> (Mac, Mac) {
    let h = hash(owner).to_be_bytes();
    let host = [0x0a, 0x69, h[0], h[1], h[2], h[3]];
    let o = route::octets(ip);
    let tail = &o[o.len() - 4..];
    (host, [0x0a, 0x58, tail[0], tail[1], tail[2], tail[3]])
}

/// Makes the link. On failure the caller takes down what there is.
pub fn attach(
    who: &Attachment,
    netns: &str,
    ips: &[(IpAddr, Cidr)],
    mtu: u32,
    before_entering: impl FnOnce(&str) -> Result<(), CniError>,
) -> Result<Outcome, CniError> {
    let first = ips.first().ok_or_else(|| CniError::new(CniError::CONFIG, "no podCIDRs"))?.0;
    let namespace = fs::File::open(netns)
        .map_err(|e| CniError::new(CniError::IO, format!("network namespace {netns}: {e}")))?;
    let owner = who.owner();
    let name = link_name(&owner);
    let (host_mac, pod_mac) = macs(&owner, first);
    let host = Socket::route()?;

    let make = |host: &Socket| {
        let mut w = Writer::new();
        let ends = (
            VethEnd { name: &name, mac: host_mac },
            VethEnd { name: &who.interface, mac: pod_mac },
        );
        route::add_veth(&mut w, ends.0, ends.1, namespace.as_raw_fd(), mtu);
        host.run(&w)
    };
    if let Err(error) = make(&host) {
        if !error.is_present() {
            return Err(error.into());
        }
        // Left behind by an ADD that was cut off: ours by name.
        remove(&host, &name)?;
        make(&host)?;
    }

    let link = route::link_by_name(&host, &name)?
        .ok_or_else(|| CniError::new(CniError::KERNEL, "the new link is gone"))?;
    let mut w = Writer::new();
    for (ip, cidr) in ips {
        let source = super::ipam::Pool::gateway(*cidr);
        let to_pod = Route {
            destination: (*ip, full_prefix(*ip)),
            link: link.index,
            gateway: None,
            source,
            priority: 0,
        };
        route::set_route(&mut w, &to_pod);
        route::set_neighbour(&mut w, link.index, *ip, pod_mac);
    }
    host.run(&w)?;
    // Strict: what comes from the pod has to have the pod's address.
    let _ = fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "1");
    before_entering(&name)?;

    enter(&namespace)?;
    let pod = Socket::route()?;
    let link = route::link_by_name(&pod, &who.interface)?
        .ok_or_else(|| CniError::new(CniError::KERNEL, "the pod's end is gone"))?;
    let mut w = Writer::new();
    route::set_up(&mut w, 1);
    route::set_up(&mut w, link.index);
    let mut result = Vec::new();
    for (ip, cidr) in ips {
        let Some(gateway) = super::ipam::Pool::gateway(*cidr) else { continue };
        let everywhere = if ip.is_ipv4() { [0u8; 4].into() } else { [0u8; 16].into() };
        let base = Route {
            destination: (gateway, full_prefix(gateway)),
            link: link.index,
            gateway: None,
            source: None,
            priority: 0,
        };
        let default = Route { destination: (everywhere, 0), gateway: Some(gateway), ..base };
        route::add_address(&mut w, link.index, *ip, full_prefix(*ip), route::SCOPE_GLOBAL);
        route::set_neighbour(&mut w, link.index, gateway, host_mac);
        route::set_route(&mut w, &base);
        route::set_route(&mut w, &default);
        result.push((*ip, gateway));
    }
    pod.run(&w)?;
    // The machine's end got its carrier with the pod's end, but sends only once the kernel's link
    // watch has run; asking for the link waits for that (since Linux 6.8). Without it, what comes at
    // once is lost now and then and sent again a second later.
    route::link_by_name(&host, &name)?;
    Ok(Outcome {
        host: (name, mac_text(host_mac)),
        pod: (who.interface.clone(), mac_text(pod_mac)),
        netns: netns.to_owned(),
        ips: result,
    })
}

/// Moves this thread into a network namespace.
pub fn enter(namespace: &fs::File) -> Result<(), CniError> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|e| CniError::new(CniError::KERNEL, format!("entering the pod's namespace: {e}")))
}

/// Takes a link down; one that is gone is fine.
pub fn remove(host: &Socket, name: &str) -> Result<(), CniError> {
    let mut w = Writer::new();
    route::delete_link(&mut w, name);
    match host.run(&w) {
        Err(error) if !error.is_missing() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether the link stands on both sides with these addresses.
pub fn check(who: &Attachment, netns: &str, ips: &[IpAddr]) -> Result<(), CniError> {
    let fail = |what: String| CniError::new(CniError::CHECK, what);
    let host = Socket::route()?;
    let name = link_name(&who.owner());
    let up = |link: Option<route::Link>| link.is_some_and(|l| l.up);
    if !up(route::link_by_name(&host, &name)?) {
        return Err(fail(format!("link {name} is missing or down")));
    }
    let namespace = fs::File::open(netns)
        .map_err(|e| CniError::new(CniError::IO, format!("network namespace {netns}: {e}")))?;
    enter(&namespace)?;
    let pod = Socket::route()?;
    let Some(link) = route::link_by_name(&pod, &who.interface)?.filter(|l| l.up) else {
        return Err(fail(format!("link {} in the pod is missing or down", who.interface)));
    };
    for ip in ips {
        let mut w = Writer::new();
        route::add_address(&mut w, link.index, *ip, full_prefix(*ip), route::SCOPE_GLOBAL);
        match pod.run(&w) {
            Err(error) if error.is_present() => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                // Only asked: the pod stays as it was found.
                let mut w = Writer::new();
                route::delete_address(&mut w, link.index, *ip, full_prefix(*ip));
                pod.run(&w)?;
                return Err(fail(format!("address {ip} is missing in the pod")));
            }
        }
    }
    Ok(())
}
