//! Addresses and networks as upstream reads them: IPv4 may have leading zeros.

use std::net::{IpAddr, Ipv4Addr};

/// An address, leading zeros in IPv4 allowed.
pub fn parse_sloppy(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    let parts: Vec<u8> = text
        .split('.')
        .map(|p| {
            (!p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())).then(|| p.parse().ok())?
        })
        .collect::<Option<_>>()?;
    let four: [u8; 4] = parts.try_into().ok()?;
    Some(IpAddr::from(four))
}

/// A network: address and prefix length.
pub fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let ip = parse_sloppy(address)?;
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = if digits { bits.parse().ok()? } else { return None };
    (bits <= if ip.is_ipv4() { 32 } else { 128 }).then_some((ip, bits))
}

/// The network's first address.
pub fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    match ip {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u32::from(v4) & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u128::from(v6) & mask).to_be_bytes())
        }
    }
}

/// An address as upstream writes it: what IPv6 has for IPv4 is IPv4.
pub fn shown(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// A network as upstream writes it.
pub fn shown_network(ip: IpAddr, bits: u8) -> String {
    let first = masked(ip, bits);
    let four: Option<Ipv4Addr> = match first {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    match four {
        Some(four) => format!("{four}/{}", bits.saturating_sub(96)),
        None => format!("{first}/{bits}"),
    }
}
