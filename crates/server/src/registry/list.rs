//! Lists: a header, the entries' bytes joined, a trailer; streamed in chunks.
//!
//! Nothing is parsed or serialised where the client takes JSON in the stored version. Custom resources
//! of another version or an older form are read one by one as they are sent. Not here: the other forms (`form`), selectors (`select`).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use api::{ApiError, Entry};
use bytes::{Bytes, BytesMut};
use client::Body;
use http::StatusCode;
use store::Snapshot;

use super::page::{self, Token};
use super::select::Selection;
use super::{form, get};
use crate::codec;
use crate::custom::convert;
use crate::edge::respond::{self, Reply};
use crate::edge::{Accept, Media, accept, gzip};
use crate::query::ReadOptions;
use crate::server::{Request, Server, Target};

/// The size of a response's body as far as it is known, for whoever decides on compression.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub usize);

/// Chunks of a streamed list.
const CHUNK: usize = 128 * 1024;
/// Objects that are joined in one go.
const RUN: usize = 16;
/// Up to so many objects a list is sent at once.
const SMALL: usize = 64;

/// Serves a list.
pub async fn serve(
    server: &Arc<Server>,
    request: &Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let accept = accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    let mut options = ReadOptions::read(&request.params, false)?;
    if options.continue_token.is_empty() && matches!(options.revision(), Ok(Some(0))) {
        // Whatever the cache has, and all of it.
        options.limit = 0;
    }
    let selection = Selection::of(target, &options.label_selector, &options.field_selector)?;
    let snapshot = snapshot(server, target, &options, &selection).await?;
    let target = &*selection.ready(server, target, &snapshot).await?;
    let revision = page_revision(&options, &snapshot)?;
    let all = options.limit <= 0;
    let usual = accept == Accept::default() && one_by_one(target, snapshot.iter());
    if all && usual && !selection.is_filtered() && snapshot.len() > SMALL {
        let header = Meta { revision, ..Meta::default() }.header(target);
        return Ok(streamed(target, header, Source::All(snapshot)));
    }
    if all && !selection.name.is_empty() && !selection.namespace.is_empty() {
        let found = target.cache.get(&selection.namespace, &selection.name);
        let entries = found.into_iter().filter(|e| selection.shows(target, e)).collect();
        let page = Page { meta: Meta { revision, ..Meta::default() }, entries };
        return answer(server, request, target, accept, page).await;
    }
    let page = Page::take(snapshot, target, &selection, options.limit, revision);
    answer(server, request, target, accept, page).await
}

/// A page in the form that the client takes.
pub async fn answer(
    server: &Server,
    request: &Request,
    target: &Target,
    accept: Accept,
    page: Page,
) -> Result<Reply, ApiError> {
    if accept == Accept::default() && one_by_one(target, page.entries.iter()) {
        let header = page.meta.header(target);
        if page.entries.len() > SMALL {
            return Ok(streamed(target, header, Source::Page(page.entries.into_iter())));
        }
        let mut out = BytesMut::from(header.as_bytes());
        let prefix = prefix_of(target);
        for (at, entry) in page.entries.iter().enumerate() {
            push_item(&mut out, &prefix, &shown(Some(target), entry), at == 0);
        }
        out.extend_from_slice(b"]}\n");
        return Ok(sized(out.freeze()));
    }
    let target = &*convert::for_reading(server, target, &page.entries).await?;
    let value = form::list(server, request, target, accept.shape, &page.meta, &page.entries)?;
    let bytes = codec::encode_value(&value, accept.media).map_err(ApiError::internal)?;
    let size = Size(bytes.len());
    let mut reply = respond::bytes(StatusCode::OK, accept.media.content_type(), bytes);
    reply.extensions_mut().insert(size);
    Ok(reply)
}

/// Whether each object's JSON can be had by itself: the stored bytes, or for custom resources what
/// their definition makes of these. Those that a webhook converts are sent to it together.
fn one_by_one<'e>(target: &Target, mut entries: impl Iterator<Item = &'e Arc<Entry>>) -> bool {
    match target.custom {
        None => target.as_stored(),
        Some(_) => !convert::is_needed(target) || entries.all(|entry| target.is_verbatim(entry)),
    }
}

/// An object's JSON. The target is given where the stored bytes may not be it.
fn shown<'e>(target: Option<&Target>, entry: &'e Entry) -> Cow<'e, [u8]> {
    let Some(target) = target.filter(|t| t.custom.is_some() && !t.is_verbatim(entry)) else {
        return Cow::Borrowed(&entry.json);
    };
    match target.object(entry) {
        Ok(object) => Cow::Owned(api::codec::json::encode(&object)),
        Err(error) => {
            tracing::error!(%error, name = %entry.card.name, "a stored object cannot be read");
            Cow::Borrowed(&entry.json)
        }
    }
}

fn sized(bytes: Bytes) -> Reply {
    let size = Size(bytes.len());
    let mut reply = respond::bytes(StatusCode::OK, Media::Json.content_type(), bytes);
    reply.extensions_mut().insert(size);
    reply
}

/// A list's metadata.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// The revision of the whole list.
    pub revision: u64,
    /// Token of the next page.
    pub next: Option<String>,
    /// How many objects are left, where nothing was filtered.
    pub remaining: Option<usize>,
}

impl Meta {
    /// As JSON.
    pub fn json(&self) -> String {
        let mut text = format!("{{\"resourceVersion\":\"{}\"", self.revision);
        if let Some(next) = &self.next {
            let _ = write!(text, ",\"continue\":\"{next}\"");
        }
        if let Some(remaining) = self.remaining {
            let _ = write!(text, ",\"remainingItemCount\":{remaining}");
        }
        text.push('}');
        text
    }

    fn header(&self, target: &Target) -> String {
        let mut meta = self.json();
        if target.custom.is_some() && self.next.is_none() {
            // Lists of custom resources always have it.
            meta.insert_str(1, "\"continue\":\"\",");
        }
        format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{meta},\"items\":[",
            target.kind.list_kind(),
            target.kind.group_version(),
        )
    }
}

/// One page of a list.
pub struct Page {
    /// Its metadata.
    pub meta: Meta,
    /// Its objects.
    pub entries: Vec<Arc<Entry>>,
}

impl Page {
    /// The first `limit` (0: all) objects of a snapshot.
    pub fn take(
        snapshot: Snapshot,
        target: &Target,
        selection: &Selection,
        limit: i64,
        revision: u64,
    ) -> Self {
        let limit = usize::try_from(limit).ok().filter(|l| *l > 0).unwrap_or(usize::MAX);
        let total = snapshot.len();
        let mut meta = Meta { revision, ..Meta::default() };
        let mut entries = Vec::new();
        for (seen, entry) in snapshot.iter().enumerate() {
            if !selection.shows(target, entry) {
                continue;
            }
            entries.push(entry.clone());
            if entries.len() == limit && seen + 1 < total {
                let rv = i64::try_from(revision).unwrap_or(i64::MAX);
                let card = &entry.card;
                meta.next = Some(Token::after(rv, &card.namespace, &card.name).encode());
                meta.remaining = (!selection.is_filtered()).then_some(total - seen - 1);
                break;
            }
        }
        Self { meta, entries }
    }
}

/// The objects that a list's options are about.
async fn snapshot(
    server: &Server,
    target: &Target,
    options: &ReadOptions,
    selection: &Selection,
) -> Result<Snapshot, ApiError> {
    let within = selection.within();
    if !options.continue_token.is_empty() {
        let token = Token::decode(&options.continue_token)?;
        if !options.resource_version.is_empty() && options.resource_version != "0" {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let at = u64::try_from(token.rv).unwrap_or_else(|_| server.store.revision());
        return target
            .cache
            .list_at(at, within, Some(token.position()))
            .map_err(|_| page::expired(&token));
    }
    let junk =
        |e: ApiError| ApiError::bad_request(format!("invalid resource version: {}", e.message));
    let Some(revision) = options.revision().map_err(junk)?.filter(|r| *r > 0) else {
        return Ok(target.cache.list(within));
    };
    get::wait_for(server, revision).await?;
    let exact =
        options.version_match == "Exact" || options.version_match.is_empty() && options.limit > 0;
    if exact {
        return target.cache.list_at(revision, within, None).map_err(|_| page::compacted());
    }
    Ok(target.cache.list(within))
}

/// What the list says its revision is: that of the first page, on every page.
fn page_revision(options: &ReadOptions, snapshot: &Snapshot) -> Result<u64, ApiError> {
    if options.continue_token.is_empty() {
        return Ok(snapshot.revision);
    }
    let token = Token::decode(&options.continue_token)?;
    Ok(u64::try_from(token.rv).unwrap_or(snapshot.revision))
}

/// What an entry's bytes start with that items of a list leave out.
pub(crate) fn prefix_of(target: &Target) -> String {
    if target.custom.is_some() {
        // Custom resources keep their type in lists.
        return "\n".to_owned();
    }
    api::codec::json::stored_prefix(&target.stored.api_version(), target.stored.kind)
}

fn push_item(out: &mut BytesMut, prefix: &str, json: &[u8], first: bool) {
    if !first {
        out.extend_from_slice(b",");
    }
    match json.strip_prefix(prefix.as_bytes()) {
        Some(rest) => {
            out.extend_from_slice(b"{");
            out.extend_from_slice(rest);
        }
        // Not written by this server's encoder: shown with its type, which clients accept.
        None => out.extend_from_slice(json),
    }
}

/// How the objects of a streamed list are shown.
struct Form {
    prefix: String,
    /// Of custom resources.
    target: Option<Target>,
}

/// Where the objects of a streamed list come from.
enum Source {
    All(Snapshot),
    Page(std::vec::IntoIter<Arc<Entry>>),
}

impl Source {
    /// Whether the objects take more than so many bytes.
    fn exceeds(&self, limit: usize) -> bool {
        let mut left = limit;
        let mut over = |entry: &Arc<Entry>| {
            left = left.saturating_sub(entry.json.len());
            left == 0
        };
        match self {
            Self::All(snapshot) => snapshot.iter().any(&mut over),
            Self::Page(entries) => entries.as_slice().iter().any(&mut over),
        }
    }

    /// Adds the next run of objects; whether there was one.
    fn push_run(&mut self, out: &mut BytesMut, form: &Form, first: &mut bool) -> bool {
        let mut push = |run: &[Arc<Entry>]| {
            // What an item takes, with its comma. Looking at the start of each before any is copied
            // lets the processor fetch them side by side: a list mostly waits for memory.
            let size = |e: &Arc<Entry>| e.json.len() + usize::from(e.json.starts_with(b"{"));
            out.reserve(run.iter().map(size).sum());
            for entry in run {
                let json = shown(form.target.as_ref(), entry);
                push_item(out, &form.prefix, &json, std::mem::take(first));
            }
            !run.is_empty()
        };
        match self {
            Self::All(snapshot) => snapshot.take_run(RUN).is_some_and(push),
            Self::Page(entries) => {
                let run = &entries.as_slice()[..entries.len().min(RUN)];
                let some = push(run);
                entries.by_ref().take(RUN).for_each(drop);
                some
            }
        }
    }
}

/// A list whose bytes are joined as the client takes them.
fn streamed(target: &Target, header: String, source: Source) -> Reply {
    struct State {
        source: Source,
        buffer: BytesMut,
        form: Form,
        first: bool,
        done: bool,
    }
    // Who compresses only wants to know whether it is long.
    let size = if source.exceeds(gzip::THRESHOLD) { usize::MAX } else { 0 };
    let state = State {
        source,
        buffer: BytesMut::from(header.as_bytes()),
        form: Form {
            prefix: prefix_of(target),
            target: target.custom.is_some().then(|| target.clone()),
        },
        first: true,
        done: false,
    };
    let stream = futures_util::stream::unfold(state, |mut state| async move {
        if state.done {
            return None;
        }
        state.buffer.reserve(CHUNK);
        while state.buffer.len() < CHUNK {
            if !state.source.push_run(&mut state.buffer, &state.form, &mut state.first) {
                state.buffer.extend_from_slice(b"]}\n");
                state.done = true;
                break;
            }
        }
        let out = state.buffer.split().freeze();
        Some((Ok(out), state))
    });
    let mut reply =
        respond::stream(StatusCode::OK, Media::Json.content_type(), Body::stream(stream));
    reply.extensions_mut().insert(Size(size));
    reply
}
