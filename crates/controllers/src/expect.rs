//! What a controller has done that its views may not show yet. Until they do, it does not act on the
//! same key again, so that nothing is made or unmade twice.
//!
//! Writes are awaited by revision: the view of that resource must have reached it. Deletions of pods
//! are awaited pod by pod. Not here: the actions.

use std::collections::HashMap;
use std::time::Duration;

use api::Resource;
use client::Informer;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::context::Name;

/// After this time the views are believed whatever they show.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is expected, by key.
#[derive(Default)]
pub struct Expectations {
    keys: Mutex<HashMap<Name, Expected>>,
}

struct Expected {
    /// The revision of the last write, by resource.
    written: Vec<(Resource, u64)>,
    /// Name and uid of pods deleted.
    deleted: Vec<(String, String)>,
    since: Instant,
}

impl Expectations {
    /// Whether the views show everything that was done for a key.
    pub fn met(&self, key: &Name, views: &[&Informer]) -> bool {
        let mut keys = self.keys.lock();
        let Some(expected) = keys.get_mut(key) else { return true };
        if expected.since.elapsed() < PATIENCE {
            for view in views {
                let wanted = expected.written.iter().find(|(r, _)| r == view.resource());
                if wanted.is_some_and(|(_, revision)| view.revision() < *revision) {
                    return false;
                }
                if view.resource().plural == "pods" {
                    expected.deleted.retain(|(name, uid)| {
                        let seen = view.get(&key.0, name);
                        seen.is_some_and(|e| *e.card.uid == **uid && !e.card.deleting)
                    });
                }
            }
            if !expected.deleted.is_empty() {
                return false;
            }
        }
        keys.remove(key);
        true
    }

    fn with(&self, key: &Name, f: impl FnOnce(&mut Expected)) {
        let mut keys = self.keys.lock();
        f(keys.entry(key.clone()).or_insert_with(|| Expected {
            written: Vec::new(),
            deleted: Vec::new(),
            since: Instant::now(),
        }));
    }

    /// Waits for the view of a resource to reach a revision.
    pub fn wrote(&self, key: &Name, resource: &Resource, revision: u64) {
        self.with(key, |expected| match expected.written.iter_mut().find(|(r, _)| r == resource) {
            Some((_, last)) => *last = revision.max(*last),
            None => expected.written.push((resource.clone(), revision)),
        });
    }

    /// Waits for pods to be gone or going.
    pub fn deleted(&self, key: &Name, pods: impl IntoIterator<Item = (String, String)>) {
        self.with(key, |expected| expected.deleted.extend(pods));
    }

    /// The key's object is gone.
    pub fn forget(&self, key: &Name) {
        self.keys.lock().remove(key);
    }
}
