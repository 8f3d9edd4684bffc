//! Validators of names and other short texts, with the messages that upstream gives.
//!
//! Each returns the faults of a text, none where it is valid. Not here: which field must be what
//! (`validate` says).

/// Faults of a text; empty where it is valid.
pub type Faults = Vec<String>;

const LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const KEY_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// What upstream says about a text that does not fit a pattern.
pub fn pattern_fault(what: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{what} (regex used for validation is '{pattern}')");
    }
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!("{what} (e.g. {}regex used for validation is '{pattern}')", examples.join(" or "))
}

/// `must be no more than <n> characters`.
pub fn max_length(n: usize) -> String {
    format!("must be no more than {n} characters")
}

/// `must be no more than <n> bytes`: upstream's newer validators count so.
fn max_bytes(n: usize) -> String {
    format!("must be no more than {n} bytes")
}

/// `must be between <low> and <high>, inclusive`.
pub fn between(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A text as Go's `%q` prints it.
pub fn quote(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if c.is_control() || (c != ' ' && c.is_whitespace()) || c == '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let b = text.as_bytes();
    let (Some(first), Some(last)) = (b.first(), b.last()) else { return false };
    lower(*first) && lower(*last) && b.iter().all(|c| lower(*c) || *c == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_key_name(text: &str) -> bool {
    let b = text.as_bytes();
    let (Some(first), Some(last)) = (b.first(), b.last()) else { return false };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && b.iter().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c))
}

/// RFC 1123 label: most object names that become host names.
pub fn dns_label(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 63 {
        faults.push(max_length(63));
    }
    if !is_label(text) {
        faults.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            pattern_fault(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
                LABEL_FMT,
                &["my-name", "123-abc"],
            )
        });
    }
    faults
}

/// RFC 1123 subdomain: most object names.
pub fn dns_subdomain(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if !is_subdomain(text) {
        faults.push(pattern_fault(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            SUBDOMAIN_FMT,
            &["example.com"],
        ));
    }
    faults
}

/// RFC 1123 subdomain whose labels may hold underscores (`dnsConfig.searches`).
pub fn dns_subdomain_with_underscore(text: &str) -> Faults {
    let label = |part: &str| {
        let part = part.strip_prefix('_').unwrap_or(part);
        let b = part.as_bytes();
        let (Some(first), Some(last)) = (b.first(), b.last()) else { return false };
        lower(*first) && lower(*last) && b.iter().all(|c| lower(*c) || b"-_".contains(c))
    };
    let mut faults = Faults::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if !text.split('.').all(label) {
        faults.push(pattern_fault(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character",
            "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*",
            &["example.com"],
        ));
    }
    faults
}

/// RFC 1035 label: a label that starts with a letter.
pub fn dns_1035_label(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 63 {
        faults.push(max_length(63));
    }
    if !is_label(text) || text.as_bytes()[0].is_ascii_digit() {
        faults.push(pattern_fault(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    faults
}

/// `*.` and an RFC 1123 subdomain.
pub fn wildcard_dns_subdomain(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        faults.push(pattern_fault(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            "\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
            &["*.example.com"],
        ));
    }
    faults
}

/// A name that can stand in a URL path.
pub fn path_segment(text: &str) -> Faults {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| text.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// A label key, an annotation key (lower-cased first), a finalizer: optional prefix, `/`, name.
pub fn qualified_name(text: &str) -> Faults {
    let what = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
    let examples = &["MyName", "my.name", "123-abc"];
    let mut faults = Faults::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => *name,
        [prefix, name] => {
            if prefix.is_empty() {
                faults.push("prefix part must be non-empty".to_owned());
            } else {
                if prefix.len() > 253 {
                    faults.push(format!("prefix part {}", max_bytes(253)));
                }
                let pattern = dns_subdomain(prefix).into_iter().filter(|f| f.contains("regex"));
                faults.extend(pattern.map(|f| format!("prefix part {f}")));
            }
            *name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                pattern_fault(what, KEY_FMT, examples)
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        faults.push(format!("name part {}", max_bytes(63)));
    }
    if !is_key_name(name) {
        faults.push(format!("name part {}", pattern_fault(what, KEY_FMT, examples)));
    }
    faults
}

/// A label's value.
pub fn label_value(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 63 {
        faults.push(max_bytes(63));
    }
    if !text.is_empty() && !is_key_name(text) {
        faults.push(pattern_fault(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    faults
}

/// A C identifier.
pub fn c_identifier(text: &str) -> Faults {
    let b = text.as_bytes();
    let word = |c: &u8| c.is_ascii_alphanumeric() || *c == b'_';
    if b.first().is_some_and(|c| word(c) && !c.is_ascii_digit()) && b.iter().all(word) {
        return Faults::new();
    }
    vec![pattern_fault(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A port number.
pub fn port_number(port: i64) -> Faults {
    in_range(port, 1, 65535)
}

/// A number in a closed range.
pub fn in_range(value: i64, low: i64, high: i64) -> Faults {
    if (low..=high).contains(&value) { Faults::new() } else { vec![between(low, high)] }
}

/// A port's IANA service name.
pub fn port_name(text: &str) -> Faults {
    let b = text.as_bytes();
    let mut faults = Faults::new();
    if b.len() > 15 {
        faults.push(max_length(15));
    }
    if b.is_empty() || !b.iter().all(|c| lower(*c) || *c == b'-') {
        faults.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !b.iter().any(u8::is_ascii_lowercase) {
        faults.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        faults.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        faults.push("must not begin or end with a hyphen".to_owned());
    }
    faults
}

/// A number with `%`.
pub fn percent(text: &str) -> Faults {
    let digits = text.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Faults::new();
    }
    vec![pattern_fault(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// The name of an HTTP header.
pub fn http_header_name(text: &str) -> Faults {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Faults::new();
    }
    vec![pattern_fault(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

fn no_parent_dir(text: &str) -> Option<String> {
    match text {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if text.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// The name of an environment variable: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.is_empty() {
        faults.push("environment variable name must be non-empty".to_owned());
    }
    if !text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        faults.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    faults
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Faults {
    let mut faults = Faults::new();
    if text.len() > 253 {
        faults.push(max_length(253));
    }
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        faults.push(pattern_fault(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    faults.extend(no_parent_dir(text));
    faults
}

/// The name that the server makes from `metadata.generateName` and five random characters.
pub fn generate(base: &str, suffix: &str) -> String {
    let end = (0..=base.len().min(58)).rev().find(|at| base.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{suffix}", &base[..end])
}

/// A `generateName` prefix, checked by the validator of whole names: a trailing dash is fine, since
/// more follows.
pub fn prefix(text: &str, name: fn(&str) -> Faults) -> Faults {
    match text.strip_suffix('-') {
        Some(head) if !head.is_empty() => {
            // The character before the dash is masked too, as upstream does.
            let cut = head.char_indices().next_back().map_or(0, |(i, _)| i);
            name(&format!("{}a", &head[..cut]))
        }
        _ => name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_subdomains() {
        for good in ["a", "0", "a-b", "a.b-c.0"] {
            assert!(dns_subdomain(good).is_empty(), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", ".a", "A", "a_b", "a/b", "ä"] {
            assert!(!dns_subdomain(bad).is_empty(), "{bad}");
        }
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert!(!dns_1035_label("0a").is_empty() && dns_1035_label("a0").is_empty());
        assert!(dns_label(&"x".repeat(64))[0].contains("63"));
    }

    #[test]
    fn keys() {
        assert!(qualified_name("example.com/My_Name.x").is_empty());
        assert_eq!(qualified_name("/x"), ["prefix part must be non-empty"]);
        assert_eq!(qualified_name("a/").len(), 2);
        assert_eq!(qualified_name("a/b/c").len(), 1);
        assert!(label_value("").is_empty() && !label_value("-").is_empty());
    }

    #[test]
    fn prefixes_mask_the_dash() {
        assert!(prefix("web-", dns_label).is_empty());
        assert!(prefix("web--", dns_label).is_empty());
        assert!(!prefix("Web-", dns_label).is_empty());
        assert!(!prefix("-", dns_label).is_empty());
    }

    #[test]
    fn quoting_is_gos() {
        assert_eq!(quote("a\"b\\\u{1}\n'é"), "\"a\\\"b\\\\\\x01\\n'é\"");
    }
}
