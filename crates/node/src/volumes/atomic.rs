//! Files that change all at once: a directory of symbolic links through `..data`, which one rename
//! points at the new version.
//!
//! A reader that opens several files may see two versions, but never half of one. Not here: what is
//! in the files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// A file's content and mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner, if not root.
    pub owner: Option<u32>,
}

/// Files by relative path.
pub type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";

/// Whether a path from a spec stays below the volume.
fn is_local(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && path.split('/').all(|part| !part.is_empty() && part != "." && !part.starts_with(".."))
}

/// Makes `dir` show exactly `payload`. True where something changed. `version` names the new
/// version's directory and must not have been used before; `group` gets to read the files.
pub fn write(dir: &Path, payload: &Payload, version: &str, group: Option<u32>) -> io::Result<bool> {
    for path in payload.keys() {
        if !is_local(path) {
            let text = format!("invalid path {path:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    let data = dir.join(DATA);
    let current = std::fs::read_link(&data).ok();
    if current.is_some() && same(&data, payload) {
        return Ok(false);
    }
    let fresh = dir.join(format!("..{version}"));
    make_dir(&fresh, group)?;
    for (path, file) in payload {
        let at = fresh.join(path);
        if let Some(parent) = at.parent() {
            make_dirs_below(&fresh, parent, group)?;
        }
        std::fs::write(&at, &file.data)?;
        let read = if group.is_some() { 0o040 } else { 0 };
        std::fs::set_permissions(&at, PermissionsExt::from_mode(file.mode | read))?;
        if file.owner.is_some() || group.is_some() {
            chown(&at, file.owner, group)?;
        }
    }
    let pending = dir.join("..data_tmp");
    let _ = std::fs::remove_file(&pending);
    symlink(format!("..{version}"), &pending)?;
    std::fs::rename(&pending, &data)?;
    let tops: BTreeSet<&str> = payload.keys().filter_map(|p| p.split('/').next()).collect();
    for top in &tops {
        let link = dir.join(top);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(top), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == DATA || tops.contains(&*name) || name == fresh_name(&fresh) {
            continue;
        }
        let path = entry.path();
        if name.starts_with("..") && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(&path)?;
        } else if entry.file_type()?.is_symlink() {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(true)
}

fn fresh_name(fresh: &Path) -> String {
    fresh.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn make_dir(dir: &Path, group: Option<u32>) -> io::Result<()> {
    std::fs::DirBuilder::new().mode(0o755).create(dir)?;
    std::fs::set_permissions(dir, PermissionsExt::from_mode(0o755))?;
    if group.is_some() {
        chown(dir, None, group)?;
    }
    Ok(())
}

fn make_dirs_below(root: &Path, dir: &Path, group: Option<u32>) -> io::Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = dir;
    while at != root && !at.is_dir() {
        missing.push(at.to_owned());
        match at.parent() {
            Some(parent) => at = parent,
            None => break,
        }
    }
    missing.iter().rev().try_for_each(|d| make_dir(d, group))
}

/// Whether the current version holds exactly these files.
fn same(data: &Path, payload: &Payload) -> bool {
    fn count(dir: &Path) -> usize {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { count(&e.path()) } else { 1 })
            .sum()
    }
    payload.iter().all(|(path, file)| {
        let at = data.join(path);
        let mode = std::fs::metadata(&at).map(|m| m.permissions().mode() & file.mode & 0o7777);
        mode.is_ok_and(|m| m == file.mode & 0o7777)
            && std::fs::read(&at).is_ok_and(|d| d == file.data)
    }) && count(data) == payload.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(p, d)| {
                ((*p).to_owned(), File { data: d.as_bytes().to_vec(), mode: 0o644, owner: None })
            })
            .collect()
    }

    #[test]
    fn versions_replace_each_other_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |p: &str| dir.path().join(p);
        let one = payload(&[("a", "1"), ("sub/b", "1"), ("gone", "1")]);
        assert!(write(dir.path(), &one, "v1", None).expect("written"));
        assert!(!write(dir.path(), &one, "v2", None).expect("the same"), "nothing to do");
        assert_eq!(std::fs::read_link(at("a")).expect("a link"), Path::new("..data/a"));
        let opened = std::fs::File::open(at("a")).expect("open");

        let two = payload(&[("a", "2"), ("sub/b", "2"), ("sub/c", "2")]);
        assert!(write(dir.path(), &two, "v3", None).expect("written"));
        assert_eq!(std::fs::read_to_string(at("a")).expect("a"), "2");
        assert_eq!(std::fs::read_to_string(at("sub/c")).expect("c"), "2");
        assert!(std::fs::symlink_metadata(at("gone")).is_err());
        assert!(!at("..v1").exists(), "the old version is removed");
        assert_eq!(std::io::read_to_string(opened).expect("still readable"), "1");
    }

    #[test]
    fn paths_stay_inside() {
        let dir = tempfile::tempdir().expect("a directory");
        for path in ["../x", "/x", "a/../../x", "..x", "", "a//b"] {
            assert!(write(dir.path(), &payload(&[(path, "")]), "v", None).is_err(), "{path:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
