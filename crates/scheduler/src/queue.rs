//! Pending pods: ready to try, backing off, or waiting for a change that could help.
//!
//! A pod that failed waits until an event that concerns one of the plugins that refused it (KEP-4247
//! in spirit), or five minutes. Then it backs off, unless nothing else is to be done: an idle scheduler
//! takes it at once (KEP-5142). Not here: reading events (`run`), placing pods (`schedule`).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::filter::Plugin;
use crate::pod::Pod;

const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// How long a pod waits at most without any event.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Something in the cluster that could make a refused pod fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node came, or changed what it offers.
    Node,
    /// An assigned pod went away or shrank.
    PodGone,
    /// A pod was assigned, which affinity may wait for.
    PodPlaced,
    /// A claim or volume changed.
    Volume,
    /// A namespace's labels changed.
    Namespace,
}

impl Change {
    /// Whether the change can cure one of the refusals. Where no plugin refused, there was no node to
    /// ask.
    fn may_help(self, refused_by: &BTreeSet<Plugin>) -> bool {
        let no_node = refused_by.is_empty() && self == Self::Node;
        no_node || refused_by.iter().any(|p| self.helps(*p))
    }

    /// Whether the change can cure a plugin's refusal.
    fn helps(self, plugin: Plugin) -> bool {
        use Plugin::{
            InterPodAffinity, NodePorts, NodeResourcesFit, PodTopologySpread, VolumeBinding,
        };
        match self {
            Self::Node => true,
            Self::PodGone => matches!(
                plugin,
                NodeResourcesFit | NodePorts | PodTopologySpread | InterPodAffinity
            ),
            Self::PodPlaced => matches!(plugin, PodTopologySpread | InterPodAffinity),
            Self::Volume => plugin == VolumeBinding,
            Self::Namespace => plugin == InterPodAffinity,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    /// Failed attempts so far.
    attempts: u32,
    /// When the pod was first seen, which orders pods of one priority.
    since: u64,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Could fit by now; not before this time as long as others are ready.
    Backoff(Instant),
    /// Its attempt broke down; not before this time, to go easy on what broke.
    Broken(Instant),
    Unschedulable {
        refused_by: BTreeSet<Plugin>,
        until: Instant,
        not_before: Instant,
    },
    /// Handed out and not yet answered for. Changes meanwhile are remembered, since they may have come
    /// after the attempt looked.
    InFlight {
        changes: Vec<Change>,
    },
}

type Rank = (Reverse<i32>, u64, Box<str>);

/// The queue, owned by the scheduling task.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<Box<str>, Waiting>,
    active: BTreeSet<Rank>,
    timers: BTreeSet<(Instant, Box<str>)>,
    /// Those of the timers that an idle scheduler need not wait for.
    backoff: BTreeSet<(Instant, Box<str>)>,
    sequence: u64,
}

impl Queue {
    /// Pods waiting: `(active, backing off, unschedulable)`.
    pub fn depths(&self) -> (usize, usize, usize) {
        let count = |f: fn(&Place) -> bool| self.pods.values().filter(|w| f(&w.place)).count();
        let backoff = count(|p| matches!(p, Place::Backoff(_) | Place::Broken(_)));
        let stuck = count(|p| matches!(p, Place::Unschedulable { .. }));
        (self.active.len(), backoff, stuck)
    }

    /// Adds a pod, or takes its new version. A new version of an unschedulable pod is tried again.
    pub fn add(&mut self, pod: Arc<Pod>, now: Instant) {
        let uid = pod.entry.card.uid.clone();
        if let Some(mut waiting) = self.pods.remove(&uid) {
            self.detach(&uid, &waiting);
            waiting.pod = pod;
            if let Place::Unschedulable { not_before, .. } = waiting.place {
                waiting.place = wait_until(not_before, now);
            }
            self.attach(uid, waiting);
            return;
        }
        self.sequence += 1;
        let waiting = Waiting { pod, attempts: 0, since: self.sequence, place: Place::Active };
        self.attach(uid, waiting);
    }

    /// Takes a new version that changes nothing about scheduling (a status write of ours).
    pub fn refresh(&mut self, pod: Arc<Pod>) {
        if let Some(waiting) = self.pods.get_mut(&pod.entry.card.uid) {
            waiting.pod = pod;
        }
    }

    /// The version of a pod that waits here.
    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.pods.get(uid).map(|w| &w.pod)
    }

    /// Forgets a pod: deleted, or assigned.
    pub fn remove(&mut self, uid: &str) {
        if let Some(waiting) = self.pods.remove(uid) {
            self.detach(uid, &waiting);
        }
    }

    /// The next pod to try, by priority and then age, else one that still backs off; it stays in flight until [`Queue::failed`],
    /// [`Queue::retry`] or [`Queue::remove`].
    pub fn pop(&mut self, now: Instant) -> Option<Arc<Pod>> {
        self.wake(now);
        let uid = if let Some((_, _, uid)) = self.active.pop_first() {
            uid
        } else {
            let early = self.backoff.pop_first()?;
            self.timers.remove(&early);
            early.1
        };
        let waiting = self.pods.get_mut(&uid)?;
        waiting.place = Place::InFlight { changes: Vec::new() };
        Some(waiting.pod.clone())
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// No node would take the pod.
    pub fn failed(&mut self, uid: &str, refused_by: BTreeSet<Plugin>, now: Instant) {
        let Some(mut waiting) = self.pods.remove(uid) else { return };
        waiting.attempts += 1;
        let not_before = now + backoff(waiting.attempts);
        let helped = match &waiting.place {
            Place::InFlight { changes } => changes.iter().any(|c| c.may_help(&refused_by)),
            _ => false,
        };
        waiting.place = if helped {
            Place::Backoff(not_before)
        } else {
            Place::Unschedulable { refused_by, until: now + MAX_WAIT, not_before }
        };
        self.attach(uid.into(), waiting);
    }

    /// The attempt broke down (an API error): try again after a back-off.
    pub fn retry(&mut self, uid: &str, now: Instant) {
        let Some(mut waiting) = self.pods.remove(uid) else { return };
        waiting.attempts += 1;
        waiting.place = Place::Broken(now + backoff(waiting.attempts));
        self.attach(uid.into(), waiting);
    }

    /// Something changed: pods it can help are tried again.
    pub fn changed(&mut self, change: Change, now: Instant) {
        let helped: Vec<Box<str>> = self
            .pods
            .iter_mut()
            .filter_map(|(uid, waiting)| match &mut waiting.place {
                Place::Unschedulable { refused_by, .. } => {
                    change.may_help(refused_by).then(|| uid.clone())
                }
                Place::InFlight { changes } => {
                    if !changes.contains(&change) {
                        changes.push(change);
                    }
                    None
                }
                _ => None,
            })
            .collect();
        for uid in helped {
            let Some(mut waiting) = self.pods.remove(&uid) else { continue };
            self.detach(&uid, &waiting);
            if let Place::Unschedulable { not_before, .. } = waiting.place {
                waiting.place = wait_until(not_before, now);
            }
            self.attach(uid, waiting);
        }
    }

    /// Makes pods active whose time has come.
    fn wake(&mut self, now: Instant) {
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.pop_first();
            self.backoff.remove(&(at, uid.clone()));
            if let Some(waiting) = self.pods.get_mut(&uid) {
                waiting.place = Place::Active;
                self.active.insert(rank(waiting, &uid));
            }
        }
    }

    fn attach(&mut self, uid: Box<str>, waiting: Waiting) {
        match &waiting.place {
            Place::Active => {
                self.active.insert(rank(&waiting, &uid));
            }
            Place::Backoff(at) => {
                self.timers.insert((*at, uid.clone()));
                self.backoff.insert((*at, uid.clone()));
            }
            Place::Broken(at) | Place::Unschedulable { until: at, .. } => {
                self.timers.insert((*at, uid.clone()));
            }
            Place::InFlight { .. } => {}
        }
        self.pods.insert(uid, waiting);
    }

    fn detach(&mut self, uid: &str, waiting: &Waiting) {
        match &waiting.place {
            Place::Active => {
                self.active.remove(&rank(waiting, uid));
            }
            Place::Backoff(at) => {
                self.timers.remove(&(*at, uid.into()));
                self.backoff.remove(&(*at, uid.into()));
            }
            Place::Broken(at) | Place::Unschedulable { until: at, .. } => {
                self.timers.remove(&(*at, uid.into()));
            }
            Place::InFlight { .. } => {}
        }
    }
}

fn rank(waiting: &Waiting, uid: &str) -> Rank {
    (Reverse(waiting.pod.priority), waiting.since, uid.into())
}

fn wait_until(at: Instant, now: Instant) -> Place {
    if at <= now { Place::Active } else { Place::Backoff(at) }
}

/// 1 s, doubling to 10 s.
fn backoff(attempts: u32) -> Duration {
    INITIAL_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|p| p.entry.card.name.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn by_priority_then_age() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), now);
        queue.add(pod("b", "{priority: 10}"), now);
        queue.add(pod("c", "{}"), now);
        assert_eq!(names(&mut queue, now), ["b", "a", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_pod_waits_for_a_change_that_helps() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.failed(&uid, [Plugin::NodeResourcesFit].into(), start);
        let later = start + Duration::from_secs(60);
        queue.changed(Change::PodPlaced, later);
        assert!(queue.pop(later).is_none(), "an added pod frees nothing");
        queue.changed(Change::PodGone, later);
        assert!(queue.pop(later).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_during_the_attempt_is_not_lost() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.changed(Change::PodPlaced, start);
        queue.failed(&uid, [Plugin::NodeAffinity].into(), start);
        assert!(queue.pop(start).is_none(), "that change helps no node's labels");
        queue.changed(Change::Node, start);
        let uid = queue.pop(start).expect("a node may").entry.card.uid.clone();
        queue.changed(Change::Node, start);
        queue.failed(&uid, [Plugin::NodeAffinity].into(), start);
        assert!(queue.pop(start).is_some(), "the node came while the attempt was under way");
    }

    #[tokio::test(start_paused = true)]
    async fn backing_off_is_for_a_busy_scheduler() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.failed(&uid, [Plugin::NodeResourcesFit].into(), start);
        queue.add(pod("b", "{}"), start);
        queue.changed(Change::PodGone, start);
        assert_eq!(queue.depths(), (1, 1, 0));
        assert_eq!(names(&mut queue, start), ["b", "a"], "others first, then at once");
        assert_eq!(queue.next_timer(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_broke_down_is_left_alone_for_a_while() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.retry(&uid, start);
        queue.changed(Change::Node, start);
        assert!(queue.pop(start).is_none(), "still backing off");
        assert!(queue.pop(start + Duration::from_secs(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_node_helps_whom_none_could_refuse() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.failed(&uid, BTreeSet::new(), start);
        let later = start + Duration::from_secs(60);
        queue.changed(Change::PodGone, later);
        assert!(queue.pop(later).is_none(), "there is still no node");
        queue.changed(Change::Node, later);
        assert!(queue.pop(later).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waits_five_minutes_at_most() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        queue.add(pod("a", "{}"), start);
        let uid = queue.pop(start).expect("active").entry.card.uid.clone();
        queue.failed(&uid, BTreeSet::new(), start);
        assert_eq!(queue.next_timer(), Some(start + MAX_WAIT));
        assert!(queue.pop(start + MAX_WAIT).is_some());
    }
}
