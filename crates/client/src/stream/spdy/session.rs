//! A session: the tasks that read and write one connection, and the streams on it.
//!
//! Not here: the bytes of frames (`frame`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{Frame, Reader, Writer};
use super::headers::Headers;
use super::stream::Stream;
use crate::error::Error;
use crate::stream::{ChunkReader, QUEUE, linger};

/// How long the peer has to answer a new stream.
const PATIENCE: Duration = Duration::from_secs(30);
/// Streams a peer may have open at once.
const MAX_STREAMS: usize = 4096;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 3;

/// A SPDY connection. Dropping it ends all its streams.
pub struct Session {
    shared: Arc<Shared>,
    frames: mpsc::Sender<Frame>,
    incoming: tokio::sync::Mutex<mpsc::Receiver<Stream>>,
    written: CancellationToken,
    closed: CancellationToken,
    next: AtomicU32,
}

#[derive(Default)]
struct Shared {
    streams: Mutex<HashMap<u32, Entry>>,
}

struct Entry {
    /// Feeds the stream's reader; none once the peer has ended its direction.
    data: Option<mpsc::Sender<Bytes>>,
    reply: Option<oneshot::Sender<Result<(), Error>>>,
}

impl Session {
    /// The end that opened the connection.
    pub fn client(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Result<Self, Error> {
        Self::start(io, 1)
    }

    /// The end that was connected to.
    pub fn server(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Result<Self, Error> {
        Self::start(io, 2)
    }

    fn start(io: impl AsyncRead + AsyncWrite + Send + 'static, first: u32) -> Result<Self, Error> {
        let (read, write) = tokio::io::split(io);
        let (frames, queue) = mpsc::channel(QUEUE);
        let (accepted, incoming) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let closed = CancellationToken::new();
        let writer = Writer::new(write)?;
        let (stop, cancelled) = (closed.clone(), closed.clone());
        let written = CancellationToken::new();
        let done = written.clone().drop_guard();
        tokio::spawn(async move {
            let _done = done;
            tokio::select! {
                () = cancelled.cancelled() => {}
                written = write_frames(writer, queue) => {
                    // What the peer sent before it went can still be read: the reader finds the end.
                    if let Err(error) = written {
                        tracing::debug!("{error}");
                    }
                }
            }
        });
        let task = ReadTask {
            shared: shared.clone(),
            frames: frames.clone(),
            accepted,
            theirs: if first == 1 { 0 } else { 1 },
        };
        tokio::spawn(async move {
            let mut reader = Reader::new(read);
            tokio::select! {
                () = stop.cancelled() => {}
                read = task.read(&mut reader) => {
                    if let Err(error) = read {
                        tracing::debug!("{error}");
                    }
                }
            }
            // Dropping the feeds ends every stream's reader.
            task.shared.streams.lock().clear();
            stop.cancel();
        });
        Ok(Self {
            shared,
            frames,
            incoming: tokio::sync::Mutex::new(incoming),
            written,
            closed,
            next: AtomicU32::new(first),
        })
    }

    /// Opens a stream and waits for the peer to take it.
    pub async fn open(&self, headers: Headers) -> Result<Stream, Error> {
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        let (data, reader) = ChunkReader::new();
        let (reply, replied) = oneshot::channel();
        let entry = Entry { data: Some(data), reply: Some(reply) };
        self.shared.streams.lock().insert(id, entry);
        let stream = Stream::new(id, headers.clone(), reader, self.frames.clone(), false);
        let gone = || Error::transport("open SPDY stream", "the connection is closed");
        self.frames.send(Frame::Open { id, headers, fin: false }).await.map_err(|_| gone())?;
        tokio::select! {
            reply = tokio::time::timeout(PATIENCE, replied) => match reply {
                Ok(Ok(taken)) => taken.map(|()| stream),
                Ok(Err(_)) => Err(gone()),
                Err(_) => Err(Error::transport("open SPDY stream", "no answer")),
            },
            () = self.closed.cancelled() => Err(gone()),
        }
    }

    /// The next stream that the peer opens; `None` when there will be no more.
    pub async fn accept(&self) -> Option<Stream> {
        self.incoming.lock().await.recv().await
    }

    /// Completes when the connection is gone.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// A token for [`Session::closed`] that outlives the borrow.
    pub fn closed_token(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Says goodbye: sends what is queued, then hangs up once the peer has, or after a while.
    pub async fn close(self) {
        for frame in [Frame::GoAway { last: 0 }, Frame::End] {
            if self.frames.send(frame).await.is_err() {
                return;
            }
        }
        linger(&self.written, &self.closed).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn write_frames<W: AsyncWrite + Unpin>(
    mut writer: Writer<W>,
    mut queue: mpsc::Receiver<Frame>,
) -> Result<(), Error> {
    while let Some(frame) = queue.recv().await {
        writer.write(&frame).await?;
        if frame == Frame::End {
            return Ok(());
        }
        while let Ok(frame) = queue.try_recv() {
            writer.write(&frame).await?;
            if frame == Frame::End {
                return Ok(());
            }
        }
        writer.flush().await?;
    }
    Ok(())
}

struct ReadTask {
    shared: Arc<Shared>,
    frames: mpsc::Sender<Frame>,
    accepted: mpsc::Sender<Stream>,
    /// The parity of the ids that the peer assigns.
    theirs: u32,
}

impl ReadTask {
    async fn read<R: AsyncRead + Unpin>(&self, reader: &mut Reader<R>) -> Result<(), Error> {
        while let Some(frame) = reader.next().await? {
            match frame {
                Frame::Open { id, headers, fin } => self.opened(id, headers, fin).await,
                Frame::Reply { id, fin, .. } => {
                    let mut streams = self.shared.streams.lock();
                    if let Some(entry) = streams.get_mut(&id) {
                        if let Some(reply) = entry.reply.take() {
                            let _ = reply.send(Ok(()));
                        }
                        if fin {
                            entry.data = None;
                        }
                    }
                }
                Frame::Data { id, bytes, fin } => self.data(id, bytes, fin).await,
                Frame::Reset { id, status } => {
                    let entry = self.shared.streams.lock().remove(&id);
                    if let Some(reply) = entry.and_then(|e| e.reply) {
                        let why = format!("reset with status {status}");
                        let _ = reply.send(Err(Error::transport("open SPDY stream", why)));
                    }
                }
                // Ids of our parity answer pings of ours.
                Frame::Ping(id) if id % 2 == self.theirs => self.send(Frame::Ping(id)).await,
                Frame::Ping(_) | Frame::GoAway { .. } | Frame::End => {}
            }
        }
        Ok(())
    }

    async fn send(&self, frame: Frame) {
        // A closed queue means that the session is ending.
        let _ = self.frames.send(frame).await;
    }

    async fn opened(&self, id: u32, headers: Headers, fin: bool) {
        let (data, reader) = ChunkReader::new();
        {
            let mut streams = self.shared.streams.lock();
            let refused = if id % 2 != self.theirs || streams.contains_key(&id) {
                Some(PROTOCOL_ERROR)
            } else if streams.len() >= MAX_STREAMS {
                Some(REFUSED_STREAM)
            } else {
                let data = (!fin).then_some(data);
                streams.insert(id, Entry { data, reply: None });
                None
            };
            drop(streams);
            if let Some(status) = refused {
                let frames = self.frames.clone();
                tokio::spawn(async move { frames.send(Frame::Reset { id, status }).await });
                return;
            }
        }
        self.send(Frame::Reply { id, headers: Headers::new(), fin: false }).await;
        let stream = Stream::new(id, headers, reader, self.frames.clone(), false);
        if let Err(refused) = self.accepted.send(stream).await {
            drop(refused);
            self.shared.streams.lock().remove(&id);
        }
    }

    async fn data(&self, id: u32, bytes: Bytes, fin: bool) {
        let feed = self.shared.streams.lock().get(&id).and_then(|e| e.data.clone());
        if let Some(feed) = feed
            && !bytes.is_empty()
        {
            // Fails where nobody reads any more: dropped, as the peer cannot know yet.
            let _ = feed.send(bytes).await;
        }
        if fin {
            // Nothing more comes in; our own direction needs no entry.
            self.shared.streams.lock().remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn streams_carry_bytes_both_ways_and_half_close() {
        let (a, b) = tokio::io::duplex(1000);
        let client = Session::client(a).expect("starts");
        let server = Session::server(b).expect("starts");
        let big = vec![7u8; 200_000];
        let sent = big.clone();
        let served = tokio::spawn(async move {
            let mut stream = server.accept().await.expect("a stream");
            assert_eq!(stream.header("port"), Some("80"));
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.expect("reads");
            stream.write_all(b"thanks").await.expect("writes");
            stream.shutdown().await.expect("ends");
            server.close().await;
            got
        });
        let mut stream = client.open(vec![("port".into(), "80".into())]).await.expect("opens");
        stream.write_all(&sent).await.expect("writes");
        stream.shutdown().await.expect("ends");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("reads");
        assert_eq!(answer, "thanks");
        drop(client);
        assert_eq!(served.await.expect("joins"), big);
    }

    #[tokio::test]
    async fn what_a_peer_sent_before_it_hung_up_is_read() {
        let mut sent = Vec::new();
        let mut peer = Writer::new(&mut sent).expect("starts");
        let data = vec![7u8; 100_000];
        peer.write(&Frame::Open { id: 1, headers: Headers::new(), fin: false }).await.expect("ok");
        for bytes in data.chunks(1000) {
            let frame = Frame::Data { id: 1, bytes: Bytes::copy_from_slice(bytes), fin: false };
            peer.write(&frame).await.expect("written");
        }
        // Everything that we write fails, as at a socket that the peer has closed.
        let (gone, _) = tokio::io::duplex(1);
        let ours = Session::server(tokio::io::join(std::io::Cursor::new(sent), gone));
        let ours = ours.expect("starts");
        let mut stream = ours.accept().await.expect("a stream");
        // The write has failed before we start to read.
        ours.written.cancelled().await;
        let mut got = Vec::new();
        let all = stream.read_to_end(&mut got);
        tokio::time::timeout(PATIENCE, all).await.expect("ends").expect("reads");
        assert_eq!(got, data);
    }

    #[tokio::test]
    async fn a_lost_connection_ends_its_streams() {
        let (a, b) = tokio::io::duplex(1000);
        let client = Session::client(a).expect("starts");
        let server = Session::server(b).expect("starts");
        let (opened, accepted) = tokio::join!(client.open(Headers::new()), server.accept());
        let mut stream = opened.expect("opens");
        drop((accepted, server));
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("ends");
        client.closed().await;
        assert!(client.open(Headers::new()).await.is_err());
    }
}
