//! Containers' log files in the CRI's form: `time stream tag text`, one line each.
//!
//! Not here: serving them ([`crate::server`]).

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// A line of a log file, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// RFC 3339 with nanoseconds.
    pub time: &'a str,
    /// `stdout` or `stderr`.
    pub stream: &'a str,
    /// Whether the text goes on in the next line.
    pub partial: bool,
    /// The text, without a line end.
    pub text: &'a [u8],
}

/// Takes a line apart; `None` where it is not of that form.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = parts.next()?;
    let text = parts.next().unwrap_or_default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    Some(Line { time, stream, partial: tags.split(|b| *b == b':').next() == Some(b"P"), text })
}

/// The last lines of a log, at most so many and so many bytes.
pub fn tail(path: &Path, lines: usize, bytes: usize) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let size = file.metadata()?.len();
        // Each line carries about forty bytes before its text.
        let window = (bytes as u64) * 4 + 4096;
        file.seek(SeekFrom::Start(size.saturating_sub(window)))?;
        let mut data = Vec::new();
        file.read_to_end(&mut data)?;
        Ok(data)
    };
    let data = read().unwrap_or_default();
    let mut out: Vec<u8> = Vec::new();
    let all: Vec<Line<'_>> = data.split_inclusive(|b| *b == b'\n').filter_map(parse).collect();
    for line in &all[all.len().saturating_sub(lines)..] {
        out.extend_from_slice(line.text);
        if !line.partial {
            out.push(b'\n');
        }
    }
    let end = &out[out.len().saturating_sub(bytes)..];
    String::from_utf8_lossy(end).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_tails() {
        let line = parse(b"2026-01-01T00:00:00.000000001Z stderr P half a").expect("a line");
        assert_eq!((line.stream, line.partial, line.text), ("stderr", true, &b"half a"[..]));
        assert_eq!(parse(b"rubbish"), None);
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("0.log");
        let text = "t stdout F one\nt stdout P tw\nt stdout F o\nt stderr F \n";
        std::fs::write(&path, text).expect("written");
        assert_eq!(tail(&path, 10, 100), "one\ntwo\n\n");
        assert_eq!(tail(&path, 2, 100), "o\n\n");
        assert_eq!(tail(&path, 10, 3), "o\n\n");
    }
}
