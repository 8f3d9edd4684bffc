//! Addresses and networks in forms that not everybody reads alike.

use std::fmt::Display;
use std::net::IpAddr;

use api::address::{masked, parse_cidr, parse_sloppy, shown, shown_network};

/// Whether a text is an address in a good form: no leading zeros, no IPv4 within IPv6.
fn is_standard(ip: Result<IpAddr, impl Sized>) -> bool {
    match ip {
        Ok(IpAddr::V6(v6)) => v6.to_ipv4_mapped().is_none(),
        Ok(IpAddr::V4(_)) => true,
        Err(_) => false,
    }
}

/// About an address; what is none has been refused elsewhere.
pub fn address(path: impl Display, text: &str, out: &mut Vec<String>) {
    let Some(ip) = parse_sloppy(text) else { return };
    if !is_standard(text.parse()) {
        out.push(format!(
            "{path}: non-standard IP address {text:?} is invalid: use \"{}\"",
            shown(ip)
        ));
    } else if ip.is_ipv6() && ip.to_string() != text {
        out.push(format!(
            "{path}: IPv6 address {text:?} should be in RFC 5952 canonical format (\"{ip}\")"
        ));
    }
}

/// About a network.
pub fn network(path: impl Display, text: &str, out: &mut Vec<String>) {
    let Some((ip, bits)) = parse_cidr(text) else { return };
    let before = out.len();
    let whole = shown_network(ip, bits);
    if masked(ip, bits) != ip {
        let all = if ip.is_ipv4() { 32 } else { 128 };
        out.push(format!(
            "{path}: CIDR value {text:?} is ambiguous in this context (should be \"{whole}\" or \"{}/{all}\"?)",
            shown(ip)
        ));
    }
    let (base, length) = text.split_once('/').unwrap_or((text, ""));
    if !is_standard(base.parse()) || (length.len() > 1 && length.starts_with('0')) {
        out.push(format!("{path}: non-standard CIDR value {text:?} is invalid: use \"{whole}\""));
    }
    let canonical = format!("{ip}/{bits}");
    if out.len() == before && ip.is_ipv6() && canonical != text {
        out.push(format!(
            "{path}: IPv6 CIDR value {text:?} should be in RFC 5952 canonical format (\"{canonical}\")"
        ));
    }
}
