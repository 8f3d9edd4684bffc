//! Regular expressions in RE2's syntax, as Go reads them.
//!
//! The engine's syntax differs in a few places: `\d`, `\w`, `\s` and `\b` are ASCII in RE2, a `[` inside
//! a class is only a bracket, `\Q…\E` quotes. Patterns are rewritten before they are compiled. Not
//! here: what is wrong with one (`fault`).

mod fault;

use regex::{Regex, RegexBuilder};

pub use fault::{Fault, fault};

/// Groups may nest this deep.
const DEEPEST: u32 = 200;

/// Compiles a pattern to a form of at most so many bytes, or says what is wrong in Go's words.
pub fn compile(pattern: &str, bytes: usize) -> Result<Regex, String> {
    if let Some(fault) = fault(pattern) {
        return Err(fault.to_string());
    }
    RegexBuilder::new(&rewrite(pattern))
        .size_limit(bytes)
        .dfa_size_limit(bytes)
        .nest_limit(DEEPEST)
        .build()
        .map_err(|_| format!("error parsing regexp: expression too large: `{pattern}`"))
}

type Chars<'p> = std::iter::Peekable<std::str::Chars<'p>>;

/// A sound pattern in the engine's syntax.
fn rewrite(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                escape(&mut chars, &mut out, false);
            }
            '[' => class(&mut chars, &mut out),
            // Names need not differ, and nobody asks for them.
            '(' if is_next(&chars, "?P<") || is_next(&chars, "?<") => {
                out.push('(');
                chars.by_ref().find(|c| *c == '>');
            }
            '{' if !counts(chars.clone()) => out.push_str(r"\{"),
            other => out.push(other),
        }
    }
    out
}

fn is_next(chars: &Chars<'_>, text: &str) -> bool {
    let mut chars = chars.clone();
    text.chars().all(|c| chars.next() == Some(c))
}

/// Whether a brace begins a count; it is a character like any other if not.
fn counts(mut chars: Chars<'_>) -> bool {
    let mut number = || {
        let mut digits = String::new();
        digits.extend(std::iter::from_fn(|| chars.next_if(char::is_ascii_digit)));
        let sound = !digits.is_empty() && (digits.len() == 1 || !digits.starts_with('0'));
        (sound, digits.is_empty(), chars.next())
    };
    match number() {
        (true, _, Some('}')) => true,
        (true, _, Some(',')) => matches!(number(), (sound, empty, Some('}')) if sound || empty),
        _ => false,
    }
}

/// What is behind a backslash; whether it is a single character.
fn escape(chars: &mut Chars<'_>, out: &mut String, class: bool) -> bool {
    let Some(c) = chars.next() else { return false };
    let set = |inner: &str, out: &mut String| match class {
        true => out.push_str(inner),
        false => out.extend(["[", inner, "]"]),
    };
    match c {
        'Q' if !class => quoted(chars, out),
        'd' => set("0-9", out),
        'D' => out.push_str("[^0-9]"),
        'w' => set("0-9A-Za-z_", out),
        'W' => out.push_str("[^0-9A-Za-z_]"),
        's' => set(r"\t\n\f\r ", out),
        'S' => out.push_str(r"[^\t\n\f\r ]"),
        'b' if !class => out.push_str(r"(?-u:\b)"),
        'p' | 'P' => {
            let negated = is_next(chars, "{^");
            out.extend(['\\', if negated == (c == 'p') { 'P' } else { 'p' }]);
            if chars.next_if_eq(&'{').is_some() {
                chars.next_if_eq(&'^');
                braced(chars, out);
            } else {
                out.extend(chars.next());
            }
        }
        'x' => {
            out.push_str(r"\x");
            if chars.next_if_eq(&'{').is_some() {
                braced(chars, out);
            } else {
                out.extend(chars.by_ref().take(2));
            }
            return true;
        }
        '0'..='7' => {
            let mut code = c.to_digit(8).unwrap_or(0);
            for _ in 0..2 {
                let Some(digit) = chars.next_if(|c| ('0'..='7').contains(c)) else { break };
                code = code * 8 + digit.to_digit(8).unwrap_or(0);
            }
            out.push_str(&format!(r"\x{{{code:X}}}"));
            return true;
        }
        // The ends of words to the engine.
        '<' | '>' => {
            out.push(c);
            return true;
        }
        other => {
            out.extend(['\\', other]);
            return !matches!(other, 'A' | 'B' | 'z');
        }
    }
    false
}

/// What is in braces, with them; the first was read.
fn braced(chars: &mut Chars<'_>, out: &mut String) {
    out.push('{');
    out.extend(chars.by_ref().take_while(|c| *c != '}'));
    out.push('}');
}

/// A class behind its bracket. The engine has operators on sets that RE2 has not.
fn class(chars: &mut Chars<'_>, out: &mut String) {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    // Whether what was last may begin a range, and whether a range waits for its end.
    let (mut low, mut open) = (false, false);
    let mut first = true;
    while let Some(c) = chars.next() {
        let begins = std::mem::replace(&mut first, false);
        let single = match c {
            ']' if !begins => break,
            '[' if is_next(chars, ":") && named(chars.clone()) => {
                out.push('[');
                let name = chars.by_ref().take_while(|c| *c != ']');
                out.extend(name);
                out.push(']');
                false
            }
            '-' if low && !open && chars.peek() != Some(&']') => {
                out.push('-');
                open = true;
                continue;
            }
            '\\' => escape(chars, out, true),
            '-' | '[' | ']' | '&' | '~' => {
                out.extend(['\\', c]);
                true
            }
            other => {
                out.push(other);
                true
            }
        };
        low = single && !open;
        open = false;
    }
    out.push(']');
}

/// Whether a class has a class with a name here, and not only a bracket.
fn named(chars: Chars<'_>) -> bool {
    let mut rest = chars.skip(1).skip_while(|c| *c != ':');
    rest.next() == Some(':') && rest.next() == Some(']')
}

/// Text up to `\E`, taken literally.
fn quoted(chars: &mut Chars<'_>, out: &mut String) {
    let mut literal = String::new();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next_if_eq(&'E').is_some() {
            break;
        }
        literal.push(c);
    }
    out.push_str(&regex::escape(&literal));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_re2_says() {
        let rows = [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "é", false),
            (r"^[\d_]+$", "1_2", true),
            (r"^[^\s]+$", "a b", false),
            (r"^[[]a]$", "[a]", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "abc", true),
            (r"^[[:alpha:]_]+$", "ab_", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^[a&&b]+$", "&a", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^(?i)ABC$", "abc", true),
            (r"^\pL+$", "é", true),
            (r"^[\D]$", "x", true),
            (r"^{a{,2}b{1}$", "{a{,2}b", true),
            (r"^(?P<n>a)(?P<n>b)(?<n>c)$", "abc", true),
            (r"^\101[\102]\0$", "AB\0", true),
            (r"^\p{^Lu}\P{^Lu}[\p{^L}]$", "aA1", true),
            (r"^\p{Greek}\x{3b1}\x41[\x{5A}\x42-\x43]$", "ααAZ", true),
            (r"^[+--]+$", "+,-", true),
            (r"^[--0]+$", "-./0", true),
            (r"^[\d-z]+$", "1-z", true),
            (r"^[\d-z]+$", "a", false),
            (r"^[a~~b&&-]+$", "~&-ab", true),
            (r"^[[:digit:][:^alpha:]-]+$", "1-", true),
            (r"^[[:]+$", "[:", true),
            (r"^\<\>$", "<>", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(
                compile(pattern, 1 << 20).expect(pattern).is_match(text),
                expected,
                "{pattern} {text}"
            );
        }
        assert!(compile("(", 1 << 20).is_err());
        assert!(compile("(\\pL{1000}|b){1}", 1 << 16).is_err());
    }
}
