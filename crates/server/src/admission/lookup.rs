//! What plugins look up in the watch cache, and helpers that they share.

use std::sync::Arc;

use api::{ApiError, Entry, Map, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;
use store::Store;

use crate::gate::Write;

/// Reads the watch cache.
#[derive(Clone)]
pub struct Lookup(Store);

impl Lookup {
    /// Of a store.
    pub fn new(store: &Store) -> Self {
        Self(store.clone())
    }

    /// The store itself.
    pub fn store(&self) -> &Store {
        &self.0
    }

    /// One object.
    pub fn entry(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.0.resource(&resource.qualified()).get(namespace, name)
    }

    /// One object, read.
    pub fn object(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Object> {
        self.entry(resource, namespace, name)?.object().ok()
    }

    /// All objects of a resource, in a namespace where one is given, read.
    pub fn all(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Object> {
        let list = self.0.resource(&resource.qualified()).list(namespace);
        list.iter().filter_map(|entry| entry.object().ok()).collect()
    }

    /// All objects of a resource, in a namespace where one is given.
    pub fn entries(&self, resource: &Resource, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        self.0.resource(&resource.qualified()).list(namespace).to_vec()
    }

    /// How many objects of a resource there are.
    pub fn count(&self, resource: &Resource) -> usize {
        self.0.resource(&resource.qualified()).len()
    }

    /// The classes that an annotation marks as the default, newest first.
    pub fn default_class(&self, resource: &Resource, annotations: &[&str]) -> Option<String> {
        if self.count(resource) == 0 {
            return None;
        }
        let marked = |o: &Object| annotations.iter().any(|a| o.annotation(a) == Some("true"));
        let classes = self.all(resource, None).into_iter().filter(marked);
        // The newest; of equally old ones the first by name.
        let newest = classes.min_by(|a, b| {
            let newer = b.creation_timestamp().cmp(a.creation_timestamp());
            newer.then_with(|| a.name().cmp(b.name()))
        });
        newest.map(|class| class.name().to_owned())
    }
}

/// `pods "p" is forbidden: …`, about a write.
pub fn forbidden(write: &Write<'_>, why: &str) -> ApiError {
    let mut name = write.name;
    if name.is_empty() {
        name = write.object.as_ref().map_or("", Object::name);
    }
    ApiError::forbidden(&write.resource.group, &write.resource.plural, name, why)
}

/// A plugin's answer that needs no waiting.
pub fn done<'a>(result: Result<(), ApiError>) -> BoxFuture<'a, Result<(), ApiError>> {
    Box::pin(std::future::ready(result))
}

/// Whether a resource is the one given, version apart.
pub fn is(resource: &Resource, wanted: &Resource) -> bool {
    resource.group == wanted.group && resource.plural == wanted.plural
}

/// Whether a write is about the pods themselves.
pub fn is_pod(resource: &Resource, subresource: &str) -> bool {
    subresource.is_empty() && is(resource, &resource::PODS)
}

/// Whether a pod mirrors a static pod of a kubelet.
pub fn is_mirror(pod: &Object) -> bool {
    pod.annotation("kubernetes.io/config.mirror").is_some()
}

/// The maps of a list.
pub fn maps(value: Option<&Value>) -> impl Iterator<Item = &Map<String, Value>> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object)
}

/// The list under a key of a map, made if it is missing.
pub fn list_mut<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let slot = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if !slot.is_array() {
        *slot = Value::Array(Vec::new());
    }
    match slot {
        Value::Array(list) => list,
        _ => unreachable!("made a list above"),
    }
}

/// Text under a key.
pub fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or("")
}

/// The lists of a pod spec that hold containers.
pub const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
