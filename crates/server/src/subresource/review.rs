//! Reviews: questions about tokens, access and oneself.
//!
//! Not here: the answers (`authn::review`).

use std::sync::Arc;

use api::ApiError;
use http::StatusCode;

use super::read;
use crate::edge::respond::{self, Reply};
use crate::gate::Operation;
use crate::registry::decode::Expected;
use crate::registry::{reply_object, write};
use crate::server::{Request, Server, Target};

/// Serves a POST of a review.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let (answer, warnings) = {
        let created = read(server, &mut request, Expected::of(target.kind)).await?;
        let mut ctx = created.ctx;
        let mut review = created.object;
        crate::registry::create::match_namespace(&target, &mut review)?;
        ctx.mutate(&target, Operation::Create, &mut review, None).await?;
        ctx.validate(&target, Operation::Create, Some(&mut review), None).await?;
        let guards = &server.guards;
        let answer = crate::authn::review(
            target.kind.kind,
            review,
            ctx.user,
            (&*guards.authenticator, &*guards.authorizer),
            &server.clock,
        );
        (answer.ok_or_else(respond::no_method)??, ctx.warnings)
    };
    let reply = reply_object(server, &request, &target, StatusCode::CREATED, answer)?;
    Ok(write::finish(reply, &warnings))
}
