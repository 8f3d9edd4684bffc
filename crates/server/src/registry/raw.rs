//! Whether the data of a controller revision was sent with spaces.
//!
//! Upstream keeps such data byte for byte and compares bytes, and what a patch leaves has no spaces: a
//! patch of a revision that was sent with spaces is refused. A space before the stored value remembers
//! it. Not here: other fields, whose form nobody remembers.

use api::kinds::Kind;
use api::{Cause, Entry, Object};

/// The field.
pub const FIELD: &str = "data";

/// What no other text in a stored object can look like: it has no spaces between values.
const MARK: &[u8] = b",\"data\": ";

/// Whether a kind has such data.
pub fn applies(kind: &Kind) -> bool {
    (kind.group, kind.kind) == ("apps", "ControllerRevision")
}

/// Whether an entry's data was sent with spaces.
pub fn is_spaced(entry: &Entry) -> bool {
    entry.json.windows(MARK.len()).any(|window| window == MARK)
}

/// Whether the field's value has spaces in a JSON text.
pub fn has_spaces(text: &[u8]) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    // Where the last text began, and whether the value at hand is the field's.
    let (mut start, mut name, mut within) = (0, &text[..0], false);
    for (at, byte) in text.iter().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = false;
                    name = &text[start..at];
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => (quoted, start) = (true, at + 1),
            b':' if depth == 1 => within = name == FIELD.as_bytes(),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' if depth == 1 => within = false,
            // Around the value they do not count.
            b' ' | b'\t' | b'\n' | b'\r' if within && depth > 1 => return true,
            _ => {}
        }
    }
    false
}

/// What is wrong with an update that leaves the same data in another form.
pub fn fault(spaced: bool, entry: &Entry, new: &Object, old: &Object) -> Option<Cause> {
    let data = new.at(FIELD)?;
    let form_only = old.at(FIELD) == Some(data) && spaced != is_spaced(entry);
    form_only.then(|| Cause::invalid(FIELD, data, "field is immutable"))
}

#[cfg(test)]
mod tests {
    use super::has_spaces;

    #[test]
    fn spaces_count_inside_the_data_only() {
        for (text, expected) in [
            (r#"{"data":{"a":1},"revision":1}"#, false),
            (r#"{"data":{"a": 1},"revision":1}"#, true),
            (r#"{ "metadata": {"name": "x"}, "data" : {"a":1} , "revision": 1 }"#, false),
            (r#"{"metadata":{"data":{"a": 1}},"data":{"a":"b c"}}"#, false),
            (r#"{"data":{"a":"\" "},"x":[1, 2]}"#, false),
            (r#"{"data":[1, 2]}"#, true),
        ] {
            assert_eq!(has_spaces(text.as_bytes()), expected, "{text}");
        }
    }
}
