//! An ordered set of entries that is cheap to snapshot: sorted leaves of shared pointers.
//!
//! A snapshot clones one pointer. A later write copies the list of leaves and the one leaf it
//! touches, and only if a snapshot is still alive. An entry costs one pointer; its key is its card.
//!
//! Not here: locks, revisions.

use std::cmp::Ordering;
use std::sync::Arc;

use api::Entry;

/// Entries a leaf holds at most: a copied leaf is 1 KB.
const LEAF_MAX: usize = 128;
/// Below this a leaf looks for a neighbour to merge with.
const LEAF_MIN: usize = LEAF_MAX / 4;

type Leaf = Vec<Arc<Entry>>;

/// Entries ordered by namespace and name. No leaf is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    leaves: Vec<Arc<Leaf>>,
    /// How many entries each leaf has: counting does not have to visit them.
    sizes: Vec<u8>,
    len: usize,
}

/// A place between entries: leaf and index in it. The end is `(leaves, 0)`.
pub(crate) type Position = (usize, usize);

/// A leaf's size; it fits, as `LEAF_MAX` does.
fn size(leaf: &Leaf) -> u8 {
    u8::try_from(leaf.len()).unwrap_or(u8::MAX)
}

fn order(entry: &Entry, namespace: &str, name: &str) -> Ordering {
    (*entry.card.namespace).cmp(namespace).then_with(|| (*entry.card.name).cmp(name))
}

impl Tree {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn leaf(&self, index: usize) -> Option<&[Arc<Entry>]> {
        self.leaves.get(index).map(|leaf| leaf.as_slice())
    }

    pub fn end(&self) -> Position {
        (self.leaves.len(), 0)
    }

    /// The first place whose entry does not meet `before`, which holds for a prefix of the order.
    pub fn bound(&self, before: impl Fn(&Entry) -> bool) -> Position {
        // The last leaf that starts within the prefix holds its end. It is often the last of all:
        // names that are made in order are written, and read back, at the end.
        let leaf = match self.leaves.last() {
            Some(last) if before(&last[0]) => self.leaves.len(),
            _ => self.leaves.partition_point(|leaf| before(&leaf[0])),
        };
        let Some(leaf) = leaf.checked_sub(1) else { return (0, 0) };
        let index = self.leaves[leaf].partition_point(|entry| before(entry));
        if index == self.leaves[leaf].len() { (leaf + 1, 0) } else { (leaf, index) }
    }

    /// The place of a key, whether it is there or not.
    pub fn position(&self, namespace: &str, name: &str) -> Position {
        self.bound(|entry| order(entry, namespace, name).is_lt())
    }

    /// The first place behind a key.
    pub fn behind(&self, namespace: &str, name: &str) -> Position {
        self.bound(|entry| order(entry, namespace, name).is_le())
    }

    /// The places where a namespace begins and ends.
    pub fn namespace(&self, namespace: &str) -> (Position, Position) {
        (
            self.bound(|entry| &*entry.card.namespace < namespace),
            self.bound(|entry| &*entry.card.namespace <= namespace),
        )
    }

    pub fn at(&self, (leaf, index): Position) -> Option<&Arc<Entry>> {
        self.leaves.get(leaf)?.get(index)
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        let entry = self.at(self.position(namespace, name))?;
        order(entry, namespace, name).is_eq().then_some(entry)
    }

    /// How many entries lie between two places.
    pub fn count(&self, from: Position, to: Position) -> usize {
        if from >= to {
            return 0;
        }
        if from.0 == to.0 {
            return to.1 - from.1;
        }
        let whole: usize = self.sizes[from.0 + 1..to.0].iter().map(|size| usize::from(*size)).sum();
        self.leaves[from.0].len() - from.1 + whole + to.1
    }

    /// Puts an entry in its place; returns the one that was there.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let (namespace, name) = (&*entry.card.namespace, &*entry.card.name);
        let (mut leaf, mut index) = self.position(namespace, name);
        let found = self.at((leaf, index));
        if found.is_some_and(|found| order(found, namespace, name).is_eq()) {
            let slot = &mut Arc::make_mut(&mut self.leaves[leaf])[index];
            return Some(std::mem::replace(slot, entry));
        }
        // At the start of a leaf the end of the one before is the same place, and has the room.
        if index == 0 && leaf > 0 {
            leaf -= 1;
            index = self.leaves[leaf].len();
        }
        self.len += 1;
        let Some(target) = self.leaves.get_mut(leaf) else {
            self.leaves.push(Arc::new(vec![entry]));
            self.sizes.push(1);
            return None;
        };
        if target.len() < LEAF_MAX {
            Arc::make_mut(target).insert(index, entry);
            self.sizes[leaf] += 1;
        } else if index == LEAF_MAX {
            // Ascending inserts fill their leaves instead of halving them.
            self.leaves.insert(leaf + 1, Arc::new(vec![entry]));
            self.sizes.insert(leaf + 1, 1);
        } else {
            let full = Arc::make_mut(target);
            let mut upper = full.split_off(LEAF_MAX / 2);
            if index <= LEAF_MAX / 2 {
                full.insert(index, entry);
            } else {
                upper.insert(index - LEAF_MAX / 2, entry);
            }
            self.sizes[leaf] = size(full);
            self.sizes.insert(leaf + 1, size(&upper));
            self.leaves.insert(leaf + 1, Arc::new(upper));
        }
        None
    }

    /// Takes an entry out.
    pub fn remove(&mut self, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let (leaf, index) = self.position(namespace, name);
        let found = self.at((leaf, index))?;
        if !order(found, namespace, name).is_eq() {
            return None;
        }
        let entries = Arc::make_mut(&mut self.leaves[leaf]);
        let removed = entries.remove(index);
        self.len -= 1;
        self.sizes[leaf] -= 1;
        if entries.is_empty() {
            self.leaves.remove(leaf);
            self.sizes.remove(leaf);
        } else if entries.len() < LEAF_MIN {
            self.merge(leaf);
        }
        Some(removed)
    }

    fn merge(&mut self, leaf: usize) {
        let fits = |tree: &Self, a: usize, b: usize| match (tree.leaves.get(a), tree.leaves.get(b))
        {
            (Some(a), Some(b)) => a.len() + b.len() <= LEAF_MAX * 3 / 4,
            _ => false,
        };
        let lower = if leaf > 0 && fits(self, leaf - 1, leaf) {
            leaf - 1
        } else if fits(self, leaf, leaf + 1) {
            leaf
        } else {
            return;
        };
        let upper = self.leaves.remove(lower + 1);
        Arc::make_mut(&mut self.leaves[lower]).extend(upper.iter().cloned());
        self.sizes.remove(lower + 1);
        self.sizes[lower] = size(&self.leaves[lower]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Card;
    use std::collections::BTreeMap;

    fn entry(namespace: &str, name: &str, revision: u64) -> Arc<Entry> {
        let card = Card { namespace: namespace.into(), name: name.into(), ..Card::default() };
        Arc::new(Entry { revision, json: bytes::Bytes::new(), card })
    }

    fn contents(tree: &Tree) -> Vec<(String, String, u64)> {
        let mut all = Vec::new();
        for i in 0.. {
            let Some(leaf) = tree.leaf(i) else { break };
            assert!(!leaf.is_empty() && leaf.len() <= LEAF_MAX);
            for e in leaf {
                all.push((e.card.namespace.to_string(), e.card.name.to_string(), e.revision));
            }
        }
        assert_eq!(all.len(), tree.len());
        assert!(tree.leaves.iter().map(|leaf| size(leaf)).eq(tree.sizes.iter().copied()));
        all
    }

    /// The tree against a `BTreeMap`, under random inserts and removals, with snapshots that must
    /// not move.
    #[test]
    fn behaves_as_a_map() {
        let rng = api::clock::Rng::seeded(11);
        let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
        let mut kept = Vec::new();
        for revision in 0..40_000u64 {
            // Grows first, then shrinks.
            let grow = if revision < 20_000 { 3 } else { 1 };
            let key = (format!("ns{}", rng.below(3)), format!("n{}", rng.below(3000)));
            if rng.below(4) < grow {
                let old = tree.insert(entry(&key.0, &key.1, revision));
                assert_eq!(old.map(|e| e.revision), model.insert(key, revision));
            } else {
                let old = tree.remove(&key.0, &key.1);
                assert_eq!(old.map(|e| e.revision), model.remove(&key));
            }
            if revision % 5000 == 0 {
                kept.push((tree.clone(), contents(&tree)));
            }
        }
        let expected: Vec<_> =
            model.iter().map(|((ns, n), r)| (ns.clone(), n.clone(), *r)).collect();
        assert_eq!(contents(&tree), expected);
        for ((ns, n), revision) in &model {
            assert_eq!(tree.get(ns, n).map(|e| e.revision), Some(*revision));
            assert_eq!(tree.at(tree.behind(ns, n)), {
                let at = tree.position(ns, n);
                let next = (at.0, at.1 + 1);
                tree.at(next).or_else(|| tree.at((at.0 + 1, 0)))
            });
        }
        let (from, to) = tree.namespace("ns1");
        let expected = model.keys().filter(|(ns, _)| ns == "ns1").count();
        assert_eq!(tree.count(from, to), expected);
        assert_eq!(tree.count((0, 0), tree.end()), tree.len());
        for (snapshot, contents_then) in kept {
            assert_eq!(contents(&snapshot), contents_then);
        }
    }

    #[test]
    fn ascending_inserts_fill_leaves() {
        let names: Vec<String> = (0..1000).map(|i| format!("{i:05}")).collect();
        let mut one_by_one = Tree::default();
        for name in &names {
            one_by_one.insert(entry("", name, 1));
        }
        assert_eq!(contents(&one_by_one).len(), 1000);
        assert_eq!(one_by_one.leaves.len(), 1000usize.div_ceil(LEAF_MAX));
        assert!(Tree::default().get("", "x").is_none());
        assert_eq!(Tree::default().namespace("x"), ((0, 0), (0, 0)));
    }
}
