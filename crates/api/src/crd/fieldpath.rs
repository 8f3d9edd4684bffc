//! Paths to fields of a schema, as rules and selectable fields name them: `.spec.a`, `.spec['b.c']`.
//!
//! Not here: JSONPath (`jsonpath`).

use super::structural::{Additional, Structural};

/// A path that a schema has.
#[derive(Debug)]
pub struct FieldPath<'a> {
    /// As errors print it: `spec.a[b]`.
    pub text: String,
    /// Its first part.
    pub root: String,
    /// What it leads to.
    pub schema: &'a Structural,
}

/// Finds a field of a schema, or says why there is none.
pub fn find<'a>(path: &str, schema: &'a Structural) -> Result<FieldPath<'a>, String> {
    let missing = || "does not refer to a valid field".to_owned();
    let mut found = FieldPath { text: String::new(), root: String::new(), schema };
    let mut rest = path;
    while !rest.is_empty() {
        let name;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[', ']', '\'']).unwrap_or(after.len());
            name = after[..end].to_owned();
            rest = &after[end..];
            if name.is_empty() {
                return Err(missing());
            }
        } else if let Some(after) = rest.strip_prefix('[') {
            let (key, tail) = quoted(after)?;
            name = key;
            rest = tail;
        } else {
            let token: String = rest.chars().take_while(|c| !".[]'".contains(*c)).collect();
            let token = if token.is_empty() { rest.chars().take(1).collect() } else { token };
            return Err(format!("expected [ or . but got: {token}"));
        }
        if let Some(next) = found.schema.properties.get(&name) {
            if !found.text.is_empty() {
                found.text.push('.');
            }
            found.text.push_str(&name);
            found.schema = next;
        } else if let Some(Additional::Schema(each)) = &found.schema.additional {
            found.text.push_str(&format!("[{name}]"));
            found.schema = each;
        } else {
            return Err(missing());
        }
        if found.root.is_empty() {
            found.root = name;
        }
    }
    if found.text.is_empty() { Err(missing()) } else { Ok(found) }
}

/// `'a']` and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    const END: &str = "unexpected end of JSON path";
    let Some(inside) = text.strip_prefix('\'') else {
        let token: String = text.chars().take_while(|c| *c != ']').collect();
        if token.is_empty() {
            return Err(END.to_owned());
        }
        return Err(format!("expected single quoted string but got {token}"));
    };
    let mut name = String::new();
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if escaped => {
                name.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '\'' => {
                let tail = &inside[at + 1..];
                return match tail.chars().next() {
                    Some(']') => Ok((name, &tail[1..])),
                    Some(other) => Err(format!("expected ] but got {other}")),
                    None => Err(END.to_owned()),
                };
            }
            c => name.push(c),
        }
    }
    Err(END.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let schema = Structural::parse(&json!({"properties": {"spec": {"properties": {
            "a.b": {"type": "string"}, "m": {"additionalProperties": {"type": "integer"}}}}}}));
        assert_eq!(find(".spec['a.b']", &schema).unwrap().text, "spec.a.b");
        assert_eq!(find(".spec.m['k']", &schema).unwrap().text, "spec.m[k]");
        assert_eq!(find(".spec.z", &schema).unwrap_err(), "does not refer to a valid field");
        assert!(find("x[", &schema).is_err());
        assert_eq!(find(".spec['a.b'é", &schema).unwrap_err(), "expected ] but got é");
    }
}
