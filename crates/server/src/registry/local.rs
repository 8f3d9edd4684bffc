//! Watches within the process: the cache's own entries, no bytes made.
//!
//! Not here: watches over HTTP (`watch`).

use std::sync::Arc;

use client::{ListOptions, LocalEvent, LocalWatch, Shutdown};
use futures_util::StreamExt;
use store::{Event, EventKind};

use super::select::Selection;
use crate::server::Target;

/// A snapshot of what the options select, and its changes from then on.
pub fn watch(target: &Target, options: &ListOptions, shutdown: Shutdown) -> Option<LocalWatch> {
    if !target.as_stored() {
        return None;
    }
    let mut target = target.clone();
    target.namespace.clone_from(&options.namespace);
    let target = &target;
    let selection = Selection::of(target, &options.label_selector, &options.field_selector).ok()?;
    if !selection.is_indexed() {
        return None;
    }
    let (snapshot, watcher) =
        target.cache.list_and_watch_part(selection.within(), selection.part());
    if target.custom.is_some() && !snapshot.iter().all(|entry| target.is_verbatim(entry)) {
        return None;
    }
    let entries = snapshot.iter().filter(|e| selection.matches(&e.card)).cloned().collect();
    let state = (watcher, Arc::new(selection), shutdown, target.custom.clone());
    let events =
        futures_util::stream::unfold(state, |(mut watcher, selection, stop, custom)| async move {
            loop {
                let batch = tokio::select! {
                    biased;
                    () = stop.cancelled() => return None,
                    batch = watcher.next_batch() => batch.ok()?,
                    () = super::watch::retired(custom.as_ref()) => return None,
                };
                let seen: Vec<LocalEvent> =
                    batch.iter().filter_map(|event| local(event, &selection)).collect();
                if !seen.is_empty() {
                    return Some((seen, (watcher, selection, stop, custom)));
                }
            }
        });
    Some(LocalWatch { revision: snapshot.revision, entries, events: events.boxed() })
}

fn local(event: &Event, selection: &Selection) -> Option<LocalEvent> {
    let before = event.previous.as_ref().is_some_and(|p| selection.covers(&p.card));
    match event.kind {
        EventKind::Deleted => before.then(|| LocalEvent::Deleted(event.entry.clone())),
        _ if selection.covers(&event.entry.card) => Some(LocalEvent::Applied(event.entry.clone())),
        _ => before.then(|| LocalEvent::Deleted(event.entry.clone())),
    }
}
