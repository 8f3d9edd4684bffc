//! An API server alone, over memory or a directory, for development and replays.
//!
//! `apiserver [--data-dir DIR] [--store memory|DIR] [--secure-port N] [--token-auth-file FILE]
//! [--service-cluster-ip-range CIDR] [--runtime-config k=v,…]
//! [--feature-gates k=v,…]`

use api::clock::{Clock, Rng};
use client::Shutdown;
use isopod_server as server;
use server::Config;
use store::Store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config { data_dir: "/tmp/isopod-apiserver".into(), ..Config::default() };
    let mut dir = String::from("memory");
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or("every flag takes a value")?;
        match flag.as_str() {
            "--data-dir" => config.data_dir = value.into(),
            "--store" => dir = value,
            "--secure-port" => config.secure_port = value.parse()?,
            "--token-auth-file" => config.token_auth_file = Some(value.into()),
            "--service-cluster-ip-range" => config.service_cidr = value,
            "--runtime-config" => config.runtime_config = switches(&value),
            "--feature-gates" => config.feature_gates = switches(&value),
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    std::fs::create_dir_all(&config.data_dir)?;
    let store = match dir.as_str() {
        "memory" => Store::memory(),
        dir => Store::open(server::store_options(dir))?,
    };
    let shutdown = Shutdown::new();
    let kubeconfig = config.data_dir.join("admin.kubeconfig");
    config.admin_kubeconfig = Some(kubeconfig.clone());
    let running =
        server::start(config, store, Clock::system(), Rng::system(), shutdown.clone()).await?;
    println!("{} {}", running.url(), kubeconfig.display());
    tokio::signal::ctrl_c().await?;
    shutdown.cancel();
    running.wait().await;
    Ok(())
}

fn switches(text: &str) -> Vec<(String, bool)> {
    text.split(',')
        .map(|setting| {
            let (key, on) = setting.split_once('=').unwrap_or((setting, "true"));
            (key.to_owned(), on == "true")
        })
        .collect()
}
