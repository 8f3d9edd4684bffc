//! What policies and webhooks did, counted and timed under upstream's names.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, register_histogram_vec, register_int_counter_vec};

/// What came of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The write passes.
    Admitted,
    /// It does not.
    Refused,
    /// The client is warned.
    Warned,
    /// It is noted.
    Audited,
}

impl Outcome {
    fn action(self) -> &'static str {
        match self {
            Self::Admitted => "allow",
            Self::Refused => "deny",
            Self::Warned => "warn",
            Self::Audited => "audit",
        }
    }
}

/// A metric that cannot be registered twice is not worth a server that does not start.
struct Metrics {
    checks: Option<IntCounterVec>,
    check_time: Option<HistogramVec>,
    call_time: Option<HistogramVec>,
    rejections: Option<IntCounterVec>,
    fail_open: Option<IntCounterVec>,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let policy = ["policy", "policy_binding", "enforcement_action"];
    Metrics {
        checks: register_int_counter_vec!(
            "apiserver_validating_admission_policy_check_total",
            "Policy checks by policy, binding and what came of them",
            &policy
        )
        .ok(),
        check_time: register_histogram_vec!(
            "apiserver_validating_admission_policy_check_duration_seconds",
            "How long policy checks take",
            &policy
        )
        .ok(),
        call_time: register_histogram_vec!(
            "apiserver_admission_webhook_admission_duration_seconds",
            "How long webhooks take",
            &["name", "type", "operation", "rejected"]
        )
        .ok(),
        rejections: register_int_counter_vec!(
            "apiserver_admission_webhook_rejection_count",
            "Writes that webhooks refused, by why",
            &["name", "type", "operation", "error_type"]
        )
        .ok(),
        fail_open: register_int_counter_vec!(
            "apiserver_admission_webhook_fail_open_count",
            "Webhooks that failed and were passed over",
            &["name", "type"]
        )
        .ok(),
    }
});

/// Counts a policy's outcome.
pub fn policy(name: &str, binding: &str, outcome: Outcome, took: Duration) {
    let labels = [name, binding, outcome.action()];
    if let Some(checks) = &METRICS.checks {
        checks.with_label_values(&labels).inc();
    }
    if let Some(times) = &METRICS.check_time {
        times.with_label_values(&labels).observe(took.as_secs_f64());
    }
}

/// Counts a call of a webhook; `kind` is `admit` or `validating`.
pub fn webhook(name: &str, kind: &str, operation: &str, rejected: bool, took: Duration) {
    if let Some(times) = &METRICS.call_time {
        let rejected = if rejected { "true" } else { "false" };
        times.with_label_values(&[name, kind, operation, rejected]).observe(took.as_secs_f64());
    }
}

/// Counts a refusal; `error` is `no_error` or `calling_webhook_error`.
pub fn rejected(name: &str, kind: &str, operation: &str, error: &str) {
    if let Some(count) = &METRICS.rejections {
        count.with_label_values(&[name, kind, operation, error]).inc();
    }
}

/// Counts a webhook that failed and was passed over.
pub fn failed_open(name: &str, kind: &str) {
    if let Some(count) = &METRICS.fail_open {
        count.with_label_values(&[name, kind]).inc();
    }
}
