//! The pods' nftables table: masquerading towards the outside, and host ports.
//!
//! Its own table (`isopod-pods`), because it lives with the pods and not with the proxy, which may
//! be switched off. Host ports are elements of two maps, so that a pod adds and removes its own in
//! one small transaction. Not here: services (`proxy`).

use std::net::{IpAddr, Ipv4Addr};

use super::conf::PortMapping;
use crate::cidr::Cidr;
use crate::netlink::nft::{
    Batch, Data, ElementKey, Family, Hook, Op, Reg, Rule, Set, Type, Value, Verdict, pack,
};
use crate::netlink::route::octets;
use crate::netlink::{Error, Socket};

/// The table's name.
pub const TABLE: &str = "isopod-pods";

const ANY: &str = "host-ports";
const ON_ADDRESS: &str = "host-ports-on-address";
const HAIRPIN: &str = "hairpin";
const FORWARD_CHAIN: &str = "to-host-port";

/// `NF_IP_PRI_NAT_DST` and `NF_IP_PRI_NAT_SRC`
const DESTINATION: i32 = -100;
const SOURCE: i32 = 100;

/// A protocol's number; `None` where it has no ports.
pub fn protocol_number(name: &str) -> Option<u8> {
    match name.to_ascii_lowercase().as_str() {
        "" | "tcp" => Some(6),
        "udp" => Some(17),
        "sctp" => Some(132),
        _ => None,
    }
}

/// Elements of one set.
type Listed = Vec<(ElementKey, Value)>;

/// Elements of the three collections that a pod's host ports need.
#[derive(Debug, Default)]
pub struct Elements {
    any: Listed,
    on_address: Listed,
    hairpin: Listed,
}

impl Elements {
    /// The elements for a pod with an address of the family.
    pub fn of(family: Family, ip: IpAddr, ports: &[PortMapping]) -> Self {
        let mut all = Self::default();
        for mapping in ports.iter().filter(|m| m.host_port != 0) {
            let Some(protocol) = protocol_number(&mapping.protocol) else { continue };
            let port = mapping.host_port.to_be_bytes();
            let target = Value::Bytes(pack(&[&octets(ip), &mapping.container_port.to_be_bytes()]));
            match mapping.host_ip.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified()) {
                None => all.any.push((pack(&[&[protocol], &port]), target)),
                Some(on) if Family::of(on) == family => {
                    all.on_address.push((pack(&[&octets(on), &[protocol], &port]), target));
                }
                Some(_) => {}
            }
        }
        if !all.any.is_empty() || !all.on_address.is_empty() {
            all.hairpin.push((pack(&[&octets(ip), &octets(ip)]), Value::None));
        }
        all
    }

    /// Whether the pod has no host ports.
    pub fn is_empty(&self) -> bool {
        self.hairpin.is_empty()
    }

    fn parts(&self) -> [(&str, &Listed); 3] {
        [(ANY, &self.any), (ON_ADDRESS, &self.on_address), (HAIRPIN, &self.hairpin)]
    }

    /// Adds them to a transaction.
    pub fn add(&self, batch: &mut Batch) {
        for (set, elements) in self.parts() {
            batch.add_elements(set, elements.iter().map(|(k, v)| (&**k, v)));
        }
    }

    /// Removes them, one transaction each: any of them may be gone.
    pub fn remove(&self, socket: &Socket, family: Family) -> Result<(), Error> {
        for (set, elements) in self.parts() {
            for (key, _) in elements {
                let mut batch = Batch::new(family, TABLE);
                batch.delete_elements(set, [&**key]);
                match batch.commit(socket) {
                    Err(error) if !error.is_missing() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// The whole table, in place of the one there was: pods of `pod_cidr` that talk to anything outside
/// `cluster_cidrs` take the machine's address.
pub fn table(family: Family, pod_cidr: Cidr, cluster_cidrs: &[Cidr], ports: &[Elements]) -> Batch {
    let mut batch = Batch::new(family, TABLE);
    batch.reset_table();
    let (address, data) = (Type::Address(family), [Type::Address(family), Type::Port]);
    let set = |name, key, data| Set { name, key, data, dynamic: None };
    batch.add_set(&set(ANY, &[Type::Protocol, Type::Port], Data::Values(&data)));
    let on_address = [address, Type::Protocol, Type::Port];
    batch.add_set(&set(ON_ADDRESS, &on_address, Data::Values(&data)));
    let pair = [address, address];
    batch.add_set(&set(HAIRPIN, &pair, Data::None));

    let words = u8::try_from(family.address_len() / 4).unwrap_or(1);
    let (a, b) = (Reg(0), Reg(words));
    let out = Reg(8);
    batch.add_chain(FORWARD_CHAIN);
    let on_address = Rule::new()
        .load_daddr(family, a)
        .load_protocol(b)
        .load_dport(b.plus(1))
        .look_up(ON_ADDRESS, a, out)
        .dnat(family, out, out.plus(words));
    batch.add_rule(FORWARD_CHAIN, &on_address);
    let any = Rule::new().load_protocol(a).load_dport(a.plus(1)).look_up(ANY, a, out).dnat(
        family,
        out,
        out.plus(words),
    );
    batch.add_rule(FORWARD_CHAIN, &any);

    for (name, hook) in [("nat-prerouting", Hook::Prerouting), ("nat-output", Hook::Output)] {
        batch.add_base_chain(name, "nat", hook, DESTINATION);
        let local = Rule::new().daddr_local(Op::Eq).verdict(&Verdict::Jump(FORWARD_CHAIN.into()));
        batch.add_rule(name, &local);
    }
    batch.add_base_chain("nat-postrouting", "nat", Hook::Postrouting, SOURCE);
    let hairpin =
        Rule::new().load_saddr(family, a).load_daddr(family, b).in_set(HAIRPIN, a).masquerade();
    batch.add_rule("nat-postrouting", &hairpin);
    let network = octets(pod_cidr.ip());
    if family == Family::V4 {
        // A host port used over 127.0.0.1: the pod could not answer to that.
        let loopback = octets(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let from_loopback = Rule::new()
            .load_saddr(family, a)
            .in_network(a, Op::Eq, &loopback, 8)
            .load_daddr(family, a)
            .in_network(a, Op::Eq, &network, pod_cidr.prefix())
            .masquerade();
        batch.add_rule("nat-postrouting", &from_loopback);
    }
    let mut outside =
        Rule::new().load_saddr(family, a).in_network(a, Op::Eq, &network, pod_cidr.prefix());
    let same_family = |c: &&Cidr| Family::of(c.ip()) == family;
    for inside in [pod_cidr].iter().chain(cluster_cidrs).filter(same_family) {
        outside = outside.load_daddr(family, a).in_network(
            a,
            Op::Ne,
            &octets(inside.ip()),
            inside.prefix(),
        );
    }
    let (multicast, bits): (&[u8], u8) =
        if family == Family::V4 { (&[224, 0, 0, 0], 4) } else { (&[0xff; 16], 8) };
    outside = outside.load_daddr(family, a).in_network(a, Op::Ne, multicast, bits);
    batch.add_rule("nat-postrouting", &outside.masquerade());
    for elements in ports {
        elements.add(&mut batch);
    }
    batch
}
