//! The Kubernetes API server: the one door to the cluster's objects.
//!
//! A request passes, from top to bottom: edge (bytes), authentication, flow control, authorization,
//! decoding, admission, registry. Not here: how objects are kept (`store`) or what they mean
//! (`api`).

pub mod admission;
pub mod alloc;
pub mod authn;
pub mod authz;
pub mod bootstrap;
pub mod config;
pub mod gate;
pub mod guards;
pub mod pki;
pub mod request;
pub mod tokens;

pub use config::{Config, StartError};
pub use gate::UserInfo;
pub use request::RequestInfo;
