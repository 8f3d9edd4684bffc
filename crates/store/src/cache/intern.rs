//! Shares the texts that cards repeat: namespaces, labels, field paths,
//! owners.
//!
//! Ten thousand pods have ten thousand names but one `app` label a Deployment. Owned by whoever builds
//! entries, so it needs no lock.
//!
//! Not here: names, uids and field values, which do not repeat or share an allocation already.

use std::sync::Arc;

use api::Card;
use hashbrown::HashSet;

/// Longer texts hardly repeat; comparing them is not worth it.
const LONGEST: usize = 128;

type Labels = Arc<[(Arc<str>, Arc<str>)]>;

/// Sets of shared texts, and of shared sets of them.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    labels: HashSet<Labels>,
    paths: HashSet<Arc<[Arc<str>]>>,
    /// Where the next sweep for what is unused happens.
    sweep_at: usize,
}

impl Interner {
    /// Replaces the card's repeating parts by shared ones.
    pub fn card(&mut self, card: &mut Card) {
        self.text(&mut card.namespace);
        if let Some(controller) = &mut card.controller {
            self.text(controller);
        }
        if let Some(labels) = self.labels.get(&card.labels) {
            card.labels = labels.clone();
        } else {
            let mut labels = card.labels.to_vec();
            for (key, value) in &mut labels {
                self.text(key);
                self.text(value);
            }
            card.labels = labels.into();
            self.labels.insert(card.labels.clone());
        }
        let paths = card.fields.paths();
        let paths = self.paths.get_or_insert_with(paths, Clone::clone).clone();
        card.fields.share_paths(&paths);
        if self.texts.len() + self.labels.len() >= self.sweep_at.max(1024) {
            self.labels.retain(|labels| Arc::strong_count(labels) > 1);
            self.texts.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = (self.texts.len() + self.labels.len()) * 2;
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
