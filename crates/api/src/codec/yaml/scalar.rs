//! What a plain YAML scalar means: null, boolean, number, time or text.
//!
//! Upstream's library follows YAML 1.1 with additions of its own; both reading and the choice of
//! quotes when writing depend on it.

/// A plain scalar's meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// Looks like a date; it stays text, but text that looks so is quoted.
    Time,
    Text,
}

pub fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        _ => {}
    }
    match text.as_bytes()[0] {
        b'0'..=b'9' | b'+' | b'-' if is_time(text) => Scalar::Time,
        b'0'..=b'9' | b'+' | b'-' => number(text),
        b'.' if is_float(text) => float(text),
        _ => Scalar::Text,
    }
}

fn number(text: &str) -> Scalar {
    // Underscores are dropped inside numbers, so a text without digits left over is not one.
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.as_bytes().first() {
        Some(b'-') => (true, &plain[1..]),
        Some(b'+') => (false, &plain[1..]),
        _ => (false, plain.as_str()),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.bytes().all(|b| b.is_ascii_hexdigit())
        && let Ok(magnitude) = u64::from_str_radix(digits, radix)
    {
        if !negative {
            return i64::try_from(magnitude).map_or(Scalar::Uint(magnitude), Scalar::Int);
        }
        if let Some(number) = 0i64.checked_sub_unsigned(magnitude) {
            return Scalar::Int(number);
        }
    }
    if is_float(&plain) { float(&plain) } else { Scalar::Text }
}

fn float(text: &str) -> Scalar {
    text.parse().map_or(Scalar::Text, Scalar::Float)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent
}

/// Whether it reads as a date (`2001-2-3`), with or without a time.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    match rest_of_date(text) {
        None => false,
        Some("") => true,
        Some(time) => {
            time.starts_with(['T', 't', ' ', '\t'])
                && time[1..].trim_start().starts_with(|c: char| c.is_ascii_digit())
                && time.contains(':')
        }
    }
}

/// What follows the day of a date.
fn rest_of_date(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    if !(1..=2).contains(&month.len()) || !month.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    (1..=2).contains(&digits).then(|| &rest[digits..])
}

/// Whether the text reads as a number of base 60 (`12:30`) in older libraries.
pub fn is_base_60(text: &str) -> bool {
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    let Some((head, tail)) = rest.split_once(':') else { return false };
    let (tail, fraction) = tail.split_once('.').unwrap_or((tail, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    head.starts_with(|c: char| c.is_ascii_digit())
        && digits(head)
        && digits(fraction)
        && tail.split(':').all(|part| {
            let bytes = part.as_bytes();
            match bytes {
                [one] => one.is_ascii_digit(),
                [tens, one] => (b'0'..=b'5').contains(tens) && one.is_ascii_digit(),
                _ => false,
            }
        })
}
