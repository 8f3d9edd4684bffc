//! The scheduler: puts pending pods on nodes.
//!
//! One task owns the queue and the picture of the cluster and decides; binding runs beside it. Reads
//! only what the API server says. Not here: anything that runs pods.

mod bind;
pub mod cache;
pub mod cycle;
pub mod filter;
pub mod groups;
mod metrics;
pub mod node;
pub mod pod;
pub mod preempt;
pub mod queue;
pub mod resources;
mod run;
pub mod schedule;
pub mod score;

pub use run::{Config, run};

#[cfg(test)]
mod testing;
