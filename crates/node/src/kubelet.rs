//! What every part of the kubelet shares, and the table of its pods.
//!
//! Not here: deciding or doing anything about a pod (its worker's).

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::object::Object;
use client::{Client, Informer, ObjectRef, Recorder};
use k8s_openapi::api::core::v1::{Container, Service};
use parking_lot::{Mutex, RwLock};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};

use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::cri::Cri;
use crate::eviction::Pressure;
use crate::gate::Gate;
use crate::images::Images;
use crate::machine::{Amounts, Machine};
use crate::objects::Objects;
use crate::pod::config::env::service_variables;
use crate::pod::config::fields::Facts;
use crate::pod::observed::Observed;
use crate::pod::status::Waiting;
use crate::pod::view::{ContainerRef, Kind, PodView};
use crate::probe::Prober;
use crate::report::Reporter;
use crate::volumes::Volumes;

/// What a pod's worker is told.
#[derive(Debug)]
pub enum Message {
    /// The pod as the API server has it now.
    Update(Box<PodView>),
    /// The API server has it no more.
    Removed,
    /// Something of it changed at the runtime.
    Changed(String),
    /// An object that its volumes show changed.
    Objects,
    /// It is to end, as failed, for this reason.
    Evict(Waiting),
    /// Look at the runtime again: events may have been missed.
    Relist,
}

/// The latest of a pod, for the kubelet's own server.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The pod.
    pub pod: Arc<PodView>,
    /// What the runtime has of it.
    pub observed: Observed,
    /// The status last made.
    pub status: Map<String, Value>,
}

/// A pod's worker from outside.
#[derive(Clone)]
pub struct Handle {
    /// Its mailbox.
    pub mailbox: mpsc::UnboundedSender<Message>,
    /// Its latest.
    pub snapshot: Arc<Mutex<Snapshot>>,
}

/// What the container runtime said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeHealth {
    /// Why it is not ready; `None` where it is.
    pub runtime: Option<String>,
    /// Why its network is not ready.
    pub network: Option<String>,
}

/// Everything shared.
pub struct Kubelet {
    /// The configuration.
    pub config: Config,
    /// The API.
    pub client: Client,
    /// The time.
    pub clock: Clock,
    /// Random numbers.
    pub rng: Rng,
    /// Events.
    pub recorder: Recorder,
    /// The runtime.
    pub cri: Cri,
    /// Its name, as in `containerd`.
    pub runtime_name: String,
    /// Its version.
    pub runtime_version: String,
    /// What this machine has.
    pub machine: Machine,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// Cgroups of pods.
    pub cgroups: Cgroups,
    /// ConfigMaps and secrets in use.
    pub objects: Arc<Objects>,
    /// Volumes.
    pub volumes: Volumes,
    /// Images.
    pub images: Images,
    /// Probes.
    pub prober: Prober,
    /// Statuses.
    pub reporter: Reporter,
    /// Starts.
    pub gate: Gate,
    /// Services, for environments.
    pub services: Arc<Informer>,
    /// What the runtime says of itself.
    pub health: watch::Receiver<RuntimeHealth>,
    /// What the node is short of.
    pub pressure: Mutex<Pressure>,
    /// When images were first seen and last in use.
    pub image_ages: Mutex<crate::garbage::Ages>,
    /// Workers by uid.
    pub pods: RwLock<HashMap<String, Handle>>,
    /// Which pod a sandbox or container belongs to.
    pub owners: Mutex<HashMap<String, String>>,
}

/// A pod as events refer to it.
pub fn pod_ref(pod: &PodView) -> ObjectRef {
    ObjectRef {
        kind: "Pod".into(),
        api_version: "v1".into(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        resource_version: pod.pod.metadata.resource_version.clone().unwrap_or_default(),
        ..ObjectRef::default()
    }
}

/// A container as events refer to it.
pub fn container_ref(pod: &PodView, at: ContainerRef, container: &Container) -> ObjectRef {
    let list = match at.kind {
        Kind::Init => "initContainers",
        Kind::Regular => "containers",
        Kind::Ephemeral => "ephemeralContainers",
    };
    pod_ref(pod).field(format!("spec.{list}{{{}}}", container.name))
}

impl Kubelet {
    /// A pod's log directory.
    pub fn log_dir(&self, pod: &PodView) -> PathBuf {
        let name = format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid());
        self.config.runtime.pod_logs.join(name)
    }

    /// A pod's directory.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.volumes.pod_dir(uid)
    }

    /// Remembers whose a sandbox or container is.
    pub fn own(&self, id: &str, uid: &str) {
        self.owners.lock().insert(id.to_owned(), uid.to_owned());
    }

    /// Sends a message to a pod's worker.
    pub fn tell(&self, uid: &str, message: Message) {
        if let Some(handle) = self.pods.read().get(uid) {
            let _ = handle.mailbox.send(message);
        }
    }

    /// What pods may use of the machine.
    pub fn allocatable(&self) -> Amounts {
        self.machine.allocatable(&self.config.limits.eviction_hard)
    }

    /// What the downward API shows of the node and a pod.
    pub fn facts(&self, pod: &PodView, pod_ips: &[String]) -> Facts {
        let allocatable = self.allocatable();
        Facts {
            node_name: self.config.node_name.clone(),
            host_ips: self.host_ips.clone(),
            pod_ips: if pod.host_network() { self.host_ips.clone() } else { pod_ips.to_vec() },
            allocatable: [allocatable.cpu_milli, allocatable.memory, allocatable.storage],
        }
    }

    /// Variables of the services that a pod is told of: its namespace's, and the API server's.
    pub fn service_env(&self, pod: &PodView) -> BTreeMap<String, String> {
        let read = |entry: Arc<api::entry::Entry>| entry.decode::<Service>().ok();
        let api = self.services.get("default", "kubernetes").and_then(read);
        let mut out = BTreeMap::new();
        if pod.spec.enable_service_links != Some(false) {
            let own: Vec<Service> =
                self.services.list_ns(pod.namespace()).into_iter().filter_map(read).collect();
            out.extend(service_variables(&own));
        }
        if let Some(api) = api {
            out.extend(service_variables(&[api]));
        }
        out
    }

    /// The snapshots of all pods.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.pods.read().values().map(|h| h.snapshot.lock().clone()).collect()
    }

    /// The snapshot of a pod by name.
    pub fn find(&self, namespace: &str, name: &str) -> Option<Snapshot> {
        let pods = self.pods.read();
        let mut found = pods
            .values()
            .map(|h| h.snapshot.lock().clone())
            .filter(|s| s.pod.namespace() == namespace && s.pod.name() == name)
            .collect::<Vec<_>>();
        // While one is ending, its successor is the one meant.
        found.sort_by_key(|s| (!s.pod.is_deleting(), s.pod.created()));
        found.pop()
    }
}

impl Snapshot {
    /// The pod as an object, with its status.
    pub fn object(&self) -> Option<Object> {
        let mut pod = self.pod.pod.clone();
        pod.spec = Some(self.pod.spec.clone());
        let mut object = Object::from_typed(&pod)?;
        object.0.insert("status".into(), Value::Object(self.status.clone()));
        Some(object)
    }
}
