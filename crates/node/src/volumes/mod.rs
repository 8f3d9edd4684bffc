//! Volumes of pods on the node's disk: made before the first container, kept up to date, taken away
//! after the last.
//!
//! Not here: which container mounts which where ([`crate::pod::worker`]).

pub mod atomic;
pub mod local;
pub mod payload;
pub mod subpath;
pub mod token;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use api::clock::Clock;
use api::resource::{PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES};
use client::Client;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Volume};

use self::payload::Source;
use self::token::Tokens;
use crate::objects::Objects;
use crate::pod::config::fields::Facts;
use crate::pod::view::PodView;

/// Why a volume is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct SetUpError {
    /// Its name in the pod.
    pub volume: String,
    /// Why.
    pub message: String,
}

/// Makes volumes.
pub struct Volumes {
    /// `<kubelet root>/pods`.
    pods: PathBuf,
    objects: std::sync::Arc<Objects>,
    /// Service account tokens.
    pub tokens: Tokens,
    client: Client,
    clock: Clock,
}

/// Paths of a pod's volumes by name.
pub type Paths = HashMap<String, PathBuf>;

impl Volumes {
    /// For pods below `pods`.
    pub fn new(
        pods: PathBuf,
        objects: std::sync::Arc<Objects>,
        tokens: Tokens,
        client: Client,
        clock: Clock,
    ) -> Self {
        Self { pods, objects, tokens, client, clock }
    }

    /// A pod's directory.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods.join(uid)
    }

    fn volume_dir(&self, uid: &str, plugin: &str, name: &str) -> PathBuf {
        self.pod_dir(uid).join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
    }

    /// Makes or updates every volume of a pod.
    pub async fn set_up(&self, pod: &PodView, facts: &Facts) -> Result<Paths, SetUpError> {
        let mut paths = Paths::new();
        for volume in pod.spec.volumes.iter().flatten() {
            let path = self
                .one(pod, facts, volume)
                .await
                .map_err(|message| SetUpError { volume: volume.name.clone(), message })?;
            if let Some(path) = path {
                paths.insert(volume.name.clone(), path);
            }
        }
        Ok(paths)
    }

    /// Whether a volume of the pod may change while it runs.
    pub fn changes(pod: &PodView) -> bool {
        pod.spec.volumes.iter().flatten().any(|v| {
            v.config_map.is_some()
                || v.secret.is_some()
                || v.projected.is_some()
                || v.downward_api.is_some()
        })
    }

    async fn one(
        &self,
        pod: &PodView,
        facts: &Facts,
        volume: &Volume,
    ) -> Result<Option<PathBuf>, String> {
        let uid = pod.uid();
        let context = pod.spec.security_context.as_ref();
        let group = context.and_then(|c| c.fs_group).and_then(|g| u32::try_from(g).ok());
        let text = |e: std::io::Error| e.to_string();
        if let Some(source) = &volume.empty_dir {
            let dir = self.volume_dir(uid, "empty-dir", &volume.name);
            if !dir.exists() || source.medium.as_deref() == Some("Memory") {
                let fresh = !dir.exists();
                local::empty_dir(&dir, source, None).map_err(text)?;
                if let Some(group) = group.filter(|_| fresh) {
                    local::give_to_group(&dir, group, false).map_err(text)?;
                }
            }
            return Ok(Some(dir));
        }
        if let Some(source) = &volume.host_path {
            local::host_path(source)?;
            return Ok(Some(PathBuf::from(&source.path)));
        }
        let plugin = match volume {
            v if v.config_map.is_some() => "configmap",
            v if v.secret.is_some() => "secret",
            v if v.downward_api.is_some() => "downward-api",
            v if v.projected.is_some() => "projected",
            _ => return self.claimed(pod, volume, group).await.map(Some),
        };
        let lookup = self.objects.of_pod(uid, pod.namespace());
        let source = Source { pod, facts, lookup: &lookup, tokens: &self.tokens };
        let payload = source.payload(volume).await?.unwrap_or_default();
        let dir = self.volume_dir(uid, plugin, &volume.name);
        if plugin == "secret" || plugin == "projected" {
            // Secrets stay off the disk.
            local::tmpfs(&dir, None).map_err(text)?;
        } else {
            std::fs::create_dir_all(&dir).map_err(text)?;
        }
        let version = self.clock.now().strftime("%Y_%m_%d_%H_%M_%S.%9f").to_string();
        atomic::write(&dir, &payload, &version, group).map_err(text)?;
        Ok(Some(dir))
    }

    /// A volume that a claim stands for: directories of the node. Other kinds need a driver.
    async fn claimed(
        &self,
        pod: &PodView,
        volume: &Volume,
        group: Option<u32>,
    ) -> Result<PathBuf, String> {
        let claim = if let Some(source) = &volume.persistent_volume_claim {
            source.claim_name.clone()
        } else if volume.ephemeral.is_some() {
            format!("{}-{}", pod.name(), volume.name)
        } else {
            return Err("this kind of volume is not supported".into());
        };
        let object: PersistentVolumeClaim = self
            .client
            .get(&PERSISTENT_VOLUME_CLAIMS, pod.namespace(), &claim)
            .await
            .map_err(|e| e.to_string())?;
        let name = object.spec.and_then(|s| s.volume_name).filter(|n| !n.is_empty());
        let name = name.ok_or_else(|| format!("persistentvolumeclaim {claim:?} is not bound"))?;
        let object: PersistentVolume =
            self.client.get(&PERSISTENT_VOLUMES, "", &name).await.map_err(|e| e.to_string())?;
        let spec = object.spec.unwrap_or_default();
        if let Some(source) = &spec.host_path {
            local::host_path(source)?;
            return Ok(PathBuf::from(&source.path));
        }
        if let Some(source) = &spec.local {
            let path = PathBuf::from(&source.path);
            if !path.exists() {
                return Err(format!("path {:?} does not exist", source.path));
            }
            if let Some(group) = group {
                local::give_to_group(&path, group, true).map_err(|e| e.to_string())?;
            }
            return Ok(path);
        }
        Err(format!(
            "persistentvolume {name:?} needs a volume driver, which this node does not have"
        ))
    }

    /// Takes a pod's directory away, with everything mounted below it.
    pub fn tear_down(&self, uid: &str) -> std::io::Result<()> {
        remove_pod_dir(&self.pod_dir(uid))?;
        self.tokens.forget(uid);
        self.objects.release(uid);
        Ok(())
    }

    /// The uids of pods that have a directory.
    pub fn on_disk(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.pods).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().into_string().ok()).collect()
    }
}

fn remove_pod_dir(dir: &Path) -> std::io::Result<()> {
    local::unmount_below(dir);
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
