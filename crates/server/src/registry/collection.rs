//! DELETE of a collection: many objects at once, each as if it were deleted alone.
//!
//! The store groups concurrent commits into one write to disk, so all objects go in parallel, bounded
//! only to keep memory small. Not here: what becomes of an object (`remove`).

use std::sync::Arc;

use api::ApiError;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;

use super::delete::Options;
use super::list::Page;
use super::select::Selection;
use super::write::Context;
use super::{form, remove};
use crate::edge::accept;
use crate::edge::respond::{self, Reply};
use crate::query::ReadOptions;
use crate::server::{Request, RequestBody, Server, Target};

/// Objects under deletion at once.
const WIDTH: usize = 256;

/// Serves a DELETE of a collection.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let body = std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new()));
    let bytes = body.bytes().await?;
    let content_type = request.header(http::header::CONTENT_TYPE).to_owned();
    let options = Options::read(&request.params, &content_type, &bytes)?;
    let accept = accept::negotiate(&request.accept(), true, true)?;
    let read = ReadOptions::read(&request.params, false)?;
    let selection = Selection::parse(
        target.kind,
        &target.namespace,
        &read.label_selector,
        &read.field_selector,
    )?;
    let snapshot = target.cache.list(selection.within());
    let revision = snapshot.revision;
    let page = Page::take(snapshot, &selection, read.limit, revision);
    let request = &request;
    let options = &options;
    let outcomes: Vec<Result<(), ApiError>> = stream::iter(page.entries.clone())
        .map(|entry| {
            let one = target.named(&entry.card.namespace, &entry.card.name);
            async move {
                let mut ctx = Context {
                    server,
                    user: &request.user,
                    dry_run: options.dry_run,
                    manager: String::new(),
                    options: options.object.clone(),
                    warnings: Vec::new(),
                    applied: false,
                };
                match remove::delete(&mut ctx, &one, options).await {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(()),
                }
            }
        })
        .buffered(WIDTH)
        .collect()
        .await;
    outcomes.into_iter().collect::<Result<Vec<()>, _>>()?;
    let value = form::list(server, request, &target, accept.shape, &page.meta, &page.entries)?;
    Ok(respond::value(StatusCode::OK, accept.media, &value))
}
