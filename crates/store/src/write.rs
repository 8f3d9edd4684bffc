//! What a caller asks the store to write.
//!
//! Not here: how it is made durable.

use api::{Card, Entry, Key};
use bytes::Bytes;

use crate::error::CommitError;

/// One conditional write of one object.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which object.
    pub key: Key,
    /// What must hold for the write to happen.
    pub expect: Expect,
    /// What to write.
    pub change: Change,
}

/// The condition of a write, checked against the last committed state of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// None. (Deleting what is not there is a conflict all the same.)
    Any,
    /// There is no such object.
    Absent,
    /// The object is there, last written at this revision.
    Revision(u64),
}

/// The new state of the object. `bytes` are the object in its storage version without
/// `metadata.resourceVersion`; the store inserts `"resourceVersion":"N",` at `rv_at`, which is right
/// behind the opening brace of the (never empty) metadata.
#[derive(Clone, Debug)]
pub enum Change {
    /// Creates or replaces.
    Put {
        /// The object.
        bytes: Bytes,
        /// Where the resource version goes.
        rv_at: usize,
        /// Its index card.
        card: Card,
    },
    /// Removes. The bytes are the object's final state, which watchers get with the revision of the
    /// removal; its card is that of the last committed state.
    Delete {
        /// The object.
        bytes: Bytes,
        /// Where the resource version goes.
        rv_at: usize,
    },
    /// Replaces, then removes, at two revisions of one batch: watchers see the mark of the deletion
    /// before the removal, and nobody can come in between. The caller gets the removed state.
    MarkAndDelete {
        /// The object, marked; its final state as well.
        bytes: Bytes,
        /// Where the resource version goes.
        rv_at: usize,
        /// The marked object's index card.
        card: Card,
    },
}

impl Change {
    /// The object's bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Put { bytes, .. }
            | Self::Delete { bytes, .. }
            | Self::MarkAndDelete { bytes, .. } => bytes,
        }
    }

    /// Whether the object is gone afterwards.
    pub fn removes(&self) -> bool {
        !matches!(self, Self::Put { .. })
    }

    /// Where the resource version goes.
    pub fn rv_at(&self) -> usize {
        match self {
            Self::Put { rv_at, .. }
            | Self::Delete { rv_at, .. }
            | Self::MarkAndDelete { rv_at, .. } => *rv_at,
        }
    }
}

impl Expect {
    /// Whether a key's state meets the condition for this kind of change.
    pub(crate) fn holds(self, current: Option<&Entry>, change: &Change) -> bool {
        if change.removes() && current.is_none() {
            return false;
        }
        match self {
            Self::Any => true,
            Self::Absent => current.is_none(),
            Self::Revision(revision) => current.is_some_and(|e| e.revision == revision),
        }
    }
}

/// The largest object. The API server refuses requests beyond 3 MiB; this only keeps lengths sane.
const OBJECT_MAX: usize = 64 << 20;
/// The longest part of a key. Kubernetes names end at 253 bytes; resources join two such parts.
const KEY_PART_MAX: usize = 4096;

impl Write {
    /// Refuses what no engine could store faithfully, before anything is queued.
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        if self.change.rv_at() > self.change.bytes().len() {
            return Err(CommitError::Invalid("rv_at lies beyond the object's bytes".to_owned()));
        }
        if self.change.bytes().len() > OBJECT_MAX {
            return Err(CommitError::Invalid("the object is too large".to_owned()));
        }
        let parts = [&self.key.resource, &self.key.namespace, &self.key.name];
        if parts.iter().any(|part| part.len() > KEY_PART_MAX) {
            return Err(CommitError::Invalid("a part of the key is too long".to_owned()));
        }
        if let Change::Put { card, .. } | Change::MarkAndDelete { card, .. } = &self.change
            && (card.namespace != self.key.namespace || card.name != self.key.name)
        {
            let text = format!("the card names {}/{}", card.namespace, card.name);
            return Err(CommitError::Invalid(format!("key {}: {text}", self.key)));
        }
        Ok(())
    }
}
