//! The formats of texts: dates, addresses, identifiers. A format that is not known fits anything.
//!
//! Not here: formats of numbers (`check`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::LazyLock;

use regex::Regex;

use super::structural::Type;
use crate::names;

/// Whether a text is of a format. Dashes in a format's name do not count.
pub fn fits(format: &str, text: &str) -> bool {
    let name = format.replace('-', "");
    FORMATS.iter().find(|(known, _)| *known == name).is_none_or(|(_, check)| check(text))
}

/// Whether values of a type can have a format; one that is not known says nothing of them.
pub fn is_known(ty: Type, format: &str) -> bool {
    match ty {
        Type::Any | Type::String => {
            let name = format.replace('-', "");
            name == "password" || FORMATS.iter().any(|(known, _)| *known == name)
        }
        Type::Integer => matches!(format, "int32" | "int64"),
        Type::Number => matches!(format, "float" | "double"),
        _ => false,
    }
}

type Check = fn(&str) -> bool;

const FORMATS: &[(&str, Check)] = &[
    ("bsonobjectid", |t| t.len() == 24 && t.bytes().all(|b| b.is_ascii_hexdigit())),
    ("byte", |t| is(&BASE64, t) && t.len().is_multiple_of(4)),
    ("cidr", cidr),
    ("creditcard", creditcard),
    ("date", |t| is(&DATE, t) && jiff::civil::Date::from_str(t).is_ok()),
    ("datetime", datetime),
    ("duration", duration),
    ("email", email),
    ("hexcolor", |t| is(&HEX_COLOR, t)),
    ("hostname", hostname),
    ("ipv4", |t| t.parse::<Ipv4Addr>().is_ok()),
    ("ipv6", |t| t.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |t| isbn10(t) || isbn13(t)),
    ("isbn10", isbn10),
    ("isbn13", isbn13),
    ("k8slongname", |t| names::dns_subdomain(t).is_empty()),
    ("k8sshortname", |t| names::dns_label(t).is_empty()),
    ("mac", |t| is(&MAC, t)),
    ("rgbcolor", |t| is(&RGB_COLOR, t)),
    ("ssn", |t| is(&SSN, t)),
    ("uri", |t| is(&URI, t)),
    ("uuid", |t| is(&UUID, t)),
    ("uuid3", |t| is(&UUID, t) && version(t) == Some('3')),
    ("uuid4", |t| is(&UUID, t) && version(t) == Some('4')),
    ("uuid5", |t| is(&UUID, t) && version(t) == Some('5')),
];

type Expression = LazyLock<Option<Regex>>;

fn is(expression: &Expression, text: &str) -> bool {
    expression.as_ref().is_some_and(|regex| regex.is_match(text))
}

macro_rules! expressions {
    ($($name:ident = $text:literal;)*) => {
        $(static $name: Expression = LazyLock::new(|| Regex::new($text).ok());)*
    };
}

expressions! {
    BASE64 = "^[A-Za-z0-9+/]*={0,2}$";
    DATE = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$";
    HEX_COLOR = "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$";
    RGB_COLOR = r"^rgb\(\s*(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\s*,\s*(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\s*,\s*(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\s*\)$";
    MAC = "^([0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}([:-][0-9a-fA-F]{2}){0,2}|[0-9a-fA-F]{4}([.][0-9a-fA-F]{4}){2,3})$";
    SSN = "^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$";
    UUID = "(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$";
    URI = r"^([A-Za-z][A-Za-z0-9+.-]*:[^\s]+|/[^\s]*)$";
    ISO_DURATION = r"^P(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?)$";
    HUMAN_DURATION = r"(?i)^(\d+(\.\d+)?\s*(ns|nano|nanos|nanosecond|nanoseconds|us|µs|micro|micros|microsecond|microseconds|ms|milli|millis|millisecond|milliseconds|s|sec|secs|second|seconds|m|min|mins|minute|minutes|h|hr|hour|hours|d|day|days|w|wk|week|weeks)\s*)+$";
    HOST_LABEL = "^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$";
    TOP_LABEL = "^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])$";
}

/// The digit of a UUID that says how it was made.
fn version(text: &str) -> Option<char> {
    text.chars().filter(|c| *c != '-').nth(12)
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = if address.parse::<Ipv4Addr>().is_ok() {
        32
    } else if address.parse::<Ipv6Addr>().is_ok() {
        128
    } else {
        return false;
    };
    let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    plain && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn datetime(text: &str) -> bool {
    let separated = matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' '));
    let zoned = text.ends_with(['Z', 'z'])
        || matches!(
            text.len().checked_sub(6).and_then(|at| text.as_bytes().get(at)),
            Some(b'+' | b'-')
        );
    separated && zoned && jiff::Timestamp::from_str(text).is_ok()
}

fn duration(text: &str) -> bool {
    let text = text.trim().trim_start_matches(['-', '+']);
    text == "0" || is(&HUMAN_DURATION, text) || text.len() > 1 && is(&ISO_DURATION, text)
}

fn email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"()<>[],;:\\\"@".contains(c);
    let dotted = |part: &str| !part.is_empty() && part.split('.').all(|l| !l.is_empty());
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (quoted || dotted(local) && local.chars().all(plain))
        && dotted(domain)
        && domain.chars().all(plain)
}

/// As upstream: a dotted name's last label has two letters at least.
fn hostname(text: &str) -> bool {
    if text.is_empty() || text.len() > 255 {
        return false;
    }
    let labels: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    let [head @ .., last] = labels.as_slice() else { return false };
    let fine = |label: &str| label.len() <= 63 && is(&HOST_LABEL, label);
    head.iter().all(|l| fine(l)) && if head.is_empty() { fine(last) } else { is(&TOP_LABEL, last) }
}

fn creditcard(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    if !(12..=19).contains(&digits.len())
        || text.chars().any(|c| !c.is_ascii_digit() && c != '-' && c != ' ')
    {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn isbn10(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != '-' && *c != ' ').collect();
    if plain.len() != 10 {
        return false;
    }
    let mut sum = 0;
    for (at, c) in plain.iter().enumerate() {
        let value = match c {
            'X' if at == 9 => 10,
            c => match c.to_digit(10) {
                Some(digit) => digit,
                None => return false,
            },
        };
        sum += value * (10 - at as u32);
    }
    sum.is_multiple_of(11)
}

fn isbn13(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| *c != '-' && *c != ' ').collect();
    let digits: Vec<u32> = plain.iter().filter_map(|c| c.to_digit(10)).collect();
    if plain.len() != 13 || digits.len() != 13 {
        return false;
    }
    let sum: u32 =
        digits.iter().enumerate().map(|(at, d)| if at % 2 == 0 { *d } else { d * 3 }).sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_formats() {
        for (format, good, bad) in [
            ("date-time", "2001-01-01T00:00:00Z", "2001-01-01"),
            ("date", "2001-01-31", "2001-02-31"),
            ("duration", "1h2m", "x"),
            ("duration", "P1D", "P"),
            ("email", "a@b.c", "x"),
            ("ipv6", "::1", "1.2.3.4"),
            ("hostname", "a.bc", "a.b"),
            ("byte", "YQ==", "!!"),
            ("mac", "00:11:22:33:44:55", "x"),
            ("creditcard", "4242424242424242", "4242424242424241"),
            ("rgbcolor", "rgb(1,2,3)", "rgb(1,2,300)"),
            (
                "uuid4",
                "123e4567-e89b-42d3-a456-426614174000",
                "123e4567-e89b-12d3-a456-426614174000",
            ),
            ("isbn10", "0306406152", "0306406153"),
            ("isbn13", "9780306406157", "9780306406158"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("k8s-short-name", "abc", "A_"),
        ] {
            assert!(fits(format, good), "{format}: {good}");
            assert!(!fits(format, bad), "{format}: {bad}");
        }
        assert!(fits("whatever", "x"));
    }
}
