//! A service's plan as elements of the table's sets.
//!
//! Numbers for pools and classes come from outside ([`Numbers`]), so that a plan renders the same
//! way twice. Not here: what of it is new (`state`).

use std::net::IpAddr;

use super::plan::{Action, At, Entry, Pool, PortPlan, ServicePlan, Target};
use super::table::{Class, Hide, Place, address_key, drop_class, port_key};
use crate::cidr::Cidr;
use crate::netlink::nft::{Family, Value, Verdict, pack};
use crate::netlink::route::octets;

/// One element.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// In which set.
    pub place: Place,
    /// Its key.
    pub key: Box<[u8]>,
    /// Its data.
    pub value: Value,
}

/// A service's elements, sorted, and its chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendering {
    /// The elements, sorted by place and key.
    pub elements: Vec<Element>,
    /// Firewall chains by name, with the ranges that they let through.
    pub firewalls: Vec<(String, Vec<Cidr>)>,
}

/// Gives out the numbers that the table is keyed by.
pub trait Numbers {
    /// The number of one of the service's pools.
    fn pool(&mut self, port: &str, protocol: u8, pool: Pool) -> u32;
    /// The number of a class.
    fn class(&mut self, class: Class) -> u32;
    /// The name of a firewall chain for these sources.
    fn firewall(&mut self, at: At, protocol: u8, sources: &[Cidr]) -> String;
}

/// The elements of a plan.
pub fn render(family: Family, plan: &ServicePlan, numbers: &mut impl Numbers) -> Rendering {
    let mut out = Rendering::default();
    for ip in &plan.cluster_ips {
        out.add(Place::ClusterIps, octets(*ip).into(), Value::None);
    }
    for port in &plan.ports {
        render_port(port, numbers, &mut out);
        for ip in port.here.iter().filter(|ip| Family::of(**ip) == family) {
            out.add(Place::Hairpin, pack(&[&octets(*ip), &octets(*ip)]), Value::None);
        }
    }
    out.elements.sort();
    out.elements.dedup_by(|a, b| a.place == b.place && a.key == b.key);
    out
}

impl Rendering {
    fn add(&mut self, place: Place, key: Box<[u8]>, value: Value) {
        self.elements.push(Element { place, key, value });
    }
}

fn render_port(port: &PortPlan, numbers: &mut impl Numbers, out: &mut Rendering) {
    let uses = |pool: Pool| {
        port.entries.iter().any(|e| match e.action {
            Action::Internal(p) => p == pool,
            Action::External => pool == Pool::Cluster,
            Action::ExternalLocal => true,
            Action::Drop | Action::Reject => false,
        })
    };
    for (pool, targets) in [(Pool::Cluster, &port.cluster), (Pool::Local, &port.local)] {
        if targets.is_empty() || !uses(pool) {
            continue;
        }
        let number = numbers.pool(&port.name, port.protocol, pool);
        for (i, target) in targets.iter().enumerate() {
            let index = u32::try_from(i).unwrap_or(u32::MAX);
            let key = pack(&[&number.to_ne_bytes(), &index.to_ne_bytes()]);
            out.add(Place::Endpoints, key, Value::Bytes(target_bytes(*target)));
            if port.affinity.is_some() {
                let (ip, number_of_port) = *target;
                let key = [&number.to_ne_bytes()[..], &target_bytes((ip, number_of_port))].concat();
                out.add(Place::Live, key.into(), Value::None);
            }
        }
    }
    for entry in &port.entries {
        render_entry(port, entry, numbers, out);
    }
}

fn target_bytes((ip, port): Target) -> Box<[u8]> {
    pack(&[&octets(ip), &port.to_be_bytes()])
}

fn render_entry(port: &PortPlan, entry: &Entry, numbers: &mut impl Numbers, out: &mut Rendering) {
    let key = |at: At| match at {
        At::Address(ip, number) => address_key(ip, port.protocol, number),
        At::Node(number) => port_key(port.protocol, number),
    };
    let (inside, outside, refused) = match entry.at {
        At::Address(..) => (Place::Services, Place::OutsideServices, Place::Refused),
        At::Node(_) => (Place::NodePorts, Place::OutsideNodePorts, Place::RefusedNodePorts),
    };
    let mut to = |out: &mut Rendering, from: Place, pool: Pool, hide: Hide| {
        let targets = if pool == Pool::Cluster { &port.cluster } else { &port.local };
        let size = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        let (class, pool) = if size == 0 {
            (drop_class(), 0)
        } else {
            let class = Class { from, size, hide, affinity: port.affinity };
            (numbers.class(class), numbers.pool(&port.name, port.protocol, pool))
        };
        let way = pack(&[&class.to_ne_bytes(), &pool.to_ne_bytes()]);
        out.add(from, key(entry.at), Value::Bytes(way));
    };
    match entry.action {
        Action::Internal(pool) => to(out, inside, pool, Hide::Nobody),
        Action::External => to(out, inside, Pool::Cluster, Hide::Everybody),
        Action::ExternalLocal => {
            to(out, inside, Pool::Cluster, Hide::NotPods);
            to(out, outside, Pool::Local, Hide::Nobody);
        }
        Action::Drop => {
            let way = pack(&[&drop_class().to_ne_bytes(), &[0; 4]]);
            out.add(inside, key(entry.at), Value::Bytes(way));
        }
        Action::Reject => out.add(refused, key(entry.at), Value::None),
    }
    if !entry.sources.is_empty() {
        let chain = numbers.firewall(entry.at, port.protocol, &entry.sources);
        let verdict = Value::Verdict(Verdict::Jump(chain.clone()));
        out.add(Place::Firewall, key(entry.at), verdict);
        out.firewalls.push((chain, entry.sources.clone()));
    }
}

/// The address in a key of [`Place::ClusterIps`]. For people and tests.
pub fn ip_of(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => <[u8; 4]>::try_from(key).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(key).ok().map(IpAddr::from),
        _ => None,
    }
}
