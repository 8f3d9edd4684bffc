//! Watches: the cache's own frames, selected, as they come; with bookmarks and a deadline.
//!
//! A watch in the usual form copies shared bytes; other forms are made once per event and shared
//! too. Not here: the ring of events (`store`), in-process watches (`local`).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use api::codec::conform;
use api::{ApiError, Entry, Object, Reason, Value};
use bytes::{Bytes, BytesMut};
use client::Body;
use client::stream::handshake::is_websocket;
use http::StatusCode;
use prometheus::IntCounter;
use serde_json::json;
use store::{Event, EventKind, Snapshot, Watcher};
use tokio::time::Instant;

use super::form::{self, Include};
use super::get;
use super::select::Selection;
use super::socket;
use crate::custom::{Custom, convert};
use crate::edge::respond::{self, Reply};
use crate::edge::{Accept, Media, Shape, accept};
use crate::metrics;
use crate::query::ReadOptions;
use crate::server::{Request, Server, Target};

/// Upstream's `--min-request-timeout`: a watch without a timeout of its own lasts one to two of it.
const MIN_TIMEOUT: u64 = 1800;
/// Upstream sends bookmarks about once a minute.
const BOOKMARK: Duration = Duration::from_secs(60);
/// And one so long before the deadline.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Frames are joined up to this size.
const CHUNK: usize = 64 * 1024;

/// Serves a watch.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let options = ReadOptions::read(&request.params, true)?;
    let accept = accept::negotiate_stream(&request.accept(), target.has_protobuf())?;
    let fields = if target.name.is_empty() || !request.info.field_selector.is_empty() {
        options.field_selector.clone()
    } else {
        format!("metadata.name={}", target.name)
    };
    let selection = Selection::of(target, &options.label_selector, &fields)?;
    let include = form::include(request.params.get("includeObject"))?;
    let content_type = match accept.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => Media::Json.content_type(),
    };
    let kind = target.kind;
    let view = View {
        server: server.clone(),
        target: target.clone(),
        selection,
        accept,
        include,
        headers_sent: false,
        sent: metrics::watched(kind.group, kind.version, kind.plural),
    };
    let stream = match start(server, target, &options, view).await? {
        Started::Running(watch) => Body::stream(watch.into_stream()),
        Started::Failed(frame) => Body::from(frame),
    };
    if is_websocket(&request.parts.headers) {
        return socket::serve(server, &mut request, accept.media, stream);
    }
    Ok(respond::stream(StatusCode::OK, content_type, stream))
}

enum Started {
    Running(Box<Watch>),
    /// Upstream reports a revision that is too old within the stream.
    Failed(Bytes),
}

async fn start(
    server: &Arc<Server>,
    target: &Target,
    options: &ReadOptions,
    view: View,
) -> Result<Started, ApiError> {
    let revision = options.revision()?.unwrap_or(0);
    let seconds = options.timeout.and_then(|t| u64::try_from(t).ok()).filter(|t| *t > 0);
    let lasts = match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None => server.rng.jittered(Duration::from_secs(MIN_TIMEOUT), 1.0),
    };
    let initial = options.initial_events == Some(true);
    if initial && revision > 0 {
        get::wait_for(server, revision).await?;
    }
    let from_now = initial || revision == 0 && options.initial_events.is_none();
    let (snapshot, watcher) = if from_now {
        let (snapshot, watcher) =
            target.cache.list_and_watch_part(view.selection.within(), view.selection.part());
        (Some(snapshot), watcher)
    } else if revision == 0 {
        let selection = &view.selection;
        (None, target.cache.list_and_watch_part(selection.within(), selection.part()).1)
    } else {
        match target.cache.watch_part(revision, view.selection.part()) {
            Ok(watcher) => (None, watcher),
            Err(expired) => {
                let message = format!("too old resource version: {revision} ({})", expired.oldest);
                let status = ApiError::new(Reason::Expired, message).to_status();
                let frame = form::watch_frame("ERROR", &status, view.accept.media)?;
                return Ok(Started::Failed(frame));
            }
        }
    };
    let now = Instant::now();
    Ok(Started::Running(Box::new(Watch {
        view,
        watcher,
        end_mark: initial && options.bookmarks,
        snapshot,
        bookmarks: options.bookmarks,
        deadline: now + lasts,
        next_bookmark: now + server.rng.jittered(BOOKMARK, 0.25),
        last_bookmark_sent: false,
        ended: false,
    })))
}

/// Ends when a custom resource's definition says something else.
pub(super) async fn retired(custom: Option<&Custom>) {
    match custom {
        Some(custom) => custom.retired().cancelled().await,
        None => std::future::pending().await,
    }
}

/// How one watcher sees events.
struct View {
    server: Arc<Server>,
    target: Target,
    selection: Selection,
    accept: Accept,
    include: Include,
    headers_sent: bool,
    /// Counts events.
    sent: Option<IntCounter>,
}

struct Watch {
    view: View,
    watcher: Watcher,
    snapshot: Option<Snapshot>,
    /// Whether the snapshot's end is marked (a streaming list).
    end_mark: bool,
    bookmarks: bool,
    deadline: Instant,
    next_bookmark: Instant,
    last_bookmark_sent: bool,
    ended: bool,
}

impl Watch {
    fn into_stream(
        self: Box<Self>,
    ) -> impl futures_util::Stream<Item = Result<Bytes, client::Error>> + Send {
        futures_util::stream::unfold(self, |mut watch| async move {
            let bytes = watch.next().await?;
            Some((Ok(bytes), watch))
        })
    }

    /// The next bytes of the response; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if let Some(bytes) = self.initial().await {
            return Some(bytes);
        }
        loop {
            let timer = if self.bookmarks && !self.last_bookmark_sent {
                self.next_bookmark.min(self.deadline)
            } else {
                self.deadline
            };
            tokio::select! {
                biased;
                () = self.view.server.shutdown.cancelled() => return None,
                batch = self.watcher.next_batch() => match batch {
                    Ok(events) => {
                        if convert::is_needed(&self.view.target) {
                            let both = events.iter().flat_map(|e| e.previous.iter().chain([&e.entry]));
                            let entries: Vec<Arc<Entry>> = both.cloned().collect();
                            self.view.prepare(&entries).await;
                        }
                        if let Some(bytes) = self.view.frames(&events) {
                            return Some(bytes);
                        }
                    }
                    Err(lagged) => {
                        self.ended = true;
                        tracing::debug!(seen = lagged.seen, "watcher too slow");
                        return self.error_frame();
                    }
                },
                // After what came before it.
                () = retired(self.view.target.custom.as_ref()) => return None,
                () = tokio::time::sleep_until(timer) => {
                    if timer >= self.deadline {
                        return None;
                    }
                    self.schedule_bookmark();
                    let revision = self.watcher.progress();
                    if let Ok(frame) = self.view.bookmark(revision, false) {
                        return Some(frame);
                    }
                }
            }
        }
    }

    /// The objects that were there when the watch began, in chunks, then the mark of their end.
    async fn initial(&mut self) -> Option<Bytes> {
        loop {
            let snapshot = self.snapshot.as_mut()?;
            let revision = snapshot.revision;
            let Some(chunk) = snapshot.take_chunk().map(<[_]>::to_vec) else {
                self.snapshot = None;
                if std::mem::take(&mut self.end_mark) {
                    return self.view.bookmark(revision, true).ok();
                }
                return None;
            };
            self.view.prepare(&chunk).await;
            let (mut out, mut frames) = (BytesMut::new(), 0);
            for entry in &chunk {
                if !self.view.selection.shows(&self.view.target, entry) {
                    continue;
                }
                match self.view.entry_frame(EventKind::Added, entry) {
                    Ok(frame) => {
                        frames += 1;
                        out.extend_from_slice(&frame);
                    }
                    Err(error) => tracing::error!(%error, "an object could not be encoded"),
                }
            }
            if !out.is_empty() {
                self.view.count(frames);
                return Some(out.freeze());
            }
        }
    }

    fn schedule_bookmark(&mut self) {
        let next = Instant::now() + self.view.server.rng.jittered(BOOKMARK, 0.25);
        let last = self.deadline.checked_sub(LAST_BOOKMARK).unwrap_or(self.deadline);
        if Instant::now() >= last {
            self.last_bookmark_sent = true;
        }
        self.next_bookmark = next.min(last.max(Instant::now() + Duration::from_millis(1)));
    }

    fn error_frame(&self) -> Option<Bytes> {
        let status =
            ApiError::new(Reason::Expired, "too old resource version: the watch fell behind");
        form::watch_frame("ERROR", &status.to_status(), self.view.accept.media).ok()
    }
}

impl View {
    fn usual(&self) -> bool {
        self.accept == Accept::default() && self.target.as_stored()
    }

    /// Has a custom resource's webhook convert what is about to be shown.
    async fn prepare(&mut self, entries: &[Arc<Entry>]) {
        match convert::for_reading(&self.server, &self.target, entries).await {
            Ok(Cow::Borrowed(_)) => {}
            Ok(Cow::Owned(target)) => self.target = target,
            Err(error) => tracing::error!(%error, "objects could not be converted"),
        }
    }

    /// Whether the event's own frames are what this watcher takes.
    fn is_verbatim(&self, event: &Event) -> bool {
        self.usual() && (self.target.custom.is_none() || self.target.is_verbatim(&event.entry))
    }

    /// A batch of events as this watcher sees it; `None` where it sees nothing of it.
    fn frames(&mut self, events: &[Arc<Event>]) -> Option<Bytes> {
        let mut first: Option<Bytes> = None;
        let mut joined: Option<BytesMut> = None;
        let mut frames = 0;
        for event in events {
            let frame = match self.event_frame(event) {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!(%error, "an event could not be encoded");
                    continue;
                }
            };
            frames += 1;
            match (&mut joined, &first) {
                (Some(out), _) => out.extend_from_slice(&frame),
                (None, None) => first = Some(frame),
                (None, Some(before)) => {
                    let mut out = BytesMut::with_capacity(CHUNK.max(before.len() + frame.len()));
                    out.extend_from_slice(before);
                    out.extend_from_slice(&frame);
                    joined = Some(out);
                }
            }
        }
        self.count(frames);
        joined.map(BytesMut::freeze).or(first)
    }

    fn count(&self, frames: u64) {
        if let Some(sent) = &self.sent {
            sent.inc_by(frames);
        }
    }

    fn event_frame(&mut self, event: &Event) -> Result<Option<Bytes>, ApiError> {
        let card = &event.entry.card;
        if !self.selection.namespace.is_empty() && *card.namespace != *self.selection.namespace {
            return Ok(None);
        }
        let shows = |entry: &Arc<Entry>| self.selection.shows(&self.target, entry);
        let (before, now) = (event.previous.as_ref().is_some_and(shows), shows(&event.entry));
        let kind = match (event.kind, before, now) {
            (EventKind::Deleted, true, _) => EventKind::Deleted,
            (EventKind::Deleted, false, _) => return Ok(None),
            (_, _, true) if event.previous.is_none() || !before => EventKind::Added,
            (_, true, true) => EventKind::Modified,
            (_, true, false) => EventKind::Deleted,
            _ => return Ok(None),
        };
        let left = kind == EventKind::Deleted && event.kind != EventKind::Deleted;
        if self.is_verbatim(event) {
            return Ok(Some(match (left, kind == event.kind) {
                (true, _) => event.left_frame().clone(),
                (false, true) => event.frame().clone(),
                (false, false) => event.entered_frame().clone(),
            }));
        }
        let make = |view: &mut Self| {
            if left {
                let object: Object =
                    serde_json::from_slice(&event.left_json()).map_err(ApiError::internal)?;
                let object = view
                    .target
                    .in_request_version(object, event.previous.as_ref().unwrap_or(&event.entry))?;
                view.object_frame(kind, object)
            } else {
                view.entry_frame(kind, &event.entry)
            }
        };
        if matches!(self.accept.shape, Shape::Table(_)) {
            // The first row of a watch has headers, so rows are no one else's.
            return make(self).map(Some);
        }
        let form = self.form_number(kind);
        event.form(form, |_| make(self)).map(Some)
    }

    /// A number for the form this watcher takes events in.
    fn form_number(&self, kind: EventKind) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (self.accept, kind, self.target.kind.group, self.target.kind.version).hash(&mut hasher);
        hasher.finish()
    }

    fn entry_frame(&mut self, kind: EventKind, entry: &Entry) -> Result<Bytes, ApiError> {
        if self.usual() && self.target.is_verbatim(entry) {
            return Ok(store::cache::event::encode_frame(kind, &entry.json));
        }
        let object = self.target.object(entry)?;
        self.object_frame(kind, object)
    }

    fn object_frame(&mut self, kind: EventKind, object: Object) -> Result<Bytes, ApiError> {
        let value = self.shaped(object)?;
        form::watch_frame(kind.as_str(), &value, self.accept.media)
    }

    fn shaped(&mut self, object: Object) -> Result<Value, ApiError> {
        match self.accept.shape {
            Shape::Table(version) => {
                let headers = !std::mem::replace(&mut self.headers_sent, true);
                let meta = json!({ "resourceVersion": object.resource_version() });
                form::table(
                    &self.server,
                    &self.target,
                    version,
                    self.include,
                    headers,
                    meta,
                    &[object],
                )
            }
            Shape::MetadataList(version) => Ok(form::metadata_only(&object, version)),
            shape => form::one(&self.server, &self.target, shape, self.include, object),
        }
    }

    /// A frame that only says how far the watch is.
    fn bookmark(&mut self, revision: u64, end: bool) -> Result<Bytes, ApiError> {
        let mut object = Object(self.target.kind.schema().map(conform::zero).unwrap_or_default());
        object.set_type(&self.target.kind.api_version(), self.target.kind.kind);
        object.meta_mut().clear();
        object.set_meta("resourceVersion", revision.to_string());
        if end {
            object.set_annotation("k8s.io/initial-events-end", "true");
        }
        let value = match self.accept.shape {
            Shape::Object => object.into(),
            _ => self.shaped(object)?,
        };
        form::watch_frame("BOOKMARK", &value, self.accept.media)
    }
}
