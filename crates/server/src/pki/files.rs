//! Files with keys in them: written whole or not at all, readable by their owner only.
//!
//! Not here: what the files mean.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes a directory (and its parents) that only its owner can enter.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a file as one step: a reader, or a crash at any instruction, sees the old content or
/// the new one. `mode` is what it is created with.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("file");
    let temporary = dir.join(format!(".{name}.tmp"));
    // One left behind by a crash may have the wrong permissions.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(dir)?.sync_all()
}

/// The file's text; `None` where there is no file.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaced_whole_and_private() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("deep/key.pem");
        private_dir(path.parent().expect("has a parent")).expect("made");
        fs::write(dir.path().join("deep/.key.pem.tmp"), "left by a crash").expect("written");
        replace(&path, b"one", 0o600).expect("written");
        replace(&path, b"two", 0o600).expect("replaced");
        assert_eq!(read(&path).expect("readable").as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(read(&dir.path().join("none")).expect("no fault"), None);
        assert_eq!(fs::read_dir(dir.path().join("deep")).expect("readable").count(), 1);
    }
}
