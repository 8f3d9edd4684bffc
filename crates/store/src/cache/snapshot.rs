//! A list as of one revision. It holds no lock and does not change; making it costs one pointer.
//!
//! Not here: selectors and page limits, which the reader applies while it walks.

use std::sync::Arc;

use api::Entry;

use super::tree::{Position, Tree};

/// Objects of one resource at one revision, ordered by namespace and name.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The revision it stands for.
    pub revision: u64,
    tree: Arc<Tree>,
    from: Position,
    to: Position,
}

impl Snapshot {
    pub(super) fn new(
        revision: u64,
        tree: Arc<Tree>,
        namespace: Option<&str>,
        start_after: Option<(&str, &str)>,
    ) -> Self {
        let (mut from, to) = match namespace {
            Some(namespace) => tree.namespace(namespace),
            None => ((0, 0), tree.end()),
        };
        if let Some((namespace, name)) = start_after {
            from = from.max(tree.behind(namespace, name));
        }
        Self { revision, tree, from, to: to.max(from) }
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.tree.count(self.from, self.to)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// The objects, in order.
    pub fn iter(&self) -> Iter<'_> {
        Iter { chunks: Chunks { snapshot: self, at: self.from }, chunk: [].iter() }
    }

    /// The objects in runs of up to about a hundred.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks { snapshot: self, at: self.from }
    }

    /// Takes the first run of objects off: for a body that is streamed piece by piece.
    pub fn take_chunk(&mut self) -> Option<&[Arc<Entry>]> {
        self.take_run(usize::MAX)
    }

    /// The same, with a bound on the run's length.
    pub fn take_run(&mut self, most: usize) -> Option<&[Arc<Entry>]> {
        let (leaf, mut range) = self.chunk_at(self.from)?;
        if range.len() > most {
            range.end = range.start + most;
            self.from = (leaf, range.end);
        } else {
            self.from = (leaf + 1, 0).min(self.to);
        }
        self.tree.leaf(leaf)?.get(range)
    }

    /// The objects as a vector.
    pub fn to_vec(&self) -> Vec<Arc<Entry>> {
        let mut all = Vec::with_capacity(self.len());
        self.chunks().for_each(|chunk| all.extend_from_slice(chunk));
        all
    }

    fn chunk_at(&self, at: Position) -> Option<(usize, std::ops::Range<usize>)> {
        if at >= self.to {
            return None;
        }
        let (leaf, start) = at;
        let end = if leaf == self.to.0 { self.to.1 } else { self.tree.leaf(leaf)?.len() };
        Some((leaf, start..end))
    }
}

impl<'a> IntoIterator for &'a Snapshot {
    type Item = &'a Arc<Entry>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// See [`Snapshot::chunks`].
#[derive(Clone, Debug)]
pub struct Chunks<'a> {
    snapshot: &'a Snapshot,
    at: Position,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [Arc<Entry>];

    fn next(&mut self) -> Option<Self::Item> {
        let (leaf, range) = self.snapshot.chunk_at(self.at)?;
        self.at = (leaf + 1, 0);
        self.snapshot.tree.leaf(leaf)?.get(range)
    }
}

/// See [`Snapshot::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    chunks: Chunks<'a>,
    chunk: std::slice::Iter<'a, Arc<Entry>>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.chunk.next() {
                return Some(entry);
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}
