//! Watch responses, decoded frame by frame.
//!
//! Not here: what to do when a watch ends (`informer::reflector`).

use std::pin::Pin;
use std::task::{Context, Poll};

use api::{ApiError, Object};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::transport::Body;

/// One frame of a watch; `object` is its JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Created, or began to match the selector.
    Added(Bytes),
    /// Changed.
    Modified(Bytes),
    /// Deleted, or ceased to match; the final state.
    Deleted(Bytes),
    /// Only a revision; `initial_events_end` marks the end of a streaming list.
    Bookmark {
        /// The revision the watch has reached.
        resource_version: String,
        /// Whether all objects that existed have been sent.
        initial_events_end: bool,
    },
}

impl WatchEvent {
    /// The object of a change.
    pub fn object<T: DeserializeOwned>(&self) -> Option<Result<T, Error>> {
        match self {
            Self::Added(json) | Self::Modified(json) | Self::Deleted(json) => {
                Some(api::lean::from_slice(json).map_err(|e| Error::decode("watched object", e)))
            }
            Self::Bookmark { .. } => None,
        }
    }
}

/// The frames of a watch response. An `ERROR` frame comes out as an error and ends it.
pub struct WatchStream {
    body: Body,
    buffer: BytesMut,
    /// How far `buffer` has been searched for a line's end.
    searched: usize,
    ended: bool,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl WatchStream {
    /// Decodes a watch response's body.
    pub fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// The next frame.
    pub async fn next_event(&mut self) -> Option<Result<WatchEvent, Error>> {
        self.next().await
    }

    fn take_line(&mut self) -> Option<Bytes> {
        let end = self.buffer[self.searched..].iter().position(|b| *b == b'\n');
        match end {
            Some(at) => {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }
}

fn decode(line: &Bytes) -> Result<WatchEvent, Error> {
    let frame: Frame<'_> =
        serde_json::from_slice(line).map_err(|e| Error::decode("watch frame", e))?;
    let object = line.slice_ref(frame.object.get().as_bytes());
    match frame.kind {
        "ADDED" => Ok(WatchEvent::Added(object)),
        "MODIFIED" => Ok(WatchEvent::Modified(object)),
        "DELETED" => Ok(WatchEvent::Deleted(object)),
        "BOOKMARK" => {
            let object: Object =
                serde_json::from_slice(&object).map_err(|e| Error::decode("bookmark", e))?;
            Ok(WatchEvent::Bookmark {
                resource_version: object.resource_version().to_owned(),
                initial_events_end: object.annotation("k8s.io/initial-events-end") == Some("true"),
            })
        }
        "ERROR" => Err(ApiError::from_response(500, &object).into()),
        other => Err(Error::Protocol(format!("unknown watch event type {other:?}"))),
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            if let Some(line) = this.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let event = decode(&line);
                this.ended = event.is_err();
                return Poll::Ready(Some(event));
            }
            match std::task::ready!(this.body.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => this.buffer.extend_from_slice(&chunk),
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.ended = true;
                    if this.buffer.iter().all(u8::is_ascii_whitespace) {
                        return Poll::Ready(None);
                    }
                    // A last frame without its newline is whole if it parses.
                    let line = this.buffer.split().freeze();
                    return Poll::Ready(decode(&line).ok().map(Ok));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_split_anywhere() {
        let text = concat!(
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
            "\n",
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}}}"#,
            "\n",
            r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"old"}}"#,
            "\n",
        );
        for size in [1, 7, 50, 1000] {
            let chunks: Vec<_> =
                text.as_bytes().chunks(size).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
            let mut watch = WatchStream::new(Body::stream(futures_util::stream::iter(chunks)));
            let first = watch.next().await.expect("a frame").expect("decodes");
            assert_eq!(first, WatchEvent::Added(r#"{"metadata":{"name":"a"}}"#.into()));
            assert!(matches!(
                watch.next().await,
                Some(Ok(WatchEvent::Bookmark { initial_events_end: true, .. }))
            ));
            assert!(watch.next().await.expect("a frame").expect_err("an error").is_expired());
            assert!(watch.next().await.is_none());
        }
    }
}
