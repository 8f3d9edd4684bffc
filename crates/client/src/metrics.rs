//! The client's metrics, named as upstream's client-go names them.

use std::sync::LazyLock;

use prometheus::{
    HistogramVec, IntCounterVec, IntGaugeVec, exponential_buckets, register_histogram_vec,
    register_int_counter_vec, register_int_gauge_vec,
};

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register_int_counter_vec!(name, help, labels)
        .unwrap_or_else(|e| unreachable!("metric {name} is registered once: {e}"))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register_int_gauge_vec!(name, help, labels)
        .unwrap_or_else(|e| unreachable!("metric {name} is registered once: {e}"))
}

fn histogram(name: &str, help: &str, labels: &[&str]) -> HistogramVec {
    let buckets = exponential_buckets(1e-6, 10.0, 9).unwrap_or_default();
    register_histogram_vec!(name, help, labels, buckets)
        .unwrap_or_else(|e| unreachable!("metric {name} is registered once: {e}"))
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter(
        "rest_client_requests_total",
        "Requests by method and status code.",
        &["code", "method"],
    )
});

/// Counts a request; no code where there was no answer.
pub(crate) fn request(method: &http::Method, code: Option<u16>) {
    let text = code.map(|c| c.to_string());
    let code = text.as_deref().unwrap_or("<error>");
    REQUESTS.with_label_values(&[code, method.as_str()]).inc();
}

/// Metrics of one work queue.
#[derive(Clone)]
pub(crate) struct QueueMetrics {
    pub depth: prometheus::IntGauge,
    pub adds: prometheus::IntCounter,
    pub retries: prometheus::IntCounter,
    pub waited: prometheus::Histogram,
    pub worked: prometheus::Histogram,
}

static DEPTH: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge("workqueue_depth", "Keys waiting in the work queue.", &["name"]));
static ADDS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("workqueue_adds_total", "Keys added to the work queue.", &["name"]));
static RETRIES: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter("workqueue_retries_total", "Keys added after a failure.", &["name"]));
static WAITED: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram("workqueue_queue_duration_seconds", "How long keys wait to be worked on.", &["name"])
});
static WORKED: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram("workqueue_work_duration_seconds", "How long working on a key takes.", &["name"])
});

impl QueueMetrics {
    pub fn named(name: &str) -> Self {
        let name = &[name];
        Self {
            depth: DEPTH.with_label_values(name),
            adds: ADDS.with_label_values(name),
            retries: RETRIES.with_label_values(name),
            waited: WAITED.with_label_values(name),
            worked: WORKED.with_label_values(name),
        }
    }
}
