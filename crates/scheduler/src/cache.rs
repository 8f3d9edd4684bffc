//! The scheduler's picture of the cluster: nodes with their pods, namespaces, services that spread.
//!
//! Owned by the one scheduling task, so it needs no locks. Not here: pending pods (`queue`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Entry;
use api::selector::LabelSelector;

use crate::node::Node;
use crate::pod::Pod;

/// Namespaces by name, for selectors over their labels.
#[derive(Debug, Default)]
pub struct Namespaces(HashMap<Arc<str>, Arc<Entry>>);

impl Namespaces {
    /// Records a namespace, or that it is gone.
    pub fn set(&mut self, name: &Arc<str>, entry: Option<Arc<Entry>>) {
        match entry {
            Some(entry) => self.0.insert(name.clone(), entry),
            None => self.0.remove(name),
        };
    }

    /// Whether a namespace's labels match; one that is not known has no labels.
    pub fn matches(&self, name: &str, selector: &LabelSelector) -> bool {
        match self.0.get(name) {
            Some(entry) => selector.matches(&entry.card),
            None => selector.matches_with(|_| None),
        }
    }
}

/// Nodes and assigned pods.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: Vec<Node>,
    index: HashMap<Arc<str>, usize>,
    /// Pods on nodes that are not known (yet, or any more), by node name.
    strays: BTreeMap<String, Vec<Arc<Pod>>>,
    /// Where each assigned or assumed pod is, by uid.
    places: HashMap<Box<str>, String>,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Pods that room is being made for, by uid, with the node.
    nominated: HashMap<Box<str>, (String, Arc<Pod>)>,
    /// How many nodes have an image, by name.
    pub images: HashMap<String, usize>,
}

impl Cache {
    /// All nodes, in no particular but a stable order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.index.get(name).map(|i| &self.nodes[*i])
    }

    /// Adds or updates a node; its pods stay.
    pub fn set_node(&mut self, mut node: Node) {
        for image in node.images.keys() {
            *self.images.entry(image.clone()).or_default() += 1;
        }
        if let Some(&at) = self.index.get(node.name()) {
            let old = std::mem::replace(&mut self.nodes[at], node.clone());
            self.forget_images(&old);
            node.adopt(old);
            self.nodes[at] = node;
        } else {
            for pod in self.strays.remove(&**node.name()).unwrap_or_default() {
                node.add(pod);
            }
            self.index.insert(node.name().clone(), self.nodes.len());
            self.nodes.push(node);
        }
    }

    /// Removes a node; its pods are remembered until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else { return };
        let node = self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.name().clone(), at);
        }
        self.forget_images(&node);
        if !node.pods.is_empty() {
            self.strays.entry(name.to_owned()).or_default().extend(node.pods);
        }
    }

    fn forget_images(&mut self, node: &Node) {
        for image in node.images.keys() {
            if let Some(count) = self.images.get_mut(image) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(image);
                }
            }
        }
    }

    /// Whether a pod is assigned or assumed.
    pub fn holds(&self, uid: &str) -> bool {
        self.places.contains_key(uid)
    }

    /// Reserves a node for a pod that others are being ended for.
    pub fn nominate(&mut self, pod: Arc<Pod>, node: &str) {
        self.nominated.insert(pod.entry.card.uid.clone(), (node.to_owned(), pod));
    }

    /// Ends a reservation.
    pub fn withdraw(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// A node as a pod may count on it: with the pods that it is reserved for, where they are at least
    /// as important. `None` where that changes nothing.
    pub fn reserved(&self, node: &Node, pod: &Pod) -> Option<Node> {
        let mut changed: Option<Node> = None;
        for (on, other) in self.nominated.values() {
            let counts =
                other.priority >= pod.priority && other.entry.card.uid != pod.entry.card.uid;
            if counts && **node.name() == **on {
                changed.get_or_insert_with(|| node.clone()).add(other.clone());
            }
        }
        changed
    }

    /// Puts a pod on a node: assigned as the API server says, or assumed before it does. A pod that
    /// was elsewhere moves.
    pub fn place(&mut self, pod: Arc<Pod>, node: &str) {
        self.remove_pod(&pod.entry.card.uid);
        self.withdraw(&pod.entry.card.uid);
        self.places.insert(pod.entry.card.uid.clone(), node.to_owned());
        match self.index.get(node) {
            Some(&at) => self.nodes[at].add(pod),
            None => self.strays.entry(node.to_owned()).or_default().push(pod),
        }
    }

    /// Takes a pod off its node; `None` where it was on none.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let node = self.places.remove(uid)?;
        if let Some(&at) = self.index.get(node.as_str()) {
            return self.nodes[at].remove(uid);
        }
        let strays = self.strays.get_mut(&node)?;
        let at = strays.iter().position(|p| *p.entry.card.uid == *uid)?;
        let pod = strays.swap_remove(at);
        if strays.is_empty() {
            self.strays.remove(&node);
        }
        Some(pod)
    }
}
