//! The store's metrics, in the process-wide registry.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntGauge, exponential_buckets, histogram_opts, register_histogram,
    register_int_gauge,
};

fn gauge(name: &str, help: &str) -> IntGauge {
    register_int_gauge!(name, help).unwrap_or_else(|_| unregistered_gauge(name, help))
}

#[allow(clippy::expect_used)]
fn unregistered_gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("a valid metric name")
}

fn histogram(name: &str, help: &str, (start, factor, count): (f64, f64, usize)) -> Histogram {
    let buckets = exponential_buckets(start, factor, count).unwrap_or_default();
    let opts = histogram_opts!(name, help, buckets);
    register_histogram!(opts.clone()).unwrap_or_else(|_| unregistered_histogram(opts))
}

#[allow(clippy::expect_used)]
fn unregistered_histogram(opts: prometheus::HistogramOpts) -> Histogram {
    Histogram::with_opts(opts).expect("a valid metric name")
}

/// Upstream's name for the size of the database.
pub static SIZE: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("apiserver_storage_size_bytes", "Size of the storage database on disk.")
});

/// What present objects take of it.
pub static LIVE: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("isopod_storage_live_bytes", "Bytes on disk that hold present objects.")
});

/// How many writes share a sync.
pub static BATCH_WRITES: LazyLock<Histogram> = LazyLock::new(|| {
    histogram("isopod_storage_batch_writes", "Writes made durable by one sync.", (1.0, 2.0, 11))
});

/// How long a durable append takes.
pub static SYNC_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time to append a batch and make it durable.";
    histogram("isopod_storage_sync_duration_seconds", help, (0.000_05, 2.0, 16))
});
