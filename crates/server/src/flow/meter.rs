//! What is counted of requests: by the priority level and the flow schema that they belong to.
//!
//! A schema holds its meter, so that a request counts on atomics and looks nothing up. Names and labels
//! are upstream's. Not here: what the levels do.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    core::Collector,
};

use super::level::{Limits, Refusal};

/// Upstream's bounds of durations, in seconds.
const SECONDS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// The labels of what is counted by schema.
const PAIR: [&str; 2] = ["priority_level", "flow_schema"];
/// Why a request was turned away, as its label says it.
const REASONS: [&str; 4] = ["queue-full", "concurrency-limit", "time-out", "cancelled"];

struct Metrics {
    rejected: IntCounterVec,
    dispatched: IntCounterVec,
    executing: IntGaugeVec,
    executing_seats: IntGaugeVec,
    waiting: IntGaugeVec,
    waiting_seats: IntGaugeVec,
    waited: HistogramVec,
    ran: HistogramVec,
    nominal: IntGaugeVec,
    lower: IntGaugeVec,
    upper: IntGaugeVec,
}

static METRICS: LazyLock<Option<Metrics>> = LazyLock::new(|| Metrics::new().ok());

impl Metrics {
    fn new() -> prometheus::Result<Self> {
        let name = |name: &str| format!("apiserver_flowcontrol_{name}");
        let gauge = |key: &str, help: &str, labels: &[&str]| {
            kept(IntGaugeVec::new(Opts::new(name(key), help), labels)?)
        };
        let count = |key: &str, help: &str, labels: &[&str]| {
            kept(IntCounterVec::new(Opts::new(name(key), help), labels)?)
        };
        let time = |key: &str, help: &str, labels: &[&str]| {
            let options = HistogramOpts::new(name(key), help).buckets(SECONDS.to_vec());
            kept(HistogramVec::new(options, labels)?)
        };
        let by = |more: &'static str| [PAIR[0], PAIR[1], more];
        let level = &PAIR[..1];
        Ok(Self {
            rejected: count("rejected_requests_total", "Requests turned away.", &by("reason"))?,
            dispatched: count("dispatched_requests_total", "Requests that were let run.", &PAIR)?,
            executing: gauge(
                "current_executing_requests",
                "Requests that run; a watch only until it begins to answer.",
                &PAIR,
            )?,
            executing_seats: gauge(
                "current_executing_seats",
                "Seats of the requests that run.",
                &PAIR,
            )?,
            waiting: gauge("current_inqueue_requests", "Requests that wait in queues.", &PAIR)?,
            waiting_seats: gauge(
                "current_inqueue_seats",
                "Seats that the waiting requests will take.",
                &PAIR,
            )?,
            waited: time(
                "request_wait_duration_seconds",
                "How long requests waited in queues.",
                &by("execute"),
            )?,
            ran: time(
                "request_execution_seconds",
                "How long requests ran; watches until they begin to answer.",
                &by("type"),
            )?,
            nominal: gauge("nominal_limit_seats", "Seats that a level has by its shares.", level)?,
            lower: gauge("lower_limit_seats", "Seats that a level does not lend.", level)?,
            upper: gauge("upper_limit_seats", "Seats of a level with all it may borrow.", level)?,
        })
    }
}

fn kept<C: Collector + Clone + 'static>(collector: C) -> prometheus::Result<C> {
    prometheus::register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Where the requests of one flow schema are counted.
pub struct Meter {
    dispatched: IntCounter,
    /// Requests; and their seats, of which each has one: told when somebody asks.
    executing: [IntGauge; 2],
    waiting: [IntGauge; 2],
    /// Of requests that were turned away, and of those that ran.
    waited: [Histogram; 2],
    /// Of watches, and of others.
    ran: [Histogram; 2],
    rejected: [IntCounter; 4],
}

/// A request that waits; one that is given up counts as such.
pub struct Waiting<'m> {
    meter: &'m Meter,
    since: tokio::time::Instant,
    ended: bool,
}

/// A request that runs, until it is dropped.
pub struct Running {
    meter: Arc<Meter>,
    since: tokio::time::Instant,
    watch: bool,
}

impl Meter {
    /// The meter of a schema and its level.
    pub fn of(level: &str, schema: &str) -> Option<Arc<Self>> {
        let metrics = METRICS.as_ref()?;
        let pair = [level, schema];
        let by = |more: &'static str| [level, schema, more];
        Some(Arc::new(Self {
            dispatched: metrics.dispatched.with_label_values(&pair),
            executing: [&metrics.executing, &metrics.executing_seats]
                .map(|gauge| gauge.with_label_values(&pair)),
            waiting: [&metrics.waiting, &metrics.waiting_seats]
                .map(|gauge| gauge.with_label_values(&pair)),
            waited: ["false", "true"].map(|ran| metrics.waited.with_label_values(&by(ran))),
            ran: ["watch", "regular"].map(|ty| metrics.ran.with_label_values(&by(ty))),
            rejected: REASONS.map(|reason| metrics.rejected.with_label_values(&by(reason))),
        }))
    }

    /// Nothing is counted for a schema any more.
    pub fn forget(level: &str, schema: &str) {
        let Some(metrics) = METRICS.as_ref() else { return };
        let pair = [level, schema];
        let _ = metrics.dispatched.remove_label_values(&pair);
        for gauge in
            [&metrics.executing, &metrics.executing_seats, &metrics.waiting, &metrics.waiting_seats]
        {
            let _ = gauge.remove_label_values(&pair);
        }
        for ran in ["false", "true"] {
            let _ = metrics.waited.remove_label_values(&[level, schema, ran]);
        }
        for ty in ["watch", "regular"] {
            let _ = metrics.ran.remove_label_values(&[level, schema, ty]);
        }
        for reason in REASONS {
            let _ = metrics.rejected.remove_label_values(&[level, schema, reason]);
        }
    }

    /// A request begins to wait.
    pub fn wait(&self) -> Waiting<'_> {
        self.waiting[0].inc();
        Waiting { meter: self, since: tokio::time::Instant::now(), ended: false }
    }

    /// A request begins to run.
    pub fn run(self: &Arc<Self>, watch: bool) -> Running {
        self.dispatched.inc();
        self.executing[0].inc();
        Running { meter: self.clone(), since: tokio::time::Instant::now(), watch }
    }

    /// A request did not have to wait where others may.
    pub fn at_once(&self) {
        self.waited[1].observe(0.0);
    }

    /// A request was turned away.
    pub fn refuse(&self, refusal: Refusal) {
        self.rejected[refusal as usize].inc();
    }

    /// Brings the seats up to date.
    pub fn tell_seats(&self) {
        for [requests, seats] in [&self.executing, &self.waiting] {
            seats.set(requests.get());
        }
    }

    /// How many run, how many wait.
    pub fn now(&self) -> (i64, i64) {
        (self.executing[0].get(), self.waiting[0].get())
    }

    /// How many were let run, and how many were turned away, by reason.
    pub fn totals(&self) -> (u64, [u64; 4]) {
        (self.dispatched.get(), self.rejected.each_ref().map(IntCounter::get))
    }
}

impl Waiting<'_> {
    /// The wait is over.
    pub fn end(mut self, runs: bool) -> Duration {
        self.ended = true;
        let waited = self.since.elapsed();
        self.meter.waited[usize::from(runs)].observe(waited.as_secs_f64());
        waited
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.meter.waiting[0].dec();
        if !self.ended {
            self.meter.rejected[3].inc();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.executing[0].dec();
        self.meter.ran[usize::from(!self.watch)].observe(self.since.elapsed().as_secs_f64());
    }
}

/// Says what a level may use; nothing for one that is gone.
pub fn limits(level: &str, limits: Option<Limits>) {
    let Some(metrics) = METRICS.as_ref() else { return };
    let gauges = [&metrics.nominal, &metrics.lower, &metrics.upper];
    match limits {
        Some(Limits { nominal, lower, upper }) => {
            for (gauge, value) in gauges.iter().zip([nominal, lower, upper]) {
                gauge.with_label_values(&[level]).set(value.into());
            }
        }
        None => gauges.iter().for_each(|gauge| {
            let _ = gauge.remove_label_values(&[level]);
        }),
    }
}
