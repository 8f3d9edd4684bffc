//! Time and randomness, injected: every component takes a [`Clock`] and an [`Rng`] instead of asking
//! the system, so that a simulation can replay a whole cluster from one seed.
//!
//! Not here: timers. Waiting goes through tokio's clock, which tests pause.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Wall-clock time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<AtomicU64>),
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it; clones share it.
    pub fn manual(start: Timestamp) -> Self {
        let micros = u64::try_from(start.as_microsecond()).unwrap_or(0);
        Self(Source::Manual(Arc::new(AtomicU64::new(micros))))
    }

    /// Moves a manual clock forward; a system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(micros) = &self.0 {
            let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
            micros.fetch_add(by, Ordering::SeqCst);
        }
    }

    /// Microseconds since the Unix epoch.
    pub fn micros(&self) -> u64 {
        match &self.0 {
            Source::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX)),
            Source::Manual(micros) => micros.load(Ordering::SeqCst),
        }
    }

    /// Now, as a timestamp with microseconds.
    pub fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.micros()).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
    }

    /// Now as `metav1.Time` prints it: RFC 3339 in UTC with whole seconds.
    pub fn time(&self) -> String {
        format_time(self.now())
    }

    /// Now as `metav1.MicroTime` prints it: RFC 3339 in UTC with six decimals.
    pub fn micro_time(&self) -> String {
        self.now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }
}

/// A timestamp as `metav1.Time` prints it: RFC 3339 in UTC with whole seconds.
pub fn format_time(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads an RFC 3339 time; `None` where it is not one.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// A source of random numbers, shared by clones: splitmix64 over a seed. Not for secrets; keys and
/// tokens come from `ring`'s system generator.
#[derive(Clone, Debug)]
pub struct Rng(Arc<Mutex<u64>>);

impl Rng {
    /// The same numbers again for the same seed.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }

    /// Seeded by the machine.
    pub fn system() -> Self {
        use std::hash::{BuildHasher, Hasher};
        let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
        hasher.write_u64(Clock::system().micros());
        Self::seeded(hasher.finish())
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// `base` stretched by a random factor in `1.0..=1.0 + jitter`, for back-off.
    pub fn jittered(&self, base: Duration, jitter: f64) -> Duration {
        #[allow(clippy::cast_precision_loss)]
        let unit = (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        base.mul_f64(1.0 + jitter * unit)
    }

    /// `len` characters of the alphabet that Kubernetes uses for generated names (no vowels, no
    /// look-alikes), as in `metadata.generateName`.
    pub fn name_suffix(&self, len: usize) -> String {
        const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        (0..len)
            .map(|_| {
                let i = self.below(ALPHABET.len() as u64);
                char::from(ALPHABET[usize::try_from(i).unwrap_or(0)])
            })
            .collect()
    }

    /// A random (version 4) UUID in its text form, as in `metadata.uid`.
    pub fn uuid(&self) -> String {
        let (a, b) = (self.next_u64(), self.next_u64());
        let b = (b & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xFFFF,
            a & 0xFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b) = (Rng::seeded(7), Rng::seeded(7));
        assert_eq!(a.uuid(), b.uuid());
        assert_eq!(a.name_suffix(5), b.name_suffix(5));
        assert_ne!(a.uuid(), b.name_suffix(36));
    }

    #[test]
    fn manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_second(1_000_000_000).expect("in range"));
        assert_eq!(clock.time(), "2001-09-09T01:46:40Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.micro_time(), "2001-09-09T01:46:41.500000Z");
    }
}
