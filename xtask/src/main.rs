//! The repository's own tasks: `cargo run -p xtask -- gen` and friends.
//!
//! Not here: anything that a build of isopod needs. What tasks make is checked in.

use std::process::ExitCode;

mod r#gen;
mod tidy;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["gen"] => r#gen::run(false),
        ["gen", "--check"] => r#gen::run(true),
        ["tidy"] => tidy::run(&root()),
        _ => {
            eprintln!("usage: cargo run -p xtask -- gen [--check] | tidy");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root: where the workspace is.
fn root() -> std::path::PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
