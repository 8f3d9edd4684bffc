//! The edge: where bytes become requests and responses become bytes. The only place that knows
//! sockets, TLS and HTTP versions.
//!
//! Not here: what requests mean (`stack`).

pub mod accept;
pub mod gzip;
pub mod listen;
pub mod respond;
mod stall;

pub use accept::{Accept, Media, Shape};
pub use respond::Reply;
