//! Events: what watchers get, with the encoded frames they share.
//!
//! The store builds an object's final bytes anyway (it inserts the resource version), so it builds
//! them inside the watch frame: `{"type":"ADDED","object":` … `}\n` is one allocation, and the
//! entry's JSON is a slice of it. The usual frame thus costs neither time nor memory.
//!
//! Not here: which watcher wants which event.

use std::sync::{Arc, OnceLock};

use api::{Card, Entry};
use bytes::Bytes;
use parking_lot::Mutex;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// As in `type` of a watch event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }

    /// What precedes the object in a JSON watch frame.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Added => r#"{"type":"ADDED","object":"#,
            Self::Modified => r#"{"type":"MODIFIED","object":"#,
            Self::Deleted => r#"{"type":"DELETED","object":"#,
        }
    }
}

/// What follows the object in a JSON watch frame.
pub const FRAME_SUFFIX: &str = "}\n";

/// One committed change of one object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When: the revision of the change.
    pub revision: u64,
    /// The new state; for a removal the final state, with the removal's revision.
    pub entry: Arc<Entry>,
    /// The state before; none for an addition.
    pub previous: Option<Arc<Entry>>,
    frame: Bytes,
    extra: OnceLock<Box<Extra>>,
}

/// Frames that only some watchers need.
#[derive(Debug, Default)]
struct Extra {
    entered: OnceLock<Bytes>,
    left: OnceLock<Bytes>,
    forms: Mutex<Vec<(u64, Bytes)>>,
}

impl Event {
    /// Builds the event of a change: inserts the resource version and makes entry and frame.
    pub fn build(
        kind: EventKind,
        revision: u64,
        (bytes, rv_at): (&[u8], usize),
        card: Card,
        previous: Option<Arc<Entry>>,
    ) -> Self {
        const OPEN: &[u8] = br#""resourceVersion":""#;
        const CLOSE: &[u8] = br#"","#;
        let mut number = [0u8; 20];
        let number = decimal(revision, &mut number);
        let (head, tail) = bytes.split_at(rv_at.min(bytes.len()));
        Self::of_parts(kind, revision, &[head, OPEN, number, CLOSE, tail], card, previous)
    }

    /// The event of an object whose bytes have their resource version already.
    pub fn of_json(
        kind: EventKind,
        revision: u64,
        json: &[u8],
        card: Card,
        previous: Option<Arc<Entry>>,
    ) -> Self {
        Self::of_parts(kind, revision, &[json], card, previous)
    }

    fn of_parts(
        kind: EventKind,
        revision: u64,
        parts: &[&[u8]],
        card: Card,
        previous: Option<Arc<Entry>>,
    ) -> Self {
        let prefix = kind.prefix().as_bytes();
        let len: usize = parts.iter().map(|p| p.len()).sum();
        // Filled to its exact capacity: turning it into `Bytes` then copies nothing.
        let mut frame = Vec::with_capacity(prefix.len() + len + FRAME_SUFFIX.len());
        frame.extend_from_slice(prefix);
        for part in parts {
            frame.extend_from_slice(part);
        }
        frame.extend_from_slice(FRAME_SUFFIX.as_bytes());
        let frame = Bytes::from(frame);
        let json = frame.slice(prefix.len()..prefix.len() + len);
        let entry = Arc::new(Entry { revision, json, card });
        Self { kind, revision, entry, previous, frame, extra: OnceLock::new() }
    }

    /// The JSON watch frame, newline included; all watchers share it.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The JSON frame for a watcher whose selector the object meets only now: `ADDED`.
    pub fn entered_frame(&self) -> &Bytes {
        if self.kind == EventKind::Added {
            return &self.frame;
        }
        self.extra().entered.get_or_init(|| encode_frame(EventKind::Added, &self.entry.json))
    }

    /// The JSON frame for a watcher whose selector the object no longer meets: `DELETED` with the
    /// state before, under the revision of this event.
    pub fn left_frame(&self) -> &Bytes {
        self.extra().left.get_or_init(|| encode_frame(EventKind::Deleted, &self.left_json()))
    }

    /// The state before, under the revision of this event.
    pub fn left_json(&self) -> Bytes {
        match &self.previous {
            Some(previous) => at_revision(previous, self.revision),
            None => self.entry.json.clone(),
        }
    }

    /// Any other encoded form of this event (protobuf, table, metadata only), made once and shared.
    /// The caller numbers the forms.
    pub fn form<E>(
        &self,
        form: u64,
        make: impl FnOnce(&Self) -> Result<Bytes, E>,
    ) -> Result<Bytes, E> {
        let forms = &self.extra().forms;
        if let Some((_, bytes)) = forms.lock().iter().find(|(f, _)| *f == form) {
            return Ok(bytes.clone());
        }
        // Made outside the lock: two watchers may both make it, which costs less than waiting.
        let made = make(self)?;
        let mut forms = forms.lock();
        if let Some((_, bytes)) = forms.iter().find(|(f, _)| *f == form) {
            return Ok(bytes.clone());
        }
        forms.push((form, made.clone()));
        Ok(made)
    }

    fn extra(&self) -> &Extra {
        self.extra.get_or_init(Box::default)
    }

    /// The bytes that only this event keeps in memory, once the object moved on.
    pub(crate) fn retains(&self) -> usize {
        let own = if self.kind == EventKind::Deleted { self.entry.json.len() } else { 0 };
        own + self.previous.as_ref().map_or(0, |p| p.json.len()) + size_of::<Self>()
    }
}

/// A JSON watch frame of any object, newline included.
pub fn encode_frame(kind: EventKind, json: &[u8]) -> Bytes {
    let prefix = kind.prefix().as_bytes();
    let mut frame = Vec::with_capacity(prefix.len() + json.len() + FRAME_SUFFIX.len());
    frame.extend_from_slice(prefix);
    frame.extend_from_slice(json);
    frame.extend_from_slice(FRAME_SUFFIX.as_bytes());
    frame.into()
}

/// An entry's JSON under another revision.
pub fn at_revision(entry: &Entry, revision: u64) -> Bytes {
    let old = format!(r#""resourceVersion":"{}""#, entry.revision);
    let json = &entry.json;
    // Quotes inside strings are escaped, so this text only matches a field; and no other field can
    // name the revision that this very write was given.
    let found = json.windows(old.len()).position(|window| window == old.as_bytes());
    let Some(at) = found else { return json.clone() };
    let mut out = Vec::with_capacity(json.len() + 20);
    out.extend_from_slice(&json[..at]);
    out.extend_from_slice(format!(r#""resourceVersion":"{revision}""#).as_bytes());
    out.extend_from_slice(&json[at + old.len()..]);
    out.into()
}

fn decimal(mut n: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(n % 10).unwrap_or(0);
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"kind":"Pod","metadata":{"name":"a"}}"#;
    const RV_AT: usize = 26;

    #[test]
    fn entry_and_frame_are_one_allocation() {
        let event = Event::build(EventKind::Added, 1205, (BODY, RV_AT), Card::default(), None);
        assert_eq!(
            &*event.entry.json,
            br#"{"kind":"Pod","metadata":{"resourceVersion":"1205","name":"a"}}"#
        );
        assert_eq!(
            &event.frame()[..],
            b"{\"type\":\"ADDED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"1205\",\"name\":\"a\"}}}\n"
        );
        let (frame, json) = (event.frame().as_ptr_range(), event.entry.json.as_ptr_range());
        assert!(frame.start <= json.start && json.end <= frame.end);
        assert_eq!(event.entered_frame().as_ptr(), event.frame().as_ptr());
    }

    #[test]
    fn frames_of_selector_changes() {
        let old = Event::build(EventKind::Added, 9, (BODY, RV_AT), Card::default(), None);
        let new = Event::build(
            EventKind::Modified,
            10,
            (BODY, RV_AT),
            Card::default(),
            Some(old.entry.clone()),
        );
        let text = |b: &Bytes| String::from_utf8(b.to_vec()).expect("UTF-8");
        assert_eq!(
            text(new.left_frame()),
            "{\"type\":\"DELETED\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"10\",\"name\":\"a\"}}}\n"
        );
        assert!(text(new.entered_frame()).starts_with(r#"{"type":"ADDED""#));
        assert!(text(new.frame()).starts_with(r#"{"type":"MODIFIED""#));
        assert_eq!(old.entry.revision, 9);
    }

    #[test]
    fn other_forms_are_made_once() {
        let event = Event::build(EventKind::Added, 3, (BODY, RV_AT), Card::default(), None);
        let mut made = 0;
        for _ in 0..3 {
            let form = event.form(7, |_| {
                made += 1;
                Ok::<_, ()>(Bytes::from_static(b"x"))
            });
            assert_eq!(form, Ok(Bytes::from_static(b"x")));
        }
        assert_eq!(made, 1);
        assert_eq!(event.form(8, |_| Err(5)), Err(5));
    }
}
