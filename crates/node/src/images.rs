//! Images of containers: present or pulled, by policy, with back-off per pod and image.
//!
//! Not here: their garbage collection ([`crate::garbage`]).

use std::collections::HashMap;
use std::sync::Arc;

use api::clock::Clock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{EventType, ObjectRef, Recorder};
use k8s_openapi::api::core::v1::Container;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::cri::{AuthConfig, Cri, Image, ImageSpec, PodSandboxConfig, PullImageRequest};
use crate::objects::Objects;
use crate::pod::backoff::Backoff;
use crate::pod::status::Waiting;
use crate::pod::view::PodView;
use crate::reference;

/// Pulls at the same time.
const PARALLEL: usize = 3;

/// Brings images.
pub struct Images {
    cri: Cri,
    clock: Clock,
    recorder: Recorder,
    objects: Arc<Objects>,
    pulls: Semaphore,
    backoff: Mutex<Failures>,
}

#[derive(Default)]
struct Failures {
    delays: Backoff,
    messages: HashMap<String, String>,
}

fn waiting(reason: &str, message: String) -> Waiting {
    Waiting { reason: reason.to_owned(), message }
}

impl Images {
    /// Images of a runtime.
    pub fn new(cri: Cri, clock: Clock, recorder: Recorder, objects: Arc<Objects>) -> Self {
        Self {
            cri,
            clock,
            recorder,
            objects,
            pulls: Semaphore::new(PARALLEL),
            backoff: Mutex::default(),
        }
    }

    /// Makes sure that a container's image is present and answers it; else why it is not.
    pub async fn ensure(
        &self,
        pod: &PodView,
        container: &Container,
        about: &ObjectRef,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, Waiting> {
        let given = container.image.as_deref().unwrap_or("");
        let warn = |reason: &str, text: &str| {
            self.recorder.event(about, EventType::Warning, reason, text.to_owned());
        };
        let name = match reference::with_tag(given) {
            Ok(name) => name,
            Err(why) => {
                let text = format!(
                    "Failed to apply default image tag {given:?}: couldn't parse image name {given:?}: {why}"
                );
                warn("InspectFailed", &text);
                return Err(waiting("InvalidImageName", text));
            }
        };
        let found = self.cri.image(&name).await;
        let present = found.map_err(|e| waiting("ImageInspectError", e.message()))?;
        let policy = container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        match (policy, present) {
            ("Never", None) => {
                let text =
                    format!("Container image {given:?} is not present with pull policy of Never");
                warn("ErrImageNeverPull", &text);
                return Err(waiting("ErrImageNeverPull", text));
            }
            ("Never" | "IfNotPresent", Some(image)) => {
                let text = format!(
                    "Container image {given:?} already present on machine and can be accessed by the pod"
                );
                self.recorder.event(about, EventType::Normal, "Pulled", text);
                return Ok(image);
            }
            _ => {}
        }
        let key = format!("{}_{given}", pod.uid());
        let refused = {
            let failures = self.backoff.lock();
            let waits = failures.delays.since_update(&key, self.clock.now());
            waits.then(|| failures.messages.get(&key).cloned().unwrap_or_default())
        };
        if let Some(last) = refused {
            let text = format!("Back-off pulling image {given:?}");
            self.recorder.event(about, EventType::Normal, "BackOff", text.clone());
            return Err(waiting("ImagePullBackOff", format!("{text}: {last}")));
        }
        self.pull(pod, (given, &name), &key, about, sandbox).await
    }

    async fn pull(
        &self,
        pod: &PodView,
        (given, name): (&str, &str),
        key: &str,
        about: &ObjectRef,
        sandbox: &PodSandboxConfig,
    ) -> Result<Image, Waiting> {
        let asked = tokio::time::Instant::now();
        self.recorder.event(
            about,
            EventType::Normal,
            "Pulling",
            format!("Pulling image {given:?}"),
        );
        let _permit = self.pulls.acquire().await;
        let begun = tokio::time::Instant::now();
        let mut error = None;
        for auth in self.credentials(pod, name).await {
            let spec = ImageSpec { image: name.to_owned(), ..Default::default() };
            let request =
                PullImageRequest { image: Some(spec), auth, sandbox_config: Some(sandbox.clone()) };
            match self.cri.pull_image(request).await {
                Ok(answer) => {
                    error = None;
                    if let Ok(Some(image)) = self.cri.image(&answer.image_ref).await {
                        let text = format!(
                            "Successfully pulled image {given:?} in {} ({} including waiting). Image size: {} bytes.",
                            seconds(begun.elapsed()),
                            seconds(asked.elapsed()),
                            image.size
                        );
                        self.recorder.event(about, EventType::Normal, "Pulled", text);
                        return Ok(image);
                    }
                }
                Err(e) => error = Some(e.to_string()),
            }
        }
        let error = error.unwrap_or_else(|| "the image is not there after the pull".to_owned());
        let text = format!("Failed to pull image {given:?}: {error}");
        self.recorder.event(about, EventType::Warning, "Failed", text.clone());
        let now = self.clock.now();
        let mut failures = self.backoff.lock();
        failures.delays.next(key, now, now);
        failures.messages.insert(key.to_owned(), format!("ErrImagePull: {error}"));
        Err(waiting("ErrImagePull", error))
    }

    /// The credentials to try, in order: those of the pod's pull secrets for the image's registry;
    /// none if there are none.
    async fn credentials(&self, pod: &PodView, image: &str) -> Vec<Option<AuthConfig>> {
        let mut found = Vec::new();
        let secrets = self.objects.of_pod(pod.uid(), pod.namespace());
        for reference in pod.spec.image_pull_secrets.iter().flatten() {
            let Ok(Some(secret)) = secrets.typed_secret(&reference.name).await else {
                let text = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                let about = crate::kubelet::pod_ref(pod);
                self.recorder.event(
                    &about,
                    EventType::Warning,
                    "FailedToRetrieveImagePullSecret",
                    text,
                );
                continue;
            };
            let data = secret.data.unwrap_or_default();
            let json = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg"));
            let Some(json) = json.and_then(|d| serde_json::from_slice::<Value>(&d.0).ok()) else {
                continue;
            };
            let auths = json.get("auths").unwrap_or(&json).as_object().cloned().unwrap_or_default();
            for (registry, entry) in auths {
                if registry_fits(&registry, image) {
                    found.extend(auth(&entry).map(Some));
                }
            }
        }
        if found.is_empty() { vec![None] } else { found }
    }

    /// Forgets old failures.
    pub fn sweep(&self) {
        let now = self.clock.now();
        let mut failures = self.backoff.lock();
        failures.delays.sweep(now);
        let kept: HashMap<String, String> = std::mem::take(&mut failures.messages)
            .into_iter()
            .filter(|(key, _)| failures.delays.has(key))
            .collect();
        failures.messages = kept;
    }
}

fn seconds(d: std::time::Duration) -> String {
    if d.as_secs() == 0 {
        format!("{}ms", d.as_millis())
    } else {
        format!("{:.3}s", d.as_secs_f64())
    }
}

/// Whether credentials for `registry` (host, maybe with a path) are for this image.
fn registry_fits(registry: &str, image: &str) -> bool {
    let registry = registry.trim_start_matches("https://").trim_start_matches("http://");
    let registry = registry.trim_end_matches('/');
    let first = image.split('/').next().unwrap_or("");
    let named = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let full = if named { image.to_owned() } else { format!("docker.io/{image}") };
    let hub = ["index.docker.io/v1", "index.docker.io", "docker.io", "registry-1.docker.io"];
    if hub.contains(&registry) {
        return full.starts_with("docker.io/");
    }
    let Some(rest) = full.strip_prefix(registry) else { return false };
    rest.starts_with('/') || rest.is_empty()
}

/// Credentials of an entry. The runtime is told no server: it knows whom it asks, and containerd takes
/// `host:port` for a URL that it cannot read.
fn auth(entry: &Value) -> Option<AuthConfig> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty()
        && let Ok(plain) = STANDARD.decode(text("auth"))
    {
        let plain = String::from_utf8(plain).ok()?;
        let (user, pass) = plain.split_once(':')?;
        (username, password) = (user.to_owned(), pass.to_owned());
    }
    let identity_token = text("identitytoken");
    if username.is_empty() && identity_token.is_empty() {
        return None;
    }
    Some(AuthConfig { username, password, identity_token, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries() {
        for (registry, image, fits) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("index.docker.io/v1/", "quay.io/x/y", false),
            ("quay.io", "quay.io/x/y:1", true),
            ("quay.io/x", "quay.io/x/y:1", true),
            ("quay.io/z", "quay.io/x/y:1", false),
            ("reg:5000", "reg:5000/a", true),
            ("reg", "reg:5000/a", false),
        ] {
            assert_eq!(registry_fits(registry, image), fits, "{registry} {image}");
        }
        let entry = serde_json::json!({ "auth": STANDARD.encode("u:p:q") });
        let a = auth(&entry).expect("credentials");
        assert_eq!((a.username.as_str(), a.password.as_str()), ("u", "p:q"));
    }
}
