//! Connection tracking entries: listed and deleted over ctnetlink.
//!
//! Not here: which entries are stale (`proxy`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::nft::Family;
use super::{ACK, DUMP, Error, Socket, Writer, attrs, find_attr};

const SUBSYS: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol.
    pub protocol: u8,
    /// Destination port.
    pub port: u16,
    /// Source port.
    pub source_port: u16,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// As its first packet came.
    pub original: Tuple,
    /// As answers come; `reply.source` is who really answers.
    pub reply: Tuple,
    /// The original tuple as the kernel wrote it, to name the flow by.
    raw: Vec<u8>,
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::V4(Ipv4Addr::from(v4)));
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6)))
}

fn port(bytes: Option<&[u8]>) -> u16 {
    bytes.and_then(|b| b.try_into().ok()).map_or(0, u16::from_be_bytes)
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attrs(find_attr(bytes, 1)?) {
        match kind {
            1 | 3 => source = ip(value),
            2 | 4 => destination = ip(value),
            _ => {}
        }
    }
    let transport = find_attr(bytes, 2)?;
    Some(Tuple {
        source: source?,
        destination: destination?,
        protocol: *find_attr(transport, 1)?.first()?,
        source_port: port(find_attr(transport, 2)),
        port: port(find_attr(transport, 3)),
    })
}

/// The flows of a family and a transport protocol.
pub fn list(socket: &Socket, family: Family, protocol: u8) -> Result<Vec<Flow>, Error> {
    let mut w = Writer::new();
    w.message("list flows", (SUBSYS << 8) | GET, DUMP, &[family.number(), 0, 0, 0], |_| {});
    let mut flows = Vec::new();
    socket.dump(&w, |message| {
        let Some(body) = message.payload.get(4..) else { return };
        let Some(raw) = find_attr(body, TUPLE_ORIG) else { return };
        let Some(original) = tuple(raw).filter(|t| t.protocol == protocol) else { return };
        let Some(reply) = find_attr(body, TUPLE_REPLY).and_then(tuple) else { return };
        flows.push(Flow { original, reply, raw: raw.to_vec() });
    })?;
    Ok(flows)
}

/// Forgets flows; one that is gone already is fine.
pub fn delete(socket: &Socket, family: Family, flows: &[Flow]) -> Result<(), Error> {
    for flow in flows {
        let mut w = Writer::new();
        let head = [family.number(), 0, 0, 0];
        w.message("delete flow", (SUBSYS << 8) | DELETE, ACK, &head, |w| {
            w.attr(TUPLE_ORIG | super::NESTED, &flow.raw);
        });
        match socket.run(&w) {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
