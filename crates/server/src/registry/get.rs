//! One object, out of the watch cache.
//!
//! Not here: the forms it can take (`form`).

use std::sync::Arc;
use std::time::Duration;

use api::ApiError;
use http::StatusCode;

use super::{form, page};
use crate::custom::convert;
use crate::edge::accept;
use crate::edge::respond::Reply;
use crate::query;
use crate::server::{Request, Server, Target};

/// How long a read waits for a revision that is yet to come.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves a GET of an object (or of a subresource that shows the whole object).
pub async fn serve(
    server: &Arc<Server>,
    request: &Request,
    target: &Target,
) -> Result<Reply, ApiError> {
    let accept = accept::negotiate(&request.accept(), target.shapes(), target.has_protobuf())?;
    if request.params.flag("export") {
        return Err(ApiError::bad_request(
            "the export parameter, deprecated since v1.14, is no longer supported",
        ));
    }
    if let Some(revision) = query::parse_revision(request.params.get("resourceVersion"))? {
        wait_for(server, revision).await?;
    }
    let entry = target.entry()?;
    let target = &*convert::for_reading(server, target, std::slice::from_ref(&entry)).await?;
    form::reply_entry(server, request, target, accept, StatusCode::OK, &entry)
}

/// Waits until the cache has reached a revision, or tells the client that it has not.
pub async fn wait_for(server: &Server, revision: u64) -> Result<(), ApiError> {
    if server.store.revision() >= revision {
        return Ok(());
    }
    let wait = server.store.wait_for(revision);
    tokio::time::timeout(PATIENCE, wait)
        .await
        .map_err(|_| page::too_large(revision, server.store.revision()))
}
