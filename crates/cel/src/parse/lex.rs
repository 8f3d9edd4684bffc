//! Tokens of an expression.
//!
//! What no token begins with is reported and skipped, as upstream's lexer does. Not here: what the
//! escapes inside strings mean (`text`).

use crate::source::CompileError;

/// The kinds of tokens, in the order in which messages list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tok {
    Equals,
    NotEquals,
    In,
    Less,
    LessEquals,
    GreaterEquals,
    Greater,
    And,
    Or,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    OpenParen,
    CloseParen,
    Dot,
    Comma,
    Minus,
    Not,
    Question,
    Colon,
    Plus,
    Star,
    Slash,
    Percent,
    True,
    False,
    Null,
    Float,
    Int,
    Uint,
    String,
    Bytes,
    Ident,
    /// A name in backticks, which is known and not taken.
    Quoted,
    End,
}

impl Tok {
    /// As messages name what they expect.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equals => "'=='",
            Self::NotEquals => "'!='",
            Self::In => "'in'",
            Self::Less => "'<'",
            Self::LessEquals => "'<='",
            Self::GreaterEquals => "'>='",
            Self::Greater => "'>'",
            Self::And => "'&&'",
            Self::Or => "'||'",
            Self::OpenBracket => "'['",
            Self::CloseBracket => "']'",
            Self::OpenBrace => "'{'",
            Self::CloseBrace => "'}'",
            Self::OpenParen => "'('",
            Self::CloseParen => "')'",
            Self::Dot => "'.'",
            Self::Comma => "','",
            Self::Minus => "'-'",
            Self::Not => "'!'",
            Self::Question => "'?'",
            Self::Colon => "':'",
            Self::Plus => "'+'",
            Self::Star => "'*'",
            Self::Slash => "'/'",
            Self::Percent => "'%'",
            Self::True => "'true'",
            Self::False => "'false'",
            Self::Null => "'null'",
            Self::Float => "NUM_FLOAT",
            Self::Int => "NUM_INT",
            Self::Uint => "NUM_UINT",
            Self::String => "STRING",
            Self::Bytes => "BYTES",
            Self::Quoted => "ESC_IDENTIFIER",
            Self::Ident => "IDENTIFIER",
            Self::End => "<EOF>",
        }
    }
}

/// A token with its text.
#[derive(Clone, Copy, Debug)]
pub struct Token<'s> {
    pub tok: Tok,
    pub text: &'s str,
    /// Characters before it.
    pub offset: usize,
}

const SYMBOLS: [(&str, Tok); 25] = [
    ("==", Tok::Equals),
    ("!=", Tok::NotEquals),
    ("<=", Tok::LessEquals),
    (">=", Tok::GreaterEquals),
    ("&&", Tok::And),
    ("||", Tok::Or),
    ("<", Tok::Less),
    (">", Tok::Greater),
    ("[", Tok::OpenBracket),
    ("]", Tok::CloseBracket),
    ("{", Tok::OpenBrace),
    ("}", Tok::CloseBrace),
    ("(", Tok::OpenParen),
    (")", Tok::CloseParen),
    (".", Tok::Dot),
    (",", Tok::Comma),
    ("-", Tok::Minus),
    ("!", Tok::Not),
    ("?", Tok::Question),
    (":", Tok::Colon),
    ("+", Tok::Plus),
    ("*", Tok::Star),
    ("/", Tok::Slash),
    ("%", Tok::Percent),
    // A lone one begins nothing.
    ("\u{0}", Tok::End),
];

/// All tokens of a text, `End` last.
pub fn tokens<'s>(source: &'s str, errors: &mut Vec<CompileError>) -> Vec<Token<'s>> {
    let mut out = Vec::new();
    let (mut at, mut offset) = (0, 0);
    while at < source.len() {
        let rest = &source[at..];
        let length = match next(rest) {
            Found::Blank(length) => length,
            Found::Token(tok, length) => {
                out.push(Token { tok, text: &rest[..length], offset });
                length
            }
            Found::Junk(length) => {
                let text = printed(&rest[..length]);
                let message = format!("Syntax error: token recognition error at: '{text}'");
                errors.push(CompileError::new(offset, message));
                length
            }
        };
        offset += rest[..length].chars().count();
        at += length;
    }
    out.push(Token { tok: Tok::End, text: "<EOF>", offset });
    out
}

/// Text as messages show it.
pub fn printed(text: &str) -> String {
    text.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r")
}

enum Found {
    Blank(usize),
    Token(Tok, usize),
    Junk(usize),
}

fn next(rest: &str) -> Found {
    let bytes = rest.as_bytes();
    let first = bytes[0];
    if matches!(first, b' ' | b'\t' | b'\n' | b'\r' | 0x0c) {
        return Found::Blank(1);
    }
    if rest.starts_with("//") {
        return Found::Blank(rest.find('\n').unwrap_or(rest.len()));
    }
    if let Some((prefix, bytes)) = string_prefix(rest) {
        let raw = rest[..prefix].contains(['r', 'R']);
        return match string_length(&rest[prefix..], raw) {
            Ok(length) => {
                Found::Token(if bytes { Tok::Bytes } else { Tok::String }, prefix + length)
            }
            Err(length) => Found::Junk(prefix + length),
        };
    }
    if first.is_ascii_digit() || (first == b'.' && bytes.get(1).is_some_and(|b| b.is_ascii_digit()))
    {
        return number(bytes);
    }
    if first == b'_' || first.is_ascii_alphabetic() {
        let length = bytes.iter().take_while(|b| **b == b'_' || b.is_ascii_alphanumeric()).count();
        let tok = match &rest[..length] {
            "in" => Tok::In,
            "true" => Tok::True,
            "false" => Tok::False,
            "null" => Tok::Null,
            _ => Tok::Ident,
        };
        return Found::Token(tok, length);
    }
    if let Some(length) = quoted_name(rest) {
        return Found::Token(Tok::Quoted, length);
    }
    match SYMBOLS.iter().find(|(text, tok)| *tok != Tok::End && rest.starts_with(text)) {
        Some((text, tok)) => Found::Token(*tok, text.len()),
        // Half of a symbol goes with what is there instead of the other half.
        None => Found::Junk(characters(rest, 1 + usize::from("=&|".contains(char::from(first))))),
    }
}

/// The length of the first characters.
fn characters(text: &str, count: usize) -> usize {
    text.chars().take(count).map(char::len_utf8).sum()
}

/// The length of a name in backticks.
fn quoted_name(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('`')?;
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && !"_.-/ ".contains(c))?;
    (end > 0 && inner[end..].starts_with('`')).then_some(end + 2)
}

/// The length of what stands before a quote, and whether it makes bytes.
fn string_prefix(rest: &str) -> Option<(usize, bool)> {
    let mut bytes = false;
    for (at, c) in rest.char_indices().take(3) {
        match c {
            '"' | '\'' => return Some((at, bytes)),
            'b' | 'B' if !bytes => bytes = true,
            'r' | 'R' => {}
            _ => return None,
        }
    }
    None
}

/// The length of a quoted text, or of what there is of it.
fn string_length(text: &str, raw: bool) -> Result<usize, usize> {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let (close, long) =
        if text.starts_with(&triple) { (triple.as_str(), true) } else { (quote, false) };
    let mut at = close.len();
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(close) {
            return Ok(at + close.len());
        }
        let c = rest.chars().next().map_or(1, char::len_utf8);
        if !long && rest.starts_with(['\n', '\r']) {
            return Err(at + c);
        }
        if !raw && rest.starts_with('\\') {
            at += escape_length(rest).map_err(|length| at + length)?;
        } else {
            at += c;
        }
    }
    Err(text.len())
}

/// The length of an escape sequence, or of it with the character that makes it none.
fn escape_length(text: &str) -> Result<usize, usize> {
    let mut chars = text.chars().skip(1);
    let digits: &[u32] = match chars.next() {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '"' | '\'' | '\\' | '?' | '`') => &[],
        Some('x' | 'X') => &[16; 2],
        Some('u') => &[16; 4],
        Some('U') => &[16; 8],
        Some('0'..='3') => &[8; 2],
        Some(_) => return Err(characters(text, 2)),
        None => return Err(text.len()),
    };
    for (read, radix) in digits.iter().enumerate() {
        if !chars.next().is_some_and(|c| c.is_digit(*radix)) {
            return Err(characters(text, read + 3));
        }
    }
    Ok(digits.len() + 2)
}

fn number(bytes: &[u8]) -> Found {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let suffix = |length: usize, tok: Tok| match bytes.get(length) {
        Some(b'u' | b'U') if tok == Tok::Int => Found::Token(Tok::Uint, length + 1),
        _ => Found::Token(tok, length),
    };
    if bytes[0] == b'0' && matches!(bytes.get(1), Some(b'x')) {
        let hex = bytes[2..].iter().take_while(|b| b.is_ascii_hexdigit()).count();
        if hex > 0 {
            return suffix(2 + hex, Tok::Int);
        }
    }
    let mut length = digits(0);
    let mut tok = Tok::Int;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
        tok = Tok::Float;
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = if length + 1 + sign <= bytes.len() { digits(length + 1 + sign) } else { 0 };
        if exponent > 0 {
            length += 1 + sign + exponent;
            tok = Tok::Float;
        }
    }
    suffix(length, tok)
}
