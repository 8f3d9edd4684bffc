//! URLs, as Go's `net/url` reads those of requests.

use std::collections::BTreeMap;
use std::rc::Rc;

use api::percent;

use super::Row;
use super::opaque::Opaque;
use super::strings::{text, texts};
use crate::EvalError;
use crate::value::{Key, Value};

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("string_to_url", "url(string) url", url),
    ("is_url_string", "isURL(string) bool", is_url),
    ("url_get_scheme", "url|getScheme() string", scheme),
    ("url_get_host", "url|getHost() string", host),
    ("url_get_hostname", "url|getHostname() string", hostname),
    ("url_get_port", "url|getPort() string", port),
    ("url_get_escaped_path", "url|getEscapedPath() string", path),
    ("url_get_query", "url|getQuery() map(string, list(string))", query),
];

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// An absolute URL or an absolute path.
pub(super) fn parse(raw: &str) -> Result<Url, String> {
    let fail = |why: String| Err(format!("parse {raw:?}: {why}"));
    if raw.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return fail("net/url: invalid control character in URL".into());
    }
    if raw.is_empty() {
        return fail("empty url".into());
    }
    let (scheme, rest) = match split_scheme(raw) {
        Ok(parts) => parts,
        Err(why) => return fail(why.into()),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !rest.starts_with('/') {
        if scheme.is_empty() {
            return fail("invalid URI for request".into());
        }
        // `mailto:x`: opaque.
        return Ok(Url {
            scheme: scheme.to_ascii_lowercase(),
            host: String::new(),
            path: String::new(),
            query: query.into(),
        });
    }
    let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(after) => {
            let end = after.find('/').unwrap_or(after.len());
            let authority = &after[..end];
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            if let Err(why) = check_host(host) {
                return fail(why);
            }
            (host.to_owned(), &after[end..])
        }
        None => (String::new(), rest),
    };
    for part in [path, &host] {
        if let Some(bad) = bad_escape(part) {
            return fail(format!("invalid URL escape {bad:?}"));
        }
    }
    let path = percent::encode(path, percent::GO_PATH);
    Ok(Url { scheme: scheme.to_ascii_lowercase(), host, path, query: query.into() })
}

fn split_scheme(raw: &str) -> Result<(&str, &str), &'static str> {
    for (at, c) in raw.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&raw[..at], &raw[at + 1..])),
            _ => break,
        }
    }
    let first = raw.split('/').next().unwrap_or("");
    if first.contains(':') {
        return Err("first path segment in URL cannot contain colon");
    }
    Ok(("", raw))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".into()),
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if (!port.is_empty() && !port.starts_with(':')) || digits.bytes().any(|b| !b.is_ascii_digit()) {
        return Err(format!("invalid port {port:?} after host"));
    }
    if let Some(bad) = host
        .chars()
        .find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    Ok(())
}

/// The first percent sign that two hexadecimal digits do not follow.
fn bad_escape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    (0..bytes.len()).find_map(|at| {
        let escape = bytes.get(at + 1..at + 3);
        let good = escape.is_some_and(|e| e.iter().all(u8::is_ascii_hexdigit));
        (bytes[at] == b'%' && !good)
            .then(|| text.chars().skip(text[..at].chars().count()).take(3).collect())
    })
}

fn of<'v>(args: &'v [Value<'_>]) -> Result<&'v Url, EvalError> {
    match &args[0] {
        Value::Opaque(Opaque::Url(url)) => Ok(url),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn url<'a>(args: &[Value<'a>]) -> Out<'a> {
    let url = parse(text(args, 0)?).map_err(|why| {
        EvalError::new(format!("URL parse error during conversion from string: {why}"))
    })?;
    Ok(Value::Opaque(Opaque::Url(Rc::new(url))))
}

fn is_url<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
}

fn scheme<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(of(args)?.scheme.as_str()))
}

fn host<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(of(args)?.host.as_str()))
}

fn host_and_port(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, after.strip_prefix(':').unwrap_or(""));
    }
    host.rsplit_once(':').unwrap_or((host, ""))
}

fn hostname<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(host_and_port(&of(args)?.host).0))
}

fn port<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(host_and_port(&of(args)?.host).1))
}

fn path<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(of(args)?.path.as_str()))
}

fn decoded(part: &str) -> Option<String> {
    let part = part.replace('+', " ");
    let bytes = part.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        if bytes[at] == b'%' {
            out.push(u8::from_str_radix(part.get(at + 1..at + 3)?, 16).ok()?);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn query<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for pair in of(args)?.query.split('&').filter(|p| !p.is_empty() && !p.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(key), Some(value)) = (decoded(key), decoded(value)) {
            found.entry(key).or_default().push(value);
        }
    }
    let map = found.into_iter().map(|(k, v)| (Key::String(Rc::from(k)), texts(v)));
    Ok(Value::map(map.collect()))
}
