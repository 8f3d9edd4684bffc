//! The faults of what is about to be written: a built-in kind's rules, or a definition's.
//!
//! Not here: the rules (`api::validate`, `api::crd`, `custom`).

use api::{ApiError, Cause, Object, validate};

use super::write::{self, Context};
use crate::custom::{DEFINITIONS, Part};
use crate::server::Target;

/// Of a new object.
pub fn create(
    ctx: &mut Context<'_>,
    target: &Target,
    object: &mut Object,
) -> Result<Vec<Cause>, ApiError> {
    if let Some(custom) = &target.custom {
        ctx.warnings.extend(custom.warnings(object, None));
        return Ok(custom.create_faults(object));
    }
    if is_definition(target) {
        ctx.warnings.extend(api::crd::validate::warnings(object, None));
    }
    let (kind, mut read) = write::validated(target, object)?;
    Ok(validate::create(kind, read.as_mut().unwrap_or(object)))
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
    let status = matches!(sub, Some("status" | "approval"));
    if let Some(custom) = &target.custom {
        ctx.warnings.extend(custom.warnings(new, Some(old)));
        let part = if status { Part::Status } else { Part::Whole };
        return Ok(custom.update_faults(new, old, part));
    }
    if is_definition(target) && !status {
        ctx.warnings.extend(api::crd::validate::warnings(new, Some(old)));
    }
    let (kind, mut read) = write::validated(target, new)?;
    let (_, mut before) = write::validated(target, old)?;
    let (new, old) = (read.as_mut().unwrap_or(new), before.as_mut().unwrap_or(old));
    Ok(match status {
        true => validate::status_update(kind, new, old),
        false => validate::update(kind, new, old),
    })
}
