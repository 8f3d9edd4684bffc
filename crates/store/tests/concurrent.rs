//! Many writers, readers and watchers at once, on the embedded engine; slow watchers; expiry.

mod common;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use common::{delete, put, put_in};
use isopod_store::cache::{Limits, WatchCache};
use isopod_store::engine::memory::MemoryEngine;
use isopod_store::{CommitError, EventKind, Expect, Options, Store};

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(Options::new(dir.path())).expect("opened")
}

/// Counters incremented with optimistic writes lose no increment, and who wrote reads it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn increments_are_not_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir);
    let (tasks, rounds) = (16, 40);
    let handles: Vec<_> = (0..tasks)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let pods = store.resource("pods");
                let mut conflicts = 0;
                for _ in 0..rounds {
                    loop {
                        let current = pods.get("ns", "counter");
                        let count = current.as_ref().map_or(0, |e| count(&e.json));
                        let expect = current
                            .as_ref()
                            .map_or(Expect::Absent, |e| Expect::Revision(e.revision));
                        let write = put("ns", "counter", expect, &(count + 1).to_string());
                        match store.commit(write).await {
                            Ok(entry) => {
                                let seen = pods.get("ns", "counter").expect("there");
                                assert!(seen.revision >= entry.revision, "not yet visible");
                                assert!(store.revision() >= entry.revision);
                                break;
                            }
                            Err(CommitError::Conflict(_)) => conflicts += 1,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
                conflicts
            })
        })
        .collect();
    let mut conflicts = 0;
    for handle in handles {
        conflicts += handle.await.expect("joined");
    }
    let last = store.resource("pods").get("ns", "counter").expect("there");
    assert_eq!(count(&last.json), tasks * rounds);
    assert!(conflicts > 0, "the tasks never met");
}

fn count(json: &[u8]) -> usize {
    let object: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    object["x"].as_str().expect("a text").parse().expect("a number")
}

/// Every watcher sees every event once and in order; lists are consistent at their revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn watchers_and_lists_agree() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir);
    let (writers, rounds) = (8usize, 100usize);
    let total = writers * rounds;
    let resources = ["pods", "nodes"];
    let watchers: Vec<_> = (0..20)
        .map(|i| {
            let cache = store.resource(resources[i % 2]);
            let (list, mut watcher) = cache.list_and_watch(None);
            assert!(list.is_empty());
            tokio::spawn(async move {
                let (mut state, mut last, mut seen) = (BTreeMap::new(), 0, 0);
                while seen < total / 2 {
                    for event in watcher.next_batch().await.expect("fast enough") {
                        assert!(event.revision > last);
                        (last, seen) = (event.revision, seen + 1);
                        let name = event.entry.card.name.to_string();
                        let before = if event.kind == EventKind::Deleted {
                            state.remove(&name)
                        } else {
                            state.insert(name, event.revision)
                        };
                        assert_eq!(before, event.previous.as_ref().map(|p| p.revision));
                        assert!(watcher.progress() >= event.revision);
                    }
                    // A list made now, rolled forward, would be this state: the one at `last` is.
                    let list = watcher.cache().list_at(last, None, None).expect("kept");
                    let listed: BTreeMap<_, _> =
                        list.iter().map(|e| (e.card.name.to_string(), e.revision)).collect();
                    assert_eq!(listed, state);
                }
                (state, last)
            })
        })
        .collect();
    let writes: Vec<_> = (0..writers)
        .map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut revisions = Vec::new();
                for round in 0..rounds {
                    let (name, resource) =
                        (format!("w{w}-{}", round / 2 % 7), resources[round % 2]);
                    let entry = store.commit(put_in(resource, "", &name, Expect::Any, "x")).await;
                    let revision = entry.expect("written").revision;
                    let list = store.resource(resource).list(None);
                    assert!(list.revision >= revision);
                    assert!(list.iter().all(|e| e.revision <= list.revision));
                    revisions.push(revision);
                }
                revisions
            })
        })
        .collect();
    let mut revisions = HashSet::new();
    for write in writes {
        let own = write.await.expect("joined");
        assert!(own.is_sorted());
        revisions.extend(own);
    }
    assert_eq!(revisions.len(), total, "a revision was used twice");
    for (i, watcher) in watchers.into_iter().enumerate() {
        let (state, last) = watcher.await.expect("joined");
        let present = store.resource(resources[i % 2]).list(None);
        let present: BTreeMap<_, _> =
            present.iter().map(|e| (e.card.name.to_string(), e.revision)).collect();
        assert_eq!(state, present, "at {last}");
    }
}

/// A watcher that does not read is cut; the writers never wait for it.
#[tokio::test]
async fn slow_watchers_are_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = Options::new(dir.path());
    options.limits = Limits { events: 100, bytes: usize::MAX };
    let store = Store::open(options).expect("opened");
    let pods = store.resource("pods");
    let start = store.revision();
    let (_, mut slow) = pods.list_and_watch(None);
    let (_, mut idle) = store.resource("nodes").list_and_watch(None);
    for i in 0..100 {
        store.commit(put("ns", &format!("p{i}"), Expect::Any, "1")).await.expect("written");
    }
    let mut behind = pods.watch(start).expect("all of it is still there");
    assert_eq!(behind.try_next().expect("kept").len(), 100);
    store.commit(put("ns", "one-more", Expect::Any, "1")).await.expect("written");
    let lagged = slow.next_batch().await.expect_err("cut");
    assert_eq!(lagged.seen, start);
    assert_eq!(behind.next_batch().await.expect("kept up").len(), 1);
    let expired = pods.watch(start).map(|_| ()).expect_err("expired");
    assert_eq!(expired.oldest, start + 1);
    assert!(pods.list_at(start, None, None).is_err());
    assert!(pods.list_at(start + 1, None, None).is_ok());
    // Nothing happened to nodes, but time went on: that is what a bookmark says.
    assert!(idle.try_next().expect("not cut").is_empty());
    assert_eq!(idle.progress(), store.revision());
    assert_eq!(pods.history(), 100);
}

/// Superseded objects are held only up to the budget.
#[tokio::test]
async fn history_has_a_budget() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut options = Options::new(dir.path());
    options.limits = Limits { events: 100_000, bytes: 1 << 20 };
    let store = Store::open(options).expect("opened");
    for i in 0..200 {
        let body = "x".repeat(20_000);
        store.commit(put("ns", &format!("p{}", i % 5), Expect::Any, &body)).await.expect("written");
    }
    let history = store.resource("pods").history();
    assert!((45..=53).contains(&history), "{history} events of 20 KB in 1 MB");
    store.commit(delete("ns", "p0", Expect::Any)).await.expect("deleted");
}

/// Old history goes by itself, as far back as one interval before.
#[tokio::test(start_paused = true)]
async fn compacts_by_the_clock() {
    // Without a thread of its own, which the paused clock would not wait for.
    let cache = Arc::new(WatchCache::new(Limits::default()));
    let engine = Box::new(MemoryEngine::new(cache.clone()));
    let store = Store::with_engine(cache, engine, Some(Duration::from_secs(300)));
    let pods = store.resource("pods");
    let write = |name: &'static str| store.commit(put("ns", name, Expect::Any, "1"));
    let minutes = |n: u64| tokio::time::sleep(Duration::from_secs(60 * n));
    minutes(1).await;
    write("a").await.expect("written");
    minutes(5).await;
    assert_eq!(store.compacted(), 1, "at 5 minutes: what was at the start");
    assert!(pods.watch(1).is_ok());
    let b = write("b").await.expect("written").revision;
    minutes(5).await;
    assert_eq!(store.compacted(), 2, "at 10 minutes: what was at 5");
    assert!(pods.watch(1).is_err());
    assert_eq!(pods.watch(2).expect("kept").try_next().expect("kept").len(), 1);
    minutes(10).await;
    assert_eq!(store.compacted(), b);
    assert_eq!(pods.history(), 0);
    assert_eq!(pods.len(), 2);
}

/// Who waits for a revision is woken by it.
#[tokio::test]
async fn waits_for_a_revision() {
    let store = Store::memory();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.wait_for(3).await })
    };
    store.commit(put("ns", "a", Expect::Any, "1")).await.expect("written");
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    store.commit(put("ns", "b", Expect::Any, "1")).await.expect("written");
    waiting.await.expect("joined");
    assert_eq!(store.sync().await.expect("synced"), 3);
}
