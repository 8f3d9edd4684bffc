//! One pod's worker: takes messages, asks the plan, runs what it says beside itself, reports.
//!
//! The worker never waits for the runtime: everything slow is a task of its own whose outcome comes
//! back as a message, so that a pull that takes minutes holds up neither a status nor a deletion.
//! Not here: deciding (`plan`), doing (`start`, `stop`), wording (`status`).

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

use super::backoff::Backoff;
use super::config::resources::{self, Qos};
use super::observed::{Container, Observed, Sandbox, State, time};
use super::plan::{self, Kill, Probes, backoff_key};
use super::start::{self, Start, StartError};
use super::status::{self, Waiting};
use super::stop;
use super::view::{ContainerRef, Kind, PodView, is_sidecar};
use crate::kubelet::{Handle, Kubelet, Message, Snapshot, container_ref, pod_ref};
use crate::probe::{Subject, age};
use crate::volumes::token::until;
use crate::volumes::{Paths, Volumes};

/// How long after a failed step it is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// How often volumes are looked over while the pod runs; changes of their objects come at once.
const OVERHAUL: Duration = Duration::from_secs(90);
/// The pauses, in milliseconds, between asking for something that the event stream calls ended,
/// until the runtime agrees: it cleans up before it says so, which takes a while on a busy machine.
const AGREE: [u64; 14] =
    [5, 10, 20, 50, 100, 200, 500, 1000, 1000, 2000, 5000, 5000, 10_000, 20_000];

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
    /// The key and the end after which each running start counts for the back-off.
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
                self.pod = Arc::new(pod);
            }
            Message::Removed => self.removed = true,
            Message::Objects => self.overhaul = Some(Instant::now()),
            Message::Evict(verdict) => self.verdict = self.verdict.take().or(Some(verdict)),
            Message::Changed(id) => self.look(id),
            Message::Relist => {
                if !self.busy() && self.life == Life::Running {
                    let (kubelet, uid) = (Arc::clone(&self.kubelet), self.uid.clone());
                    self.tasks.spawn(async move {
                        Outcome::Observed(stop::observe(&kubelet, &uid).await.ok())
                    });
                }
            }
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

    /// Asks the runtime about a container, or a sandbox, that is said to have changed.
    fn look(&mut self, id: String) {
        let kubelet = Arc::clone(&self.kubelet);
        if self.observed.sandboxes.iter().any(|s| s.id == id) {
            self.tasks.spawn(async move {
                // The sandbox's process has ended before the runtime says so.
                for pause in AGREE {
                    match kubelet.cri.sandbox(&id).await {
                        Ok(s) if !Sandbox::of(&s).ready => {
                            return Outcome::LookSandbox(Some(Sandbox::of(&s)));
                        }
                        Err(e) if e.is_not_found() => return Outcome::LookSandbox(None),
                        _ => tokio::time::sleep(Duration::from_millis(pause)).await,
                    }
                }
                Outcome::LookSandbox(kubelet.cri.sandbox(&id).await.ok().map(|s| Sandbox::of(&s)))
            });
            return;
        }
        self.tasks.spawn(async move {
            let mut found = None;
            for pause in AGREE {
                match start::look(&kubelet, &id).await {
                    Ok(c) if c.state == State::Running => found = Some(c),
                    Ok(c) => return Outcome::Look(id, Some(c)),
                    Err(e) if e.is_not_found() => return Outcome::Look(id, None),
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Outcome::Look(id, found)
        });
    }

    fn outcome(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(pod = %self.pod.key(), %error, "a task of the pod's worker failed");
                return;
            }
        };
        match outcome {
            Outcome::SetUp(result) => {
                self.setting_up = false;
                match result {
                    Ok(paths) => {
                        self.volumes = Some(paths);
                        self.set_up = Retry::default();
                        self.overhaul = self.next_overhaul();
                    }
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.key(), %error, "volumes are not ready");
                        self.set_up.failed();
                    }
                }
            }
            Outcome::Sandbox(result) => {
                self.making_sandbox = false;
                match result {
                    Ok(sandbox) => {
                        self.observed.put_sandbox(sandbox);
                        self.sandbox = Retry::default();
                    }
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.key(), %error, "the sandbox is not made");
                        self.sandbox.failed();
                    }
                }
            }
            Outcome::Start(at, result) => self.started(at, result),
            Outcome::Killed(id) => {
                self.killing.remove(&id);
                self.look(id);
            }
            Outcome::Stopped(result) => {
                self.stopping = false;
                match result {
                    Ok(observed) => self.observed = observed,
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.key(), %error, "the old sandbox is not stopped");
                        self.sandbox.failed();
                    }
                }
            }
            Outcome::Ended(grace, result) => {
                if self.grace != Some(grace) {
                    // A shorter one has been started meanwhile.
                    return;
                }
                match result {
                    Ok(observed) => {
                        self.observed = observed;
                        self.ended = true;
                        self.life = Life::Ended;
                        self.end = Retry::default();
                    }
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.key(), %error, "the pod has not ended");
                        self.grace = None;
                        self.end.failed();
                    }
                }
            }
            Outcome::Clean(result) => match result {
                Ok(()) => {
                    self.life = Life::Clean;
                    self.stopping = false;
                    self.end = Retry::default();
                }
                Err(error) => {
                    tracing::warn!(pod = %self.pod.key(), %error, "the pod's directories are not removed");
                    self.stopping = false;
                    self.end.failed();
                }
            },
            Outcome::Removed(result) => {
                if let Err(error) = result {
                    tracing::warn!(pod = %self.pod.key(), %error, "the pod's containers are not removed");
                    self.life = Life::Clean;
                    self.end.failed();
                }
            }
            Outcome::Look(id, found) => match found {
                Some(container) => self.observed.put_container(container),
                None => self.observed.drop_container(&id),
            },
            Outcome::LookSandbox(Some(sandbox)) => {
                let before = self.observed.sandboxes.iter().find(|s| s.id == sandbox.id);
                let ips = before.map(|s| s.ips.clone()).unwrap_or_default();
                let ips = if sandbox.ips.is_empty() { ips } else { sandbox.ips.clone() };
                self.observed.put_sandbox(Sandbox { ips, ..sandbox });
            }
            Outcome::LookSandbox(None) => self.observed.sandboxes.clear(),
            Outcome::Observed(observed) => {
                if let Some(observed) = observed.filter(|_| !self.busy()) {
                    self.observed = observed;
                }
            }
        }
    }

    fn started(&mut self, at: ContainerRef, result: Result<Container, StartError>) {
        self.starting = None;
        let name = self.pod.container(at).map(|c| c.name.clone()).unwrap_or_default();
        match result {
            Ok(container) => {
                self.waiting.remove(&name);
                self.starts.remove(&at);
                if container.state == State::Exited {
                    // Its last words have not been read.
                    self.look(container.id.clone());
                }
                self.observed.put_container(container);
            }
            Err(why) => {
                // Said once: backing off says the same over and over.
                if !self.waiting.contains_key(&name) {
                    tracing::info!(pod = %self.pod.key(), container = name, reason = why.reason, why.message, "the container does not start");
                }
                if !why.reason.is_empty() && !self.ending.is_cancelled() {
                    self.waiting.insert(name, why);
                }
                self.starts.entry(at).or_default().failed();
                // It may have been made before it failed.
                let (kubelet, uid) = (Arc::clone(&self.kubelet), self.uid.clone());
                self.tasks.spawn(async move {
                    Outcome::Observed(stop::observe(&kubelet, &uid).await.ok())
                });
            }
        }
    }

    fn next_overhaul(&self) -> Option<Instant> {
        if !Volumes::changes(&self.pod) {
            return None;
        }
        let jitter = self.kubelet.rng.jittered(OVERHAUL, 0.2);
        let renew = self.kubelet.volumes.tokens.renew_at(&self.uid);
        let renew = renew.map(|at| until(self.kubelet.clock.now(), at) + Duration::from_secs(1));
        Some(Instant::now() + renew.map_or(jitter, |r| r.min(jitter)))
    }

    /// Starts whatever is due and answers when to look again without being told.
    fn step(&mut self) -> Option<Instant> {
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

    /// Brings a pod that is to run nearer to that.
    fn drive(&mut self, wake: &mut Vec<Instant>) {
        self.watch_probes();
        if let Some(at) = self.pod.spec.active_deadline_seconds.and_then(|s| self.deadline_at(s)) {
            wake.push(Instant::now() + until(self.kubelet.clock.now(), at));
        }
        let overhaul = self.overhaul.is_some_and(|at| at <= Instant::now());
        if !self.setting_up && (self.volumes.is_none() || overhaul) {
            if self.set_up.due() {
                self.spawn_set_up();
            } else {
                wake.extend(self.set_up.at);
            }
        }
        wake.extend(self.overhaul.filter(|_| !self.setting_up));
        let Some(volumes) = self.volumes.clone() else { return };
        if self.stopping {
            return;
        }
        let now = self.kubelet.clock.now();
        let plan = plan::plan(&plan::Input {
            pod: &self.pod,
            observed: &self.observed,
            probes: &Findings(&self.kubelet.prober),
            backoff: &self.backoff,
            now,
        });
        if plan.finished && !self.busy() {
            self.begin_end();
            self.drive_end(wake);
            return;
        }
        for kill in plan.kill {
            self.kill(kill);
        }
        if plan.stop_pod && !self.busy() {
            self.stop_old();
            return;
        }
        if let Some(attempt) = plan.create_sandbox.filter(|_| !self.busy()) {
            if self.sandbox.due() {
                self.make_sandbox(attempt);
            } else {
                wake.extend(self.sandbox.at);
            }
        }
        for wait in &plan.wait {
            self.announce_wait(wait);
            wake.push(Instant::now() + until(now, wait.until));
        }
        for start in plan.start {
            if self.starting.is_some() {
                break;
            }
            let retry = self.starts.get(&start.at);
            if let Some(retry) = retry.filter(|r| !r.due()) {
                wake.extend(retry.at);
                // Init containers hold up what follows them; regular ones do not.
                if start.at.kind == Kind::Init { break } else { continue }
            }
            self.start(&start, volumes.clone(), now);
        }
    }

    fn spawn_set_up(&mut self) {
        self.setting_up = true;
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        let ips = self.observed.sandbox().map(|s| s.ips.clone()).unwrap_or_default();
        self.tasks.spawn(async move { Outcome::SetUp(start::set_up(&kubelet, &pod, &ips).await) });
    }

    fn make_sandbox(&mut self, attempt: u32) {
        self.making_sandbox = true;
        let (kubelet, pod, order) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod), self.order);
        self.tasks.spawn(async move {
            let handler = match runtime_handler(&kubelet, &pod).await {
                Ok(handler) => handler,
                Err(e) => return Outcome::Sandbox(Err(e)),
            };
            Outcome::Sandbox(start::make_sandbox(kubelet, pod, attempt, order, handler).await)
        });
    }

    fn stop_old(&mut self) {
        self.stopping = true;
        let text = "Pod sandbox changed, it will be killed and re-created.";
        self.kubelet.recorder.event(&pod_ref(&self.pod), EventType::Normal, "SandboxChanged", text);
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        let grace = pod.grace();
        self.tasks
            .spawn(async move { Outcome::Stopped(stop::stop_pod(kubelet, pod, grace).await) });
    }

    fn kill(&mut self, kill: Kill) {
        if !self.killing.insert(kill.id.clone()) {
            return;
        }
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        let grace = pod
            .by_name(&kill.name)
            .map_or(pod.grace(), |(_, spec)| stop::grace(&pod, spec, kill.probe));
        self.tasks.spawn(async move {
            stop::stop_container(&kubelet, &pod, &kill.id, &kill.name, &kill.message, grace).await;
            Outcome::Killed(kill.id)
        });
    }

    fn announce_wait(&mut self, wait: &plan::Wait) {
        let Some(spec) = self.pod.container(wait.at) else { return };
        let delay = self.backoff.delay(&backoff_key(spec));
        let place = format!("{}_{}({})", self.pod.name(), self.pod.namespace(), self.uid);
        let message = format!(
            "back-off {} restarting failed container={} pod={place}",
            go_seconds(delay),
            spec.name
        );
        self.waiting
            .insert(spec.name.clone(), Waiting { reason: "CrashLoopBackOff".into(), message });
        if self.announced.get(&spec.name) != Some(&wait.until) {
            self.announced.insert(spec.name.clone(), wait.until);
            let about = container_ref(&self.pod, wait.at, spec);
            let text = format!("Back-off restarting failed container {} in pod {place}", spec.name);
            self.kubelet.recorder.event(&about, EventType::Warning, "BackOff", text);
        }
    }

    fn start(&mut self, start: &plan::Start, volumes: Paths, now: Timestamp) {
        let Some(spec) = self.pod.container(start.at) else { return };
        // One of this name that still runs is being killed first.
        if self.observed.latest(&spec.name).is_some_and(|c| self.killing.contains(&c.id)) {
            return;
        }
        let Some(sandbox) = self.observed.sandbox().cloned() else { return };
        if let Some(event) = start.after {
            self.backoff.next(&backoff_key(spec), event, now);
        }
        let target = self.pod.target_of(start.at).and_then(|t| self.observed.latest(t));
        let start_task = Start {
            kubelet: Arc::clone(&self.kubelet),
            pod: Arc::clone(&self.pod),
            at: start.at,
            restart_count: start.restart_count,
            sandbox,
            volumes,
            target_id: target.map(|c| c.id.clone()),
            order: self.order,
            ending: self.ending.clone(),
        };
        let at = start.at;
        self.starting = Some(at);
        self.tasks.spawn(async move { Outcome::Start(at, start_task.run().await) });
    }

    /// Probes what runs, and no more what does not.
    fn watch_probes(&mut self) {
        for c in &self.observed.containers {
            let known = self.kubelet.prober.knows(&c.id);
            if c.state != State::Running {
                if known {
                    self.kubelet.prober.stop(&c.id);
                }
                continue;
            }
            let Some((at, spec)) = self.pod.by_name(&c.name).filter(|_| !known) else { continue };
            let mut spec = spec.clone();
            if at.kind == Kind::Ephemeral || at.kind == Kind::Init && !is_sidecar(&spec) {
                (spec.startup_probe, spec.liveness_probe, spec.readiness_probe) =
                    (None, None, None);
            }
            let list =
                if at.kind == Kind::Init { "initContainerStatuses" } else { "containerStatuses" };
            let old = self.status.get(list).and_then(Value::as_array).into_iter().flatten();
            let id = format!("{}://{}", self.kubelet.runtime_name, c.id);
            let old =
                old.into_iter().find(|s| s.get("containerID").and_then(Value::as_str) == Some(&id));
            let flag =
                |key: &str| old.and_then(|s| s.get(key)).and_then(Value::as_bool) == Some(true);
            let own = self.observed.sandbox().and_then(|s| s.ips.first());
            let ip = own.or_else(|| self.kubelet.host_ips.first()).cloned().unwrap_or_default();
            self.kubelet.prober.start(Subject {
                target: crate::probe::check::Target { id: c.id.clone(), ip },
                about: container_ref(&self.pod, at, &spec),
                age: age(self.kubelet.clock.now(), time(c.started_at)),
                was_ready: flag("ready"),
                was_started: flag("started"),
                changed: self.probes.0.clone(),
                spec,
            });
        }
    }

    /// Ends the pod's containers, once no start is under way.
    fn drive_end(&mut self, wake: &mut Vec<Instant>) {
        if self.making_sandbox || self.starting.is_some() || self.stopping {
            return;
        }
        let grace = if self.verdict.is_some() && !self.pod.is_deleting() {
            self.pod.grace().min(Duration::from_secs(30))
        } else {
            self.pod.grace()
        };
        // A deletion may shorten what is left, never lengthen it.
        if self.grace.is_some_and(|g| g <= grace) {
            return;
        }
        if !self.end.due() {
            wake.extend(self.end.at);
            return;
        }
        self.grace = Some(grace);
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        self.tasks
            .spawn(async move { Outcome::Ended(grace, stop::stop_pod(kubelet, pod, grace).await) });
    }

    /// Takes the pod's volumes and cgroup away.
    fn drive_clean(&mut self, wake: &mut Vec<Instant>) {
        if self.stopping || self.setting_up {
            return;
        }
        if !self.end.due() {
            wake.extend(self.end.at);
            return;
        }
        self.stopping = true;
        let (kubelet, uid) = (Arc::clone(&self.kubelet), self.uid.clone());
        self.tasks.spawn_blocking(move || {
            let result = kubelet.volumes.tear_down(&uid).map_err(|e| e.to_string());
            kubelet.cgroups.remove(&uid);
            Outcome::Clean(result)
        });
    }

    /// Removes what is left at the runtime.
    fn remove(&mut self) {
        self.life = Life::Removing;
        let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(&self.pod));
        let observed = self.observed.clone();
        self.tasks.spawn(async move {
            if let Some(dir) = &kubelet.config.runtime.container_logs {
                for c in &observed.containers {
                    let _ = std::fs::remove_file(dir.join(start::link_name(&pod, &c.name, &c.id)));
                }
            }
            let logs = kubelet.log_dir(&pod);
            Outcome::Removed(stop::remove_pod(&kubelet, Some(&logs), &observed).await)
        });
    }

    fn report(&mut self) {
        let prober = &self.kubelet.prober;
        let status = status::status(&status::Input {
            pod: &self.pod,
            observed: &self.observed,
            waiting: &self.waiting,
            readiness: &|id| prober.readiness(id),
            ended: self.ended,
            verdict: self.verdict.as_ref(),
            host_ips: &self.kubelet.host_ips,
            qos: Qos::of(&self.pod).as_str(),
            runtime: &self.kubelet.runtime_name,
            now: self.kubelet.clock.now(),
        });
        let delete = self.life == Life::Clean && self.pod.is_deleting() && !self.removed;
        if !self.removed && (status != self.status || delete) {
            self.kubelet.reporter.set(&self.pod, status.clone(), delete);
        }
        // What follows is made on top of what was just said: conditions keep their times.
        if status != self.status || !Arc::ptr_eq(&self.snapshot.lock().pod, &self.pod) {
            let mut pod = (*self.pod).clone();
            for (key, value) in &status {
                pod.status.insert(
                    key.clone(),
                    if key == "conditions" { merged(&pod.status, value) } else { value.clone() },
                );
            }
            self.pod = Arc::new(pod);
        }
        if status.get("phase").and_then(Value::as_str) == Some("Running")
            && let Some(seen) = self.seen.take()
        {
            crate::metrics::pod_started(seen.elapsed());
        }
        self.status = status;
        *self.snapshot.lock() = Snapshot {
            pod: Arc::clone(&self.pod),
            observed: self.observed.clone(),
            status: self.pod.status.clone(),
        };
    }
}

/// Our conditions among those of others.
fn merged(old: &Map<String, Value>, ours: &Value) -> Value {
    let own =
        |kind: Option<&Value>| ours.as_array().into_iter().flatten().any(|c| c.get("type") == kind);
    let others = old.get("conditions").and_then(Value::as_array).into_iter().flatten();
    let others = others.filter(|c| !own(c.get("type"))).cloned();
    ours.as_array().into_iter().flatten().cloned().chain(others).collect()
}

/// As Go prints a duration: `10s`, `2m40s`.
fn go_seconds(d: Duration) -> String {
    let s = d.as_secs();
    if s < 60 { format!("{s}s") } else { format!("{}m{}s", s / 60, s % 60) }
}

/// The runtime handler of the pod's runtime class.
async fn runtime_handler(kubelet: &Kubelet, pod: &PodView) -> Result<String, String> {
    let Some(name) = pod.spec.runtime_class_name.as_deref().filter(|n| !n.is_empty()) else {
        return Ok(String::new());
    };
    let get =
        kubelet.client.get::<api::object::Object>(&api::resource::RUNTIME_CLASSES, "", name).await;
    let object = get.map_err(|e| format!("failed to get sandbox runtime: {e}"))?;
    Ok(object.text("handler").unwrap_or("").to_owned())
}
