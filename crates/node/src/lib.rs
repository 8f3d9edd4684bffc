//! The kubelet: makes the containers of a node's pods run as their specs say, and reports how they
//! are.
#![allow(clippy::doc_markdown)]

pub mod containerd;
pub mod cri;
mod pod;
