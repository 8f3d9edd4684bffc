//! One pod's worker: takes messages, asks the plan, runs what it says beside itself, reports.
//!
//! The worker never waits for the runtime: everything slow is a task of its own whose outcome comes
//! back as a message, so that a pull that takes minutes holds up neither a status nor a deletion.
//! Not here: deciding (`plan`), doing (`start`, `stop`), wording (`status`).

mod drive;
mod end;
mod outcome;
mod report;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::kubelet::{Handle, Kubelet, Message, Snapshot, pod_ref};
use crate::pod::backoff::Backoff;
use crate::pod::config::resources;
use crate::pod::observed::{Container, Observed, Sandbox, State};
use crate::pod::plan::{self, Kill, Probes};
use crate::pod::start::StartError;
use crate::pod::status::Waiting;
use crate::pod::stop;
use crate::pod::view::{ContainerRef, PodView};
use crate::volumes::{Paths, Volumes};

/// How long after a failed step it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How often volumes are looked over while the pod runs; changes of their objects come at once.
const OVERHAUL: Duration = Duration::from_secs(90);
/// The pauses, in milliseconds, between asking for something that the event stream calls ended,
/// until the runtime agrees: it cleans up before it says so, which takes seconds on a busy machine.
/// The last one, so many times.
const AGREE: ([u64; 7], (u64, usize)) = ([5, 10, 20, 50, 100, 200, 500], (1000, 60));

/// Where a pod is in its life.
#[derive(Debug, PartialEq, Eq)]
enum Life {
    /// Its containers are to run.
    Running,
    /// They are to end.
    Ending,
    /// They have ended; its directories and cgroup are being taken away.
    Ended,
    /// Nothing but dead containers and logs are left, until the API server has it no more.
    Clean,
    /// Those are being removed.
    Removing,
}

/// What a task of the worker came back with.
enum Outcome {
    SetUp(Result<Paths, String>),
    Sandbox(Result<Sandbox, String>),
    Start(ContainerRef, Result<Container, StartError>),
    Killed(String),
    Stopped(Result<Observed, String>),
    Ended(Duration, Result<Observed, String>),
    Clean(Result<(), String>),
    Removed(Result<(), String>),
    Look(String, Option<Container>),
    LookSandbox(Option<Sandbox>),
    Observed(Option<Observed>),
}

/// A step that failed: when it is tried again.
#[derive(Default)]
struct Retry {
    at: Option<Instant>,
    delay: Duration,
}

impl Retry {
    fn failed(&mut self) {
        self.delay = (self.delay * 2).clamp(RETRY.0, RETRY.1);
        self.at = Some(Instant::now() + self.delay);
    }

    fn due(&self) -> bool {
        self.at.is_none_or(|at| at <= Instant::now())
    }
}

/// A pod's worker.
pub struct Worker {
    kubelet: Arc<Kubelet>,
    uid: String,
    order: u64,
    pod: Arc<PodView>,
    observed: Observed,
    life: Life,
    mailbox: mpsc::UnboundedReceiver<Message>,
    snapshot: Arc<Mutex<Snapshot>>,
    probes: (mpsc::UnboundedSender<()>, mpsc::UnboundedReceiver<()>),
    tasks: JoinSet<Outcome>,
    /// Cancelled when the pod is to end.
    ending: CancellationToken,
    volumes: Option<Paths>,
    overhaul: Option<Instant>,
    /// Everything is to be looked over, once nothing is being changed.
    relist: bool,
    setting_up: bool,
    set_up: Retry,
    making_sandbox: bool,
    sandbox: Retry,
    starting: Option<ContainerRef>,
    starts: HashMap<ContainerRef, Retry>,
    killing: HashSet<String>,
    stopping: bool,
    end: Retry,
    backoff: Backoff,
    /// Why containers wait, by their names.
    waiting: HashMap<String, Waiting>,
    announced: HashMap<String, Timestamp>,
    verdict: Option<Waiting>,
    /// When the pod was first seen, until it runs.
    seen: Option<Instant>,
    /// The API server has it no more.
    removed: bool,
    /// The grace period that is running out.
    grace: Option<Duration>,
    ended: bool,
    status: Map<String, Value>,
}

struct Findings<'a>(&'a crate::probe::Prober);

impl Probes for Findings<'_> {
    fn health(&self, id: &str) -> plan::Health {
        self.0.health(id)
    }
}

impl Worker {
    /// A worker for a pod of which the runtime has `observed`.
    pub fn new(
        kubelet: Arc<Kubelet>,
        pod: PodView,
        observed: Observed,
        order: u64,
    ) -> (Self, Handle) {
        let (sender, mailbox) = mpsc::unbounded_channel();
        let pod = Arc::new(pod);
        let snapshot = Snapshot {
            pod: Arc::clone(&pod),
            observed: observed.clone(),
            status: pod.status.clone(),
        };
        let snapshot = Arc::new(Mutex::new(snapshot));
        let observed_nothing = observed.sandboxes.is_empty();
        let worker = Self {
            uid: pod.uid().to_owned(),
            order,
            status: pod.status.clone(),
            pod,
            observed,
            life: Life::Running,
            mailbox,
            snapshot: Arc::clone(&snapshot),
            probes: mpsc::unbounded_channel(),
            tasks: JoinSet::new(),
            ending: CancellationToken::new(),
            volumes: None,
            overhaul: None,
            // A change between the look that found these and now was told to nobody.
            relist: !observed_nothing,
            setting_up: false,
            set_up: Retry::default(),
            making_sandbox: false,
            sandbox: Retry::default(),
            starting: None,
            starts: HashMap::new(),
            killing: HashSet::new(),
            stopping: false,
            end: Retry::default(),
            backoff: Backoff::default(),
            waiting: HashMap::new(),
            announced: HashMap::new(),
            verdict: None,
            seen: Some(Instant::now()).filter(|_| observed_nothing),
            removed: false,
            grace: None,
            ended: false,
            kubelet,
        };
        (worker, Handle { mailbox: sender, snapshot })
    }

    /// Works until nothing of the pod is left, or the mailbox closes.
    pub async fn run(mut self) {
        loop {
            let wake = self.step();
            if self.life == Life::Removing
                && self.tasks.is_empty()
                && self.removed
                && self.end.due()
            {
                break;
            }
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(outcome) = self.tasks.join_next(), if !self.tasks.is_empty() => self.outcome(outcome),
                message = self.mailbox.recv() => match message {
                    Some(message) => self.message(message),
                    None => return,
                },
                Some(()) = self.probes.1.recv() => {}
                () = sleep => {}
            }
            // Take what else has come in before looking again.
            while let Ok(message) = self.mailbox.try_recv() {
                self.message(message);
            }
            while let Some(outcome) = self.tasks.try_join_next() {
                self.outcome(outcome);
            }
        }
        for c in &self.observed.containers {
            self.kubelet.prober.stop(&c.id);
        }
        self.kubelet.reporter.forget(&self.uid);
        self.kubelet.pods.write().remove(&self.uid);
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Update(pod) => {
                self.kubelet.reporter.seen(&pod);
                let mut pod = *pod;
                // What we have said since is newer than what this shows.
                if self.ended || self.kubelet.reporter.is_stale(&pod) {
                    pod.status.clone_from(&self.pod.status);
                }
                self.resize(&pod);
                if Volumes::changes(&pod) && self.pod.shows_otherwise(&pod) {
                    self.overhaul = Some(Instant::now());
                }
                self.pod = Arc::new(pod);
            }
            Message::Removed => self.removed = true,
            Message::Objects => self.overhaul = Some(Instant::now()),
            Message::Evict(verdict) => self.verdict = self.verdict.take().or(Some(verdict)),
            Message::Changed(id) => self.look(id),
            Message::Relist => self.relist = true,
        }
    }

    /// Gives running containers the resources that a new version of the pod asks for. Those that are
    /// to be restarted for it are killed; the plan starts them again.
    fn resize(&mut self, new: &PodView) {
        let mut changed = false;
        for (at, spec) in new.all_containers() {
            let before = self.pod.container(at).filter(|c| c.name == spec.name);
            let Some(before) = before.filter(|c| c.resources != spec.resources) else { continue };
            let Some(running) =
                self.observed.latest(&spec.name).filter(|c| c.state == State::Running)
            else {
                continue;
            };
            changed = true;
            if resources::resize_restarts(before, spec) {
                let message = format!("Container {} resize requires restart", spec.name);
                let kill =
                    Kill { id: running.id.clone(), name: spec.name.clone(), message, probe: None };
                self.kill(kill);
                continue;
            }
            let memory = self.kubelet.machine.capacity.memory;
            let linux = resources::linux(new, spec, memory, self.kubelet.cgroups.v2());
            let request = crate::cri::UpdateContainerResourcesRequest {
                container_id: running.id.clone(),
                linux: Some(linux),
                ..Default::default()
            };
            let (kubelet, key, name) = (Arc::clone(&self.kubelet), new.key(), spec.name.clone());
            tokio::spawn(async move {
                if let Err(error) = kubelet.cri.update_container_resources(request).await {
                    tracing::warn!(pod = key, container = name, %error, "a container is not resized");
                }
            });
        }
        if changed && let Err(error) = self.kubelet.cgroups.ensure(new) {
            tracing::warn!(pod = %new.key(), %error, "the pod's cgroup is not resized");
        }
    }

    /// Whether a task is changing what the runtime has.
    fn busy(&self) -> bool {
        self.making_sandbox || self.starting.is_some() || self.stopping || !self.killing.is_empty()
    }

    /// Looks at all that the runtime has of the pod.
    fn observe(&mut self) {
        self.relist = false;
        let (kubelet, uid) = (Arc::clone(&self.kubelet), self.uid.clone());
        self.tasks
            .spawn(async move { Outcome::Observed(stop::observe(&kubelet, &uid).await.ok()) });
    }

    /// Starts whatever is due and answers when to look again without being told.
    fn step(&mut self) -> Option<Instant> {
        if self.relist && !self.busy() && self.life == Life::Running {
            self.observe();
        }
        self.deadline();
        if self.life == Life::Running {
            let over = self.pod.is_deleting()
                || self.removed
                || self.verdict.is_some()
                || self.pod.is_finished();
            if over {
                self.begin_end();
            }
        }
        let mut wake = Vec::new();
        match self.life {
            Life::Running => self.drive(&mut wake),
            Life::Ending => self.drive_end(&mut wake),
            Life::Ended => self.drive_clean(&mut wake),
            Life::Clean | Life::Removing => {}
        }
        self.report();
        if self.life == Life::Clean && self.removed {
            if self.end.due() {
                self.remove();
            } else {
                wake.extend(self.end.at);
            }
        }
        wake.into_iter().min()
    }

    /// `activeDeadlineSeconds`.
    fn deadline(&mut self) {
        let Some(seconds) = self.pod.spec.active_deadline_seconds else { return };
        if self.life != Life::Running || self.pod.is_finished() {
            return;
        }
        if let Some(at) = self.deadline_at(seconds)
            && self.kubelet.clock.now() >= at
        {
            let message =
                "Pod was active on the node longer than the specified deadline".to_owned();
            let about = pod_ref(&self.pod);
            self.kubelet.recorder.event(
                &about,
                EventType::Normal,
                "DeadlineExceeded",
                message.clone(),
            );
            self.verdict = Some(Waiting { reason: "DeadlineExceeded".into(), message });
        }
    }

    fn deadline_at(&self, seconds: i64) -> Option<Timestamp> {
        let start = self.status.get("startTime").and_then(Value::as_str)?;
        let start = api::clock::parse_time(start)?;
        start.saturating_add(jiff::SignedDuration::from_secs(seconds)).ok()
    }

    fn begin_end(&mut self) {
        self.life = Life::Ending;
        self.ending.cancel();
        self.waiting.clear();
    }
}
