//! Pieces that several describers print. Lines are tab-separated; the caller aligns them.

use std::fmt::Write as _;

use api::clock::parse_time;
use api::{Object, Value};

/// A time as kubectl prints it: `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn time(text: &str) -> String {
    match parse_time(text) {
        Some(t) => t.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        None => "<unset>".to_owned(),
    }
}

/// The text of a scalar; empty for null.
pub fn scalar(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Pairs under a title, one a line, `<none>` where there are none.
pub fn pairs(out: &mut String, title: &str, map: Option<&Value>, between: &str, skip: &str) {
    let map = map.and_then(Value::as_object);
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .filter(|(k, _)| skip.is_empty() || k != &skip)
        .map(|(k, v)| format!("{k}{between}{}", scalar(v).replace('\n', " ")))
        .collect();
    let text = if lines.is_empty() { "<none>".to_owned() } else { lines.join("\n\t") };
    let _ = writeln!(out, "{title}:\t{text}");
}

/// Name, namespace, labels and annotations.
pub fn labels_and_annotations(out: &mut String, object: &Object) {
    pairs(out, "Labels", object.at("metadata.labels"), "=", "");
    let skip = "kubectl.kubernetes.io/last-applied-configuration";
    pairs(out, "Annotations", object.at("metadata.annotations"), ": ", skip);
}

/// A list of conditions with the given fields as columns.
pub fn conditions(out: &mut String, object: &Object, columns: &[(&str, &str)]) {
    let Some(list) =
        object.at("status.conditions").and_then(Value::as_array).filter(|l| !l.is_empty())
    else {
        return;
    };
    let titles: Vec<&str> = columns.iter().map(|(t, _)| *t).collect();
    let rules: Vec<String> = titles.iter().map(|t| "-".repeat(t.len())).collect();
    let _ = writeln!(out, "Conditions:\n  {}\n  {}", titles.join("\t"), rules.join("\t"));
    for condition in list {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, field)| {
                let text = scalar(&condition[*field]);
                if field.ends_with("Time") { time(&text) } else { text }
            })
            .collect();
        let _ = writeln!(out, "  {}", cells.join("\t"));
    }
}

/// Items of an array under a path.
pub fn items<'o>(object: &'o Object, path: &str) -> &'o [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Tolerations, one a line.
pub fn tolerations(out: &mut String, list: &[Value]) {
    let lines: Vec<String> = list
        .iter()
        .map(|t| {
            let mut line = scalar(&t["key"]);
            let (value, effect) = (scalar(&t["value"]), scalar(&t["effect"]));
            if !value.is_empty() {
                let _ = write!(line, "={value}");
            }
            if !effect.is_empty() {
                let _ = write!(line, ":{effect}");
            }
            if t["operator"] == "Exists" && value.is_empty() {
                line.push_str(" op=Exists");
            }
            if let Some(seconds) = t["tolerationSeconds"].as_i64() {
                let _ = write!(line, " for {seconds}s");
            }
            line
        })
        .collect();
    let text = if lines.is_empty() { "<none>".to_owned() } else { lines.join("\n\t") };
    let _ = writeln!(out, "Tolerations:\t{text}");
}
