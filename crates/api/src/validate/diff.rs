//! The difference of two values as upstream shows it to people who change what they must not: a
//! unified difference, three lines around each change, of the values printed a field a line.
//!
//! Which lines pair up is decided as Ratcliff and Obershelp do it: the longest common run first, then
//! what is left of it and right of it.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::shown;

/// Products of lines that are compared; more print no difference.
const MOST: usize = 25_000_000;
/// Lines around a change.
const CONTEXT: usize = 3;
/// From so many lines on, lines that are more than a hundredth of all say nothing.
const MANY: usize = 200;

/// The difference of two values of a struct.
pub(super) fn print(of: &str, old: &Value, new: &Value) -> String {
    let (old, new) = (shown::pretty(of, old), shown::pretty(of, new));
    let (a, b): (Vec<&str>, Vec<&str>) = (old.split('\n').collect(), new.split('\n').collect());
    if a.len().saturating_mul(b.len()) > MOST {
        return String::new();
    }
    unified(&a, &b)
}

/// A run of lines: where it is in both texts, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    a: usize,
    b: usize,
    size: usize,
}

/// One step from the old text to the new one: lines `a` become lines `b`.
#[derive(Clone, Debug)]
struct Step {
    equal: bool,
    a: std::ops::Range<usize>,
    b: std::ops::Range<usize>,
}

fn unified(a: &[&str], b: &[&str]) -> String {
    let mut out = String::new();
    for group in groups(steps(a, b)) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let span = |from: usize, to: usize| match to - from {
            1 => format!("{}", from + 1),
            0 => format!("{from},0"),
            n => format!("{},{n}", from + 1),
        };
        let (old, new) = (span(first.a.start, last.a.end), span(first.b.start, last.b.end));
        let _ = writeln!(out, "@@ -{old} +{new} @@");
        for step in &group {
            let mut lines = |sign: char, lines: &[&str]| {
                for line in lines {
                    let _ = writeln!(out, "{sign}{line}");
                }
            };
            if step.equal {
                lines(' ', &a[step.a.clone()]);
            } else {
                lines('-', &a[step.a.clone()]);
                lines('+', &b[step.b.clone()]);
            }
        }
    }
    out
}

/// The steps in groups, each with at most so many equal lines before and after it.
fn groups(mut steps: Vec<Step>) -> Vec<Vec<Step>> {
    if let Some(first) = steps.first_mut().filter(|s| s.equal) {
        first.a.start = first.a.start.max(first.a.end.saturating_sub(CONTEXT));
        first.b.start = first.b.start.max(first.b.end.saturating_sub(CONTEXT));
    }
    if let Some(last) = steps.last_mut().filter(|s| s.equal) {
        last.a.end = last.a.end.min(last.a.start + CONTEXT);
        last.b.end = last.b.end.min(last.b.start + CONTEXT);
    }
    let (mut all, mut group) = (Vec::new(), Vec::new());
    for mut step in steps {
        if step.equal && step.a.len() > 2 * CONTEXT {
            let (a, b) = (step.a.start + CONTEXT, step.b.start + CONTEXT);
            group.push(Step { equal: true, a: step.a.start..a, b: step.b.start..b });
            all.push(std::mem::take(&mut group));
            step.a.start = step.a.end - CONTEXT;
            step.b.start = step.b.end - CONTEXT;
        }
        group.push(step);
    }
    all.push(group);
    all.retain(|group| group.iter().any(|step| !step.equal));
    all
}

fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    for run in runs(a, b) {
        if i < run.a || j < run.b {
            out.push(Step { equal: false, a: i..run.a, b: j..run.b });
        }
        (i, j) = (run.a + run.size, run.b + run.size);
        if run.size > 0 {
            out.push(Step { equal: true, a: run.a..i, b: run.b..j });
        }
    }
    out
}

/// All common runs in order, adjacent ones joined, and an empty one at the end.
fn runs(a: &[&str], b: &[&str]) -> Vec<Run> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, line) in b.iter().enumerate() {
        places.entry(line).or_default().push(at);
    }
    if b.len() >= MANY {
        places.retain(|_, list| list.len() <= b.len() / 100 + 1);
    }
    let mut found = Vec::new();
    let mut open = vec![(0..a.len(), 0..b.len())];
    while let Some((of_a, of_b)) = open.pop() {
        let run = longest(a, b, &places, of_a.clone(), of_b.clone());
        if run.size == 0 {
            continue;
        }
        open.push((of_a.start..run.a, of_b.start..run.b));
        open.push((run.a + run.size..of_a.end, run.b + run.size..of_b.end));
        found.push(run);
    }
    found.sort_unstable();
    let mut joined: Vec<Run> = Vec::new();
    for run in found {
        match joined.last_mut() {
            Some(last) if last.a + last.size == run.a && last.b + last.size == run.b => {
                last.size += run.size;
            }
            _ => joined.push(run),
        }
    }
    joined.push(Run { a: a.len(), b: b.len(), size: 0 });
    joined
}

/// The longest common run within two ranges; of several the first.
fn longest(
    a: &[&str],
    b: &[&str],
    places: &HashMap<&str, Vec<usize>>,
    of_a: std::ops::Range<usize>,
    of_b: std::ops::Range<usize>,
) -> Run {
    let mut best = Run { a: of_a.start, b: of_b.start, size: 0 };
    let mut lengths: HashMap<usize, usize> = HashMap::new();
    for i in of_a.clone() {
        let mut next = HashMap::new();
        for &j in places.get(a[i]).into_iter().flatten().filter(|j| of_b.contains(*j)) {
            let before = j.checked_sub(1).and_then(|j| lengths.get(&j)).copied().unwrap_or(0);
            let size = before + 1;
            next.insert(j, size);
            if size > best.size {
                best = Run { a: i + 1 - size, b: j + 1 - size, size };
            }
        }
        lengths = next;
    }
    // Lines that say nothing belong to a run that they touch.
    while best.a > of_a.start && best.b > of_b.start && a[best.a - 1] == b[best.b - 1] {
        best = Run { a: best.a - 1, b: best.b - 1, size: best.size + 1 };
    }
    while best.a + best.size < of_a.end
        && best.b + best.size < of_b.end
        && a[best.a + best.size] == b[best.b + best.size]
    {
        best.size += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_changed_field() {
        let claim = |size: &str| json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}});
        let text = print("PersistentVolumeClaimSpec", &claim("1Gi"), &claim("2Gi"));
        assert_eq!(
            text,
            "@@ -6,7 +6,7 @@\n  \"Resources\": {\n   \"Limits\": null,\n   \"Requests\": {\n-   \"storage\": \"1Gi\"\n+   \"storage\": \"2Gi\"\n   }\n  },\n  \"VolumeName\": \"\",\n"
        );
    }

    #[test]
    fn far_changes_are_apart() {
        let a: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        let mut b = a.clone();
        b[2] = "x".into();
        b.remove(25);
        let a: Vec<&str> = a.iter().map(String::as_str).collect();
        let b: Vec<&str> = b.iter().map(String::as_str).collect();
        let text = unified(&a, &b);
        assert!(
            text.starts_with("@@ -1,6 +1,6 @@\n 0\n 1\n-2\n+x\n 3\n 4\n 5\n@@ -23,7 +23,6 @@\n"),
            "{text}"
        );
    }
}
