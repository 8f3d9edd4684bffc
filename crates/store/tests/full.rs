//! A full disk, on a small real file system: needs the right to mount a tmpfs, else it is skipped.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::put_sized;
use isopod_store::{CommitError, Options, Store};

/// A tmpfs as long as it lives.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let options = format!("size={size},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "isopod-test"]).arg(dir.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                println!("skipped: no mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: no mount: {error}");
                None
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn open(dir: &Path) -> Store {
    Store::open(Options::new(dir)).expect("opened")
}

/// Writes until it fails; returns how many were acknowledged.
async fn fill(store: &Store, prefix: &str) -> (usize, CommitError) {
    for i in 0.. {
        if let Err(error) = store.commit(put_sized("ns", &format!("{prefix}{i}"), 20_000)).await {
            return (i, error);
        }
    }
    unreachable!("an endless disk")
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_fail_cleanly_and_resume() {
    let Some(disk) = Small::mount("6m") else { return };
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("written");
    let store = open(&disk.store());
    let (first, error) = fill(&store, "a").await;
    assert!(matches!(&error, CommitError::Full { dir } if *dir == disk.store()), "{error:?}");
    assert!(error.to_string().contains(&disk.store().display().to_string()));
    assert!(matches!(store.health(), Err(CommitError::Full { .. })));
    assert!(first > 100, "{first} writes fitted");
    let pods = store.resource("pods");
    assert_eq!(pods.len(), first, "reads go on, of what was acknowledged");
    // Many at once fail as cleanly.
    let tasks: Vec<_> = (0..32)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(
                async move { store.commit(put_sized("ns", &format!("x{i}"), 20_000)).await },
            )
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.expect("joined"), Err(CommitError::Full { .. })));
    }

    // A restart on the full disk serves reads, and writes as soon as there is space.
    store.close().await;
    let store = open(&disk.store());
    assert_eq!(store.resource("pods").len(), first);
    let refused = store.commit(put_sized("ns", "b", 20_000)).await;
    assert!(matches!(refused, Err(CommitError::Full { .. })));
    std::fs::remove_file(&ballast).expect("removed");
    let (second, _) = fill(&store, "b").await;
    assert!(second > 20, "{second} more writes fitted");
    assert_eq!(store.resource("pods").len(), first + second);

    let before = store.resource("pods").list(None).to_vec();
    store.close().await;
    let store = open(&disk.store());
    assert_eq!(store.resource("pods").list(None).to_vec(), before);
}
