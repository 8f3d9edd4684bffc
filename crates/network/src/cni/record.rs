//! What a pod was given, kept until DEL: a small JSON file per attachment, replaced by rename.
//!
//! Not here: address claims, which stand without a record ([`super::ipam`]).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::conf::PortMapping;

/// What one attachment was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Container and interface.
    pub owner: String,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// Its host ports.
    #[serde(default)]
    pub ports: Vec<PortMapping>,
}

fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("pods")
}

/// Owners become file names: whatever a path could trip over is replaced.
fn file(state_dir: &Path, owner: &str) -> PathBuf {
    let safe: String = owner
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_@".contains(c) { c } else { '_' })
        .collect();
    dir(state_dir).join(safe)
}

impl Record {
    /// Writes it.
    pub fn save(&self, state_dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir(state_dir))?;
        write_atomically(&file(state_dir, &self.owner), &serde_json::to_vec(self)?)
    }

    /// The record of an owner.
    pub fn load(state_dir: &Path, owner: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(file(state_dir, owner)).ok()?).ok()
    }

    /// All records.
    pub fn all(state_dir: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(dir(state_dir)) else { return Vec::new() };
        let mut all: Vec<Self> = entries
            .flatten()
            .filter_map(|e| serde_json::from_slice(&fs::read(e.path()).ok()?).ok())
            .collect();
        all.sort_by(|a, b| a.owner.cmp(&b.owner));
        all
    }

    /// Forgets an owner; fine where there is none.
    pub fn delete(state_dir: &Path, owner: &str) -> io::Result<()> {
        match fs::remove_file(file(state_dir, owner)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

/// Writes a file so that readers see the old content or the new one. Unchanged content is not
/// written again, so watchers of the folder are left in peace.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The suffix keeps runtimes that read the folder from taking it for a configuration.
    let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let mut out = fs::File::create(&temporary)?;
    out.write_all(content)?;
    drop(out);
    fs::rename(&temporary, path)
}
