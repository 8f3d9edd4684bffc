//! Directories of the node as volumes: emptyDir and hostPath, and who owns them.
//!
//! Not here: files that are made from objects.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::Path;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// Whether something is mounted exactly at `path`.
pub fn is_mount_point(path: &Path) -> bool {
    let Some(parent) = path.parent() else { return true };
    match (std::fs::symlink_metadata(path), std::fs::symlink_metadata(parent)) {
        (Ok(a), Ok(b)) => a.dev() != b.dev() || mounted(path),
        _ => false,
    }
}

/// Looks the path up in the mount table: a bind mount of the same filesystem has the same device.
fn mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let wanted = path.display().to_string().replace(' ', "\\040");
    table.lines().any(|l| l.split(' ').nth(4) == Some(&wanted))
}

/// Mounts a tmpfs unless one is there.
pub fn tmpfs(path: &Path, size: Option<i64>) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    if is_mount_point(path) {
        return Ok(());
    }
    let options = size.map_or_else(|| "mode=0777".to_owned(), |s| format!("mode=0777,size={s}"));
    let options = std::ffi::CString::new(options)?;
    mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
    Ok(())
}

/// Makes an emptyDir.
pub fn empty_dir(
    path: &Path,
    source: &EmptyDirVolumeSource,
    memory: Option<i64>,
) -> io::Result<()> {
    let limit = source.size_limit.as_ref().and_then(|q| Quantity::parse(&q.0).ok());
    let limit = limit.map(Quantity::value).filter(|l| *l > 0);
    match source.medium.as_deref().unwrap_or("") {
        "Memory" => {
            let size = [limit, memory].into_iter().flatten().min();
            tmpfs(path, size)?;
        }
        huge if huge.starts_with("HugePages") => {
            std::fs::create_dir_all(path)?;
            if !is_mount_point(path) {
                let options = huge
                    .strip_prefix("HugePages-")
                    .map(|s| format!("pagesize={}", s.trim_end_matches('i')));
                let options = std::ffi::CString::new(options.unwrap_or_default())?;
                mount(
                    "hugetlbfs",
                    path,
                    "hugetlbfs",
                    MountFlags::empty(),
                    Some(options.as_c_str()),
                )?;
            }
        }
        _ => std::fs::create_dir_all(path)?,
    }
    // Whatever the process's umask is.
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777))
}

/// Checks, and makes where the type says so, the path of a hostPath volume.
pub fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or("");
    let make = |e: io::Error| format!("hostPath {}: {e}", source.path);
    match kind {
        "DirectoryOrCreate" if !path.exists() => {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(make)?;
        }
        "FileOrCreate" if !path.exists() => {
            std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(make)?;
        }
        _ => {}
    }
    let Ok(meta) = std::fs::metadata(path) else {
        return if kind.is_empty() { Ok(()) } else { Err(failed(&source.path, kind)) };
    };
    let t = meta.file_type();
    let fits = match kind {
        "Directory" | "DirectoryOrCreate" => t.is_dir(),
        "File" | "FileOrCreate" => t.is_file(),
        "Socket" => t.is_socket(),
        "CharDevice" => t.is_char_device(),
        "BlockDevice" => t.is_block_device(),
        _ => true,
    };
    if fits { Ok(()) } else { Err(failed(&source.path, kind)) }
}

fn failed(path: &str, kind: &str) -> String {
    let what = match kind {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket",
        "CharDevice" => "character device",
        _ => "block device",
    };
    format!("hostPath type check failed: {path} is not a {what}")
}

/// Gives a volume to a group: everything in it is the group's to read and write, and what is made
/// in a directory is the group's too.
pub fn give_to_group(path: &Path, group: u32, on_root_mismatch: bool) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    let wanted = 0o2070;
    if on_root_mismatch && meta.gid() == group && meta.mode() & wanted == wanted {
        return Ok(());
    }
    give(path, group, &meta)
}

fn give(path: &Path, group: u32, meta: &std::fs::Metadata) -> io::Result<()> {
    if meta.file_type().is_symlink() {
        return std::os::unix::fs::lchown(path, None, Some(group));
    }
    if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            give(&entry.path(), group, &entry.path().symlink_metadata()?)?;
        }
    }
    chown(path, None, Some(group))?;
    let bits = if meta.is_dir() { 0o2770 } else { 0o660 };
    std::fs::set_permissions(path, PermissionsExt::from_mode((meta.mode() & 0o7777) | bits))
}

/// Unmounts everything at or below `dir`, the deepest first.
pub fn unmount_below(dir: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<String> = table
        .lines()
        .filter_map(|l| l.split(' ').nth(4))
        .map(|p| p.replace("\\040", " "))
        .filter(|p| Path::new(p).starts_with(dir))
        .collect();
    points.sort_by_key(|p| std::cmp::Reverse(p.len()));
    for point in points {
        if let Err(error) = unmount(point.as_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            tracing::warn!(point, %error, "a volume cannot be unmounted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_path_types() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |name: &str, kind: &str| {
            let path = dir.path().join(name).display().to_string();
            host_path(&HostPathVolumeSource { path, type_: Some(kind.into()) })
        };
        assert!(of("none", "").is_ok());
        assert!(of("none", "Directory").expect_err("missing").ends_with("none is not a directory"));
        assert!(of("d", "DirectoryOrCreate").is_ok() && of("d", "Directory").is_ok());
        assert!(of("f", "FileOrCreate").is_ok() && of("f", "File").is_ok());
        assert!(of("f", "Directory").is_err() && of("f", "Socket").is_err());
    }
}
