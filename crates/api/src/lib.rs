//! The facts of the Kubernetes API: kinds, schemas, the dynamic object, codecs, selectors, patches.
//!
//! Pure functions of bytes and objects. Not here: storage, transport, authentication, or anything
//! that waits.

pub mod address;
pub mod apply;
pub mod clock;
pub mod codec;
pub mod convert;
pub mod crd;
pub mod default;
pub mod discovery;
pub mod docs;
pub mod entry;
pub mod golang;
pub mod intstr;
pub mod kinds;
pub mod lean;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod percent;
pub mod quantity;
pub mod regexp;
pub mod resource;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod validate;

pub use entry::{Card, Entry, Fields, Key};
pub use object::Object;
pub use resource::Resource;
pub use status::{ApiError, Cause, CauseReason, Reason};

pub use serde_json::{Map, Value};
