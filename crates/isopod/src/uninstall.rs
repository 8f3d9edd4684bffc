//! `uninstall`: ends isopod on this machine and removes all it made. Not here: how each part removes
//! its own (`node::cleanup`, `network::cleanup`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::args::Uninstall;
use crate::parts::{cidrs, nth_address};
use crate::server::{DNS_ADDRESS, absolute};

/// How long a running isopod may take to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Removes everything; says what it cannot.
pub fn run(args: &Uninstall) -> Result<()> {
    let data_dir = absolute(&args.data_dir)?;
    if !rustix::process::geteuid().is_root() {
        bail!("removing mounts, network and cgroups needs root");
    }
    stop(&data_dir.join("store"))?;
    let config = node::Config::new("", &data_dir);
    node::cleanup::remove(&config)?;
    let dns = nth_address(&args.service_cluster_ip_range, DNS_ADDRESS)?;
    let services = cidrs(&args.service_cluster_ip_range)?;
    let report = network::cleanup(&cidrs(&args.cluster_cidr)?, &services, &[dns]);
    for what in &report.removed {
        tracing::info!("removed {what}");
    }
    if !report.failed.is_empty() {
        bail!("the network is not all removed: {}", report.failed.join("; "));
    }
    match std::fs::remove_dir_all(&data_dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("removing {}", data_dir.display())),
    }
}

/// Ends the isopod that holds the store, if one does.
fn stop(store: &std::path::Path) -> Result<()> {
    let started = Instant::now();
    while let Some(pid) = store::holder(store).and_then(|p| Pid::from_raw(p.cast_signed())) {
        if started.elapsed() > PATIENCE {
            bail!("isopod (process {}) does not stop", pid.as_raw_nonzero());
        }
        // Asking again is harmless only once: a second signal ends it at once.
        if started.elapsed() < Duration::from_millis(1) {
            kill_process(pid, Signal::TERM).context("stopping isopod")?;
        }
        while test_kill_process(pid).is_ok() && started.elapsed() <= PATIENCE {
            // Not our child: there is no event to wait for.
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    Ok(())
}
