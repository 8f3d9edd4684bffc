//! Values that no two services may share: cluster IPs and node ports.

mod range;

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

/// The allocators of the request stack.
pub fn allocators(
    _store: &Store,
    _ranges: Vec<Range>,
    _node_ports: (u16, u16),
    _clock: &Clock,
    _rng: &Rng,
) -> Vec<Arc<dyn Allocator>> {
    Vec::new()
}
