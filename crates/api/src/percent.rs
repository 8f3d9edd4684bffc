//! Percent encoding (RFC 3986): bytes that a place does not take, by their number.
//!
//! Every place has its own set of plain characters; letters and digits are plain everywhere. Not here:
//! reading such texts, which the HTTP library does.

use std::fmt::Write as _;

/// Plain in a segment of a path and in a query's value.
pub const SEGMENT: &[u8] = b"-._~:";
/// Plain in a relative path.
pub const PATH: &[u8] = b"-._~/";
/// Plain in a header's name (RFC 9110, tokens), but for `%` itself.
pub const HEADER_NAME: &[u8] = b"!#$&'*+-.^_`|~";
/// What Go leaves as it is in the path of a URL that is encoded already.
pub const GO_PATH: &[u8] = b"%-_.~/$&+,:;=@!'()*[]";

/// The text with all bytes encoded but ASCII letters, digits and the `plain` ones.
pub fn encode(text: &str, plain: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    push(&mut out, text, plain);
    out
}

/// The same, at the end of another text.
pub fn push(out: &mut String, text: &str, plain: &[u8]) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_plain_characters() {
        for (plain, expected) in [
            (SEGMENT, "a%2Fb%20c:d%25%C3%A9~"),
            (PATH, "a/b%20c%3Ad%25%C3%A9~"),
            (HEADER_NAME, "a%2Fb%20c%3Ad%25%C3%A9~"),
            (GO_PATH, "a/b%20c:d%%C3%A9~"),
        ] {
            assert_eq!(encode("a/b c:d%é~", plain), expected);
        }
    }
}
