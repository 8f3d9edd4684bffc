//! Parts of volumes as mounts of their own: `subPath`.
//!
//! The container may have put any symbolic link into its volume, so the path is resolved by the
//! kernel below the volume's root and the result pinned by a bind mount before the runtime sees it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::mount::mount_bind;

use super::local::is_mount_point;

/// Pins `sub` of the volume at `volume` to `target` (made as a file or directory), creating missing
/// directories, and answers the path to mount.
pub fn pin(volume: &Path, sub: &str, target: &Path) -> io::Result<PathBuf> {
    if is_mount_point(target) {
        return Ok(target.to_owned());
    }
    let fd = open(volume, sub)?;
    let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if std::fs::metadata(&link)?.is_dir() {
        std::fs::create_dir_all(target)?;
    } else {
        std::fs::OpenOptions::new().create(true).append(true).open(target)?;
    }
    mount_bind(&link, target)?;
    Ok(target.to_owned())
}

/// Opens a path below a volume, following links only as far as they stay below it.
fn open(volume: &Path, sub: &str) -> io::Result<OwnedFd> {
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(&root, sub, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), below);
    match found {
        Err(rustix::io::Errno::NOENT) => {}
        other => return Ok(other?),
    }
    let mut at = root;
    for part in sub.split('/').filter(|p| !p.is_empty() && *p != ".") {
        if part == ".." {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("subPath {sub:?} must not contain '..'"),
            ));
        }
        match mkdirat(&at, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        at = openat2(&at, part, OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), below)?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_cannot_leave_the_volume() {
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("linked");
        std::fs::create_dir(dir.path().join("real")).expect("made");
        std::os::unix::fs::symlink("real", dir.path().join("in")).expect("linked");
        assert!(open(dir.path(), "out/passwd").is_err());
        assert!(open(dir.path(), "../x").is_err());
        assert!(open(dir.path(), "in").is_ok());
        assert!(open(dir.path(), "new/deep").is_ok());
        assert!(dir.path().join("new/deep").is_dir());
    }
}
