//! Defaults: what upstream fills in where a client leaves something out.
//!
//! Run on a decoded object of the request's version. Not here: what admission or allocation fills in.

use crate::kinds::Kind;
use crate::object::Object;

/// Fills in the defaults of a kind.
pub fn apply(kind: &Kind, object: &mut Object) {
    let _ = (kind, object);
}
