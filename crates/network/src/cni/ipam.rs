//! Pod addresses: who has which, in files that a crash cannot tear.
//!
//! A claim is a symbolic link `ips/<address>` whose target names the owner. Making one is atomic and
//! exclusive and carries its content, so 40 plugins at once need no lock, and a claim is never half
//! written. The folder lives on a tmpfs: a reboot, which ends every pod, also frees every address.
//!
//! Not here: who is alive; [`Pool::release_unless`] is told.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use crate::cidr::Cidr;

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum IpamError {
    /// The files cannot be written or read.
    #[error("address files in {dir}: {source}")]
    Io {
        /// The folder.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// Every address has an owner.
    #[error("no free address in {0}: delete pods or give the node a larger pod CIDR")]
    Full(Cidr),
}

/// The addresses of one range.
#[derive(Clone, Debug)]
pub struct Pool {
    dir: PathBuf,
    cidr: Cidr,
}

/// Network address and gateway at the start, broadcast at the end.
const RESERVED_FRONT: u64 = 2;
const RESERVED_BACK: u64 = 1;

impl Pool {
    /// The pool of a range, with its files under `state_dir`.
    pub fn open(state_dir: &std::path::Path, cidr: Cidr) -> Result<Self, IpamError> {
        let name = cidr.to_string().replace('/', "_");
        let pool = Self { dir: state_dir.join("ips").join(name), cidr };
        fs::create_dir_all(&pool.dir).map_err(|e| pool.fail(e))?;
        Ok(pool)
    }

    fn fail(&self, source: io::Error) -> IpamError {
        IpamError::Io { dir: self.dir.display().to_string(), source }
    }

    /// The gateway: the range's second address.
    pub fn gateway(cidr: Cidr) -> Option<IpAddr> {
        cidr.nth(1)
    }

    /// Claims a free address. Addresses are given out in turn, so that one just freed rests before
    /// it gets a new owner.
    pub fn claim(&self, owner: &str) -> Result<IpAddr, IpamError> {
        let end = self.cidr.size().saturating_sub(RESERVED_BACK);
        let count = end.saturating_sub(RESERVED_FRONT);
        let cursor = self.dir.join("last");
        let last: u64 =
            fs::read_link(&cursor).ok().and_then(|t| t.to_str()?.parse().ok()).unwrap_or(u64::MAX);
        for step in 0..count {
            let n = RESERVED_FRONT + (last.wrapping_add(1).wrapping_add(step)) % count.max(1);
            let Some(ip) = self.cidr.nth(n) else { break };
            match symlink(owner, self.dir.join(ip.to_string())) {
                Ok(()) => {
                    self.set_cursor(&cursor, n - RESERVED_FRONT);
                    return Ok(ip);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(self.fail(e)),
            }
        }
        Err(IpamError::Full(self.cidr))
    }

    /// Only a hint: losing a race for it, or its update, costs a few more tries.
    fn set_cursor(&self, cursor: &std::path::Path, at: u64) {
        let temporary = self.dir.join(format!(".last-{}", std::process::id()));
        let _ = fs::remove_file(&temporary);
        if symlink(at.to_string(), &temporary).is_ok() {
            let _ = fs::rename(&temporary, cursor);
        }
    }

    /// All claims: address and owner.
    pub fn claims(&self) -> Result<Vec<(IpAddr, String)>, IpamError> {
        let mut claims = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| self.fail(e))?.flatten() {
            let name = entry.file_name();
            let Some(ip) = name.to_str().and_then(|n| n.parse().ok()) else { continue };
            if let Ok(owner) = fs::read_link(entry.path()) {
                claims.push((ip, owner.to_string_lossy().into_owned()));
            }
        }
        claims.sort();
        Ok(claims)
    }

    /// Frees an address; one that is free already is fine.
    pub fn release(&self, ip: IpAddr) -> Result<(), IpamError> {
        match fs::remove_file(self.dir.join(ip.to_string())) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(self.fail(e)),
            _ => Ok(()),
        }
    }

    /// Frees every claim of an owner; returns how many.
    pub fn release_owner(&self, owner: &str) -> Result<usize, IpamError> {
        let mut freed = 0;
        for (ip, _) in self.claims()?.into_iter().filter(|(_, o)| o == owner) {
            self.release(ip)?;
            freed += 1;
        }
        Ok(freed)
    }

    /// Frees claims whose owner is not alive, but none younger than `grace`: its plugin may still
    /// be at work. Returns the owners that lost one.
    pub fn release_unless(
        &self,
        grace: Duration,
        alive: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, IpamError> {
        let mut gone = Vec::new();
        for (ip, owner) in self.claims()? {
            let age = fs::symlink_metadata(self.dir.join(ip.to_string()))
                .and_then(|m| m.modified())
                .ok()
                .and_then(|t| t.elapsed().ok());
            if age.is_some_and(|age| age >= grace) && !alive(&owner) {
                self.release(ip)?;
                gone.push(owner);
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(dir: &std::path::Path, cidr: &str) -> Pool {
        Pool::open(dir, cidr.parse().expect("a range")).expect("opens")
    }

    #[test]
    fn gives_out_in_turn_and_reuses_only_after_a_round() {
        let dir = tempfile::tempdir().expect("a folder");
        let pool = pool(dir.path(), "10.42.0.0/29");
        let take = |owner: &str| pool.claim(owner).map(|ip| ip.to_string());
        assert_eq!(take("a").expect("free"), "10.42.0.2");
        assert_eq!(take("b").expect("free"), "10.42.0.3");
        pool.release_owner("a").expect("frees");
        assert_eq!(take("c").expect("free"), "10.42.0.4");
        assert_eq!(take("d").expect("free"), "10.42.0.5");
        assert_eq!(take("e").expect("free"), "10.42.0.6");
        assert_eq!(take("f").expect("free"), "10.42.0.2", "the freed one, after a round");
        assert!(matches!(take("g"), Err(IpamError::Full(_))));
    }

    #[test]
    fn many_at_once_get_different_addresses() {
        let dir = tempfile::tempdir().expect("a folder");
        let pool = pool(dir.path(), "10.42.0.0/24");
        let mut ips: Vec<IpAddr> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..40)
                .map(|i| {
                    let pool = &pool;
                    scope.spawn(move || {
                        (0..6).map(|j| pool.claim(&format!("{i}-{j}")).expect("free")).collect()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|t| -> Vec<IpAddr> { t.join().expect("ran") }).collect()
        });
        ips.sort();
        ips.dedup();
        assert_eq!(ips.len(), 240);
        assert_eq!(pool.claims().expect("readable").len(), 240);
    }

    #[test]
    fn leaks_are_freed_but_young_claims_are_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let pool = pool(dir.path(), "10.42.0.0/24");
        pool.claim("dead").expect("free");
        pool.claim("alive").expect("free");
        let none = pool.release_unless(Duration::from_secs(60), |_| false).expect("readable");
        assert!(none.is_empty());
        let gone = pool.release_unless(Duration::ZERO, |o| o == "alive").expect("readable");
        assert_eq!(gone, ["dead"]);
    }
}
