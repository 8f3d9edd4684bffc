//! Framed streams: several byte streams over one upgraded connection, as exec, attach and
//! port-forward use them, for both ends.
//!
//! `spdy` and `websocket` are the two framings, `remotecommand` and `portforward` the two uses, and
//! `handshake` agrees on a framing. Not here: HTTP itself, or what runs behind a stream.

pub mod handshake;
mod pipe;
pub mod portforward;
pub mod remotecommand;
pub mod spdy;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

pub use handshake::{Framing, Handshake, HandshakeError};
pub use pipe::ChunkReader;

/// Bytes that come in.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes that go out; shut it down to end the stream.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Data is cut into frames of at most this size.
const CHUNK: usize = 32 * 1024;
/// Frames that may wait in a stream before its connection is read no further.
const QUEUE: usize = 32;
