//! A queue of keys to reconcile: each key at most once in the queue and at most once in work, with
//! delays in one timer heap and exponential back-off per key.
//!
//! A key is *dirty* from `add` until a worker takes it, and *in work* from then until `done`. A dirty
//! key that is in work waits for `done`; so no key is ever handed out twice at once, and no change is
//! lost. Not here: the workers (`workers`).

pub mod workers;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use api::clock::Rng;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::QueueMetrics;

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first delay.
    pub base: Duration,
    /// No delay is longer (before jitter).
    pub max: Duration,
    /// Each delay is stretched by a random factor up to `1 + jitter`.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(5), max: Duration::from_secs(300), jitter: 0.2 }
    }
}

impl Backoff {
    /// The delay after so many failures before this one.
    pub fn delay(&self, failures: u32, rng: &Rng) -> Duration {
        let plain =
            self.base.saturating_mul(1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        rng.jittered(plain.min(self.max), self.jitter)
    }
}

/// A work queue; clones share it.
#[derive(Clone)]
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    wake: Notify,
    backoff: Backoff,
    rng: Rng,
    metrics: QueueMetrics,
}

struct State<K> {
    /// Keys ready to be taken, each with the time it became so.
    ready: VecDeque<(K, Instant)>,
    dirty: HashSet<K>,
    working: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
    timers: BinaryHeap<Reverse<Timer<K>>>,
    /// The due time of each delayed key; heap entries that differ are stale.
    delayed: HashMap<K, Instant>,
    sequence: u64,
    closed: bool,
}

struct Timer<K> {
    due: Instant,
    sequence: u64,
    key: K,
}

impl<K> PartialEq for Timer<K> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl<K> Eq for Timer<K> {}
impl<K> PartialOrd for Timer<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Timer<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.sequence).cmp(&(other.due, other.sequence))
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Marks a key dirty; whether it became ready to take.
    fn add(&mut self, key: K, now: Instant) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) {
            return false;
        }
        if self.working.contains_key(&key) {
            return false;
        }
        self.ready.push_back((key, now));
        true
    }

    /// Moves delayed keys that are due; returns when the next one will be.
    fn fire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(Reverse(timer)) = self.timers.peek() {
            let live = self.delayed.get(&timer.key) == Some(&timer.due);
            if live && timer.due > now {
                return Some(timer.due);
            }
            let Some(Reverse(timer)) = self.timers.pop() else { break };
            if live {
                self.delayed.remove(&timer.key);
                self.add(timer.key, now);
            }
        }
        None
    }
}

impl<K: Clone + Eq + Hash> WorkQueue<K> {
    /// A queue with the default back-off; the name labels its metrics.
    pub fn new(name: &str, rng: Rng) -> Self {
        Self::with_backoff(name, rng, Backoff::default())
    }

    /// A queue with its own back-off.
    pub fn with_backoff(name: &str, rng: Rng, backoff: Backoff) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashMap::new(),
            failures: HashMap::new(),
            timers: BinaryHeap::new(),
            delayed: HashMap::new(),
            sequence: 0,
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            wake: Notify::new(),
            backoff,
            rng,
            metrics: QueueMetrics::named(name),
        };
        Self { shared: Arc::new(shared) }
    }

    fn note_ready(&self, state: &State<K>) {
        self.shared.metrics.depth.set(i64::try_from(state.ready.len()).unwrap_or(i64::MAX));
    }

    /// Adds a key, unless it is already waiting.
    pub fn add(&self, key: K) {
        let mut state = self.shared.state.lock();
        if state.add(key, Instant::now()) {
            self.shared.metrics.adds.inc();
            self.note_ready(&state);
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key after a delay; of several delays the shortest counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let due = Instant::now() + delay;
        let mut state = self.shared.state.lock();
        if state.closed || state.delayed.get(&key).is_some_and(|at| *at <= due) {
            return;
        }
        state.delayed.insert(key.clone(), due);
        state.sequence += 1;
        let sequence = state.sequence;
        let first = state.timers.peek().is_none_or(|Reverse(t)| due < t.due);
        state.timers.push(Reverse(Timer { due, sequence, key }));
        drop(state);
        if first {
            self.shared.wake.notify_one();
        }
    }

    /// Adds a key after its back-off: longer with each call since `forget`.
    pub fn add_rate_limited(&self, key: K) {
        let failures = {
            let mut state = self.shared.state.lock();
            let count = state.failures.entry(key.clone()).or_insert(0);
            *count += 1;
            *count - 1
        };
        self.shared.metrics.retries.inc();
        self.add_after(key, self.shared.backoff.delay(failures, &self.shared.rng));
    }

    /// Resets a key's back-off.
    pub fn forget(&self, key: &K) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often a key has failed since `forget`.
    pub fn failures(&self, key: &K) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// Takes the next key, waiting for one; `None` once closed. Call [`WorkQueue::done`] after.
    pub async fn next(&self) -> Option<K> {
        loop {
            let woken = self.shared.wake.notified();
            let due = {
                let now = Instant::now();
                let mut state = self.shared.state.lock();
                if state.closed {
                    // Let the other workers see it too.
                    self.shared.wake.notify_one();
                    return None;
                }
                let due = state.fire(now);
                if let Some((key, since)) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.working.insert(key.clone(), now);
                    self.note_ready(&state);
                    let more = !state.ready.is_empty() || due.is_some();
                    drop(state);
                    self.shared.metrics.waited.observe((now - since).as_secs_f64());
                    if more {
                        // One wake-up may stand for several keys: pass it on. A waiter that finds
                        // nothing goes to sleep until the next timer.
                        self.shared.wake.notify_one();
                    }
                    return Some(key);
                }
                due
            };
            match due {
                Some(due) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep_until(due) => {}
                    }
                }
                None => woken.await,
            }
        }
    }

    /// Ends the work on a key; if it was added meanwhile, it is ready again.
    pub fn done(&self, key: &K) {
        let now = Instant::now();
        let mut state = self.shared.state.lock();
        if let Some(since) = state.working.remove(key) {
            self.shared.metrics.worked.observe((now - since).as_secs_f64());
        }
        if state.dirty.contains(key) {
            state.ready.push_back((key.clone(), now));
            drop(state);
            self.shared.wake.notify_one();
        }
    }

    /// How many keys are ready.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: `next` returns `None` from now on.
    pub fn close(&self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_waiters();
        self.shared.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> WorkQueue<&'static str> {
        WorkQueue::new("test", Rng::seeded(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_works_once() {
        let q = queue();
        q.add("a");
        q.add("a");
        assert_eq!(q.len(), 1);
        assert_eq!(q.next().await, Some("a"));
        q.add("a");
        assert_eq!(q.len(), 0, "in work: not handed out again");
        q.done(&"a");
        assert_eq!(q.next().await, Some("a"));
        q.done(&"a");
        assert!(q.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_shortest_delay_counts() {
        let q = queue();
        let start = Instant::now();
        q.add_after("a", Duration::from_secs(10));
        q.add_after("b", Duration::from_secs(5));
        q.add_after("a", Duration::from_secs(2));
        q.add_after("a", Duration::from_secs(20));
        assert_eq!(q.next().await, Some("a"));
        assert_eq!(start.elapsed().as_secs(), 2);
        assert_eq!(q.next().await, Some("b"));
        assert_eq!(start.elapsed().as_secs(), 5);
        q.done(&"a");
        let more = tokio::time::timeout(Duration::from_secs(60), q.next()).await;
        assert!(more.is_err(), "stale timers do not fire");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_timer_wakes_a_sleeping_worker() {
        let q = queue();
        q.add_after("late", Duration::from_secs(100));
        let other = q.clone();
        let start = Instant::now();
        let worker = tokio::spawn(async move { other.next().await });
        tokio::task::yield_now().await;
        q.add_after("soon", Duration::from_secs(1));
        assert_eq!(worker.await.expect("joins"), Some("soon"));
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn back_off_doubles_until_forgotten() {
        let q = queue();
        let mut delays = Vec::new();
        for _ in 0..4 {
            let start = Instant::now();
            q.add_rate_limited("a");
            assert_eq!(q.next().await, Some("a"));
            delays.push(start.elapsed());
            q.done(&"a");
        }
        for pair in delays.windows(2) {
            assert!(pair[1] > pair[0].mul_f64(1.5), "{delays:?}");
        }
        q.forget(&"a");
        let start = Instant::now();
        q.add_rate_limited("a");
        q.next().await;
        assert!(start.elapsed() < Duration::from_millis(8));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_frees_every_worker() {
        let q = queue();
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let q = q.clone();
                tokio::spawn(async move { q.next().await })
            })
            .collect();
        tokio::task::yield_now().await;
        q.close();
        for worker in workers {
            assert_eq!(worker.await.expect("joins"), None);
        }
    }
}
