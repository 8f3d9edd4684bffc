//! Functions over text.

use std::rc::Rc;

use super::Row;
use crate::EvalError;
use crate::eval::MAX_TEXT;
use crate::value::{List, Text, Value};

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("contains_string", "string|contains(string) bool", contains),
    ("ends_with_string", "string|endsWith(string) bool", ends_with),
    ("starts_with_string", "string|startsWith(string) bool", starts_with),
    ("string_char_at_int", "string|charAt(int) string", char_at),
    ("string_index_of_string", "string|indexOf(string) int", index_of),
    ("string_index_of_string_int", "string|indexOf(string, int) int", index_of),
    ("string_last_index_of_string", "string|lastIndexOf(string) int", last_index_of),
    ("string_last_index_of_string_int", "string|lastIndexOf(string, int) int", last_index_of),
    ("string_lower_ascii", "string|lowerAscii() string", lower),
    ("string_upper_ascii", "string|upperAscii() string", upper),
    ("string_replace_string_string", "string|replace(string, string) string", replace),
    ("string_replace_string_string_int", "string|replace(string, string, int) string", replace),
    ("string_split_string", "string|split(string) list(string)", split),
    ("string_split_string_int", "string|split(string, int) list(string)", split),
    ("string_substring_int", "string|substring(int) string", substring),
    ("string_substring_int_int", "string|substring(int, int) string", substring),
    ("string_trim", "string|trim() string", trim),
    ("string_format", "string|format(list(dyn)) string", format),
    ("strings_quote", "strings.quote(string) string", quote),
    ("list_join", "list(string)|join() string", join),
    ("list_join_string", "list(string)|join(string) string", join),
    ("string_jsonpatch_escapeKey_string", "jsonpatch.escapeKey(string) string", escape_key),
];

/// The text at a place of the arguments.
pub(super) fn text<'v>(args: &'v [Value<'_>], at: usize) -> Result<&'v str, EvalError> {
    match args.get(at) {
        Some(Value::String(s)) => Ok(s),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// The whole number at a place of the arguments.
pub(super) fn int(args: &[Value<'_>], at: usize) -> Result<i64, EvalError> {
    match args.get(at) {
        Some(Value::Int(i)) => Ok(*i),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn contains<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?)))
}
fn ends_with<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?)))
}
fn starts_with<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?)))
}
fn lower<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(text(args, 0)?.to_ascii_lowercase()))
}
fn upper<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(text(args, 0)?.to_ascii_uppercase()))
}
fn trim<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(text(args, 0)?.trim()))
}
fn format<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[1] {
        Value::List(list) => {
            super::strings_format::format(text(args, 0)?, &list.values()?).map(Value::text)
        }
        _ => Err(EvalError::no_such_overload()),
    }
}
fn quote<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut out = String::from("\"");
    for c in text(args, 0)?.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(Value::text(out))
}
fn escape_key<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(text(args, 0)?.replace('~', "~0").replace('/', "~1")))
}

fn out_of_range(at: i64) -> EvalError {
    EvalError::new(format!("index out of range: {at}"))
}

fn char_at<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, at) = (text(args, 0)?, int(args, 1)?);
    let length = of.chars().count();
    match usize::try_from(at) {
        Ok(at) if at == length => Ok(Value::text("")),
        Ok(at) if at < length => {
            let c: String = of.chars().skip(at).take(1).collect();
            Ok(Value::text(c))
        }
        _ => Err(out_of_range(at)),
    }
}

fn index_of<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, what) = (text(args, 0)?, text(args, 1)?);
    let from = if args.len() > 2 { int(args, 2)? } else { 0 };
    if what.is_empty() {
        return Ok(Value::Int(from));
    }
    let chars: Vec<char> = of.chars().collect();
    let what: Vec<char> = what.chars().collect();
    let start = usize::try_from(from).map_err(|_| out_of_range(from))?;
    if start > chars.len() || (start == chars.len() && start > 0) {
        return if start == chars.len() { Ok(Value::Int(-1)) } else { Err(out_of_range(from)) };
    }
    let found = chars[start..].windows(what.len()).position(|w| w == what);
    Ok(Value::Int(found.map_or(-1, |at| i64::try_from(start + at).unwrap_or(-1))))
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Out<'a> {
    let chars: Vec<char> = text(args, 0)?.chars().collect();
    let what: Vec<char> = text(args, 1)?.chars().collect();
    let length = i64::try_from(chars.len()).unwrap_or(i64::MAX);
    let from = if args.len() > 2 { Some(int(args, 2)?) } else { None };
    if what.is_empty() {
        return Ok(Value::Int(from.unwrap_or(length)));
    }
    if let Some(from) = from
        && (from < 0 || from >= length)
    {
        return if from == length && from > 0 {
            Ok(Value::Int(-1))
        } else {
            Err(out_of_range(from))
        };
    }
    let last = usize::try_from(from.unwrap_or(length)).unwrap_or(0);
    let mut windows = chars.windows(what.len()).enumerate();
    let found = windows.by_ref().filter(|(at, w)| *at <= last && *w == what).last();
    Ok(Value::Int(found.map_or(-1, |(at, _)| i64::try_from(at).unwrap_or(-1))))
}

fn replace<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, what, with) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let count = if args.len() > 3 { int(args, 3)? } else { -1 };
    let matches = if what.is_empty() { of.len() + 1 } else { of.matches(what).count() };
    if matches.saturating_mul(with.len()) > MAX_TEXT {
        return Err(EvalError::cost_exceeded());
    }
    let result = match usize::try_from(count) {
        Ok(count) => of.replacen(what, with, count),
        Err(_) => of.replace(what, with),
    };
    Ok(Value::text(result))
}

fn split<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, by) = (text(args, 0)?, text(args, 1)?);
    let limit = if args.len() > 2 { int(args, 2)? } else { -1 };
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let part = |s: &str| Value::text(s);
    let parts: Vec<Value<'a>> = if by.is_empty() {
        let mut parts: Vec<Value<'a>> = Vec::new();
        let mut rest = of;
        while let Some(c) = rest.chars().next() {
            if parts.len() + 1 == limit {
                parts.push(part(rest));
                rest = "";
                break;
            }
            parts.push(part(&rest[..c.len_utf8()]));
            rest = &rest[c.len_utf8()..];
        }
        let _ = rest;
        parts
    } else {
        of.splitn(limit, by).map(part).collect()
    };
    Ok(Value::list(parts))
}

fn substring<'a>(args: &[Value<'a>]) -> Out<'a> {
    let of = text(args, 0)?;
    let length = i64::try_from(of.chars().count()).unwrap_or(i64::MAX);
    let start = int(args, 1)?;
    let end = if args.len() > 2 { int(args, 2)? } else { length };
    if args.len() > 2 && start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    for at in [start, end] {
        if !(0..=length).contains(&at) {
            return Err(out_of_range(at));
        }
    }
    let (skip, take) =
        (usize::try_from(start).unwrap_or(0), usize::try_from(end - start).unwrap_or(0));
    if let Value::String(Text::Borrowed(s)) = &args[0] {
        let byte = |n: usize| s.char_indices().nth(n).map_or(s.len(), |(at, _)| at);
        return Ok(Value::String(Text::Borrowed(&s[byte(skip)..byte(skip + take)])));
    }
    let part: String = of.chars().skip(skip).take(take).collect();
    Ok(Value::text(part))
}

fn join<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::List(list) = &args[0] else { return Err(EvalError::no_such_overload()) };
    let by = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut out = String::new();
    for (at, item) in list.iter().enumerate() {
        let item = item?;
        let Value::String(item) = &item else {
            let what = super::strings_format::plain(&item);
            return Err(EvalError::new(format!("join: invalid input: {what}")));
        };
        if at > 0 {
            out.push_str(by);
        }
        out.push_str(item);
        if out.len() > MAX_TEXT {
            return Err(EvalError::cost_exceeded());
        }
    }
    Ok(Value::String(Text::Made(Rc::from(out))))
}

/// A list of texts.
pub(super) fn texts<'a>(items: impl IntoIterator<Item = String>) -> Value<'a> {
    Value::List(List::Made(Rc::new(items.into_iter().map(Value::text).collect())))
}
