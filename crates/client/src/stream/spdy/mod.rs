//! SPDY/3.1, as far as Kubernetes streams use it: streams with headers, data, half-close, reset,
//! ping, goaway.
//!
//! Flow-control windows are neither sent nor obeyed: the peers (all of them descend from one Go
//! library) ignore them, and TCP's own back-pressure holds. Not here: what streams mean.

mod frame;
mod headers;
mod session;
mod stream;

pub use headers::Headers;
pub use session::Session;
pub use stream::Stream;
