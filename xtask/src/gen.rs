//! `xtask gen`: turns the facts of the API into the tables that `crates/api/tables` keeps.
//!
//! Sources: `shared/kubernetes-1.36` (found beside the repository or above it) and `xtask/facts`.
//! Not here: how the tables are read (`api::schema`, `api::kinds`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

mod docs;
mod kinds;
mod order;
mod schema;

/// Writes the tables, or with `check` fails where they differ from what would be written.
pub fn run(check: bool) -> Result<()> {
    let root = repository();
    let Some(shared) = shared(&root) else {
        if check {
            println!("skipped: shared/kubernetes-1.36 is not here");
            return Ok(());
        }
        bail!("shared/kubernetes-1.36 is neither in {} nor above it", root.display());
    };
    let facts = root.join("xtask/facts");
    for (name, text) in [
        ("schema.txt", schema::table(&shared, &facts)?),
        ("kinds.txt", kinds::table(&shared, &facts)?),
        ("order.txt", order::table(&shared)?),
    ] {
        let path = root.join("crates/api/tables").join(name);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        if old == text {
            println!("{name}: up to date");
        } else if check {
            bail!("{} is stale: run `cargo run -p xtask -- gen`", path.display());
        } else {
            std::fs::write(&path, text).with_context(|| path.display().to_string())?;
            println!("{name}: written");
        }
    }
    documentation(&root.join("crates/api/tables/docs.z"), check)
}

/// The blob of descriptions; compared by its text, for compressors differ.
fn documentation(path: &Path, check: bool) -> Result<()> {
    let Some(text) = docs::text()? else {
        println!("docs.z: skipped: the source of k8s-openapi is not here");
        return Ok(());
    };
    let old = std::fs::read(path).unwrap_or_default();
    if docs::unpack(&old) == text {
        println!("docs.z: up to date");
    } else if check {
        bail!("{} is stale: run `cargo run -p xtask -- gen`", path.display());
    } else {
        std::fs::write(path, docs::pack(&text)?).with_context(|| path.display().to_string())?;
        println!("docs.z: written");
    }
    Ok(())
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn shared(root: &Path) -> Option<PathBuf> {
    root.ancestors().map(|dir| dir.join("shared/kubernetes-1.36")).find(|dir| dir.is_dir())
}

fn json(path: PathBuf) -> Result<Value> {
    let text = std::fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// The lines of a fact file that are neither empty nor comments.
fn fact_lines(facts: &Path, name: &str) -> Result<Vec<String>> {
    let path = facts.join(name);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn tables_are_fresh() {
        super::run(true).expect("fresh tables");
    }
}
