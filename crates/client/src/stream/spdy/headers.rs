//! Header blocks: name-value pairs, compressed with one zlib stream a direction and a preset
//! dictionary.
//!
//! Not here: the frames around them.

use std::sync::LazyLock;

use bytes::{Buf, BufMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::Error;

/// Headers of a stream, names in lower case, in order.
pub type Headers = Vec<(String, String)>;

/// The value of a header.
pub fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// No header block is larger, decompressed.
const MAX: usize = 64 * 1024;

/// The words of SPDY/3's dictionary that carry their length in front.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding \
accept-language accept-ranges age allow authorization cache-control connection content-base \
content-encoding content-language content-length content-location content-md5 content-range \
content-type date etag expect expires from host if-match if-modified-since if-none-match if-range \
if-unmodified-since last-modified location max-forwards pragma proxy-authenticate \
proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public \
set-cookie keep-alive origin";

/// The rest of the dictionary.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416\
417502504505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 \
Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service \
UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, \
Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS.split(' ') {
        put_text(&mut dictionary, &word.replace('_', " "));
    }
    dictionary.extend_from_slice(TAIL.as_bytes());
    dictionary
});

fn put_text(into: &mut Vec<u8>, text: &str) {
    into.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    into.extend_from_slice(text.as_bytes());
}

fn broken(why: impl std::fmt::Display) -> Error {
    Error::Protocol(format!("SPDY headers: {why}"))
}

/// Writes header blocks of one connection.
pub(super) struct Encoder {
    zlib: Compress,
}

impl Encoder {
    pub fn new() -> Result<Self, Error> {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&DICTIONARY).map_err(broken)?;
        Ok(Self { zlib })
    }

    pub fn encode(&mut self, headers: &[(String, String)]) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        plain.put_u32(u32::try_from(headers.len()).map_err(broken)?);
        for (name, value) in headers {
            put_text(&mut plain, name);
            put_text(&mut plain, value);
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let start = self.zlib.total_in();
        loop {
            let done = usize::try_from(self.zlib.total_in() - start).map_err(broken)?;
            block.reserve(256);
            self.zlib
                .compress_vec(&plain[done..], &mut block, FlushCompress::Sync)
                .map_err(broken)?;
            let done = usize::try_from(self.zlib.total_in() - start).map_err(broken)?;
            // Spare room means that the flush is complete.
            if done == plain.len() && block.len() < block.capacity() {
                return Ok(block);
            }
        }
    }
}

/// Reads header blocks of one connection.
pub(super) struct Decoder {
    zlib: Decompress,
}

impl Decoder {
    pub fn new() -> Self {
        Self { zlib: Decompress::new(true) }
    }

    pub fn decode(&mut self, block: &[u8]) -> Result<Headers, Error> {
        let mut plain = Vec::with_capacity(block.len() * 4 + 256);
        let start = self.zlib.total_in();
        loop {
            let done = usize::try_from(self.zlib.total_in() - start).map_err(broken)?;
            let before = plain.len();
            match self.zlib.decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return Err(broken("the stream has ended")),
                Ok(_) => {}
                Err(e) if e.needs_dictionary().is_some() => {
                    self.zlib.set_dictionary(&DICTIONARY).map_err(broken)?;
                    continue;
                }
                Err(e) => return Err(broken(e)),
            }
            if plain.len() > MAX {
                return Err(broken("too large"));
            }
            let done = usize::try_from(self.zlib.total_in() - start).map_err(broken)?;
            if done == block.len() && plain.len() < plain.capacity() {
                return parse(&plain);
            }
            if plain.len() == before && plain.len() < plain.capacity() && done < block.len() {
                return Err(broken("no progress"));
            }
            plain.reserve(1024);
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, Error> {
    fn number(plain: &mut &[u8]) -> Result<usize, Error> {
        if plain.len() < 4 {
            return Err(broken("truncated"));
        }
        usize::try_from(plain.get_u32()).map_err(broken)
    }
    fn text(plain: &mut &[u8]) -> Result<String, Error> {
        let len = number(plain)?;
        if plain.len() < len {
            return Err(broken("truncated"));
        }
        let (text, rest) = plain.split_at(len);
        *plain = rest;
        Ok(String::from_utf8_lossy(text).into_owned())
    }
    let count = number(&mut plain)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut plain)?.to_ascii_lowercase();
        let values = text(&mut plain)?;
        // Several values of one name are joined by NUL.
        headers.extend(values.split('\0').map(|v| (name.clone(), v.to_owned())));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_their_context() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut encoder, mut decoder) = (Encoder::new().expect("zlib"), Decoder::new());
        let headers: Headers = vec![
            ("streamtype".into(), "error".into()),
            ("port".into(), "8080".into()),
            ("x".into(), "y".repeat(5000)),
        ];
        let first = encoder.encode(&headers).expect("encodes");
        // zlib's header announces the dictionary by its checksum.
        assert_eq!(first[..6], [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2]);
        assert_eq!(decoder.decode(&first).expect("decodes"), headers);
        for _ in 0..3 {
            let again = encoder.encode(&headers).expect("encodes");
            assert!(again.len() < first.len());
            assert_eq!(decoder.decode(&again).expect("decodes"), headers);
        }
        assert_eq!(decoder.decode(&encoder.encode(&[]).expect("encodes")).expect("decodes"), []);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Decoder::new().decode(&[1, 2, 3, 4]).is_err());
        let mut encoder = Encoder::new().expect("zlib");
        let block = encoder.encode(&[("a".into(), "b".repeat(MAX + 1))]).expect("encodes");
        assert!(Decoder::new().decode(&block).is_err(), "bombs");
    }
}
