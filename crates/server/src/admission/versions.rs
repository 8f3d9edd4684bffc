//! The objects of a write in the version that a policy or a webhook is about.
//!
//! Not here: which version that is (`matching`), the conversions of built-in kinds (`api::convert`).

use api::{ApiError, Object, Resource, kinds};

use super::custom::Definition;
use super::lookup::Lookup;
use super::webhook::Caller;
use crate::custom::convert;
use crate::gate::Write;

/// The objects of a write in another version; none where they are in it already.
#[derive(Default)]
pub struct Versioned {
    /// The object that would be written.
    pub object: Option<Object>,
    /// The object as it is.
    pub old: Option<Object>,
}

impl Versioned {
    /// In the version of a resource.
    pub async fn of(
        look: &Lookup,
        caller: &Caller,
        write: &Write<'_>,
        matched: &Resource,
    ) -> Result<Self, ApiError> {
        let mut versioned = Self::default();
        if !is_whole(write) {
            return Ok(versioned);
        }
        for (object, place) in
            [(write.object.as_ref(), &mut versioned.object), (write.old, &mut versioned.old)]
        {
            if let Some(object) = object {
                *place = converted(look, caller, object, write.resource, matched).await?;
            }
        }
        Ok(versioned)
    }
}

/// Whether a write shows the object itself: other subresources have versions of their own.
pub fn is_whole(write: &Write<'_>) -> bool {
    write.subresource.is_empty() || write.subresource == "status"
}

/// An object in the version of another resource of the same kind; none where it is in that version
/// already. A custom resource's webhook is asked where it has one.
pub async fn converted(
    look: &Lookup,
    caller: &Caller,
    object: &Object,
    from: &Resource,
    to: &Resource,
) -> Result<Option<Object>, ApiError> {
    if (&from.group, &from.version) == (&to.group, &to.version) {
        return Ok(None);
    }
    let find = |r: &Resource| kinds::find(&r.group, &r.version, &r.plural);
    if let (Some(from), Some(to)) = (find(from), find(to)) {
        return api::convert::convert(object.clone(), from, to)
            .map(Some)
            .map_err(ApiError::internal);
    }
    let webhook = Definition::of_resource(look, from).and_then(|d| d.converter());
    let Some(webhook) = webhook else {
        // Without one, versions differ in their name only.
        let mut object = object.clone();
        object.set_type(&to.api_version(), &to.kind);
        return Ok(Some(object));
    };
    let objects = vec![object.clone()];
    let mut converted =
        convert::ask(caller, &to.kind, &webhook, &to.api_version(), objects).await?;
    Ok(converted.pop())
}
