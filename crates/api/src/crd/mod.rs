//! Custom resources: what a CustomResourceDefinition says, and what follows for its objects.
//!
//! Pure functions of definitions and objects. Not here: who keeps the definitions and serves their
//! resources (the server), CEL rules, server-side apply (`crate::apply` takes the raw schema).

pub mod check;
pub mod columns;
pub mod conditions;
pub mod defaulting;
mod definition;
pub mod documents;
pub mod fieldpath;
mod formats;
mod jsonpath;
pub mod lists;
pub mod prune;
pub mod structural;
pub mod validate;

pub use definition::{Conversion, Definition, Scale, Version, by_priority};
pub use structural::Structural;

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";
