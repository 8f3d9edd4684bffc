//! A real client library, the Python client, against the API server; the checks are in
//! `python/client.py`.
//!
//! It is installed from the package index into a virtual environment under the build's own directory.
//! Skipped, with the reason, where Python or the index is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use isopod_tests::{Isopod, run};

/// The release that the checks are written for.
const CLIENT: &str = "kubernetes==37.0.2";

/// The interpreter of an environment that has the client; why there is none.
fn python() -> Result<PathBuf, String> {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-client");
    let python = dir.join("bin/python");
    let has = |python: &Path| {
        let found =
            "import importlib.metadata as m; print('kubernetes==' + m.version('kubernetes'))";
        python.exists() && run(Command::new(python).args(["-c", found]), "").out.trim() == CLIENT
    };
    if has(&python) {
        return Ok(python);
    }
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir), "");
    if !made.ok {
        return Err(format!("python3 -m venv: {}{}", made.out, made.err));
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", CLIENT]);
    let installed = run(&mut pip, "");
    if installed.ok { Ok(python) } else { Err(format!("pip: {}", installed.err)) }
}

#[test]
fn the_python_client_works() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    let isopod = Isopod::api_server(&[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/client.py");
    let mut command = Command::new(python);
    command.arg(script).env("KUBECONFIG", isopod.kubeconfig());
    let said = run(&mut command, "");
    assert!(said.ok, "{}{}", said.out, said.err);
    assert_eq!(said.out.matches("ok ").count(), 6, "{}", said.out);
}
