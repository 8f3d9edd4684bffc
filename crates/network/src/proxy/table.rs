//! The proxy's nftables table: its sets, its fixed rules, and the chains that pick an endpoint.
//!
//! Services are data, not rules. `service-ips` sends (address, protocol, port) to a chain that knows
//! how many endpoints there are; it draws a number and takes the endpoint from `endpoints` by
//! (address, protocol, port, number). So there are as many chains as there are different sizes (and
//! ways: masqueraded or not, with affinity or not), a service is a handful of elements, and a change
//! touches just these.
//!
//! ```text
//! prerouting, output  -110  gate: firewall, refusals           (first packets only)
//! prerouting, output  -100  services -> pick-N: dnat
//! prerouting, output   -90  where services have affinity: what client went where is remembered
//! forward 0, output -90     service addresses that nothing answered for: refused
//! postrouting         100   masquerade: what is marked, and endpoints that reach themselves
//! ```
//!
//! A number per service instead of its address in the key of `endpoints` would save elements, but
//! `nft` (1.0.6) dies of an assertion when it lists a key that another map's answer is part of, and
//! a machine's `nft list ruleset` has to work.
//!
//! Not here: which elements there are (`render`), and what changes (`state`).

use std::net::IpAddr;
use std::time::Duration;

use crate::cidr::Cidr;
use crate::netlink::nft::{Batch, Data, Family, Hook, Op, Reg, Reject, Rule, Set, Type, Verdict};
use crate::netlink::route::octets;

/// The table's name.
pub const TABLE: &str = "isopod";

/// The packet mark that asks for masquerading, as upstream has it.
pub const MASQUERADE: u32 = 0x4000;

/// Clients remembered for affinity.
const AFFINITY_SIZE: u32 = 1 << 18;
/// Numbers from here on are of the endpoints for sources outside the cluster.
pub const OUTSIDE: u32 = 1 << 16;
const GATE: &str = "gate";
const REFUSE: &str = "refuse";
const ENTRANCE: &str = "services";
const NODE_ENTRANCE: &str = "node-ports";
const STICKY: &str = "affinity";

/// The sets and maps that services have elements in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// (address, protocol, port) -> chain
    Services,
    /// The same for sources outside the cluster, where they go elsewhere.
    OutsideServices,
    /// (protocol, port) -> chain
    NodePorts,
    /// The same for sources outside the cluster.
    OutsideNodePorts,
    /// (address, protocol, port, number) -> (address, port)
    Endpoints,
    /// (protocol, port, number) -> (address, port)
    NodeEndpoints,
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
    /// (address, protocol, port) of services with affinity -> the chain that remembers clients.
    Sticky,
    /// (protocol, port) of services with affinity -> the chain that remembers clients.
    StickyNodePorts,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Services,
        Self::OutsideServices,
        Self::NodePorts,
        Self::OutsideNodePorts,
        Self::Endpoints,
        Self::NodeEndpoints,
        Self::ClusterIps,
        Self::Refused,
        Self::RefusedNodePorts,
        Self::Hairpin,
        Self::Firewall,
        Self::Sticky,
        Self::StickyNodePorts,
    ];

    /// The set's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "service-ips",
            Self::OutsideServices => "service-ips-from-outside",
            Self::NodePorts => "service-nodeports",
            Self::OutsideNodePorts => "service-nodeports-from-outside",
            Self::Endpoints => "endpoints",
            Self::NodeEndpoints => "nodeport-endpoints",
            Self::ClusterIps => "cluster-ips",
            Self::Refused => "no-endpoint-services",
            Self::RefusedNodePorts => "no-endpoint-nodeports",
            Self::Hairpin => "hairpin",
            Self::Firewall => "firewall-ips",
            Self::Sticky => "affinity-services",
            Self::StickyNodePorts => "affinity-service-nodeports",
        }
    }

    fn add(self, batch: &mut Batch, family: Family) {
        let address = Type::Address(family);
        let target = [address, Type::Port];
        let by_address = [address, Type::Protocol, Type::Port, Type::Mark];
        let by_port = [Type::Protocol, Type::Port, Type::Mark];
        let (key, data): (&[Type], Data<'_>) = match self {
            Self::Services | Self::OutsideServices | Self::Firewall | Self::Sticky => {
                (&by_address[..3], Data::Verdicts)
            }
            Self::NodePorts | Self::OutsideNodePorts | Self::StickyNodePorts => {
                (&by_port[..2], Data::Verdicts)
            }
            Self::Endpoints => (&by_address, Data::Values(&target)),
            Self::NodeEndpoints => (&by_port, Data::Values(&target)),
            Self::ClusterIps => (&[address], Data::None),
            Self::Refused => (&by_address[..3], Data::None),
            Self::RefusedNodePorts => (&by_port[..2], Data::None),
            Self::Hairpin => (&[address, address], Data::None),
        };
        batch.add_set(&Set { name: self.name(), key, data, dynamic: None });
    }
}

/// The maps that rules remember clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Memory {
    /// (client, address, protocol, port) -> (address, port)
    Services,
    /// (client, protocol, port) -> (address, port)
    NodePorts,
}

impl Memory {
    /// The map's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "affinity-ips",
            Self::NodePorts => "affinity-nodeports",
        }
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
    /// Whether clients stay with their endpoint.
    pub affinity: bool,
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
        let stay = if self.affinity { "-affinity" } else { "" };
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

/// Registers, in words of four bytes, so that every key lies in a row in both families: client,
/// address, protocol, port, number, target.
struct Registers {
    family: Family,
    /// An address's words.
    words: u8,
}

/// For what is loaded, compared and forgotten.
const SCRATCH: Reg = Reg(0);

impl Registers {
    fn new(family: Family) -> Self {
        Self { family, words: if family == Family::V4 { 1 } else { 4 } }
    }

    fn address(&self) -> Reg {
        Reg(self.words)
    }

    fn protocol(&self) -> Reg {
        Reg(2 * self.words)
    }

    fn number(&self) -> Reg {
        self.protocol().plus(2)
    }

    fn target(&self) -> Reg {
        self.number().plus(1)
    }

    /// Where the key of a place begins.
    fn key(&self, from: Place) -> Reg {
        match from {
            Place::NodePorts | Place::OutsideNodePorts => self.protocol(),
            _ => self.address(),
        }
    }

    /// Address, protocol and port of where the packet goes.
    fn by_address(&self, rule: Rule) -> Rule {
        self.by_port(rule.load_daddr(self.family, self.address()))
    }

    fn by_port(&self, rule: Rule) -> Rule {
        rule.load_protocol(self.protocol()).load_dport(self.protocol().plus(1))
    }

    /// What the packet is looked up by in a place.
    fn load(&self, from: Place, rule: Rule) -> Rule {
        match from {
            Place::NodePorts | Place::OutsideNodePorts => self.by_port(rule),
            _ => self.by_address(rule),
        }
    }

    /// What the connection's first packet was looked up by in a place, after it was rewritten.
    fn original(&self, from: Place, rule: Rule) -> Rule {
        let rule = match from {
            Place::NodePorts => rule,
            _ => rule.load_original_daddr(self.family, self.address()),
        };
        rule.load_protocol(self.protocol()).load_original_dport(self.protocol().plus(1))
    }

    /// Where the client goes to be right before the key.
    fn client(&self, from: Place) -> Reg {
        Reg(self.key(from).0 - self.words)
    }

    fn dnat(&self, rule: Rule) -> Rule {
        let target = self.target();
        rule.dnat(self.family, target, target.plus(self.words))
    }
}

fn source(rule: Rule, family: Family, op: Op, cidrs: &[Cidr]) -> Rule {
    let ours = cidrs.iter().filter(|c| Family::of(c.ip()) == family);
    ours.fold(rule, |rule, cidr| {
        rule.load_saddr(family, SCRATCH).in_network(SCRATCH, op, &octets(cidr.ip()), cidr.prefix())
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
    let (by_address, target) =
        ([address, address, Type::Protocol, Type::Port], [address, Type::Port]);
    let by_port = [address, Type::Protocol, Type::Port];
    let memories: [(Memory, &[Type]); 2] =
        [(Memory::Services, &by_address), (Memory::NodePorts, &by_port)];
    for (memory, key) in memories {
        batch.add_set(&Set {
            name: memory.name(),
            key,
            data: Data::Values(&target),
            dynamic: Some(AFFINITY_SIZE),
        });
    }
    gate(&mut batch, family);
    entrance(&mut batch, family, layout);
    leftovers(&mut batch, family, layout);
    masquerading(&mut batch, family);
    batch
}

/// Refusals and source ranges, before anything is rewritten.
fn gate(batch: &mut Batch, family: Family) {
    let r = Registers::new(family);
    batch.add_chain(REFUSE);
    let reset =
        Rule::new().load_protocol(SCRATCH).compare(SCRATCH, Op::Eq, &[6]).reject(Reject::Reset);
    batch.add_rule(REFUSE, &reset);
    batch.add_rule(REFUSE, &Rule::new().reject(Reject::PortUnreachable));

    batch.add_chain(GATE);
    batch.add_rule(
        GATE,
        &r.by_address(Rule::new()).verdict_map(Place::Firewall.name(), r.address()),
    );
    let refuse = Verdict::Goto(REFUSE.into());
    let on_address = r.by_address(Rule::new()).in_set(Place::Refused.name(), r.address());
    batch.add_rule(GATE, &on_address.verdict(&refuse));
    let on_node = r
        .by_port(Rule::new())
        .in_set(Place::RefusedNodePorts.name(), r.protocol())
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
            Rule::new().load_daddr(family, SCRATCH).in_set(Place::ClusterIps.name(), SCRATCH);
        let hidden: &[Cidr] = if layout.masquerade_all { &[] } else { pods };
        let mark = source(to_cluster_ip, family, Op::Ne, hidden).set_mark_bits(MASQUERADE);
        batch.add_rule(ENTRANCE, &mark);
    }
    let outside = |rule: Rule| source(rule, family, Op::Ne, pods).saddr_local(Op::Ne);
    let go = |from: Place, rule: Rule| r.load(from, rule).verdict_map(from.name(), r.key(from));
    batch.add_rule(ENTRANCE, &go(Place::OutsideServices, outside(Rule::new())));
    batch.add_rule(ENTRANCE, &go(Place::Services, Rule::new()));
    let mut to_node = Rule::new();
    if family == Family::V4 {
        // Node ports on 127.0.0.1 would need route_localnet, which opens more than it is worth.
        to_node =
            to_node.load_daddr(family, SCRATCH).in_network(SCRATCH, Op::Ne, &[127, 0, 0, 0], 8);
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

/// After the entrance: clients that stay are remembered, and what is still addressed to a service
/// address is refused.
fn leftovers(batch: &mut Batch, family: Family, layout: &Layout) {
    let r = Registers::new(family);
    batch.add_chain(STICKY);
    for (from, place) in
        [(Place::Services, Place::Sticky), (Place::NodePorts, Place::StickyNodePorts)]
    {
        let known = r.original(from, Rule::new()).verdict_map(place.name(), r.key(from));
        batch.add_rule(STICKY, &known);
    }
    let rewritten = Rule::new().new_connection().rewritten().verdict(&Verdict::Jump(STICKY.into()));
    batch.add_base_chain("filter-prerouting-late", "filter", Hook::Prerouting, -90);
    batch.add_rule("filter-prerouting-late", &rewritten);
    for (name, hook, priority) in
        [("filter-forward", Hook::Forward, 0), ("filter-output-late", Hook::Output, -90)]
    {
        batch.add_base_chain(name, "filter", hook, priority);
        if hook == Hook::Output {
            batch.add_rule(name, &rewritten);
        }
        let known = Rule::new()
            .new_connection()
            .load_daddr(family, SCRATCH)
            .in_set(Place::ClusterIps.name(), SCRATCH)
            .verdict(&Verdict::Goto(REFUSE.into()));
        batch.add_rule(name, &known);
        // Dropped and not refused: a service about to be there is found by the next try.
        for cidr in layout.service_cidrs.iter().filter(|c| Family::of(c.ip()) == family) {
            let net = octets(cidr.ip());
            let unknown = Rule::new()
                .new_connection()
                .load_daddr(family, SCRATCH)
                .in_network(SCRATCH, Op::Eq, &net, cidr.prefix())
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
        .load_saddr(family, SCRATCH)
        .load_daddr(family, SCRATCH.plus(words))
        .in_set(Place::Hairpin.name(), SCRATCH)
        .masquerade();
    batch.add_rule(name, &itself);
}

/// A class's chain.
pub fn add_class(batch: &mut Batch, family: Family, layout: &Layout, class: &Class) {
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
    let (key, client, target) = (r.key(class.from), r.client(class.from), r.target());
    let (endpoints, memory) = match class.from {
        Place::NodePorts | Place::OutsideNodePorts => (Place::NodeEndpoints, Memory::NodePorts),
        _ => (Place::Endpoints, Memory::Services),
    };
    let first = match class.from {
        Place::OutsideServices | Place::OutsideNodePorts => OUTSIDE,
        _ => 0,
    };
    let draw = |rule: Rule, size: u32| {
        rule.random(size, first, r.number()).look_up(endpoints.name(), key, target)
    };
    let load = || r.load(class.from, Rule::new());
    if class.affinity {
        let known = r.load(class.from, Rule::new().load_saddr(family, client));
        let again = known.look_up(memory.name(), client, target);
        batch.add_rule(&chain, &r.dnat(again));
    }
    batch.add_rule(&chain, &r.dnat(draw(load(), class.size)));
    if class.size > 1 {
        // A packet that came in before a pool shrank and drew a number after: the first endpoint.
        batch.add_rule(&chain, &r.dnat(draw(load(), 1)));
    }
}

/// Remembers clients for a time, from their last connection on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remember {
    /// Where.
    pub memory: Memory,
    /// For how long.
    pub timeout: Duration,
}

impl Remember {
    /// The chain's name.
    pub fn chain(&self) -> String {
        let kind = match self.memory {
            Memory::Services => "",
            Memory::NodePorts => "-node",
        };
        format!("remember-{}{kind}", self.timeout.as_secs())
    }
}

/// The chain that remembers clients. The packet has its endpoint's address by now, and where it was
/// sent to is in its connection. Its own hook and not the chain that picks: `nft` cannot list a
/// rule that stores one map's answer in another.
pub fn add_remember(batch: &mut Batch, family: Family, remember: &Remember) {
    let r = Registers::new(family);
    let from = match remember.memory {
        Memory::Services => Place::Services,
        Memory::NodePorts => Place::NodePorts,
    };
    let (client, target) = (r.client(from), r.target());
    let rule = r
        .original(from, Rule::new().load_saddr(family, client))
        .load_daddr(family, target)
        .load_dport(target.plus(r.words))
        .update(remember.memory.name(), client, target, remember.timeout);
    let chain = remember.chain();
    batch.add_chain(&chain);
    batch.add_rule(&chain, &rule);
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

/// A key of [`Place::Services`] and its like.
pub fn address_key(ip: IpAddr, protocol: u8, port: u16) -> Box<[u8]> {
    crate::netlink::nft::pack(&[&octets(ip), &[protocol], &port.to_be_bytes()])
}

/// A key of [`Place::NodePorts`] and its like.
pub fn port_key(protocol: u8, port: u16) -> Box<[u8]> {
    crate::netlink::nft::pack(&[&[protocol], &port.to_be_bytes()])
}
