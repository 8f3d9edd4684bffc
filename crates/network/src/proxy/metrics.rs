//! The proxy's metrics, named as upstream's where it has one.

use std::sync::LazyLock;

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, register_gauge, register_histogram,
    register_int_counter, register_int_gauge,
};

fn or_unregistered<T>(
    made: prometheus::Result<T>,
    plain: impl FnOnce() -> prometheus::Result<T>,
) -> T {
    // A second registration of a name is a fault of the program; the metric still has to count.
    match made.or_else(|_| plain()) {
        Ok(metric) => metric,
        Err(error) => unreachable!("the names are constant and valid: {error}"),
    }
}

macro_rules! metric {
    ($(#[$doc:meta])* $name:ident: $kind:ident, $register:ident, $text:literal, $help:literal) => {
        $(#[$doc])*
        pub static $name: LazyLock<$kind> =
            LazyLock::new(|| or_unregistered($register!($text, $help), || $kind::new($text, $help)));
    };
}

metric!(
    /// When rules were last written.
    LAST_SYNC: Gauge, register_gauge,
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "The last time proxy rules were successfully synced");
metric!(
    /// Transactions refused by the kernel.
    SYNC_FAILURES: IntCounter, register_int_counter,
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
    "Cumulative proxy nftables sync failures");
metric!(
    /// Endpoint slice changes seen.
    ENDPOINT_CHANGES: IntCounter, register_int_counter,
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "Cumulative proxy rules Endpoint changes");
metric!(
    /// Service changes seen.
    SERVICE_CHANGES: IntCounter, register_int_counter,
    "kubeproxy_sync_proxy_rules_service_changes_total",
    "Cumulative proxy rules Service changes");
metric!(
    /// Services programmed.
    SERVICES: IntGauge, register_int_gauge,
    "isopod_proxy_services",
    "Services that the proxy has in the kernel");
metric!(
    /// Stale flows forgotten.
    STALE_FLOWS: IntCounter, register_int_counter,
    "isopod_proxy_stale_flows_deleted_total",
    "Connection tracking entries deleted because their endpoint is gone");

/// How long a sync took.
pub static SYNC_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets: Vec<f64> = (0..15).map(|i| 0.0001 * f64::from(1 << i)).collect();
    let name = "kubeproxy_sync_proxy_rules_duration_seconds";
    let options =
        || HistogramOpts::new(name, "SyncProxyRules latency in seconds").buckets(buckets.clone());
    or_unregistered(register_histogram!(options()), || Histogram::with_opts(options()))
});

/// From a pod's or service's change to its rules.
pub static PROGRAMMING_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets: Vec<f64> = (0..18).map(|i| 0.001 * f64::from(1 << i)).collect();
    let name = "kubeproxy_network_programming_duration_seconds";
    let help = "In Cluster Network Programming Latency in seconds";
    let options = || HistogramOpts::new(name, help).buckets(buckets.clone());
    or_unregistered(register_histogram!(options()), || Histogram::with_opts(options()))
});
