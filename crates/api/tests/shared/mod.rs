//! Finds the reference data beside the repository; tests skip where it is absent.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed
#![allow(dead_code)]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// `shared/kubernetes-1.36`, in the repository's directory or above it.
pub fn dir() -> Option<PathBuf> {
    let found = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|dir| dir.join("shared/kubernetes-1.36"))
        .find(|dir| dir.is_dir());
    if found.is_none() {
        println!("skipped: shared/kubernetes-1.36 is not here");
    }
    found
}

/// A JSON file of it.
pub fn json(path: impl AsRef<Path>) -> Value {
    let text = std::fs::read(path.as_ref()).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// The recorded cases of an area.
pub fn cases(dir: &Path, area: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join(format!("oracle/{area}.jsonl"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
