//! What a set has done that its view of the pods may not show yet. Until it does, the set neither
//! creates nor deletes, so that no pod is made or unmade twice.
//!
//! Creations are awaited by revision: the view must have reached the last one. Deletions are awaited
//! pod by pod. Not here: the actions.

use std::collections::HashMap;
use std::time::Duration;

use client::Informer;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::context::Name;

/// After this time the view is believed whatever it shows.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Default)]
pub struct Expectations {
    sets: Mutex<HashMap<Name, Expected>>,
}

struct Expected {
    /// The revision of the last pod created.
    created: u64,
    /// Name and uid of pods deleted.
    deleted: Vec<(String, String)>,
    since: Instant,
}

impl Expectations {
    /// Whether the view shows everything the set has done.
    pub fn met(&self, set: &Name, pods: &Informer) -> bool {
        let mut sets = self.sets.lock();
        let Some(expected) = sets.get_mut(set) else { return true };
        if expected.since.elapsed() < PATIENCE {
            if pods.revision() < expected.created {
                return false;
            }
            expected.deleted.retain(|(name, uid)| {
                let seen = pods.get(&set.0, name);
                seen.is_some_and(|e| *e.card.uid == **uid && !e.card.deleting)
            });
            if !expected.deleted.is_empty() {
                return false;
            }
        }
        sets.remove(set);
        true
    }

    /// Waits for the view to reach a revision.
    pub fn created(&self, set: &Name, revision: u64) {
        let mut sets = self.sets.lock();
        let expected = sets.entry(set.clone()).or_insert_with(Expected::new);
        expected.created = expected.created.max(revision);
    }

    /// Waits for pods to be gone or going.
    pub fn deleted(&self, set: &Name, pods: impl IntoIterator<Item = (String, String)>) {
        let mut sets = self.sets.lock();
        sets.entry(set.clone()).or_insert_with(Expected::new).deleted.extend(pods);
    }

    /// The set is gone.
    pub fn forget(&self, set: &Name) {
        self.sets.lock().remove(set);
    }
}

impl Expected {
    fn new() -> Self {
        Self { created: 0, deleted: Vec::new(), since: Instant::now() }
    }
}
