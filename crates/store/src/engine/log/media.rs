//! The few file operations the log needs, so that tests can put a failing disk under it.
//!
//! Not here: what the files mean.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A directory of files.
pub trait Media: Send + 'static {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// An empty file, in place of any of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn MediaFile>>;
    /// An existing file.
    fn open(&self, name: &str) -> io::Result<Box<dyn MediaFile>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file.
pub trait MediaFile: Send {
    /// Its length.
    fn size(&self) -> io::Result<u64>;
    /// Reads up to the buffer's length; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes; on an error some may have been.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts it.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the operating system.
#[derive(Debug)]
pub struct Disk(pub PathBuf);

impl Disk {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn open(path: &Path, create: bool) -> io::Result<Box<dyn MediaFile>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    if create {
        options.create(true).truncate(true);
        // Secrets are in there.
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    Ok(Box::new(options.open(path)?))
}

impl Media for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn MediaFile>> {
        open(&self.path(name), true)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn MediaFile>> {
        open(&self.path(name), false)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl MediaFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
