//! What the tests on a whole API server begin with. Not here: the tests.

use client::{Client, Shutdown};
use isopod_server::{Config, Running, start};
use store::Store;

/// An API server over a store, on a port of its own, and an administrator's client.
pub async fn server(dir: &std::path::Path, store: Store, stop: &Shutdown) -> (Running, Client) {
    let config = Config {
        data_dir: dir.to_owned(),
        bind_address: [127, 0, 0, 1].into(),
        secure_port: 0,
        ..Config::default()
    };
    let (clock, rng) = (api::clock::Clock::system(), api::clock::Rng::seeded(1));
    let running = start(config, store, clock, rng, stop.clone()).await.expect("starts");
    let client = running.client_as("admin", &["system:masters"]);
    (running, client)
}
