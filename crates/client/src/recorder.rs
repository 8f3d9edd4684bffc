//! Records events: what happened to an object, for people, with the correlation that keeps a noisy
//! component from flooding the server.
//!
//! As upstream's recorder: each object has a budget of events (a token bucket); an event seen before
//! is counted up instead of created again; many similar ones are combined. Not here: who reports what.

mod correlate;

use std::sync::Arc;

use api::clock::Clock;
use api::resource::EVENTS;
use api::{Entry, Object, Resource};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::error::Error;
use crate::options::Patch;
use correlate::{Correlator, Verdict};

/// Whether an event is normal or asks for attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    /// As in `event.type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The object that an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// As in `Pod`.
    pub kind: String,
    /// Empty for cluster-scoped objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// As in `apps/v1`.
    pub api_version: String,
    /// `metadata.resourceVersion`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// A part of the object, as in `spec.containers{web}`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

impl ObjectRef {
    /// A reference to an object that carries its type.
    pub fn of(object: &Object) -> Self {
        Self {
            kind: object.kind().into(),
            namespace: object.namespace().into(),
            name: object.name().into(),
            uid: object.uid().into(),
            api_version: object.api_version().into(),
            resource_version: object.resource_version().into(),
            field_path: String::new(),
        }
    }

    /// A reference to an entry of a resource.
    pub fn of_entry(resource: &Resource, entry: &Entry) -> Self {
        Self {
            kind: resource.kind.to_string(),
            namespace: entry.card.namespace.to_string(),
            name: entry.card.name.to_string(),
            uid: entry.card.uid.to_string(),
            api_version: resource.api_version(),
            resource_version: entry.revision.to_string(),
            field_path: String::new(),
        }
    }

    /// The same with a field path.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field_path = path.into();
        self
    }
}

/// One report, before correlation.
#[derive(Clone, Debug)]
struct Report {
    about: ObjectRef,
    event_type: EventType,
    reason: String,
    note: String,
    annotations: Vec<(String, String)>,
    time: String,
}

/// Records events of one component. Cheap to clone; recording never waits, and drops events when a
/// thousand are queued.
#[derive(Clone)]
pub struct Recorder {
    reports: mpsc::Sender<Report>,
    clock: Clock,
}

const QUEUE: usize = 1000;

impl Recorder {
    /// A recorder on the system clock.
    pub fn new(client: Client, component: &str, host: &str) -> Self {
        Self::with_clock(client, component, host, Clock::system())
    }

    /// A recorder; spawns its sender (within a tokio runtime).
    pub fn with_clock(client: Client, component: &str, host: &str, clock: Clock) -> Self {
        let (reports, queue) = mpsc::channel(QUEUE);
        let sender = Sender {
            client,
            component: component.into(),
            host: host.into(),
            clock: clock.clone(),
            correlator: Correlator::default(),
        };
        tokio::spawn(sender.run(queue));
        Self { reports, clock }
    }

    /// A recorder whose events go nowhere, for tests.
    pub fn discard() -> Self {
        Self { reports: mpsc::channel(1).0, clock: Clock::system() }
    }

    /// Records an event.
    pub fn event(
        &self,
        about: &ObjectRef,
        event_type: EventType,
        reason: &str,
        note: impl Into<String>,
    ) {
        self.annotated(about, event_type, reason, note, Vec::new());
    }

    /// Records an event with annotations.
    pub fn annotated(
        &self,
        about: &ObjectRef,
        event_type: EventType,
        reason: &str,
        note: impl Into<String>,
        annotations: Vec<(String, String)>,
    ) {
        let report = Report {
            about: about.clone(),
            event_type,
            reason: reason.into(),
            note: note.into(),
            annotations,
            time: self.clock.time(),
        };
        if self.reports.try_send(report).is_err() {
            tracing::debug!(reason, "event dropped: too many queued");
        }
    }
}

struct Sender {
    client: Client,
    component: Arc<str>,
    host: Arc<str>,
    clock: Clock,
    correlator: Correlator,
}

impl Sender {
    async fn run(mut self, mut queue: mpsc::Receiver<Report>) {
        while let Some(report) = queue.recv().await {
            let now = self.clock.micros() / 1_000_000;
            match self.correlator.judge(&report, now) {
                Verdict::Drop => {}
                Verdict::Create { note, count } => self.create(&report, &note, count).await,
                Verdict::Count { name, note, count } => {
                    let body = json!({
                        "count": count, "lastTimestamp": report.time, "message": note,
                    });
                    let ns = namespace(&report);
                    let sent = self
                        .client
                        .patch::<IgnoredAny>(&EVENTS, ns, &name, None, Patch::Strategic, &body)
                        .await;
                    match sent {
                        Err(e) if e.is_not_found() => self.create(&report, &note, count).await,
                        sent => log(&report, sent.map(drop)),
                    }
                }
            }
        }
    }

    async fn create(&mut self, report: &Report, note: &str, count: u64) {
        // Names as upstream's: the object's, and the time in hex.
        let name = format!("{}.{:x}", report.about.name, self.clock.micros() * 1000 + count % 1000);
        let ns = namespace(report);
        let mut metadata = json!({"name": name, "namespace": ns});
        if !report.annotations.is_empty() {
            metadata["annotations"] = report
                .annotations
                .iter()
                .map(|(k, v)| (k.clone(), v.clone().into()))
                .collect::<api::Map<String, Value>>()
                .into();
        }
        let mut source = json!({"component": *self.component});
        if !self.host.is_empty() {
            source["host"] = (*self.host).into();
        }
        let body = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": metadata,
            "involvedObject": report.about, "reason": report.reason, "message": note,
            "source": source, "firstTimestamp": report.time, "lastTimestamp": report.time,
            "count": count, "type": report.event_type.as_str(), "eventTime": null,
            "reportingComponent": *self.component, "reportingInstance": *self.host,
        });
        let mut sent = self.client.create::<IgnoredAny>(&EVENTS, ns, &body).await;
        if matches!(sent, Err(Error::Transport { .. })) {
            // Once more: a server that restarts is back within moments.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            sent = self.client.create::<IgnoredAny>(&EVENTS, ns, &body).await;
        }
        self.correlator.created(report, note, &name);
        log(report, sent.map(drop));
    }
}

fn namespace(report: &Report) -> &str {
    if report.about.namespace.is_empty() { "default" } else { &report.about.namespace }
}

fn log(report: &Report, sent: Result<(), Error>) {
    match sent {
        Ok(()) => {}
        // The namespace of a dying object takes no more events.
        Err(error) if error.api().is_some() => {
            tracing::debug!(reason = report.reason, "event refused: {error}");
        }
        Err(error) => tracing::warn!(reason = report.reason, "event lost: {error}"),
    }
}
