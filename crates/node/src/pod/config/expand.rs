//! `$(NAME)` in commands, arguments, variables and `subPathExpr`.
//!
//! An unknown name stays as it is written; `$$` is a dollar sign.

use std::borrow::Cow;

/// Replaces every `$(NAME)` for which `lookup` has a value.
pub fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.as_bytes().first() {
            Some(b'$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some(b'(') => match rest.find(')') {
                Some(end) => {
                    let name = &rest[1..end];
                    match lookup(name) {
                        Some(value) => out.push_str(&value),
                        None => {
                            out.push_str("$(");
                            out.push_str(name);
                            out.push(')');
                        }
                    }
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push_str("$(");
                    rest = &rest[1..];
                }
            },
            _ => out.push('$'),
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax() {
        let lookup = |name: &str| match name {
            "A" => Some(Cow::Borrowed("a")),
            "EMPTY" => Some(Cow::Borrowed("")),
            _ => None,
        };
        for (text, expected) in [
            ("$(A)-$(A)", "a-a"),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$(B)", "$(B)"),
            ("$(EMPTY)x", "x"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("cost: 5$ ü $(A)", "cost: 5$ ü a"),
        ] {
            assert_eq!(expand(text, lookup), expected, "{text}");
        }
    }
}
