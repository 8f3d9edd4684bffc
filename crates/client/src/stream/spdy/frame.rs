//! SPDY/3.1 frames on the wire.
//!
//! Not here: which frame may come when (`session`).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::headers::{Decoder, Encoder, Headers};
use crate::error::Error;

/// A frame, as far as we act on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Open {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    Reply {
        id: u32,
        headers: Headers,
        fin: bool,
    },
    Data {
        id: u32,
        bytes: Bytes,
        fin: bool,
    },
    Reset {
        id: u32,
        status: u32,
    },
    Ping(u32),
    GoAway {
        last: u32,
    },
    /// Not sent: the writer ends here.
    End,
}

const CONTROL: u32 = 0x8000_0000;
const VERSION: u32 = 3;
const FIN: u8 = 1;
/// Ids have 31 bits.
const ID: u32 = 0x7fff_ffff;
/// No control frame is larger.
const MAX_CONTROL: usize = 64 * 1024;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

pub(super) struct Reader<R> {
    io: R,
    headers: Decoder,
    /// What is left of a data frame that is handed on in pieces.
    data: Option<(u32, usize, bool)>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub fn new(io: R) -> Self {
        Self { io, headers: Decoder::new(), data: None }
    }

    /// The next frame; `None` where the connection ends between frames.
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            if let Some((id, left, fin)) = self.data {
                return self.data_piece(id, left, fin).await.map(Some);
            }
            let mut head = [0; 8];
            if self.io.read(&mut head[..1]).await.map_err(lost)? == 0 {
                return Ok(None);
            }
            self.io.read_exact(&mut head[1..]).await.map_err(lost)?;
            let mut head = &head[..];
            let (first, second) = (head.get_u32(), head.get_u32());
            let flags = (second >> 24) as u8;
            let length = (second & 0x00ff_ffff) as usize;
            if first & CONTROL == 0 {
                self.data = Some((first, length, flags & FIN != 0));
                continue;
            }
            let (version, kind) = ((first >> 16) & 0x7fff, (first & 0xffff) as u16);
            if version != VERSION {
                return Err(Error::Protocol(format!("SPDY version {version}")));
            }
            if length > MAX_CONTROL {
                return Err(Error::Protocol(format!("SPDY control frame of {length} bytes")));
            }
            let mut body = vec![0; length];
            self.io.read_exact(&mut body).await.map_err(lost)?;
            if let Some(frame) = self.control(kind, flags & FIN != 0, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    async fn data_piece(&mut self, id: u32, left: usize, fin: bool) -> Result<Frame, Error> {
        let size = left.min(64 * 1024);
        let mut bytes = BytesMut::zeroed(size);
        self.io.read_exact(&mut bytes).await.map_err(lost)?;
        let left = left - size;
        self.data = (left > 0).then_some((id, left, fin));
        Ok(Frame::Data { id, bytes: bytes.freeze(), fin: fin && left == 0 })
    }

    fn control(&mut self, kind: u16, fin: bool, body: &[u8]) -> Result<Option<Frame>, Error> {
        let short = || Error::Protocol("SPDY frame too short".into());
        let word = |at: usize| -> Result<u32, Error> {
            let bytes = body.get(at..at + 4).ok_or_else(short)?;
            Ok(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
        };
        let id = || word(0).map(|id| id & ID);
        Ok(match kind {
            SYN_STREAM => {
                let headers = self.headers.decode(body.get(10..).ok_or_else(short)?)?;
                Some(Frame::Open { id: id()?, headers, fin })
            }
            SYN_REPLY => {
                let headers = self.headers.decode(body.get(4..).ok_or_else(short)?)?;
                Some(Frame::Reply { id: id()?, headers, fin })
            }
            HEADERS => {
                // Their meaning is nil here, but the compression context must see them.
                self.headers.decode(body.get(4..).ok_or_else(short)?)?;
                fin.then(|| id().map(|id| Frame::Data { id, bytes: Bytes::new(), fin }))
                    .transpose()?
            }
            RST_STREAM => Some(Frame::Reset { id: id()?, status: word(4)? }),
            PING => Some(Frame::Ping(word(0)?)),
            GOAWAY => Some(Frame::GoAway { last: id()? }),
            // SETTINGS, WINDOW_UPDATE, and what is to come.
            _ => None,
        })
    }
}

fn lost(error: std::io::Error) -> Error {
    Error::transport("read SPDY frame", error)
}

pub(super) struct Writer<W> {
    io: W,
    headers: Encoder,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub fn new(io: W) -> Result<Self, Error> {
        Ok(Self { io, headers: Encoder::new()? })
    }

    pub async fn write(&mut self, frame: &Frame) -> Result<(), Error> {
        let mut out = Vec::new();
        match frame {
            Frame::Data { id, bytes, fin } => {
                out.reserve(8 + bytes.len());
                out.put_u32(id & ID);
                head(&mut out, *fin, bytes.len())?;
                out.extend_from_slice(bytes);
            }
            Frame::Open { id, headers, fin } => {
                let block = self.headers.encode(headers)?;
                control(&mut out, SYN_STREAM, *fin, 10 + block.len())?;
                out.put_u32(*id);
                // No associated stream, priority, or credential slot.
                out.put_slice(&[0; 6]);
                out.extend_from_slice(&block);
            }
            Frame::Reply { id, headers, fin } => {
                let block = self.headers.encode(headers)?;
                control(&mut out, SYN_REPLY, *fin, 4 + block.len())?;
                out.put_u32(*id);
                out.extend_from_slice(&block);
            }
            Frame::Reset { id, status } => {
                control(&mut out, RST_STREAM, false, 8)?;
                out.put_u32(*id);
                out.put_u32(*status);
            }
            Frame::Ping(id) => {
                control(&mut out, PING, false, 4)?;
                out.put_u32(*id);
            }
            Frame::GoAway { last } => {
                control(&mut out, GOAWAY, false, 8)?;
                out.put_u32(*last);
                out.put_u32(0);
            }
            Frame::End => return self.io.shutdown().await.map_err(unsent),
        }
        self.io.write_all(&out).await.map_err(unsent)
    }

    pub async fn flush(&mut self) -> Result<(), Error> {
        self.io.flush().await.map_err(unsent)
    }
}

fn unsent(error: std::io::Error) -> Error {
    Error::transport("write SPDY frame", error)
}

fn head(out: &mut Vec<u8>, fin: bool, length: usize) -> Result<(), Error> {
    let length = u32::try_from(length).ok().filter(|l| *l <= 0x00ff_ffff);
    let length = length.ok_or_else(|| Error::Protocol("SPDY frame too large".into()))?;
    out.put_u32(if fin { u32::from(FIN) << 24 | length } else { length });
    Ok(())
}

fn control(out: &mut Vec<u8>, kind: u16, fin: bool, length: usize) -> Result<(), Error> {
    out.put_u32(CONTROL | VERSION << 16 | u32::from(kind));
    head(out, fin, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_wire() {
        let headers: Headers = vec![("streamtype".into(), "data".into())];
        let frames = [
            Frame::Open { id: 1, headers: headers.clone(), fin: false },
            Frame::Reply { id: 1, headers, fin: false },
            Frame::Data { id: 1, bytes: "hello".into(), fin: true },
            Frame::Reset { id: 3, status: 5 },
            Frame::Ping(2),
            Frame::GoAway { last: 1 },
        ];
        let mut wire = Vec::new();
        let mut writer = Writer::new(&mut wire).expect("zlib");
        for frame in &frames {
            writer.write(frame).await.expect("written");
        }
        let mut reader = Reader::new(&wire[..]);
        for frame in frames {
            assert_eq!(reader.next().await.expect("reads"), Some(frame));
        }
        assert_eq!(reader.next().await.expect("reads"), None);
    }
}
