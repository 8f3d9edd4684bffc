//! JSON patch (RFC 6902) with the leniences of upstream's library: negative positions count from the
//! end, a missing value is null, testing for null accepts what is not there, and what stands before
//! a path's first slash is ignored.

use serde_json::{Map, Value};

use super::{MAX_COPIED, MAX_OPERATIONS, PatchError, go_type, size};
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
    let mut copied = 0;
    for operation in operations {
        let operation = operation.as_object().ok_or(PatchError::Rejected)?;
        one(&mut document, operation, &mut copied).ok_or(PatchError::Rejected)?;
    }
    Ok(document)
}

/// One operation; `None` where it does not apply.
fn one(document: &mut Value, operation: &Map<String, Value>, copied: &mut usize) -> Option<()> {
    let text = |key: &str| operation.get(key)?.as_str();
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    let path = text("path")?;
    match text("op")? {
        "add" => add(document, path, value()),
        "remove" => take(document, path).map(drop),
        "replace" if path.is_empty() => {
            *document = value();
            Some(())
        }
        "replace" => {
            *find(document, path)? = value();
            Some(())
        }
        "move" => {
            let value = take(document, text("from")?)?;
            add(document, path, value)
        }
        "copy" => {
            let value = find(document, text("from")?)?.clone();
            *copied += size(&value);
            (*copied <= MAX_COPIED).then(|| add(document, path, value))?
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

fn add(document: &mut Value, path: &str, value: Value) -> Option<()> {
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
        }
        Value::Array(list) if last == "-" => list.push(value),
        Value::Array(list) => {
            let at = position(&last, list.len() + 1)?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(list) => {
            let at = position(&last, list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}
