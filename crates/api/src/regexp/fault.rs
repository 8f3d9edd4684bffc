//! What is wrong with a regular expression in RE2's syntax, in the words of Go's library.
//!
//! One pass over the pattern, which understands just enough of it to name the first fault. Not here:
//! compiling it (the parent module).

use std::fmt;

/// A count in braces may be this large; so may the product of nested ones.
const MOST: i64 = 1000;

/// A fault in a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault<'p> {
    what: &'static str,
    /// The part of the pattern that it is about.
    part: &'p str,
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}: `{}`", self.what, self.part)
    }
}

/// The first fault of a pattern.
pub fn fault(pattern: &str) -> Option<Fault<'_>> {
    Reader { pattern, at: 0, groups: Vec::new() }.read().err()
}

/// What an operator of repetition would be about.
#[derive(Clone, Copy)]
enum Last {
    /// Nothing: the pattern, a group or an alternative begins here.
    Nothing,
    /// Something, in which counts multiply to at most this.
    Item(i64),
}

struct Reader<'p> {
    pattern: &'p str,
    at: usize,
    /// What was before each group that is open, and the largest count since it began.
    groups: Vec<Scope>,
}

/// A group, or the pattern.
#[derive(Clone, Copy)]
struct Scope {
    last: Last,
    /// The largest count in it.
    count: i64,
}

const OPEN: Scope = Scope { last: Last::Nothing, count: 1 };

type Step<'p> = Result<(), Fault<'p>>;

impl<'p> Reader<'p> {
    fn rest(&self) -> &'p str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// A fault about what was read since `from`.
    fn wrong(&self, what: &'static str, from: usize) -> Fault<'p> {
        Fault { what, part: &self.pattern[from..self.at] }
    }

    fn read(mut self) -> Step<'p> {
        let mut scope = OPEN;
        // Where the operator right before this began.
        let mut repeated: Option<usize> = None;
        while let Some(c) = self.peek() {
            let from = self.at;
            let before = repeated.take();
            match c {
                '(' => {
                    let opens = self.open()?;
                    if opens {
                        self.groups.push(scope);
                        scope = OPEN;
                    }
                }
                ')' => {
                    let Some(outer) = self.groups.pop() else {
                        return Err(Fault { what: "unexpected )", part: self.pattern });
                    };
                    self.at += 1;
                    let count = scope.count;
                    scope = Scope { last: Last::Item(count), count: outer.count.max(count) };
                }
                '|' => {
                    self.at += 1;
                    scope.last = Last::Nothing;
                }
                '*' | '+' | '?' | '{' => {
                    self.at += 1;
                    let counts = if c == '{' { self.counts() } else { Some((0, 1)) };
                    let Some((least, most)) = counts else {
                        // No counts: a brace as any other character.
                        scope.last = Last::Item(1);
                        continue;
                    };
                    if !(0..=MOST).contains(&least) || most > MOST || most >= 0 && least > most {
                        return Err(self.wrong("invalid repeat count", from));
                    }
                    self.take("?");
                    if let Some(first) = before {
                        return Err(self.wrong("invalid nested repetition operator", first));
                    }
                    let Last::Item(within) = scope.last else {
                        return Err(self.wrong("missing argument to repetition operator", from));
                    };
                    let times = if most < 0 { least } else { most }.max(1);
                    let count = if c == '{' { within.saturating_mul(times) } else { within };
                    if count > MOST {
                        return Err(self.wrong("invalid repeat count", from));
                    }
                    scope = Scope { last: Last::Item(count), count: scope.count.max(count) };
                    repeated = Some(from);
                }
                '[' => {
                    self.class()?;
                    scope.last = Last::Item(1);
                }
                '\\' => {
                    // A quotation of nothing leaves what was before it.
                    if self.backslash()? {
                        scope.last = Last::Item(1);
                    }
                }
                _ => {
                    self.next();
                    scope.last = Last::Item(1);
                }
            }
        }
        if self.groups.is_empty() {
            Ok(())
        } else {
            Err(Fault { what: "missing closing )", part: self.pattern })
        }
    }

    /// Reads what begins a group; whether it is one, not only a change of flags.
    fn open(&mut self) -> Result<bool, Fault<'p>> {
        let from = self.at;
        self.at += 1;
        if !self.take("?") {
            return Ok(true);
        }
        let rest = &self.pattern[from..];
        let named = [("(?P<", 4), ("(?<", 3)].iter().find(|(head, _)| rest.starts_with(head));
        if let Some((_, start)) = named.filter(|(head, _)| rest.len() > head.len()) {
            let what = "invalid named capture";
            let Some(end) = rest.find('>') else { return Err(Fault { what, part: rest }) };
            let name = &rest[*start..end];
            let valid = name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
            if name.is_empty() || !valid {
                return Err(Fault { what, part: &rest[..=end] });
            }
            self.at = from + end + 1;
            return Ok(true);
        }
        let (mut negated, mut flagged) = (false, false);
        loop {
            match self.next() {
                Some('i' | 'm' | 's' | 'U') => flagged = true,
                Some('-') if !negated => (negated, flagged) = (true, false),
                Some(end @ (':' | ')')) if !negated || flagged => return Ok(end == ':'),
                _ => return Err(self.wrong("invalid or unsupported Perl syntax", from)),
            }
        }
    }

    /// Reads counts behind a brace; -1 is no bound, or too large a number for the lower one. Where
    /// there are none, nothing is read.
    fn counts(&mut self) -> Option<(i64, i64)> {
        let from = self.at;
        let mut counts = || {
            let mut least = self.number()?;
            let mut most = least;
            if self.take(",") {
                most = -1;
                if self.peek() != Some('}') {
                    most = self.number()?;
                    least = if most < 0 { -1 } else { least };
                }
            }
            self.take("}").then_some((least, most))
        };
        let found = counts();
        if found.is_none() {
            self.at = from;
        }
        found
    }

    fn number(&mut self) -> Option<i64> {
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        if digits.is_empty() || digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        self.at += digits.len();
        Some(if digits.len() > 9 { -1 } else { digits.parse().unwrap_or(-1) })
    }

    /// Reads what a backslash begins; whether that can be repeated.
    fn backslash(&mut self) -> Result<bool, Fault<'p>> {
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let end = quoted.find("\\E");
            self.at += 2 + end.map_or(quoted.len(), |end| end + 2);
            return Ok(end.unwrap_or(quoted.len()) > 0);
        }
        if ["\\A", "\\b", "\\B", "\\z"].iter().any(|known| self.take(known)) {
            return Ok(true);
        }
        self.set()?;
        if self.at == self.pattern.len() - rest.len() {
            self.escape()?;
        }
        Ok(true)
    }

    /// Reads a set of characters by a letter or a name, if there is one.
    fn set(&mut self) -> Step<'p> {
        let from = self.at;
        let known = ["\\d", "\\D", "\\s", "\\S", "\\w", "\\W"];
        if known.iter().any(|known| self.take(known)) || !self.take("\\p") && !self.take("\\P") {
            return Ok(());
        }
        let what = "invalid character class range";
        let name;
        if self.peek() == Some('{') {
            let Some(end) = self.rest().find('}') else {
                return Err(Fault { what, part: &self.pattern[from..] });
            };
            name = &self.rest()[1..end];
            self.at += end + 1;
        } else if let Some(c) = self.next() {
            name = &self.pattern[self.at - c.len_utf8()..self.at];
        } else {
            return Err(self.wrong(what, from));
        }
        if is_unicode_class(name.strip_prefix('^').unwrap_or(name)) {
            return Ok(());
        }
        Err(self.wrong(what, from))
    }

    /// Reads an escaped character.
    fn escape(&mut self) -> Result<char, Fault<'p>> {
        let from = self.at;
        self.at += 1;
        let what = "trailing backslash at end of expression";
        let c = self.next().ok_or(Fault { what, part: "" })?;
        let octal = |c: Option<char>| c.filter(|c| ('0'..='7').contains(c));
        match c {
            '0'..='7' if c == '0' || octal(self.peek()).is_some() => {
                let mut code = c.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = octal(self.peek()) else { break };
                    self.at += 1;
                    code = code * 8 + digit.to_digit(8).unwrap_or(0);
                }
                Ok(char::from_u32(code).unwrap_or('\0'))
            }
            'x' => self.hexadecimal().ok_or_else(|| self.wrong("invalid escape sequence", from)),
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(self.wrong("invalid escape sequence", from)),
        }
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let first = self.next()?;
        if first != '{' {
            let second = self.next()?;
            return char::from_u32(first.to_digit(16)? * 16 + second.to_digit(16)?);
        }
        let (mut code, mut digits) = (0_u32, 0);
        loop {
            match self.next()? {
                '}' if digits > 0 => return Some(char::from_u32(code).unwrap_or('\0')),
                c => {
                    code = code * 16 + c.to_digit(16)?;
                    digits += 1;
                    (code <= u32::from(char::MAX)).then_some(())?;
                }
            }
        }
    }

    /// Reads a class in brackets.
    fn class(&mut self) -> Step<'p> {
        let from = self.at;
        self.at += 1;
        self.take("^");
        let mut first = true;
        loop {
            if !first && self.take("]") {
                return Ok(());
            }
            first = false;
            let start = self.at;
            if self.rest().starts_with("[:")
                && let Some(end) = self.rest()[2..].find(":]")
            {
                self.at += end + 4;
                if !POSIX.contains(&self.pattern[start..self.at].trim_matches(['[', ']', ':', '^']))
                {
                    return Err(self.wrong("invalid character class range", start));
                }
                continue;
            }
            self.set()?;
            if self.at > start {
                continue;
            }
            let low = self.class_char(from)?;
            let rest = self.rest();
            if rest.len() >= 2 && rest.starts_with('-') && !rest.starts_with("-]") {
                self.at += 1;
                if self.class_char(from)? < low {
                    return Err(self.wrong("invalid character class range", start));
                }
            }
        }
    }

    fn class_char(&mut self, class: usize) -> Result<char, Fault<'p>> {
        if self.peek() == Some('\\') {
            return self.escape();
        }
        let part = &self.pattern[class..];
        self.next().ok_or(Fault { what: "missing closing ]", part })
    }
}

/// The classes in brackets and colons.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Whether a Unicode class has a name that the engine knows.
fn is_unicode_class(name: &str) -> bool {
    name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
        && regex::Regex::new(&format!("\\p{{{name}}}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pattern: &str) -> String {
        fault(pattern).map_or("ok".into(), |fault| {
            fault.to_string().trim_start_matches("error parsing regexp: ").to_owned()
        })
    }

    #[test]
    fn faults_in_the_words_of_go() {
        for (pattern, expected) in [
            ("(abc", "missing closing ): `(abc`"),
            ("a(b(c)", "missing closing ): `a(b(c)`"),
            ("abc)", "unexpected ): `abc)`"),
            ("[a-z", "missing closing ]: `[a-z`"),
            ("x[]a", "missing closing ]: `[]a`"),
            ("[a-\\", "trailing backslash at end of expression: ``"),
            ("*a", "missing argument to repetition operator: `*`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("(+)", "missing argument to repetition operator: `+`"),
            ("(?i)*", "missing argument to repetition operator: `*`"),
            ("{2}", "missing argument to repetition operator: `{2}`"),
            ("a**", "invalid nested repetition operator: `**`"),
            ("a+?*b", "invalid nested repetition operator: `+?*`"),
            ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{3,2}", "invalid repeat count: `{3,2}`"),
            ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
            ("(a{100}){100}", "invalid repeat count: `{100}`"),
            ("\\q", "invalid escape sequence: `\\q`"),
            ("\\8", "invalid escape sequence: `\\8`"),
            ("\\1", "invalid escape sequence: `\\1`"),
            ("\\xg0", "invalid escape sequence: `\\xg0`"),
            ("\\x{110000}", "invalid escape sequence: `\\x{110000`"),
            ("\\Z", "invalid escape sequence: `\\Z`"),
            ("\\C", "invalid escape sequence: `\\C`"),
            ("a\\", "trailing backslash at end of expression: ``"),
            ("[z-a]", "invalid character class range: `z-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            ("\\p", "invalid character class range: `\\p`"),
            ("\\p{Script=Greek}", "invalid character class range: `\\p{Script=Greek}`"),
            ("\\p{Nope}", "invalid character class range: `\\p{Nope}`"),
            ("\\p{Greek", "invalid character class range: `\\p{Greek`"),
            ("(?P<n", "invalid named capture: `(?P<n`"),
            ("(?P<a b>x)", "invalid named capture: `(?P<a b>`"),
            ("(?P<>x)", "invalid named capture: `(?P<>`"),
            ("(?<n!>x)", "invalid named capture: `(?<n!>`"),
            ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
            ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
            ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
            ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
            ("(?", "invalid or unsupported Perl syntax: `(?`"),
            ("(?P=n)", "invalid or unsupported Perl syntax: `(?P`"),
        ] {
            assert_eq!(said(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn sound_patterns_have_none() {
        for pattern in [
            "",
            "^[a-z]([-a-z0-9]*[a-z0-9])?$",
            "a{,2}",
            "a{2,}?",
            "{",
            "a{01}",
            "^*",
            "\\b+",
            "[]a]",
            "[^]a]",
            "[a-]",
            "[-a]",
            "[[:alpha:][:^digit:]\\d\\pL\\x41-\\x{5A}]",
            "\\Qa(b\\E+",
            "(?i:a)|(?s-U)b(?P<n>c)(?<m>d)",
            "\\07\\012\\0",
            "\\p{Greek}\\P{^L}\\pN",
            "(a{10}){100}",
            "()|()*",
            "\\_\\-",
        ] {
            assert_eq!(said(pattern), "ok", "{pattern}");
        }
    }
}
