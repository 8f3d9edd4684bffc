//! Between the versions of a resource.
//!
//! Most versions have one shape: only `apiVersion` changes. What differs is said here, by tables of
//! renamed fields (events) or a module each (`hpa`, `device`). Not here: which version is stored
//! (`kinds`), custom resources.

use serde_json::{Map, Value};

use crate::codec::{CodecError, conform};
use crate::kinds::Kind;
use crate::object::Object;

mod device;
mod hpa;

pub(crate) use hpa::{
    ANNOTATIONS as HPA_ANNOTATIONS, STATUS_ANNOTATIONS as HPA_STATUS_ANNOTATIONS,
};

/// Why an object has no form in a version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The kinds are not versions of one resource.
    #[error("{from} cannot be converted to {to}")]
    Unrelated {
        /// As in `apps/v1, Kind=Deployment`.
        from: String,
        /// The same.
        to: String,
    },
    /// The object is not of its version's form.
    #[error(transparent)]
    Form(#[from] CodecError),
}

/// `core/v1` and `events.k8s.io/v1` names of the fields of events that differ.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The object in another version. Both kinds are of the same resource; events have two groups.
pub fn convert(object: Object, from: &Kind, to: &Kind) -> Result<Object, ConvertError> {
    if (from.group, from.version) == (to.group, to.version) {
        return Ok(object);
    }
    if from.storage != to.storage || from.plural != to.plural {
        let name = |kind: &Kind| format!("{}, Kind={}", kind.api_version(), kind.kind);
        return Err(ConvertError::Unrelated { from: name(from), to: name(to) });
    }
    let mut object = object;
    let reshaped = match (to.group, to.kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => {
            if to.version == "v1" {
                hpa::to_v1(&mut object);
            } else {
                hpa::to_v2(&mut object);
            }
            true
        }
        (_, "Event") => {
            event(&mut object, to.group.is_empty());
            true
        }
        ("resource.k8s.io", _) => device::convert(&mut object, from.version, to.version),
        _ => false,
    };
    object.set_type(&to.api_version(), to.kind);
    match to.schema() {
        // Another shape leaves other fields out, or writes them empty.
        Some(ty) if reshaped => Ok(conform::decode(object, ty)?.object),
        _ => Ok(object),
    }
}

/// What an older version says in annotations, and leaves out, as it comes back from the newer one.
pub(crate) fn settle(kind: &Kind, object: &mut Object) {
    if (kind.group, kind.version, kind.kind) == ("autoscaling", "v1", "HorizontalPodAutoscaler") {
        hpa::to_v2(object);
        hpa::to_v1(object);
    }
}

/// Whether two versions of a resource differ in more than their names.
pub fn reshapes(from: &Kind, to: &Kind) -> bool {
    match from.kind {
        "HorizontalPodAutoscaler" => from.version != to.version,
        "Event" => from.group != to.group,
        kind => device::reshapes(kind, from.version, to.version),
    }
}

fn event(object: &mut Object, to_core: bool) {
    for (core, new) in EVENT_FIELDS {
        let (from, to) = if to_core { (new, core) } else { (core, new) };
        rename(&mut object.0, from, to);
    }
}

fn rename(map: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::find;
    use serde_json::json;

    #[test]
    fn one_shape_changes_its_api_version() {
        let plural = "volumeattributesclasses";
        let (v1, beta) = (
            find("storage.k8s.io", "v1", plural).unwrap(),
            find("storage.k8s.io", "v1beta1", plural).unwrap(),
        );
        let object = Object::from_value(json!({"apiVersion": "storage.k8s.io/v1beta1",
            "kind": "VolumeAttributesClass", "metadata": {"name": "a"}, "driverName": "d"}))
        .unwrap();
        let converted = convert(object.clone(), beta, v1).unwrap();
        assert_eq!(converted.api_version(), "storage.k8s.io/v1");
        assert_eq!(convert(converted, v1, beta).unwrap(), object);
        assert!(convert(object, beta, find("", "v1", "pods").unwrap()).is_err());
    }
}
