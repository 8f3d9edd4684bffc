//! Functions about regular expressions, and the compiled ones that a thread keeps.
//!
//! Not here: their syntax (`api::regexp`).

use std::cell::RefCell;
use std::rc::Rc;

use api::regexp;
use regex::Regex;

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
        let regex = Rc::new(regexp::compile(pattern, MAX_COMPILED)?);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((pattern.to_owned(), regex.clone()));
        Ok(regex)
    })
}

fn compiled(pattern: &str) -> Result<Rc<Regex>, EvalError> {
    compile(pattern).map_err(EvalError::new)
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
