//! Pods on this node: what their specs ask for, what the runtime has, what is to be done about the
//! difference, and doing it.
//!
//! `view` reads the pod, `observed` the runtime; `plan` decides, purely; `worker` acts, by `start`
//! and `stop`; `status` reports. Not here: volumes, images, probes, each in a module of its own.

pub mod backoff;
pub mod config;
pub mod observed;
pub mod plan;
pub mod start;
pub mod status;
pub mod stop;
pub mod view;
pub mod worker;
