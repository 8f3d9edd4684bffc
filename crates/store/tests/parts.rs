//! Watchers of a part of a resource see what a watcher of everything sees of it, and nothing else.

use std::sync::Arc;

use api::clock::Rng;
use api::{Card, Fields, Key};
use bytes::Bytes;
use isopod_store::{Change, CommitError, Event, Expect, Interest, Store, Watcher, Write};

const NODE: &str = "spec.nodeName";

fn pod(namespace: &str, name: &str, node: &str) -> Write {
    let bytes = Bytes::from(format!(r#"{{"metadata":{{"name":"{name}"}},"node":"{node}"}}"#));
    let card = Card {
        namespace: namespace.into(),
        name: name.into(),
        fields: Fields::from([(NODE, node)]),
        ..Card::default()
    };
    let key = Key::new("pods", namespace, name);
    Write { key, expect: Expect::Any, change: Change::Put { bytes, rv_at: 13, card } }
}

async fn random_write(store: &Store, rng: &Rng) {
    let (namespace, name) = (format!("ns{}", rng.below(3)), format!("p{}", rng.below(5)));
    let mut write = pod(&namespace, &name, &format!("node{}", rng.below(4)));
    if rng.below(4) == 0 {
        let bytes = Bytes::from_static(br#"{"metadata":{"x":"y"}}"#);
        write.change = Change::Delete { bytes, rv_at: 13 };
    }
    match store.commit(write).await {
        Ok(_) | Err(CommitError::Conflict(None)) => {}
        other => panic!("{other:?}"),
    }
}

fn parts() -> Vec<Interest> {
    let mut parts = vec![
        Interest::Namespace("ns1".into()),
        Interest::Object("ns2".into(), "p3".into()),
        Interest::Object("ns2".into(), "never".into()),
        Interest::Field("no.such".into(), "".into()),
    ];
    parts.extend((0..4).map(|i| Interest::Field(NODE.into(), format!("node{i}").into())));
    parts
}

fn revisions(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|e| e.revision).collect()
}

#[tokio::test]
async fn a_part_is_the_whole_filtered() {
    let store = Store::memory();
    let pods = store.resource("pods");
    let rng = Rng::seeded(3);
    let mut watchers: Vec<(u64, Interest, Watcher, Vec<u64>)> = Vec::new();
    for round in 0..300u64 {
        random_write(&store, &rng).await;
        if round % 50 == 10 {
            for part in parts() {
                let from = store.revision() - rng.below(10).min(store.revision() - 1);
                let watcher = pods.watch_part(from, part.clone()).expect("kept");
                watchers.push((from, part.clone(), watcher, Vec::new()));
                let (list, watcher) = pods.list_and_watch_part(None, part.clone());
                watchers.push((list.revision, part, watcher, Vec::new()));
            }
        }
        for (_, _, watcher, seen) in &mut watchers {
            if rng.below(3) == 0 {
                seen.extend(revisions(&watcher.try_next().expect("not lagged")));
                assert_eq!(watcher.progress(), store.revision());
            }
        }
    }
    for (from, part, mut watcher, mut seen) in watchers {
        seen.extend(revisions(&watcher.try_next().expect("not lagged")));
        let all = pods.watch(from).expect("kept").try_next().expect("kept");
        let expected: Vec<_> = all.into_iter().filter(|event| part.concerns(event)).collect();
        assert_eq!(seen, revisions(&expected), "{part:?} from {from}");
    }
}

#[tokio::test]
async fn woken_by_what_concerns_it_and_cut_when_slow() {
    let store = Store::memory();
    let pods = store.resource("pods");
    let part = || Interest::Field(NODE.into(), "n1".into());
    let (_, mut watcher) = pods.list_and_watch_part(None, part());
    let waiting = tokio::spawn(async move {
        let events = watcher.next_batch().await;
        (watcher, events)
    });
    tokio::task::yield_now().await;
    store.commit(pod("a", "x", "n2")).await.expect("written");
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished(), "woken for nothing");
    store.commit(pod("a", "x", "n1")).await.expect("written");
    let (mut watcher, events) = waiting.await.expect("joined");
    assert_eq!(revisions(&events.expect("events")), [3]);
    // It leaves again: seen, with the state before.
    store.commit(pod("a", "x", "n3")).await.expect("written");
    let left = watcher.next_batch().await.expect("events");
    assert!(!part().meets(&left[0].entry) && part().concerns(&left[0]));
    for i in 0..9000 {
        store.commit(pod("a", &format!("y{i}"), "n1")).await.expect("written");
    }
    let seen = watcher.next_batch().await.expect_err("too slow").seen;
    assert_eq!(seen, 4);
    assert_eq!(watcher.progress(), 4, "a bookmark would hide the loss");
}
