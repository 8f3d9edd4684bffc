//! The seam between the client and how requests travel: in process, or over HTTPS.
//!
//! Not here: either transport. `https` has one; the API server has the other.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use api::{Entry, Resource};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http::{HeaderMap, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::options::ListOptions;

/// How requests reach an API server (or a kubelet, or a streaming server).
///
/// Request URIs are origin-form (`/api/v1/pods?limit=1`); the transport knows where they go and adds
/// credentials.
pub trait Transport: Send + Sync + 'static {
    /// Sends a request; resolves at the response's head. Error statuses are responses, not errors.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Body>, Error>>;

    /// Sends a request that asks for a protocol upgrade (it carries `Connection: Upgrade` and
    /// `Upgrade`); resolves to the raw connection after `101 Switching Protocols`. Any other answer
    /// is an error.
    fn upgrade(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Upgraded, Error>>;

    /// In process only: the watch cache's own entries, then its events, exactly as a watch with these
    /// options would select them (an object that stops matching is deleted). `None` where the
    /// transport has no cache, or the cache holds another version of the resource.
    fn local(&self, _resource: &Resource, _options: &ListOptions) -> Option<LocalWatch> {
        None
    }
}

/// A snapshot of the watch cache with the changes that follow it.
pub struct LocalWatch {
    /// The snapshot's revision.
    pub revision: u64,
    /// The selected entries, in any order.
    pub entries: Vec<Arc<Entry>>,
    /// Changes after the snapshot, in order, in batches. It ends when the watcher lagged or the
    /// server stops; ask again then.
    pub events: BoxStream<'static, Vec<LocalEvent>>,
}

/// A change of the watch cache.
#[derive(Clone, Debug)]
pub enum LocalEvent {
    /// Created or changed.
    Applied(Arc<Entry>),
    /// Gone; the entry is its final state.
    Deleted(Arc<Entry>),
    /// Nothing changed up to this revision.
    Bookmark(u64),
}

/// A response body: bytes at once, or as they come.
pub struct Body(Inner);

enum Inner {
    Full(Bytes),
    Stream(BoxStream<'static, Result<Bytes, Error>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Inner::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
            Inner::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Full(bytes))
    }
}

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self(Inner::Full(Bytes::new()))
    }

    /// Bytes as they come.
    pub fn stream(stream: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self(Inner::Stream(stream.boxed()))
    }

    /// The body of a hyper message; trailers are dropped.
    pub fn from_http<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Send,
    {
        let stream = http_body_util::BodyStream::new(body).filter_map(|frame| {
            std::future::ready(match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(Error::transport("read response body", error))),
            })
        });
        Self::stream(stream)
    }

    /// The same body, which says at its end, or when nobody wants the rest, how many bytes it was.
    #[must_use]
    pub fn ended(self, say: impl FnOnce(u64) + Send + 'static) -> Self {
        match self.0 {
            Inner::Full(bytes) => {
                say(bytes.len() as u64);
                Self(Inner::Full(bytes))
            }
            Inner::Stream(stream) => Self::stream(Counted { stream, sent: 0, say: Some(say) }),
        }
    }

    /// The whole body.
    pub async fn bytes(self) -> Result<Bytes, Error> {
        let mut stream = match self.0 {
            Inner::Full(bytes) => return Ok(bytes),
            Inner::Stream(stream) => stream,
        };
        let Some(first) = stream.next().await.transpose()? else { return Ok(Bytes::new()) };
        let mut all: Option<BytesMut> = None;
        while let Some(chunk) = stream.next().await.transpose()? {
            all.get_or_insert_with(|| BytesMut::from(&first[..])).extend_from_slice(&chunk);
        }
        Ok(all.map_or(first, BytesMut::freeze))
    }
}

/// A stream whose bytes are counted.
struct Counted<F: FnOnce(u64)> {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    sent: u64,
    say: Option<F>,
}

impl<F: FnOnce(u64)> Unpin for Counted<F> {}

impl<F: FnOnce(u64)> Stream for Counted<F> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.stream.poll_next_unpin(cx));
        if let Some(Ok(bytes)) = &next {
            self.sent += bytes.len() as u64;
        }
        Poll::Ready(next)
    }
}

impl<F: FnOnce(u64)> Drop for Counted<F> {
    fn drop(&mut self) {
        if let Some(say) = self.say.take() {
            say(self.sent);
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match &mut self.get_mut().0 {
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(std::mem::take(bytes)))),
            Inner::Stream(stream) => stream.poll_next_unpin(cx),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        self.poll_next(cx).map(|next| next.map(|chunk| chunk.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Inner::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Inner::Full(bytes) => http_body::SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection after its upgrade.
pub struct Upgraded {
    /// The connection.
    pub io: Box<dyn Io>,
    /// The headers of the `101` response; they name the chosen protocol.
    pub headers: HeaderMap,
}

impl std::fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgraded").field("headers", &self.headers).finish_non_exhaustive()
    }
}
