//! What a deletion does to one object: marks it, hands it to finalizers, or removes it.
//!
//! Upstream's rules of graceful deletion, finalizers and propagation. Not here: reading options
//! (`delete`), collections (`collection`).

use std::time::Duration;

use api::clock::{format_time, parse_time};
use api::crd::{CLEANUP, conditions};
use api::{ApiError, Entry, Object, Value};
use serde_json::json;
use store::{CommitError, Expect};

use super::delete::Options;
use super::write::{self, Context, End};
use crate::custom::{DEFINITIONS, convert};
use crate::gate::Operation;
use crate::server::Target;

/// The finalizer of a foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an orphaning deletion.
pub const ORPHAN: &str = "orphan";

/// The outcome of a deletion.
pub struct Removed {
    /// The object's last state, in the request's version.
    pub object: Object,
    /// Whether it is gone.
    pub gone: bool,
}

/// What is to be done with an object.
enum Plan {
    /// It is being deleted already; nothing changes.
    Pending,
    /// Mark it and leave the rest to the kubelet or to finalizers.
    Mark(Object),
    /// Mark it with no grace, then remove it.
    MarkAndRemove(Object),
    /// Remove it at once. (With finalizers changed on the way, in its last state.)
    Remove(Object),
}

/// Deletes the target's object.
pub async fn delete(
    ctx: &mut Context<'_>,
    target: &Target,
    options: &Options,
) -> Result<Removed, ApiError> {
    loop {
        let entry = target.entry()?;
        let target =
            &*convert::for_reading(ctx.server, target, std::slice::from_ref(&entry)).await?;
        let old = target.object(&entry)?;
        preconditions(target, options, &old)?;
        let mut nothing = Object::default();
        ctx.mutate(target, Operation::Delete, &mut nothing, Some(&old)).await?;
        ctx.validate(target, Operation::Delete, None, Some(&old)).await?;
        let plan = if target.kind.plural == "namespaces" && target.kind.group.is_empty() {
            namespace_plan(ctx, &old, options)
        } else if &**target.cache.name() == DEFINITIONS && !old.is_deleting() {
            definition_plan(ctx, &old)
        } else {
            plan(ctx, target, &old, options)
        };
        match execute(ctx, target, &entry, old, plan).await {
            Ok(removed) => return Ok(removed),
            Err(None) => tokio::task::yield_now().await,
            Err(Some(error)) => return Err(error),
        }
    }
}

/// Carries out a plan. `Err(None)`: another write came between.
async fn execute(
    ctx: &Context<'_>,
    target: &Target,
    entry: &Entry,
    old: Object,
    plan: Plan,
) -> Result<Removed, Option<ApiError>> {
    let server = ctx.server;
    let expect = Expect::Revision(entry.revision);
    let fault = |error: CommitError| match error {
        CommitError::Conflict(None) => Some(target.not_found()),
        CommitError::Conflict(Some(_)) => None,
        other => Some(write::unavailable(&other)),
    };
    let versioned = |mut object: Object, entry: &Entry| {
        object.set_meta("resourceVersion", entry.revision.to_string());
        object
    };
    match plan {
        Plan::Pending => Ok(Removed { object: old, gone: false }),
        Plan::Mark(object) | Plan::MarkAndRemove(object) | Plan::Remove(object) if ctx.dry_run => {
            let gone = object.finalizers().next().is_none();
            Ok(Removed { object, gone })
        }
        Plan::Mark(object) => {
            if object == old {
                return Ok(Removed { object: old, gone: false });
            }
            let target = &*convert::for_writing(server, target, &object).await?;
            let entry = write::put(server, target, &object, expect).await.map_err(fault)?;
            Ok(Removed { object: versioned(object, &entry), gone: false })
        }
        Plan::MarkAndRemove(object) => {
            drop(old);
            let end = End::Marked;
            let target = &*convert::for_writing(server, target, &object).await?;
            let last = write::remove(server, target, &object, expect, end).await.map_err(fault)?;
            Ok(Removed { object: versioned(object, &last), gone: true })
        }
        Plan::Remove(object) => {
            let end = End::AtOnce;
            let target = &*convert::for_writing(server, target, &object).await?;
            let last = write::remove(server, target, &object, expect, end).await.map_err(fault)?;
            Ok(Removed { object: versioned(object, &last), gone: true })
        }
    }
}

/// Whether the object is the one that the client means.
pub fn preconditions(target: &Target, options: &Options, object: &Object) -> Result<(), ApiError> {
    let namespaces =
        target.kind.plural == "namespaces" || target.kind.plural == "customresourcedefinitions";
    let conflict = |what: &str, wanted: &str, found: &str, hint: &str| {
        if namespaces {
            return target.conflict(&format!(
                "Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            ));
        }
        ApiError::conflict(
            target.kind.group,
            target.kind.kind,
            &target.name,
            &format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). {hint}"
            ),
        )
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != object.uid()) {
        let hint = "The object might have been deleted and then recreated";
        return Err(conflict("UID", uid, object.uid(), hint));
    }
    let stored = object.resource_version();
    if let Some(rv) = options.resource_version.as_deref().filter(|rv| *rv != stored) {
        let hint = "The object might have been modified";
        return Err(conflict("ResourceVersion", rv, stored, hint));
    }
    Ok(())
}

/// The finalizers that the deletion's propagation asks for; `None` where they stay as they are.
fn propagation(target: &Target, object: &Object, options: &Options) -> Option<Vec<String>> {
    let kind = target.kind;
    if kind.plural == "events" {
        return None;
    }
    let has = |name: &str| object.finalizers().any(|f| f == name);
    let orphans_by_default = matches!(
        (kind.group, kind.version, kind.kind),
        ("", "v1", "ReplicationController") | ("batch", "v1", "Job")
    );
    let orphan = match (options.orphan, options.propagation.as_deref()) {
        (Some(orphan), _) => orphan,
        (None, Some(policy)) => policy == "Orphan",
        (None, None) if has(ORPHAN) => true,
        (None, None) if has(FOREGROUND) => false,
        (None, None) => orphans_by_default,
    };
    let foreground = match (options.orphan, options.propagation.as_deref()) {
        (Some(_), _) => false,
        (None, Some(policy)) => policy == "Foreground",
        (None, None) => !has(ORPHAN) && has(FOREGROUND),
    };
    let before: Vec<String> = object.finalizers().map(str::to_owned).collect();
    let mut after: Vec<String> =
        before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    after.extend(orphan.then(|| ORPHAN.to_owned()));
    after.extend(foreground.then(|| FOREGROUND.to_owned()));
    let same = before.len() == after.len() && after.iter().all(|f| before.contains(f));
    (!same).then_some(after)
}

fn set_finalizers(object: &mut Object, finalizers: Vec<String>) {
    let value = if finalizers.is_empty() { Value::Null } else { json!(finalizers) };
    object.set_meta("finalizers", value);
}

/// What the grace period comes to.
enum Grace {
    /// The kind is removed at once.
    None,
    /// The deletion that is under way goes on as it is.
    Pending,
    /// The object is marked with so many seconds.
    Seconds(i64),
}

fn plan(ctx: &Context<'_>, target: &Target, old: &Object, options: &Options) -> Plan {
    let mut object = old.clone();
    let grace = grace(ctx, target, &mut object, options);
    if matches!(grace, Grace::Pending) {
        return Plan::Pending;
    }
    if let Some(finalizers) = propagation(target, &object, options) {
        set_finalizers(&mut object, finalizers);
    }
    let pending = object.finalizers().next().is_some();
    match grace {
        Grace::Pending => Plan::Pending,
        Grace::None if pending => {
            mark_now(ctx, &mut object);
            Plan::Mark(object)
        }
        Grace::None => Plan::Remove(object),
        Grace::Seconds(seconds) if pending || seconds > 0 => Plan::Mark(object),
        Grace::Seconds(_) => Plan::MarkAndRemove(object),
    }
}

/// Marks an object whose kind knows no grace.
fn mark_now(ctx: &Context<'_>, object: &mut Object) {
    let now = ctx.server.clock.now();
    if !object.is_deleting() && object.generation() > 0 {
        object.set_meta("generation", object.generation() + 1);
    }
    let later = object.deletion_timestamp().and_then(parse_time).is_none_or(|t| t > now);
    if later {
        object.set_meta("deletionTimestamp", format_time(now));
    }
    object.set_meta("deletionGracePeriodSeconds", 0);
}

/// Marks a pod for its graceful end; other kinds have none.
fn grace(ctx: &Context<'_>, target: &Target, object: &mut Object, options: &Options) -> Grace {
    if !(target.kind.group.is_empty() && target.kind.plural == "pods") {
        return Grace::None;
    }
    let asked = options.grace.map(|g| if g < 0 { 1 } else { g });
    if object.is_deleting() {
        return shorten(object, asked);
    }
    let mut seconds =
        asked.or_else(|| object.int("spec.terminationGracePeriodSeconds")).unwrap_or(0);
    let assigned = object.text("spec.nodeName").is_some_and(|n| !n.is_empty());
    let ended = matches!(object.text("status.phase"), Some("Failed" | "Succeeded"));
    if !assigned || ended {
        seconds = 0;
    }
    if seconds < 0 {
        seconds = 1;
    }
    let after = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    object.set_meta("deletionTimestamp", format_time(ctx.server.clock.now() + after));
    object.set_meta("deletionGracePeriodSeconds", seconds);
    if object.generation() > 0 {
        object.set_meta("generation", object.generation() + 1);
    }
    Grace::Seconds(seconds)
}

/// A further deletion may only shorten the grace of the first.
fn shorten(object: &mut Object, asked: Option<i64>) -> Grace {
    let Some(running) = object.int("metadata.deletionGracePeriodSeconds") else {
        return Grace::None;
    };
    let running = if running < 0 { 1 } else { running };
    let Some(asked) = asked.filter(|asked| *asked < running) else { return Grace::Pending };
    if let Some(ends) = object.deletion_timestamp().and_then(parse_time) {
        let cut = Duration::from_secs(u64::try_from(running - asked).unwrap_or(0));
        object.set_meta("deletionTimestamp", format_time(ends - cut));
    }
    object.set_meta("deletionGracePeriodSeconds", asked);
    Grace::Seconds(asked)
}

/// Definitions go when their objects are gone: their controller sees to that.
fn definition_plan(ctx: &Context<'_>, old: &Object) -> Plan {
    let mut object = old.clone();
    let now = ctx.server.clock.time();
    object.set_meta("deletionTimestamp", now.as_str());
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|f| f == CLEANUP) {
        finalizers.push(CLEANUP.to_owned());
    }
    set_finalizers(&mut object, finalizers);
    let why =
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    conditions::terminating(&mut object, true, "InstanceDeletionPending", why, &now);
    Plan::Mark(object)
}

/// Namespaces end in two steps: the first deletion starts their controller, which empties them and
/// then their `spec.finalizers`.
fn namespace_plan(ctx: &Context<'_>, old: &Object, options: &Options) -> Plan {
    let mut object = old.clone();
    if !object.is_deleting() {
        object.set_meta("deletionTimestamp", ctx.server.clock.time());
        object.map_mut("status").insert("phase".into(), "Terminating".into());
        let policy = options.propagation.as_deref();
        let orphan = options.orphan == Some(true) || policy == Some("Orphan");
        let foreground = policy == Some("Foreground");
        if orphan || foreground || options.orphan.is_some() || policy.is_some() {
            let mut finalizers: Vec<String> = object
                .finalizers()
                .filter(|f| *f != ORPHAN && *f != FOREGROUND)
                .map(str::to_owned)
                .collect();
            finalizers.extend(orphan.then(|| ORPHAN.to_owned()));
            finalizers.extend(foreground.then(|| FOREGROUND.to_owned()));
            set_finalizers(&mut object, finalizers);
        }
        return Plan::Mark(object);
    }
    let waits =
        object.at("spec.finalizers").and_then(Value::as_array).is_some_and(|f| !f.is_empty());
    if waits || object.finalizers().next().is_some() {
        return Plan::Pending;
    }
    Plan::Remove(object)
}
