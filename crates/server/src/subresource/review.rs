//! Reviews: questions about tokens, access and oneself.
//!
//! Not here: the answers (`authn::review`).

use std::sync::Arc;

use api::{ApiError, Object};
use http::StatusCode;

use super::read;
use crate::edge::respond::{self, Reply};
use crate::gate::Operation;
use crate::registry::decode::Expected;
use crate::registry::reply_object;
use crate::registry::write::{self, Context};
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
        ctx.owners_once(&mut review, false);
        ctx.note_fields(&target, None, &mut review);
        let outcome = answer(&mut ctx, &target, review).await;
        (ctx.told(outcome)?, ctx.warnings)
    };
    let reply = reply_object(server, &request, &target, StatusCode::CREATED, answer)?;
    Ok(write::finish(reply, &warnings))
}

async fn answer(
    ctx: &mut Context<'_>,
    target: &Target,
    mut review: Object,
) -> Result<Object, ApiError> {
    ctx.mutate(target, Operation::Create, &mut review, None).await?;
    ctx.validate(target, Operation::Create, Some(&mut review), None).await?;
    let guards = &ctx.server.guards;
    crate::authn::review(
        target.kind.kind,
        review,
        ctx.user,
        (&*guards.authenticator, &*guards.authorizer),
        &ctx.server.clock,
    )
    .ok_or_else(respond::no_method)?
}
