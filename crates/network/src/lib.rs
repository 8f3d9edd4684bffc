//! Pod network, service proxy and cluster DNS of a node.
//!
//! [`cni`] gives pods their link and address, [`proxy`] programs services into nftables, [`dns`]
//! answers names; [`netlink`] is what the first two speak to the kernel with. Not here: anything
//! about containers (`node`), or about nodes' addresses (`controllers`).

pub mod cidr;
pub mod cleanup;
pub mod cni;
pub mod dns;
pub mod netlink;
pub mod objects;
pub mod proxy;

pub use cleanup::cleanup;
