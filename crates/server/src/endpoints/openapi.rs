//! `/openapi/v2` and `/openapi/v3`.
//!
//! Not here: the documents (`api::openapi`).

use crate::edge::respond::Reply;
use crate::server::{Request, Server};

/// Serves an OpenAPI document; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let _ = (server, request, path);
    None
}
