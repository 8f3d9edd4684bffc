//! The bytes of the log: segment headers, batches, records, cards. Encoding and checking only.
//!
//! ```text
//! segment  = header(64) batch*
//! batch    = head(32) record*             one write, one sync: whole or not there
//! record   = fixed(24) resource namespace name card json
//! ```
//! Numbers are little-endian. Checksums are CRC-32, seeded with the segment and the offset, so that
//! bytes that ended up in the wrong place do not pass for a batch.
//!
//! Not here: files.

use api::{Card, Entry};

/// The format this release writes.
pub const VERSION: u32 = 1;
/// Bytes of a segment's header.
pub const HEADER: usize = 64;
/// Bytes of a batch's head.
pub const HEAD: usize = 32;
const FIXED: usize = 24;
const SEGMENT_MAGIC: &[u8; 8] = b"ISOPODLG";
const BATCH_MAGIC: u32 = 0xB47C_150D;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The segment's number; they are consecutive.
    pub number: u64,
    /// Every event in the segment is after this revision.
    pub base: u64,
    /// The version of the cards in it (see [`Recard`](crate::Recard)).
    pub cards: u32,
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Ends too early, or a checksum differs.
    Damaged(&'static str),
    /// Another format.
    Version(u32),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// CRC-32 of `bytes` at a place in the log.
fn checksum(segment: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&segment.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.cards.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.to_le_bytes());
        let sum = checksum(self.number, 0, &bytes[..60]);
        bytes[60..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment that should have this number.
    pub fn decode(bytes: &[u8], number: u64) -> Result<Self, Bad> {
        if bytes.len() < HEADER || &bytes[..8] != SEGMENT_MAGIC {
            return Err(Bad::Damaged("no segment header"));
        }
        let damaged = || Bad::Damaged("damaged segment header");
        let version = u32_at(bytes, 8).ok_or_else(damaged)?;
        if version != VERSION {
            return Err(Bad::Version(version));
        }
        let found = Self {
            number: u64_at(bytes, 16).ok_or_else(damaged)?,
            base: u64_at(bytes, 24).ok_or_else(damaged)?,
            cards: u32_at(bytes, 12).ok_or_else(damaged)?,
        };
        let sum = u32_at(bytes, 60).ok_or_else(damaged)?;
        if found.number != number || sum != checksum(number, 0, &bytes[..60]) {
            return Err(damaged());
        }
        Ok(found)
    }
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of records behind it.
    pub len: usize,
    /// The batch's number; they are consecutive over all segments.
    pub number: u64,
    /// Every revision up to this one has been used.
    pub revision: u64,
    sum: u32,
}

impl Head {
    /// Reads the head of a batch; `None` if there is none at this place.
    pub fn decode(bytes: &[u8], segment: u64, offset: u64) -> Option<Self> {
        if u32_at(bytes, 0)? != BATCH_MAGIC {
            return None;
        }
        let head = Self {
            len: u32_at(bytes, 4)? as usize,
            number: u64_at(bytes, 8)?,
            revision: u64_at(bytes, 16)?,
            sum: u32_at(bytes, 24)?,
        };
        (u32_at(bytes, 28)? == checksum(segment, offset, &bytes[..28])).then_some(head)
    }

    /// Whether these are the batch's records.
    pub fn covers(&self, records: &[u8]) -> bool {
        records.len() == self.len && crc32fast::hash(records) == self.sum
    }
}

/// The kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An object was created.
    Added = 1,
    /// An object was replaced.
    Modified = 2,
    /// An object was removed; with its final state.
    Deleted = 3,
    /// The state of an object whose own record is in a segment that goes away. No event.
    Moved = 4,
    /// History up to `revision` is dropped.
    Compacted = 5,
    /// The store was closed in order.
    Closed = 6,
    /// The store was opened after a crash: the revisions up to the batch's are spent.
    Opened = 7,
    /// Segments below number `revision` are not needed.
    Oldest = 8,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        use Kind::{Added, Closed, Compacted, Deleted, Modified, Moved, Oldest, Opened};
        [Added, Modified, Deleted, Moved, Compacted, Closed, Opened, Oldest]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub kind: Kind,
    /// The revision of the object, or what the kind says.
    pub revision: u64,
    /// The qualified resource.
    pub resource: &'a str,
    /// The object's namespace.
    pub namespace: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// The encoded card; empty for removals.
    pub card: &'a [u8],
    /// The object, with its resource version.
    pub json: &'a [u8],
}

/// Takes the first record off.
fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let kind = Kind::of(*bytes.first()?)?;
    let lens = [
        usize::from(u16_at(bytes, 2)?),
        usize::from(u16_at(bytes, 4)?),
        usize::from(u16_at(bytes, 6)?),
        u32_at(bytes, 8)? as usize,
        u32_at(bytes, 12)? as usize,
    ];
    let revision = u64_at(bytes, 16)?;
    let mut rest = bytes.get(FIXED..)?;
    let mut parts: [&[u8]; 5] = [&[]; 5];
    for (part, len) in parts.iter_mut().zip(lens) {
        (*part, rest) = rest.split_at_checked(len)?;
    }
    let [resource, namespace, name, card, json] = parts;
    let text = |part| std::str::from_utf8(part).ok();
    let (resource, namespace, name) = (text(resource)?, text(namespace)?, text(name)?);
    Some((Record { kind, revision, resource, namespace, name, card, json }, rest))
}

/// The records of a batch whose checksum is right.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Bad>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((record, rest)) = split_record(bytes) else {
            bytes = &[];
            return Some(Err(Bad::Damaged("malformed record")));
        };
        bytes = rest;
        Some(Ok(record))
    })
}

/// A batch in the making.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { bytes: vec![0; HEAD] }
    }
}

impl Batch {
    /// Whether it has no record.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEAD
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes back what was added since it had this length.
    pub fn cut(&mut self, len: usize) {
        self.bytes.truncate(len.max(HEAD));
    }

    /// Adds an object's record.
    pub fn object(&mut self, kind: Kind, resource: &str, key: (&str, &str), entry: &Entry) {
        let start = self.bytes.len();
        let (namespace, name) = key;
        self.bytes.extend_from_slice(&[0; FIXED]);
        for part in [resource, namespace, name] {
            self.bytes.extend_from_slice(part.as_bytes());
        }
        let card = self.bytes.len();
        if kind != Kind::Deleted {
            encode_card(&entry.card, &mut self.bytes);
        }
        let card = self.bytes.len() - card;
        self.bytes.extend_from_slice(&entry.json);

        // The lengths fit: `Write::check` bounds the parts of keys, the writer objects and cards.
        let fixed = &mut self.bytes[start..start + FIXED];
        fixed[0] = kind as u8;
        for (at, len) in [(2, resource.len()), (4, namespace.len()), (6, name.len())] {
            fixed[at..at + 2]
                .copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes());
        }
        for (at, len) in [(8, card), (12, entry.json.len())] {
            fixed[at..at + 4]
                .copy_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        }
        fixed[16..24].copy_from_slice(&entry.revision.to_le_bytes());
    }

    /// Adds a record that is about no object.
    pub fn mark(&mut self, kind: Kind, number: u64) {
        let mut fixed = [0; FIXED];
        fixed[0] = kind as u8;
        fixed[16..24].copy_from_slice(&number.to_le_bytes());
        self.bytes.extend_from_slice(&fixed);
    }

    /// Completes the head for a place in the log; returns all bytes.
    pub fn seal(&mut self, segment: u64, offset: u64, number: u64, revision: u64) -> &[u8] {
        let len = u32::try_from(self.bytes.len() - HEAD).unwrap_or(u32::MAX);
        let sum = crc32fast::hash(&self.bytes[HEAD..]);
        let head = &mut self.bytes[..HEAD];
        head[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&len.to_le_bytes());
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..24].copy_from_slice(&revision.to_le_bytes());
        head[24..28].copy_from_slice(&sum.to_le_bytes());
        let own = checksum(segment, offset, &head[..28]);
        head[28..32].copy_from_slice(&own.to_le_bytes());
        &self.bytes
    }
}

/// Where a batch's head could begin within bytes: every place that has its magic number.
pub fn candidates(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let magic = BATCH_MAGIC.to_le_bytes();
    (0..bytes.len().saturating_sub(HEAD - 1)).filter(move |at| bytes[*at..].starts_with(&magic))
}

/// The bytes that an object's record takes.
pub fn record_len(resource: &str, entry: &Entry) -> u64 {
    let card = &entry.card;
    let len = FIXED + resource.len() + card.namespace.len() + card.name.len() + card_len(card);
    (len + entry.json.len()) as u64
}

fn put_len(mut len: usize, out: &mut Vec<u8>) {
    while len >= 0x80 {
        out.push((len & 0x7F) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

fn len_len(len: usize) -> usize {
    (usize::BITS - (len | 1).leading_zeros()).div_ceil(7) as usize
}

fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    let mut len = 0;
    for shift in (0..35).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a str> {
    let len = take_len(bytes)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}

fn take_pairs<'a, 'b: 'a>(
    bytes: &'a mut &'b [u8],
    count: usize,
) -> impl Iterator<Item = Option<(&'b str, &'b str)>> + 'a {
    (0..count).map(move |_| Some((take_text(bytes)?, take_text(bytes)?)))
}

/// All texts of a card but namespace and name, which the key has.
fn card_texts(card: &Card) -> impl Iterator<Item = &str> {
    std::iter::once(&*card.uid)
        .chain(card.controller.as_deref())
        .chain(card.labels.iter().flat_map(|(k, v)| [&**k, &**v]))
        .chain(card.fields.iter().flat_map(|(path, value)| [path, value]))
}

fn encode_card(card: &Card, out: &mut Vec<u8>) {
    out.push(u8::from(card.deleting) | u8::from(card.controller.is_some()) << 1);
    put_len(card.labels.len(), out);
    put_len(card.fields.paths().len(), out);
    for text in card_texts(card) {
        put_len(text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
}

fn card_len(card: &Card) -> usize {
    let texts: usize = card_texts(card).map(|t| len_len(t.len()) + t.len()).sum();
    1 + len_len(card.labels.len()) + len_len(card.fields.paths().len()) + texts
}

/// Reads a record's card.
pub fn decode_card(record: &Record<'_>) -> Result<Card, Bad> {
    let mut bytes = record.card;
    let read = |bytes: &mut &[u8]| -> Option<Card> {
        let (flags, rest) = bytes.split_first()?;
        *bytes = rest;
        let (labels, fields) = (take_len(bytes)?, take_len(bytes)?);
        let uid = take_text(bytes)?.into();
        let controller = if flags & 2 == 0 { None } else { Some(take_text(bytes)?.into()) };
        Some(Card {
            namespace: record.namespace.into(),
            name: record.name.into(),
            uid,
            labels: take_pairs(bytes, labels)
                .map(|pair| pair.map(|(key, value)| (key.into(), value.into())))
                .collect::<Option<_>>()?,
            fields: take_pairs(bytes, fields).collect::<Option<_>>()?,
            controller,
            deleting: flags & 1 != 0,
        })
    };
    read(&mut bytes).filter(|_| bytes.is_empty()).ok_or(Bad::Damaged("malformed card"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry() -> Entry {
        let text = |t: &str| -> std::sync::Arc<str> { t.into() };
        let card = Card {
            namespace: text("ns"),
            name: text("web-0"),
            uid: "0f".into(),
            labels: [(text("app"), text(&"x".repeat(300))), (text("b"), text(""))].into(),
            fields: [(text("spec.nodeName"), text("node-1"))].into(),
            controller: Some("owner".into()),
            deleting: true,
        };
        Entry { revision: 77, json: Bytes::from_static(b"{\"metadata\":{}}"), card }
    }

    #[test]
    fn batches_survive_the_round_trip_and_only_at_their_place() {
        let entry = entry();
        let mut batch = Batch::default();
        batch.object(Kind::Added, "pods", ("ns", "web-0"), &entry);
        assert_eq!((batch.len() - HEAD) as u64, record_len("pods", &entry));
        batch.object(Kind::Deleted, "pods", ("ns", "web-0"), &entry);
        batch.mark(Kind::Compacted, 5);
        let bytes = batch.seal(3, 64, 9, 78).to_vec();

        let head = Head::decode(&bytes, 3, 64).expect("a head");
        assert_eq!((head.number, head.revision, head.len), (9, 78, bytes.len() - HEAD));
        assert!(head.covers(&bytes[HEAD..]));
        assert_eq!(Head::decode(&bytes, 3, 65), None);
        assert_eq!(Head::decode(&bytes, 4, 64), None);
        assert_eq!(candidates(&bytes).collect::<Vec<_>>(), [0]);

        let all: Vec<_> = records(&bytes[HEAD..]).collect::<Result<_, _>>().expect("records");
        assert_eq!(all.len(), 3);
        assert_eq!(decode_card(&all[0]), Ok(entry.card.clone()));
        assert_eq!((all[1].kind, all[1].json, all[1].card), (Kind::Deleted, &*entry.json, &[][..]));
        assert_eq!((all[2].kind, all[2].revision), (Kind::Compacted, 5));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut batch = Batch::default();
        batch.object(Kind::Added, "pods", ("ns", "web-0"), &entry());
        let bytes = batch.seal(1, 64, 1, 2).to_vec();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let whole = Head::decode(&bad, 1, 64).is_some_and(|h| h.covers(&bad[HEAD..]));
            assert!(!whole, "bit {bit}");
        }
        let header = Header { number: 4, base: 9, cards: 3 }.encode();
        assert_eq!(Header::decode(&header, 4), Ok(Header { number: 4, base: 9, cards: 3 }));
        assert!(Header::decode(&header, 5).is_err());
        for bit in 0..HEADER * 8 {
            let mut bad = header;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad, 4).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn damaged_records_are_errors_not_panics() {
        let mut batch = Batch::default();
        batch.object(Kind::Added, "pods", ("ns", "web-0"), &entry());
        let bytes = &batch.bytes[HEAD..];
        for cut in 1..bytes.len() {
            assert!(records(&bytes[..cut]).any(|r| r.is_err()));
        }
    }
}
