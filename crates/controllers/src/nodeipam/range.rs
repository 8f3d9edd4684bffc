//! Ranges of addresses, as numbers.
//!
//! Not here: which are free.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range in CIDR notation; its base is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    v6: bool,
    base: u128,
    bits: u8,
}

impl Range {
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.trim().split_once('/')?;
        let bits: u8 = bits.parse().ok()?;
        let (v6, base, width) = match address.parse().ok()? {
            IpAddr::V4(a) => (false, u128::from(u32::from(a)), 32),
            IpAddr::V6(a) => (true, u128::from(a), 128),
        };
        let range = Self { v6, base, bits };
        (bits <= width).then(|| Self { base: base & !range.host_mask(), ..range })
    }

    pub fn is_v6(self) -> bool {
        self.v6
    }

    fn host_bits(self) -> u32 {
        u32::from(if self.v6 { 128 } else { 32 } - self.bits)
    }

    fn host_mask(self) -> u128 {
        1u128.checked_shl(self.host_bits()).unwrap_or(0).wrapping_sub(1)
    }

    fn overlaps(self, other: Self) -> bool {
        self.v6 == other.v6
            && self.base <= other.base | other.host_mask()
            && other.base <= self.base | self.host_mask()
    }

    /// The first part of `bits` bits that overlaps none of `used`.
    pub fn cut(self, bits: u8, used: &[Self]) -> Option<Self> {
        if bits < self.bits || bits > if self.v6 { 128 } else { 32 } {
            return None;
        }
        let mut part = Self { bits, ..self };
        let end = self.base | self.host_mask();
        while part.base <= end {
            match used.iter().find(|u| u.overlaps(part)) {
                None => return Some(part),
                // Go on behind whichever is larger.
                Some(taken) => {
                    let behind = (taken.base | taken.host_mask()).max(part.base | part.host_mask());
                    let next = behind.checked_add(1)?;
                    part.base = (next + part.host_mask()) & !part.host_mask();
                }
            }
        }
        None
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 {
            write!(f, "{}/{}", Ipv6Addr::from(self.base), self.bits)
        } else {
            let base = u32::try_from(self.base).unwrap_or(0);
            write!(f, "{}/{}", Ipv4Addr::from(base), self.bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap() {
        let cluster = Range::parse("10.42.0.0/16").expect("a range");
        let mut used = vec![Range::parse("10.42.1.0/24").expect("a range")];
        for expected in ["10.42.0.0/24", "10.42.2.0/24"] {
            let part = cluster.cut(24, &used).expect("room");
            assert_eq!(part.to_string(), expected);
            used.push(part);
        }
        used.push(Range::parse("10.42.0.0/17").expect("a range"));
        assert_eq!(cluster.cut(24, &used).expect("room").to_string(), "10.42.128.0/24");
        used.push(Range::parse("10.42.128.0/17").expect("a range"));
        assert_eq!(cluster.cut(24, &used), None);
        let six = Range::parse("fd00:42::/56").expect("a range");
        assert_eq!(six.cut(64, &used).expect("room").to_string(), "fd00:42::/64");
        assert_eq!(Range::parse("10.0.0.0/33"), None);
        let all = Range::parse("255.255.255.0/24").expect("a range");
        assert_eq!(all.cut(24, &[all]), None);
    }
}
