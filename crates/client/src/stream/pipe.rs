//! The reading end of a stream: chunks from a connection's task as an `AsyncRead`.
//!
//! Not here: the writing ends, which differ by framing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

/// Reads what a connection's task sends; the end of the channel is the end of the stream.
pub struct ChunkReader {
    chunks: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl ChunkReader {
    /// The reading end, and the sender that feeds it.
    pub(super) fn new() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, chunks) = mpsc::channel(super::QUEUE);
        (sender, Self { chunks, rest: Bytes::new() })
    }

    /// The next chunk as it came off the wire; `None` at the end.
    pub async fn chunk(&mut self) -> Option<Bytes> {
        if self.rest.is_empty() {
            return self.chunks.recv().await;
        }
        Some(std::mem::take(&mut self.rest))
    }
}

impl AsyncRead for ChunkReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}
