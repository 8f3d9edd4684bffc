//! Probes of running containers: one task for each probe, and what they have found.
//!
//! Not here: what follows (`pod::plan` kills, `pod::status` reports).

pub mod check;
pub mod http;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use check::{Finding, Target, check};
use client::{EventType, ObjectRef, Recorder};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Probe};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::cri::Cri;
use crate::pod::plan::Health;
use crate::pod::status::Readiness;

/// Which of the three probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Found {
    /// `None`: not known yet.
    startup: Option<bool>,
    liveness_failed: bool,
    ready: bool,
}

struct Probed {
    found: Found,
    tasks: Vec<AbortHandle>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// The probes of a node. Cheap to clone.
#[derive(Clone)]
pub struct Prober {
    cri: Cri,
    recorder: Recorder,
    containers: Arc<Mutex<HashMap<String, Probed>>>,
}

/// A container to be probed.
pub struct Subject {
    /// What of the spec says how.
    pub spec: Container,
    /// Where.
    pub target: Target,
    /// For events.
    pub about: ObjectRef,
    /// How long it has run already.
    pub age: Duration,
    /// It was ready when it was last seen by us, before a restart of the kubelet.
    pub was_ready: bool,
    /// It was past its startup probe then.
    pub was_started: bool,
    /// Told (with nothing) when something was found that matters.
    pub changed: mpsc::UnboundedSender<()>,
}

fn seconds(value: Option<i32>, default: i32) -> Duration {
    Duration::from_secs(u64::try_from(value.unwrap_or(default).max(0)).unwrap_or(0))
}

impl Prober {
    /// No probes yet.
    pub fn new(cri: Cri, recorder: Recorder) -> Self {
        Self { cri, recorder, containers: Arc::default() }
    }

    /// Whether a container is being probed.
    pub fn knows(&self, id: &str) -> bool {
        self.containers.lock().contains_key(id)
    }

    /// Starts probing a container.
    pub fn start(&self, subject: Subject) {
        let spec = &subject.spec;
        let id = subject.target.id.clone();
        let startup =
            if spec.startup_probe.is_none() || subject.was_started { Some(true) } else { None };
        let found = Found {
            startup,
            liveness_failed: false,
            ready: spec.readiness_probe.is_none() || subject.was_ready,
        };
        let probes = [
            (Kind::Startup, spec.startup_probe.clone().filter(|_| startup.is_none())),
            (Kind::Liveness, spec.liveness_probe.clone()),
            (Kind::Readiness, spec.readiness_probe.clone()),
        ];
        let (started, gate) = watch::channel(startup.is_some());
        let started = Arc::new(started);
        let subject = Arc::new(subject);
        let mut containers = self.containers.lock();
        let mut tasks = Vec::new();
        for (kind, probe) in probes {
            let Some(probe) = probe else { continue };
            let run = Runner {
                prober: self.clone(),
                subject: Arc::clone(&subject),
                kind,
                probe,
                started: Arc::clone(&started),
                gate: gate.clone(),
            };
            tasks.push(tokio::spawn(run.run()).abort_handle());
        }
        containers.insert(id, Probed { found, tasks });
    }

    /// Stops probing a container and forgets it.
    pub fn stop(&self, id: &str) {
        self.containers.lock().remove(id);
    }

    /// Stops every probe.
    pub fn clear(&self) {
        self.containers.lock().clear();
    }

    /// Stops the liveness and startup probes of a container that is being ended; readiness goes on
    /// telling the truth.
    pub fn ending(&self, id: &str) {
        if let Some(probed) = self.containers.lock().get_mut(id) {
            probed.found.liveness_failed = false;
        }
    }

    /// What is known for the plan.
    pub fn health(&self, id: &str) -> Health {
        match self.containers.lock().get(id) {
            Some(p) => {
                Health { startup: p.found.startup, liveness_failed: p.found.liveness_failed }
            }
            None => Health::default(),
        }
    }

    /// What is known for the status.
    pub fn readiness(&self, id: &str) -> Readiness {
        match self.containers.lock().get(id) {
            Some(p) => {
                let started = p.found.startup == Some(true);
                Readiness { started, ready: started && p.found.ready }
            }
            None => Readiness { started: false, ready: false },
        }
    }

    /// Notes a finding; true where it changed something.
    fn note(&self, id: &str, kind: Kind, good: bool) -> bool {
        let mut containers = self.containers.lock();
        let Some(probed) = containers.get_mut(id) else { return false };
        let before = probed.found;
        match kind {
            Kind::Startup => probed.found.startup = Some(good),
            Kind::Liveness => probed.found.liveness_failed = !good,
            Kind::Readiness => probed.found.ready = good,
        }
        let after = probed.found;
        (before.startup, before.liveness_failed, before.ready)
            != (after.startup, after.liveness_failed, after.ready)
    }
}

struct Runner {
    prober: Prober,
    subject: Arc<Subject>,
    kind: Kind,
    probe: Probe,
    started: Arc<watch::Sender<bool>>,
    gate: watch::Receiver<bool>,
}

impl Runner {
    /// Probes until the verdict is final or the container is forgotten.
    async fn run(mut self) {
        let period = seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1));
        if self.kind != Kind::Startup && self.gate.wait_for(|started| *started).await.is_err() {
            return;
        }
        let delay = seconds(self.probe.initial_delay_seconds, 0);
        tokio::time::sleep(delay.saturating_sub(self.subject.age)).await;
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut last, mut run) = (None, 0);
        loop {
            ticks.tick().await;
            let finding = self.probe_with_retries().await;
            let (good, text) = match finding {
                Finding::Success => (true, String::new()),
                Finding::Failure(text) => {
                    self.event(&format!("{} probe failed: {text}", self.kind.name()));
                    (false, text)
                }
                Finding::Unknown(text) => {
                    self.event(&format!(
                        "{} probe errored and resulted in unknown state: {text}",
                        self.kind.name()
                    ));
                    continue;
                }
            };
            tracing::trace!(container = %self.subject.spec.name, probe = self.kind.name(), good, text, "probed");
            run = if last == Some(good) { run + 1 } else { 1 };
            last = Some(good);
            let threshold = if good {
                self.probe.success_threshold.unwrap_or(1)
            } else {
                self.probe.failure_threshold.unwrap_or(3)
            };
            if run < threshold {
                continue;
            }
            if self.prober.note(&self.subject.target.id, self.kind, good) {
                let _ = self.subject.changed.send(());
            }
            match (self.kind, good) {
                (Kind::Startup, true) => {
                    self.started.send_replace(true);
                    return;
                }
                // The container is killed for this.
                (Kind::Startup | Kind::Liveness, false) => return,
                _ => {}
            }
        }
    }

    /// A probe that does not work is tried three times before that counts.
    async fn probe_with_retries(&self) -> Finding {
        let mut finding = Finding::Unknown(String::new());
        for _ in 0..3 {
            finding =
                check(&self.prober.cri, &self.probe, &self.subject.spec, &self.subject.target)
                    .await;
            if !matches!(finding, Finding::Unknown(_)) {
                break;
            }
        }
        finding
    }

    fn event(&self, text: &str) {
        self.prober.recorder.event(&self.subject.about, EventType::Warning, "Unhealthy", text);
    }
}

/// How long something that began at `since` has been going on.
pub fn age(now: Timestamp, since: Option<Timestamp>) -> Duration {
    since.and_then(|s| Duration::try_from(now.duration_since(s)).ok()).unwrap_or_default()
}
