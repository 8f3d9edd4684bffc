//! The difference of two values as upstream shows it to people who change what they must not.
//!
//! Upstream's text comes from a library that promises no stable form; ours is a plain list of changed
//! paths in the same style.

use serde_json::Value;

/// Changed leaves, one a line: `-path: old` and `+path: new`.
pub(super) fn print(old: &Value, new: &Value) -> String {
    let mut out = String::new();
    walk(old, new, "", &mut out);
    out
}

fn walk(old: &Value, new: &Value, path: &str, out: &mut String) {
    match (old, new) {
        (a, b) if a == b => {}
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let (x, y) = (a.get(key), b.get(key));
                let null = Value::Null;
                walk(x.unwrap_or(&null), y.unwrap_or(&null), &format!("{path}.{key}"), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                walk(x, y, &format!("{path}[{i}]"), out);
            }
        }
        (a, b) => {
            for (sign, value) in [('-', a), ('+', b)] {
                if !value.is_null() {
                    out.push_str(&format!("{sign}{}: {value}\n", path.trim_start_matches('.')));
                }
            }
        }
    }
}
