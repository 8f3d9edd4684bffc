//! The scheduler: puts pending pods on nodes.
//!
//! One task owns the queue and the picture of the cluster and decides; binding runs beside it. Reads
//! only what the API server says. Not here: anything that runs pods.

pub mod cache;
pub mod cycle;
pub mod filter;
pub mod node;
pub mod pod;
pub mod queue;
pub mod resources;
pub mod schedule;
pub mod score;

#[cfg(test)]
mod testing;
