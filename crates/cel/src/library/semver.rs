//! Semantic versions.

use std::cmp::Ordering;
use std::rc::Rc;

use super::Row;
use super::opaque::Opaque;
use super::strings::text;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("string_to_semver", "semver(string) semver", semver),
    ("string_bool_to_semver", "semver(string, bool) semver", semver),
    ("is_semver_string", "isSemver(string) bool", is_semver),
    ("is_semver_string_bool", "isSemver(string, bool) bool", is_semver),
    ("semver_is_greater_than", "semver|isGreaterThan(semver) bool", greater),
    ("semver_is_less_than", "semver|isLessThan(semver) bool", less),
    ("semver_compare_to", "semver|compareTo(semver) int", compare),
    ("semver_major", "semver|major() int", |a| part(a, 0)),
    ("semver_minor", "semver|minor() int", |a| part(a, 1)),
    ("semver_patch", "semver|patch() int", |a| part(a, 2)),
];

/// A version; what it was built from does not count.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre: Vec<Pre>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pre {
    Number(u64),
    Word(String),
}

impl Semver {
    /// By numbers; a version comes after its own pre-releases.
    pub fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.pre.is_empty(), other.pre.is_empty()) {
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ => self.pre.cmp(&other.pre),
            }
        })
    }
}

fn parse(text: &str) -> Result<Semver, String> {
    if text.is_empty() {
        return Err("Version string empty".into());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, rest] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".into());
    };
    let (rest, build) = match rest.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (*rest, None),
    };
    let (patch, pre) = match rest.split_once('-') {
        Some((patch, pre)) => (patch, Some(pre)),
        None => (rest, None),
    };
    let number = |what: &str, text: &str| -> Result<u64, String> {
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_digit()) {
            let _ = bad;
            return Err(format!("Invalid character(s) found in {what} number {text:?}"));
        }
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!(
                "{} number must not contain leading zeroes {text:?}",
                capital(what)
            ));
        }
        text.parse().map_err(|_| format!("Invalid character(s) found in {what} number {text:?}"))
    };
    let numbers = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut versions = Vec::new();
    for item in pre.into_iter().flat_map(|p| p.split('.')) {
        if item.is_empty() {
            return Err("Prerelease is empty".into());
        }
        if item.bytes().all(|b| b.is_ascii_digit()) {
            if item.len() > 1 && item.starts_with('0') {
                return Err(format!(
                    "Numeric PreRelease version must not contain leading zeroes {item:?}"
                ));
            }
            let number = item.parse().map_err(|_| format!("Invalid number {item:?}"))?;
            versions.push(Pre::Number(number));
        } else if item.chars().all(word) {
            versions.push(Pre::Word(item.to_owned()));
        } else {
            return Err(format!("Invalid character(s) found in prerelease {item:?}"));
        }
    }
    for item in build.into_iter().flat_map(|b| b.split('.')) {
        if item.is_empty() {
            return Err("Build meta data is empty".into());
        }
        if !item.chars().all(word) {
            return Err(format!("Invalid character(s) found in build meta data {item:?}"));
        }
    }
    Ok(Semver { numbers, pre: versions })
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_uppercase().to_string() + chars.as_str())
}

/// `v1.2` as `1.2.0`, `01.2.3` as `1.2.3`.
fn normalize(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(str::to_owned).collect();
    for part in &mut parts {
        if part.len() > 1 {
            let trimmed = part.trim_start_matches('0');
            let digit = trimmed.starts_with(|c: char| c.is_ascii_digit());
            *part = if digit { trimmed.to_owned() } else { format!("0{trimmed}") };
        }
    }
    while parts.len() < 3 {
        parts.push("0".into());
    }
    parts.join(".")
}

fn read(args: &[Value<'_>]) -> Result<Result<Semver, String>, EvalError> {
    let raw = text(args, 0)?;
    Ok(match args.get(1) {
        Some(Value::Bool(true)) => parse(&normalize(raw)),
        _ => parse(raw),
    })
}

fn semver<'a>(args: &[Value<'a>]) -> Out<'a> {
    let version = read(args)?.map_err(EvalError::new)?;
    Ok(Value::Opaque(Opaque::Semver(Rc::new(version))))
}

fn is_semver<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn of<'v>(args: &'v [Value<'_>], at: usize) -> Result<&'v Semver, EvalError> {
    match &args[at] {
        Value::Opaque(Opaque::Semver(version)) => Ok(version),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn greater<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of(args, 0)?.cmp(of(args, 1)?) == Ordering::Greater))
}
fn less<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of(args, 0)?.cmp(of(args, 1)?) == Ordering::Less))
}
fn compare<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(of(args, 0)?.cmp(of(args, 1)?) as i64))
}
fn part<'a>(args: &[Value<'a>], at: usize) -> Out<'a> {
    Ok(Value::Int(i64::try_from(of(args, 0)?.numbers[at]).unwrap_or(i64::MAX)))
}
