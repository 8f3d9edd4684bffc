//! Values that no two services may share: cluster IPs and node ports.

mod families;
mod ips;
mod ports;
mod range;
mod service;
mod spec;

use std::sync::Arc;

use api::clock::{Clock, Rng};
use store::Store;

pub use range::{Family, Range};

use crate::gate::Allocator;

/// The ranges of `--service-cluster-ip-range`: one, or one of each family.
pub fn ranges(text: &str) -> Result<Vec<Range>, String> {
    let mut ranges = Vec::new();
    for part in text.split(',') {
        let range = Range::parse(part.trim())
            .ok_or_else(|| format!("{part:?} is not a range of addresses like 10.43.0.0/16"))?;
        if range.size() < 8 {
            return Err(format!("{range} is too small: it must hold at least 8 addresses"));
        }
        ranges.push(range);
    }
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [a, b] if a.family() != b.family() => Ok(ranges),
        _ => Err("give one range, or one IPv4 and one IPv6 range separated by a comma".into()),
    }
}

/// The allocators of the request stack. What a crash may have left over is repaired meanwhile.
pub fn allocators(
    store: &Store,
    ranges: Vec<Range>,
    node_ports: (u16, u16),
    clock: &Clock,
    rng: &Rng,
) -> Vec<Arc<dyn Allocator>> {
    let ips = ips::Ips::new(store, ranges, clock.clone(), rng.clone());
    let ports = ports::Ports::new(node_ports, rng.clone());
    for entry in store.resource("services").list(None).iter() {
        ports.hold(ports::of_service(&entry.object().unwrap_or_default()));
    }
    tokio::spawn({
        let ips = ips.clone();
        async move { ips.repair().await }
    });
    vec![Arc::new(service::Services::new(ips, ports))]
}

#[cfg(test)]
mod tests;
