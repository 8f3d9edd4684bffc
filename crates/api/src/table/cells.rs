//! How one cell is read off an object.

use jiff::Timestamp;
use serde_json::Value;

use super::{duration, format};
use crate::object::Object;

/// What a cell shows.
#[derive(Clone, Copy)]
pub enum Cell {
    /// `metadata.name`.
    Name,
    /// How long ago it was created.
    Age,
    /// When it was created.
    Created,
    /// The text under a path, or another where there is none.
    Text(&'static str, &'static str),
    /// The number under a path, or 0.
    Int(&'static str),
    /// The boolean under a path, or another where there is none.
    Flag(&'static str, bool),
    /// How many items the list or map under a path has.
    Count(&'static str),
    /// Texts of the list under a path, with commas, or another where there are none.
    Join(&'static str, &'static str),
    /// How long ago the time under a path was, or another text where there is none.
    Since(&'static str, &'static str),
    /// Names of the containers under a path.
    Names(&'static str),
    /// Images of the containers under a path.
    Images(&'static str),
    /// The labels under a path.
    Labels(&'static str),
    /// The label selector under a path.
    Selector(&'static str),
    /// `kind/name` of the reference under a path.
    KindName(&'static str),
    /// Anything else.
    Of(fn(&Object) -> Value),
    /// Anything else that depends on the time.
    At(fn(&Object, Timestamp) -> Value),
}

/// The value under a path of keys and list positions.
pub fn get<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    at(object.0.get(first)?, rest)
}

/// The same, from any value.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').filter(|part| !part.is_empty()).try_fold(value, |value, part| match value {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        other => other.get(part),
    })
}

/// The text under a path; empty where there is none.
pub fn text<'a>(object: &'a Object, path: &str) -> &'a str {
    get(object, path).and_then(Value::as_str).unwrap_or("")
}

/// The items of the list under a path.
pub fn list<'a>(object: &'a Object, path: &str) -> &'a [Value] {
    get(object, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number under a path, or 0.
pub fn int(object: &Object, path: &str) -> i64 {
    get(object, path).and_then(Value::as_i64).unwrap_or(0)
}

/// Texts and numbers as they are printed; empty for anything else.
pub fn show(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(n)) => n.to_string(),
        Some(Value::Bool(b)) => b.to_string(),
        _ => String::new(),
    }
}

pub fn value(cell: &Cell, object: &Object, now: Timestamp) -> Value {
    match *cell {
        Cell::Name => object.name().into(),
        Cell::Age => {
            let created = object.creation_timestamp();
            duration::since(Some(created).filter(|t| !t.is_empty()), now).into()
        }
        Cell::Created => object.creation_timestamp().into(),
        Cell::Text(path, other) => {
            let found = show(get(object, path));
            if found.is_empty() { other.into() } else { found.into() }
        }
        Cell::Int(path) => int(object, path).into(),
        Cell::Flag(path, other) => {
            get(object, path).and_then(Value::as_bool).unwrap_or(other).into()
        }
        Cell::Count(path) => match get(object, path) {
            Some(Value::Array(items)) => items.len().into(),
            Some(Value::Object(map)) => map.len().into(),
            _ => 0.into(),
        },
        Cell::Join(path, other) => {
            let texts: Vec<&str> = list(object, path).iter().filter_map(Value::as_str).collect();
            if texts.is_empty() { other.into() } else { texts.join(",").into() }
        }
        Cell::Since(path, other) => match get(object, path).and_then(Value::as_str) {
            Some(time) => duration::since(Some(time), now).into(),
            None => other.into(),
        },
        Cell::Names(path) => format::names(object, path),
        Cell::Images(path) => format::images(object, path),
        Cell::Labels(path) => format::labels(get(object, path)).into(),
        Cell::Selector(path) => format::selector(get(object, path)).into(),
        Cell::KindName(path) => {
            let part = |key| show(get(object, path).and_then(|r| r.get(key)));
            format!("{}/{}", part("kind"), part("name")).into()
        }
        Cell::Of(make) => make(object),
        Cell::At(make) => make(object, now),
    }
}
