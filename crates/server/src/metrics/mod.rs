//! The API server's metrics, under upstream's names and labels: what requests were made, how long they
//! took, who asked, what was refused.
//!
//! Not here: what is counted when somebody looks (`scrape`); flow control's, the plugins' and the
//! store's metrics, which those keep.

mod process;
pub mod scrape;

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header;
use http::request::Parts;
use parking_lot::RwLock;
use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use crate::deadline;
use crate::request::RequestInfo;
use crate::server::Server;

/// Bounds in seconds, as upstream's.
const REQUEST_SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];
/// The same for times that only count the server's own work.
const SLI_SECONDS: &[f64] = REQUEST_SECONDS.split_at(2).1;
/// Bounds in bytes.
const RESPONSE_BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
const ADMISSION_SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5];

const REQUEST_LABELS: [&str; 8] =
    ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];
/// The same without `dry_run`.
const SERVED_LABELS: [&str; 7] =
    ["verb", "group", "version", "resource", "subresource", "scope", "component"];

/// A family, in the process's registry where its name is free there: a metric is not worth a server
/// that does not start.
fn family<C: Collector + Clone + 'static>(made: prometheus::Result<C>) -> Option<C> {
    let family = made.ok()?;
    let _ = prometheus::register(Box::new(family.clone()));
    Some(family)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> Option<IntCounterVec> {
    family(IntCounterVec::new(Opts::new(name, help), labels))
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> Option<IntGaugeVec> {
    family(IntGaugeVec::new(Opts::new(name, help), labels))
}

fn histograms(name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> Option<HistogramVec> {
    let opts = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    family(HistogramVec::new(opts, labels))
}

struct Families {
    requests: Option<IntCounterVec>,
    seconds: Option<HistogramVec>,
    own_seconds: Option<HistogramVec>,
    bytes: Option<HistogramVec>,
    running: Option<IntGaugeVec>,
    admission: Option<HistogramVec>,
    deprecated: Option<IntGaugeVec>,
    watched: Option<IntCounterVec>,
}

static FAMILIES: LazyLock<Families> = LazyLock::new(|| {
    let with_code = [&REQUEST_LABELS[..], &["code"]].concat();
    Families {
        requests: counters(
            "apiserver_request_total",
            "[STABLE] Requests by what they asked for and the answer's status code.",
            &with_code,
        ),
        seconds: histograms(
            "apiserver_request_duration_seconds",
            "[STABLE] Time to the head of the answer, but for watches and streams.",
            &REQUEST_LABELS,
            REQUEST_SECONDS,
        ),
        own_seconds: histograms(
            "apiserver_request_sli_duration_seconds",
            "[ALPHA] The same without waiting for flow control's seats and for webhooks.",
            &SERVED_LABELS,
            SLI_SECONDS,
        ),
        bytes: histograms(
            "apiserver_response_sizes",
            "[STABLE] Bytes of the answers to reads.",
            &SERVED_LABELS,
            RESPONSE_BYTES,
        ),
        running: gauges(
            "apiserver_longrunning_requests",
            "[STABLE] Watches that go on.",
            &SERVED_LABELS,
        ),
        admission: histograms(
            "apiserver_admission_step_admission_duration_seconds",
            "[STABLE] Time of all admission plugins that fill in (admit), or look (validate).",
            &["type", "operation", "rejected"],
            ADMISSION_SECONDS,
        ),
        deprecated: gauges(
            "apiserver_requested_deprecated_apis",
            "[STABLE] Deprecated resources that were asked for.",
            &["group", "version", "resource", "subresource", "removed_release"],
        ),
        watched: counters(
            "apiserver_watch_events_total",
            "[ALPHA] Events sent to watchers.",
            &["group", "version", "resource"],
        ),
    }
});

/// What tells a request's series apart. All of it names what is served: clients cannot make new series
/// at will.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
}

/// The series of a request with one status code.
struct Series {
    requests: Option<IntCounter>,
    seconds: Option<Histogram>,
    own_seconds: Option<Histogram>,
    bytes: Option<Histogram>,
}

/// Found by one look instead of one a family.
static SERIES: LazyLock<RwLock<HashMap<(Labels, u16), Arc<Series>>>> =
    LazyLock::new(RwLock::default);

impl Labels {
    /// A request's.
    pub fn of(server: &Server, info: &RequestInfo, parts: &Parts) -> Self {
        let (group, version, plural) = (&info.group, &info.version, &info.resource);
        let verb = verb(info, parts);
        if !info.is_resource {
            return Self { verb, subresource: document(&info.path), ..Self::default() };
        }
        let kind = server
            .served
            .find(group, version, plural)
            .or_else(|| server.customs.find(group, version, plural).map(|c| c.kind()));
        let Some(kind) = kind else { return Self { verb, ..Self::default() } };
        let scope = match (info.verb, info.name.is_empty(), info.namespace.is_empty()) {
            ("create", ..) | (_, false, _) => "resource",
            (_, true, false) => "namespace",
            (_, true, true) => "cluster",
        };
        let dry = parts.uri.query().is_some_and(|query| query.contains("dryRun=All"));
        Self {
            verb,
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            subresource: kind.subresource(&info.subresource).map_or("", |s| s.name),
            scope,
            component: "apiserver",
            dry_run: if dry { "All" } else { "" },
        }
    }

    fn served(&self) -> [&'static str; 7] {
        let Self { verb, group, version, resource, subresource, scope, component, .. } = *self;
        [verb, group, version, resource, subresource, scope, component]
    }

    fn series(self, code: u16) -> Arc<Series> {
        if let Some(series) = SERIES.read().get(&(self, code)) {
            return series.clone();
        }
        let served = self.served();
        let Self { verb, group, version, resource, subresource, scope, component, dry_run } = self;
        let all = [verb, dry_run, group, version, resource, subresource, scope, component];
        let text = code.to_string();
        let with_code = [&all[..], &[&text]].concat();
        let lasts = matches!(verb, "WATCH" | "CONNECT");
        let timed = |family: &Option<HistogramVec>, labels: &[&str]| {
            family.as_ref().filter(|_| !lasts).map(|f| f.with_label_values(labels))
        };
        let read = matches!(verb, "GET" | "LIST");
        let families = &*FAMILIES;
        let series = Arc::new(Series {
            requests: families.requests.as_ref().map(|f| f.with_label_values(&with_code)),
            seconds: timed(&families.seconds, &all),
            own_seconds: timed(&families.own_seconds, &served),
            bytes: timed(&families.bytes, &served).filter(|_| read),
        });
        SERIES.write().insert((self, code), series.clone());
        series
    }

    /// Counts an answer. What it returns takes the size of its body, where sizes are counted.
    pub fn answered(
        self,
        code: u16,
        took: Duration,
        waited: Duration,
    ) -> Option<impl FnOnce(u64) + Send + 'static> {
        let series = self.series(code);
        if let Some(requests) = &series.requests {
            requests.inc();
        }
        if let Some(seconds) = &series.seconds {
            seconds.observe(took.as_secs_f64());
        }
        if let Some(seconds) = &series.own_seconds {
            seconds.observe(took.saturating_sub(waited).as_secs_f64());
        }
        let bytes = series.bytes.clone()?;
        #[allow(clippy::cast_precision_loss)]
        Some(move |size| bytes.observe(size as f64))
    }

    /// Counts a watch for as long as the result lives.
    pub fn running(&self) -> Option<Running> {
        let gauge = FAMILIES.running.as_ref()?.with_label_values(&self.served());
        (self.verb == "WATCH").then(|| Running::begin(gauge))
    }
}

/// Something that goes on.
pub struct Running(IntGauge);

impl Running {
    fn begin(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Upstream's names of verbs in metrics.
fn verb(info: &RequestInfo, parts: &Parts) -> &'static str {
    if deadline::lasts(info) {
        return "CONNECT";
    }
    match info.verb {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "delete" | "deletecollection" => "DELETE",
        "patch" => {
            let form = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
            if form.starts_with(b"application/apply-patch") { "APPLY" } else { "PATCH" }
        }
        _ => "OTHER",
    }
}

/// Paths that are no resources and are told apart.
fn document(path: &str) -> &'static str {
    const KNOWN: [&str; 5] = ["/healthz", "/livez", "/readyz", "/openapi/v2", "/openapi/v3"];
    KNOWN.into_iter().find(|known| path.starts_with(known)).unwrap_or("")
}

/// Counts a request that is being worked on, for as long as the result lives.
pub fn in_flight(info: &RequestInfo) -> Option<Running> {
    static KINDS: LazyLock<Option<[IntGauge; 2]>> = LazyLock::new(|| {
        let help = "[STABLE] Requests that are being worked on, but for watches and streams.";
        let gauges = gauges("apiserver_current_inflight_requests", help, &["request_kind"])?;
        Some(["readOnly", "mutating"].map(|kind| gauges.with_label_values(&[kind])))
    });
    let lasts = deadline::lasts(info) || info.verb == "watch";
    let reads = matches!(info.verb, "get" | "list" | "head");
    let [read, written] = KINDS.as_ref().filter(|_| !lasts)?;
    Some(Running::begin(if reads { read } else { written }.clone()))
}

/// Counts who asked.
pub fn authenticated(user: Option<&str>) {
    static ATTEMPTS: LazyLock<Option<[IntCounter; 2]>> = LazyLock::new(|| {
        let help = "[ALPHA] Requests by whether their credentials were good.";
        let attempts = counters("authentication_attempts", help, &["result"])?;
        Some(["success", "error"].map(|result| attempts.with_label_values(&[result])))
    });
    /// Upstream tells these apart.
    const KNOWN: [&str; 3] = ["admin", "system:serviceaccount:kube-system:default", "other"];
    static USERS: LazyLock<Option<[IntCounter; 3]>> = LazyLock::new(|| {
        let help = "[ALPHA] Requests by who asked.";
        let users = counters("authenticated_user_requests", help, &["username"])?;
        Some(KNOWN.map(|name| users.with_label_values(&[name])))
    });
    if let Some([good, bad]) = &*ATTEMPTS {
        if user.is_some() { good } else { bad }.inc();
    }
    if let (Some(user), Some(users)) = (user, &*USERS) {
        let at = KNOWN.iter().position(|known| *known == user).unwrap_or(KNOWN.len() - 1);
        users[at].inc();
    }
}

/// Counts what the authorizers said.
pub fn authorized(allowed: bool, denied: bool) {
    static SAID: LazyLock<Option<[IntCounter; 3]>> = LazyLock::new(|| {
        let help = "[ALPHA] Authorizations by their outcome.";
        let said = counters("authorization_attempts_total", help, &["result"])?;
        Some(["allowed", "denied", "no-opinion"].map(|result| said.with_label_values(&[result])))
    });
    if let Some([yes, no, neither]) = &*SAID {
        match (allowed, denied) {
            (true, _) => yes,
            (_, true) => no,
            _ => neither,
        }
        .inc();
    }
}

/// Counts connections that never came to speak.
pub fn handshake_failed() {
    static FAILED: LazyLock<Option<IntCounter>> = LazyLock::new(|| {
        let help = "[ALPHA] TLS handshakes that failed.";
        family(IntCounter::new("apiserver_tls_handshake_errors_total", help))
    });
    if let Some(failed) = &*FAILED {
        failed.inc();
    }
}

/// Times the plugins together; `step` is `admit` or `validate`.
pub fn admission(step: &str, operation: &str, rejected: bool, took: Duration) {
    if let Some(family) = &FAMILIES.admission {
        let rejected = if rejected { "true" } else { "false" };
        family.with_label_values(&[step, operation, rejected]).observe(took.as_secs_f64());
    }
}

/// Notes that a deprecated resource was asked for.
pub fn deprecated(group: &str, version: &str, resource: &str, subresource: &str) {
    if let Some(family) = &FAMILIES.deprecated {
        family.with_label_values(&[group, version, resource, subresource, ""]).set(1);
    }
}

/// The counter of a resource's events.
pub fn watched(group: &str, version: &str, resource: &str) -> Option<IntCounter> {
    Some(FAMILIES.watched.as_ref()?.with_label_values(&[group, version, resource]))
}

tokio::task_local! {
    /// What the request at hand waited for others.
    static WAITED: Cell<Duration>;
}

/// Does a request's work, and says how long of it was spent waiting for others.
pub async fn waiting<F: Future>(work: F) -> (F::Output, Duration) {
    WAITED
        .scope(Cell::default(), async {
            let outcome = work.await;
            (outcome, WAITED.with(Cell::get))
        })
        .await
}

/// The request at hand has waited for others.
pub fn waited(time: Duration) {
    // Work of no request waits as well.
    let _ = WAITED.try_with(|waited| waited.set(waited.get() + time));
}
