//! Watchers of a part of a resource: one object, one namespace, one value of a field.
//!
//! A thousand kubelets watch the pods of their own node, and each of their config maps by name. If
//! every event woke them all, most would wake for nothing; so an event is looked up in the values
//! watched and put into the feeds that it concerns. It concerns a feed if the object meets the
//! interest before or after it: what leaves a selection is seen too.
//!
//! Not here: watchers of everything, which read the ring.

use std::collections::VecDeque;
use std::sync::Arc;

use api::Entry;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::event::Event;

/// A part of a resource that a watcher can confine itself to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// The objects of a namespace.
    Namespace(Arc<str>),
    /// One object: namespace (empty for cluster-scoped kinds) and name.
    Object(Arc<str>, Arc<str>),
    /// The objects with a value in a selectable field, by path: `spec.nodeName`, `node-1`.
    Field(Arc<str>, Arc<str>),
}

impl Interest {
    /// Whether an object meets it.
    pub fn meets(&self, entry: &Entry) -> bool {
        match self {
            Self::Namespace(namespace) => entry.card.namespace == *namespace,
            Self::Object(namespace, name) => {
                entry.card.namespace == *namespace && entry.card.name == *name
            }
            Self::Field(path, value) => entry.card.field(path) == Some(&**value),
        }
    }

    /// Whether an event is of interest: the object meets it before or after.
    pub fn concerns(&self, event: &Event) -> bool {
        self.meets(&event.entry) || event.previous.as_ref().is_some_and(|entry| self.meets(entry))
    }

    /// What is looked up, and the value it is looked up by.
    fn split(&self) -> (Aspect, Arc<str>) {
        match self {
            Self::Namespace(namespace) => (Aspect::Namespace, namespace.clone()),
            Self::Object(namespace, name) => (Aspect::Object, format!("{namespace}/{name}").into()),
            Self::Field(path, value) => (Aspect::Field(path.clone()), value.clone()),
        }
    }
}

/// What of an object is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Aspect {
    Namespace,
    Object,
    Field(Arc<str>),
}

impl Aspect {
    fn read<'a>(&self, entry: &'a Entry, scratch: &'a mut String) -> Option<&'a str> {
        match self {
            Self::Namespace => Some(&entry.card.namespace),
            Self::Object => {
                scratch.clear();
                scratch.push_str(&entry.card.namespace);
                scratch.push('/');
                scratch.push_str(&entry.card.name);
                Some(scratch)
            }
            Self::Field(path) => entry.card.field(path),
        }
    }
}

/// Events a feed holds at most before its watcher counts as too slow.
pub(super) const FEED_MAX: usize = 8192;

/// The events that wait for one watcher.
#[derive(Debug, Default)]
pub(super) struct Feed {
    waiting: Mutex<Waiting>,
    pub changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Arc<Event>>,
    lagged: bool,
}

impl Feed {
    pub fn push(&self, event: &Arc<Event>) {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= FEED_MAX {
            waiting.events = VecDeque::new();
            waiting.lagged = true;
        }
        if !waiting.lagged {
            waiting.events.push_back(event.clone());
        }
    }

    /// Up to `max` events; `None` if some were lost.
    pub fn take(&self, max: usize) -> Option<Vec<Arc<Event>>> {
        let mut waiting = self.waiting.lock();
        if waiting.lagged {
            return None;
        }
        let count = waiting.events.len().min(max);
        let events = waiting.events.drain(..count).collect();
        if waiting.events.is_empty() && waiting.events.capacity() > 64 {
            waiting.events = VecDeque::new();
        }
        Some(events)
    }

    /// Whether nothing waits and nothing was lost.
    pub fn is_drained(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.events.is_empty() && !waiting.lagged
    }
}

/// All feeds of a resource, by what they look up.
#[derive(Debug, Default)]
pub(super) struct Interests(HashMap<Aspect, HashMap<Arc<str>, Vec<Arc<Feed>>>>);

impl Interests {
    pub fn add(&mut self, interest: &Interest, feed: Arc<Feed>) {
        let (aspect, value) = interest.split();
        self.0.entry(aspect).or_default().entry(value).or_default().push(feed);
    }

    pub fn remove(&mut self, interest: &Interest, feed: &Arc<Feed>) {
        let (aspect, value) = interest.split();
        let Some(values) = self.0.get_mut(&aspect) else { return };
        if let Some(feeds) = values.get_mut(&value) {
            feeds.retain(|other| !Arc::ptr_eq(other, feed));
            if feeds.is_empty() {
                values.remove(&value);
            }
        }
        if values.is_empty() {
            self.0.remove(&aspect);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts an event into the feeds it concerns, which are added to `fed`.
    pub fn offer(&self, event: &Arc<Event>, fed: &mut Vec<Arc<Feed>>) {
        let (mut scratch, mut scratch_before) = (String::new(), String::new());
        for (aspect, values) in &self.0 {
            let now = aspect.read(&event.entry, &mut scratch);
            let before = event.previous.as_ref().and_then(|e| aspect.read(e, &mut scratch_before));
            let before = before.filter(|before| now != Some(before));
            for feed in [now, before].into_iter().flatten().filter_map(|v| values.get(v)).flatten()
            {
                feed.push(event);
                fed.push(feed.clone());
            }
        }
    }
}
