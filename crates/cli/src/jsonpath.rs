//! kubectl's JSONPath templates: `{.items[*].metadata.name}{"\n"}`, `range`, filters, slices, unions.
//!
//! Parsing makes a small tree; printing walks it. Not here: where the object comes from.

use std::cmp::Ordering;

use api::Value;

use crate::{Error, Result};

/// A parsed template.
#[derive(Debug)]
pub struct Template(Vec<Node>);

#[derive(Debug, Clone)]
enum Node {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Node>),
}

#[derive(Debug, Clone)]
enum Step {
    Root,
    Field(String),
    Fields(Vec<String>),
    Recursive,
    Wildcard,
    Slice(Option<i64>, Option<i64>, i64),
    Indexes(Vec<i64>),
    Filter(Vec<Step>, Option<(String, Operand)>),
}

#[derive(Debug, Clone)]
enum Operand {
    Literal(Value),
    Path(Vec<Step>),
}

fn fail<T>(what: impl std::fmt::Display) -> Result<T> {
    Err(Error::usage(format!("error parsing jsonpath: {what}")))
}

struct Parser<'a> {
    rest: &'a str,
}

impl Template {
    /// Reads a template. A bare path (`.metadata.name`) is taken as one in braces.
    pub fn parse(text: &str) -> Result<Self> {
        let wrapped;
        let text = if text.contains('{') {
            text
        } else {
            wrapped = format!("{{{text}}}");
            &wrapped
        };
        let mut parser = Parser { rest: text };
        let nodes = parser.nodes(false)?;
        Ok(Self(nodes))
    }

    /// The text that the template makes of a value. Missing fields print nothing.
    pub fn print(&self, root: &Value) -> String {
        let mut out = String::new();
        print_nodes(&self.0, root, root, &mut out);
        out
    }

    /// The first value that the template's first path finds, for sorting.
    pub fn first<'v>(&self, root: &'v Value) -> Option<&'v Value> {
        match self.0.first()? {
            Node::Path(steps) => walk(steps, root, root).into_iter().next(),
            _ => None,
        }
    }
}

impl Parser<'_> {
    fn nodes(&mut self, in_range: bool) -> Result<Vec<Node>> {
        let mut out = Vec::new();
        loop {
            let Some(open) = self.rest.find('{') else {
                if in_range {
                    return fail("unclosed range");
                }
                if !self.rest.is_empty() {
                    out.push(Node::Text(std::mem::take(&mut self.rest).to_owned()));
                }
                return Ok(out);
            };
            if open > 0 {
                out.push(Node::Text(self.rest[..open].to_owned()));
            }
            self.rest = &self.rest[open + 1..];
            self.space();
            if self.rest.starts_with("range") {
                self.rest = &self.rest[5..];
                self.space();
                let steps = self.path(&['}'])?;
                self.expect('}')?;
                out.push(Node::Range(steps, self.nodes(true)?));
                continue;
            }
            if self.rest.starts_with("end") {
                self.rest = &self.rest[3..];
                self.expect('}')?;
                if in_range {
                    return Ok(out);
                }
                return fail("not in range, nothing to end");
            }
            if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
                out.push(Node::Text(self.quoted(quote)?));
            } else {
                out.push(Node::Path(self.path(&['}'])?));
            }
            self.expect('}')?;
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn expect(&mut self, c: char) -> Result<()> {
        self.space();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => fail(format!("expected {c:?} at {:?}", self.rest)),
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut out = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(out);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.push(other),
                    None => break,
                },
                c => out.push(c),
            }
        }
        fail("unterminated quoted string")
    }

    fn path(&mut self, ends: &[char]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            let mut chars = self.rest.chars();
            match chars.next() {
                None => return fail("unclosed action"),
                Some(c) if ends.contains(&c) || c.is_whitespace() => return Ok(steps),
                Some('$') => {
                    steps.push(Step::Root);
                    self.rest = chars.as_str();
                }
                Some('@') => self.rest = chars.as_str(),
                Some('.') => {
                    self.rest = chars.as_str();
                    if let Some(rest) = self.rest.strip_prefix('.') {
                        self.rest = rest;
                        steps.push(Step::Recursive);
                    }
                    if let Some(rest) = self.rest.strip_prefix('*') {
                        self.rest = rest;
                        steps.push(Step::Wildcard);
                    } else if !self.rest.starts_with('[') {
                        let field = self.field(ends);
                        if !field.is_empty() {
                            steps.push(Step::Field(field));
                        }
                    }
                }
                Some('[') => {
                    self.rest = chars.as_str();
                    steps.push(self.bracket()?);
                }
                Some('*') => {
                    self.rest = chars.as_str();
                    steps.push(Step::Wildcard);
                }
                Some(_) => {
                    let field = self.field(ends);
                    if field.is_empty() {
                        return fail(format!("unexpected text at {:?}", self.rest));
                    }
                    steps.push(Step::Field(field));
                }
            }
        }
    }

    /// A field name; `\.` stands for a dot in it.
    fn field(&mut self, ends: &[char]) -> String {
        let mut out = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.clone().next() {
            match c {
                '\\' => {
                    chars.next();
                    out.extend(chars.next());
                }
                '.' | '[' | '=' | '<' | '>' | '!' => break,
                c if ends.contains(&c) || c.is_whitespace() => break,
                c => {
                    out.push(c);
                    chars.next();
                }
            }
        }
        self.rest = chars.as_str();
        out
    }

    fn bracket(&mut self) -> Result<Step> {
        self.space();
        if let Some(rest) = self.rest.strip_prefix("?(") {
            self.rest = rest;
            let step = self.filter()?;
            self.expect(']')?;
            return Ok(step);
        }
        if self.rest.starts_with(['\'', '"']) {
            let mut names = Vec::new();
            loop {
                self.space();
                let quote = self.rest.chars().next().unwrap_or('\'');
                names.push(self.quoted(quote)?);
                self.space();
                match self.rest.strip_prefix(',') {
                    Some(rest) => self.rest = rest,
                    None => break,
                }
            }
            self.expect(']')?;
            return Ok(Step::Fields(names));
        }
        let Some(close) = self.rest.find(']') else { return fail("unterminated array") };
        let inside = self.rest[..close].trim();
        self.rest = &self.rest[close + 1..];
        if inside == "*" {
            return Ok(Step::Wildcard);
        }
        let number = |text: &str| -> Result<Option<i64>> {
            match text.trim() {
                "" => Ok(None),
                text => {
                    text.parse().map(Some).or_else(|_| fail(format!("invalid array index {text}")))
                }
            }
        };
        if inside.contains(':') {
            let parts: Vec<&str> = inside.split(':').collect();
            let at = |i: usize| parts.get(i).map_or(Ok(None), |p| number(p));
            return Ok(Step::Slice(at(0)?, at(1)?, at(2)?.unwrap_or(1).max(1)));
        }
        let indexes: Result<Vec<i64>> =
            inside.split(',').map(|p| number(p).map(|n| n.unwrap_or(0))).collect();
        Ok(Step::Indexes(indexes?))
    }

    fn filter(&mut self) -> Result<Step> {
        self.space();
        let left = self.path(&[')', '=', '<', '>', '!'])?;
        self.space();
        if let Some(rest) = self.rest.strip_prefix(')') {
            self.rest = rest;
            return Ok(Step::Filter(left, None));
        }
        let Some(op) =
            ["==", "!=", "<=", ">=", "<", ">"].iter().find(|o| self.rest.starts_with(**o))
        else {
            return fail(format!("unrecognized operator at {:?}", self.rest));
        };
        self.rest = &self.rest[op.len()..];
        self.space();
        let right = match self.rest.chars().next() {
            Some(quote @ ('"' | '\'')) => Operand::Literal(Value::String(self.quoted(quote)?)),
            Some('@' | '.' | '$') => Operand::Path(self.path(&[')'])?),
            _ => {
                let end = self.rest.find(')').unwrap_or(self.rest.len());
                let word = self.rest[..end].trim();
                let value =
                    serde_json::from_str(word).unwrap_or_else(|_| Value::String(word.to_owned()));
                self.rest = &self.rest[end..];
                Operand::Literal(value)
            }
        };
        self.expect(')')?;
        Ok(Step::Filter(left, Some(((*op).to_owned(), right))))
    }
}

fn print_nodes(nodes: &[Node], root: &Value, here: &Value, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Path(steps) => {
                let found = walk(steps, root, here);
                let texts: Vec<String> = found.iter().map(|v| show(v)).collect();
                out.push_str(&texts.join(" "));
            }
            Node::Range(steps, body) => {
                for value in walk(steps, root, here) {
                    print_nodes(body, root, value, out);
                }
            }
        }
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn walk<'v>(steps: &[Step], root: &'v Value, here: &'v Value) -> Vec<&'v Value> {
    let mut now = vec![here];
    for step in steps {
        now = now.into_iter().flat_map(|v| take(step, root, v)).collect();
    }
    now
}

fn take<'v>(step: &Step, root: &'v Value, value: &'v Value) -> Vec<&'v Value> {
    match step {
        Step::Root => vec![root],
        Step::Field(name) => value.get(name.as_str()).into_iter().collect(),
        Step::Fields(names) => names.iter().filter_map(|n| value.get(n.as_str())).collect(),
        Step::Wildcard => children(value),
        Step::Recursive => {
            let mut out = vec![value];
            let mut at = 0;
            while at < out.len() {
                out.extend(children(out[at]));
                at += 1;
            }
            out
        }
        Step::Indexes(indexes) => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            indexes.iter().filter_map(|i| list.get(position(*i, list.len()))).collect()
        }
        Step::Slice(from, to, step) => {
            let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let from = position(from.unwrap_or(0), list.len()).min(list.len());
            let to = to.map_or(list.len(), |t| position(t, list.len()).min(list.len()));
            let step = usize::try_from(*step).unwrap_or(1);
            list.get(from..to).unwrap_or_default().iter().step_by(step).collect()
        }
        Step::Filter(left, condition) => children(value)
            .into_iter()
            .filter(|item| {
                let found = walk(left, root, item);
                match condition {
                    None => !found.is_empty(),
                    Some((op, right)) => {
                        let right = match right {
                            Operand::Literal(value) => Some(value),
                            Operand::Path(steps) => walk(steps, root, item).into_iter().next(),
                        };
                        holds(found.first().copied(), op, right)
                    }
                }
            })
            .collect(),
    }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn position(index: i64, len: usize) -> usize {
    match usize::try_from(index) {
        Ok(at) => at,
        Err(_) => usize::try_from(index + i64::try_from(len).unwrap_or(0)).unwrap_or(usize::MAX),
    }
}

/// How two values compare; numbers by size, anything else by text.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left.as_f64(), right.as_f64()) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        _ => show(left).cmp(&show(right)),
    }
}

fn holds(left: Option<&Value>, op: &str, right: Option<&Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else { return op == "!=" && left != right };
    let order = compare(left, right);
    match op {
        "==" => order == Ordering::Equal,
        "!=" => order != Ordering::Equal,
        "<" => order == Ordering::Less,
        "<=" => order != Ordering::Greater,
        ">" => order == Ordering::Greater,
        _ => order != Ordering::Less,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn print(template: &str) -> String {
        let value = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app.kubernetes.io/name": "x"}},
                 "status": {"conditions": [{"type": "Ready", "status": "True"}], "n": 1}},
                {"metadata": {"name": "b"}, "status": {"n": 20}},
            ],
        });
        Template::parse(template).expect("parses").print(&value)
    }

    #[test]
    fn paths() {
        assert_eq!(print("{.items[*].metadata.name}"), "a b");
        assert_eq!(print("{.items[-1:].metadata.name}"), "b");
        assert_eq!(print("{.items[0]['metadata','status'].name}"), "a");
        assert_eq!(print("{..name}"), "a b");
        assert_eq!(print(r"{.items[0].metadata.labels.app\.kubernetes\.io/name}"), "x");
        assert_eq!(print(".kind"), "List");
        assert_eq!(print("{.missing.field}"), "");
        assert_eq!(
            print("{.items[0].status.conditions[0]}"),
            r#"{"status":"True","type":"Ready"}"#
        );
    }

    #[test]
    fn ranges_and_filters() {
        assert_eq!(
            print(r#"{range .items[*]}{.metadata.name}{"\t"}{.status.n}{"\n"}{end}"#),
            "a\t1\nb\t20\n"
        );
        assert_eq!(print("{.items[?(@.status.n>3)].metadata.name}"), "b");
        assert_eq!(print(r#"{.items[0].status.conditions[?(@.type=="Ready")].status}"#), "True");
    }

    #[test]
    fn faults_are_told() {
        for text in ["{.a", "{range .items[*]}x", "{end}", "{.a[?(@.b 1)]}", "{.a[x]}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
