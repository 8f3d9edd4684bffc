//! What string, bytes and number literals mean.

/// The value of a string literal, or why it has none.
pub fn string(literal: &str) -> Result<String, &'static str> {
    let bytes = unquote(literal, false)?;
    String::from_utf8(bytes).map_err(|_| "unable to unescape string")
}

/// The value of a bytes literal (without its `b`).
pub fn bytes(literal: &str) -> Result<Vec<u8>, &'static str> {
    unquote(literal, true)
}

fn unquote(literal: &str, bytes: bool) -> Result<Vec<u8>, &'static str> {
    let quote = literal.find(['"', '\'']).ok_or("invalid string literal")?;
    let raw = literal[..quote].contains(['r', 'R']);
    let body = &literal[quote..];
    let width = if body.len() >= 6 && (body.starts_with("\"\"\"") || body.starts_with("'''")) {
        3
    } else {
        1
    };
    let body = &body[width..body.len() - width];
    if raw {
        return Ok(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        escape(&mut chars, bytes, &mut out)?;
    }
    Ok(out)
}

fn escape(
    chars: &mut std::str::Chars<'_>,
    bytes: bool,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    const BAD: &str = "unable to unescape string";
    let c = chars.next().ok_or(BAD)?;
    let simple = match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        '\\' => Some(b'\\'),
        '\'' => Some(b'\''),
        '"' => Some(b'"'),
        '`' => Some(b'`'),
        '?' => Some(b'?'),
        _ => None,
    };
    if let Some(byte) = simple {
        out.push(byte);
        return Ok(());
    }
    let (digits, radix, first) = match c {
        'x' | 'X' => (2, 16, None),
        'u' if !bytes => (4, 16, None),
        'U' if !bytes => (8, 16, None),
        '0'..='3' => (2, 8, c.to_digit(8)),
        _ => return Err(BAD),
    };
    let mut value = first.unwrap_or(0);
    for _ in 0..digits {
        let digit = chars.next().and_then(|c| c.to_digit(radix)).ok_or(BAD)?;
        value = value * radix + digit;
    }
    if bytes {
        out.push(u8::try_from(value).map_err(|_| BAD)?);
    } else {
        let c = char::from_u32(value).ok_or(BAD)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(())
}

/// A whole number, in decimal or hexadecimal.
pub fn int(text: &str, negative: bool) -> Option<i64> {
    let magnitude = uint(text)?;
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// A whole number without sign (and without its `u`).
pub fn uint(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(string(r#""a\n\x41é\101""#).unwrap(), "a\nAéA");
        assert_eq!(string(r"r'\n'").unwrap(), "\\n");
        assert_eq!(string("'''it's'''").unwrap(), "it's");
        assert!(string(r"'\q'").is_err());
        assert_eq!(bytes(r"'\xff'").unwrap(), [255]);
        assert_eq!(int("9223372036854775808", true), Some(i64::MIN));
        assert_eq!(int("9223372036854775808", false), None);
        assert_eq!(int("0xff", false), Some(255));
    }
}
