//! DELETE of a collection: many objects at once, each as if it were deleted alone.
//!
//! The store groups concurrent commits into one write to disk, so all objects go in parallel, bounded
//! only to keep memory small. Not here: what becomes of an object (`remove`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::{ApiError, Entry};
use futures_util::{StreamExt, stream};
use tokio::task::JoinSet;

use super::delete::Options;
use super::list::{self, Page};
use super::remove;
use super::select::Selection;
use super::write::Context;
use crate::edge::accept;
use crate::edge::respond::Reply;
use crate::gate::UserInfo;
use crate::query::ReadOptions;
use crate::server::{Request, Server, Target};

/// Objects under deletion at once.
const WIDTH: usize = 512;
/// So few objects are not worth a task of their own.
const FEW: usize = 16;

/// Serves a DELETE of a collection.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let body = request.take_body();
    let bytes = body.bytes().await?;
    let content_type = request.header(http::header::CONTENT_TYPE).to_owned();
    let options = Options::read(&request.params, &content_type, &bytes)?;
    let accept = accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    let read = ReadOptions::read(&request.params, false)?;
    if !read.continue_token.is_empty() {
        super::page::Token::decode(&read.continue_token)?;
    }
    let selection = Selection::of(&target, &read.label_selector, &read.field_selector)?;
    let snapshot = target.cache.list(selection.within());
    let target = selection.ready(server, &target, &snapshot).await?.into_owned();
    let revision = snapshot.revision;
    let page = Page::take(snapshot, &target, &selection, read.limit, revision);
    let job = Job {
        server: server.clone(),
        user: request.user.clone(),
        target: target.clone(),
        options,
        entries: page.entries.clone(),
        next: AtomicUsize::new(0),
    };
    job.run().await?;
    list::answer(server, &request, &target, accept, page).await
}

/// The objects of one request, and who works on them.
struct Job {
    server: Arc<Server>,
    user: UserInfo,
    target: Target,
    options: Options,
    entries: Vec<Arc<Entry>>,
    /// The first object that nobody has taken yet.
    next: AtomicUsize,
}

impl Job {
    /// Deletes all of them on all cores. All are tried; the first failure, in order, is the outcome.
    async fn run(self) -> Result<(), ApiError> {
        let job = Arc::new(self);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let tasks = cores.min(job.entries.len().div_ceil(FEW));
        // Dropped with the request, they end.
        let mut running = JoinSet::new();
        for _ in 0..tasks {
            running.spawn(job.clone().work(WIDTH / tasks));
        }
        let mut first: Option<(usize, ApiError)> = None;
        while let Some(ended) = running.join_next().await {
            let failed = ended.map_err(ApiError::internal)?;
            first = first.into_iter().chain(failed).min_by_key(|(at, _)| *at);
        }
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Takes objects until none is left, so many at once; the first failure.
    async fn work(self: Arc<Self>, width: usize) -> Option<(usize, ApiError)> {
        let job = self.clone();
        let mine = std::iter::from_fn(|| {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            (at < self.entries.len()).then_some(at)
        });
        stream::iter(mine)
            .map(|at| {
                let job = job.clone();
                async move { job.one(&job.entries[at]).await.err().map(|error| (at, error)) }
            })
            .buffer_unordered(width)
            .filter_map(std::future::ready)
            .fold(None::<(usize, ApiError)>, |first, failed| {
                std::future::ready(first.into_iter().chain([failed]).min_by_key(|(at, _)| *at))
            })
            .await
    }

    async fn one(&self, entry: &Entry) -> Result<(), ApiError> {
        let target = self.target.named(&entry.card.namespace, &entry.card.name);
        let mut ctx = Context {
            server: &self.server,
            user: &self.user,
            dry_run: self.options.dry_run,
            manager: String::new(),
            options: self.options.object.clone(),
            warnings: Vec::new(),
            collection: true,
            applied: false,
            spaced: false,
        };
        match remove::delete(&mut ctx, &target, &self.options).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}
