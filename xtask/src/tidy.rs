//! The repo's rules as a check: headers, file length, crate direction, banned calls, machine paths.
//!
//! Reads text only. Not here: formatting, clippy and the freshness of generated tables, which have
//! their own tools (`./test` runs all of them).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// No hand-written file may be longer (DESIGN invariant 10).
const MAX_LINES: usize = 1000;

/// What each crate may depend on (DESIGN section 4); the binary may use all.
const DIRECTION: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("cel", &["api"]),
    ("store", &["api"]),
    ("client", &["api"]),
    ("server", &["api", "cel", "store", "client"]),
    ("scheduler", &["api", "client"]),
    ("controllers", &["api", "client"]),
    ("node", &["api", "client"]),
    ("network", &["api", "client"]),
    ("cli", &["api", "client"]),
];

/// Calls that have one home: `(text, files that may hold it, why)`.
const BANNED: &[(&str, &[&str], &str)] = &[
    ("SystemTime::now", &["crates/api/src/clock.rs"], "ask api::clock::Clock"),
    ("Timestamp::now", &["crates/api/src/clock.rs"], "ask api::clock::Clock"),
    ("thread_rng", &[], "ask api::clock::Rng"),
    ("thread::sleep", &[], "wait on a condition or tokio's clock"),
    ("todo!(", &[], "finish it"),
    ("unimplemented!(", &[], "finish it"),
];

/// Crates that touch the kernel and may hold `unsafe`.
const KERNEL: &[&str] = &["crates/node/", "crates/network/", "crates/isopod/", "fuzz/src/main.rs"];

/// Checks the tree under `root`; every breach is listed.
pub fn run(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    let mut lengths = Vec::new();
    for path in rust_files(root)? {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {name}"))?;
        check_file(&name, &text, &mut faults);
        lengths.push(text.lines().count());
    }
    for (krate, allowed) in DIRECTION {
        check_direction(root, krate, allowed, &mut faults)?;
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    println!("tidy: {} files, median {median} lines", lengths.len());
    if faults.is_empty() {
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("tidy: {} faults", faults.len());
}

fn check_file(name: &str, text: &str, faults: &mut Vec<String>) {
    // The rules' own texts would match themselves.
    if name == "xtask/src/tidy.rs" {
        return;
    }
    let generated = text.contains("@generated");
    if !text.starts_with("//!") {
        faults.push(format!("{name}:1: the file does not open with its job (`//!`)"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES && !generated {
        faults.push(format!("{name}: {lines} lines; split it by concept (at most {MAX_LINES})"));
    }
    let is_test =
        name.contains("/tests/") || name.starts_with("tests/") || name.starts_with("bench/");
    for (at, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for (call, homes, instead) in BANNED {
            if code.contains(call) && !homes.contains(&name) && !is_test {
                faults.push(format!("{name}:{}: `{call}`: {instead}", at + 1));
            }
        }
        if code.contains("unsafe ") && !code.contains("unsafe_code") {
            if !KERNEL.iter().any(|k| name.starts_with(k)) {
                faults.push(format!("{name}:{}: unsafe outside the kernel crates", at + 1));
            } else if !safety_above(text, at) {
                faults.push(format!("{name}:{}: unsafe without a SAFETY comment", at + 1));
            }
        }
    }
}

/// Whether a SAFETY comment stands within the few lines above.
fn safety_above(text: &str, at: usize) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    lines[at.saturating_sub(6)..=at].iter().any(|l| l.contains("SAFETY"))
}

fn check_direction(
    root: &Path,
    krate: &str,
    allowed: &[&str],
    faults: &mut Vec<String>,
) -> Result<()> {
    let path = root.join("crates").join(krate).join("Cargo.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let ours: Vec<&str> = DIRECTION.iter().map(|(k, _)| *k).collect();
    let dependencies = text
        .lines()
        .skip_while(|l| l.trim() != "[dependencies]")
        .skip(1)
        .take_while(|l| !l.starts_with('['));
    for line in dependencies {
        let name = line.split(['.', ' ', '=']).next().unwrap_or("");
        if ours.contains(&name) && !allowed.contains(&name) {
            faults.push(format!("crates/{krate}/Cargo.toml: may not depend on {name}"));
        }
    }
    Ok(())
}

fn rust_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["crates", "xtask", "bench", "tests", "fuzz"].iter().map(|d| root.join(d)).collect();
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|n| n != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    out.sort();
    Ok(out)
}
