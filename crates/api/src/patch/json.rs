//! JSON patch (RFC 6902) with the leniences of upstream's library: negative positions count from the
//! end, a missing value is null, testing for null accepts what is not there, and what stands before
//! a path's first slash is ignored.

use serde_json::{Map, Value};

use super::{MAX_COPIED, MAX_OPERATIONS, MAX_VISITED, PatchError, go_type, size};
use crate::codec::MAX_DEPTH;
use crate::object::Object;

/// Applies a JSON patch. The outcome need not be an object (`replace` of the root).
pub fn json_patch(original: &Object, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return Err(PatchError::Malformed(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            go_type(patch)
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut document = Value::Object(original.0.clone());
    let mut budget = Budget { copied: MAX_COPIED, visited: MAX_VISITED };
    for operation in operations {
        let operation = operation.as_object().ok_or(PatchError::Rejected)?;
        let done = one(&mut document, operation, &mut budget);
        if budget.visited == 0 {
            return Err(PatchError::TooLarge(
                "the operations of the JSON patch move too much about".to_owned(),
            ));
        }
        done.ok_or(PatchError::Rejected)?;
    }
    Ok(document)
}

/// What the operations of one patch may still do.
struct Budget {
    /// Bytes that they copy.
    copied: usize,
    /// Values that they look at or move.
    visited: usize,
}

impl Budget {
    fn visit(&mut self, values: usize) -> Option<()> {
        self.visited = self.visited.saturating_sub(values);
        (self.visited > 0).then_some(())
    }

    /// Whether a value nests no deeper than documents may, at a path.
    fn fits(&mut self, value: &Value, path: &str) -> Option<()> {
        let above = path.matches('/').count();
        (above < MAX_DEPTH).then(|| self.nests(value, MAX_DEPTH - above))?
    }

    fn nests(&mut self, value: &Value, left: usize) -> Option<()> {
        self.visit(1)?;
        let left = left.checked_sub(1)?;
        match value {
            Value::Array(list) => list.iter().try_for_each(|value| self.nests(value, left)),
            Value::Object(map) => map.values().try_for_each(|value| self.nests(value, left)),
            _ => Some(()),
        }
    }
}

/// One operation; `None` where it does not apply.
fn one(document: &mut Value, operation: &Map<String, Value>, budget: &mut Budget) -> Option<()> {
    let text = |key: &str| operation.get(key)?.as_str();
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    let path = text("path")?;
    match text("op")? {
        "add" => {
            let value = value();
            budget.fits(&value, path)?;
            add(document, path, value, budget)
        }
        "remove" => take(document, path, budget).map(drop),
        "replace" if path.is_empty() => {
            *document = value();
            Some(())
        }
        "replace" => {
            let value = value();
            budget.fits(&value, path)?;
            // A map need not have had it.
            if matches!(parent(document, path)?.0, Value::Object(_)) {
                return add(document, path, value, budget);
            }
            *find(document, path)? = value;
            Some(())
        }
        "move" => {
            let value = take(document, text("from")?, budget)?;
            budget.fits(&value, path)?;
            add(document, path, value, budget)
        }
        "copy" => {
            let from = text("from")?;
            // What a map does not have copies as nothing.
            let held = matches!(parent(document, from)?.0, Value::Object(_));
            let value = match find(document, from) {
                Some(value) => value,
                None if held => &mut Value::Null,
                None => return None,
            };
            budget.copied = budget.copied.checked_sub(size(value))?;
            let value = value.clone();
            budget.fits(&value, path)?;
            add(document, path, value, budget)
        }
        "test" => {
            let wanted = value();
            let found =
                if path.is_empty() { Some(&*document) } else { find(document, path).map(|v| &*v) };
            let same = found.map_or(wanted.is_null(), |found| *found == wanted);
            same.then_some(())
        }
        _ => None,
    }
}

fn unescape(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// The parent of a path with the last part.
fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut parts: Vec<String> = path.split('/').skip(1).map(unescape).collect();
    let last = parts.pop()?;
    let mut at = document;
    for part in parts {
        at = child(at, &part)?;
    }
    Some((at, last))
}

fn child<'a>(value: &'a mut Value, part: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(map) => map.get_mut(part),
        Value::Array(list) => {
            let at = position(part, list.len())?;
            list.get_mut(at)
        }
        _ => None,
    }
}

/// A position in a list of so many; negative ones count from the end.
fn position(part: &str, len: usize) -> Option<usize> {
    let number: i64 = part.parse().ok()?;
    let len = i64::try_from(len).ok()?;
    let at = if number < 0 { number + len } else { number };
    (0..len).contains(&at).then(|| usize::try_from(at).ok())?
}

fn find<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let (parent, last) = parent(document, path)?;
    child(parent, &last)
}

fn add(document: &mut Value, path: &str, value: Value, budget: &mut Budget) -> Option<()> {
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let at = position(&last, list.len() + 1)?;
            budget.visit(list.len() - at)?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(document: &mut Value, path: &str, budget: &mut Budget) -> Option<Value> {
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let at = position(&last, list.len())?;
            budget.visit(list.len() - at)?;
            Some(list.remove(at))
        }
        _ => None,
    }
}
