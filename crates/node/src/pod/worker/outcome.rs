//! What becomes of a pod's worker when one of its tasks comes back. Not here: what starts them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{AGREE, Life, OVERHAUL, Outcome, Retry, Worker};
use crate::pod::observed::{Container, Sandbox, State};
use crate::pod::start::{self, StartError};
use crate::pod::view::ContainerRef;
use crate::volumes::Volumes;
use crate::volumes::token::until;

/// The pauses of [`AGREE`], in their order.
fn agree() -> impl Iterator<Item = u64> {
    let (first, (last, times)) = AGREE;
    first.into_iter().chain(std::iter::repeat_n(last, times))
}

impl Worker {
    /// Asks the runtime about a container, or a sandbox, that is said to have changed.
    pub(super) fn look(&mut self, id: String) {
        let kubelet = Arc::clone(&self.kubelet);
        if self.observed.sandboxes.iter().any(|s| s.id == id) {
            self.tasks.spawn(async move {
                // The sandbox's process has ended before the runtime says so.
                for pause in agree() {
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
            for pause in agree() {
                match start::look(&kubelet, &id).await {
                    Ok(c) if c.state == State::Exited => return Outcome::Look(id, Some(c)),
                    // Not even started, as it says, where the end came that fast.
                    Ok(c) => found = Some(c),
                    Err(e) if e.is_not_found() => return Outcome::Look(id, None),
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Outcome::Look(id, found)
        });
    }

    pub(super) fn outcome(&mut self, outcome: Result<Outcome, tokio::task::JoinError>) {
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
                        // What changed while they were set up is looked at again at once.
                        self.overhaul = self.overhaul.or_else(|| self.next_overhaul());
                    }
                    Err(error) => {
                        tracing::warn!(pod = %self.pod.key(), %error, "volumes are not ready");
                        self.set_up.failed();
                        self.overhaul = Some(Instant::now());
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
            Outcome::Observed(found) => match found {
                // It may know nothing yet of what is being made.
                Some(_) if self.busy() => self.relist = true,
                Some(found) => self.observed.replace(found),
                None => {}
            },
        }
    }

    pub(super) fn started(&mut self, at: ContainerRef, result: Result<Container, StartError>) {
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
                self.observe();
            }
        }
    }

    pub(super) fn next_overhaul(&self) -> Option<Instant> {
        if !Volumes::changes(&self.pod) {
            return None;
        }
        let jitter = self.kubelet.rng.jittered(OVERHAUL, 0.2);
        let renew = self.kubelet.volumes.tokens.renew_at(&self.uid);
        let renew = renew.map(|at| until(self.kubelet.clock.now(), at) + Duration::from_secs(1));
        Some(Instant::now() + renew.map_or(jitter, |r| r.min(jitter)))
    }
}
