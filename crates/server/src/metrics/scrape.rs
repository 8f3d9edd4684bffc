//! `/metrics` and `/metrics/slis`: everything that is counted, and what is only looked up when somebody
//! asks (how many objects there are, which servers are unavailable, how healthy the parts are).
//!
//! Not here: what is counted as it happens.

use http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, IntGaugeVec, Opts, TextEncoder};

use crate::edge::respond::{self, Reply};
use crate::endpoints::{health, version};
use crate::metrics::process;
use crate::server::Server;

/// Gauges that are only for this answer.
fn gauges(name: &str, help: &str, labels: &[&str]) -> Option<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), labels).ok()
}

/// The answer to `/metrics`.
pub fn all(server: &Server) -> Reply {
    let mut families = prometheus::gather();
    let looked_up = [objects(server), unavailable(server), build()];
    families.extend(looked_up.into_iter().flatten().flat_map(|gauges| gauges.collect()));
    families.extend(process::collect());
    families.sort_by(|a, b| a.name().cmp(b.name()));
    answer(&families)
}

/// The answer to `/metrics/slis`.
pub fn slis(server: &Server) -> Reply {
    let help = "[STABLE] Whether a check passes: 1, or 0.";
    let Some(checks) = gauges("kubernetes_healthcheck", help, &["name", "type"]) else {
        return respond::not_found();
    };
    for (endpoint, name, passes) in health::results(server) {
        checks.with_label_values(&[name, endpoint]).set(i64::from(passes));
    }
    let mut families = checks.collect();
    families.extend(health::counted());
    answer(&families)
}

fn answer(families: &[MetricFamily]) -> Reply {
    let families: Vec<_> =
        families.iter().filter(|f| !f.get_metric().is_empty()).cloned().collect();
    let mut out = Vec::new();
    match TextEncoder::new().encode(&families, &mut out) {
        Ok(()) => respond::bytes(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", out),
        Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn objects(server: &Server) -> Option<IntGaugeVec> {
    let help = "[ALPHA] Stored objects.";
    let all = gauges("apiserver_resource_objects", help, &["group", "resource"])?;
    for cache in server.store.resources() {
        let (resource, group) = cache.name().split_once('.').unwrap_or((cache.name(), ""));
        let count = i64::try_from(cache.len()).unwrap_or(i64::MAX);
        all.with_label_values(&[group, resource]).set(count);
    }
    Some(all)
}

fn unavailable(server: &Server) -> Option<IntGaugeVec> {
    let help = "[ALPHA] APIServices whose server does not answer: 1, or 0.";
    let all = gauges("aggregator_unavailable_apiservice", help, &["name"])?;
    for (name, available) in server.aggregator.availability() {
        all.with_label_values(&[&name]).set(i64::from(!available));
    }
    Some(all)
}

fn build() -> Option<IntGaugeVec> {
    let version = version();
    const LABELS: [(&str, &str); 9] = [
        ("major", "major"),
        ("minor", "minor"),
        ("git_version", "gitVersion"),
        ("git_commit", "gitCommit"),
        ("git_tree_state", "gitTreeState"),
        ("build_date", "buildDate"),
        ("go_version", "goVersion"),
        ("compiler", "compiler"),
        ("platform", "platform"),
    ];
    let help = "[BETA] 1, with what was built as labels.";
    let gauge = gauges("kubernetes_build_info", help, &LABELS.map(|(label, _)| label))?;
    gauge.with_label_values(&LABELS.map(|(_, key)| version[key].as_str().unwrap_or(""))).set(1);
    Some(gauge)
}
