//! Node ports: which are taken. In memory, read from the services at start: a port is taken by a
//! service that is stored, or by a write on its way.

use std::collections::HashSet;
use std::sync::Arc;

use api::Object;
use api::clock::Rng;
use parking_lot::Mutex;
use serde_json::Value;

/// Why a port cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Taken.
    #[error("provided port is already allocated")]
    Taken,
    /// Not one of ours.
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    Outside(u16, u16),
    /// None is left.
    #[error("range is full")]
    Full,
}

/// The node ports of a cluster.
#[derive(Clone)]
pub struct Ports {
    range: (u16, u16),
    taken: Arc<Mutex<HashSet<u16>>>,
    rng: Rng,
}

/// Every node port of a service, that of its health check included.
pub fn of_service(service: &Object) -> Vec<u16> {
    let ports = service.at("spec.ports").and_then(Value::as_array).into_iter().flatten();
    let ports = ports.filter_map(|p| p.get("nodePort")?.as_i64());
    ports
        .chain(service.int("spec.healthCheckNodePort"))
        .filter_map(|p| u16::try_from(p).ok().filter(|p| *p != 0))
        .collect()
}

impl Ports {
    /// All of a range are free.
    pub fn new(range: (u16, u16), rng: Rng) -> Self {
        Self { range, taken: Arc::default(), rng }
    }

    /// A stored service holds these.
    pub fn hold(&self, ports: impl IntoIterator<Item = u16>) {
        self.taken.lock().extend(ports);
    }

    /// They are free again.
    pub fn release(&self, ports: &[u16]) {
        let mut taken = self.taken.lock();
        for port in ports {
            taken.remove(port);
        }
    }

    /// Whether somebody has a port.
    pub fn is_taken(&self, port: i64) -> bool {
        u16::try_from(port).is_ok_and(|port| self.taken.lock().contains(&port))
    }

    /// Takes a given port.
    pub fn take(&self, port: i64) -> Result<u16, PortError> {
        let (low, high) = self.range;
        let port = u16::try_from(port).ok().filter(|p| (low..=high).contains(p));
        let port = port.ok_or(PortError::Outside(low, high))?;
        if self.taken.lock().insert(port) { Ok(port) } else { Err(PortError::Taken) }
    }

    /// Takes any free port. The lower part of the range is left to who asks for a given one, as
    /// long as there is another.
    pub fn take_any(&self) -> Result<u16, PortError> {
        let (low, high) = (u64::from(self.range.0), u64::from(self.range.1));
        let size = high - low + 1;
        let kept = if size < 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
        let mut taken = self.taken.lock();
        for (from, to) in [(low + kept, high), (low, low + kept.max(1) - 1)] {
            let count = (to + 1).saturating_sub(from);
            let start = self.rng.below(count);
            for i in 0..count {
                let port = u16::try_from(from + (start + i) % count).unwrap_or(u16::MAX);
                if taken.insert(port) {
                    return Ok(port);
                }
            }
        }
        Err(PortError::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_once() {
        let ports = Ports::new((30000, 30063), Rng::seeded(1));
        assert_eq!(ports.take(30001), Ok(30001));
        assert_eq!(ports.take(30001), Err(PortError::Taken));
        assert_eq!(ports.take(29999), Err(PortError::Outside(30000, 30063)));
        let mut seen: Vec<u16> = (0..63).map(|_| ports.take_any().expect("one is free")).collect();
        assert!(seen[..48].iter().all(|p| *p >= 30016), "the lower part comes last");
        assert_eq!(ports.take_any(), Err(PortError::Full));
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 63);
        ports.release(&[30005]);
        assert_eq!(ports.take_any(), Ok(30005));
    }
}
