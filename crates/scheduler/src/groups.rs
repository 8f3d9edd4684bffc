//! What pods belong together, for the built-in spreading: selectors of services and of workload
//! owners (upstream's `helper.DefaultSelector`).
//!
//! Not here: spreading itself (`cycle`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::Entry;
use api::selector::{LabelSelector, LabelSelectorSpec, Op, Requirement};
use serde::Deserialize;

use crate::pod::Pod;

/// Selectors, kept by events.
#[derive(Debug, Default)]
pub struct Groups {
    services: HashMap<Arc<str>, BTreeMap<Arc<str>, LabelSelector>>,
    owners: HashMap<Box<str>, LabelSelector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Service {
    spec: ServiceSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServiceSpec {
    selector: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Owner {
    spec: OwnerSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OwnerSpec {
    selector: LabelSelectorSpec,
}

fn of_map(map: BTreeMap<String, String>) -> LabelSelector {
    let requirement = |(key, value)| Requirement { key, op: Op::In([value].into()) };
    LabelSelector(map.into_iter().map(requirement).collect())
}

impl Groups {
    /// Records a service, or that it is gone.
    pub fn set_service(&mut self, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>) {
        let Some(card) = new.or(old).map(|e| &e.card) else { return };
        let selector = new
            .and_then(|e| e.decode::<Service>().ok())
            .map(|s| s.spec.selector)
            .filter(|s| !s.is_empty());
        let of_namespace = self.services.entry(card.namespace.clone()).or_default();
        match selector {
            Some(selector) => of_namespace.insert(card.name.clone(), of_map(selector)),
            None => of_namespace.remove(&card.name),
        };
        if of_namespace.is_empty() {
            self.services.remove(&card.namespace);
        }
    }

    /// Records a ReplicaSet, StatefulSet or the like, or that it is gone.
    pub fn set_owner(&mut self, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>) {
        match new {
            Some(entry) => {
                let selector =
                    entry.decode::<Owner>().ok().and_then(|o| o.spec.selector.selector().ok());
                if let Some(selector) = selector {
                    self.owners.insert(entry.card.uid.clone(), selector);
                }
            }
            None => {
                if let Some(entry) = old {
                    self.owners.remove(&entry.card.uid);
                }
            }
        }
    }

    /// The selectors of what a pod belongs to.
    pub fn of(&self, pod: &Pod) -> Vec<LabelSelector> {
        let card = &pod.entry.card;
        let services = self.services.get(&card.namespace).into_iter().flat_map(BTreeMap::values);
        let owner = card.controller.as_ref().and_then(|uid| self.owners.get(&**uid));
        services.filter(|s| s.matches(card)).chain(owner).cloned().collect()
    }
}
