//! The scheduler's metrics, named as upstream's. Not here: serving them.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounterVec, IntGaugeVec, exponential_buckets, histogram_opts, register_histogram,
    register_int_counter_vec, register_int_gauge_vec,
};

/// `scheduler_schedule_attempts_total{result}`.
pub static ATTEMPTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    register_int_counter_vec!(
        "scheduler_schedule_attempts_total",
        "Number of attempts to schedule pods, by the result.",
        &["result"]
    )
    .expect("a valid metric, registered once")
});

/// `scheduler_pending_pods{queue}`.
pub static PENDING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    register_int_gauge_vec!(
        "scheduler_pending_pods",
        "Number of pending pods, by the queue type.",
        &["queue"]
    )
    .expect("a valid metric, registered once")
});

/// `scheduler_scheduling_algorithm_duration_seconds`.
pub static ALGORITHM: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.000_01, 4.0, 10).expect("constant bounds");
    register_histogram!(histogram_opts!(
        "scheduler_scheduling_algorithm_duration_seconds",
        "Scheduling algorithm latency in seconds.",
        buckets
    ))
    .expect("a valid metric, registered once")
});
