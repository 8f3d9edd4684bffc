//! A range of addresses, IPv4 or IPv6: which are in it, which come first.
//!
//! Not here: which are taken (`ips`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network with its length. Two networks are equal when their canonical forms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    base: u128,
    bits: u8,
    v6: bool,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As in `spec.ipFamilies`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The family of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|f| f.as_str() == text)
    }

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Range {
    /// Reads `10.43.0.0/16`; host bits are cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/')?;
        let ip: IpAddr = ip.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let width = if ip.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return None;
        }
        let host = Self::mask(width - bits);
        Some(Self { base: number(ip) & !host, bits, v6: ip.is_ipv6() })
    }

    fn mask(bits: u8) -> u128 {
        if bits >= 128 { u128::MAX } else { (1u128 << bits) - 1 }
    }

    fn width(self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// Its family.
    pub fn family(self) -> Family {
        if self.v6 { Family::V6 } else { Family::V4 }
    }

    /// How many addresses may be given out: all but the network's own and, in IPv4, the broadcast
    /// address. Counted up to 2^64.
    pub fn size(self) -> u64 {
        let host = self.width() - self.bits;
        let all = if host >= 64 { u64::MAX } else { 1u64 << host };
        all.saturating_sub(if self.v6 { 1 } else { 2 })
    }

    /// The nth address that may be given out, from 0.
    pub fn nth(self, n: u64) -> IpAddr {
        self.ip(self.base.saturating_add(u128::from(n) + 1))
    }

    /// The first address that may be given out.
    pub fn first(self) -> IpAddr {
        self.nth(0)
    }

    fn ip(self, number: u128) -> IpAddr {
        if self.v6 {
            Ipv6Addr::from(number).into()
        } else {
            Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into()
        }
    }

    /// Whether an address lies in the network.
    pub fn contains(self, ip: IpAddr) -> bool {
        ip.is_ipv6() == self.v6 && number(ip) & !Self::mask(self.width() - self.bits) == self.base
    }

    /// The place of an address among those that may be given out.
    pub fn index(self, ip: IpAddr) -> Option<u64> {
        if !self.contains(ip) {
            return None;
        }
        let at = u64::try_from(number(ip).checked_sub(self.base + 1)?).ok()?;
        (at < self.size()).then_some(at)
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ip(self.base), self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        let r = Range::parse("10.97.3.7/30").expect("valid");
        assert_eq!(r.to_string(), "10.97.3.4/30");
        assert_eq!((r.size(), r.first().to_string()), (2, "10.97.3.5".into()));
        let ip = |s: &str| s.parse::<IpAddr>().expect("valid");
        assert_eq!(r.index(ip("10.97.3.4")), None);
        assert_eq!(r.index(ip("10.97.3.6")), Some(1));
        assert_eq!(r.index(ip("10.97.3.7")), None, "broadcast");
        assert_eq!(r.index(ip("10.97.3.8")), None);
        let six = Range::parse("fd00::/108").expect("valid");
        assert_eq!((six.size(), six.nth(9).to_string()), ((1 << 20) - 1, "fd00::a".into()));
        assert_eq!(Range::parse("10.0.0.0/33"), None);
        assert_eq!(Range::parse("10.0.0.0"), None);
        assert_eq!(Range::parse("::/0").expect("valid").size(), u64::MAX - 1);
    }
}
