//! The log's files: appending a durable batch, rolling to a new segment, dropping the oldest.
//!
//! After any error the files are as if the append had not been tried, or the log refuses to go on
//! until it could make them so. A failed sync also seals the segment: what the system then says
//! about the file's pages is not to be trusted any more.
//!
//! Not here: what batches contain, when to drop a segment.

use std::collections::VecDeque;
use std::io;

use super::format::{Batch, HEADER, Head, Header};
use super::media::{Media, MediaFile};

/// The file name of a segment.
pub fn file_name(number: u64) -> String {
    format!("{number:016x}.log")
}

/// The segment of a file name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// One segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Bytes that count; what is behind them never happened.
    pub len: u64,
}

/// The files, open for appending.
pub struct Log {
    media: Box<dyn Media>,
    /// Oldest first; the last one is appended to.
    segments: VecDeque<Segment>,
    tail: Option<Box<dyn MediaFile>>,
    /// The number of the next batch.
    next: u64,
    /// The tail may have bytes behind its length.
    dirty: bool,
    /// The tail takes no more.
    sealed: bool,
    /// The version of the cards being written.
    cards: u32,
}

impl Log {
    /// The log as recovery found it: `tail` is the open file of the last segment, with the version of
    /// the cards in it. Cards of another version go into a new segment.
    pub fn new(
        media: Box<dyn Media>,
        segments: VecDeque<Segment>,
        tail: Option<(Box<dyn MediaFile>, u32)>,
        next: u64,
        cards: u32,
    ) -> Self {
        let sealed = tail.as_ref().is_some_and(|(_, version)| *version != cards);
        let tail = tail.map(|(file, _)| file);
        Self { media, segments, tail, next, dirty: false, sealed, cards }
    }

    /// The bytes of all files.
    pub fn total(&self) -> u64 {
        self.segments.iter().map(|segment| segment.len).sum()
    }

    /// The oldest segment, unless it is the one being appended to.
    pub fn oldest(&self) -> Option<Segment> {
        if self.segments.len() > 1 { self.segments.front().copied() } else { None }
    }

    /// Opens a segment for reading.
    pub fn open(&self, segment: Segment) -> io::Result<Box<dyn MediaFile>> {
        self.media.open(&file_name(segment.number))
    }

    /// Appends a batch and makes it durable. `base` is the last revision used before it, `revision`
    /// after it. A segment that reached `roll_at` bytes is followed by a new one.
    pub fn append(
        &mut self,
        batch: &mut Batch,
        base: u64,
        revision: u64,
        roll_at: u64,
    ) -> io::Result<()> {
        self.repair()?;
        let full = self.segments.back().is_none_or(|tail| tail.len >= roll_at);
        if full || self.sealed || self.tail.is_none() {
            self.roll(base)?;
        }
        let (Some(segment), Some(file)) = (self.segments.back_mut(), self.tail.as_mut()) else {
            return Err(io::Error::other("no segment to append to"));
        };
        let bytes = batch.seal(segment.number, segment.len, self.next, revision);
        self.dirty = true;
        let written = file
            .write_at(bytes, segment.len)
            .and_then(|()| file.sync().inspect_err(|_| self.sealed = true));
        match written {
            Ok(()) => {
                segment.len += bytes.len() as u64;
                self.next += 1;
                self.dirty = false;
                Ok(())
            }
            Err(error) => {
                // If this fails too, the next append tries again first.
                let _ = self.repair();
                Err(error)
            }
        }
    }

    /// Cuts off what a failed append may have left.
    fn repair(&mut self) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if let (Some(segment), Some(file)) = (self.segments.back(), self.tail.as_mut()) {
            file.truncate(segment.len)?;
            file.sync()?;
        }
        self.dirty = false;
        Ok(())
    }

    fn roll(&mut self, base: u64) -> io::Result<()> {
        let number = self.segments.back().map_or(1, |last| last.number + 1);
        let name = file_name(number);
        let header = Header { number, base, cards: self.cards };
        let made = self.media.create(&name).and_then(|mut file| {
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            self.media.sync()?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                self.segments.push_back(Segment { number, len: HEADER as u64 });
                self.tail = Some(file);
                self.sealed = false;
                Ok(())
            }
            Err(error) => {
                // Left over it does no harm: it is empty, and the next try replaces it.
                let _ = self.media.remove(&name);
                Err(error)
            }
        }
    }

    /// Removes the oldest segment, which nothing needs any more.
    pub fn drop_oldest(&mut self) -> io::Result<()> {
        let Some(segment) = self.oldest() else { return Ok(()) };
        match self.media.remove(&file_name(segment.number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Durable before the next removal: an older segment must not outlive a newer one, which
        // may hold the removals of its objects.
        self.media.sync()?;
        self.segments.pop_front();
        Ok(())
    }
}

/// Reads a segment's batches in order.
pub struct Reader {
    file: Box<dyn MediaFile>,
    number: u64,
    offset: u64,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What a reader finds.
pub enum Step<'a> {
    /// A whole batch.
    Batch(Head, &'a [u8]),
    /// The end of the segment.
    End,
    /// Something that is not a whole batch.
    Bad,
}

/// Bytes read ahead.
const WINDOW: usize = 256 << 10;

impl Reader {
    /// Reads `segment` from an offset on.
    pub fn new(file: Box<dyn MediaFile>, segment: Segment, offset: u64) -> Self {
        let Segment { number, len } = segment;
        Self { file, number, offset, len, window: Vec::new(), window_at: 0 }
    }

    /// Where the next batch begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives the file back.
    pub fn into_file(self) -> Box<dyn MediaFile> {
        self.file
    }

    /// Up to `len` bytes at the offset; fewer only at the end of the segment.
    fn bytes(&mut self, len: usize) -> io::Result<&[u8]> {
        let rest = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let len = len.min(rest);
        let within = self.offset.checked_sub(self.window_at).and_then(|n| usize::try_from(n).ok());
        let start = match within {
            Some(start) if start + len <= self.window.len() => start,
            _ => {
                self.window.resize(len.max(WINDOW).min(rest), 0);
                self.window_at = self.offset;
                let mut filled = 0;
                while filled < self.window.len() {
                    let at = self.offset + filled as u64;
                    match self.file.read_at(&mut self.window[filled..], at) {
                        Ok(0) => break,
                        Ok(n) => filled += n,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                self.window.truncate(filled);
                0
            }
        };
        let end = (start + len).min(self.window.len());
        Ok(&self.window[start..end])
    }

    /// The segment's header.
    pub fn header(&mut self) -> io::Result<&[u8]> {
        self.offset = 0;
        self.bytes(HEADER)?;
        self.offset = HEADER as u64;
        let header = self.window.get(..HEADER).unwrap_or(&self.window);
        Ok(header)
    }

    /// The next batch.
    pub fn next(&mut self) -> io::Result<Step<'_>> {
        if self.offset >= self.len {
            return Ok(Step::End);
        }
        let (number, offset) = (self.number, self.offset);
        let Some(head) = Head::decode(self.bytes(super::format::HEAD)?, number, offset) else {
            return Ok(Step::Bad);
        };
        let whole = super::format::HEAD + head.len;
        let batch = self.bytes(whole)?;
        if batch.len() < whole || !head.covers(&batch[super::format::HEAD..]) {
            return Ok(Step::Bad);
        }
        let after = offset + whole as u64;
        // Borrowed anew: the borrow above would otherwise outlive the change of the offset.
        let start = usize::try_from(offset - self.window_at).unwrap_or(0);
        self.offset = after;
        Ok(Step::Batch(head, &self.window[start + super::format::HEAD..start + whole]))
    }

    /// Whether a batch with at least this number begins behind the offset.
    pub fn later_batch(&mut self, number: u64) -> io::Result<bool> {
        let rest = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let (segment, offset) = (self.number, self.offset);
        let bytes = self.bytes(rest)?;
        Ok(super::format::candidates(bytes).filter(|at| *at > 0).any(|at| {
            Head::decode(&bytes[at..], segment, offset + at as u64)
                .is_some_and(|head| head.number >= number)
        }))
    }
}
