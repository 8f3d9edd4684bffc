//! The lock on a data directory: one isopod at a time.
//!
//! An advisory lock of the operating system on the file `LOCK`, so that a killed process leaves
//! none behind; the file's content only tells who holds it.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::OpenError;

/// Held as long as it lives.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

/// An I/O error at opening, by what the user can do about it.
pub fn open_error(dir: &Path, path: &Path, source: std::io::Error) -> OpenError {
    match source.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            OpenError::NotWritable { dir: dir.to_owned(), source }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            OpenError::Full { dir: dir.to_owned() }
        }
        _ => OpenError::Io { path: path.to_owned(), source },
    }
}

impl DirLock {
    /// Makes the directory if it is missing, and locks it.
    pub fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("LOCK");
        let failed = |source| open_error(dir, &path, source);
        let missing: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
        match DirBuilder::new().recursive(true).mode(0o700).create(dir) {
            // An existing file in the way.
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {
                return Err(OpenError::NotWritable { dir: dir.to_owned(), source });
            }
            other => other.map_err(failed)?,
        }
        // A new directory is only durable with its entry in its parent.
        for parent in missing.iter().filter_map(|path| path.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    text => text.to_owned(),
                };
                return Err(OpenError::Locked { dir: dir.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // On a full disk the lock holds all the same; only the hint is missing.
        let hint = format!("process {}\n", std::process::id());
        let _ = file.set_len(0).and_then(|()| file.rewind());
        let _ = file.write_all(hint.as_bytes());
        Ok(Self { file })
    }
}

/// The process that holds a directory's lock now; none where it is free or not there.
pub fn holder(dir: &Path) -> Option<u32> {
    let mut file = File::open(dir.join("LOCK")).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.read_to_string(&mut text).ok()?;
            text.trim().strip_prefix("process ")?.parse().ok()
        }
        _ => None,
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_holder_is_told_who_has_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("new/store");
        let lock = DirLock::acquire(&path).expect("locked");
        match DirLock::acquire(&path) {
            Err(OpenError::Locked { dir, holder }) => {
                assert_eq!(dir, path);
                assert_eq!(holder, format!("process {}", std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(lock);
        DirLock::acquire(&path).expect("free again");
    }

    #[test]
    fn a_file_in_the_way() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "x").expect("written");
        for path in [path.clone(), path.join("below")] {
            let error = DirLock::acquire(&path).expect_err("refused");
            assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
        }
    }
}
