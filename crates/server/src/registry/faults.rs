//! The faults of what is about to be written: a built-in kind's rules, or a definition's.
//!
//! Not here: the rules (`api::validate`, `api::crd`, `custom`).

use api::{ApiError, Cause, Object, validate};

use super::write::{self, Context};
use crate::admission::{add_expression_faults, admin_access_faults};
use crate::custom::{DEFINITIONS, Part, rules};
use crate::server::Target;

/// Of a new object.
pub fn create(
    ctx: &mut Context<'_>,
    target: &Target,
    object: &mut Object,
) -> Result<Vec<Cause>, ApiError> {
    if let Some(custom) = &target.custom {
        let warnings = custom.warnings(object, None);
        let outcome = custom.create_faults(object);
        if outcome.faults.is_empty() {
            ctx.warnings.extend(warnings.into_iter().chain(outcome.warnings));
        }
        return Ok(outcome.faults);
    }
    let warnings = match is_definition(target) {
        true => api::crd::validate::warnings(&object.0, None),
        false => Vec::new(),
    };
    let (kind, mut read) = write::validated(target, object)?;
    let read = read.as_mut().unwrap_or(object);
    let mut faults = admin_access_faults(&ctx.server.store, kind, read, false);
    faults.extend(validate::create(kind, read));
    add_expression_faults(kind, read, None, &mut faults);
    if is_definition(target) {
        faults.extend(rules::admit::faults(read, None, &faults));
    }
    if faults.is_empty() {
        ctx.warnings.extend(warnings);
    }
    Ok(faults)
}

/// Whether the target is a definition.
fn is_definition(target: &Target) -> bool {
    &**target.cache.name() == DEFINITIONS
}

/// Of a changed object.
pub fn update(
    ctx: &mut Context<'_>,
    target: &Target,
    new: &mut Object,
    old: &mut Object,
    sub: Option<&str>,
) -> Result<Vec<Cause>, ApiError> {
    let status = sub == Some("status");
    if let Some(custom) = &target.custom {
        let warnings = custom.warnings(new, Some(old));
        let part = if status { Part::Status } else { Part::Whole };
        let outcome = custom.update_faults(new, old, part);
        if outcome.faults.is_empty() {
            ctx.warnings.extend(warnings.into_iter().chain(outcome.warnings));
        }
        return Ok(outcome.faults);
    }
    let warnings = match is_definition(target) && !status {
        true => api::crd::validate::warnings(&new.0, Some(&old.0)),
        false => Vec::new(),
    };
    let (kind, mut read) = write::validated(target, new)?;
    let (_, mut before) = write::validated(target, old)?;
    let (new, old) = (read.as_mut().unwrap_or(new), before.as_mut().unwrap_or(old));
    if status {
        let mut faults = admin_access_faults(&ctx.server.store, kind, new, true);
        faults.extend(validate::status_update(kind, new, old));
        return Ok(faults);
    }
    let mut faults = validate::update(kind, new, old);
    add_expression_faults(kind, new, Some(old), &mut faults);
    if is_definition(target) {
        faults.extend(rules::admit::faults(new, Some(old), &faults));
    }
    if faults.is_empty() {
        ctx.warnings.extend(warnings);
    }
    Ok(faults)
}
