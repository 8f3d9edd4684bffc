//! A service's plan as elements of the table's sets.
//!
//! Not here: what of it is new (`state`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::plan::{Action, At, Entry, Pool, PortPlan, ServicePlan, Target};
use super::table::{Class, Hide, Memory, OUTSIDE, Place, Remember, address_key, port_key};
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
    /// The chains that they lead to.
    pub classes: BTreeSet<Class>,
    /// The chains that remember their clients.
    pub memories: BTreeSet<Remember>,
    /// Firewall chains by name, with the ranges that they let through.
    pub firewalls: BTreeMap<String, Vec<Cidr>>,
}

/// The elements of a plan.
pub fn render(family: Family, plan: &ServicePlan) -> Rendering {
    let mut out = Rendering::default();
    for ip in &plan.cluster_ips {
        out.add(Place::ClusterIps, octets(*ip).into(), Value::None);
    }
    for port in &plan.ports {
        for entry in &port.entries {
            render_entry(port, entry, &mut out);
        }
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

fn target_bytes((ip, port): Target) -> Box<[u8]> {
    pack(&[&octets(ip), &port.to_be_bytes()])
}

fn render_entry(port: &PortPlan, entry: &Entry, out: &mut Rendering) {
    let key = match entry.at {
        At::Address(ip, number) => address_key(ip, port.protocol, number),
        At::Node(number) => port_key(port.protocol, number),
    };
    let (inside, outside, endpoints, refused) = match entry.at {
        At::Address(..) => {
            (Place::Services, Place::OutsideServices, Place::Endpoints, Place::Refused)
        }
        At::Node(_) => (
            Place::NodePorts,
            Place::OutsideNodePorts,
            Place::NodeEndpoints,
            Place::RefusedNodePorts,
        ),
    };
    let mut to = |from: Place, pool: Pool, hide: Hide| {
        let targets = if pool == Pool::Cluster { &port.cluster } else { &port.local };
        let size = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        if size == 0 {
            out.add(from, key.clone(), Value::Verdict(Verdict::Drop));
            return;
        }
        let class = Class { from, size, hide, affinity: port.affinity.is_some() };
        out.add(from, key.clone(), Value::Verdict(Verdict::Goto(class.chain())));
        out.classes.insert(class);
        let first = if from == outside { OUTSIDE } else { 0 };
        for (number, target) in (first..).zip(targets) {
            let key = [&*key, &number.to_ne_bytes()].concat();
            out.add(endpoints, key.into(), Value::Bytes(target_bytes(*target)));
        }
    };
    let served = !matches!(entry.action, Action::Drop | Action::Reject);
    match entry.action {
        Action::Internal(pool) => to(inside, pool, Hide::Nobody),
        Action::External => to(inside, Pool::Cluster, Hide::Everybody),
        Action::ExternalLocal => {
            to(inside, Pool::Cluster, Hide::NotPods);
            to(outside, Pool::Local, Hide::Nobody);
        }
        Action::Drop => out.add(inside, key.clone(), Value::Verdict(Verdict::Drop)),
        Action::Reject => out.add(refused, key.clone(), Value::None),
    }
    if let Some(timeout) = port.affinity.filter(|_| served) {
        let (place, memory) = match entry.at {
            At::Address(..) => (Place::Sticky, Memory::Services),
            At::Node(_) => (Place::StickyNodePorts, Memory::NodePorts),
        };
        let remember = Remember { memory, timeout };
        out.add(place, key.clone(), Value::Verdict(Verdict::Goto(remember.chain())));
        out.memories.insert(remember);
    }
    if !entry.sources.is_empty() {
        let chain = firewall_chain(&key, &entry.sources);
        out.add(Place::Firewall, key, Value::Verdict(Verdict::Jump(chain.clone())));
        out.firewalls.insert(chain, entry.sources.clone());
    }
}

/// The chain's name says what is in it, so a chain never changes, and equal ones may be shared.
fn firewall_chain(key: &[u8], sources: &[Cidr]) -> String {
    let text = format!("{key:?} {sources:?}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("firewall-{hash:016x}")
}

/// The address in a key of [`Place::ClusterIps`]. For people and tests.
pub fn ip_of(key: &[u8]) -> Option<IpAddr> {
    match key.len() {
        4 => <[u8; 4]>::try_from(key).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(key).ok().map(IpAddr::from),
        _ => None,
    }
}
