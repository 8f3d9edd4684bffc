//! Creating objects.
//!
//! Not here: what plugins, strategies and validation make of them.

use std::sync::Arc;

use api::{ApiError, Object, Reason, strategy};
use store::{CommitError, Expect};

use super::write::{self, Context, Outcome, Written};
use crate::custom::convert;
use crate::edge::respond::Reply;
use crate::gate::{Operation, Reservation};
use crate::server::{Request, Server, Target};

/// Random names tried before a `generateName` is given up.
const NAMES: usize = 8;
/// The longest base of a generated name; the suffix has five characters.
const BASE: usize = 58;

/// Serves a POST to a collection.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let body = request.take_body();
    let (mut ctx, mut object) =
        write::read(server, &request, &target, body, "CreateOptions").await?;
    let outcome = match checked(&target, &mut object) {
        Ok(()) => create(&mut ctx, &target, object).await,
        Err(error) => Err(error),
    };
    let written = ctx.told(outcome)?;
    let reply = written.reply(server, &request, &target)?;
    Ok(write::finish(reply, &ctx.warnings))
}

fn checked(target: &Target, object: &mut Object) -> Result<(), ApiError> {
    if let Some(custom) = &target.custom {
        custom.may_create(object.name())?;
    }
    match_namespace(target, object)
}

/// Checks the body's namespace against the URL's, and fills it in.
pub fn match_namespace(target: &Target, object: &mut Object) -> Result<(), ApiError> {
    if !target.kind.namespaced {
        if !object.namespace().is_empty() {
            object.meta_mut().remove("namespace");
        }
        return Ok(());
    }
    let named = object.namespace();
    if !named.is_empty() && named != target.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object.set_meta("namespace", target.namespace.as_str());
    Ok(())
}

/// Creates an object: ownership, admission, system fields, strategy, allocation, validation, commit.
pub async fn create(
    ctx: &mut Context<'_>,
    target: &Target,
    mut object: Object,
) -> Result<Written, ApiError> {
    if object.resource_version() == "0" {
        object.meta_mut().remove("resourceVersion");
    }
    let named = target.named(&target.namespace, object.name());
    if !ctx.applied {
        ctx.owners_once(&mut object, false);
        ctx.note_fields(target, None, &mut object);
    }
    ctx.mutate(&named, Operation::Create, &mut object, None).await?;
    ctx.owners_once(&mut object, true);
    let generated = object.name().is_empty() && !object.generate_name().is_empty();
    let prefixed = !object.generate_name().is_empty();
    let attempts = if generated { NAMES } else { 1 };
    for attempt in 1..=attempts {
        let mut fresh =
            if attempt == attempts { std::mem::take(&mut object) } else { object.clone() };
        if generated {
            let base: String = fresh.generate_name().chars().take(BASE).collect();
            fresh.set_meta("name", format!("{base}{}", ctx.server.rng.name_suffix(5)));
        }
        let name = fresh.name().to_owned();
        match once(ctx, target, &mut fresh).await {
            Err(error) if error.is_already_exists() && attempt < attempts => {}
            // A prefix beside a name changes what is said of it, too.
            Err(error) if error.is_already_exists() && prefixed => {
                return Err(exhausted(target, &name));
            }
            other => return other,
        }
    }
    Err(exhausted(target, object.generate_name()))
}

fn exhausted(target: &Target, name: &str) -> ApiError {
    let group = target.stored.group;
    let what = api::resource::qualified(group, target.kind.plural);
    ApiError::new(
        Reason::AlreadyExists,
        format!(
            "{what} {name:?} already exists, the server was not able to generate a unique name for the object"
        ),
    )
    .detail("name", name)
    .detail("group", group)
    .detail("kind", target.kind.plural)
    .detail("retryAfterSeconds", 1)
}

async fn once(
    ctx: &mut Context<'_>,
    target: &Target,
    object: &mut Object,
) -> Result<Written, ApiError> {
    let server = ctx.server;
    let kind = target.kind;
    let now = server.clock.time();
    object.set_meta("uid", server.rng.uuid());
    object.set_meta("creationTimestamp", now.as_str());
    strategy::prepare_create(kind, object);
    strategy::stamp_times(kind.group, kind.kind, object, None, &now);
    super::update::fill_in(ctx, target, object, None);
    let name = object.name().to_owned();
    let target = &target.named(&target.namespace, &name);
    // Validation sees what was allocated; what it refuses gives it back.
    let reservations = allocate(ctx, target, object, None).await?;
    let causes = super::faults::create(ctx, target, object)?;
    write::check(target, object, causes)?;
    ctx.validate(target, Operation::Create, Some(object), None).await?;
    let exists = || ApiError::already_exists(kind.group, kind.plural, &name);
    if ctx.dry_run {
        if target.cache.get(&target.namespace, &name).is_some() {
            return Err(exists());
        }
        let outcome = Outcome::Shown(std::mem::take(object));
        return Ok(Written { outcome, created: true });
    }
    // What is not written is not held against it.
    if !object.resource_version().is_empty() {
        return Err(ApiError::new(
            Reason::Unknown,
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let target = &*convert::for_writing(server, target, object).await?;
    // A webhook's work is not done again for the answer.
    let shown = target.is_converted().then(|| object.clone());
    let writing = write::put_as(server, target, object, Expect::Absent, ctx.spaced);
    drop(std::mem::take(object));
    match writing.await {
        Ok(entry) => {
            reservations.into_iter().for_each(Reservation::commit);
            Ok(Written { outcome: Outcome::of(entry, shown), created: true })
        }
        Err(CommitError::Conflict(_)) => Err(exists()),
        Err(error) => Err(write::unavailable(&error)),
    }
}

/// Fills in what no two objects may share.
pub async fn allocate(
    ctx: &Context<'_>,
    target: &Target,
    object: &mut Object,
    old: Option<&Object>,
) -> Result<Vec<Box<dyn Reservation>>, ApiError> {
    let mut reservations = Vec::new();
    for allocator in &ctx.server.guards.allocators {
        if allocator.handles(target.cache.name()) {
            reservations.push(allocator.allocate(object, old, ctx.dry_run).await?);
        }
    }
    Ok(reservations)
}
