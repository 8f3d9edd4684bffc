//! A node as the scheduler sees it: what it offers, what runs on it, what is taken.
//!
//! Not here: the set of nodes (`cache`).

use std::collections::HashMap;
use std::sync::Arc;

use api::Entry;
use serde::Deserialize;

use crate::pod::{HostPort, Pod, Taint};
use crate::resources::{ResourceList, Resources};

/// A node with the pods assigned to it, those assumed included.
#[derive(Clone, Debug)]
pub struct Node {
    /// The committed object; labels and name are on its card.
    pub entry: Arc<Entry>,
    /// `spec.taints`.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// Image names with their sizes in bytes.
    pub images: HashMap<String, i64>,
    /// Pods that hold resources here.
    pub pods: Vec<Arc<Pod>>,
    /// What they reserve.
    pub requested: Resources,
    /// The same as scoring counts it.
    pub scored: Resources,
    /// Host ports taken.
    pub ports: Vec<HostPort>,
    /// How many of the pods have any pod affinity.
    pub with_affinity: usize,
    /// How many of the pods have required anti-affinity.
    pub with_anti: usize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawSpec {
    taints: Vec<Taint>,
    unschedulable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStatus {
    allocatable: ResourceList,
    images: Vec<RawImage>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawImage {
    names: Vec<String>,
    size_bytes: i64,
}

impl Node {
    /// Reads an entry; no pods yet.
    pub fn read(entry: Arc<Entry>) -> Result<Self, serde_json::Error> {
        let Raw { spec, status } = entry.decode()?;
        let images = status
            .images
            .into_iter()
            .flat_map(|i| i.names.into_iter().map(move |n| (n, i.size_bytes)))
            .collect();
        Ok(Self {
            entry,
            taints: spec.taints,
            unschedulable: spec.unschedulable,
            allocatable: status.allocatable.resources(),
            images,
            pods: Vec::new(),
            requested: Resources::default(),
            scored: Resources::default(),
            ports: Vec::new(),
            with_affinity: 0,
            with_anti: 0,
        })
    }

    /// The node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.entry.card.name
    }

    /// Takes over the pods of an older reading of the same node.
    pub fn adopt(&mut self, old: Node) {
        self.pods = old.pods;
        self.requested = old.requested;
        self.scored = old.scored;
        self.ports = old.ports;
        self.with_affinity = old.with_affinity;
        self.with_anti = old.with_anti;
    }

    /// Counts a pod in.
    pub fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.requests);
        self.scored.add(&pod.scored);
        self.ports.extend(pod.ports.iter().cloned());
        self.with_affinity += usize::from(!pod.affinity.is_empty());
        self.with_anti += usize::from(!pod.affinity.anti.is_empty());
        self.pods.push(pod);
    }

    /// Counts a pod out; `None` where it is not here.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|p| *p.entry.card.uid == *uid)?;
        let pod = self.pods.swap_remove(at);
        self.requested.sub(&pod.requests);
        self.scored.sub(&pod.scored);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        self.with_affinity -= usize::from(!pod.affinity.is_empty());
        self.with_anti -= usize::from(!pod.affinity.anti.is_empty());
        Some(pod)
    }
}
