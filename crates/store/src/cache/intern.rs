//! Shares the texts that cards repeat: namespaces, label keys and values, field paths and values.
//!
//! Ten thousand pods have ten thousand names but one `spec.restartPolicy`. Owned by whoever builds
//! entries, so it needs no lock.
//!
//! Not here: names and uids, which do not repeat.

use std::sync::Arc;

use api::Card;
use hashbrown::HashSet;

/// Longer texts hardly repeat; comparing them is not worth it.
const LONGEST: usize = 128;

/// A set of shared texts.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    /// Where the next sweep for unused texts happens.
    sweep_at: usize,
}

impl Interner {
    /// Replaces the card's repeating texts by shared ones.
    pub fn card(&mut self, card: &mut Card) {
        self.text(&mut card.namespace);
        for (key, value) in card.labels.iter_mut().chain(card.fields.iter_mut()) {
            self.text(key);
            self.text(value);
        }
        if self.texts.len() >= self.sweep_at.max(1024) {
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.texts.len() * 2;
        }
    }

    fn text(&mut self, text: &mut Arc<str>) {
        if text.len() > LONGEST {
            return;
        }
        let shared = self.texts.get_or_insert_with(&**text, |_| text.clone());
        if !Arc::ptr_eq(shared, text) {
            *text = shared.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(i: usize) -> Card {
        Card {
            namespace: "default".into(),
            labels: [("app".into(), format!("v{i}").into())].into(),
            ..Card::default()
        }
    }

    #[test]
    fn shares_and_forgets() {
        let mut interner = Interner::default();
        let (mut a, mut b) = (card(1), card(1));
        interner.card(&mut a);
        interner.card(&mut b);
        assert!(Arc::ptr_eq(&a.namespace, &b.namespace));
        assert!(Arc::ptr_eq(&a.labels[0].1, &b.labels[0].1));
        for i in 0..10_000 {
            interner.card(&mut card(i));
        }
        assert!(interner.texts.len() < 3000, "unused texts stay: {}", interner.texts.len());
    }
}
