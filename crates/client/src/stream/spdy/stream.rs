//! One stream of a session, as a reader and writer of bytes.
//!
//! Not here: the session's tasks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::frame::Frame;
use super::headers::{self, Headers};
use crate::stream::{CHUNK, ChunkReader};

/// A stream. Shutting it down ends our direction; dropping it does too.
pub struct Stream {
    id: u32,
    headers: Headers,
    reader: ChunkReader,
    frames: PollSender<Frame>,
    ended: bool,
}

impl Stream {
    pub(super) fn new(
        id: u32,
        headers: Headers,
        reader: ChunkReader,
        frames: mpsc::Sender<Frame>,
        ended: bool,
    ) -> Self {
        Self { id, headers, reader, frames: PollSender::new(frames), ended }
    }

    /// The headers it was opened with.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// One of them, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        headers::value(&self.headers, name)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>, frame: Frame) -> Poll<io::Result<()>> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.frames.poll_reserve(cx)).map_err(gone)?;
        Poll::Ready(self.frames.send_item(frame).map_err(gone))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        ready!(self.frames.poll_reserve(cx)).map_err(gone)?;
        let len = buf.len().min(CHUNK);
        let bytes = Bytes::copy_from_slice(&buf[..len]);
        let frame = Frame::Data { id: self.id, bytes, fin: false };
        Poll::Ready(self.frames.send_item(frame).map_err(gone).map(|()| len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The session flushes whenever it has nothing left to write.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let frame = Frame::Data { id: self.id, bytes: Bytes::new(), fin: true };
        let sent = ready!(self.poll_frame(cx, frame));
        self.ended = true;
        // A connection that is gone has ended the stream as well.
        Poll::Ready(sent.or(Ok(())))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(frames) = self.frames.get_ref().filter(|_| !self.ended) else { return };
        let frame = Frame::Data { id: self.id, bytes: Bytes::new(), fin: true };
        if let Err(mpsc::error::TrySendError::Full(frame)) = frames.try_send(frame)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let frames = frames.clone();
            runtime.spawn(async move { frames.send(frame).await });
        }
    }
}
