//! The store against a simple model: every history a plain map could have, read at every revision.

mod common;

use std::collections::BTreeMap;

use common::{delete, mark_and_delete, put};
use isopod_store::{CommitError, EventKind, Expect, Options, Store};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Put { ns: u8, name: u8, expect: Condition },
    Delete { ns: u8, name: u8, expect: Condition, mark: bool },
    Compact { back: u64 },
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Any,
    Absent,
    Current,
    Stale,
}

fn condition() -> impl Strategy<Value = Condition> {
    use Condition::{Absent, Any, Current, Stale};
    prop_oneof![Just(Any), Just(Any), Just(Absent), Just(Current), Just(Stale)]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..3u8, 0..6u8, condition());
    prop_oneof![
        12 => key().prop_map(|(ns, name, expect)| Step::Put { ns, name, expect }),
        6 => (key(), any::<bool>())
            .prop_map(|((ns, name, expect), mark)| Step::Delete { ns, name, expect, mark }),
        1 => (0..20u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

type State = BTreeMap<(String, String), u64>;

fn read(list: &isopod_store::Snapshot) -> State {
    let key = |e: &api::Entry| (e.card.namespace.to_string(), e.card.name.to_string());
    let state: State = list.iter().map(|e| (key(e), e.revision)).collect();
    assert_eq!(state.len(), list.len());
    assert_eq!(list.chunks().map(<[_]>::len).sum::<usize>(), list.len());
    state
}

/// Every question the store can be asked, against the states of all revisions.
fn compare(store: &Store, states: &[State], compacted: u64) {
    let pods = store.resource("pods");
    let now = store.revision();
    assert_eq!(now, states.len() as u64);
    let state = |revision: u64| &states[usize::try_from(revision).expect("small") - 1];
    assert_eq!(read(&pods.list(None)), *state(now));
    for revision in 1..=now {
        let Ok(list) = pods.list_at(revision, None, None) else {
            assert!(revision < compacted, "{revision} expired, compacted {compacted}");
            assert!(pods.watch(revision).is_err());
            continue;
        };
        assert!(revision >= compacted, "{revision} is there, compacted {compacted}");
        let then = state(revision);
        assert_eq!(read(&list), *then, "at {revision}");
        for ns in 0..3 {
            let ns = format!("ns{ns}");
            let list = pods.list_at(revision, Some(&ns), Some((&ns, "n2"))).expect("kept");
            let expected: State = then
                .iter()
                .filter(|((n, name), _)| *n == ns && name.as_str() > "n2")
                .map(|(k, v)| (k.clone(), *v))
                .collect();
            assert_eq!(read(&list), expected);
        }
        // Following the events from there leads to the present.
        let mut replayed = then.clone();
        let mut watcher = pods.watch(revision).expect("kept");
        let mut last = revision;
        for event in watcher.try_next().expect("not lagged") {
            assert!(event.revision > last && event.entry.revision == event.revision);
            last = event.revision;
            let card = &event.entry.card;
            let key = (card.namespace.to_string(), card.name.to_string());
            let before = match event.kind {
                EventKind::Deleted => replayed.remove(&key),
                _ => replayed.insert(key, event.revision),
            };
            assert_eq!(before, event.previous.as_ref().map(|p| p.revision));
            assert_eq!(before.is_none(), event.kind == EventKind::Added);
        }
        assert_eq!(replayed, *state(now));
        assert_eq!(watcher.progress(), now);
    }
}

async fn run(steps: Vec<Step>, dir: Option<&std::path::Path>) {
    let open = || match dir {
        Some(dir) => {
            let mut options = Options::new(dir);
            options.compaction_interval = None;
            Store::open(options).expect("opened")
        }
        None => Store::memory(),
    };
    let mut store = open();
    // The state after every revision; revision 1 is the empty one.
    let mut states = vec![State::new()];
    let mut compacted = 0;
    for step in steps {
        let mut state = states.last().expect("one").clone();
        let mut next = states.len() as u64 + 1;
        let (ns, name, condition, is_put, mark) = match step {
            Step::Put { ns, name, expect } => (ns, name, expect, true, false),
            Step::Delete { ns, name, expect, mark } => (ns, name, expect, false, mark),
            Step::Compact { back } => {
                let target = store.revision().saturating_sub(back);
                store.compact(target).await.expect("compacted");
                compacted = compacted.max(target);
                assert_eq!(store.compacted(), compacted);
                continue;
            }
            Step::Reopen if dir.is_some() => {
                store.close().await;
                store = open();
                compacted = compacted.max(store.compacted());
                continue;
            }
            Step::Reopen => continue,
        };
        let key = (format!("ns{ns}"), format!("n{name}"));
        let current = state.get(&key).copied();
        let (expect, holds) = match condition {
            Condition::Any => (Expect::Any, is_put || current.is_some()),
            Condition::Absent => (Expect::Absent, is_put && current.is_none()),
            Condition::Current => (Expect::Revision(current.unwrap_or(7)), current.is_some()),
            Condition::Stale => (Expect::Revision(current.unwrap_or(9) + 1), false),
        };
        let write = match (is_put, mark) {
            (true, _) => put(&key.0, &key.1, expect, "body"),
            (false, false) => delete(&key.0, &key.1, expect),
            (false, true) => mark_and_delete(&key.0, &key.1, expect),
        };
        match store.commit(write).await {
            Ok(entry) => {
                assert!(holds);
                if mark {
                    // Whoever reads in between sees the marked object.
                    state.insert(key.clone(), next);
                    states.push(state.clone());
                    next += 1;
                }
                assert_eq!(entry.revision, next);
                let version = format!(r#""resourceVersion":"{next}""#);
                assert!(String::from_utf8_lossy(&entry.json).contains(&version));
                if is_put {
                    state.insert(key, next)
                } else {
                    state.remove(&key)
                };
                states.push(state);
            }
            Err(CommitError::Conflict(found)) => {
                assert!(!holds);
                assert_eq!(found.map(|e| e.revision), current);
            }
            Err(other) => panic!("{other}"),
        }
    }
    compare(&store, &states, compacted);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_engine(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps, None));
    }

    #[test]
    fn embedded_engine(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(run(steps, Some(dir.path())));
    }
}
