//! What is to be done about a pod: a pure function of its spec, what the runtime has, what the
//! probes say, and the time.
//!
//! It is asked again after every change, so it names next steps, not whole journeys. Not here:
//! doing any of it (`worker`), ending a pod that is being deleted (`worker`: everything is stopped).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container as Spec;

use super::backoff::Backoff;
use super::observed::{Container, Observed, State, time};
use super::view::{ContainerRef, Kind, PodView, RestartPolicy, is_sidecar, restarts_after};

/// What a probe says of a running container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// The startup probe: passed, failed, or not known yet. Without such a probe, passed.
    pub startup: Option<bool>,
    /// Whether the liveness probe failed for good.
    pub liveness_failed: bool,
}

/// The probes' findings, by container id.
pub trait Probes {
    /// Of one container.
    fn health(&self, id: &str) -> Health;
}

/// What a plan is made of.
pub struct Input<'a> {
    /// The pod.
    pub pod: &'a PodView,
    /// What the runtime has.
    pub observed: &'a Observed,
    /// What the probes say.
    pub probes: &'a dyn Probes,
    /// Back-off of crashing containers, by [`backoff_key`].
    pub backoff: &'a Backoff,
    /// Now.
    pub now: Timestamp,
}

/// A container to be stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Why, for the event.
    pub message: String,
    /// Which probe failed, if one did: it may shorten the grace period.
    pub probe: Option<FailedProbe>,
}

/// The probe that condemned a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedProbe {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
}

/// A container to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Which.
    pub at: ContainerRef,
    /// How often it was started before.
    pub restart_count: i32,
    /// When the last one of it ended: a restart, counted by the back-off.
    pub after: Option<Timestamp>,
}

/// A container that has to wait before it is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Which.
    pub at: ContainerRef,
    /// Until when.
    pub until: Timestamp,
}

/// The next steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Nothing of the pod will run again.
    pub finished: bool,
    /// Stop everything, the sandbox included: it is unusable.
    pub stop_pod: bool,
    /// Make a sandbox of this attempt (after stopping).
    pub create_sandbox: Option<u32>,
    /// Stop these.
    pub kill: Vec<Kill>,
    /// Start these, one after another.
    pub start: Vec<Start>,
    /// These would be started but for their back-off.
    pub wait: Vec<Wait>,
}

/// The key of a container's back-off.
pub fn backoff_key(container: &Spec) -> String {
    format!("{}/{}", container.name, hash(container))
}

/// What makes a running container another one: its name and its image.
pub fn hash(container: &Spec) -> String {
    let mut hash = 0x811c_9dc5_u32;
    let image = container.image.as_deref().unwrap_or("");
    for byte in container.name.bytes().chain([0]).chain(image.bytes()) {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    format!("{hash:x}")
}

/// Plans the next steps of a pod that is to run.
pub fn plan(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    if sandbox(input, &mut plan) {
        return plan;
    }
    for (index, c) in input.pod.containers(Kind::Ephemeral).iter().enumerate() {
        if input.observed.latest(&c.name).is_none() {
            start(input, &mut plan, ContainerRef { kind: Kind::Ephemeral, index }, c);
        }
    }
    if !init(input, &mut plan) {
        return plan;
    }
    regular(input, &mut plan);
    plan
}

/// Plans the sandbox. True where that is all there is to plan for now.
fn sandbox(input: &Input<'_>, plan: &mut Plan) -> bool {
    let attempt = match input.observed.sandbox() {
        None => 0,
        Some(s) => {
            let ready = input.observed.sandboxes.iter().filter(|s| s.ready).count();
            let network_fits =
                s.host_network == input.pod.host_network() && (s.host_network || !s.ips.is_empty());
            if s.ready && ready == 1 && network_fits {
                return false;
            }
            s.attempt + 1
        }
    };
    plan.stop_pod =
        input.observed.sandboxes.iter().any(|s| s.ready) || input.observed.anything_runs();
    let policy = input.pod.restart_policy();
    let started_before = !input.observed.containers.is_empty();
    // Whether any container would run in a new sandbox.
    let mut pending = input.pod.containers(Kind::Regular).iter().filter(|c| {
        let Some(last) = input.observed.latest(&c.name) else {
            return true;
        };
        match last.state {
            State::Exited => restarts_after(policy, c, last.exit_code),
            State::Created => true,
            // It ran in the sandbox that is gone, so it ends with an error.
            State::Running | State::Unknown => restarts_after(policy, c, 137),
        }
    });
    let anything = pending.next().is_some();
    let over = attempt > 0 && started_before && policy == RestartPolicy::Never && !anything;
    if anything && !over {
        plan.create_sandbox = Some(attempt);
    } else {
        plan.finished = true;
    }
    true
}

/// Adds a start, or the wait before it.
fn start(input: &Input<'_>, plan: &mut Plan, at: ContainerRef, c: &Spec) {
    let last = input.observed.latest(&c.name);
    let ended = last.filter(|l| l.state == State::Exited).and_then(|l| time(l.finished_at));
    if let Some(event) = ended
        && let Some(until) = input.backoff.until(&backoff_key(c), event, input.now)
    {
        plan.wait.push(Wait { at, until });
        return;
    }
    let restart_count = last.map_or(0, |l| l.restart_count + 1);
    plan.start.push(Start { at, restart_count, after: ended });
}

fn kill(plan: &mut Plan, container: &Container, message: String, probe: Option<FailedProbe>) {
    let kill = Kill { id: container.id.clone(), name: container.name.clone(), message, probe };
    plan.kill.push(kill);
}

/// Plans the init containers, from the last one back: the newest that has run says where the pod
/// is. True where the regular containers may run.
fn init(input: &Input<'_>, plan: &mut Plan) -> bool {
    let list = input.pod.containers(Kind::Init);
    if list.is_empty() {
        return true;
    }
    let initialized_before = input
        .pod
        .containers(Kind::Regular)
        .iter()
        .any(|c| input.observed.latest(&c.name).is_some());
    let mut initialized = initialized_before;
    let mut found = false;
    let mut starts = Vec::new();
    for (index, c) in list.iter().enumerate().rev() {
        let sidecar = is_sidecar(c);
        let Some(last) = input.observed.latest(&c.name) else {
            if initialized_before && sidecar {
                starts.push(index);
            }
            continue;
        };
        found = true;
        if initialized_before && !sidecar {
            // Nobody asks for a finished initialization again.
            continue;
        }
        match last.state {
            State::Created => starts.push(index),
            State::Running if sidecar => {
                let health = input.probes.health(&last.id);
                let has_startup = c.startup_probe.is_some();
                match (has_startup, health.startup) {
                    (true, None) => {}
                    (true, Some(false)) => {
                        let message = format!("Init container {} failed startup probe", c.name);
                        kill(plan, last, message, Some(FailedProbe::Startup));
                        starts.push(index);
                    }
                    _ => {
                        if !initialized_before {
                            if index + 1 == list.len() {
                                initialized = true;
                            } else {
                                starts.push(index + 1);
                            }
                        }
                        if health.liveness_failed {
                            let message =
                                format!("Init container {} failed liveness probe", c.name);
                            kill(plan, last, message, Some(FailedProbe::Liveness));
                            starts.push(index);
                        }
                    }
                }
            }
            State::Running => {}
            State::Exited if sidecar => starts.push(index),
            State::Exited if last.failed() => {
                if restarts_after(init_policy(input.pod.restart_policy()), c, last.exit_code) {
                    starts.push(index);
                } else {
                    plan.finished = true;
                    plan.start.clear();
                    return false;
                }
            }
            State::Exited if index + 1 == list.len() => initialized = true,
            State::Exited => starts.push(index + 1),
            State::Unknown => {
                let message = format!("Init container {} is in an unknown state", c.name);
                kill(plan, last, message, None);
                starts.push(index);
            }
        }
        if !initialized_before {
            break;
        }
    }
    if !found && !initialized_before {
        starts.push(0);
    }
    starts.sort_unstable();
    for index in starts {
        start(input, plan, ContainerRef { kind: Kind::Init, index }, &list[index]);
    }
    initialized
}

/// For init containers, `Always` means until they succeed.
fn init_policy(policy: RestartPolicy) -> RestartPolicy {
    if policy == RestartPolicy::Always { RestartPolicy::OnFailure } else { policy }
}

fn regular(input: &Input<'_>, plan: &mut Plan) {
    let policy = input.pod.restart_policy();
    let mut kept = 0;
    let waits_before = plan.wait.len();
    let starts_before = plan.start.len();
    for (index, c) in input.pod.containers(Kind::Regular).iter().enumerate() {
        let at = ContainerRef { kind: Kind::Regular, index };
        let Some(last) = input.observed.latest(&c.name) else {
            start(input, plan, at, c);
            continue;
        };
        match last.state {
            State::Created => start(input, plan, at, c),
            State::Exited if restarts_after(policy, c, last.exit_code) => start(input, plan, at, c),
            State::Exited => {}
            State::Unknown => {
                let message = format!("Container {} is in an unknown state", c.name);
                kill(plan, last, message, None);
                start(input, plan, at, c);
            }
            State::Running => {
                let health = input.probes.health(&last.id);
                let changed = !last.hash.is_empty() && last.hash != hash(c);
                let (why, probe) = if changed {
                    (format!("Container {} definition changed, will be restarted", c.name), None)
                } else if health.liveness_failed {
                    let why =
                        format!("Container {} failed liveness probe, will be restarted", c.name);
                    (why, Some(FailedProbe::Liveness))
                } else if health.startup == Some(false) {
                    let why =
                        format!("Container {} failed startup probe, will be restarted", c.name);
                    (why, Some(FailedProbe::Startup))
                } else {
                    kept += 1;
                    continue;
                };
                // It ends by the stop signal: with an error.
                let again = changed || restarts_after(policy, c, 137);
                let why = if again { why } else { why.replace(", will be restarted", "") };
                kill(plan, last, why, probe);
                // The start follows once it has ended, as for any that has.
                kept += 1;
            }
        }
    }
    if kept == 0 && plan.start.len() == starts_before && plan.wait.len() == waits_before {
        plan.finished = true;
        // Sidecars end with the pod; nothing of it starts any more.
        plan.start.retain(|s| s.at.kind == Kind::Ephemeral);
        plan.kill.clear();
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
