//! From a pod's spec to what the runtime is told: configurations of sandboxes and containers.
//!
//! Not here: volumes on the node's disk ([`crate::volumes`]), or the calls themselves.

pub mod container;
pub mod env;
pub mod expand;
pub mod fields;
pub mod files;
pub mod resources;
pub mod sandbox;
pub mod security;
