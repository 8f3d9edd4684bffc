//! The process itself: its signals and its host's name. Not here: other processes.

use std::path::Path;

use anyhow::{Context as _, Result};
use client::Shutdown;
use tokio::signal::unix::{SignalKind, signal};

/// A token that SIGTERM or SIGINT cancels. A second signal ends the process at once.
pub fn until_signal() -> Result<Shutdown> {
    let shutdown = Shutdown::new();
    let mut term = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut int = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let token = shutdown.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
        };
        next().await;
        tracing::info!("stopping");
        token.cancel();
        next().await;
        std::process::exit(130);
    });
    Ok(shutdown)
}

/// The machine's name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This program's file.
pub fn executable() -> Result<std::path::PathBuf> {
    let path = std::env::current_exe().context("finding the isopod binary")?;
    // A binary that was replaced while it runs is named with this suffix; the new one is as good.
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), |p| Path::new(p).to_owned()))
}
