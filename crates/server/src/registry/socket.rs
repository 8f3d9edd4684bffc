//! Watches in the messages of a WebSocket: one event a message, text where the events are JSON.
//!
//! The events are the ones that go out over HTTP, cut where they were joined. A client that takes
//! nothing is cut off as everywhere (`edge::stall`); the watch behind it falls out of the ring of
//! events and holds nobody up. Not here: the events (`watch`), messages (`client::stream`).

use std::sync::Arc;

use api::ApiError;
use bytes::{Buf, Bytes};
use client::Body;
use client::stream::{Handshake, Wrapping, send_only};
use futures_util::{StreamExt, stream};

use crate::edge::Media;
use crate::edge::respond::{self, Reply};
use crate::proxy::stream::{EmptyBody, upgraded};
use crate::server::{Request, Server};

/// Answers with a WebSocket that carries a watch.
pub fn serve(
    server: &Arc<Server>,
    request: &mut Request,
    media: Media,
    watch: Body,
) -> Result<Reply, ApiError> {
    let handshake = match Handshake::any(&request.parts.headers) {
        Ok(handshake) => handshake,
        Err(status) => return Ok(respond::text(status, "")),
    };
    let io = upgraded(request)?;
    let stop = server.shutdown.clone();
    tokio::spawn(async move {
        let (wrapping, cut): (_, fn(&mut Bytes) -> Option<Bytes>) = match media {
            Media::Protobuf => (Wrapping::Binary, sized),
            _ => (Wrapping::Text, line),
        };
        let messages = watch.flat_map(|joined| {
            let (mut rest, failed) = match joined {
                Ok(joined) => (joined, None),
                Err(error) => (Bytes::new(), Some(Err(error))),
            };
            let events = std::iter::from_fn(move || cut(&mut rest).map(Ok));
            stream::iter(failed.into_iter().chain(events))
        });
        let sent = async { send_only(io.await?, wrapping, messages).await };
        let outcome = tokio::select! { sent = sent => sent, () = stop.cancelled() => Ok(()) };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a watch in a WebSocket ended");
        }
    });
    Ok(handshake.response::<EmptyBody>().map(|_| Body::empty()))
}

/// The first event of JSON events: a line, with its end.
fn line(rest: &mut Bytes) -> Option<Bytes> {
    let end = rest.iter().position(|b| *b == b'\n').map_or(rest.len(), |at| at + 1);
    (end > 0).then(|| rest.split_to(end))
}

/// The first event of protobuf events, without its length in front.
fn sized(rest: &mut Bytes) -> Option<Bytes> {
    let size = rest.try_get_u32().ok()?;
    Some(rest.split_to(rest.len().min(usize::try_from(size).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_apart() {
        let all = |cut: fn(&mut Bytes) -> Option<Bytes>, text: &'static [u8]| {
            let mut rest = Bytes::from_static(text);
            std::iter::from_fn(|| cut(&mut rest)).collect::<Vec<_>>()
        };
        assert_eq!(all(line, b"{}\n{\"a\":1}\n"), [&b"{}\n"[..], b"{\"a\":1}\n"]);
        assert_eq!(all(sized, b"\0\0\0\x01a\0\0\0\x02bc"), [&b"a"[..], b"bc"]);
        assert!(all(line, b"").is_empty() && all(sized, b"").is_empty());
    }
}
