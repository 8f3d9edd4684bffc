//! Back-off per key: 10 s, doubled at each use up to 5 min, forgotten after twice that in peace.
//!
//! Pure: time is passed in. Used for crashing containers and for images that cannot be pulled.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub const LONGEST: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    updated: Timestamp,
}

/// Delays per key.
#[derive(Clone, Debug, Default)]
pub struct Backoff(HashMap<String, Entry>);

fn after(t: Timestamp, delay: Duration) -> Timestamp {
    t.saturating_add(SignedDuration::try_from(delay).unwrap_or(SignedDuration::MAX))
        .unwrap_or(Timestamp::MAX)
}

impl Backoff {
    /// Until when to wait after something that happened at `event`; `None` if there is no need to.
    pub fn until(&self, key: &str, event: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.0.get(key)?;
        if event > after(entry.updated, LONGEST * 2) {
            return None;
        }
        let until = after(event, entry.delay);
        (now < until).then_some(until)
    }

    /// Whether less than the delay has passed since it was last lengthened.
    pub fn since_update(&self, key: &str, now: Timestamp) -> bool {
        self.0.get(key).is_some_and(|e| now < after(e.updated, e.delay))
    }

    /// Whether the key has a delay.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// The current delay, as messages show it.
    pub fn delay(&self, key: &str) -> Duration {
        self.0.get(key).map_or(FIRST, |e| e.delay)
    }

    /// Lengthens the delay, because it happens again now after `event`.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let delay = match self.0.get(key) {
            Some(e) if event <= after(e.updated, LONGEST * 2) => (e.delay * 2).min(LONGEST),
            _ => FIRST,
        };
        self.0.insert(key.to_owned(), Entry { delay, updated: now });
    }

    /// Forgets what has been in peace.
    pub fn sweep(&mut self, now: Timestamp) {
        self.0.retain(|_, e| now <= after(e.updated, LONGEST * 2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_five_minutes_and_forgets() {
        let at = |s: i64| Timestamp::from_second(1_000_000 + s).expect("in range");
        let mut b = Backoff::default();
        assert_eq!(b.until("a", at(0), at(0)), None, "the first restart is immediate");
        b.next("a", at(0), at(0));
        assert_eq!(b.until("a", at(5), at(6)), Some(at(15)));
        assert_eq!(b.until("a", at(5), at(15)), None);
        let mut delays = Vec::new();
        for i in 1..7 {
            b.next("a", at(i), at(i));
            delays.push(b.delay("a").as_secs());
        }
        assert_eq!(delays, [20, 40, 80, 160, 300, 300]);
        assert_eq!(b.until("a", at(1000), at(1000)), None, "ten quiet minutes reset it");
        b.next("a", at(1000), at(1000));
        assert_eq!(b.delay("a"), FIRST);
    }
}
