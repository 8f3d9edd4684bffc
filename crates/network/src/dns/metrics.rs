//! The DNS server's metrics, named as CoreDNS names its own.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, register_histogram,
    register_histogram_vec, register_int_counter, register_int_counter_vec,
};

fn or_plain<T>(made: prometheus::Result<T>, plain: impl FnOnce() -> prometheus::Result<T>) -> T {
    // A second registration of a name is a fault of the program; the metric still has to count.
    match made.or_else(|_| plain()) {
        Ok(metric) => metric,
        Err(error) => unreachable!("the names are constant and valid: {error}"),
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $text:literal, $help:literal) => {
        $(#[$doc])*
        pub static $name: LazyLock<IntCounter> = LazyLock::new(|| {
            or_plain(register_int_counter!($text, $help), || IntCounter::new($text, $help))
        });
    };
    ($(#[$doc:meta])* $name:ident, $text:literal, $help:literal, $($label:literal),+) => {
        $(#[$doc])*
        pub static $name: LazyLock<IntCounterVec> = LazyLock::new(|| {
            let plain = || IntCounterVec::new(Opts::new($text, $help), &[$($label),+]);
            or_plain(register_int_counter_vec!($text, $help, &[$($label),+]), plain)
        });
    };
}

counter!(
    /// Questions, by transport and type.
    REQUESTS, "coredns_dns_requests_total", "Counter of DNS requests made", "proto", "type");
counter!(
    /// Answers, by their code.
    RESPONSES, "coredns_dns_responses_total", "Counter of response status codes", "rcode");
counter!(
    /// Answers from memory.
    CACHE_HITS, "coredns_cache_hits_total", "The count of cache hits");
counter!(
    /// Questions that had to be forwarded.
    CACHE_MISSES, "coredns_cache_misses_total", "The count of cache misses");
counter!(
    /// Questions that no server answered.
    FORWARD_FAILURES, "coredns_forward_healthcheck_broken_total",
    "Counter of the number of complete failures of the upstream servers");

fn buckets() -> Vec<f64> {
    (0..16).map(|i| 0.000_05 * f64::from(1 << i)).collect()
}

/// From question to answer.
pub static SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let (name, help) = ("coredns_dns_request_duration_seconds", "Time each request took");
    let options = || HistogramOpts::new(name, help).buckets(buckets());
    let plain = || HistogramVec::new(options(), &["zone"]);
    or_plain(register_histogram_vec!(options(), &["zone"]), plain)
});

/// From a forwarded question to its answer.
pub static FORWARD_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let name = "coredns_forward_request_duration_seconds";
    let options =
        || HistogramOpts::new(name, "Time each forwarded request took").buckets(buckets());
    or_plain(register_histogram!(options()), || Histogram::with_opts(options()))
});
