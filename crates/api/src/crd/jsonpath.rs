//! JSONPath as printer columns use it: fields, positions, wildcards, slices, descent and filters.
//!
//! What cannot be read yields nothing. Not here: templates around paths (kubectl's).

use serde_json::Value;

/// One step of a path.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Any,
    Descend,
    Filter(Box<Filter>),
}

/// `?(@.a == "b")`.
#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    test: Option<(Test, Operand)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Test {
    Equal,
    Unequal,
    Less,
    LessEqual,
    More,
    MoreEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Value(Value),
}

/// A path, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Path(Vec<Step>);

/// Values that one path may yield; a wide descent is cut there.
const MOST: usize = 10_000;

impl Path {
    /// Reads a path, as in `.spec.containers[0].name`. `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut reader = Reader { rest: text.trim() };
        let path = reader.path()?;
        reader.rest.is_empty().then_some(path)
    }

    /// The values that it leads to.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.go(value, &mut next);
                if next.len() > MOST {
                    next.truncate(MOST);
                    break;
                }
            }
            found = next;
        }
        found
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn name(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut escaped = false;
        let mut end = self.rest.len();
        for (at, c) in self.rest.char_indices() {
            if escaped {
                out.push(c);
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if ".[]()=!<> {}".contains(c) {
                end = at;
                break;
            } else {
                out.push(c);
            }
        }
        self.rest = &self.rest[end..];
        (!out.is_empty()).then_some(out)
    }

    fn path(&mut self) -> Option<Path> {
        let mut steps = Vec::new();
        let _ = self.take("$") || self.take("@");
        loop {
            if self.take("..") {
                steps.push(Step::Descend);
                if self.take("*") {
                    steps.push(Step::Any);
                } else if !self.rest.starts_with('[') {
                    steps.push(Step::Field(self.name()?));
                }
            } else if self.take(".") {
                if self.take("*") {
                    steps.push(Step::Any);
                } else if !self.rest.starts_with('[') {
                    match self.name() {
                        Some(name) => steps.push(Step::Field(name)),
                        None if steps.is_empty() && self.rest.is_empty() => {}
                        None => return None,
                    }
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else if steps.is_empty() && !self.rest.is_empty() {
                steps.push(Step::Field(self.name()?));
            } else {
                return Some(Path(steps));
            }
        }
    }

    fn bracket(&mut self) -> Option<Step> {
        if self.take("?(") {
            let filter = self.filter()?;
            return self.take(")]").then(|| Step::Filter(Box::new(filter)));
        }
        if self.take("*]") {
            return Some(Step::Any);
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let text = self.quoted(quote)?;
            return self.take("]").then_some(Step::Field(text));
        }
        let end = self.rest.find(']')?;
        let inside = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let number = |text: &str| {
            let text = text.trim();
            if text.is_empty() { Some(None) } else { text.parse::<i64>().ok().map(Some) }
        };
        if !inside.contains(':') {
            return number(inside)?.map(Step::Index);
        }
        let mut parts = inside.split(':');
        let (from, to) = (number(parts.next()?)?, number(parts.next()?)?);
        let by = parts.next().map_or(Some(None), number)?.unwrap_or(1);
        Some(Step::Slice(from, to, by))
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let inside = self.rest.strip_prefix(quote)?;
        let end = inside.find(quote)?;
        self.rest = &inside[end + quote.len_utf8()..];
        Some(inside[..end].to_owned())
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn filter(&mut self) -> Option<Filter> {
        const TESTS: [(&str, Test); 6] = [
            ("==", Test::Equal),
            ("!=", Test::Unequal),
            ("<=", Test::LessEqual),
            (">=", Test::MoreEqual),
            ("<", Test::Less),
            (">", Test::More),
        ];
        self.space();
        let left = self.operand()?;
        self.space();
        let test = TESTS.iter().find(|(text, _)| self.rest.starts_with(text));
        let Some((text, test)) = test else { return Some(Filter { left, test: None }) };
        self.rest = &self.rest[text.len()..];
        self.space();
        let right = self.operand()?;
        self.space();
        Some(Filter { left, test: Some((*test, right)) })
    }

    fn operand(&mut self) -> Option<Operand> {
        if self.rest.starts_with('@') || self.rest.starts_with('$') {
            return self.path().map(Operand::Path);
        }
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            return self.quoted(quote).map(|text| Operand::Value(text.into()));
        }
        let end = self.rest.find([')', ' ', '=', '!', '<', '>']).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        serde_json::from_str(word).ok().map(Operand::Value)
    }
}

impl Step {
    fn go<'a>(&self, value: &'a Value, out: &mut Vec<&'a Value>) {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => out.extend(map.get(name)),
            (Step::Index(at), Value::Array(list)) => {
                let at = if *at < 0 { at + list.len() as i64 } else { *at };
                out.extend(usize::try_from(at).ok().and_then(|at| list.get(at)));
            }
            (Step::Slice(from, to, by), Value::Array(list)) => {
                let length = list.len() as i64;
                let place = |at: i64| (if at < 0 { at + length } else { at }).clamp(0, length);
                let (from, to) = (place(from.unwrap_or(0)), place(to.unwrap_or(length)));
                let by = usize::try_from(*by).unwrap_or(1).max(1);
                if from < to {
                    out.extend(list[from as usize..to as usize].iter().step_by(by));
                }
            }
            (Step::Any, Value::Array(list)) => out.extend(list),
            (Step::Any, Value::Object(map)) => out.extend(map.values()),
            (Step::Descend, value) => descend(value, out),
            (Step::Filter(filter), Value::Array(list)) => {
                out.extend(list.iter().filter(|item| filter.matches(item)));
            }
            _ => {}
        }
    }
}

fn descend<'a>(value: &'a Value, out: &mut Vec<&'a Value>) {
    if out.len() > MOST {
        return;
    }
    out.push(value);
    match value {
        Value::Array(list) => list.iter().for_each(|v| descend(v, out)),
        Value::Object(map) => map.values().for_each(|v| descend(v, out)),
        _ => {}
    }
}

impl Filter {
    fn matches(&self, item: &Value) -> bool {
        let value = |operand: &Operand| match operand {
            Operand::Value(value) => Some(value.clone()),
            Operand::Path(path) => path.find(item).first().map(|v| (*v).clone()),
        };
        let Some((test, right)) = &self.test else { return value(&self.left).is_some() };
        let (Some(left), Some(right)) = (value(&self.left), value(right)) else { return false };
        let order = match (&left, &right) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
        };
        match test {
            Test::Equal => order.is_some_and(|o| o.is_eq()),
            Test::Unequal => !order.is_some_and(|o| o.is_eq()),
            Test::Less => order.is_some_and(|o| o.is_lt()),
            Test::LessEqual => order.is_some_and(|o| o.is_le()),
            Test::More => order.is_some_and(|o| o.is_gt()),
            Test::MoreEqual => order.is_some_and(|o| o.is_ge()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        let value = json!({"spec": {"a.b": 1, "l": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}});
        for (path, found) in [
            (".spec.l[0].n", json!(["x"])),
            (".spec.l[-1].v", json!([2])),
            (".spec.l[*].n", json!(["x", "y"])),
            (".spec.l[:1].n", json!(["x"])),
            (".spec.l[?(@.n==\"y\")].v", json!([2])),
            (".spec.l[?(@.v > 1)].n", json!(["y"])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            ("..n", json!(["x", "y"])),
            (".spec.nothing", json!([])),
        ] {
            let path = Path::parse(path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(json!(path.find(&value)), found, "{path:?}");
        }
        assert_eq!(Path::parse(".spec[").map(|_| ()), None);
    }
}
