//! Regular expressions in RE2's syntax.
//!
//! The engine's syntax differs in a few places: `\d`, `\w`, `\s` and `\b` are ASCII in RE2, a `[` inside
//! a class is only a bracket, `\Q…\E` quotes. Patterns are rewritten before they are compiled.

use std::cell::RefCell;
use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use super::Row;
use super::strings::{int, text, texts};
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

/// The compiled form may take this much; RE2's own limit is of that order.
const MAX_COMPILED: usize = 4 << 20;
/// How many compiled patterns a thread keeps.
const KEPT: usize = 64;

pub(super) const ROWS: &[Row] = &[
    ("matches", "matches(string, string) bool", matches),
    ("matches_string", "string|matches(string) bool", matches),
    ("string_find_string", "string|find(string) string", find),
    ("string_find_all_string", "string|findAll(string) list(string)", find_all),
    ("string_find_all_string_int", "string|findAll(string, int) list(string)", find_all),
];

thread_local! {
    /// The patterns used last, the latest last.
    static COMPILED: RefCell<Vec<(String, Rc<Regex>)>> = const { RefCell::new(Vec::new()) };
}

/// Compiles a pattern, or says why it cannot be.
pub(crate) fn compile(pattern: &str) -> Result<Rc<Regex>, String> {
    COMPILED.with_borrow_mut(|kept| {
        if let Some(at) = kept.iter().position(|(p, _)| p == pattern) {
            let found = kept.remove(at);
            let regex = found.1.clone();
            kept.push(found);
            return Ok(regex);
        }
        let regex = RegexBuilder::new(&rewrite(pattern))
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(200)
            .build()
            .map_err(|e| e.to_string())?;
        let regex = Rc::new(regex);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((pattern.to_owned(), regex.clone()));
        Ok(regex)
    })
}

fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let (mut class, mut first) = (false, false);
    while let Some(c) = chars.next() {
        let begins = std::mem::replace(&mut first, false);
        match c {
            '\\' => {
                let Some(next) = chars.next() else {
                    out.push('\\');
                    break;
                };
                match (next, class) {
                    ('Q', false) => quoted(&mut chars, &mut out),
                    ('d', false) => out.push_str("[0-9]"),
                    ('d', true) => out.push_str("0-9"),
                    ('D', _) => out.push_str("[^0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('W', _) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', false) => out.push_str(r"[\t\n\f\r ]"),
                    ('s', true) => out.push_str(r"\t\n\f\r "),
                    ('S', _) => out.push_str(r"[^\t\n\f\r ]"),
                    ('b', false) => out.push_str(r"(?-u:\b)"),
                    ('z', _) => out.push_str(r"\z"),
                    (other, _) => {
                        out.push('\\');
                        out.push(other);
                    }
                }
            }
            '[' if !class => {
                class = true;
                first = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            '[' if chars.peek() == Some(&':') => out.push('['),
            '[' => out.push_str(r"\["),
            ']' if class && begins => out.push_str(r"\]"),
            ']' if class => {
                // The end of a named class ends only that.
                let named = out.ends_with(':') && out.rfind("[:").is_some();
                class = named;
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            other => out.push(other),
        }
    }
    out
}

/// Text up to `\E`, taken literally.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    let mut literal = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek() == Some(&'E') {
            chars.next();
            break;
        }
        literal.push(c);
    }
    out.push_str(&regex::escape(&literal));
}

fn compiled(pattern: &str) -> Result<Rc<Regex>, EvalError> {
    compile(pattern)
        .map_err(|why| EvalError::new(format!("error parsing regexp: {}", last_line(&why))))
}

/// The engine explains itself over several lines; the last one says what is wrong.
pub(crate) fn last_line(why: &str) -> &str {
    why.trim_end().rsplit('\n').next().unwrap_or(why).trim_start_matches("error: ")
}

fn matches<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(compiled(text(args, 1)?)?.is_match(text(args, 0)?)))
}

fn find<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, regex) = (text(args, 0)?, compiled(text(args, 1)?)?);
    Ok(Value::text(regex.find(of).map_or("", |m| m.as_str())))
}

fn find_all<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (of, regex) = (text(args, 0)?, compiled(text(args, 1)?)?);
    let limit = if args.len() > 2 { int(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(texts(regex.find_iter(of).take(limit).map(|m| m.as_str().to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_re2_says() {
        let rows = [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "é", false),
            (r"^[\d_]+$", "1_2", true),
            (r"^[^\s]+$", "a b", false),
            (r"^[[]a]$", "[a]", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[a&&b]+$", "&a", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^(?i)ABC$", "abc", true),
            (r"^\pL+$", "é", true),
            (r"^[\D]$", "x", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(
                compile(pattern).expect(pattern).is_match(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(compile("(").is_err());
        assert!(compile("(a{1000}){1000}").is_err());
    }
}
