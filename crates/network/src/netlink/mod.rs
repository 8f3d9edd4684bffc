//! Netlink: a message writer, an attribute reader, and a blocking socket.
//!
//! The shared ground of links and routes ([`route`]), nftables ([`nft`]) and connection tracking
//! ([`conntrack`]). The kernel works a netlink request off inside `send`, so a blocking socket never
//! waits for anything but the kernel itself; that spares the CNI plugin, whose start is on every
//! pod's path, an async runtime. Not here: what any message means.

pub mod conntrack;
pub mod nft;
pub mod route;

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
    netlink::{self, SocketAddrNetlink},
    recv, send, socket_with, sockopt,
};

/// `NLM_F_REQUEST`
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`
pub const ACK: u16 = 0x4;
/// `NLM_F_EXCL` on a create: fail where it exists.
pub const EXCL: u16 = 0x200;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_REPLACE`
pub const REPLACE: u16 = 0x100;
/// `NLM_F_APPEND`
pub const APPEND: u16 = 0x800;
/// `NLM_F_DUMP`
pub const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
/// Set in an attribute's type where its payload is attributes.
const NESTED: u16 = 0x8000;

/// What a request came to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket itself failed.
    #[error("netlink {doing}: {source}")]
    Socket {
        /// Which call.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a message.
    #[error("{what}: {source}{}", detail(.message))]
    Refused {
        /// What was asked.
        what: String,
        /// The kernel's errno.
        source: io::Error,
        /// The kernel's own words (extended acknowledgement), empty where it gave none.
        message: String,
    },
    /// An answer was not understood.
    #[error("netlink: malformed answer")]
    Malformed,
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl Error {
    /// The kernel's errno, where the kernel refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the thing asked about does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(
            self.errno(),
            Some(libc::ENOENT | libc::ENODEV | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO)
        )
    }

    /// Whether the thing to be made was there already.
    pub fn is_present(&self) -> bool {
        self.errno() == Some(libc::EEXIST)
    }
}

/// Writes messages one after another into one buffer, ready for a single `send`.
#[derive(Debug, Default)]
pub struct Writer {
    buf: Vec<u8>,
    /// What each message asks for, by sequence number (from 1), for errors.
    labels: Vec<&'static str>,
    /// Where the last message starts.
    last: usize,
}

impl Writer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Appends a message: its fixed header `head`, then what `body` writes.
    pub fn message(
        &mut self,
        label: &'static str,
        kind: u16,
        flags: u16,
        head: &[u8],
        body: impl FnOnce(&mut Self),
    ) {
        self.labels.push(label);
        let seq = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
        let at = self.buf.len();
        self.last = at;
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.buf.extend_from_slice(&seq.to_ne_bytes());
        self.buf.extend_from_slice(&[0; 4]);
        self.buf.extend_from_slice(head);
        self.pad();
        body(self);
        let len = u32::try_from(self.buf.len() - at).unwrap_or(u32::MAX);
        self.buf[at..at + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Asks for an acknowledgement of the last message.
    pub fn acknowledge_last(&mut self) {
        if let Some(flags) = self.buf.get_mut(self.last + 6) {
            *flags |= 4;
        }
    }

    /// The bytes, without the messages' framing where only attributes were written.
    pub fn bytes(&self) -> &[u8] {
        &self.buf
    }

    fn pad(&mut self) {
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
    }

    /// An attribute of raw bytes.
    pub fn attr(&mut self, kind: u16, data: &[u8]) {
        let len = u16::try_from(data.len() + 4).unwrap_or(u16::MAX);
        self.buf.extend_from_slice(&len.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(data);
        self.pad();
    }

    /// A number in host order (routing messages).
    pub fn attr_u32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// A number in network order (netfilter messages).
    pub fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A text with its closing NUL.
    pub fn attr_str(&mut self, kind: u16, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Bytes as they are, padded: for fixed headers inside nests.
    pub fn raw(&mut self, data: &[u8]) {
        self.buf.extend_from_slice(data);
        self.pad();
    }

    /// An attribute of attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let at = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        self.buf.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        let len = u16::try_from(self.buf.len() - at).unwrap_or(u16::MAX);
        self.buf[at..at + 2].copy_from_slice(&len.to_ne_bytes());
    }
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// `nlmsg_pid`: whose doing it was, in notifications.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// The messages in a received datagram.
pub fn messages(mut data: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(data, 0)? as usize;
        if len < HEADER || len > data.len() {
            return None;
        }
        let kind = u16::from_ne_bytes([data[4], data[5]]);
        let message = Message {
            kind,
            seq: u32_at(data, 8)?,
            port: u32_at(data, 12)?,
            payload: &data[HEADER..len],
        };
        data = data.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(message)
    })
}

/// The attributes in a payload, as (type without flags, bytes).
pub fn attrs(mut data: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16::from_ne_bytes([*data.first()?, *data.get(1)?]));
        let kind = u16::from_ne_bytes([*data.get(2)?, *data.get(3)?]) & 0x3FFF;
        if len < 4 || len > data.len() {
            return None;
        }
        let value = &data[4..len];
        data = data.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

/// The attribute of a type.
pub fn find_attr(data: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(data).find(|(k, _)| *k == kind).map(|(_, v)| v)
}

/// A host-order number at an offset.
pub fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// A netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Room for the largest batch (a first sync of every service goes in one).
const SEND_BUFFER: usize = 64 << 20;
const RECEIVE_BUFFER: usize = 4 << 20;

impl Socket {
    /// A socket for links, addresses, routes and neighbours of the thread's network namespace. It
    /// stays with that namespace when the thread moves on.
    pub fn route() -> Result<Self, Error> {
        Self::open(None, 0)
    }

    /// A socket for nftables and connection tracking.
    pub fn netfilter() -> Result<Self, Error> {
        Self::open(Some(netlink::NETFILTER), 0)
    }

    /// A socket that hears a netfilter multicast group (`NFNLGRP_*`), and only that.
    pub fn netfilter_events(group: u32) -> Result<Self, Error> {
        Self::open(Some(netlink::NETFILTER), 1 << (group - 1))
    }

    fn open(protocol: Option<rustix::net::Protocol>, groups: u32) -> Result<Self, Error> {
        let fail = |doing| move |e: rustix::io::Errno| Error::Socket { doing, source: e.into() };
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .map_err(fail("socket"))?;
        bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(fail("bind"))?;
        if protocol.is_some() {
            // Without CAP_NET_ADMIN these fail, and so will whatever is sent; that error says it.
            let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER);
            let _ = sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER);
        }
        extended_acks(&fd);
        Ok(Self { fd })
    }

    /// Sends the messages, each with an acknowledgement asked for, and waits for all of them. The
    /// kernel runs every message, also after one it refused; the first refusal is the error.
    pub fn run(&self, writer: &Writer) -> Result<(), Error> {
        let mut first: Option<Error> = None;
        let total = writer.labels.len();
        let mut seen = 0;
        self.transmit(writer)?;
        let mut buf = vec![0; 64 << 10];
        while seen < total {
            let len = self.receive(&mut buf, RecvFlags::empty())?.ok_or(Error::Malformed)?;
            for message in messages(&buf[..len]).filter(|m| m.kind == ERROR) {
                seen += 1;
                if let Some(error) = refusal(writer, &message) {
                    first.get_or_insert(error);
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// Sends one request for a dump and hands every message of the answer to `each`.
    pub fn dump(&self, writer: &Writer, mut each: impl FnMut(&Message<'_>)) -> Result<(), Error> {
        self.transmit(writer)?;
        let mut buf = vec![0; 64 << 10];
        loop {
            let len = self.receive(&mut buf, RecvFlags::empty())?.ok_or(Error::Malformed)?;
            for message in messages(&buf[..len]) {
                match message.kind {
                    DONE => return Ok(()),
                    ERROR => return refusal(writer, &message).map_or(Ok(()), Err),
                    _ => each(&message),
                }
            }
        }
    }

    /// Sends a nfnetlink batch. Its answers are queued when `send` returns: errors for what was
    /// refused, and the acknowledgement that the last message asked for.
    pub fn batch(&self, writer: &Writer) -> Result<(), Error> {
        let mut first: Option<Error> = None;
        let mut acknowledged = false;
        self.transmit(writer)?;
        let mut buf = vec![0; 64 << 10];
        while let Some(len) = self.receive(&mut buf, RecvFlags::DONTWAIT)? {
            for message in messages(&buf[..len]).filter(|m| m.kind == ERROR) {
                match refusal(writer, &message) {
                    Some(error) => drop(first.get_or_insert(error)),
                    None => acknowledged = true,
                }
            }
        }
        match first {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(Error::Malformed),
        }
    }

    /// Waits for one datagram of notifications.
    pub fn next_event(&self, buf: &mut [u8]) -> Result<usize, Error> {
        self.receive(buf, RecvFlags::empty())?.ok_or(Error::Malformed)
    }

    fn transmit(&self, writer: &Writer) -> Result<(), Error> {
        let fail = |e: rustix::io::Errno| Error::Socket { doing: "send", source: e.into() };
        send(&self.fd, &writer.buf, SendFlags::empty()).map_err(fail)?;
        Ok(())
    }

    /// `None` where `DONTWAIT` found nothing.
    fn receive(&self, buf: &mut [u8], flags: RecvFlags) -> Result<Option<usize>, Error> {
        loop {
            match recv(&self.fd, &mut *buf, flags) {
                Ok((len, _)) => return Ok(Some(len)),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(Error::Socket { doing: "receive", source: e.into() }),
            }
        }
    }
}

/// The error in an `NLMSG_ERROR`; `None` where it is an acknowledgement.
fn refusal(writer: &Writer, message: &Message<'_>) -> Option<Error> {
    const CAPPED: u16 = 0x100;
    const ATTR_MSG: u16 = 1;
    let errno = i32::from_ne_bytes(message.payload.get(..4)?.try_into().ok()?);
    if errno == 0 {
        return None;
    }
    // After the errno: the header of the message at fault, its body unless capped, attributes.
    let flags = message.payload.get(10..12).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
    let body = if flags & CAPPED != 0 {
        HEADER
    } else {
        u32_at(message.payload, 4).map_or(HEADER, |len| len as usize)
    };
    let text = message
        .payload
        .get(4 + body.next_multiple_of(4)..)
        .and_then(|rest| find_attr(rest, ATTR_MSG))
        .map(|t| String::from_utf8_lossy(t.strip_suffix(&[0]).unwrap_or(t)).into_owned());
    let what = (message.seq as usize)
        .checked_sub(1)
        .and_then(|i| writer.labels.get(i))
        .copied()
        .unwrap_or("batch");
    Some(Error::Refused {
        what: what.to_owned(),
        source: io::Error::from_raw_os_error(-errno),
        message: text.unwrap_or_default(),
    })
}

/// Asks for error texts, and for errors that do not repeat the whole request.
#[allow(unsafe_code)]
fn extended_acks(fd: &OwnedFd) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
        // SAFETY: the pointer and length describe `on`, which outlives the call. Failing is fine:
        // errors then come without text.
        unsafe {
            libc::setsockopt(
                fd.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                std::ptr::from_ref(&on).cast(),
                libc::socklen_t::try_from(size_of_val(&on)).unwrap_or(4),
            );
        }
    }
}
