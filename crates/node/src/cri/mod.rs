//! The Container Runtime Interface, `runtime.v1`, as a client: messages and calls.
//!
//! The messages are the facts of the interface (names and field numbers), so that nothing is
//! generated at build time. Not here: when to call what (`pod`, `images`), or how our own containerd
//! is started (`containerd`).

pub mod client;
pub mod container;
pub mod image;
pub mod runtime;
pub mod sandbox;
pub mod stats;

pub use client::{Cri, CriError};
pub use container::*;
pub use image::*;
pub use runtime::*;
pub use sandbox::*;
pub use stats::*;
