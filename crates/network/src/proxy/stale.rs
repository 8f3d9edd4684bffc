//! Connection tracking entries that outlive what they were made for.
//!
//! A UDP "connection" lasts as long as its client sends, so one that leads to an endpoint that is
//! gone, or past a service that is new, would last forever. TCP takes care of itself. Not here: the
//! netlink messages.

use std::collections::{HashMap, HashSet};

use super::plan::{At, PortPlan, ServicePlan, Target};
use crate::netlink::conntrack::{self, Flow};
use crate::netlink::nft::Family;
use crate::netlink::{Error, Socket};

const UDP: u8 = 17;

/// Where flows have to be looked at, with the endpoints that they may lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspects(HashMap<At, HashSet<Target>>);

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
        let (old, mut new) = (entries(old), entries(new));
        for (at, before) in &old {
            let now = new.remove(at).unwrap_or_default();
            if before.is_empty() || before.iter().any(|t| !now.contains(t)) {
                self.0.insert(*at, now);
            }
        }
        self.0.extend(new);
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_stale(&self, flow: &Flow) -> bool {
        let answering = (flow.reply.source, flow.reply.source_port);
        let (ip, port) = (flow.original.destination, flow.original.port);
        if let Some(allowed) = self.0.get(&At::Address(ip, port)) {
            return !allowed.contains(&answering);
        }
        // A node port is on any address; what is not rewritten is somebody else's.
        let rewritten = flow.reply.source != ip;
        self.0.get(&At::Node(port)).is_some_and(|ok| rewritten && !ok.contains(&answering))
    }

    /// Forgets the stale flows; returns how many.
    pub fn clean(&self, socket: &Socket, family: Family) -> Result<usize, Error> {
        if self.is_empty() {
            return Ok(0);
        }
        let mut flows = conntrack::list(socket, family, UDP)?;
        flows.retain(|flow| self.is_stale(flow));
        conntrack::delete(socket, family, &flows)?;
        Ok(flows.len())
    }
}
