//! Any kind: metadata, then all other fields under titles made of their names.

use std::fmt::Write as _;

use api::Value;

use super::Scene;
use super::common::{labels_and_annotations, scalar};

/// The text of an object without a form of its own.
pub fn describe(scene: &Scene<'_>) -> String {
    let object = scene.object;
    let mut out = String::new();
    let _ = writeln!(out, "Name:\t{}\nNamespace:\t{}", object.name(), object.namespace());
    labels_and_annotations(&mut out, object);
    let _ = writeln!(out, "API Version:\t{}\nKind:\t{}", object.api_version(), object.kind());
    for (key, value) in &object.0 {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            field(&mut out, 0, key, value);
        }
    }
    out
}

/// `nodeName` becomes `Node Name`.
fn title(key: &str) -> String {
    let mut out = String::new();
    for (at, c) in key.chars().enumerate() {
        if at == 0 {
            out.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() {
                out.push(' ');
            }
            out.push(c);
        }
    }
    out
}

fn field(out: &mut String, depth: usize, key: &str, value: &Value) {
    let pad = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            let _ = writeln!(out, "{pad}{}:", title(key));
            for (key, value) in map {
                field(out, depth + 1, key, value);
            }
        }
        Value::Array(list) => {
            let _ = writeln!(out, "{pad}{}:", title(key));
            for item in list {
                match item {
                    Value::Object(map) => {
                        for (key, value) in map {
                            field(out, depth + 1, key, value);
                        }
                    }
                    other => {
                        let _ = writeln!(out, "{pad}  {}", scalar(other));
                    }
                }
            }
        }
        other => {
            let _ = writeln!(out, "{pad}{}:\t{}", title(key), scalar(other).replace('\n', " "));
        }
    }
}
