//! The kubelet's own metrics, under upstream's names.
//!
//! Not here: serving them, or usage figures of containers (`server::stats`).

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, register_histogram,
    register_histogram_vec, register_int_counter_vec, register_int_gauge,
};

/// Upstream's buckets for calls to the runtime, in seconds.
const CALLS: [f64; 14] = [
    0.005, 0.0125, 0.03125, 0.078, 0.195, 0.488, 1.22, 3.05, 7.63, 19.1, 47.7, 119.2, 298.0, 745.0,
];
/// And for whole starts.
const STARTS: [f64; 14] =
    [0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

// A name that is registered twice is a fault of this file, found by the first test that runs.
static OPERATIONS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let help = "Cumulative number of runtime operations by operation type.";
    register_int_counter_vec!("kubelet_runtime_operations_total", help, &["operation_type"]).ok()
});
static ERRORS: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let help = "Cumulative number of runtime operation errors by operation type.";
    register_int_counter_vec!("kubelet_runtime_operations_errors_total", help, &["operation_type"])
        .ok()
});
static DURATIONS: LazyLock<Option<HistogramVec>> = LazyLock::new(|| {
    let help = "Duration in seconds of runtime operations. Broken down by operation type.";
    let opts = HistogramOpts::from(Opts::new("kubelet_runtime_operations_duration_seconds", help));
    register_histogram_vec!(opts.buckets(CALLS.to_vec()), &["operation_type"]).ok()
});
static POD_START: LazyLock<Option<Histogram>> = LazyLock::new(|| {
    let help = "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run";
    let opts = HistogramOpts::new("kubelet_pod_start_duration_seconds", help);
    register_histogram!(opts.buckets(STARTS.to_vec())).ok()
});
static PODS: LazyLock<Option<IntGauge>> = LazyLock::new(|| {
    register_int_gauge!("kubelet_running_pods", "Number of pods that have a running pod sandbox")
        .ok()
});

/// A call to the runtime has ended.
pub fn runtime_operation(path: &str, took: Duration, good: bool) {
    let name = snake(path.rsplit('/').next().unwrap_or(path));
    let labels = [name.as_str()];
    if let (Some(count), Some(durations)) = (&*OPERATIONS, &*DURATIONS) {
        count.with_label_values(&labels).inc();
        durations.with_label_values(&labels).observe(took.as_secs_f64());
    }
    if let Some(errors) = ERRORS.as_ref().filter(|_| !good) {
        errors.with_label_values(&labels).inc();
    }
}

/// A pod runs for the first time.
pub fn pod_started(took: Duration) {
    if let Some(histogram) = &*POD_START {
        histogram.observe(took.as_secs_f64());
    }
}

/// How many pods run.
pub fn running_pods(count: usize) {
    if let Some(gauge) = &*PODS {
        gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// `RunPodSandbox` as upstream's label: `run_podsandbox`, `list_containers`.
fn snake(call: &str) -> String {
    let call = call.replace("PodSandbox", "Podsandbox").replace("ExecSync", "Exec_sync");
    let mut out = String::with_capacity(call.len() + 4);
    for (i, c) in call.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn labels_are_upstreams() {
        for (call, label) in [
            ("RunPodSandbox", "run_podsandbox"),
            ("ListContainers", "list_containers"),
            ("ExecSync", "exec_sync"),
            ("Version", "version"),
        ] {
            assert_eq!(super::snake(call), label);
        }
    }
}
