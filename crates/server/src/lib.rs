//! The Kubernetes API server: the one door to the cluster's objects.
//!
//! A request passes, from top to bottom: edge (bytes), authentication, flow control, authorization,
//! decoding, admission, registry. Not here: how objects are kept (`store`) or what they mean
//! (`api`).

pub mod admission;
pub mod aggregate;
pub mod alloc;
pub mod authn;
pub mod authz;
pub mod bootstrap;
mod codec;
pub mod config;
pub mod custom;
pub mod deadline;
pub mod edge;
pub mod endpoints;
pub mod flow;
pub mod gate;
pub mod guards;
pub mod metrics;
pub mod pki;
pub mod proxy;
pub mod query;
pub mod registry;
pub mod request;
pub mod server;
pub mod stack;
mod start;
pub mod subresource;
pub mod tokens;
pub mod transport;

pub use config::{Config, StartError};
pub use gate::UserInfo;
pub use request::RequestInfo;
pub use start::{Running, start, store_options};
