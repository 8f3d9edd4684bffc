//! Validation: the faults of an object, with upstream's field paths, reasons and wording.
//!
//! Run on defaulted objects, after the strategy. Not here: what needs other objects (admission).

use crate::kinds::Kind;
use crate::object::Object;
use crate::status::Cause;

/// The faults of an object that a client wants to create.
pub fn create(kind: &Kind, new: &Object) -> Vec<Cause> {
    let _ = (kind, new);
    Vec::new()
}

/// The faults of an object that a client wants to store in the place of `old`.
pub fn update(kind: &Kind, new: &Object, old: &Object) -> Vec<Cause> {
    let _ = (kind, new, old);
    Vec::new()
}

/// The faults of an object whose status a client wants to store.
pub fn status_update(kind: &Kind, new: &Object, old: &Object) -> Vec<Cause> {
    let _ = (kind, new, old);
    Vec::new()
}
