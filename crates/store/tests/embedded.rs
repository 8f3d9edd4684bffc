//! The embedded engine on a real directory: reopening, locking, damage, reclaimed space.

mod common;

use common::{delete, put, put_sized};
use isopod_store::{CommitError, Expect, OpenError, Options, Recard, Store};
use std::path::Path;

fn open(dir: &Path) -> Store {
    Store::open(Options::new(dir)).expect("opened")
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "log"))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn everything_is_there_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for i in 0..100 {
        store.commit(put("ns", &format!("p{i}"), Expect::Absent, "1")).await.expect("written");
    }
    store.commit(delete("ns", "p7", Expect::Any)).await.expect("deleted");
    store.commit(put("ns", "p8", Expect::Any, "2")).await.expect("written");
    let before = store.resource("pods").list(None).to_vec();
    let revision = store.revision();
    assert_eq!(revision, 103);
    store.close().await;

    let store = open(dir.path());
    assert_eq!(store.revision(), revision, "an orderly close loses no revision");
    assert_eq!(store.resource("pods").list(None).to_vec(), before);
    // History survives too: a watcher from before the restart goes on.
    let mut watcher = store.resource("pods").watch(101).expect("kept");
    let events = watcher.try_next().expect("not lagged");
    assert_eq!(events.iter().map(|e| e.revision).collect::<Vec<_>>(), [102, 103]);
    assert_eq!(events[1].previous.as_ref().map(|p| p.revision), Some(10));
    let next = store.commit(put("ns", "new", Expect::Absent, "1")).await.expect("written");
    assert_eq!(next.revision, 104);
    store.compact(103).await.expect("compacted");
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.compacted(), 103);
    assert_eq!(store.resource("pods").watch(102).map(|_| ()).expect_err("expired").oldest, 103);
}

#[tokio::test]
async fn one_holder_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    let error = Store::open(Options::new(dir.path())).expect_err("locked");
    let text = error.to_string();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(text.contains(&dir.path().display().to_string()), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    let other = store.clone();
    store.close().await;
    let closed = other.commit(put("ns", "a", Expect::Any, "1")).await;
    assert!(matches!(closed, Err(CommitError::Closed)));
    open(dir.path());
}

#[tokio::test]
async fn space_is_given_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for i in 0..400 {
        store.commit(put_sized("ns", &format!("keep{i}"), 3000)).await.expect("written");
    }
    // 200 MB over one small set of keys.
    for round in 0..20u32 {
        let writes = (0..100).map(|i| {
            let store = store.clone();
            async move {
                store.commit(put_sized("ns", &format!("hot{i}"), 100_000)).await.expect("written")
            }
        });
        let handles: Vec<_> = writes.map(tokio::spawn).collect();
        for handle in handles {
            handle.await.expect("joined");
        }
        let size = store.size();
        assert!(size.total < 2 * size.live + (40 << 20), "round {round}: {size:?}");
    }
    let live: u64 = store.resource("pods").list(None).iter().map(|e| e.json.len() as u64).sum();
    assert!(store.size().live > live && store.size().live < live + 100_000);
    let before = store.resource("pods").list(None).to_vec();
    store.close().await;
    let on_disk: u64 =
        segments(dir.path()).iter().map(|p| p.metadata().expect("metadata").len()).sum();
    assert!(on_disk < 2 * live + (20 << 20), "{on_disk} bytes for {live}");
    let store = open(dir.path());
    assert_eq!(store.resource("pods").list(None).to_vec(), before);
}

#[tokio::test]
async fn damage_is_reported_not_repaired() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    for i in 0..20 {
        store.commit(put("ns", &format!("p{i}"), Expect::Absent, "1")).await.expect("written");
    }
    store.close().await;
    let path = segments(dir.path()).remove(0);
    let good = std::fs::read(&path).expect("read");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 0x10;
    std::fs::write(&path, &bad).expect("written");
    match Store::open(Options::new(dir.path())) {
        Err(OpenError::Corrupt { path: named, offset, .. }) => {
            assert_eq!(named, path);
            assert!(offset <= good.len() as u64 / 2);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read(&path).expect("read"), bad, "nothing was changed");
    // An unfinished last batch, on the other hand, is what a crash leaves.
    std::fs::write(&path, &good[..good.len() - 10]).expect("written");
    let store = open(dir.path());
    assert_eq!(store.resource("pods").len(), 20);
    let next = store.commit(put("ns", "n", Expect::Any, "1")).await.expect("written");
    assert!(next.revision > 21 + 1000, "revisions a crash may have used are skipped");
}

#[tokio::test]
async fn not_writable() {
    // Root may write anywhere but below a file and on a read-only file system.
    let error = Store::open(Options::new("/proc/isopod")).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("/proc/isopod"), "{text}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let error = Store::open(Options::new(file.path().join("store"))).expect_err("refused");
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
}

/// Cards of an older release are made anew, and stay so.
#[tokio::test]
async fn cards_follow_the_release() {
    fn make(resource: &str, json: &[u8]) -> Option<api::Card> {
        let object: api::Object = serde_json::from_slice(json).ok()?;
        (resource == "pods").then(|| api::Card::of(&object, &["x"]))
    }
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path());
    store.commit(put("ns", "a", Expect::Absent, "blue")).await.expect("written");
    store.close().await;
    for _ in 0..2 {
        let mut options = Options::new(dir.path());
        options.recard = Some(Recard { version: 2, make });
        let store = Store::open(options).expect("opened");
        let a = store.resource("pods").get("ns", "a").expect("there");
        assert_eq!(a.card.field("x"), Some("blue"));
        store.commit(put("ns", "b", Expect::Any, "red")).await.expect("written");
        let b = store.resource("pods").get("ns", "b").expect("there");
        assert_eq!(b.card.field("x"), None, "cards of this version are taken as they are");
        store.close().await;
    }
    assert_eq!(segments(dir.path()).len(), 2, "a segment holds cards of one version");
}
