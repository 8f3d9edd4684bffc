//! The log against a simple model, on a disk that crashes at any operation, fills up and fails.
//!
//! What must hold after a restart: the state is the one of the last acknowledged batch, or that
//! plus one whole unacknowledged batch; no revision ever names two changes; every state in the
//! history that is still kept is the one that was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use api::clock::Rng;
use api::{Card, Key};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::recover::recover;
use super::simulated::{Faults, Simulated};
use super::writer::{Core, Request, Tuning};
use crate::cache::{Limits, WatchCache};
use crate::error::CommitError;
use crate::write::{Change, Expect, Write};

type Name = (usize, String);
/// What a write left: its number and revision.
type State = BTreeMap<Name, (u64, u64)>;
/// What a write did: whether the object is there after it, and the number it carries.
type Done = (Name, Option<u64>);

const RESOURCES: [&str; 3] = ["pods", "deployments.apps", "nodes"];

struct World {
    rng: Rng,
    disk: Simulated,
    cache: Arc<WatchCache>,
    core: Core,
    state: State,
    /// Every committed change by revision.
    history: BTreeMap<u64, Done>,
    /// States that an unacknowledged batch may have led to, with its changes.
    maybe: Vec<(State, Vec<(u64, Done)>)>,
    writes: u64,
}

fn tuning() -> Tuning {
    Tuning { segment: (4096, 16384), slack: 8192 }
}

fn open(disk: &Simulated) -> (Arc<WatchCache>, Core) {
    let cache = Arc::new(WatchCache::new(Limits { events: 200, bytes: 1 << 20 }));
    let recovered =
        recover(Box::new(disk.clone()), &cache, None).unwrap_or_else(|f| panic!("{f:?}"));
    let core = Core::new(PathBuf::from("sim"), recovered, cache.clone(), tuning());
    (cache, core.expect("opens"))
}

fn observed(cache: &WatchCache) -> State {
    let mut state = State::new();
    for (i, resource) in RESOURCES.iter().enumerate() {
        for entry in &cache.resource(resource).list(None) {
            state.insert((i, entry.card.name.to_string()), (number(&entry.json), entry.revision));
        }
    }
    state
}

/// The number of the write that made these bytes; they must be whole.
fn number(json: &[u8]) -> u64 {
    let object: serde_json::Value = serde_json::from_slice(json).expect("whole JSON");
    let number = object["number"].as_u64().expect("a number");
    assert_eq!(object["fill"].as_str().expect("a text").len() as u64, number * 37 % 900);
    number
}

impl World {
    fn new(seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let disk = Simulated::new(rng.clone());
        let (cache, core) = open(&disk);
        let (state, history) = Default::default();
        Self { rng, disk, cache, core, state, history, maybe: Vec::new(), writes: 0 }
    }

    fn write(&mut self) -> Write {
        self.writes += 1;
        let number = self.writes;
        let resource = self.rng.below(3) as usize;
        let name = format!("n{}", self.rng.below(12));
        let key = Key::new(RESOURCES[resource], "", name.as_str());
        let current = self.state.get(&(resource, name.clone()));
        let expect = match self.rng.below(4) {
            0 => Expect::Absent,
            1 => Expect::Revision(current.map_or(5, |c| c.1)),
            _ => Expect::Any,
        };
        let fill = "f".repeat(number as usize * 37 % 900);
        let body =
            format!(r#"{{"metadata":{{"name":"{name}"}},"number":{number},"fill":"{fill}"}}"#);
        let (bytes, rv_at) = (Bytes::from(body), 13);
        let card = Card { name: name.as_str().into(), ..Card::default() };
        let change = match self.rng.below(8) {
            0 => Change::Delete { bytes, rv_at },
            1 => Change::MarkAndDelete { bytes, rv_at, card },
            _ => Change::Put { bytes, rv_at, card },
        };
        Write { key, expect, change }
    }

    /// One batch of random writes, with the answers compared to the model's.
    fn batch(&mut self) {
        let mut after = self.state.clone();
        let mut changes = Vec::new();
        let (mut requests, mut answers) = (Vec::new(), Vec::new());
        let mut revision = self.cache.revision();
        for _ in 0..=self.rng.below(12) {
            let write = self.write();
            let resource = RESOURCES.iter().position(|r| **r == *write.key.resource);
            let name = (resource.expect("known"), write.key.name.to_string());
            let current = after.get(&name).copied();
            let delete = write.change.removes();
            let holds = match write.expect {
                Expect::Any => !delete || current.is_some(),
                Expect::Absent => current.is_none() && !delete,
                Expect::Revision(r) => current.is_some_and(|c| c.1 == r),
            };
            let expected = if holds {
                revision += 1;
                let number = number_of(&write);
                if matches!(write.change, Change::MarkAndDelete { .. }) {
                    changes.push((revision, (name.clone(), Some(number))));
                    revision += 1;
                }
                if delete {
                    after.remove(&name);
                } else {
                    after.insert(name.clone(), (number, revision));
                }
                changes.push((revision, (name, (!delete).then_some(number))));
                Ok(revision)
            } else {
                Err(current.map(|c| c.1))
            };
            let (answer, answered) = oneshot::channel();
            requests.push(Request::Write(Box::new(write), answer));
            answers.push((answered, expected));
        }
        self.core.process(requests);
        let mut failed = false;
        for (mut answered, expected) in answers {
            match (answered.try_recv().expect("answered"), expected) {
                (Ok(entry), Ok(revision)) => assert_eq!(entry.revision, revision),
                (Err(CommitError::Conflict(found)), Err(revision)) => {
                    assert_eq!(found.map(|e| e.revision), revision);
                }
                (Err(CommitError::Full { .. } | CommitError::Unavailable(_)), _) => failed = true,
                // A batch that fails as a whole: the conflict was with what is committed.
                (Err(CommitError::Conflict(_)), Ok(_)) if failed => {}
                other => panic!("{other:?}"),
            }
        }
        if failed {
            self.maybe.push((after, changes));
        } else if !changes.is_empty() {
            self.commit(after, changes);
        }
        assert_eq!(observed(&self.cache), self.state, "what readers see is what was acknowledged");
    }

    fn commit(&mut self, state: State, changes: Vec<(u64, Done)>) {
        for (revision, change) in changes {
            let last = self.history.last_key_value().map_or(1, |(r, _)| *r);
            assert!(revision > last, "revision {revision} after {last}");
            self.history.insert(revision, change);
        }
        self.state = state;
        self.maybe.clear();
    }

    fn compact(&mut self) {
        let (answer, mut answered) = oneshot::channel();
        let target = self.cache.revision().saturating_sub(self.rng.below(40));
        self.core.process(vec![Request::Compact(target, answer)]);
        if answered.try_recv().expect("answered").is_ok() {
            assert!(self.cache.compacted() >= target);
        }
    }

    /// Whether the state at a revision still reads as it was.
    fn check_history(&self) {
        let now = self.cache.revision();
        for (i, resource) in RESOURCES.iter().enumerate() {
            let cache = self.cache.resource(resource);
            for back in [0, 1, 2, 5, 13, 40] {
                let revision = now.saturating_sub(back);
                let Ok(list) = cache.list_at(revision, None, None) else { continue };
                let mut then = BTreeMap::new();
                for (_, ((r, name), number)) in self.history.range(..=revision) {
                    match number {
                        Some(number) if *r == i => drop(then.insert(name.clone(), *number)),
                        None if *r == i => drop(then.remove(name)),
                        _ => {}
                    }
                }
                let found: BTreeMap<_, _> =
                    list.iter().map(|e| (e.card.name.to_string(), number(&e.json))).collect();
                assert_eq!(found, then, "{resource} at {revision} of {now}");
            }
        }
    }

    fn restart(&mut self) {
        self.disk.restart();
        let compacted = self.cache.compacted();
        let (cache, core) = open(&self.disk);
        (self.cache, self.core) = (cache, core);
        assert!(self.cache.compacted() >= compacted.min(1), "compaction went backwards");
        let found = observed(&self.cache);
        if found != self.state {
            let maybe = std::mem::take(&mut self.maybe);
            let hit = maybe.into_iter().find(|(state, _)| *state == found);
            let Some((state, changes)) = hit else {
                panic!("lost or half-written: found {found:?}\nnot {:?}", self.state);
            };
            self.commit(state, changes);
        }
        self.maybe.clear();
        self.check_history();
    }
}

fn number_of(write: &Write) -> u64 {
    let object: serde_json::Value = serde_json::from_slice(write.change.bytes()).expect("JSON");
    object["number"].as_u64().expect("a number")
}

#[test]
fn crashes_at_any_operation() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..12 {
            let crash_in = world.rng.below(120);
            world.disk.set_faults(Faults { crash_in: Some(crash_in), ..Faults::default() });
            for _ in 0..60 {
                match world.rng.below(12) {
                    0 => world.compact(),
                    1 if world.core.wants_cleaning() => world.core.clean(),
                    _ => world.batch(),
                }
                if world.maybe.len() > 2 {
                    break;
                }
            }
            world.restart();
        }
    }
}

#[test]
fn failing_syncs_and_a_full_disk() {
    for seed in 1000..1030 {
        let mut world = World::new(seed);
        for round in 0..8 {
            let capacity = world.disk.used() + world.rng.below(20_000) as usize;
            world.disk.set_faults(Faults {
                capacity: (round % 2 == 0).then_some(capacity),
                sync_fails: (round % 3 != 0).then_some(4),
                crash_in: None,
            });
            for _ in 0..40 {
                world.batch();
            }
            // Space and health return: so does service.
            world.disk.set_faults(Faults::default());
            for _ in 0..3 {
                world.batch();
            }
            assert!(world.maybe.is_empty(), "writes do not work again");
            assert!(world.core.status().health().is_ok());
            world.check_history();
            world.restart();
        }
    }
}

#[test]
fn superseded_bytes_go() {
    let mut world = World::new(7);
    for _ in 0..3000 {
        world.batch();
        let size = world.core.status().size();
        assert_eq!(size.total as usize, world.disk.used());
        assert!(size.total <= 2 * size.live + 8192 + 4 * 16384, "{size:?}");
    }
    while world.core.wants_cleaning() {
        world.core.clean();
    }
    let size = world.core.status().size();
    assert!(size.total <= 2 * size.live.max(8192) + 16384, "{size:?}");
    world.core.close();
    world.restart();
}
