//! Writes YAML as upstream's library does: sorted keys, lists not indented under their key, the
//! plainest quotes that keep the text, long lines folded at spaces.

use serde_json::Value;

use super::scalar::{self, Scalar};

/// Lines are folded at the first space after this column.
const WIDTH: usize = 80;

/// Longer keys are set off by a question mark.
const LONG_KEY: usize = 128;

/// Writes a document.
pub fn encode(value: &Value) -> String {
    let mut out = Emitter { out: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => out.mapping(value, 0),
        Value::Array(items) if !items.is_empty() => out.sequence(value, 0),
        scalar => {
            out.scalar(scalar, 0);
            out.line();
        }
    }
    out.out
}

struct Emitter {
    out: String,
    column: usize,
}

/// How a text is quoted.
#[derive(PartialEq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

impl Emitter {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn line(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, indent: usize) {
        if self.column > 0 {
            self.line();
        }
        for _ in 0..indent {
            self.out.push(' ');
        }
        self.column = indent;
    }

    /// The entries of a map, the first one where the pen is.
    fn mapping(&mut self, value: &Value, indent: usize) {
        let Value::Object(map) = value else { return };
        let mut keys: Vec<(&String, &Value)> = map.iter().collect();
        keys.sort_by(|a, b| a.0.cmp(b.0));
        for (at, (key, value)) in keys.into_iter().enumerate() {
            if at > 0 {
                self.indent(indent);
            }
            if key.len() > LONG_KEY {
                self.long_key(key, value, indent);
                continue;
            }
            self.key(key);
            self.put(":");
            match value {
                Value::Object(map) if !map.is_empty() => {
                    self.indent(indent + 2);
                    self.mapping(value, indent + 2);
                }
                Value::Array(items) if !items.is_empty() => {
                    self.indent(indent);
                    self.sequence(value, indent);
                }
                scalar => {
                    self.put(" ");
                    self.scalar(scalar, indent + 2);
                    self.end_of_value();
                }
            }
        }
    }

    fn sequence(&mut self, value: &Value, indent: usize) {
        let Value::Array(items) = value else { return };
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.indent(indent);
            }
            self.put("- ");
            match item {
                Value::Object(map) if !map.is_empty() => self.mapping(item, indent + 2),
                Value::Array(items) if !items.is_empty() => self.sequence(item, indent + 2),
                scalar => {
                    self.scalar(scalar, indent + 2);
                    self.end_of_value();
                }
            }
        }
    }

    fn end_of_value(&mut self) {
        if self.column > 0 {
            self.line();
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize) {
        match value {
            Value::Null => self.put("null"),
            Value::Bool(b) => self.put(if *b { "true" } else { "false" }),
            Value::Number(n) => {
                let text = n.to_string();
                self.put(text.strip_suffix(".0").unwrap_or(&text));
            }
            Value::Array(_) => self.put("[]"),
            Value::Object(_) => self.put("{}"),
            Value::String(text) => match style(text, false) {
                Style::Plain => self.plain(text, indent),
                Style::Single => self.single(text, indent),
                Style::Double => self.double(text, Some(indent)),
                Style::Literal => self.literal(text, indent),
            },
        }
    }

    /// A key, on one line however long it is.
    fn key(&mut self, text: &str) {
        match style(text, true) {
            Style::Plain => self.put(text),
            Style::Single => self.put(&format!("'{}'", text.replace('\'', "''"))),
            _ => self.double(text, None),
        }
    }

    /// A key too long to stand before its colon, with its value.
    fn long_key(&mut self, key: &str, value: &Value, indent: usize) {
        self.put("? ");
        self.key(key);
        self.indent(indent);
        self.put(": ");
        match value {
            Value::Object(map) if !map.is_empty() => self.mapping(value, indent + 2),
            Value::Array(items) if !items.is_empty() => self.sequence(value, indent + 2),
            scalar => {
                self.scalar(scalar, indent + 2);
                self.end_of_value();
            }
        }
    }

    /// Text with single spaces folded where a line is full.
    fn folded(&mut self, text: &str, indent: usize, map: impl Fn(char) -> Option<&'static str>) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            let next = chars.get(at + 1);
            if *c == ' ' {
                let inside = at > 0 && next.is_some_and(|next| *next != ' ');
                if inside && !spaces && self.column > WIDTH {
                    self.indent(indent);
                } else {
                    self.put(" ");
                }
                spaces = true;
            } else {
                match map(*c) {
                    Some(text) => self.put(text),
                    None => {
                        self.out.push(*c);
                        self.column += 1;
                    }
                }
                spaces = false;
            }
        }
    }

    fn plain(&mut self, text: &str, indent: usize) {
        self.folded(text, indent, |_| None);
    }

    fn single(&mut self, text: &str, indent: usize) {
        self.put("'");
        self.folded(text, indent, |c| (c == '\'').then_some("''"));
        self.put("'");
    }

    /// Text in double quotes, folded to an indentation or not at all.
    fn double(&mut self, text: &str, fold: Option<usize>) {
        self.put("\"");
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            if *c == ' ' {
                let inside = at > 0 && at + 1 < chars.len();
                match fold {
                    Some(indent) if inside && !spaces && self.column > WIDTH => {
                        self.indent(indent);
                        if chars[at + 1] == ' ' {
                            self.put("\\");
                        }
                    }
                    _ => self.put(" "),
                }
                spaces = true;
                continue;
            }
            spaces = false;
            match c {
                '"' => self.put("\\\""),
                '\\' => self.put("\\\\"),
                '\0' => self.put("\\0"),
                '\u{7}' => self.put("\\a"),
                '\u{8}' => self.put("\\b"),
                '\t' => self.put("\\t"),
                '\n' => self.put("\\n"),
                '\u{b}' => self.put("\\v"),
                '\u{c}' => self.put("\\f"),
                '\r' => self.put("\\r"),
                '\u{1b}' => self.put("\\e"),
                '\u{85}' => self.put("\\N"),
                '\u{a0}' => self.put("\\_"),
                '\u{2028}' => self.put("\\L"),
                '\u{2029}' => self.put("\\P"),
                c if is_printable(*c) => {
                    self.out.push(*c);
                    self.column += 1;
                }
                c if u32::from(*c) <= 0xff => self.put(&format!("\\x{:02X}", u32::from(*c))),
                c if u32::from(*c) <= 0xffff => self.put(&format!("\\u{:04X}", u32::from(*c))),
                c => self.put(&format!("\\U{:08X}", u32::from(*c))),
            }
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        if !text.ends_with('\n') {
            self.put("-");
        } else if text.ends_with("\n\n") || text == "\n" {
            self.put("+");
        }
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            self.line();
            if !line.is_empty() {
                self.indent(indent);
                self.put(line);
            }
        }
        self.line();
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && c != '\u{feff}'
}

fn style(text: &str, key: bool) -> Style {
    let is_text = scalar::resolve(text) == Scalar::Text && text != "<<";
    let plain_wanted = is_text && !scalar::is_base_60(text);
    let analysis = analyze(text);
    if text.contains('\n') && !key {
        return if analysis.literal { Style::Literal } else { Style::Double };
    }
    if !plain_wanted || text.contains('\n') {
        return Style::Double;
    }
    if analysis.plain {
        Style::Plain
    } else if analysis.single {
        Style::Single
    } else {
        Style::Double
    }
}

/// Which styles keep a text whole.
struct Analysis {
    plain: bool,
    single: bool,
    literal: bool,
}

fn analyze(text: &str) -> Analysis {
    let chars: Vec<char> = text.chars().collect();
    let blank_at = |at: usize| chars.get(at).is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let mut special = false;
    let (mut break_space, mut space_break, mut breaks) = (false, false, false);
    for (at, c) in chars.iter().enumerate() {
        let first = at == 0;
        indicators |= match c {
            '#' if !first => blank_at(at - 1),
            ',' | '[' | ']' | '{' | '}' | '#' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%'
            | '@' | '`' => first,
            '?' | '-' => first && blank_at(at + 1),
            ':' => blank_at(at + 1),
            _ => false,
        };
        special |= !is_printable(*c);
        let previous = at.checked_sub(1).map(|at| chars[at]);
        if *c == '\n' {
            breaks = true;
            space_break |= previous == Some(' ');
        }
        break_space |= *c == ' ' && previous == Some('\n');
    }
    let edge_space = text.starts_with(' ') || text.ends_with(' ');
    let quoted_only = space_break || special;
    Analysis {
        plain: !indicators && !edge_space && !breaks && !quoted_only && !text.is_empty(),
        single: !quoted_only && !break_space,
        literal: !quoted_only && !text.ends_with(' '),
    }
}
