//! One resource's cache: its objects and its recent events.
//!
//! Not here: the consistency between resources (see the parent module).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::Entry;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::Shared;
use super::event::{Event, EventKind};
use super::interest::{Feed, Interest, Interests};
use super::ring::Ring;
use super::snapshot::Snapshot;
use super::tree::Tree;
use super::watcher::Watcher;
use crate::error::Expired;

/// An old state that took more than so many steps to reconstruct is kept for the next page of its
/// list; others are quicker made than held.
const PAST_WORTH: usize = 256;

/// The objects and recent events of one resource.
#[derive(Debug)]
pub struct ResourceCache {
    name: Arc<str>,
    pub(super) shared: Arc<Shared>,
    state: RwLock<State>,
    /// The ring's end, to be read without the lock.
    end: AtomicU64,
    /// Wakes watchers.
    changed: Notify,
    /// The last reconstructed old state: the pages of one list ask for the same revision.
    past: Mutex<Option<(u64, Arc<Tree>)>>,
}

#[derive(Debug)]
struct State {
    tree: Arc<Tree>,
    ring: Ring,
    /// The revision of the last event.
    last: u64,
    /// Watchers of parts.
    interests: Interests,
}

impl ResourceCache {
    pub(super) fn new(name: Arc<str>, shared: Arc<Shared>) -> Self {
        let floor = shared.compacted.load(Ordering::Acquire);
        let state = State {
            tree: Arc::default(),
            ring: Ring::new(floor),
            last: floor,
            interests: Interests::default(),
        };
        Self {
            name,
            shared,
            state: RwLock::new(state),
            end: AtomicU64::new(0),
            changed: Notify::new(),
            past: Mutex::new(None),
        }
    }

    /// The resource's qualified name, as in `deployments.apps`.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().tree.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events are kept.
    pub fn history(&self) -> usize {
        self.state.read().ring.len()
    }

    /// The revision of the newest event of this resource (0 if none is known).
    pub fn last_revision(&self) -> u64 {
        self.state.read().last
    }

    /// One object; the namespace is empty for cluster-scoped kinds.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.state.read().tree.get(namespace, name).cloned()
    }

    /// All objects, or those of a namespace, ordered by namespace and name.
    pub fn list(&self, namespace: Option<&str>) -> Snapshot {
        let (tree, revision) = self.present();
        Snapshot::new(revision, tree, namespace, None)
    }

    /// The objects as they were at a revision, behind `start_after` (namespace and name). A revision
    /// later than everything committed is the present.
    pub fn list_at(
        &self,
        revision: u64,
        namespace: Option<&str>,
        start_after: Option<(&str, &str)>,
    ) -> Result<Snapshot, Expired> {
        let tree = self.tree_at(revision)?;
        Ok(Snapshot::new(revision, tree, namespace, start_after))
    }

    /// The events after a revision, and all that follow. One later than everything committed yields
    /// the events after it, when there are some.
    pub fn watch(self: &Arc<Self>, from: u64) -> Result<Watcher, Expired> {
        let state = self.state.read();
        let floor = state.ring.floor();
        if from < floor {
            return Err(Expired { requested: from, oldest: floor });
        }
        let cursor = state.ring.cursor_after(from);
        drop(state);
        Ok(Watcher::of_all(self.clone(), cursor, from))
    }

    /// The present objects and a watcher of everything after them.
    pub fn list_and_watch(self: &Arc<Self>, namespace: Option<&str>) -> (Snapshot, Watcher) {
        let state = self.state.read();
        let revision = self.revision_of(&state);
        let (tree, cursor) = (state.tree.clone(), state.ring.end());
        drop(state);
        let watcher = Watcher::of_all(self.clone(), cursor, revision);
        (Snapshot::new(revision, tree, namespace, None), watcher)
    }

    /// As [`ResourceCache::watch`]; where a part is given, only events that concern it, and only
    /// woken by those.
    pub fn watch_part(
        self: &Arc<Self>,
        from: u64,
        part: impl Into<Option<Interest>>,
    ) -> Result<Watcher, Expired> {
        let Some(part) = part.into() else { return self.watch(from) };
        let mut state = self.state.write();
        let floor = state.ring.floor();
        if from < floor {
            return Err(Expired { requested: from, oldest: floor });
        }
        let feed = Arc::new(Feed::default());
        let cursor = state.ring.cursor_after(from);
        for event in state.ring.from(cursor).into_iter().flatten().filter(|e| part.concerns(e)) {
            feed.push(event);
        }
        state.interests.add(&part, feed.clone());
        drop(state);
        Ok(Watcher::of_part(self.clone(), part, feed, from))
    }

    /// As [`ResourceCache::list_and_watch`]; where a part is given, with a watcher of that.
    pub fn list_and_watch_part(
        self: &Arc<Self>,
        namespace: Option<&str>,
        part: impl Into<Option<Interest>>,
    ) -> (Snapshot, Watcher) {
        let Some(part) = part.into() else { return self.list_and_watch(namespace) };
        let mut state = self.state.write();
        let revision = self.revision_of(&state);
        let tree = state.tree.clone();
        let feed = Arc::new(Feed::default());
        state.interests.add(&part, feed.clone());
        drop(state);
        let watcher = Watcher::of_part(self.clone(), part, feed, revision);
        (Snapshot::new(revision, tree, namespace, None), watcher)
    }

    pub(super) fn end_feed(&self, part: &Interest, feed: &Arc<Feed>) {
        self.state.write().interests.remove(part, feed);
    }

    fn present(&self) -> (Arc<Tree>, u64) {
        let state = self.state.read();
        (state.tree.clone(), self.revision_of(&state))
    }

    /// The revision that a state under its lock stands for.
    fn revision_of(&self, state: &State) -> u64 {
        self.shared.published.load(Ordering::Acquire).max(state.last)
    }

    fn tree_at(&self, revision: u64) -> Result<Arc<Tree>, Expired> {
        // Also where nothing has changed since: clients are promised that old revisions end.
        let compacted = self.shared.compacted.load(Ordering::Acquire);
        if revision < compacted {
            return Err(Expired { requested: revision, oldest: compacted });
        }
        let state = self.state.read();
        if revision >= state.last {
            return Ok(state.tree.clone());
        }
        let floor = state.ring.floor();
        if revision < floor {
            return Err(Expired { requested: revision, oldest: floor });
        }
        let known = self.past.lock().clone();
        if let Some((_, tree)) = known.filter(|(at, _)| *at == revision) {
            return Ok(tree);
        }
        let tree = state.tree.clone();
        let cursor = state.ring.cursor_after(revision);
        let undo: Vec<Arc<Event>> =
            state.ring.from(cursor).into_iter().flatten().rev().cloned().collect();
        drop(state);

        let keep = undo.len() > PAST_WORTH;
        let mut tree = Arc::unwrap_or_clone(tree);
        for event in undo {
            match &event.previous {
                Some(previous) => tree.insert(previous.clone()),
                None => tree.remove(&event.entry.card.namespace, &event.entry.card.name),
            };
        }
        let tree = Arc::new(tree);
        if keep {
            *self.past.lock() = Some((revision, tree.clone()));
        }
        Ok(tree)
    }

    /// Takes over this resource's part of a batch; returns the feeds to wake.
    pub(super) fn apply(&self, events: Vec<Arc<Event>>) -> Vec<Arc<Feed>> {
        let mut fed = Vec::new();
        let limits = self.shared.limits;
        let total = &self.shared.retained;
        let mut state = self.state.write();
        let state = &mut *state;
        let tree = Arc::make_mut(&mut state.tree);
        for event in events {
            debug_assert!(event.revision > state.last, "events out of order");
            if event.kind == EventKind::Deleted {
                tree.remove(&event.entry.card.namespace, &event.entry.card.name);
            } else {
                tree.insert(event.entry.clone());
            }
            state.last = event.revision;
            if !state.interests.is_empty() {
                state.interests.offer(&event, &mut fed);
            }
            total.fetch_add(state.ring.push(event), Ordering::Relaxed);
        }
        while state.ring.len() > limits.events
            || (total.load(Ordering::Relaxed) > limits.bytes && state.ring.len() > 1)
        {
            let Some(freed) = state.ring.pop() else { break };
            total.fetch_sub(freed, Ordering::Relaxed);
        }
        self.end.store(state.ring.end(), Ordering::Release);
        fed
    }

    /// Puts an object in its place without an event: it was there before the history begins.
    pub(crate) fn restore(&self, entry: Arc<Entry>) {
        let mut state = self.state.write();
        state.last = state.last.max(entry.revision);
        Arc::make_mut(&mut state.tree).insert(entry);
    }

    /// Drops the history up to a revision.
    pub(crate) fn compact(&self, revision: u64) {
        let freed = self.state.write().ring.compact(revision);
        self.shared.retained.fetch_sub(freed, Ordering::Relaxed);
        *self.past.lock() = None;
    }

    pub(super) fn wake(&self, fed: &[Arc<Feed>]) {
        self.changed.notify_waiters();
        fed.iter().for_each(|feed| feed.changed.notify_one());
    }

    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Up to `max` events from a cursor on, with the revision that they complete; `None` if some
    /// are gone.
    pub(super) fn events(&self, cursor: u64, max: usize) -> Option<(Vec<Arc<Event>>, u64)> {
        let state = self.state.read();
        let events: Vec<Arc<Event>> = state.ring.from(cursor)?.take(max).cloned().collect();
        let complete = match events.last() {
            Some(last) if cursor + (events.len() as u64) < state.ring.end() => last.revision,
            _ => self.revision_of(&state),
        };
        Some((events, complete))
    }

    /// The revision that is complete for who has read up to a cursor, if that is the end.
    pub(super) fn complete_at(&self, cursor: u64) -> Option<u64> {
        let state = self.state.read();
        (state.ring.end() <= cursor).then(|| self.revision_of(&state))
    }

    /// The revision that is complete if something holds while nothing changes.
    pub(super) fn complete_if(&self, holds: impl FnOnce() -> bool) -> Option<u64> {
        let state = self.state.read();
        holds().then(|| self.revision_of(&state))
    }
}

impl Drop for ResourceCache {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.shared.retained.fetch_sub(state.ring.compact(u64::MAX), Ordering::Relaxed);
    }
}
