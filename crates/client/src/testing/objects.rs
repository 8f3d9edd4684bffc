//! Objects of the in-memory server, with their history.
//!
//! Not here: watches, faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::clock::{Clock, Rng};
use api::{ApiError, Entry, Object, Resource, Value, kinds};
use bytes::Bytes;
use http::{Method, Request};
use serde_json::json;

use super::route::Route;

/// An object with its entry.
#[derive(Clone)]
pub(super) struct Stored {
    pub object: Arc<Object>,
    pub entry: Arc<Entry>,
}

/// One write.
pub(super) struct Change {
    revision: u64,
    resource: String,
    namespace: String,
    pub old: Option<Stored>,
    pub new: Option<Stored>,
    /// The final state, with the revision of this write.
    pub last: Stored,
}

type Key = (String, String, String);

pub(super) struct Objects {
    clock: Clock,
    rng: Rng,
    revision: u64,
    compacted: u64,
    objects: BTreeMap<Key, Stored>,
    history: Vec<Change>,
}

fn key(resource: &Resource, namespace: &str, name: &str) -> Key {
    (resource.qualified(), namespace.to_owned(), name.to_owned())
}

fn stored(resource: &Resource, object: Object, revision: u64) -> Stored {
    let card = match kinds::find(&resource.group, &resource.version, &resource.plural) {
        Some(kind) => kind.card(&object),
        None => api::Card::of(&object, &[]),
    };
    let json = Bytes::from(serde_json::to_vec(&object).unwrap_or_default());
    Stored { entry: Arc::new(Entry { revision, json, card }), object: Arc::new(object) }
}

impl Objects {
    pub fn new(clock: Clock, rng: Rng) -> Self {
        Self {
            clock,
            rng,
            revision: 1,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
        }
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    pub fn compacted(&self) -> u64 {
        self.compacted
    }

    pub fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
    }

    pub fn get(&self, resource: &Resource, ns: &str, name: &str) -> Result<&Stored, ApiError> {
        let missing = || ApiError::not_found(&resource.group, &resource.plural, name);
        self.objects.get(&key(resource, ns, name)).ok_or_else(missing)
    }

    pub fn list(&self, resource: &Resource, ns: &str) -> impl Iterator<Item = &Stored> {
        let (from, ns) = (resource.qualified(), ns.to_owned());
        let first = (from.clone(), ns.clone(), String::new());
        self.objects
            .range(first..)
            .take_while(move |((r, n, _), _)| *r == from && (ns.is_empty() || *n == ns))
            .map(|(_, stored)| stored)
    }

    pub fn changes(
        &self,
        resource: &Resource,
        ns: &str,
        from: u64,
    ) -> impl Iterator<Item = &Change> {
        let (resource, ns) = (resource.qualified(), ns.to_owned());
        let at = self.history.partition_point(|c| c.revision <= from);
        self.history[at..]
            .iter()
            .filter(move |c| c.resource == resource && (ns.is_empty() || c.namespace == ns))
    }

    /// Writes an object as it is, with a new revision.
    pub fn put(&mut self, resource: &Resource, mut object: Object) -> u64 {
        self.revision += 1;
        object.set_meta("resourceVersion", self.revision.to_string());
        if object.uid().is_empty() {
            object.set_meta("uid", self.rng.uuid());
        }
        if object.creation_timestamp().is_empty() {
            object.set_meta("creationTimestamp", self.clock.time());
        }
        let key = key(resource, object.namespace(), object.name());
        let new = stored(resource, object, self.revision);
        let old = self.objects.insert(key.clone(), new.clone());
        self.history.push(Change {
            revision: self.revision,
            resource: key.0,
            namespace: key.1,
            old,
            new: Some(new.clone()),
            last: new,
        });
        self.revision
    }

    pub fn remove(&mut self, resource: &Resource, ns: &str, name: &str) -> u64 {
        let key = key(resource, ns, name);
        if let Some(old) = self.objects.remove(&key) {
            self.revision += 1;
            let mut object = (*old.object).clone();
            object.set_meta("resourceVersion", self.revision.to_string());
            let last = stored(resource, object, self.revision);
            self.history.push(Change {
                revision: self.revision,
                resource: key.0,
                namespace: key.1,
                old: Some(old),
                new: None,
                last,
            });
        }
        self.revision
    }

    pub fn serve(&mut self, route: &Route, request: &Request<Bytes>) -> Result<Value, ApiError> {
        let body = || -> Result<Value, ApiError> {
            serde_json::from_slice(request.body()).map_err(|e| ApiError::bad_request(e.to_string()))
        };
        let (resource, ns, name) = (&route.resource, route.namespace.as_str(), route.name.as_str());
        match (request.method(), name.is_empty()) {
            (&Method::GET, false) => Ok((*self.get(resource, ns, name)?.object).clone().into()),
            (&Method::GET, true) => Ok(self.page(route)),
            (&Method::POST, true) => self.create(route, body()?),
            (&Method::POST, false) => self.post_sub(route, &body()?),
            (&Method::PUT, false) => {
                let object = Object::from_value(body()?)
                    .ok_or_else(|| ApiError::bad_request("not an object"))?;
                self.update(route, object)
            }
            (&Method::PATCH, false) => {
                let media = request.headers().get("content-type").and_then(|v| v.to_str().ok());
                let patched = self.patched(route, media.unwrap_or_default(), &body()?)?;
                self.update(route, patched)
            }
            (&Method::DELETE, false) => self.delete(route, &body().unwrap_or_default()),
            (&Method::DELETE, true) => {
                let matching = self.list(resource, ns).filter(|s| route.selection.matches(s));
                let keys: Vec<_> = matching
                    .map(|s| (s.object.namespace().to_owned(), s.object.name().to_owned()))
                    .collect();
                let options = body().unwrap_or_default();
                for (namespace, name) in keys {
                    self.delete_one(resource, &namespace, &name, &options)?;
                }
                Ok(json!({"kind": "Status", "status": "Success"}))
            }
            _ => Err(ApiError::new(api::Reason::MethodNotAllowed, "not allowed")),
        }
    }

    fn page(&self, route: &Route) -> Value {
        let all = self.list(&route.resource, &route.namespace);
        let mut items: Vec<&Stored> =
            all.filter(|s| route.selection.matches(s)).skip(route.skip).collect();
        let more = items.len() > route.limit;
        items.truncate(route.limit);
        let next = if more { (route.skip + route.limit).to_string() } else { String::new() };
        let items: Vec<Value> = items
            .into_iter()
            .map(|s| {
                let mut object = (*s.object).clone();
                // As upstream: items of a typed list carry no type.
                object.0.remove("kind");
                object.0.remove("apiVersion");
                object.into()
            })
            .collect();
        json!({
            "kind": format!("{}List", route.resource.kind),
            "apiVersion": route.resource.api_version(),
            "metadata": {"resourceVersion": self.revision.to_string(), "continue": next},
            "items": items,
        })
    }

    fn create(&mut self, route: &Route, body: Value) -> Result<Value, ApiError> {
        let resource = &route.resource;
        let mut object =
            Object::from_value(body).ok_or_else(|| ApiError::bad_request("not an object"))?;
        if object.name().is_empty() {
            let name = format!("{}{}", object.generate_name(), self.rng.name_suffix(5));
            object.set_meta("name", name);
        }
        if resource.namespaced {
            object.set_meta("namespace", route.namespace.as_str());
        }
        let name = object.name().to_owned();
        if self.objects.contains_key(&key(resource, object.namespace(), &name)) {
            return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
        }
        object.set_type(&resource.api_version(), &resource.kind);
        object.set_meta("uid", self.rng.uuid());
        object.set_meta("creationTimestamp", self.clock.time());
        if object.at("spec").is_some() {
            object.set_meta("generation", 1);
        }
        let namespace = object.namespace().to_owned();
        self.put(resource, object);
        Ok((*self.get(resource, &namespace, &name)?.object).clone().into())
    }

    fn post_sub(&mut self, route: &Route, body: &Value) -> Result<Value, ApiError> {
        let (resource, ns, name) = (&route.resource, &route.namespace, &route.name);
        match route.sub.as_str() {
            "binding" => {
                let mut object = (*self.get(resource, ns, name)?.object).clone();
                let node = body["target"]["name"].clone();
                object.map_mut("spec").insert("nodeName".into(), node);
                self.put(resource, object);
            }
            "eviction" => drop(self.delete_one(resource, ns, name, &Value::Null)?),
            _ => return Err(ApiError::new(api::Reason::MethodNotAllowed, "not allowed")),
        }
        Ok(json!({"kind": "Status", "status": "Success"}))
    }

    fn patched(&self, route: &Route, media: &str, patch: &Value) -> Result<Object, ApiError> {
        let resource = &route.resource;
        let old = self.get(resource, &route.namespace, &route.name)?.object.clone();
        let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(e.to_string());
        let kind = kinds::find(&resource.group, &resource.version, &resource.plural);
        let schema = kind.and_then(|k| k.schema());
        match (media, schema) {
            ("application/json-patch+json", _) => {
                let value = api::patch::json_patch(&old, patch).map_err(|e| bad(&e))?;
                Object::from_value(value).ok_or_else(|| bad(&"not an object"))
            }
            ("application/strategic-merge-patch+json", Some(schema)) => {
                api::patch::strategic(&old, patch, schema).map_err(|e| bad(&e))
            }
            _ => api::patch::merge_patch(&old, patch).map_err(|e| bad(&e)),
        }
    }

    fn update(&mut self, route: &Route, mut object: Object) -> Result<Value, ApiError> {
        let (resource, ns, name) = (&route.resource, &route.namespace, &route.name);
        let old = self.get(resource, ns, name)?.object.clone();
        let version = object.resource_version();
        if !version.is_empty() && version != old.resource_version() {
            let why = "the object has been modified; please apply your changes to the latest \
                       version and try again";
            return Err(ApiError::conflict(&resource.group, &resource.plural, name, why));
        }
        match route.sub.as_str() {
            "" => {
                // Where status is a subresource of its own, it cannot be written here.
                let kind = kinds::find(&resource.group, &resource.version, &resource.plural);
                if kind.is_some_and(|k| k.subresource("status").is_some()) {
                    match old.0.get("status") {
                        Some(status) => drop(object.0.insert("status".into(), status.clone())),
                        None => drop(object.0.remove("status")),
                    }
                }
                if object.0.get("spec") != old.0.get("spec") {
                    object.set_meta("generation", old.generation() + 1);
                }
            }
            "status" => {
                let status = object.0.remove("status").unwrap_or(json!({}));
                let annotations = object.meta().and_then(|m| m.get("annotations")).cloned();
                object = (*old).clone();
                if let Some(annotations) = annotations {
                    object.set_meta("annotations", annotations);
                }
                object.0.insert("status".into(), status);
            }
            "finalize" => {
                let spec = object.0.remove("spec").unwrap_or(json!({}));
                object = (*old).clone();
                object.0.insert("spec".into(), spec);
            }
            _ => return Err(ApiError::new(api::Reason::MethodNotAllowed, "not allowed")),
        }
        for field in ["uid", "creationTimestamp", "deletionTimestamp"] {
            let kept = old.meta().and_then(|m| m.get(field)).cloned().unwrap_or(Value::Null);
            object.set_meta(field, kept);
        }
        let held = object.finalizers().next().is_some()
            || object
                .at("spec.finalizers")
                .and_then(Value::as_array)
                .is_some_and(|f| !f.is_empty());
        if object.is_deleting() && !held && resource.plural != "pods" {
            self.remove(resource, ns, name);
            return Ok(object.into());
        }
        if object == *old {
            return Ok(object.into());
        }
        self.put(resource, object);
        Ok((*self.get(resource, ns, name)?.object).clone().into())
    }

    fn delete(&mut self, route: &Route, options: &Value) -> Result<Value, ApiError> {
        self.delete_one(&route.resource, &route.namespace, &route.name, options)
    }

    fn delete_one(
        &mut self,
        resource: &Resource,
        ns: &str,
        name: &str,
        options: &Value,
    ) -> Result<Value, ApiError> {
        let old = self.get(resource, ns, name)?.object.clone();
        let wanted = &options["preconditions"];
        for (field, have) in [("uid", old.uid()), ("resourceVersion", old.resource_version())] {
            if wanted[field].as_str().is_some_and(|w| w != have) {
                let why =
                    format!("Precondition failed: {field} in precondition: {}", wanted[field]);
                return Err(ApiError::conflict(&resource.group, &resource.plural, name, &why));
            }
        }
        let mut object = (*old).clone();
        let mut finalizers: Vec<Value> = object.finalizers().map(Value::from).collect();
        match options["propagationPolicy"].as_str() {
            Some("Foreground") => finalizers.push("foregroundDeletion".into()),
            Some("Orphan") => finalizers.push("orphan".into()),
            _ => {}
        }
        let grace = options["gracePeriodSeconds"].as_i64();
        let bound = object.text("spec.nodeName").is_some_and(|n| !n.is_empty());
        let graceful = resource.plural == "pods" && bound && grace != Some(0);
        let namespace = resource.plural == "namespaces";
        if finalizers.is_empty() && !graceful && !namespace {
            self.remove(resource, ns, name);
            return Ok(json!({"kind": "Status", "status": "Success"}));
        }
        if !object.is_deleting() {
            object.set_meta("deletionTimestamp", self.clock.time());
            object.set_meta("deletionGracePeriodSeconds", grace.unwrap_or(0));
            if namespace {
                object.map_mut("status").insert("phase".into(), "Terminating".into());
            }
        }
        if !finalizers.is_empty() {
            object.set_meta("finalizers", finalizers);
        }
        self.put(resource, object);
        Ok((*self.get(resource, ns, name)?.object).clone().into())
    }
}
