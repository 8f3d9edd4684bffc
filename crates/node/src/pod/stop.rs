//! Stopping containers and whole pods: hooks, grace periods, order.
//!
//! Not here: deciding that something is to stop.

use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Container as Spec;

use super::observed::{Container, Observed, Sandbox, State, keys};
use super::plan::FailedProbe;
use super::start::look;
use super::view::{ContainerRef, Kind, PodView, is_sidecar};
use crate::cri::{ContainerFilter, PodSandboxFilter};
use crate::hooks;
use crate::kubelet::{Kubelet, container_ref};

/// What a container gets at least after its hook, as it needs a moment to notice the signal.
const LEAST: Duration = Duration::from_secs(2);

/// The grace period of a container: the pod's, or that of the probe that condemned it.
pub fn grace(pod: &PodView, spec: &Spec, probe: Option<FailedProbe>) -> Duration {
    if pod.is_deleting() {
        return pod.grace();
    }
    let probe = match probe {
        Some(FailedProbe::Startup) => spec.startup_probe.as_ref(),
        Some(FailedProbe::Liveness) => spec.liveness_probe.as_ref(),
        None => None,
    };
    let own = probe.and_then(|p| p.termination_grace_period_seconds);
    own.map_or_else(|| pod.grace(), |s| Duration::from_secs(u64::try_from(s).unwrap_or(0)))
}

/// Stops a container: its hook, the stop signal, after the grace period SIGKILL.
pub async fn stop_container(
    kubelet: &Kubelet,
    pod: &PodView,
    id: &str,
    name: &str,
    message: &str,
    grace: Duration,
) {
    let mut left = grace;
    let spec = pod.by_name(name);
    kubelet.prober.ending(id);
    if let Some((at, spec)) = spec {
        let about = container_ref(pod, at, spec);
        kubelet.recorder.event(&about, EventType::Normal, "Killing", message);
        let hook = spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook.filter(|_| !grace.is_zero()) {
            let begun = tokio::time::Instant::now();
            let ip = ip(kubelet, pod);
            let run = hooks::run(&kubelet.cri, hook, spec, id, &ip, grace);
            match tokio::time::timeout(grace, run).await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => {
                    tracing::warn!(pod = %pod.key(), container = name, why, "the preStop hook failed");
                    kubelet.recorder.event(
                        &about,
                        EventType::Warning,
                        "FailedPreStopHook",
                        "PreStopHook failed",
                    );
                }
                Err(_) => {
                    tracing::warn!(pod = %pod.key(), container = name, "the preStop hook did not end in time")
                }
            }
            left = grace.saturating_sub(begun.elapsed()).max(LEAST);
        }
    }
    if let Err(error) = kubelet.cri.stop_container(id, left).await {
        tracing::warn!(pod = %pod.key(), container = name, %error, "a container cannot be stopped");
    }
}

fn ip(kubelet: &Kubelet, pod: &PodView) -> String {
    let known = kubelet.pods.read().get(pod.uid()).map(|h| h.snapshot.lock().observed.clone());
    let own = known.and_then(|o| o.sandbox().and_then(|s| s.ips.first().cloned()));
    own.or_else(|| kubelet.host_ips.first().cloned()).unwrap_or_default()
}

/// Everything that the runtime has of a pod, newly asked for.
pub async fn observe(kubelet: &Kubelet, uid: &str) -> Result<Observed, crate::cri::CriError> {
    let labels: std::collections::HashMap<String, String> =
        [(keys::POD_UID.to_owned(), uid.to_owned())].into();
    let filter = PodSandboxFilter { label_selector: labels.clone(), ..Default::default() };
    let sandboxes = kubelet.cri.list_pod_sandboxes(Some(filter)).await?;
    let filter = ContainerFilter { label_selector: labels, ..Default::default() };
    let containers = kubelet.cri.list_containers(Some(filter)).await?;
    let mut observed = Observed::default();
    for sandbox in sandboxes {
        kubelet.own(&sandbox.id, uid);
        match kubelet.cri.sandbox(&sandbox.id).await {
            Ok(status) => observed.put_sandbox(Sandbox::of(&status)),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    for container in containers {
        kubelet.own(&container.id, uid);
        match look(kubelet, &container.id).await {
            Ok(container) => observed.put_container(container),
            Err(e) if e.is_not_found() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(observed)
}

/// Stops everything of a pod: the containers at once, sidecars after them in reverse order, then the
/// sandboxes. Answers what is left, nothing of it running.
pub async fn stop_pod(
    kubelet: Arc<Kubelet>,
    pod: Arc<PodView>,
    grace: Duration,
) -> Result<Observed, String> {
    let observed = observe(&kubelet, pod.uid()).await.map_err(|e| e.to_string())?;
    let running = |c: &&Container| matches!(c.state, State::Running | State::Unknown);
    let sidecar = |c: &Container| -> Option<usize> {
        match pod.by_name(&c.name) {
            Some((ContainerRef { kind: Kind::Init, index }, spec)) if is_sidecar(spec) => {
                Some(index)
            }
            _ => None,
        }
    };
    let begun = tokio::time::Instant::now();
    let stop = |c: &Container, grace: Duration| {
        let (id, name) = (c.id.clone(), c.name.clone());
        let (kubelet, pod) = (Arc::clone(&kubelet), Arc::clone(&pod));
        async move {
            let message = format!("Stopping container {name}");
            stop_container(&kubelet, &pod, &id, &name, &message, grace).await;
        }
    };
    let first = observed.containers.iter().filter(running).filter(|c| sidecar(c).is_none());
    join_all(first.map(|c| stop(c, grace))).await;
    let mut sidecars: Vec<(usize, &Container)> =
        observed.containers.iter().filter(running).filter_map(|c| Some((sidecar(c)?, c))).collect();
    sidecars.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
    for (_, c) in sidecars {
        let left =
            if grace.is_zero() { grace } else { grace.saturating_sub(begun.elapsed()).max(LEAST) };
        stop(c, left).await;
    }
    for sandbox in &observed.sandboxes {
        kubelet.cri.stop_sandbox(&sandbox.id).await.map_err(|e| e.to_string())?;
    }
    let mut after = observe(&kubelet, pod.uid()).await.map_err(|e| e.to_string())?;
    for c in &after.containers {
        kubelet.prober.stop(&c.id);
    }
    if after.anything_runs() {
        return Err("containers still run".to_owned());
    }
    // The addresses are needed for the last status.
    for sandbox in &mut after.sandboxes {
        if let Some(before) = observed.sandboxes.iter().find(|s| s.id == sandbox.id)
            && sandbox.ips.is_empty()
        {
            sandbox.ips.clone_from(&before.ips);
        }
    }
    Ok(after)
}

/// Removes what is left of a stopped pod: containers, sandboxes, logs, directories, cgroups.
pub async fn remove_pod(
    kubelet: &Kubelet,
    logs: Option<&std::path::Path>,
    observed: &Observed,
) -> Result<(), String> {
    for c in &observed.containers {
        kubelet.cri.delete_container(&c.id).await.map_err(|e| e.to_string())?;
        kubelet.owners.lock().remove(&c.id);
    }
    for s in &observed.sandboxes {
        kubelet.cri.remove_sandbox(&s.id).await.map_err(|e| e.to_string())?;
        kubelet.owners.lock().remove(&s.id);
    }
    if let Some(dir) = logs {
        let _ = std::fs::remove_dir_all(dir);
    }
    Ok(())
}
