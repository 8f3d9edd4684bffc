//! `/healthz`, `/livez`, `/readyz`, with their single checks.
//!
//! Not here: what makes the parts healthy.

use std::sync::atomic::Ordering;

use http::StatusCode;

use crate::edge::respond::{self, Reply};
use crate::server::{Request, Server};

type Check = fn(&Server) -> Result<(), String>;

fn ping(_: &Server) -> Result<(), String> {
    Ok(())
}

fn store(server: &Server) -> Result<(), String> {
    server.store.health().map_err(|e| e.to_string())
}

fn bootstrap(server: &Server) -> Result<(), String> {
    let ready = server.ready.load(Ordering::Acquire);
    ready.then_some(()).ok_or_else(|| "not finished".to_owned())
}

fn shutdown(server: &Server) -> Result<(), String> {
    let stops = server.shutdown.is_cancelled();
    (!stops).then_some(()).ok_or_else(|| "process is shutting down".to_owned())
}

/// Checks with the endpoints that include them: healthz, livez, readyz.
const CHECKS: &[(&str, Check, [bool; 3])] = &[
    ("ping", ping, [true, true, true]),
    ("log", ping, [true, true, true]),
    ("etcd", store, [true, true, true]),
    ("etcd-readiness", store, [false, false, true]),
    ("informer-sync", ping, [false, false, true]),
    ("poststarthook/rbac/bootstrap-roles", bootstrap, [true, true, true]),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", bootstrap, [true, true, true]),
    ("poststarthook/bootstrap-controller", bootstrap, [true, true, true]),
    ("shutdown", shutdown, [false, false, true]),
];

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

/// The paths of all checks.
pub fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.iter().enumerate().flat_map(|(at, endpoint)| {
        CHECKS
            .iter()
            .filter(move |(_, _, of)| of[at])
            .map(move |(name, _, _)| format!("/{endpoint}/{name}"))
    })
}

/// Serves a health endpoint; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let rest = path.strip_prefix('/')?;
    let (endpoint, name) = rest.split_once('/').unwrap_or((rest, ""));
    let at = ENDPOINTS.iter().position(|e| *e == endpoint)?;
    let checks = CHECKS.iter().filter(|(_, _, of)| of[at]);
    if !name.is_empty() {
        let (_, check, _) = checks.into_iter().find(|(n, _, _)| *n == name)?;
        return Some(match check(server) {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(why) => respond::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal server error: {why}\n"),
            ),
        });
    }
    let excluded: Vec<&str> = request.params.all("exclude").collect();
    let mut report = String::new();
    let mut failed = Vec::new();
    for (name, check, _) in checks {
        if excluded.contains(name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(server) {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(*name);
            }
        }
    }
    if !failed.is_empty() {
        report.push_str(&format!("{endpoint} check failed\n"));
        return Some(respond::text(StatusCode::INTERNAL_SERVER_ERROR, report));
    }
    if request.params.has("verbose") {
        report.push_str(&format!("{endpoint} check passed\n"));
        return Some(respond::text(StatusCode::OK, report));
    }
    Some(respond::text(StatusCode::OK, "ok"))
}
