//! Which reports become events: the budget of each object, combining similar events, counting equal
//! ones.
//!
//! Pure bookkeeping over seconds. Not here: sending.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::{EventType, ObjectRef, Report};

/// Events an object may have at once, and how fast the budget refills.
const BURST: f64 = 25.0;
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// So many different notes within the window are combined into one event.
const SIMILAR: usize = 10;
const WINDOW: u64 = 600;
/// How many keys each table remembers.
const REMEMBERED: usize = 4096;

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Over budget.
    Drop,
    /// A new event.
    Create {
        /// The message, perhaps a combining one.
        note: String,
        /// The count it starts with.
        count: u64,
    },
    /// An event that exists happened again.
    Count {
        /// The event's name.
        name: String,
        /// Its message.
        note: String,
        /// Its new count.
        count: u64,
    },
}

/// Object, type and reason: what similar events share.
type Family = (ObjectRef, EventType, String);

#[derive(Default)]
pub(super) struct Correlator {
    budgets: Recent<ObjectRef, (f64, u64)>,
    families: Recent<Family, (HashSet<String>, u64)>,
    seen: Recent<(Family, String), (String, u64)>,
}

fn family(report: &Report) -> Family {
    let about = ObjectRef { resource_version: String::new(), ..report.about.clone() };
    (about, report.event_type, report.reason.clone())
}

const COMBINED: &str = "(combined from similar events): ";

impl Correlator {
    pub fn judge(&mut self, report: &Report, now: u64) -> Verdict {
        let family = family(report);
        let budget = self
            .budgets
            .entry(ObjectRef { field_path: String::new(), ..family.0.clone() }, || (BURST, now));
        #[allow(clippy::cast_precision_loss)]
        let refilled = budget.0 + (now.saturating_sub(budget.1)) as f64 * REFILL_PER_SECOND;
        *budget = (refilled.min(BURST), now);
        if budget.0 < 1.0 {
            return Verdict::Drop;
        }
        budget.0 -= 1.0;

        let (notes, last) = self.families.entry(family.clone(), || (HashSet::new(), now));
        if now.saturating_sub(*last) > WINDOW {
            notes.clear();
        }
        *last = now;
        notes.insert(report.note.clone());
        let combine = notes.len() >= SIMILAR;
        if combine {
            // The set only needs to know that it is full.
            while notes.len() > SIMILAR {
                let Some(one) = notes.iter().next().cloned() else { break };
                notes.remove(&one);
            }
        }
        let (note, key) = if combine {
            (format!("{COMBINED}{}", report.note), String::new())
        } else {
            (report.note.clone(), report.note.clone())
        };
        match self.seen.get(&(family, key)) {
            Some((name, count)) => {
                *count += 1;
                Verdict::Count { name: name.clone(), note, count: *count }
            }
            None => Verdict::Create { note, count: 1 },
        }
    }

    /// Remembers the name of a created event.
    pub fn created(&mut self, report: &Report, note: &str, name: &str) {
        let key = if note.starts_with(COMBINED) { String::new() } else { report.note.clone() };
        let seen = self.seen.entry((family(report), key), || (String::new(), 1));
        name.clone_into(&mut seen.0);
    }
}

/// A map that forgets its older half when it is full.
struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.young.insert(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    fn entry(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        if self.young.len() >= REMEMBERED / 2 && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        let kept = self.old.remove(&key);
        self.young.entry(key).or_insert_with(|| kept.unwrap_or_else(make))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(note: &str) -> Report {
        Report {
            about: ObjectRef { kind: "Pod".into(), name: "a".into(), ..ObjectRef::default() },
            event_type: EventType::Normal,
            reason: "Pulled".into(),
            note: note.into(),
            annotations: Vec::new(),
            time: String::new(),
        }
    }

    #[test]
    fn equal_events_are_counted() {
        let mut c = Correlator::default();
        assert_eq!(c.judge(&report("x"), 0), Verdict::Create { note: "x".into(), count: 1 });
        c.created(&report("x"), "x", "a.1");
        let again = c.judge(&report("x"), 1);
        assert_eq!(again, Verdict::Count { name: "a.1".into(), note: "x".into(), count: 2 });
    }

    #[test]
    fn similar_events_are_combined() {
        let mut c = Correlator::default();
        for i in 0..9 {
            let note = i.to_string();
            assert_eq!(c.judge(&report(&note), 0), Verdict::Create { note, count: 1 });
        }
        let Verdict::Create { note, .. } = c.judge(&report("9"), 0) else { panic!("created") };
        assert_eq!(note, "(combined from similar events): 9");
        c.created(&report("9"), &note, "a.9");
        let Verdict::Count { name, note, count: 2 } = c.judge(&report("10"), 0) else {
            panic!("counted")
        };
        assert_eq!((name.as_str(), note.as_str()), ("a.9", "(combined from similar events): 10"));
        let later = c.judge(&report("11"), 601);
        assert_eq!(later, Verdict::Create { note: "11".into(), count: 1 });
    }

    #[test]
    fn a_noisy_object_runs_out_of_budget() {
        let mut c = Correlator::default();
        let judged = (0..30).filter(|_| c.judge(&report("x"), 0) != Verdict::Drop).count();
        assert_eq!(judged, 25);
        assert_ne!(c.judge(&report("x"), 301), Verdict::Drop, "refills");
    }
}
