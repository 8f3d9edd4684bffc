//! Addresses and ranges of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Row;
use super::opaque::Opaque;
use super::strings::text;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("string_to_ip", "ip(string) ip", ip),
    ("is_ip", "isIP(string) bool", is_ip),
    ("ip_is_canonical", "ip.isCanonical(string) bool", is_canonical),
    ("ip_to_string", "string(ip) string", to_string),
    ("ip_family", "ip|family() int", family),
    ("ip_is_unspecified", "ip|isUnspecified() bool", is_unspecified),
    ("ip_is_loopback", "ip|isLoopback() bool", is_loopback),
    ("ip_is_link_local_multicast", "ip|isLinkLocalMulticast() bool", is_link_local_multicast),
    ("ip_is_link_local_unicast", "ip|isLinkLocalUnicast() bool", is_link_local_unicast),
    ("ip_is_global_unicast", "ip|isGlobalUnicast() bool", is_global_unicast),
    ("string_to_cidr", "cidr(string) cidr", cidr),
    ("is_cidr", "isCIDR(string) bool", is_cidr),
    ("cidr_contains_ip_string", "cidr|containsIP(string) bool", contains_ip),
    ("cidr_contains_ip_ip", "cidr|containsIP(ip) bool", contains_ip),
    ("cidr_contains_cidr_string", "cidr|containsCIDR(string) bool", contains_cidr),
    ("cidr_contains_cidr", "cidr|containsCIDR(cidr) bool", contains_cidr),
    ("cidr_ip", "cidr|ip() ip", cidr_ip),
    ("cidr_prefix_length", "cidr|prefixLength() int", prefix_length),
    ("cidr_masked", "cidr|masked() cidr", masked),
    ("cidr_to_string", "string(cidr) string", to_string),
];

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// As given, its host bits too.
    pub address: IpAddr,
    /// The prefix's length.
    pub bits: u8,
}

impl Cidr {
    fn network(self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
            }
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && Cidr { address, bits: self.bits }.network() == self.network()
    }
}

fn mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(a) if a.to_ipv4_mapped().is_some())
}

fn parse_ip(raw: &str) -> Result<IpAddr, EvalError> {
    if let Some((address, zone)) = raw.split_once('%')
        && !zone.is_empty()
        && address.parse::<Ipv6Addr>().is_ok()
    {
        return Err(EvalError::new(format!("IP address {raw:?} with zone value is not allowed")));
    }
    let address: IpAddr = raw.parse().map_err(|_| {
        EvalError::new(format!(
            "IP Address {raw:?} parse error during conversion from string: ParseAddr({raw:?}): unable to parse IP"
        ))
    })?;
    if mapped(address) {
        return Err(EvalError::new(format!("IPv4-mapped IPv6 address {raw:?} is not allowed")));
    }
    Ok(address)
}

fn parse_cidr(raw: &str) -> Result<Cidr, EvalError> {
    let fail = |why: &str| {
        EvalError::new(format!(
            "network address parse error during conversion from string: network address parse error during conversion from string: netip.ParsePrefix({raw:?}): {why}"
        ))
    };
    let (address, bits) = raw.rsplit_once('/').ok_or_else(|| fail("no '/'"))?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| fail(&format!("ParseAddr({address:?}): unable to parse IP")))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = !bits.is_empty()
        && bits.bytes().all(|b| b.is_ascii_digit())
        && (bits.len() == 1 || !bits.starts_with('0'));
    let bits = match bits.parse::<u8>() {
        Ok(length) if plain && length <= most => length,
        Ok(_) if plain => return Err(fail("prefix length out of range")),
        _ => return Err(fail(&format!("bad bits after slash: {bits:?}"))),
    };
    if mapped(address) {
        return Err(EvalError::new(format!(
            "network address parse error during conversion from string: IPv4-mapped IPv6 address {raw:?} is not allowed"
        )));
    }
    Ok(Cidr { address, bits })
}

fn of_ip(args: &[Value<'_>], at: usize) -> Result<IpAddr, EvalError> {
    match &args[at] {
        Value::Opaque(Opaque::Ip(ip)) => Ok(*ip),
        Value::String(s) => parse_ip(s),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn of_cidr(args: &[Value<'_>], at: usize) -> Result<Cidr, EvalError> {
    match &args[at] {
        Value::Opaque(Opaque::Cidr(cidr)) => Ok(*cidr),
        Value::String(s) => parse_cidr(s),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn ip<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Opaque(Opaque::Ip(parse_ip(text(args, 0)?)?)))
}
fn is_ip<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(parse_ip(text(args, 0)?).is_ok()))
}
fn is_canonical<'a>(args: &[Value<'a>]) -> Out<'a> {
    let raw = text(args, 0)?;
    Ok(Value::Bool(parse_ip(raw)?.to_string() == raw))
}
fn to_string<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Opaque(Opaque::Ip(ip)) => Ok(Value::text(ip.to_string())),
        Value::Opaque(Opaque::Cidr(c)) => Ok(Value::text(format!("{}/{}", c.address, c.bits))),
        _ => Err(EvalError::no_such_overload()),
    }
}
fn family<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(if of_ip(args, 0)?.is_ipv4() { 4 } else { 6 }))
}
fn is_unspecified<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of_ip(args, 0)?.is_unspecified()))
}
fn is_loopback<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of_ip(args, 0)?.is_loopback()))
}
fn link_local_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => a.octets()[..3] == [224, 0, 0],
        IpAddr::V6(a) => a.segments()[0] & 0xff0f == 0xff02,
    }
}
fn link_local_unicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(a) => a.is_link_local(),
        IpAddr::V6(a) => a.segments()[0] & 0xffc0 == 0xfe80,
    }
}
fn is_link_local_multicast<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(link_local_multicast(of_ip(args, 0)?)))
}
fn is_link_local_unicast<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(link_local_unicast(of_ip(args, 0)?)))
}
fn is_global_unicast<'a>(args: &[Value<'a>]) -> Out<'a> {
    let ip = of_ip(args, 0)?;
    let broadcast = matches!(ip, IpAddr::V4(a) if a.is_broadcast());
    Ok(Value::Bool(
        !broadcast
            && !ip.is_unspecified()
            && !ip.is_loopback()
            && !ip.is_multicast()
            && !link_local_unicast(ip),
    ))
}

fn cidr<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Opaque(Opaque::Cidr(parse_cidr(text(args, 0)?)?)))
}
fn is_cidr<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(parse_cidr(text(args, 0)?).is_ok()))
}
fn contains_ip<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of_cidr(args, 0)?.contains(of_ip(args, 1)?)))
}
fn contains_cidr<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (outer, inner) = (of_cidr(args, 0)?, of_cidr(args, 1)?);
    Ok(Value::Bool(outer.bits <= inner.bits && outer.contains(inner.address)))
}
fn cidr_ip<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Opaque(Opaque::Ip(of_cidr(args, 0)?.address)))
}
fn prefix_length<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(i64::from(of_cidr(args, 0)?.bits)))
}
fn masked<'a>(args: &[Value<'a>]) -> Out<'a> {
    let cidr = of_cidr(args, 0)?;
    Ok(Value::Opaque(Opaque::Cidr(Cidr { address: cidr.network(), bits: cidr.bits })))
}
