//! Framed streams: several byte streams over one upgraded connection, as exec, attach and
//! port-forward use them, for both ends.
//!
//! `spdy` and `websocket` are the two framings, `remotecommand` and `portforward` the two uses, and
//! `handshake` agrees on a framing. Not here: HTTP itself, or what runs behind a stream.

pub mod handshake;
mod messages;
mod pipe;
pub mod portforward;
pub mod remotecommand;
pub mod spdy;
pub mod websocket;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use handshake::{Framing, Handshake, HandshakeError};
pub use messages::{Wrapping, send, send_only};
pub use pipe::ChunkReader;

/// Bytes that come in.
pub type BoxRead = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes that go out; shut it down to end the stream.
pub type BoxWrite = Box<dyn AsyncWrite + Send + Unpin>;

/// Data is cut into frames of at most this size.
const CHUNK: usize = 32 * 1024;
/// Frames that may wait in a stream before its connection is read no further.
const QUEUE: usize = 32;

/// How long a peer may take to hang up once everything has been written to it. It may still have
/// megabytes to read, and hanging up first would lose them as soon as it sends anything.
const LINGER: Duration = Duration::from_secs(60);
/// How long what is queued may take to be written (the kubelet's streaming idle timeout).
const DRAIN: Duration = Duration::from_secs(4 * 3600);

/// Waits at a connection's end until `written`, which has no hurry, and then until the peer has hung up.
async fn linger(written: &CancellationToken, closed: &CancellationToken) {
    let drained = async {
        tokio::select! {
            () = written.cancelled() => {}
            () = closed.cancelled() => {}
        }
    };
    if timeout(DRAIN, drained).await.is_ok() {
        let _ = timeout(LINGER, closed.cancelled()).await;
    }
}
