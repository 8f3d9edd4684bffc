//! What the kernel remembers of connections for longer than it is true.
//!
//! A UDP "connection" lasts as long as its client sends, so one that leads to an endpoint that is
//! gone, or past a service that is new, would last forever. A client with affinity would be sent to
//! its endpoint for as long as it comes, also when that is gone. TCP takes care of itself. Not here:
//! the netlink messages.

use std::collections::{HashMap, HashSet};

use super::plan::{At, PortPlan, ServicePlan, Target};
use super::table::{Memory, TABLE, address_key, port_key};
use crate::netlink::conntrack::{self, Flow};
use crate::netlink::nft::{self, Batch, ElementKey, Family, pack};
use crate::netlink::route::octets;
use crate::netlink::{Error, Socket};

const UDP: u8 = 17;

/// Where to look, with the endpoints that are right there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects {
    /// UDP flows to these.
    flows: HashMap<At, HashSet<Target>>,
    /// Clients of these keys, with the packed targets that they may stay with.
    clients: HashMap<(Memory, ElementKey), HashSet<ElementKey>>,
}

fn targets(port: &PortPlan) -> HashSet<Target> {
    port.cluster.iter().chain(&port.local).copied().collect()
}

fn entries(plan: Option<&ServicePlan>) -> HashMap<At, HashSet<Target>> {
    let mut all = HashMap::new();
    for port in plan.into_iter().flat_map(|p| &p.ports).filter(|p| p.protocol == UDP) {
        all.extend(port.entries.iter().map(|e| (e.at, targets(port))));
    }
    all
}

impl Suspects {
    /// Adds what a service's change makes suspicious: places where endpoints went away, and places
    /// that came or went.
    pub fn note(&mut self, old: Option<&ServicePlan>, new: Option<&ServicePlan>) {
        self.note_clients(old, new);
        let (old, mut new) = (entries(old), entries(new));
        for (at, before) in &old {
            let now = new.remove(at).unwrap_or_default();
            if before.is_empty() || before.iter().any(|t| !now.contains(t)) {
                self.flows.insert(*at, now);
            }
        }
        self.flows.extend(new);
    }

    fn note_clients(&mut self, old: Option<&ServicePlan>, new: Option<&ServicePlan>) {
        for port in new.into_iter().flat_map(|p| &p.ports).filter(|p| p.affinity.is_some()) {
            let before = old.into_iter().flat_map(|p| &p.ports).find(|p| {
                p.affinity.is_some() && p.name == port.name && p.protocol == port.protocol
            });
            let now = targets(port);
            if before.is_some_and(|b| targets(b).is_subset(&now) && b.entries == port.entries) {
                continue;
            }
            let packed: HashSet<ElementKey> = now
                .iter()
                .map(|(ip, number)| pack(&[&octets(*ip), &number.to_be_bytes()]))
                .collect();
            for entry in &port.entries {
                let key = match entry.at {
                    At::Address(ip, number) => {
                        (Memory::Services, address_key(ip, port.protocol, number))
                    }
                    At::Node(number) => (Memory::NodePorts, port_key(port.protocol, number)),
                };
                self.clients.insert(key, packed.clone());
            }
        }
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty() && self.clients.is_empty()
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let answering = (flow.reply.source, flow.reply.source_port);
        let (ip, port) = (flow.original.destination, flow.original.port);
        if let Some(allowed) = self.flows.get(&At::Address(ip, port)) {
            return !allowed.contains(&answering);
        }
        // A node port is on any address; what is not rewritten is somebody else's.
        let rewritten = flow.reply.source != ip;
        self.flows.get(&At::Node(port)).is_some_and(|ok| rewritten && !ok.contains(&answering))
    }

    /// Forgets what is stale; returns how many flows and clients.
    pub fn clean(&self, socket: &Socket, family: Family) -> Result<usize, Error> {
        Ok(self.clean_flows(socket, family)? + self.clean_clients(socket, family)?)
    }

    fn clean_flows(&self, socket: &Socket, family: Family) -> Result<usize, Error> {
        if self.flows.is_empty() {
            return Ok(0);
        }
        let mut flows = conntrack::list(socket, family, UDP)?;
        flows.retain(|flow| self.is_stale(flow));
        conntrack::delete(socket, family, &flows)?;
        Ok(flows.len())
    }

    fn clean_clients(&self, socket: &Socket, family: Family) -> Result<usize, Error> {
        let mut cleaned = 0;
        for memory in [Memory::Services, Memory::NodePorts] {
            if !self.clients.keys().any(|(m, _)| *m == memory) {
                continue;
            }
            for (key, target) in nft::elements(socket, family, TABLE, memory.name())? {
                let Some(place) = key.get(family.address_len()..) else { continue };
                let Some(right) = self.clients.get(&(memory, place.into())) else { continue };
                if right.contains(&*target) {
                    continue;
                }
                let mut batch = Batch::new(family, TABLE);
                batch.delete_elements(memory.name(), [&*key]);
                match batch.commit(socket) {
                    // Timed out by itself meanwhile.
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                    Ok(()) => cleaned += 1,
                }
            }
        }
        Ok(cleaned)
    }
}
