//! How upstream's own structs print: with Go's names, in Go's order, every field of them.
//!
//! The table says which fields a struct has; the values come out of our objects, whose names differ in
//! case alone. Not here: what is wrong with a value.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;

/// A field of a struct.
struct Field {
    /// As it prints.
    name: &'static str,
    /// Its name in our objects, but for case.
    json: &'static str,
    /// What stands there when it is not set.
    unset: Unset,
    /// The struct that the field, its items or its entries are.
    of: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
enum Unset {
    Null,
    Text,
    Number,
    No,
    Quantity,
    /// A struct that is always there.
    Struct,
    /// Nothing prints.
    Omitted,
    /// Not a field: the fields of another struct print here.
    Inlined,
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Field>>> = LazyLock::new(|| {
    let lines = include_str!("../../tables/shown.txt").lines().filter(|l| !l.starts_with('#'));
    lines
        .filter_map(|line| {
            let mut words = line.split(' ').filter(|w| !w.is_empty());
            Some((words.next()?, words.map(field).collect()))
        })
        .collect()
});

fn field(word: &'static str) -> Field {
    if let Some(of) = word.strip_prefix('+') {
        return Field { name: "", json: "", unset: Unset::Inlined, of };
    }
    let at = word.find(['?', ':', '-']).unwrap_or(word.len());
    let (name, rest) = word.split_at(at);
    let (name, json) = name.split_once('=').unwrap_or((name, name));
    let (unset, of) = match (rest.get(..1).unwrap_or(""), rest.get(1..).unwrap_or("")) {
        (":", "s") => (Unset::Text, ""),
        (":", "i") => (Unset::Number, ""),
        (":", "b") => (Unset::No, ""),
        (":", "q") => (Unset::Quantity, ""),
        (":", of) => (Unset::Struct, of),
        ("-", of) => (Unset::Omitted, of),
        (_, of) => (Unset::Null, of),
    };
    Field { name, json, unset, of }
}

/// A value of a struct on one line.
pub(super) fn line(of: &str, value: &Value) -> String {
    let mut out = Printer { text: String::new(), indent: None };
    out.value(of, value);
    out.text
}

/// A value of a struct with a line for every field.
pub(super) fn pretty(of: &str, value: &Value) -> String {
    let mut out = Printer { text: String::new(), indent: Some(0) };
    out.value(of, value);
    out.text
}

struct Printer {
    text: String,
    /// The depth, where lines break.
    indent: Option<usize>,
}

impl Printer {
    fn value(&mut self, of: &str, value: &Value) {
        match value {
            Value::Array(list) => self.group('[', ']', list.iter(), |p, item| p.value(of, item)),
            Value::Object(map) => match TABLE.get(of) {
                Some(_) => {
                    let whole = folded(of, value);
                    let mut fields = Vec::new();
                    gather(of, whole.as_ref().unwrap_or(value), &mut fields);
                    self.group('{', '}', fields.into_iter(), |p, (field, value)| {
                        p.key(field.name);
                        match (value, field.unset) {
                            (Some(value), _) => p.value(field.of, value),
                            (None, Unset::Text) => p.text.push_str("\"\""),
                            (None, Unset::Number) => p.text.push('0'),
                            (None, Unset::No) => p.text.push_str("false"),
                            (None, Unset::Quantity) => p.text.push_str("\"0\""),
                            (None, Unset::Struct) => p.value(field.of, &serde_json::json!({})),
                            (None, _) => p.text.push_str("null"),
                        }
                    });
                }
                None => {
                    let mut entries: Vec<_> = map.iter().collect();
                    entries.sort_by_key(|(key, _)| *key);
                    self.group('{', '}', entries.into_iter(), |p, (key, item)| {
                        p.key(key);
                        p.value("", item);
                    });
                }
            },
            Value::String(text) => self.string(text),
            other => self.text.push_str(&other.to_string()),
        }
    }

    fn key(&mut self, name: &str) {
        self.string(name);
        self.text.push(':');
        if self.indent.is_some() {
            self.text.push(' ');
        }
    }

    /// A text as Go's encoder writes it.
    fn string(&mut self, text: &str) {
        let plain = Value::from(text).to_string();
        for c in plain.chars() {
            match c {
                '<' => self.text.push_str("\\u003c"),
                '>' => self.text.push_str("\\u003e"),
                '&' => self.text.push_str("\\u0026"),
                c => self.text.push(c),
            }
        }
    }

    fn group<T>(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = T>,
        mut one: impl FnMut(&mut Self, T),
    ) {
        self.text.push(open);
        let deeper = self.indent.map(|depth| depth + 1);
        let outer = std::mem::replace(&mut self.indent, deeper);
        let mut any = false;
        for item in items {
            if any {
                self.text.push(',');
            }
            any = true;
            self.break_line();
            one(self, item);
        }
        self.indent = outer;
        if any {
            self.break_line();
        }
        self.text.push(close);
    }

    fn break_line(&mut self) {
        if let Some(depth) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', depth));
        }
    }
}

/// The fields that print, with the values that are set.
fn gather<'a>(of: &str, value: &'a Value, out: &mut Vec<(&'static Field, Option<&'a Value>)>) {
    for field in TABLE.get(of).into_iter().flatten() {
        if field.unset == Unset::Inlined {
            // Metadata stands in a field of its own in our objects.
            let inner = if field.of == "ObjectMeta" { value.get("metadata") } else { Some(value) };
            gather(field.of, inner.unwrap_or(&Value::Null), out);
            continue;
        }
        let map = value.as_object();
        let found = map.and_then(|m| {
            m.get(field.json)
                .or_else(|| m.iter().find(|(k, _)| k.eq_ignore_ascii_case(field.json)).map(|e| e.1))
        });
        let found = found.filter(|v| !v.is_null());
        if field.unset != Unset::Omitted || found.is_some_and(|v| !super::at::is_nothing(v)) {
            out.push((field, found));
        }
    }
}

/// Upstream keeps what a pod shares with its host in the pod's security context.
fn folded(of: &str, value: &Value) -> Option<Value> {
    if of != "PodSpec" {
        return None;
    }
    let mut value = value.clone();
    let map = value.as_object_mut()?;
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        if let Some(set) = map.remove(field)
            && let Some(context) = map
                .entry("securityContext")
                .or_insert_with(|| serde_json::json!({}))
                .as_object_mut()
        {
            context.insert(field.to_owned(), set);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn structs_print_whole() {
        let taint = json!({"key": "a<b", "effect": "NoSchedule"});
        assert_eq!(
            line("Taint", &taint),
            r#"{"Key":"a\u003cb","Value":"","Effect":"NoSchedule","TimeAdded":null}"#
        );
        let template =
            json!({"metadata": {"labels": {"b": "1", "a": "2"}}, "spec": {"hostPID": true}});
        let shown = line("PodTemplateSpec", &template);
        assert!(
            shown.starts_with(r#"{"labels":{"a":"2","b":"1"},"Spec":{"Volumes":null,"#),
            "{shown}"
        );
        assert!(
            shown.contains(r#""SecurityContext":{"HostNetwork":false,"HostPID":true,"#),
            "{shown}"
        );
        let selector = json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]});
        assert_eq!(
            line("LabelSelector", &selector),
            r#"{"matchExpressions":[{"key":"a","operator":"Exists"}]}"#
        );
    }

    #[test]
    fn every_named_struct_is_there() {
        for (name, fields) in TABLE.iter() {
            for field in fields.iter().filter(|f| !f.of.is_empty()) {
                assert!(TABLE.contains_key(field.of), "{name}.{}: {}", field.name, field.of);
            }
        }
    }
}
