//! An address with a prefix length.
//!
//! Not here: which ranges mean what.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: its first address and its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    ip: IpAddr,
    prefix: u8,
}

/// The text was not `address/prefix`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an address range such as 10.42.0.0/24")]
pub struct NotACidr(String);

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

impl Cidr {
    /// The network that `ip` is in; `None` where the prefix is too long.
    pub fn new(ip: IpAddr, prefix: u8) -> Option<Self> {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then(|| Self { ip, prefix }.masked())
    }

    fn masked(self) -> Self {
        let host = self.host_bits();
        let value = number(self.ip);
        let value = if host >= 128 { 0 } else { (value >> host) << host };
        Self { ip: self.same_family(value), prefix: self.prefix }
    }

    fn host_bits(&self) -> u32 {
        (if self.ip.is_ipv4() { 32 } else { 128 }) - u32::from(self.prefix)
    }

    fn same_family(&self, value: u128) -> IpAddr {
        match self.ip {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(value).unwrap_or(0))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(value)),
        }
    }

    /// The first address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// How many addresses, at most 2^32.
    pub fn size(&self) -> u64 {
        1 << self.host_bits().min(32)
    }

    /// The n-th address, from 0; `None` beyond the range.
    pub fn nth(&self, n: u64) -> Option<IpAddr> {
        (n < self.size()).then(|| self.same_family(number(self.ip) + u128::from(n)))
    }

    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.ip.is_ipv4()
            && Self::new(ip, self.prefix).is_some_and(|network| network.ip == self.ip)
    }
}

impl FromStr for Cidr {
    type Err = NotACidr;

    fn from_str(text: &str) -> Result<Self, NotACidr> {
        let parse = || {
            let (ip, prefix) = text.trim().split_once('/')?;
            Self::new(ip.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| NotACidr(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl serde::Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let cidr: Cidr = "10.42.3.77/24".parse().expect("a range");
        assert_eq!(cidr.to_string(), "10.42.3.0/24");
        assert_eq!(cidr.nth(255).map(|ip| ip.to_string()).as_deref(), Some("10.42.3.255"));
        assert_eq!(cidr.nth(256), None);
        assert!(cidr.contains("10.42.3.9".parse().expect("an address")));
        assert!(!cidr.contains("10.42.4.9".parse().expect("an address")));
        assert!(!cidr.contains("::1".parse().expect("an address")));
        let six: Cidr = "fd00:1::/112".parse().expect("a range");
        assert_eq!(six.nth(1).map(|ip| ip.to_string()).as_deref(), Some("fd00:1::1"));
        assert!("10.42.0.0/33".parse::<Cidr>().is_err());
        assert!("10.42.0.0".parse::<Cidr>().is_err());
    }
}
