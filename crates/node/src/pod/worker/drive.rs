//! Bringing a pod that is to run nearer to that: volumes, sandbox, containers, probes. Not here: what
//! the next step is (`plan`), ending (`end`).

use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{Findings, Outcome, Worker};
use crate::kubelet::{Kubelet, container_ref, pod_ref};
use crate::pod::observed::{State, time};
use crate::pod::plan::{self, Kill, backoff_key};
use crate::pod::start::{self, Start};
use crate::pod::status::Waiting;
use crate::pod::stop;
use crate::pod::view::{Kind, PodView, is_sidecar};
use crate::probe::{Subject, age};
use crate::volumes::Paths;
use crate::volumes::token::until;

impl Worker {
    /// Brings a pod that is to run nearer to that.
    pub(super) fn drive(&mut self, wake: &mut Vec<Instant>) {
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
        wake.extend(self.overhaul.filter(|_| !self.setting_up && !overhaul));
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
        // The one that is being started waits no more: its delay is that of the next time.
        let starting = self.starting;
        for wait in plan.wait.iter().filter(|w| starting != Some(w.at)) {
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
        self.overhaul = None;
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

    pub(super) fn kill(&mut self, kill: Kill) {
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

    pub(super) fn start(&mut self, start: &plan::Start, volumes: Paths, now: Timestamp) {
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
    pub(super) fn watch_probes(&mut self) {
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
