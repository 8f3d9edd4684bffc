//! Reads `labelSelector` and `fieldSelector` texts, with the faults that upstream reports.
//!
//! Not here: matching, and which fields a kind can be selected by.

use std::collections::BTreeSet;

use super::{FieldSelector, LabelSelector, Op, Requirement, SelectorError};
use crate::names::{label_value, qualified_name, quote};

const OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";
const SYMBOLS: &[char] = &['=', '!', '(', ')', ',', '>', '<'];
const TOKENS: &[&str] = &["!=", "==", "=", "!", "(", ")", ",", ">", "<"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// A key or a value; `in` and `notin` too.
    Word(&'a str),
    Symbol(&'a str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Token::Word(t) | Token::Symbol(t) => t,
            Token::End => "",
        }
    }
}

fn tokens(mut rest: &str) -> Vec<Token<'_>> {
    let mut out = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            out.push(Token::End);
            return out;
        }
        let symbol = TOKENS.iter().find(|t| rest.starts_with(**t));
        let (token, len) = match symbol {
            Some(t) => (Token::Symbol(t), t.len()),
            None => {
                let end = rest
                    .find(|c: char| SYMBOLS.contains(&c) || " \t\r\n".contains(c))
                    .unwrap_or(rest.len());
                (Token::Word(&rest[..end]), end)
            }
        };
        out.push(token);
        rest = &rest[len..];
    }
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
}

fn fault<T>(text: String) -> Result<T, SelectorError> {
    Err(SelectorError(text))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.get(self.at).copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Symbol("!") => {}
                Token::End => return Ok(out),
                other => {
                    return fault(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            let requirement = self
                .requirement()
                .map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?;
            out.push(requirement);
            match self.next() {
                Token::End => return Ok(out),
                Token::Symbol(",") => {
                    let next = self.peek();
                    if !matches!(next, Token::Word(_) | Token::Symbol("!")) {
                        return fault(format!(
                            "found '{}', expected: identifier after ','",
                            next.text()
                        ));
                    }
                }
                other => {
                    return fault(format!(
                        "found '{}', expected: ',' or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut token = self.next();
        let absent = token == Token::Symbol("!");
        if absent {
            token = self.next();
        }
        let Token::Word(key) = token else {
            return fault(format!("found '{}', expected: identifier", token.text()));
        };
        let faults = qualified_name(key);
        if !faults.is_empty() {
            let why = faults.join("; ");
            return fault(format!("<nil>: Invalid value: {}: {why}", quote(key)));
        }
        let key = key.to_owned();
        if absent {
            return Ok(Requirement { key, op: Op::DoesNotExist });
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(Requirement { key, op: Op::Exists });
        }
        let operator = self.next();
        let values = match operator {
            Token::Word("in" | "notin") => self.values()?,
            Token::Symbol("=" | "==" | "!=" | ">" | "<") => [self.exact()?].into(),
            other => {
                return fault(format!("found '{}', expected: {OPERATORS}", other.text()));
            }
        };
        let number = || match values.first().map(|v| v.parse::<i64>()) {
            Some(Ok(n)) => Ok(n),
            _ => {
                let value = quote(values.first().map_or("", String::as_str));
                fault(format!(
                    "values[0]: Invalid value: {value}: for 'Gt', 'Lt' operators, the value must be an integer"
                ))
            }
        };
        let limit = match operator {
            Token::Symbol(">") => Some(Op::GreaterThan(number()?)),
            Token::Symbol("<") => Some(Op::LessThan(number()?)),
            _ => None,
        };
        for (i, value) in values.iter().enumerate() {
            let faults = label_value(value);
            if !faults.is_empty() {
                let why = faults.join("; ");
                return fault(format!(
                    "values[{i}][{key}]: Invalid value: {}: {why}",
                    quote(value)
                ));
            }
        }
        let op = match operator {
            Token::Word("notin") | Token::Symbol("!=") => Op::NotIn(values),
            _ => limit.unwrap_or(Op::In(values)),
        };
        Ok(Requirement { key, op })
    }

    /// One value, which may be missing (`a=`).
    fn exact(&mut self) -> Result<String, SelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value.to_owned()),
            other => fault(format!("found '{}', expected: identifier", other.text())),
        }
    }

    /// `(a, b)`; a missing value counts as the empty one.
    fn values(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return fault(format!("found '{}' expected: '('", open.text()));
        }
        let mut out = BTreeSet::new();
        match self.peek() {
            Token::Word(_) | Token::Symbol(",") => {}
            Token::Symbol(")") => {
                self.next();
                out.insert(String::new());
                return Ok(out);
            }
            other => {
                return fault(format!(
                    "found '{}', expected: ',', ')' or identifier",
                    other.text()
                ));
            }
        }
        loop {
            match self.next() {
                Token::Word(value) => {
                    out.insert(value.to_owned());
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => {
                            return fault(format!(
                                "found '{}', expected: ',' or ')'",
                                other.text()
                            ));
                        }
                    }
                }
                Token::Symbol(",") => {
                    if out.is_empty() {
                        out.insert(String::new());
                    }
                    match self.peek() {
                        Token::Symbol(")") => {
                            out.insert(String::new());
                            break;
                        }
                        Token::Symbol(",") => {
                            out.insert(String::new());
                        }
                        _ => {}
                    }
                }
                other => {
                    return fault(format!(
                        "found '{}', expected: ',', or identifier",
                        other.text()
                    ));
                }
            }
        }
        self.next();
        Ok(out)
    }
}

impl LabelSelector {
    /// Reads a `labelSelector`; the empty text selects everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser { tokens: tokens(text), at: 0 }.selector()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self(requirements))
    }
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = &self.key;
        let set = |values: &BTreeSet<String>| {
            values.iter().map(String::as_str).collect::<Vec<_>>().join(",")
        };
        match &self.op {
            Op::In(v) if v.len() == 1 => write!(f, "{key}={}", set(v)),
            Op::NotIn(v) if v.len() == 1 => write!(f, "{key}!={}", set(v)),
            Op::In(v) => write!(f, "{key} in ({})", set(v)),
            Op::NotIn(v) => write!(f, "{key} notin ({})", set(v)),
            Op::Exists => f.write_str(key),
            Op::DoesNotExist => write!(f, "!{key}"),
            Op::GreaterThan(n) => write!(f, "{key}>{n}"),
            Op::LessThan(n) => write!(f, "{key}<{n}"),
        }
    }
}

impl std::fmt::Display for LabelSelector {
    /// The text that [`LabelSelector::parse`] reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, requirement) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

/// The terms of a field selector: split at commas that no backslash precedes.
fn terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = ['\\'].into_iter().chain(other).collect();
                    return fault(format!(
                        "invalid field selector: invalid escape sequence: {sequence}"
                    ));
                }
            },
            // Upstream prints the character's number.
            ',' | '=' => {
                return fault(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

impl FieldSelector {
    /// Reads a `fieldSelector`; the empty text selects everything. Which fields the kind knows is
    /// the caller's to check.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = terms(text);
        parts.sort_unstable();
        let mut out = Vec::new();
        for part in parts.into_iter().filter(|p| !p.is_empty()) {
            let operator = part.char_indices().find_map(|(i, _)| {
                ["!=", "==", "="].iter().find(|op| part[i..].starts_with(**op)).map(|op| (i, *op))
            });
            let Some((at, op)) = operator else {
                return fault(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            out.push((part[..at].to_owned(), unescape(&part[at + op.len()..])?, op != "!="));
        }
        Ok(Self(out))
    }
}

impl std::fmt::Display for FieldSelector {
    /// The text that [`FieldSelector::parse`] reads.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, (path, value, equal)) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let op = if *equal { "=" } else { "!=" };
            let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{path}{op}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        LabelSelector::parse(text).map_or_else(|e| e.0, |s| s.to_string())
    }

    #[test]
    fn label_selectors() {
        for (text, out) in [
            ("", ""),
            ("b=1, a", "a,b=1"),
            ("!a", "!a"),
            ("a in (x, y)", "a in (x,y)"),
            ("a notin (y)", "a!=y"),
            ("a==1", "a=1"),
            ("a=", "a="),
            ("in in (in)", "in=in"),
            ("a>5,b<3", "a>5,b<3"),
            ("a in (,x)", "a in (,x)"),
        ] {
            assert_eq!(round(text), out, "{text}");
        }
    }

    #[test]
    fn label_selector_faults() {
        for (text, out) in [
            (
                "a gt 1",
                "unable to parse requirement: found 'gt', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a in web", "unable to parse requirement: found 'web' expected: '('"),
            ("=web", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("!!a", "unable to parse requirement: found '!', expected: identifier"),
            ("a in (x", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a,,b", "found ',', expected: identifier after ','"),
        ] {
            assert_eq!(round(text), out, "{text}");
        }
    }

    #[test]
    fn field_selectors() {
        let s = FieldSelector::parse("spec.nodeName!=a,metadata.name=b\\,c").expect("valid");
        assert_eq!(s.to_string(), "metadata.name=b\\,c,spec.nodeName!=a");
        let fault = |t: &str| FieldSelector::parse(t).map(|_| ()).map_err(|e| e.0);
        assert_eq!(
            fault("a=b=c"),
            Err("invalid field selector: unescaped character in value: 61".to_owned())
        );
        assert_eq!(
            fault("a in (b)"),
            Err("invalid selector: 'a in (b)'; can't understand 'a in (b)'".to_owned())
        );
    }
}
