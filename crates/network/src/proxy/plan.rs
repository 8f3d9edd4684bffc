//! What a service should come to on this node: `(service, its slices, node) -> ServicePlan`, pure.
//!
//! Not here: the kernel's words for it (`render`), or what has to change (`state`).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::cidr::Cidr;
use crate::netlink::nft::Family;
use crate::objects::{Endpoint, EndpointSlice, SERVICE_PROXY_NAME, Service, protocol_number};

/// What the plan has to know about where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name, as endpoints say it.
    pub name: String,
    /// Its zone, empty where it has none.
    pub zone: String,
    /// Service addresses that something on this machine answers itself (the cluster DNS); the proxy
    /// leaves them alone.
    pub answered_here: BTreeSet<IpAddr>,
}

/// Where a connection ends up.
pub type Target = (IpAddr, u16);

/// A service on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its cluster addresses.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<PortPlan>,
    /// Where a load balancer asks whether this node has endpoints.
    pub health: Option<Health>,
}

/// A health check node port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The port.
    pub port: u16,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Its name, which tells it from the others.
    pub name: String,
    /// Transport protocol.
    pub protocol: u8,
    /// How long a client stays with its endpoint.
    pub affinity: Option<Duration>,
    /// Endpoints anywhere, sorted.
    pub cluster: Vec<Target>,
    /// Endpoints on this node, sorted; filled where a policy asks for them.
    pub local: Vec<Target>,
    /// Addresses of endpoints on this node among those in use: they may reach themselves.
    pub here: Vec<IpAddr>,
    /// Where it is reached.
    pub entries: Vec<Entry>,
}

/// An address or port that leads to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub at: At,
    /// What happens.
    pub action: Action,
    /// The only sources let through; empty for all.
    pub sources: Vec<Cidr>,
}

/// Where a service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// On an address.
    Address(IpAddr, u16),
    /// On every address of the machine.
    Node(u16),
}

/// Which endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pool {
    /// Anywhere.
    Cluster,
    /// On this node.
    Local,
}

/// What happens to a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Cluster address: to the pool. (What comes from outside the pod network is masqueraded.)
    Internal(Pool),
    /// External address, policy Cluster: masqueraded, to any endpoint.
    External,
    /// External address, policy Local: pods and the machine itself to any endpoint, others only to
    /// endpoints here, with their source kept; dropped where there are none here.
    ExternalLocal,
    /// Dropped: endpoints exist, but not here, and policy says here.
    Drop,
    /// Refused: there are no endpoints.
    Reject,
}

/// The plan for a service; empty for one that the proxy has nothing to do with.
pub fn plan(
    family: Family,
    service: &Service,
    slices: &[EndpointSlice],
    node: &Node,
) -> ServicePlan {
    if service.is_headless()
        || service.is_external_name()
        || service.metadata.labels.contains_key(SERVICE_PROXY_NAME)
    {
        return ServicePlan::default();
    }
    let ours = |ip: &IpAddr| Family::of(*ip) == family && !node.answered_here.contains(ip);
    let cluster_ips: Vec<IpAddr> = service.cluster_addresses().filter(ours).collect();
    let parse = |texts: &[String]| -> Vec<IpAddr> {
        texts.iter().filter_map(|t| t.parse().ok()).filter(ours).collect()
    };
    let external = parse(&service.spec.external_ips);
    let ingress: Vec<IpAddr> = service
        .status
        .load_balancer
        .ingress
        .iter()
        .filter(|i| i.ip_mode != "Proxy")
        .filter_map(|i| i.ip.parse().ok())
        .filter(ours)
        .collect();
    let any_cluster_ip = service.cluster_addresses().any(|ip| Family::of(ip) == family);
    let ports: Vec<PortPlan> = service
        .spec
        .ports
        .iter()
        .filter_map(|port| {
            let protocol = protocol_number(&port.protocol)?;
            let chosen = choose(family, slices, &port.name, protocol, node);
            let policies = Policies::of(service);
            let internal = match (policies.internal, chosen.cluster.is_empty()) {
                _ if chosen.none_at_all() => Action::Reject,
                (Pool::Local, _) if chosen.local.is_empty() => Action::Drop,
                (Pool::Cluster, true) => Action::Reject,
                (pool, _) => Action::Internal(pool),
            };
            let outer = match policies.external {
                _ if chosen.none_at_all() => Action::Reject,
                Pool::Cluster => Action::External,
                Pool::Local => Action::ExternalLocal,
            };
            let at = |ip: &IpAddr| At::Address(*ip, port.port);
            let mut entries: Vec<Entry> = Vec::new();
            let mut add = |at, action, sources| entries.push(Entry { at, action, sources });
            cluster_ips.iter().for_each(|ip| add(at(ip), internal, Vec::new()));
            external.iter().for_each(|ip| add(at(ip), outer, Vec::new()));
            for ip in &ingress {
                add(at(ip), outer, source_ranges(service, *ip));
            }
            if port.node_port != 0 && any_cluster_ip {
                add(At::Node(port.node_port), outer, Vec::new());
            }
            entries.sort_by_key(|e| e.at);
            entries.dedup_by_key(|e| e.at);
            Some(PortPlan {
                name: port.name.clone(),
                protocol,
                affinity: affinity(service),
                local: if policies.any_local() { chosen.local } else { Vec::new() },
                cluster: chosen.cluster,
                here: chosen.here,
                entries,
            })
        })
        .collect();
    let health = (service.spec.health_check_node_port != 0
        && Policies::of(service).external == Pool::Local)
        .then(|| Health {
            port: service.spec.health_check_node_port,
            local_endpoints: ready_here(slices, node),
        });
    ServicePlan { cluster_ips, ports, health }
}

#[derive(Clone, Copy)]
struct Policies {
    internal: Pool,
    external: Pool,
}

impl Policies {
    fn of(service: &Service) -> Self {
        let pool = |text: &str| if text == "Local" { Pool::Local } else { Pool::Cluster };
        Self {
            internal: pool(&service.spec.internal_traffic_policy),
            external: pool(&service.spec.external_traffic_policy),
        }
    }

    fn any_local(self) -> bool {
        self.internal == Pool::Local || self.external == Pool::Local
    }
}

fn affinity(service: &Service) -> Option<Duration> {
    const THREE_HOURS: u64 = 10_800;
    (service.spec.session_affinity == "ClientIP").then(|| {
        let seconds = service.spec.session_affinity_config.client_ip.timeout_seconds;
        Duration::from_secs(seconds.unwrap_or(THREE_HOURS))
    })
}

/// The ranges let through to a load balancer's address; the address itself among them, as machines
/// that carry it speak to it from it.
fn source_ranges(service: &Service, ip: IpAddr) -> Vec<Cidr> {
    let mut ranges: Vec<Cidr> = service
        .spec
        .load_balancer_source_ranges
        .iter()
        .filter_map(|range| range.parse().ok())
        .filter(|range: &Cidr| Family::of(range.ip()) == Family::of(ip))
        .collect();
    if !service.spec.load_balancer_source_ranges.is_empty() {
        ranges.extend(Cidr::new(ip, crate::netlink::route::full_prefix(ip)));
    }
    ranges.sort();
    ranges.dedup();
    ranges
}

struct Chosen {
    cluster: Vec<Target>,
    local: Vec<Target>,
    here: Vec<IpAddr>,
}

impl Chosen {
    fn none_at_all(&self) -> bool {
        self.cluster.is_empty() && self.local.is_empty()
    }
}

struct Candidate<'a> {
    target: Target,
    endpoint: &'a Endpoint,
    here: bool,
}

/// Ready endpoints; where there are none, those that are terminating but still serve. By zone or
/// node where every ready endpoint carries a hint and one names ours.
fn choose(
    family: Family,
    slices: &[EndpointSlice],
    port_name: &str,
    protocol: u8,
    node: &Node,
) -> Chosen {
    let mut all = Vec::new();
    for slice in slices {
        let number = slice.ports.iter().find_map(|p| {
            let same = p.name == port_name && protocol_number(&p.protocol) == Some(protocol);
            if same { p.port } else { None }
        });
        let Some(port) = number else { continue };
        for endpoint in &slice.endpoints {
            // Only the first address counts; the others would be the same endpoint's.
            let first = endpoint.addresses.first().and_then(|a| a.parse::<IpAddr>().ok());
            let Some(ip) = first.filter(|ip| Family::of(*ip) == family) else { continue };
            let here = endpoint.node_name.as_deref() == Some(&node.name);
            all.push(Candidate { target: (ip, port), endpoint, here });
        }
    }
    let pick = |among: &[&Candidate<'_>]| -> Vec<Target> {
        let unique: BTreeSet<Target> = among.iter().map(|c| c.target).collect();
        unique.into_iter().collect()
    };
    let or_terminating = |here_only: bool| -> Vec<&Candidate<'_>> {
        let of = |f: fn(&Endpoint) -> bool| -> Vec<&Candidate<'_>> {
            all.iter().filter(|c| (c.here || !here_only) && f(c.endpoint)).collect()
        };
        let ready = of(Endpoint::ready);
        if ready.is_empty() { of(Endpoint::serving_while_terminating) } else { ready }
    };
    let cluster = by_hints(or_terminating(false), node);
    let local = or_terminating(true);
    let here: BTreeSet<IpAddr> =
        cluster.iter().chain(&local).filter(|c| c.here).map(|c| c.target.0).collect();
    Chosen { cluster: pick(&cluster), local: pick(&local), here: here.into_iter().collect() }
}

fn by_hints<'a>(all: Vec<&'a Candidate<'a>>, node: &Node) -> Vec<&'a Candidate<'a>> {
    if !all.iter().all(|c| c.endpoint.ready()) {
        return all;
    }
    let near = |hints: fn(&Endpoint) -> &[crate::objects::Named], wanted: &str| {
        let hinted = !wanted.is_empty() && all.iter().all(|c| !hints(c.endpoint).is_empty());
        let near: Vec<&Candidate<'_>> = all
            .iter()
            .filter(|c| hinted && hints(c.endpoint).iter().any(|h| h.name == wanted))
            .copied()
            .collect();
        (!near.is_empty()).then_some(near)
    };
    near(|e| &e.hints.for_nodes, &node.name)
        .or_else(|| near(|e| &e.hints.for_zones, &node.zone))
        .unwrap_or(all)
}

fn ready_here(slices: &[EndpointSlice], node: &Node) -> usize {
    let here: BTreeSet<&String> = slices
        .iter()
        .flat_map(|s| &s.endpoints)
        .filter(|e| e.ready() && e.node_name.as_deref() == Some(&node.name))
        .filter_map(|e| e.addresses.first())
        .collect();
    here.len()
}
