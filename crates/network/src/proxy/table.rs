//! The proxy's nftables table: its sets, its fixed rules, and the chains that pick an endpoint.
//!
//! Services are data, not rules. `services` maps (address, protocol, port) to a class and a pool;
//! `classes` sends a class to its chain; that chain draws a number and takes the endpoint from
//! `endpoints` by (pool, number). A class says how: from which map, out of how many endpoints,
//! masqueraded or not, with affinity or not. So there are as many chains as there are different
//! sizes, a service is a handful of elements, and a change touches just these: no rule is written,
//! no chain validated, nothing grows with the number of services.
//!
//! ```text
//! prerouting, output  -110  gate: firewall, refusals           (first packets only)
//! prerouting, output  -100  services -> classes -> pick-N: dnat
//! forward 0, output -90     service addresses that nothing answered for: refused
//! postrouting         100   masquerade: what is marked, and endpoints that reach themselves
//! ```
//!
//! Not here: which elements there are (`render`), and what changes (`state`).

use std::net::IpAddr;
use std::time::Duration;

use crate::cidr::Cidr;
use crate::netlink::nft::{
    Batch, Data, Dynamic, Family, Hook, Op, Reg, Reject, Rule, Set, Type, Verdict,
};
use crate::netlink::route::octets;

/// The table's name.
pub const TABLE: &str = "isopod";

/// The packet mark that asks for masquerading, as upstream has it.
pub const MASQUERADE: u32 = 0x4000;

const DROP_CLASS: u32 = 0;
const AFFINITY: &str = "affinity";
const AFFINITY_SIZE: u32 = 1 << 20;
const CLASSES: &str = "classes";
const GATE: &str = "gate";
const REFUSE: &str = "refuse";
const ENTRANCE: &str = "services";
const NODE_ENTRANCE: &str = "node-ports";

/// The sets and maps that services have elements in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// (address, protocol, port) -> (class, pool)
    Services,
    /// The same for sources outside the cluster, where they go elsewhere.
    OutsideServices,
    /// (protocol, port) -> (class, pool)
    NodePorts,
    /// The same for sources outside the cluster.
    OutsideNodePorts,
    /// (pool, number) -> (address, port)
    Endpoints,
    /// (pool, address, port) of endpoints with affinity.
    Live,
    /// Cluster addresses.
    ClusterIps,
    /// (address, protocol, port) without endpoints.
    Refused,
    /// (protocol, port) without endpoints.
    RefusedNodePorts,
    /// (address, address) of endpoints here.
    Hairpin,
    /// (address, protocol, port) -> the chain that knows its source ranges.
    Firewall,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Services,
        Self::OutsideServices,
        Self::NodePorts,
        Self::OutsideNodePorts,
        Self::Endpoints,
        Self::Live,
        Self::ClusterIps,
        Self::Refused,
        Self::RefusedNodePorts,
        Self::Hairpin,
        Self::Firewall,
    ];

    /// The set's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "service-ips",
            Self::OutsideServices => "service-ips-from-outside",
            Self::NodePorts => "service-node-ports",
            Self::OutsideNodePorts => "service-node-ports-from-outside",
            Self::Endpoints => "endpoints",
            Self::Live => "endpoints-with-affinity",
            Self::ClusterIps => "cluster-ips",
            Self::Refused => "refused-ips",
            Self::RefusedNodePorts => "refused-node-ports",
            Self::Hairpin => "hairpin",
            Self::Firewall => "firewall-ips",
        }
    }

    fn add(self, batch: &mut Batch, family: Family) {
        let address = Type::Address(family);
        let target = [address, Type::Port];
        let way = [Type::Mark, Type::Mark];
        let by_address = [address, Type::Protocol, Type::Port];
        let by_port = [Type::Protocol, Type::Port];
        let (key, data): (&[Type], Data<'_>) = match self {
            Self::Services | Self::OutsideServices => (&by_address, Data::Values(&way)),
            Self::NodePorts | Self::OutsideNodePorts => (&by_port, Data::Values(&way)),
            Self::Endpoints => (&[Type::Mark, Type::Mark], Data::Values(&target)),
            Self::Live => (&[Type::Mark, address, Type::Port], Data::None),
            Self::ClusterIps => (&[address], Data::None),
            Self::Refused => (&by_address, Data::None),
            Self::RefusedNodePorts => (&by_port, Data::None),
            Self::Hairpin => (&[address, address], Data::None),
            Self::Firewall => (&by_address, Data::Verdicts),
        };
        batch.add_set(&Set { name: self.name(), key, data, dynamic: None });
    }
}

/// Whose source is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hide {
    /// Nobody's. (Cluster addresses have a rule of their own.)
    Nobody,
    /// Everybody's.
    Everybody,
    /// Everybody's but pods'.
    NotPods,
}

/// How an endpoint is picked; one chain each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// The map that the packet's way was found in.
    pub from: Place,
    /// Out of how many.
    pub size: u32,
    /// Whose source is hidden.
    pub hide: Hide,
    /// How long a client stays.
    pub affinity: Option<Duration>,
}

impl Class {
    /// The chain's name.
    pub fn chain(&self) -> String {
        let from = match self.from {
            Place::OutsideServices => "-outside",
            Place::NodePorts => "-node",
            Place::OutsideNodePorts => "-node-outside",
            _ => "",
        };
        let hide = match self.hide {
            Hide::Nobody => "",
            Hide::Everybody => "-masq",
            Hide::NotPods => "-masq-not-pods",
        };
        let stay = self.affinity.map(|t| format!("-stay-{}", t.as_secs())).unwrap_or_default();
        format!("pick-{}{from}{hide}{stay}", self.size)
    }
}

/// What the rules depend on besides services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Ranges of pod addresses: sources in them count as inside.
    pub cluster_cidrs: Vec<Cidr>,
    /// Ranges of cluster addresses: what no service has is dropped.
    pub service_cidrs: Vec<Cidr>,
    /// Masquerade all connections to cluster addresses.
    pub masquerade_all: bool,
}

/// Registers, in words of four bytes, so that every key lies in a row in both families.
struct Registers {
    family: Family,
    /// An address's words.
    words: u8,
}

const KEY: Reg = Reg(0);
const WAY: Reg = Reg(8);
const POOL: Reg = Reg(9);
const AFTER_POOL: Reg = Reg(10);
const TARGET: Reg = Reg(11);

impl Registers {
    fn new(family: Family) -> Self {
        Self { family, words: if family == Family::V4 { 1 } else { 4 } }
    }

    /// Address, protocol and port of where the packet goes, from [`KEY`] on.
    fn by_address(&self, rule: Rule) -> Rule {
        let next = KEY.plus(self.words);
        rule.load_daddr(self.family, KEY).load_protocol(next).load_dport(next.plus(1))
    }

    fn by_port(&self, rule: Rule) -> Rule {
        rule.load_protocol(KEY).load_dport(KEY.plus(1))
    }

    /// The packet's class to [`WAY`] and its pool to [`POOL`].
    fn way(&self, from: Place, rule: Rule) -> Rule {
        let keyed = match from {
            Place::NodePorts | Place::OutsideNodePorts => self.by_port(rule),
            _ => self.by_address(rule),
        };
        keyed.look_up(from.name(), KEY, WAY)
    }

    /// The client's address right before its pool, the key of [`AFFINITY`].
    fn client(&self) -> Reg {
        Reg(POOL.0 - self.words)
    }

    fn dnat(&self, rule: Rule, target: Reg) -> Rule {
        rule.dnat(self.family, target, target.plus(self.words))
    }
}

fn source(rule: Rule, family: Family, op: Op, cidrs: &[Cidr]) -> Rule {
    let ours = cidrs.iter().filter(|c| Family::of(c.ip()) == family);
    ours.fold(rule, |rule, cidr| {
        rule.load_saddr(family, KEY).in_network(KEY, op, &octets(cidr.ip()), cidr.prefix())
    })
}

fn has(family: Family, cidrs: &[Cidr]) -> bool {
    cidrs.iter().any(|c| Family::of(c.ip()) == family)
}

/// An empty table with all sets and fixed rules, in place of whatever there was.
pub fn skeleton(family: Family, layout: &Layout) -> Batch {
    let mut batch = Batch::new(family, TABLE);
    batch.reset_table();
    let address = Type::Address(family);
    for place in Place::ALL {
        place.add(&mut batch, family);
    }
    let one = [Type::Mark];
    batch.add_set(&Set { name: CLASSES, key: &one, data: Data::Verdicts, dynamic: None });
    batch.add_set(&Set {
        name: AFFINITY,
        key: &[address, Type::Mark],
        data: Data::Values(&[address, Type::Port]),
        dynamic: Some(AFFINITY_SIZE),
    });
    gate(&mut batch, family);
    entrance(&mut batch, family, layout);
    leftovers(&mut batch, family, layout);
    masquerading(&mut batch, family);
    let drop = crate::netlink::nft::Value::Verdict(Verdict::Drop);
    batch.add_elements(CLASSES, [(&DROP_CLASS.to_ne_bytes()[..], &drop)]);
    batch
}

/// Refusals and source ranges, before anything is rewritten.
fn gate(batch: &mut Batch, family: Family) {
    let r = Registers::new(family);
    batch.add_chain(REFUSE);
    let reset = Rule::new().load_protocol(KEY).compare(KEY, Op::Eq, &[6]).reject(Reject::Reset);
    batch.add_rule(REFUSE, &reset);
    batch.add_rule(REFUSE, &Rule::new().reject(Reject::PortUnreachable));

    batch.add_chain(GATE);
    batch.add_rule(GATE, &r.by_address(Rule::new()).verdict_map(Place::Firewall.name(), KEY));
    let refuse = Verdict::Goto(REFUSE.into());
    let on_address = r.by_address(Rule::new()).in_set(Place::Refused.name(), KEY);
    batch.add_rule(GATE, &on_address.verdict(&refuse));
    let on_node = r
        .by_port(Rule::new())
        .in_set(Place::RefusedNodePorts.name(), KEY)
        .daddr_local(Op::Eq)
        .verdict(&refuse);
    batch.add_rule(GATE, &on_node);
    for (name, hook) in [("filter-prerouting", Hook::Prerouting), ("filter-output", Hook::Output)] {
        batch.add_base_chain(name, "filter", hook, -110);
        let first = Rule::new().new_connection().verdict(&Verdict::Jump(GATE.into()));
        batch.add_rule(name, &first);
    }
}

/// From the packet to its class.
fn entrance(batch: &mut Batch, family: Family, layout: &Layout) {
    let r = Registers::new(family);
    let pods = &layout.cluster_cidrs;
    batch.add_chain(ENTRANCE);
    if layout.masquerade_all || has(family, pods) {
        let to_cluster_ip =
            Rule::new().load_daddr(family, KEY).in_set(Place::ClusterIps.name(), KEY);
        let hidden: &[Cidr] = if layout.masquerade_all { &[] } else { pods };
        let mark = source(to_cluster_ip, family, Op::Ne, hidden).set_mark_bits(MASQUERADE);
        batch.add_rule(ENTRANCE, &mark);
    }
    let outside = |rule: Rule| source(rule, family, Op::Ne, pods).saddr_local(Op::Ne);
    let go = |from: Place, rule: Rule| r.way(from, rule).verdict_map(CLASSES, WAY);
    batch.add_rule(ENTRANCE, &go(Place::OutsideServices, outside(Rule::new())));
    batch.add_rule(ENTRANCE, &go(Place::Services, Rule::new()));
    let mut to_node = Rule::new();
    if family == Family::V4 {
        // Node ports on 127.0.0.1 would need route_localnet, which opens more than it is worth.
        to_node = to_node.load_daddr(family, KEY).in_network(KEY, Op::Ne, &[127, 0, 0, 0], 8);
    }
    let to_node = to_node.daddr_local(Op::Eq).verdict(&Verdict::Goto(NODE_ENTRANCE.into()));
    batch.add_chain(NODE_ENTRANCE);
    batch.add_rule(ENTRANCE, &to_node);
    batch.add_rule(NODE_ENTRANCE, &go(Place::OutsideNodePorts, outside(Rule::new())));
    batch.add_rule(NODE_ENTRANCE, &go(Place::NodePorts, Rule::new()));
    for (name, hook) in [("nat-prerouting", Hook::Prerouting), ("nat-output", Hook::Output)] {
        batch.add_base_chain(name, "nat", hook, -100);
        batch.add_rule(name, &Rule::new().verdict(&Verdict::Jump(ENTRANCE.into())));
    }
}

/// What is still addressed to a service address after the entrance.
fn leftovers(batch: &mut Batch, family: Family, layout: &Layout) {
    for (name, hook, priority) in
        [("filter-forward", Hook::Forward, 0), ("filter-output-late", Hook::Output, -90)]
    {
        batch.add_base_chain(name, "filter", hook, priority);
        let known = Rule::new()
            .new_connection()
            .load_daddr(family, KEY)
            .in_set(Place::ClusterIps.name(), KEY)
            .verdict(&Verdict::Goto(REFUSE.into()));
        batch.add_rule(name, &known);
        // Dropped and not refused: a service about to be there is found by the next try.
        for cidr in layout.service_cidrs.iter().filter(|c| Family::of(c.ip()) == family) {
            let net = octets(cidr.ip());
            let unknown = Rule::new()
                .new_connection()
                .load_daddr(family, KEY)
                .in_network(KEY, Op::Eq, &net, cidr.prefix())
                // An address that this machine has itself is no leftover.
                .daddr_local(Op::Ne);
            batch.add_rule(name, &unknown.verdict(&Verdict::Drop));
        }
    }
}

fn masquerading(batch: &mut Batch, family: Family) {
    let words = Registers::new(family).words;
    let name = "nat-postrouting";
    batch.add_base_chain(name, "nat", Hook::Postrouting, 100);
    batch.add_rule(name, &Rule::new().take_mark_bits(MASQUERADE).masquerade());
    let itself = Rule::new()
        .load_saddr(family, KEY)
        .load_daddr(family, KEY.plus(words))
        .in_set(Place::Hairpin.name(), KEY)
        .masquerade();
    batch.add_rule(name, &itself);
}

/// A class's chain, and the element that leads to it.
pub fn add_class(batch: &mut Batch, family: Family, layout: &Layout, number: u32, class: &Class) {
    let r = Registers::new(family);
    let chain = class.chain();
    batch.add_chain(&chain);
    let hidden: Option<&[Cidr]> = match class.hide {
        Hide::Nobody => None,
        Hide::Everybody => Some(&[]),
        Hide::NotPods => Some(&layout.cluster_cidrs),
    };
    if let Some(but) = hidden {
        let mark = source(Rule::new(), family, Op::Ne, but).set_mark_bits(MASQUERADE);
        batch.add_rule(&chain, &mark);
    }
    let way = || r.way(class.from, Rule::new());
    let pick = |rule: Rule| rule.look_up(Place::Endpoints.name(), POOL, TARGET);
    let (client, target) = (r.client(), TARGET);
    if let Some(timeout) = class.affinity {
        // Known, and its endpoint is still one: there again.
        let again = way()
            .load_saddr(family, client)
            .look_up(AFFINITY, client, AFTER_POOL)
            .in_set(Place::Live.name(), POOL)
            .dynamic(Dynamic::Update, AFFINITY, client, AFTER_POOL, timeout);
        batch.add_rule(&chain, &r.dnat(again, AFTER_POOL));
        // Otherwise forget what was known, as an update keeps old data, and remember the new one.
        let first = way()
            .load_saddr(family, client)
            .dynamic(Dynamic::Delete, AFFINITY, client, KEY, timeout)
            .random(class.size, AFTER_POOL);
        let first = pick(first).dynamic(Dynamic::Update, AFFINITY, client, target, timeout);
        batch.add_rule(&chain, &r.dnat(first, target));
    } else {
        let any = pick(way().random(class.size, AFTER_POOL));
        batch.add_rule(&chain, &r.dnat(any, target));
    }
    if class.size > 1 {
        // A packet that came in before a pool shrank and drew a number after: the first endpoint.
        let fallback = pick(way().load_number(0, AFTER_POOL));
        batch.add_rule(&chain, &r.dnat(fallback, target));
    }
    let to = crate::netlink::nft::Value::Verdict(Verdict::Goto(chain));
    batch.add_elements(CLASSES, [(&number.to_ne_bytes()[..], &to)]);
}

/// The chain that lets through only these sources.
pub fn add_firewall(batch: &mut Batch, family: Family, chain: &str, sources: &[Cidr]) {
    batch.add_chain(chain);
    for range in sources {
        let one = std::slice::from_ref(range);
        let through = source(Rule::new(), family, Op::Eq, one).verdict(&Verdict::Return);
        batch.add_rule(chain, &through);
    }
    batch.add_rule(chain, &Rule::new().verdict(&Verdict::Drop));
}

/// The class whose packets are dropped.
pub const fn drop_class() -> u32 {
    DROP_CLASS
}

/// A key of [`Place::Services`] and its like.
pub fn address_key(ip: IpAddr, protocol: u8, port: u16) -> Box<[u8]> {
    crate::netlink::nft::pack(&[&octets(ip), &[protocol], &port.to_be_bytes()])
}

/// A key of [`Place::NodePorts`] and its like.
pub fn port_key(protocol: u8, port: u16) -> Box<[u8]> {
    crate::netlink::nft::pack(&[&[protocol], &port.to_be_bytes()])
}
