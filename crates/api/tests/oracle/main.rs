//! Recorded conversations of a real API server, answered by the pure functions of this crate: a
//! registry of a few lines around decoding, defaulting, strategies, patches, apply and validation.
//!
//! Needs `shared/kubernetes-1.36` above the repository; says so and passes where it is not there.
//! `ORACLE_SHOW=<n>` prints the first differences of an area.

mod admission;
mod registry;

use std::path::PathBuf;

use serde_json::Value;

use registry::Registry;

const NAMESPACE: &str = "nsaaaaaaaaaa";

fn folder() -> Option<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().map(|d| d.join("shared/kubernetes-1.36/oracle")).find(|d| d.is_dir())
}

/// `${ns}` and `${repeat:x:n}`; the other placeholders need answers of steps before.
fn fill(text: &str, answers: &[Value]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').map_or(rest.len(), |e| at + e);
        let name = &rest[at + 2..end];
        if name == "ns" {
            out.push_str(NAMESPACE);
        } else if let Some(what) = name.strip_prefix("repeat:") {
            // The repeated text may hold a brace of its own.
            let (what, count, used) = match what
                .rsplit_once(':')
                .and_then(|(w, n)| Some((w, n.parse::<usize>().ok()?)))
            {
                Some((w, n)) => (w, n, end),
                None => return out,
            };
            out.push_str(&what.replace("\\\"", "\"").repeat(count));
            rest = &rest[used + 1..];
            continue;
        } else {
            let mut parts = name.split('.');
            let step = parts.next().and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
            let mut value = answers.get(step.wrapping_sub(1)).cloned().unwrap_or_default();
            for part in parts {
                value = match part.parse::<usize>() {
                    Ok(i) => value.get(i).cloned().unwrap_or_default(),
                    Err(_) => value.get(part).cloned().unwrap_or_default(),
                };
            }
            out.push_str(value.as_str().map_or(value.to_string(), str::to_owned).as_str());
        }
        rest = &rest[(end + 1).min(rest.len())..];
    }
    out.push_str(rest);
    out
}

fn fill_value(value: &Value, answers: &[Value]) -> Value {
    match value {
        Value::String(s) => Value::String(fill(s, answers)),
        Value::Array(list) => list.iter().map(|v| fill_value(v, answers)).collect(),
        Value::Object(map) => {
            map.iter().map(|(k, v)| (fill(k, answers), fill_value(v, answers))).collect()
        }
        other => other.clone(),
    }
}

const PLACEHOLDERS: &[&str] =
    &["<uid>", "<rv>", "<time>", "<ip>", "<port>", "<gen>", "<secret>", "<address>"];

/// Whether an answer is what was recorded, placeholders standing for anything.
fn same(got: &Value, wanted: &Value, path: &str, out: &mut Vec<String>) {
    match (got, wanted) {
        (_, Value::String(w)) if PLACEHOLDERS.iter().any(|p| w == p) && !got.is_null() => {}
        (Value::String(g), Value::String(w)) => {
            if let Some(p) = PLACEHOLDERS.iter().find(|p| w.contains(**p)) {
                let (head, tail) = w.split_once(*p).unwrap_or((w, ""));
                if !(g.starts_with(head) && (tail.contains('<') || g.ends_with(tail))) {
                    out.push(format!("{path}: {g:?} instead of {w:?}"));
                }
            } else if g != w {
                out.push(format!("{path}: {g:?} instead of {w:?}"));
            }
        }
        (Value::Object(g), Value::Object(w)) => {
            for key in g.keys().chain(w.keys().filter(|k| !g.contains_key(*k))) {
                let at = format!("{path}.{key}");
                match (g.get(key), w.get(key)) {
                    (Some(a), Some(b)) => same(a, b, &at, out),
                    (Some(a), None) => out.push(format!("{at}: extra {a}")),
                    (None, b) => out.push(format!("{at}: missing {}", b.unwrap_or(&Value::Null))),
                }
            }
        }
        (Value::Array(g), Value::Array(w)) if g.len() == w.len() => {
            for (i, (a, b)) in g.iter().zip(w).enumerate() {
                same(a, b, &format!("{path}[{i}]"), out);
            }
        }
        (g, w) if g == w => {}
        (g, w) => out.push(format!("{path}: {g} instead of {w}")),
    }
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
    lines: Vec<String>,
}

/// Plays an area. A step that needs what is not here (other objects, lists, watches) ends its case.
fn play(area: &str) -> Option<Tally> {
    let Some(folder) = folder() else {
        println!("skipped: shared/kubernetes-1.36 is not here");
        return None;
    };
    let text = std::fs::read_to_string(folder.join(format!("{area}.jsonl"))).expect("readable");
    let only = std::env::var("ORACLE_ID").unwrap_or_default();
    let mut tally = Tally::default();
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).expect("a case");
        let id = case["id"].as_str().unwrap_or("");
        if !id.contains(&only) {
            continue;
        }
        let keep = case["managedFields"] == "keep";
        let mut registry = Registry::default();
        let mut answers = Vec::new();
        let mut verdict = Some(true);
        for (i, step) in case["steps"].as_array().into_iter().flatten().enumerate() {
            let request = fill_value(&step["request"], &answers);
            let wanted = fill_value(&step["response"], &answers);
            let Some(mut answer) = registry.answer(&request) else {
                if i == 0 {
                    verdict = None;
                }
                break;
            };
            answers.push(answer.clone());
            let mut differences = Vec::new();
            let mut body = wanted["body"].clone();
            for value in [&mut answer["body"], &mut body] {
                registry::normalize(value, keep);
            }
            if answer["status"] != wanted["status"] {
                differences
                    .push(format!("status {} instead of {}", answer["status"], wanted["status"]));
            }
            same(&answer["body"], &body, "", &mut differences);
            if !differences.is_empty() {
                verdict = Some(false);
                tally.lines.push(format!("{id} step {}: {}", i + 1, differences.join("\n    ")));
                break;
            }
        }
        match verdict {
            Some(true) => tally.passed += 1,
            Some(false) => tally.failed += 1,
            None => tally.skipped += 1,
        }
    }
    let show = std::env::var("ORACLE_SHOW").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    for line in tally.lines.iter().take(show) {
        println!("{line}");
    }
    println!("{area}: {} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    Some(tally)
}

fn at_least(area: &str, percent: usize) {
    if let Some(tally) = play(area) {
        let all = tally.passed + tally.failed;
        assert!(tally.passed * 100 >= all * percent, "{area}: {} of {all}", tally.passed);
    }
}

#[test]
fn validation() {
    at_least("validation", 93);
}

#[test]
fn defaulting() {
    at_least("defaulting", 96);
}

#[test]
fn patch() {
    at_least("patch", 95);
}

#[test]
fn apply() {
    at_least("apply", 80);
}
