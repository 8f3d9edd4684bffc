//! Making a pod's sandbox and starting its containers: the calls, in order, with their events.
//!
//! Each function does one thing once and says how it failed. Not here: deciding (`plan`), or trying
//! again (`worker`).

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use k8s_openapi::api::core::v1::Container as Spec;
use tokio_util::sync::CancellationToken;

use super::config::expand::expand;
use super::config::resources::Qos;
use super::config::{container, env, files, sandbox, security};
use super::observed::{Container, Sandbox, State};
use super::status::Waiting;
use super::view::{ContainerRef, PodView};
use crate::cri;
use crate::hooks;
use crate::kubelet::{Kubelet, container_ref, pod_ref};
use crate::volumes::{Paths, subpath};

/// Why a container did not start: what its status says meanwhile.
pub type StartError = Waiting;

fn error(reason: &str, message: impl Into<String>) -> StartError {
    Waiting { reason: reason.to_owned(), message: message.into() }
}

/// Makes the pod's directories, cgroup and volumes.
pub async fn set_up(kubelet: &Kubelet, pod: &PodView, ips: &[String]) -> Result<Paths, String> {
    kubelet.cgroups.ensure(pod).map_err(|e| {
        format!(
            "failed to ensure that the pod: {} cgroups exist and are correctly applied: {e}",
            pod.uid()
        )
    })?;
    let dir = kubelet.pod_dir(pod.uid());
    for part in ["volumes", "containers"] {
        let dir = dir.join(part);
        std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    }
    let facts = kubelet.facts(pod, ips);
    kubelet.volumes.set_up(pod, &facts).await.map_err(|e| {
        kubelet.recorder.event(&pod_ref(pod), EventType::Warning, "FailedMount", e.to_string());
        e.to_string()
    })
}

/// The sandbox's configuration.
pub fn sandbox_config(kubelet: &Kubelet, pod: &PodView, attempt: u32) -> cri::PodSandboxConfig {
    let config = &kubelet.config;
    let node = std::fs::read_to_string(&config.cluster.resolv_conf).unwrap_or_default();
    let dns = files::dns(
        pod,
        &files::parse_resolv_conf(&node),
        &config.cluster.dns,
        &config.cluster.domain,
    );
    let place = sandbox::Place {
        log_dir: &kubelet.log_dir(pod),
        cgroup_parent: &kubelet.cgroups.pod_path(pod.uid(), Qos::of(pod)),
        dns,
        seccomp_dir: &seccomp_dir(kubelet),
        confined: config.runtime.endpoint.is_none(),
    };
    sandbox::sandbox(pod, attempt, &place, &config.cluster.domain)
}

fn seccomp_dir(kubelet: &Kubelet) -> String {
    kubelet.config.kubelet_dir().join("seccomp").display().to_string()
}

/// Makes the sandbox.
pub async fn make_sandbox(
    kubelet: Arc<Kubelet>,
    pod: Arc<PodView>,
    attempt: u32,
    order: u64,
    handler: String,
) -> Result<Sandbox, String> {
    if !pod.host_network()
        && let Some(why) = kubelet.health.borrow().network.clone()
    {
        return Err(format!("network is not ready: {why}"));
    }
    let logs = kubelet.log_dir(&pod);
    std::fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    let config = sandbox_config(&kubelet, &pod, attempt);
    let _permit = kubelet.gate.pass(order).await;
    let made = async {
        let id = kubelet.cri.run_sandbox(config, &handler).await?;
        kubelet.own(&id, pod.uid());
        kubelet.cri.sandbox(&id).await
    };
    match made.await {
        Ok(status) => Ok(Sandbox::of(&status)),
        Err(e) => {
            let text = format!("Failed to create pod sandbox: {e}");
            kubelet.recorder.event(
                &pod_ref(&pod),
                EventType::Warning,
                "FailedCreatePodSandBox",
                text,
            );
            Err(e.message())
        }
    }
}

/// What a start needs to know.
pub struct Start {
    /// Shared.
    pub kubelet: Arc<Kubelet>,
    /// The pod.
    pub pod: Arc<PodView>,
    /// Which container.
    pub at: ContainerRef,
    /// How often it was started before.
    pub restart_count: i32,
    /// The sandbox.
    pub sandbox: Sandbox,
    /// The pod's volumes.
    pub volumes: Paths,
    /// The container whose processes it is to see.
    pub target_id: Option<String>,
    /// The pod's age among all pods.
    pub order: u64,
    /// Cancelled when the pod is to end: gives up pulls and hooks.
    pub ending: CancellationToken,
}

impl Start {
    /// Brings the image, makes the container, starts it, runs its hook.
    pub async fn run(self) -> Result<Container, StartError> {
        let kubelet = &self.kubelet;
        let pod = &self.pod;
        let spec = pod
            .container(self.at)
            .ok_or_else(|| error("CreateContainerError", "no such container"))?;
        let about = container_ref(pod, self.at, spec);
        let warn = |text: &str| {
            kubelet.recorder.event(&about, EventType::Warning, "Failed", format!("Error: {text}"));
        };
        let sandbox_config = sandbox_config(kubelet, pod, self.sandbox.attempt);
        let image = tokio::select! {
            image = kubelet.images.ensure(pod, spec, &about, &sandbox_config) => image,
            () = self.ending.cancelled() => return Err(error("ContainerCreating", "")),
        };
        let image = image.inspect_err(|w| warn(&w.reason))?;
        if let Err(text) = security::check_non_root(pod, spec, &image) {
            warn(&text);
            return Err(error("CreateContainerConfigError", text));
        }
        let config = match self.config(spec, &image).await {
            Ok(config) => config,
            Err(text) => {
                warn(&text);
                return Err(error("CreateContainerConfigError", text));
            }
        };
        let id = {
            let _permit = kubelet.gate.pass(self.order).await;
            let request = cri::CreateContainerRequest {
                pod_sandbox_id: self.sandbox.id.clone(),
                config: Some(config),
                sandbox_config: Some(sandbox_config),
            };
            let id = match kubelet.cri.create_container(request).await {
                Ok(answer) => answer.container_id,
                Err(e) => {
                    warn(&e.message());
                    return Err(error("CreateContainerError", e.message()));
                }
            };
            kubelet.own(&id, pod.uid());
            kubelet.recorder.event(&about, EventType::Normal, "Created", "Container created");
            let request = cri::StartContainerRequest { container_id: id.clone() };
            if let Err(e) = kubelet.cri.start_container(request).await {
                warn(&e.message());
                return Err(error("RunContainerError", e.message()));
            }
            kubelet.recorder.event(&about, EventType::Normal, "Started", "Container started");
            id
        };
        self.link_log(spec, &id);
        self.post_start(spec, &id, &about).await?;
        match kubelet.cri.container(&id).await {
            Ok(status) => Ok(Container::of(&status)),
            Err(e) => Err(error("RunContainerError", e.message())),
        }
    }

    async fn post_start(
        &self,
        spec: &Spec,
        id: &str,
        about: &client::ObjectRef,
    ) -> Result<(), StartError> {
        let Some(hook) = spec.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let ip =
            self.sandbox.ips.first().or(self.kubelet.host_ips.first()).cloned().unwrap_or_default();
        let forever = Duration::from_secs(365 * 24 * 3600);
        let run = hooks::run(&self.kubelet.cri, hook, spec, id, &ip, forever);
        let result = tokio::select! {
            result = run => result,
            () = self.ending.cancelled() => return Ok(()),
        };
        let Err(why) = result else { return Ok(()) };
        tracing::warn!(pod = %self.pod.key(), container = %spec.name, why, "the postStart hook failed");
        self.kubelet.recorder.event(
            about,
            EventType::Warning,
            "FailedPostStartHook",
            "PostStartHook failed",
        );
        let killing = format!("Container {} failed PostStartHook", spec.name);
        self.kubelet.recorder.event(about, EventType::Normal, "Killing", killing);
        let grace = self.pod.grace();
        if let Err(error) = self.kubelet.cri.stop_container(id, grace).await {
            tracing::warn!(pod = %self.pod.key(), %error, "a container whose hook failed cannot be stopped");
        }
        Err(error("PostStartHookError", why))
    }

    async fn config(
        &self,
        spec: &Spec,
        image: &cri::Image,
    ) -> Result<cri::ContainerConfig, String> {
        let (kubelet, pod) = (&self.kubelet, &self.pod);
        let facts = kubelet.facts(pod, &self.sandbox.ips);
        let services = kubelet.service_env(pod);
        let lookup = kubelet.objects.of_pod(pod.uid(), pod.namespace());
        let env = env::variables(pod, spec, &facts, &services, &lookup).await?;
        let mounts = self.mounts(spec, &env)?;
        let place = container::Place {
            restart_count: self.restart_count,
            image_ref: &image.id,
            env: &env,
            mounts,
            target_id: self.target_id.as_deref(),
            memory_capacity: kubelet.machine.capacity.memory,
            cgroup_v2: kubelet.cgroups.v2(),
            seccomp_dir: &seccomp_dir(kubelet),
        };
        let log = kubelet.log_dir(pod).join(&spec.name);
        std::fs::create_dir_all(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let mut config = container::container(pod, spec, place);
        if let Some(linux) = config.linux.as_mut()
            && let Some(resources) = linux.resources.as_mut()
            && !crate::containerd::has_sys_resource()
        {
            // The kernel refuses to go below our own; a container must not fail to start for it.
            let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
            resources.oom_score_adj = resources.oom_score_adj.max(own.trim().parse().unwrap_or(0));
        }
        Ok(config)
    }

    fn mounts(
        &self,
        spec: &Spec,
        env: &std::collections::BTreeMap<String, String>,
    ) -> Result<Vec<cri::Mount>, String> {
        let dir = self.kubelet.pod_dir(self.pod.uid());
        let mut mounts = Vec::new();
        for (index, m) in spec.volume_mounts.iter().flatten().enumerate() {
            let volume = self.volumes.get(&m.name).ok_or_else(|| {
                format!("cannot find volume {:?} to mount into container {:?}", m.name, spec.name)
            })?;
            let sub = match m.sub_path_expr.as_deref().filter(|s| !s.is_empty()) {
                Some(text) => {
                    Some(expand(text, |name| env.get(name).map(|v| Cow::Borrowed(v.as_str()))))
                }
                None => m.sub_path.clone().filter(|s| !s.is_empty()),
            };
            let host = match sub {
                Some(sub) => {
                    let target = dir
                        .join("volume-subpaths")
                        .join(&m.name)
                        .join(&spec.name)
                        .join(index.to_string());
                    subpath::pin(volume, &sub, &target).map_err(|e| {
                        format!(
                            "failed to prepare subPath for volumeMount {:?} of container {:?}: {e}",
                            m.name, spec.name
                        )
                    })?
                }
                None => volume.clone(),
            };
            let propagation = match m.mount_propagation.as_deref() {
                Some("HostToContainer") => cri::MountPropagation::HostToContainer,
                Some("Bidirectional") => cri::MountPropagation::Bidirectional,
                _ => cri::MountPropagation::Private,
            };
            let path = if m.mount_path.starts_with('/') {
                m.mount_path.clone()
            } else {
                format!("/{}", m.mount_path)
            };
            mounts.push(mount(path, &host, m.read_only == Some(true), propagation));
        }
        let taken = |path: &str, mounts: &[cri::Mount]| {
            mounts.iter().any(|m| m.container_path.trim_end_matches('/') == path)
        };
        if !taken("/etc/hosts", &mounts) {
            let path = dir.join("etc-hosts");
            self.write_hosts(&path)?;
            mounts.push(mount("/etc/hosts".into(), &path, false, cri::MountPropagation::Private));
        }
        let message = spec.termination_message_path.as_deref().unwrap_or("");
        if !message.is_empty() && !taken(message, &mounts) {
            let at = dir.join("containers").join(&spec.name);
            std::fs::create_dir_all(&at).map_err(|e| format!("{}: {e}", at.display()))?;
            let file = at.join(format!("{:08x}", self.kubelet.rng.next_u64() & 0xffff_ffff));
            write_file(&file, b"", 0o666)?;
            mounts.push(mount(message.to_owned(), &file, false, cri::MountPropagation::Private));
        }
        Ok(mounts)
    }

    fn write_hosts(&self, path: &Path) -> Result<(), String> {
        let node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let ips = &self.sandbox.ips;
        let text = files::hosts(&self.pod, ips, &self.kubelet.config.cluster.domain, &node);
        if std::fs::read_to_string(path).is_ok_and(|t| t == text) {
            return Ok(());
        }
        write_file(path, text.as_bytes(), 0o644)
    }

    /// A link that names the pod, for programs that gather logs.
    fn link_log(&self, spec: &Spec, id: &str) {
        let Some(dir) = &self.kubelet.config.runtime.container_logs else { return };
        let log = self
            .kubelet
            .log_dir(&self.pod)
            .join(container::log_path(&spec.name, self.restart_count));
        let link = dir.join(link_name(&self.pod, &spec.name, id));
        let _ = std::fs::create_dir_all(dir);
        if let Err(error) = std::os::unix::fs::symlink(&log, &link) {
            tracing::debug!(link = %link.display(), %error, "a log cannot be linked");
        }
    }
}

/// The name of the link to a container's log.
pub fn link_name(pod: &PodView, container: &str, id: &str) -> PathBuf {
    let stem = format!("{}_{}_{container}", pod.name(), pod.namespace());
    let stem = stem.get(..251 - id.len().min(200)).unwrap_or(&stem);
    format!("{stem}-{id}.log").into()
}

fn mount(
    path: String,
    host: &Path,
    readonly: bool,
    propagation: cri::MountPropagation,
) -> cri::Mount {
    cri::Mount {
        container_path: path,
        host_path: host.display().to_string(),
        readonly,
        propagation: propagation as i32,
        ..Default::default()
    }
}

fn write_file(path: &Path, data: &[u8], mode: u32) -> Result<(), String> {
    std::fs::write(path, data)
        .and_then(|()| {
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        })
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// How much of a container's last words is kept.
const MESSAGE_LIMIT: usize = 4096;
/// How much of a log stands in for them.
const LOG_LIMIT: usize = 2048;
/// How many of its lines.
const LOG_LINES: usize = 80;

/// A container's state with its last words where it has ended.
pub async fn look(kubelet: &Kubelet, id: &str) -> Result<Container, cri::CriError> {
    let status = kubelet.cri.container(id).await?;
    let mut c = Container::of(&status);
    if c.state == State::Exited {
        let file = std::fs::read(&c.message_file).unwrap_or_default();
        let end = &file[file.len().saturating_sub(MESSAGE_LIMIT)..];
        let mut message = String::from_utf8_lossy(end).into_owned();
        if message.is_empty() && c.message_policy == "FallbackToLogsOnError" && c.exit_code != 0 {
            message = crate::logs::tail(Path::new(&c.log_path), LOG_LINES, LOG_LIMIT);
        }
        if !message.is_empty() {
            c.message = message;
        }
    }
    Ok(c)
}
