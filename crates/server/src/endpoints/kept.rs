//! A document that is kept until what it is made of changes.
//!
//! Not here: what documents say.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::server::Server;

/// What documents of all groups are made of: the revision of the definitions of custom resources and
/// the changes of what other servers serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64, u64);

impl Mark {
    /// As it is now; to be taken before the document is made.
    pub fn now(server: &Server) -> Self {
        Self(server.customs.revision(), server.aggregator.changes())
    }
}

/// A document with the tag that clients keep it by.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its bytes.
    pub body: Bytes,
    /// Without quotes.
    pub tag: String,
}

/// The last one made.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Option<(Mark, Document)>>);

impl Kept {
    /// The document of a mark; made where another was kept. Those who ask meanwhile wait for it.
    pub fn get(&self, mark: Mark, make: impl FnOnce() -> Document) -> Document {
        let mut kept = self.0.lock();
        if let Some((known, document)) = &*kept
            && *known == mark
        {
            return document.clone();
        }
        let document = make();
        *kept = Some((mark, document.clone()));
        document
    }
}

/// The kept documents of a server.
#[derive(Debug)]
pub struct Documents {
    /// Aggregated discovery of the named groups.
    pub discovery: Kept,
    /// The index of OpenAPI documents of version 3.
    pub index: Kept,
    /// Tags of the OpenAPI document of version 2, of its JSON and its protobuf form: the documents
    /// are large and seldom asked for.
    pub v2: [Kept; 2],
    /// Taken by who makes the OpenAPI document of version 2.
    pub turn: Arc<Semaphore>,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            discovery: Kept::default(),
            index: Kept::default(),
            v2: Default::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_once_for_a_mark() {
        let (kept, made) = (Kept::default(), std::cell::Cell::new(0));
        let get = |mark| {
            let document = kept.get(mark, || {
                made.set(made.get() + 1);
                Document { body: Bytes::new(), tag: made.get().to_string() }
            });
            document.tag
        };
        assert_eq!(get(Mark(1, 0)), "1");
        assert_eq!(get(Mark(1, 0)), "1");
        assert_eq!(get(Mark(2, 0)), "2");
        assert_eq!(get(Mark(2, 1)), "3");
    }
}
