//! Changing objects: the one loop of PUT, PATCH and the subresources that change an object.
//!
//! Read, transform, check, commit on the revision read; again if another write came between and the
//! client did not insist on a revision. Not here: the transformations.

use std::sync::Arc;

use api::strategy::Strategy;
use api::{ApiError, Cause, Object, Reason, strategy};
use serde_json::json;
use store::{CommitError, Expect};

use super::write::{self, Context, End, Outcome, Written};
use super::{create, raw};
use crate::custom::convert;
use crate::edge::respond::Reply;
use crate::gate::{Operation, Reservation};
use crate::server::{Request, Server, Target};

/// Rounds against other writers before the client is told.
const ROUNDS: usize = 64;

/// Serves a PUT of an object or of its status.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let body = request.take_body();
    let (mut ctx, mut object) =
        write::read(server, &request, &target, body, "UpdateOptions").await?;
    let fits = match_url(&target, &mut object);
    ctx.told(fits)?;
    let change = Update {
        transform: &|_| Ok(object.clone()),
        create: target.sub.is_empty() && Strategy::of_kind(target.kind).create_on_update,
        style: Style::Put,
    };
    let outcome = update(&mut ctx, &target, &change).await;
    let written = ctx.told(outcome)?;
    let reply = written.reply(server, &request, &target)?;
    Ok(write::finish(reply, &ctx.warnings))
}

/// Checks the body's name and namespace against the URL's.
pub fn match_url(target: &Target, object: &mut Object) -> Result<(), ApiError> {
    create::match_namespace(target, object)?;
    match_name(target, object)
}

/// Checks an object's name against the URL's.
pub fn match_name(target: &Target, object: &Object) -> Result<(), ApiError> {
    let (name, url) = (object.name(), target.name.as_str());
    if name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({url} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != url {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({url})"
        )));
    }
    Ok(())
}

/// What kind of write it is, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The client sent the whole object.
    Put,
    /// A patch; its outcome has the stored resource version unless the patch says otherwise.
    Patch,
    /// An apply patch, which notes ownership itself.
    Apply,
    /// The scale of the object was written; who owns what has been noted with it.
    Scale,
    /// The server's own change (binding), admission as for an update.
    Own,
}

/// A change of an object.
pub struct Update<'a> {
    /// The wanted object, given the present one, in the request's version.
    pub transform: &'a (dyn Fn(Option<&Object>) -> Result<Object, ApiError> + Send + Sync),
    /// Whether a missing object is created.
    pub create: bool,
    /// What kind of write.
    pub style: Style,
}

/// Changes an object.
pub async fn update(
    ctx: &mut Context<'_>,
    target: &Target,
    change: &Update<'_>,
) -> Result<Written, ApiError> {
    let warnings = ctx.warnings.len();
    for _ in 0..ROUNDS {
        ctx.warnings.truncate(warnings);
        match round(ctx, target, change).await? {
            Round::Done(written) => return Ok(written),
            Round::Raced => tokio::task::yield_now().await,
        }
    }
    Err(stale(target))
}

/// The write lost against another one.
pub fn stale(target: &Target) -> ApiError {
    target.conflict(
        "the object has been modified; please apply your changes to the latest version and try again",
    )
}

enum Round {
    Done(Written),
    Raced,
}

async fn round(
    ctx: &mut Context<'_>,
    target: &Target,
    change: &Update<'_>,
) -> Result<Round, ApiError> {
    let server = ctx.server;
    let Some(entry) = target.cache.get(&target.namespace, &target.name) else {
        return absent(ctx, target, change).await.map(Round::Done);
    };
    let target = &*convert::for_reading(server, target, std::slice::from_ref(&entry)).await?;
    let mut old = target.object(&entry)?;
    let mut new = (change.transform)(Some(&old))?;
    if matches!(change.style, Style::Put | Style::Scale) {
        same_uid(ctx, target, &new, &old)?;
    }
    // The server's own changes are no client's: no owner, no admission, no limits of a strategy.
    let own = change.style == Style::Own;
    if !own {
        if change.style == Style::Put {
            ctx.owners_once(&mut new, false);
        }
        if !matches!(change.style, Style::Apply | Style::Scale) {
            ctx.note_fields(target, Some(&old), &mut new);
        }
        ctx.mutate(target, Operation::Update, &mut new, Some(&old)).await?;
        ctx.owners_once(&mut new, true);
    }
    let insists = revision_check(target, &mut new, entry.revision, change.style)?;

    let kind = target.kind;
    let sub = (!target.sub.is_empty() && target.sub != "scale").then_some(target.sub.as_str());
    let mut reservations = Vec::new();
    if !own {
        strategy::prepare_update(kind, &mut new, &old, sub);
        strategy::stamp_times(kind.group, kind.kind, &mut new, Some(&old), &server.clock.time());
        fill_in(ctx, target, &mut new, Some(&old));
        reservations = create::allocate(ctx, target, &mut new, Some(&old)).await?;
        let mut causes = match sub {
            // What these change is not open to other updates; they have rules of their own.
            Some(part @ ("ephemeralcontainers" | "resize" | "finalize" | "approval")) => {
                api::validate::part_update(kind, &mut new, &mut old, part)
            }
            other => super::faults::update(ctx, target, &mut new, &mut old, other)?,
        };
        if raw::applies(kind) {
            causes.extend(raw::fault(ctx.spaced, &entry, &new, &old));
        }
        write::check(target, &new, causes)?;
        ctx.validate(target, Operation::Update, Some(&mut new), Some(&old)).await?;
    }

    let done = |outcome| Round::Done(Written { outcome, created: false });
    let gone = ends(&new, &old);
    // What is stored in an old form is written anew: this is how objects move to another version.
    let outdated = || target.custom.as_ref().is_some_and(|custom| !custom.is_current(&entry));
    if !gone && new == old && !outdated() {
        return Ok(done(Outcome::Committed(entry)));
    }
    if ctx.dry_run {
        return Ok(done(Outcome::Shown(new)));
    }
    let expect = Expect::Revision(entry.revision);
    let target = &*convert::for_writing(server, target, if gone { &old } else { &new }).await?;
    // A webhook's work is not done again for the answer.
    let shown = target.is_converted().then(|| new.clone());
    let (committed, gone) = if gone {
        // Watchers are shown the last stored state, the client what it sent.
        (write::remove(server, target, &old, expect, End::AtOnce).await, Some(new))
    } else {
        let writing = write::put(server, target, &new, expect);
        drop((old, new));
        (writing.await, None)
    };
    match committed {
        Ok(entry) => {
            reservations.into_iter().for_each(Reservation::commit);
            Ok(done(gone.map_or_else(|| Outcome::of(entry, shown), Outcome::Shown)))
        }
        Err(CommitError::Conflict(None)) if insists => Err(target.not_found()),
        Err(CommitError::Conflict(_)) if insists => Err(stale(target)),
        Err(CommitError::Conflict(_)) => Ok(Round::Raced),
        Err(error) => Err(write::unavailable(&error)),
    }
}

/// A write to an object that is not there: creates it where that is allowed.
async fn absent(
    ctx: &mut Context<'_>,
    target: &Target,
    change: &Update<'_>,
) -> Result<Written, ApiError> {
    if !change.create {
        return Err(target.not_found());
    }
    let mut object = (change.transform)(None)?;
    let uid = object.uid().to_owned();
    if !uid.is_empty() && change.style == Style::Apply {
        return Err(target.conflict(&format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        )));
    }
    if !uid.is_empty() {
        return Err(uid_conflict(ctx, target, &uid, ""));
    }
    object.meta_mut().remove("resourceVersion");
    ctx.applied = change.style == Style::Apply;
    create::create(ctx, target, object).await
}

fn uid_conflict(ctx: &Context<'_>, target: &Target, wanted: &str, found: &str) -> ApiError {
    // A dry run asks for the object without the root of all keys.
    let root = if ctx.dry_run { "" } else { "/registry" };
    let place = if target.namespace.is_empty() {
        target.name.clone()
    } else {
        format!("{}/{}", target.namespace, target.name)
    };
    target.conflict(&format!(
        "StorageError: invalid object, Code: 4, Key: {root}/{}/{place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        storage_prefix(target.kind.plural)
    ))
}

/// What upstream's store calls a resource, where that is not its name.
fn storage_prefix(plural: &str) -> &str {
    const OTHERS: [(&str, &str); 6] = [
        ("replicationcontrollers", "controllers"),
        ("endpoints", "services/endpoints"),
        ("services", "services/specs"),
        ("nodes", "minions"),
        ("ingresses", "ingress"),
        ("podsecuritypolicies", "podsecuritypolicy"),
    ];
    OTHERS.iter().find(|(name, _)| *name == plural).map_or(plural, |(_, prefix)| prefix)
}

fn same_uid(
    ctx: &Context<'_>,
    target: &Target,
    new: &Object,
    old: &Object,
) -> Result<(), ApiError> {
    if new.uid().is_empty() || new.uid() == old.uid() {
        return Ok(());
    }
    Err(uid_conflict(ctx, target, new.uid(), old.uid()))
}

/// Checks the resource version that the new object carries against the stored one. Returns whether
/// the client insists on that revision.
fn revision_check(
    target: &Target,
    new: &mut Object,
    stored: u64,
    style: Style,
) -> Result<bool, ApiError> {
    let text = new.resource_version().to_owned();
    let wanted: u64 = if text.is_empty() {
        0
    } else {
        text.parse().map_err(|_| {
            let message = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            ApiError::new(Reason::Unknown, message)
        })?
    };
    new.set_meta("resourceVersion", stored.to_string());
    if wanted == 0 {
        let strategy = Strategy::of_kind(target.kind);
        if strategy.unconditional_update || !matches!(style, Style::Put | Style::Patch) {
            return Ok(false);
        }
        let cause = Cause::invalid(
            "metadata.resourceVersion",
            &json!(0),
            "must be specified for an update",
        );
        let (group, plural) = (target.kind.group, target.kind.plural);
        return Err(ApiError::invalid(group, plural, &target.name, vec![cause]));
    }
    if wanted != stored {
        return Err(stale(target));
    }
    Ok(matches!(style, Style::Put | Style::Scale))
}

/// Fields that only the server can fill in, on creates and updates.
pub fn fill_in(ctx: &Context<'_>, target: &Target, new: &mut Object, old: Option<&Object>) {
    match (target.kind.group, target.kind.kind) {
        ("certificates.k8s.io", "CertificateSigningRequest") => {}
        ("", "LimitRange") if new.name().is_empty() => {
            return new.set_meta("name", ctx.server.rng.uuid());
        }
        _ => return,
    }
    // Who asks for a certificate is what the server knows, not what the client says.
    let spec = new.map_mut("spec");
    match old {
        None => {
            for key in ["username", "uid", "groups", "extra"] {
                spec.remove(key);
            }
            if let api::Value::Object(user) = ctx.user.to_value() {
                spec.extend(user);
            }
        }
        Some(old) => {
            if let Some(before) = old.0.get("spec") {
                new.0.insert("spec".into(), before.clone());
            }
        }
    }
}

/// Whether the change leaves nothing that keeps a deleted object.
fn ends(new: &Object, old: &Object) -> bool {
    let spec_finalizers = new.kind() == "Namespace"
        && new.at("spec.finalizers").and_then(api::Value::as_array).is_some_and(|f| !f.is_empty());
    if new.finalizers().next().is_some() || spec_finalizers || !old.is_deleting() {
        return false;
    }
    matches!(old.int("metadata.deletionGracePeriodSeconds"), None | Some(0))
}
