//! Links of pages that come through the proxy: absolute paths of the page's own host are made to lead
//! through the proxy again.
//!
//! Not here: passing requests on (`http`). Links that scripts and style sheets make stay as they are.

use std::io::{self, Write};

use bytes::Bytes;
use client::{Body, Error};
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use futures_util::StreamExt;
use http::{HeaderValue, header, response};

/// Which attributes of which elements hold an address.
const ADDRESSES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements whose content is text, whatever it looks like.
const TEXT: &[&str] = &[
    "iframe",
    "noembed",
    "noframes",
    "noscript",
    "plaintext",
    "script",
    "style",
    "textarea",
    "title",
    "xmp",
];

/// A longer tag passes unread.
const LONGEST_TAG: usize = 64 * 1024;

/// Where the pages of one proxied request lie.
#[derive(Clone, Debug)]
pub struct Place {
    /// The path that leads to the other server's root, without a slash at its end.
    pub prefix: String,
    /// `host:port` of the other server.
    pub there: String,
    /// The host that the client asked.
    pub here: String,
}

impl Place {
    /// What a link has to be for the client, where it has to be something else.
    fn link(&self, link: &str) -> Option<String> {
        let scheme_ends = link.find(':').filter(|at| link[..*at].bytes().all(in_scheme));
        let rest = scheme_ends.map_or(link, |at| &link[at + 1..]);
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
            None => ("", rest),
        };
        if !path.starts_with('/') || (!host.is_empty() && host != self.there && host != self.here) {
            return None;
        }
        // What names the client's own host goes on naming it.
        let kept = if host == self.here { &link[..link.len() - path.len()] } else { "" };
        let through = path == self.prefix || path.starts_with(&format!("{}/", self.prefix));
        let prefix = if through { "" } else { &self.prefix };
        Some(format!("{kept}{prefix}{path}"))
    }

    /// Makes the links of an answer lead through the proxy.
    pub fn rewrite(self, parts: &mut response::Parts, body: Body) -> Body {
        if let Some(location) = parts.headers.get(header::LOCATION) {
            let link = location.to_str().ok().and_then(|l| self.link(l));
            if let Some(link) = link.and_then(|l| HeaderValue::from_str(&l).ok()) {
                parts.headers.insert(header::LOCATION, link);
            }
            return body;
        }
        let text = |name| parts.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
        let kind = text(header::CONTENT_TYPE).unwrap_or("").split(';').next().unwrap_or("");
        if kind.trim() != "text/html" {
            return body;
        }
        let page = Page::new(self);
        let filter = match text(header::CONTENT_ENCODING).unwrap_or("") {
            "" => Filter::Plain(page),
            "gzip" => Filter::Gzip(Box::new(GzDecoder::new(Rewritten(
                page,
                GzEncoder::new(Vec::new(), Compression::fast()),
            )))),
            _ => return body,
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        Body::stream(futures_util::stream::unfold(Some((body, filter)), |state| async move {
            let (mut body, mut filter) = state?;
            loop {
                let fault = |e| Error::transport("rewrite the links of a page", e);
                let out = match body.next().await {
                    Some(Ok(chunk)) => filter.feed(&chunk).map_err(fault),
                    Some(Err(e)) => Err(e),
                    None => return Some((filter.end().map(Bytes::from).map_err(fault), None)),
                };
                match out {
                    Ok(out) if out.is_empty() => {}
                    Ok(out) => return Some((Ok(out.into()), Some((body, filter)))),
                    Err(e) => return Some((Err(e), None)),
                }
            }
        }))
    }
}

fn in_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// A page in its encoding.
enum Filter {
    Plain(Page),
    Gzip(Box<GzDecoder<Rewritten>>),
}

impl Filter {
    fn feed(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(page) => Ok(page.feed(chunk)),
            Self::Gzip(decoder) => {
                decoder.write_all(chunk)?;
                Ok(std::mem::take(decoder.get_mut().1.get_mut()))
            }
        }
    }

    fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(mut page) => Ok(std::mem::take(&mut page.held)),
            Self::Gzip(decoder) => {
                let Rewritten(mut page, mut encoder) = decoder.finish()?;
                encoder.write_all(&std::mem::take(&mut page.held))?;
                encoder.finish()
            }
        }
    }
}

/// What is written to it comes out of the encoder with other links.
struct Rewritten(Page, GzEncoder<Vec<u8>>);

impl Write for Rewritten {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let out = self.0.feed(chunk);
        self.1.write_all(&out)?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

/// A page on its way through: what may be a part of a tag is held back until the rest is there.
struct Page {
    place: Place,
    held: Vec<u8>,
    /// What ends the text that is no markup, where we are in one.
    until: Option<String>,
}

impl Page {
    fn new(place: Place) -> Self {
        Self { place, held: Vec::new(), until: None }
    }

    /// Takes in a part of the page; gives out what is done.
    fn feed(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(chunk);
        let held = std::mem::take(&mut self.held);
        let (mut out, mut rest) = (Vec::with_capacity(held.len()), held.as_slice());
        loop {
            if let Some(until) = &self.until {
                let Some(at) = find(rest, until.as_bytes()) else {
                    let keep = rest.len().min(until.len() - 1);
                    let (text, tail) = rest.split_at(rest.len() - keep);
                    out.extend_from_slice(text);
                    self.held = tail.to_vec();
                    return out;
                };
                out.extend_from_slice(&rest[..at]);
                rest = &rest[at..];
                self.until = None;
            }
            let at = rest.iter().position(|b| *b == b'<').unwrap_or(rest.len());
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            if rest.len() < 2 || (rest.len() < 4 && b"<!--".starts_with(rest)) {
                break;
            }
            if rest.starts_with(b"<!--") {
                self.until = Some("-->".to_owned());
            }
            if !rest[1].is_ascii_alphabetic() {
                out.push(rest[0]);
                rest = &rest[1..];
                continue;
            }
            let Some(end) = tag_end(rest) else {
                if rest.len() <= LONGEST_TAG {
                    break;
                }
                out.push(rest[0]);
                rest = &rest[1..];
                continue;
            };
            self.tag(&rest[..end], &mut out);
            rest = &rest[end..];
        }
        self.held = rest.to_vec();
        out
    }

    /// Gives out a start tag, with its addresses as they have to be.
    fn tag(&mut self, tag: &[u8], out: &mut Vec<u8>) {
        let name_ends = tag
            .iter()
            .position(|b| b.is_ascii_whitespace() || b"/>".contains(b))
            .unwrap_or(tag.len());
        let name = String::from_utf8_lossy(&tag[1..name_ends]).to_ascii_lowercase();
        if TEXT.contains(&name.as_str()) {
            self.until = Some(format!("</{name}"));
        }
        let Some((_, known)) = ADDRESSES.iter().find(|(element, _)| *element == name) else {
            out.extend_from_slice(tag);
            return;
        };
        let mut done = 0;
        for (key, value) in attributes(tag, name_ends) {
            let key = String::from_utf8_lossy(&tag[key]).to_ascii_lowercase();
            let Ok(link) = std::str::from_utf8(&tag[value.clone()]) else { continue };
            if !known.contains(&key.as_str()) {
                continue;
            }
            if let Some(link) = self.place.link(link) {
                out.extend_from_slice(&tag[done..value.start]);
                out.extend_from_slice(link.replace('"', "%22").replace('\'', "%27").as_bytes());
                done = value.end;
            }
        }
        out.extend_from_slice(&tag[done..]);
    }
}

/// Where `needle` (in lower case) is first, in any case.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle))
}

/// Where a tag that begins here ends, as far as it is there.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match quote {
            Some(q) if q == *byte => quote = None,
            Some(_) => {}
            None if *byte == b'>' => return Some(at + 1),
            // A quotation mark opens a value only behind its `=`.
            None if b"\"'".contains(byte) => {
                let before = text[..at].iter().rev().find(|b| !b.is_ascii_whitespace());
                quote = Some(*byte).filter(|_| before == Some(&b'='));
            }
            None => {}
        }
    }
    None
}

type Span = std::ops::Range<usize>;

/// Keys and values of a whole tag's attributes, from the end of its name on.
fn attributes(tag: &[u8], mut at: usize) -> Vec<(Span, Span)> {
    let mut found = Vec::new();
    let skip = |mut at: usize, stop: &dyn Fn(u8) -> bool| {
        while at < tag.len() && !stop(tag[at]) {
            at += 1;
        }
        at
    };
    while at < tag.len() {
        let start = skip(at, &|b| !b.is_ascii_whitespace() && b != b'/' && b != b'>');
        let end = skip(start, &|b| b.is_ascii_whitespace() || b"/>=".contains(&b));
        if start == tag.len() {
            break;
        }
        at = skip(end, &|b| !b.is_ascii_whitespace());
        if tag.get(at) != Some(&b'=') {
            at = at.max(start + 1);
            continue;
        }
        at = skip(at + 1, &|b| !b.is_ascii_whitespace());
        let quote = tag.get(at).copied().filter(|b| b"\"'".contains(b));
        let value = match quote {
            Some(q) => at + 1..skip(at + 1, &|b| b == q),
            None => at..skip(at, &|b| b.is_ascii_whitespace() || b == b'>'),
        };
        at = value.end + usize::from(quote.is_some());
        found.push((start..end, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            prefix: "/api/v1/namespaces/a/pods/b/proxy".into(),
            there: "10.0.0.9:80".into(),
            here: "server:6443".into(),
        }
    }

    #[test]
    fn links() {
        let link = |l: &str| place().link(l);
        let p = place().prefix;
        assert_eq!(link("/x?y#z"), Some(format!("{p}/x?y#z")));
        assert_eq!(link("http://10.0.0.9:80/x"), Some(format!("{p}/x")));
        assert_eq!(link("//10.0.0.9:80/"), Some(format!("{p}/")));
        assert_eq!(link("https://server:6443/x"), Some(format!("https://server:6443{p}/x")));
        assert_eq!(link(&format!("{p}/x")), Some(format!("{p}/x")), "through it already");
        for other in ["x/y", "", "#x", "?x", "http://elsewhere/x", "//elsewhere/x", "mailto:a@b"] {
            assert_eq!(link(other), None, "{other}");
        }
    }

    #[test]
    fn pages_whole_and_in_pieces() {
        let page = concat!(
            "<!DOCTYPE html><p title='/a'>1 < 2 <a id=x HREF=\"/a>b\">t</a><img src=/i.png alt='/'>",
            "<!-- <a href='/no'> --><script src='/s.js'>'<a href=\"/no\">'</SCRIPT><a href='/z'/>",
            "<a href='rel'><a =/ href><form action = '/f'"
        );
        let p = place().prefix;
        let wanted = page
            .replace("\"/a>b\"", &format!("\"{p}/a>b\""))
            .replace("=/i.png", &format!("={p}/i.png"))
            .replace("'/s.js'", &format!("'{p}/s.js'"))
            .replace("'/z'", &format!("'{p}/z'"));
        for size in [1, 2, 3, 7, page.len()] {
            let mut filter = Page::new(place());
            let mut out: Vec<u8> =
                page.as_bytes().chunks(size).flat_map(|c| filter.feed(c)).collect();
            out.extend(&filter.held);
            assert_eq!(String::from_utf8(out).expect("text"), wanted, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn answers() {
        let answer = |headers: &[(&'static str, &str)]| {
            let mut response = http::Response::builder();
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(()).expect("a head").into_parts().0
        };
        let page = "<a href='/x'>";
        let wanted = format!("<a href='{}/x'>", place().prefix);
        let mut plain =
            answer(&[("content-type", "text/html; charset=utf-8"), ("content-length", "13")]);
        let body = place().rewrite(&mut plain, Bytes::from(page).into());
        assert_eq!(body.bytes().await.expect("a page"), wanted);
        assert!(plain.headers.get("content-length").is_none());

        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(page.as_bytes()).expect("encoded");
        let packed = Bytes::from(encoder.finish().expect("encoded"));
        let mut gzip = answer(&[("content-type", "text/html"), ("content-encoding", "gzip")]);
        let body = place().rewrite(&mut gzip, packed.into()).bytes().await.expect("a page");
        let mut decoder = GzDecoder::new(Vec::new());
        decoder.write_all(&body).expect("decoded");
        assert_eq!(decoder.finish().expect("decoded"), wanted.as_bytes());

        let mut text = answer(&[("content-type", "text/plain")]);
        let body = place().rewrite(&mut text, Bytes::from(page).into());
        assert_eq!(body.bytes().await.expect("text"), page, "no page");

        let mut moved = answer(&[("location", "http://10.0.0.9:80/x")]);
        place().rewrite(&mut moved, Body::empty());
        assert_eq!(moved.headers["location"], format!("{}/x", place().prefix).as_str());
    }
}
