//! The store's contract as its callers see it, on the memory engine.

mod common;

use common::{delete, put};
use isopod_store::{CommitError, EventKind, Expect, Store};

#[tokio::test]
async fn conditions_and_revisions() {
    let store = Store::memory();
    assert_eq!(store.revision(), 1);
    let a = store.commit(put("ns", "a", Expect::Absent, "1")).await.expect("created");
    assert_eq!(a.revision, 2);
    assert_eq!(
        &*a.json,
        br#"{"metadata":{"resourceVersion":"2","name":"a","namespace":"ns"},"x":"1"}"#
    );
    let pods = store.resource("pods");
    assert_eq!(pods.get("ns", "a").as_ref(), Some(&a));

    let taken = store.commit(put("ns", "a", Expect::Absent, "2")).await;
    assert!(matches!(taken, Err(CommitError::Conflict(Some(e))) if e == a));
    let stale = store.commit(put("ns", "a", Expect::Revision(1), "2")).await;
    assert!(matches!(stale, Err(CommitError::Conflict(Some(_)))));
    let missing = store.commit(put("ns", "b", Expect::Revision(2), "2")).await;
    assert!(matches!(missing, Err(CommitError::Conflict(None))));
    let missing = store.commit(delete("ns", "b", Expect::Any)).await;
    assert!(matches!(missing, Err(CommitError::Conflict(None))));
    assert_eq!(store.revision(), 2, "refused writes use no revision");

    let b = store.commit(put("ns", "a", Expect::Revision(2), "2")).await.expect("replaced");
    assert_eq!(b.revision, 3);
    let gone = store.commit(delete("ns", "a", Expect::Revision(3))).await.expect("deleted");
    assert_eq!(gone.revision, 4);
    assert!(pods.is_empty());
}

#[tokio::test]
async fn watch_list_and_time_travel() {
    let store = Store::memory();
    let pods = store.resource("pods");
    let (empty, mut watcher) = pods.list_and_watch(None);
    assert!(empty.is_empty());
    let mut reader = watcher.cache().watch(empty.revision).expect("in range");
    let waiting = tokio::spawn(async move { reader.next_batch().await });
    for (name, x) in [("b", "1"), ("a", "1"), ("b", "2")] {
        store.commit(put("ns", name, Expect::Any, x)).await.expect("written");
    }
    store.commit(delete("ns", "b", Expect::Any)).await.expect("deleted");
    store.commit(put("other", "c", Expect::Any, "1")).await.expect("written");
    assert!(!waiting.await.expect("joined").expect("events").is_empty());

    let events = watcher.next_batch().await.expect("events");
    let seen: Vec<_> = events.iter().map(|e| (e.kind, e.revision, &*e.entry.card.name)).collect();
    assert_eq!(
        seen,
        [
            (EventKind::Added, 2, "b"),
            (EventKind::Added, 3, "a"),
            (EventKind::Modified, 4, "b"),
            (EventKind::Deleted, 5, "b"),
            (EventKind::Added, 6, "c"),
        ]
    );
    assert_eq!(events[3].previous.as_ref().map(|p| p.revision), Some(4));
    assert_eq!(watcher.progress(), 6);

    let names = |at: u64| -> Vec<(String, u64)> {
        let list = pods.list_at(at, Some("ns"), None).expect("kept");
        list.iter().map(|e| (e.card.name.to_string(), e.revision)).collect()
    };
    assert_eq!(names(1), []);
    assert_eq!(names(3), [("a".to_owned(), 3), ("b".to_owned(), 2)]);
    assert_eq!(names(4), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    assert_eq!(names(5), [("a".to_owned(), 3)]);
    let page = pods.list_at(4, None, Some(("ns", "a"))).expect("kept");
    assert_eq!(page.to_vec().len(), 1);

    store.compact(4).await.expect("compacted");
    assert_eq!(pods.list_at(3, None, None).map(|_| ()).expect_err("expired").oldest, 4);
    assert_eq!(pods.watch(3).map(|_| ()).expect_err("expired").oldest, 4);
    assert_eq!(names(4), [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    let mut rest = pods.watch(4).expect("kept");
    assert_eq!(rest.next_batch().await.expect("events").len(), 2);

    // Old revisions end even for a resource that has not changed since.
    store.compact(6).await.expect("compacted");
    assert_eq!(
        store.resource("nodes").list_at(5, None, None).map(|_| ()).expect_err("expired").oldest,
        6
    );
    assert!(store.resource("nodes").list_at(6, None, None).is_ok());
}
