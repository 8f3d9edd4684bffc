//! The kubelet: makes the containers of a node's pods run as their specs say, and reports how they
//! are.
#![allow(clippy::doc_markdown)]

mod cgroups;
pub mod cleanup;
pub mod config;
pub mod containerd;
pub mod cri;
mod events;
mod eviction;
mod garbage;
mod gate;
mod hooks;
mod images;
mod kubelet;
mod logs;
mod machine;
mod metrics;
mod objects;
mod pod;
mod probe;
mod reference;
mod registration;
mod report;
mod run;
mod server;
mod volumes;

pub use config::Config;
pub use eviction::Thresholds;
pub use run::{RunError, run};
