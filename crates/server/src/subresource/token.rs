//! `serviceaccounts/token`: tokens on request.
//!
//! Not here: signing (`tokens`).

use std::sync::Arc;

use api::{ApiError, Object};
use http::StatusCode;

use super::read;
use crate::edge::respond::Reply;
use crate::gate::Operation;
use crate::registry::decode::Expected;
use crate::registry::reply_object;
use crate::registry::write::{self, Context};
use crate::server::{Request, Server, Target};

const EXPECTED: Expected =
    Expected { group: "authentication.k8s.io", version: "v1", kind: "TokenRequest" };

/// Serves a POST to `serviceaccounts/x/token`.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let (answer, warnings) = {
        let created = read(server, &mut request, EXPECTED).await?;
        let mut ctx = created.ctx;
        let mut wanted = created.object;
        crate::registry::create::match_namespace(&target, &mut wanted)?;
        let outcome = issue(&mut ctx, &target, wanted).await;
        (ctx.told(outcome)?, ctx.warnings)
    };
    let reply = reply_object(server, &request, &target, StatusCode::CREATED, answer)?;
    Ok(write::finish(reply, &warnings))
}

async fn issue(
    ctx: &mut Context<'_>,
    target: &Target,
    mut wanted: Object,
) -> Result<Object, ApiError> {
    let account = target.object(&*target.entry()?)?;
    ctx.mutate(target, Operation::Create, &mut wanted, None).await?;
    ctx.validate(target, Operation::Create, Some(&mut wanted), None).await?;
    let bound = bound(ctx.server, target, &wanted)?;
    ctx.server.guards.tokens.issue(&account, wanted, bound.as_ref(), ctx.user)
}

/// The object that the token is bound to, if it names one that exists.
fn bound(server: &Server, target: &Target, wanted: &Object) -> Result<Option<Object>, ApiError> {
    let (Some(kind), Some(name)) =
        (wanted.text("spec.boundObjectRef.kind"), wanted.text("spec.boundObjectRef.name"))
    else {
        return Ok(None);
    };
    if wanted.text("spec.boundObjectRef.apiVersion").is_some_and(|v| v.contains('/')) {
        return Ok(None);
    }
    let (plural, namespace) = match kind {
        "Pod" => ("pods", target.namespace.as_str()),
        "Secret" => ("secrets", target.namespace.as_str()),
        "Node" => ("nodes", ""),
        // The issuer words the refusal of other kinds.
        _ => return Ok(None),
    };
    let found = server.store.resource(plural).get(namespace, name);
    let entry = found.ok_or_else(|| ApiError::not_found("", plural, name))?;
    entry.object().map(Some).map_err(ApiError::internal)
}
