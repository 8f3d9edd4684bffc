//! `/healthz`, `/livez`, `/readyz`, with their single checks.
//!
//! Not here: what makes the parts healthy.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use http::{StatusCode, header};

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

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

/// In which of healthz, livez and readyz a check counts.
const ALL: [bool; 3] = [true, true, true];
const ALIVE: [bool; 3] = [true, true, false];
const READY: [bool; 3] = [false, false, true];

/// Checks in the order in which they are reported. Upstream has a hook a controller that runs inside
/// the server; here most of them are one start, and stand or fall with it.
const CHECKS: &[(&str, Check, [bool; 3])] = &[
    ("ping", ping, ALL),
    ("log", ping, ALL),
    ("loopback-serving-certificate", ping, ALIVE),
    ("etcd", store, ALIVE),
    ("informer-sync", ping, READY),
    ("poststarthook/start-apiserver-admission-initializer", bootstrap, ALL),
    ("poststarthook/generic-apiserver-start-informers", bootstrap, ALL),
    ("poststarthook/priority-and-fairness-config-consumer", bootstrap, ALL),
    ("poststarthook/priority-and-fairness-filter", bootstrap, ALL),
    ("poststarthook/storage-object-count-tracker-hook", bootstrap, ALL),
    ("poststarthook/start-apiextensions-informers", bootstrap, ALL),
    ("poststarthook/start-apiextensions-controllers", bootstrap, ALL),
    ("poststarthook/crd-informer-synced", bootstrap, ALL),
    ("poststarthook/start-system-namespaces-controller", bootstrap, ALL),
    ("poststarthook/peer-endpoint-reconciler-controller", bootstrap, ALL),
    ("poststarthook/start-cluster-authentication-info-controller", bootstrap, ALL),
    ("poststarthook/start-kube-apiserver-identity-lease-controller", bootstrap, ALL),
    ("poststarthook/start-kube-apiserver-identity-lease-garbage-collector", bootstrap, ALL),
    ("poststarthook/storage-readiness", store, ALL),
    ("poststarthook/start-legacy-token-tracking-controller", bootstrap, ALL),
    ("poststarthook/start-service-ip-repair-controllers", bootstrap, ALL),
    ("poststarthook/rbac/bootstrap-roles", bootstrap, ALL),
    ("poststarthook/scheduling/bootstrap-system-priority-classes", bootstrap, ALL),
    ("poststarthook/priority-and-fairness-config-producer", bootstrap, ALL),
    ("poststarthook/bootstrap-controller", bootstrap, ALL),
    ("poststarthook/start-kubernetes-service-cidr-controller", bootstrap, ALL),
    ("poststarthook/start-kube-aggregator-informers", bootstrap, ALL),
    ("poststarthook/apiservice-status-local-available-controller", bootstrap, ALL),
    ("poststarthook/apiservice-status-remote-available-controller", bootstrap, ALL),
    ("poststarthook/apiservice-registration-controller", bootstrap, ALL),
    ("poststarthook/apiservice-wait-for-first-sync", bootstrap, ALL),
    ("poststarthook/apiservice-discovery-controller", bootstrap, ALL),
    ("poststarthook/kube-apiserver-autoregistration", bootstrap, ALL),
    ("autoregister-completion", bootstrap, ALL),
    ("poststarthook/apiservice-openapi-controller", bootstrap, ALL),
    ("poststarthook/apiservice-openapiv3-controller", bootstrap, ALL),
    ("shutdown", shutdown, READY),
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

/// What each check says now, by endpoint and name.
pub fn results(server: &Server) -> impl Iterator<Item = (&'static str, &'static str, bool)> {
    CHECKS.iter().flat_map(move |(name, check, of)| {
        let passes = check(server).is_ok();
        let endpoints = ENDPOINTS.into_iter().zip(of).filter(|(_, counts)| **counts);
        endpoints.map(move |(endpoint, _)| (endpoint, *name, passes))
    })
}

/// How often checks were asked for and what they said; only for `/metrics/slis`.
static COUNTED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let opts = Opts::new("kubernetes_healthchecks_total", "[STABLE] Checks by what they said.");
    IntCounterVec::new(opts, &["name", "type", "status"]).ok()
});

/// The same, as metrics.
pub fn counted() -> Vec<MetricFamily> {
    COUNTED.as_ref().map_or_else(Vec::new, Collector::collect)
}

fn ask(server: &Server, name: &str, check: Check, endpoint: &str) -> Result<(), String> {
    let outcome = check(server);
    if let Some(counted) = &*COUNTED {
        let status = if outcome.is_ok() { "success" } else { "error" };
        counted.with_label_values(&[name, endpoint, status]).inc();
    }
    outcome
}

/// Serves a health endpoint; `None` for other paths.
pub fn serve(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let mut reply = report(server, request, path)?;
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, respond::NOSNIFF);
    Some(reply)
}

fn report(server: &Server, request: &Request, path: &str) -> Option<Reply> {
    let rest = path.strip_prefix('/')?;
    let (endpoint, name) = rest.split_once('/').unwrap_or((rest, ""));
    let at = ENDPOINTS.iter().position(|e| *e == endpoint)?;
    let checks = CHECKS.iter().filter(|(_, _, of)| of[at]);
    if !name.is_empty() {
        let (_, check, _) = checks.into_iter().find(|(n, _, _)| *n == name)?;
        return Some(match ask(server, name, *check, endpoint) {
            Ok(()) => respond::text(StatusCode::OK, "ok"),
            Err(why) => respond::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal server error: {why}\n"),
            ),
        });
    }
    let mut excluded: BTreeSet<&str> = request.params.all("exclude").collect();
    let mut report = String::new();
    let mut failed = Vec::new();
    for (name, check, _) in checks {
        if excluded.remove(name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match ask(server, name, *check, endpoint) {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(_) => {
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed.push(*name);
            }
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
        report.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {}\n",
            names.join(", ")
        ));
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
