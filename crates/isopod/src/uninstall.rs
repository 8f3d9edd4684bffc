//! `uninstall`: ends isopod on this machine and removes all it made. Not here: how each part removes
//! its own (`node::cleanup`, `network::cleanup`).

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::Uninstall;
use crate::parts::{cidrs, nth_address};
use crate::server::{DNS_ADDRESS, absolute};

/// How long a running isopod may take to stop.
const PATIENCE: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

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
    let Some(pid) = store::holder(store).and_then(|p| Pid::from_raw(p.cast_signed())) else {
        return Ok(());
    };
    let number = pid.as_raw_nonzero();
    // Readable once the process has ended, whoever's child it is.
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).context("finding isopod's process"),
    };
    pidfd_send_signal(&process, Signal::TERM).context("stopping isopod")?;
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&PATIENCE))
        .with_context(|| format!("waiting for isopod (process {number})"))?;
    if ended == 0 {
        bail!("isopod (process {number}) does not stop");
    }
    Ok(())
}
