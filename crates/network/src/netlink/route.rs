//! Links, addresses, routes and neighbours: the few requests that a pod's network takes.
//!
//! Each function appends messages to a [`Writer`], so that a whole pod is one `send`. Not here: when
//! to call which (`cni`).

use std::net::IpAddr;

use super::{ACK, APPEND, CREATE, DUMP, EXCL, Error, Message, REPLACE, Socket, Writer, attrs};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

/// `RT_SCOPE_UNIVERSE`
pub const SCOPE_GLOBAL: u8 = 0;
/// `RT_SCOPE_LINK`
pub const SCOPE_LINK: u8 = 253;
/// `RT_SCOPE_HOST`
pub const SCOPE_HOST: u8 = 254;

/// A hardware address.
pub type Mac = [u8; 6];

/// As in `02:42:…`.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or(0)
}

/// The address's bytes in network order.
pub fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The longest prefix of the address's family.
pub fn full_prefix(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn ifinfo(index: u32, flags: u32) -> [u8; 16] {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..12].copy_from_slice(&flags.to_ne_bytes());
    head[12..16].copy_from_slice(&flags.to_ne_bytes());
    head
}

const UP: u32 = 1;

/// One side of a veth pair.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    /// Interface name.
    pub name: &'a str,
    /// Hardware address.
    pub mac: Mac,
}

/// A veth pair: `host` here and up, `peer` in the namespace behind `netns` and, as it cannot come up
/// before the pair is tied, still down.
pub fn add_veth(w: &mut Writer, host: VethEnd<'_>, peer: VethEnd<'_>, netns: i32, mtu: u32) {
    let end = |w: &mut Writer, end: VethEnd<'_>| {
        w.attr_str(IFLA_IFNAME, end.name);
        w.attr(IFLA_ADDRESS, &end.mac);
        if mtu > 0 {
            w.attr_u32(IFLA_MTU, mtu);
        }
    };
    w.message("add veth", NEWLINK, ACK | CREATE | EXCL, &ifinfo(0, UP), |w| {
        end(w, host);
        w.nest(IFLA_LINKINFO, |w| {
            w.attr_str(IFLA_INFO_KIND, "veth");
            w.nest(IFLA_INFO_DATA, |w| {
                w.nest(VETH_INFO_PEER, |w| {
                    w.raw(&ifinfo(0, 0));
                    end(w, peer);
                    w.attr(IFLA_NET_NS_FD, &netns.to_ne_bytes());
                });
            });
        });
    });
}

/// Sets a link up.
pub fn set_up(w: &mut Writer, index: u32) {
    w.message("set link up", NEWLINK, ACK, &ifinfo(index, UP), |_| {});
}

/// Deletes a link (of a veth pair: both ends).
pub fn delete_link(w: &mut Writer, name: &str) {
    w.message("delete link", DELLINK, ACK, &ifinfo(0, 0), |w| w.attr_str(IFLA_IFNAME, name));
}

fn ifaddr(ip: IpAddr, prefix: u8, scope: u8, index: u32) -> [u8; 8] {
    let i = index.to_ne_bytes();
    // IFA_F_NODAD: an IPv6 address is usable at once; it is ours by allocation.
    let flags = if ip.is_ipv6() { 2 } else { 0 };
    [family(ip), prefix, flags, scope, i[0], i[1], i[2], i[3]]
}

/// Adds an address to a link; one that is there already is an error ([`Error::is_present`]).
pub fn add_address(w: &mut Writer, index: u32, ip: IpAddr, prefix: u8, scope: u8) {
    let head = ifaddr(ip, prefix, scope, index);
    w.message("add address", NEWADDR, ACK | CREATE | EXCL, &head, |w| {
        w.attr(IFA_LOCAL, &octets(ip));
        w.attr(IFA_ADDRESS, &octets(ip));
    });
}

/// Removes an address from a link.
pub fn delete_address(w: &mut Writer, index: u32, ip: IpAddr, prefix: u8) {
    let head = ifaddr(ip, prefix, 0, index);
    w.message("delete address", DELADDR, ACK, &head, |w| w.attr(IFA_LOCAL, &octets(ip)));
}

/// A route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Where to.
    pub destination: (IpAddr, u8),
    /// Through which link.
    pub link: u32,
    /// Over which router.
    pub gateway: Option<IpAddr>,
    /// The address that this machine's own packets take.
    pub source: Option<IpAddr>,
    /// `metric`, 0 for none.
    pub priority: u32,
}

fn rtmsg(route: &Route) -> [u8; 12] {
    const TABLE_MAIN: u8 = 254;
    const PROTO_STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    let scope = if route.gateway.is_some() { SCOPE_GLOBAL } else { SCOPE_LINK };
    let (ip, prefix) = route.destination;
    [family(ip), prefix, 0, 0, TABLE_MAIN, PROTO_STATIC, scope, UNICAST, 0, 0, 0, 0]
}

fn route_attrs(w: &mut Writer, route: &Route) {
    let (ip, prefix) = route.destination;
    if prefix > 0 {
        w.attr(RTA_DST, &octets(ip));
    }
    w.attr_u32(RTA_OIF, route.link);
    if let Some(gateway) = route.gateway {
        w.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(source) = route.source {
        w.attr(RTA_PREFSRC, &octets(source));
    }
    if route.priority > 0 {
        w.attr_u32(RTA_PRIORITY, route.priority);
    }
}

/// Sets a route, replacing one to the same destination.
pub fn set_route(w: &mut Writer, route: &Route) {
    w.message("set route", NEWROUTE, ACK | CREATE | REPLACE, &rtmsg(route), |w| {
        route_attrs(w, route);
    });
}

/// Adds a route beside others to the same destination.
pub fn add_route(w: &mut Writer, route: &Route) {
    w.message("add route", NEWROUTE, ACK | CREATE | APPEND, &rtmsg(route), |w| {
        route_attrs(w, route);
    });
}

/// Deletes a route.
pub fn delete_route(w: &mut Writer, route: &Route) {
    w.message("delete route", DELROUTE, ACK, &rtmsg(route), |w| route_attrs(w, route));
}

/// Tells a neighbour's hardware address once and for all, so that nobody has to ask for it.
pub fn set_neighbour(w: &mut Writer, index: u32, ip: IpAddr, mac: Mac) {
    let mut head = [0; 12];
    head[0] = family(ip);
    head[4..8].copy_from_slice(&index.to_ne_bytes());
    head[8..10].copy_from_slice(&NUD_PERMANENT.to_ne_bytes());
    w.message("set neighbour", NEWNEIGH, ACK | CREATE | REPLACE, &head, |w| {
        w.attr(NDA_DST, &octets(ip));
        w.attr(NDA_LLADDR, &mac);
    });
}

/// A link, as a dump shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its kind (`veth`), empty for hardware.
    pub kind: String,
    /// Its MTU.
    pub mtu: u32,
    /// Hardware address, zero where it has none.
    pub mac: Mac,
    /// Whether it is set up.
    pub up: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

fn link_of(message: &Message<'_>) -> Option<Link> {
    let head = message.payload.get(..16)?;
    let mut link = Link {
        index: super::u32_at(head, 4)?,
        up: super::u32_at(head, 8)? & UP != 0,
        ..Link::default()
    };
    for (kind, value) in attrs(&message.payload[16..]) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = super::u32_at(value, 0)?,
            IFLA_ADDRESS => {
                if let Ok(mac) = value.try_into() {
                    link.mac = mac;
                }
            }
            IFLA_LINKINFO => {
                link.kind = super::find_attr(value, IFLA_INFO_KIND).map(text).unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// All links of the socket's namespace.
pub fn links(socket: &Socket) -> Result<Vec<Link>, Error> {
    let mut w = Writer::new();
    w.message("list links", GETLINK, DUMP, &ifinfo(0, 0), |_| {});
    let mut all = Vec::new();
    socket.dump(&w, |message| all.extend(link_of(message)))?;
    Ok(all)
}

/// The link of a name; `None` where there is none.
pub fn link_by_name(socket: &Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut w = Writer::new();
    // With an acknowledgement asked for, the answer ends like a refusal does: in an error message.
    w.message("get link", GETLINK, ACK, &ifinfo(0, 0), |w| w.attr_str(IFLA_IFNAME, name));
    let mut found = None;
    match socket.dump(&w, |message| found = link_of(message)) {
        Ok(()) => Ok(found),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}
