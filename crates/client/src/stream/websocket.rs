//! WebSocket framing: numbered channels in messages, and a plain byte stream in messages.
//!
//! Not here: which number means what (`remotecommand`, `portforward`).

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::sync::{CancellationToken, PollSender};

use super::{CHUNK, ChunkReader, QUEUE, linger};
use crate::error::Error;
use crate::transport::Io;

/// No message may be larger.
const MAX_MESSAGE: usize = 4 << 20;
/// In version 5: the channel whose messages name a channel to close.
const CLOSE: u8 = 255;

fn config() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE))
}

/// Wraps an upgraded connection.
pub async fn wrap(io: Box<dyn Io>, role: Role) -> WebSocketStream<Box<dyn Io>> {
    WebSocketStream::from_raw_socket(io, role, Some(config())).await
}

/// How channel messages look on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Text messages with base64 payloads.
    pub base64: bool,
    /// The peer can close channels one by one (version 5).
    pub closes: bool,
    /// So can we: in version 5 only the client may, and only its standard input.
    pub may_close: bool,
}

impl Style {
    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::with_capacity(1 + bytes.len() * 4 / 3 + 4);
            text.push(char::from(b'0' + channel.min(9)));
            STANDARD.encode_string(bytes, &mut text);
            return Message::Text(text.into());
        }
        let mut message = Vec::with_capacity(1 + bytes.len());
        message.push(channel);
        message.extend_from_slice(bytes);
        Message::Binary(message.into())
    }

    fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let mut bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => return None,
        };
        if bytes.is_empty() {
            return None;
        }
        let channel = bytes.get_u8();
        if self.base64 {
            return Some((channel.checked_sub(b'0')?, STANDARD.decode(&bytes).ok()?.into()));
        }
        Some((channel, bytes))
    }
}

enum Out {
    Data(u8, Bytes),
    Close(u8),
    End,
}

/// Numbered channels over one WebSocket. Dropping it cuts the connection.
pub struct Channels {
    readers: HashMap<u8, ChunkReader>,
    out: mpsc::Sender<Out>,
    written: CancellationToken,
    closed: CancellationToken,
}

impl Channels {
    /// Starts the tasks of a connection; `read` are the channels that anything may come in on.
    pub fn start(socket: WebSocketStream<Box<dyn Io>>, style: Style, read: &[u8]) -> Self {
        let (sink, stream) = socket.split();
        let (out, queue) = mpsc::channel(QUEUE);
        let closed = CancellationToken::new();
        let mut feeds = HashMap::new();
        let mut readers = HashMap::new();
        for channel in read {
            let (feed, reader) = ChunkReader::new();
            feeds.insert(*channel, feed);
            readers.insert(*channel, reader);
        }
        let (a, b) = (closed.clone(), closed.clone());
        let written = CancellationToken::new();
        let done = written.clone().drop_guard();
        tokio::spawn(async move {
            let _done = done;
            tokio::select! {
                () = a.cancelled() => {}
                () = write(sink, queue, style) => {}
            }
        });
        tokio::spawn(async move {
            tokio::select! {
                () = b.cancelled() => {}
                () = read_messages(stream, feeds, style) => {}
            }
            b.cancel();
        });
        Self { readers, out, written, closed }
    }

    /// Takes the reading end of a channel.
    pub fn reader(&mut self, channel: u8) -> Option<ChunkReader> {
        self.readers.remove(&channel)
    }

    /// A writing end of a channel; shutting it down closes the channel, where the version can.
    pub fn writer(&self, channel: u8) -> ChannelWriter {
        ChannelWriter { channel, out: PollSender::new(self.out.clone()), ended: false }
    }

    /// Sends an empty message, which tells the client that the channel is there.
    pub async fn announce(&self, channel: u8) {
        let _ = self.out.send(Out::Data(channel, Bytes::new())).await;
    }

    /// A token that is cancelled when the connection is gone.
    pub fn closed_token(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Sends what is queued and a close message, then hangs up once the peer has, or after a while.
    pub async fn close(self) {
        if self.out.send(Out::End).await.is_ok() {
            linger(&self.written, &self.closed).await;
        }
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn write(
    mut sink: SplitSink<WebSocketStream<Box<dyn Io>>, Message>,
    mut queue: mpsc::Receiver<Out>,
    style: Style,
) {
    while let Some(out) = queue.recv().await {
        let mut next = Some(out);
        while let Some(out) = next {
            let message = match out {
                Out::Data(channel, bytes) => style.encode(channel, &bytes),
                Out::Close(channel) if style.may_close => style.encode(CLOSE, &[channel]),
                Out::Close(_) => {
                    next = queue.try_recv().ok();
                    continue;
                }
                Out::End => {
                    // Clients take an end without a status for a fault.
                    let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    let _ = sink.send(Message::Close(Some(normal))).await;
                    let _ = sink.close().await;
                    return;
                }
            };
            if sink.feed(message).await.is_err() {
                return;
            }
            next = queue.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn read_messages(
    mut stream: SplitStream<WebSocketStream<Box<dyn Io>>>,
    mut feeds: HashMap<u8, mpsc::Sender<Bytes>>,
    style: Style,
) {
    while let Some(Ok(message)) = stream.next().await {
        match style.decode(message) {
            Some((CLOSE, bytes)) if style.closes => {
                for channel in &bytes {
                    feeds.remove(channel);
                }
            }
            Some((channel, bytes)) if !bytes.is_empty() => {
                if let Some(feed) = feeds.get(&channel) {
                    let _ = feed.send(bytes).await;
                }
            }
            _ => {}
        }
    }
}

/// The writing end of a channel.
pub struct ChannelWriter {
    channel: u8,
    out: PollSender<Out>,
    ended: bool,
}

fn gone<E>(_: E) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

impl AsyncWrite for ChannelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(gone(())));
        }
        ready!(self.out.poll_reserve(cx)).map_err(gone)?;
        let len = buf.len().min(CHUNK);
        let item = Out::Data(self.channel, Bytes::copy_from_slice(&buf[..len]));
        Poll::Ready(self.out.send_item(item).map_err(gone).map(|()| len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let reserved = ready!(self.out.poll_reserve(cx));
        self.ended = true;
        if reserved.is_ok() {
            let item = Out::Close(self.channel);
            let _ = self.out.send_item(item);
        }
        Poll::Ready(Ok(()))
    }
}

/// A WebSocket whose binary messages, joined, are a byte stream.
pub struct Tunnel {
    socket: WebSocketStream<Box<dyn Io>>,
    rest: Bytes,
}

impl Tunnel {
    /// A tunnel through a socket.
    pub fn new(socket: WebSocketStream<Box<dyn Io>>) -> Self {
        Self { socket, rest: Bytes::new() }
    }
}

fn as_io(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.rest = bytes,
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Ok(_)) => {}
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(as_io(error))),
            }
        }
        let len = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..len]);
        self.rest.advance(len);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(as_io)?;
        let len = buf.len().min(CHUNK * 2);
        let message = Message::Binary(Bytes::copy_from_slice(&buf[..len]));
        Pin::new(&mut self.socket).start_send(message).map_err(as_io)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(as_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            other => Poll::Ready(other.map_err(as_io)),
        }
    }
}

/// The byte stream that a framing's SPDY session runs over, at the server's end.
pub(super) async fn tunnel(io: Box<dyn Io>, role: Role) -> Result<Tunnel, Error> {
    Ok(Tunnel::new(wrap(io, role).await))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair(style: Style) -> (Channels, Channels) {
        let (a, b) = tokio::io::duplex(4096);
        let client = wrap(Box::new(a), Role::Client).await;
        let server = wrap(Box::new(b), Role::Server).await;
        (Channels::start(client, style, &[1, 3]), Channels::start(server, style, &[0]))
    }

    #[tokio::test]
    async fn channels_carry_bytes_and_close() {
        for base64 in [false, true] {
            let (mut client, mut server) =
                pair(Style { base64, closes: !base64, may_close: !base64 }).await;
            let mut stdin = client.writer(0);
            let data = vec![b'x'; 100_000];
            let sent = data.clone();
            let writing = tokio::spawn(async move {
                stdin.write_all(&sent).await.expect("writes");
                stdin.shutdown().await.expect("closes");
            });
            let mut got = Vec::new();
            let mut reader = server.reader(0).expect("a channel");
            if base64 {
                got.resize(data.len(), 0);
                reader.read_exact(&mut got).await.expect("reads");
            } else {
                reader.read_to_end(&mut got).await.expect("reads to the close");
            }
            assert_eq!(got, data);
            writing.await.expect("joins");
            server.announce(1).await;
            let mut stdout = server.writer(1);
            stdout.write_all(b"out").await.expect("writes");
            let mut reader = client.reader(1).expect("a channel");
            assert_eq!(reader.chunk().await.as_deref(), Some(&b"out"[..]));
            let end = reader;
            server.close().await;
            assert_eq!({ end }.chunk().await, None);
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_a_byte_stream() {
        let (a, b) = tokio::io::duplex(512);
        let mut client = Tunnel::new(wrap(Box::new(a), Role::Client).await);
        let mut server = Tunnel::new(wrap(Box::new(b), Role::Server).await);
        let data: Vec<u8> = (0..200_000u32).map(|i| i as u8).collect();
        let sent = data.clone();
        let writing = tokio::spawn(async move {
            client.write_all(&sent).await.expect("writes");
            client.flush().await.expect("flushes");
            client.shutdown().await.expect("closes");
            client
        });
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.expect("reads");
        assert_eq!(got, data);
        drop(writing.await.expect("joins"));
    }
}
