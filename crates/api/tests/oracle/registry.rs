//! A registry of a few lines: what an API server does with a request, without the server.

use std::collections::BTreeMap;

use isopod_api::apply::{self, Writer};
use isopod_api::codec::{conform, json};
use isopod_api::kinds::{self, Kind};
use isopod_api::{ApiError, Object, Reason, Value, default, names, patch, strategy, validate};
use serde_json::json as object;

use crate::{NAMESPACE, admission};

const NOW: &str = "2026-01-01T00:00:00Z";

#[derive(Default)]
pub struct Registry {
    /// By collection path and name.
    objects: BTreeMap<(String, String), Object>,
    count: u64,
}

struct Target {
    kind: &'static Kind,
    collection: String,
    namespace: String,
    name: Option<String>,
    subresource: Option<String>,
}

fn target(path: &str) -> Option<Target> {
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version) = match *parts.first()? {
        "api" => ("", *parts.get(1)?),
        "apis" => (*parts.get(1)?, *parts.get(2)?),
        _ => return None,
    };
    parts.drain(..if group.is_empty() { 2 } else { 3 });
    let mut namespace = String::new();
    let in_namespace = parts.first() == Some(&"namespaces")
        && parts.len() > 2
        && !matches!(parts[2], "status" | "finalize");
    if in_namespace {
        namespace = parts[1].to_owned();
        parts.drain(..2);
    }
    let kind = kinds::find(group, version, parts.first()?)?;
    Some(Target {
        kind,
        collection: format!("{}/{namespace}/{}", kind.storage.0, kind.plural),
        namespace,
        name: parts.get(1).map(|s| (*s).to_owned()),
        subresource: parts.get(2).map(|s| (*s).to_owned()),
    })
}

fn failure(error: &ApiError) -> Value {
    object!({"status": error.code, "body": error.to_status()})
}

fn conformed(kind: &Kind, object: Object) -> Object {
    match kind.schema().map(|ty| conform::decode(object.clone(), ty)) {
        Some(Ok(decoded)) => decoded.object,
        _ => object,
    }
}

impl Registry {
    /// The answer to a request; `None` for what this registry does not do.
    pub fn answer(&mut self, request: &Value) -> Option<Value> {
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let target = target(&text(&request["path"]))?;
        if request["query"]
            .as_object()
            .is_some_and(|q| q.keys().any(|k| !["fieldManager", "force"].contains(&k.as_str())))
            || request.get("user").is_some()
        {
            return None;
        }
        let kind = target.kind;
        if target.subresource.as_deref().is_some_and(|s| s != "status") {
            return None;
        }
        let manager = match &request["query"]["fieldManager"] {
            Value::String(m) => m.clone(),
            _ => "oracle".to_owned(),
        };
        let api_version = kind.api_version();
        let subresource = target.subresource.clone().unwrap_or_default();
        let reset = strategy::reset_fields(kind, &subresource);
        let writer = Writer {
            versions: None,
            manager: &manager,
            subresource: &subresource,
            api_version: &api_version,
            schema: kind.schema()?.into(),
            reset: &reset,
            now: NOW,
        };
        let key = (target.collection.clone(), target.name.clone().unwrap_or_default());
        let stored = self.objects.get(&key).cloned();
        match text(&request["method"]).as_str() {
            "POST" if target.name.is_none() => {
                let new = decode(kind, request)?;
                Some(self.create(&target, new, &writer))
            }
            "GET" => {
                let stored = stored?;
                Some(object!({"status": 200, "body": Value::from(stored)}))
            }
            "PUT" => {
                let new = decode(kind, request)?;
                Some(self.update(&target, new, &stored?, &writer))
            }
            "PATCH" => self.patch(&target, request, stored, &writer),
            _ => None,
        }
    }

    fn patch(
        &mut self,
        target: &Target,
        request: &Value,
        stored: Option<Object>,
        writer: &Writer<'_>,
    ) -> Option<Value> {
        let body = request.get("body")?;
        let headers = &request["headers"]["Content-Type"];
        let kind = target.kind;
        if headers == "application/apply-patch+yaml" {
            let config = Object::from_value(body.clone())?;
            let force = request["query"]["force"] == "true";
            let outcome = apply::apply(stored.as_ref(), &config, force, writer);
            let mut new = match outcome {
                Ok(new) => conformed(kind, new),
                Err(error) => return Some(failure(&error.into())),
            };
            default::apply(kind, &mut new);
            return Some(match stored {
                Some(old) => self.store_update(target, new, &old),
                None => self.store_create(target, new),
            });
        }
        let old = stored?;
        let outcome = match headers.as_str()? {
            "application/json-patch+json" => patch::json_patch(&old, body)
                .and_then(|v| Object::from_value(v).ok_or(patch::PatchError::Rejected)),
            "application/merge-patch+json" => patch::merge_patch(&old, body),
            "application/strategic-merge-patch+json" => {
                patch::strategic(&old, body, kind.schema()?)
            }
            _ => return None,
        };
        let mut new = match outcome {
            Ok(new) => new,
            Err(error) => return Some(failure(&error.into())),
        };
        apply::keep_reset(&mut new);
        new = conform::decode(new, kind.schema()?).ok()?.object;
        if new.name() != old.name() {
            let message = format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                new.name(),
                old.name()
            );
            return (!new.name().is_empty()).then(|| failure(&ApiError::bad_request(message)));
        }
        default::apply(kind, &mut new);
        Some(self.update(target, new, &old, writer))
    }

    fn create(&mut self, target: &Target, mut new: Object, writer: &Writer<'_>) -> Value {
        let kind = target.kind;
        default::apply(kind, &mut new);
        new.set_type(&kind.api_version(), kind.kind);
        apply::update_managed_fields(None, &mut new, writer);
        self.store_create(target, new)
    }

    fn store_create(&mut self, target: &Target, mut new: Object) -> Value {
        let kind = target.kind;
        if kind.namespaced {
            new.set_meta("namespace", target.namespace.clone());
        }
        admission::mutate(kind.kind, &mut new);
        self.count += 1;
        new.set_meta("uid", format!("00000000-0000-4000-8000-{:012}", self.count));
        new.set_meta("creationTimestamp", NOW);
        new.meta_mut().remove("resourceVersion");
        if new.name().is_empty() && !new.generate_name().is_empty() {
            let name = names::generate(new.generate_name(), "bcdfg");
            new.set_meta("name", name);
        }
        strategy::prepare_create(kind, &mut new);
        strategy::stamp_times(kind.group, kind.kind, &mut new, None, NOW);
        if kind.kind == "Service" {
            let causes = validate::service_addresses(&new);
            if !causes.is_empty() {
                return failure(&ApiError::invalid(kind.group, kind.kind, new.name(), causes));
            }
            admission::allocate(&mut new);
        }
        let causes = validate::create(kind, &mut new);
        if !causes.is_empty() {
            return failure(&ApiError::invalid(kind.group, kind.kind, new.name(), causes));
        }
        new.set_meta("resourceVersion", self.count.to_string());
        let key = (target.collection.clone(), new.name().to_owned());
        if kind.kind == "CertificateSigningRequest" {
            let groups = object!(["system:masters", "system:authenticated"]);
            let spec = new.map_mut("spec");
            spec.insert("username".into(), "admin".into());
            spec.insert("uid".into(), "1".into());
            spec.insert("groups".into(), groups);
        }
        if self.objects.contains_key(&key) {
            return failure(&ApiError::already_exists(kind.group, kind.plural, new.name()));
        }
        self.objects.insert(key, new.clone());
        object!({"status": 201, "body": Value::from(new)})
    }

    fn update(
        &mut self,
        target: &Target,
        mut new: Object,
        old: &Object,
        writer: &Writer<'_>,
    ) -> Value {
        let kind = target.kind;
        default::apply(kind, &mut new);
        new.set_type(&kind.api_version(), kind.kind);
        if kind.namespaced && new.namespace().is_empty() {
            new.set_meta("namespace", target.namespace.clone());
        }
        apply::update_managed_fields(Some(old), &mut new, writer);
        self.store_update(target, new, old)
    }

    fn store_update(&mut self, target: &Target, mut new: Object, old: &Object) -> Value {
        let kind = target.kind;
        if !new.resource_version().is_empty() && new.resource_version() != old.resource_version() {
            let why = "the object has been modified; please apply your changes to the latest version and try again";
            return failure(&ApiError::conflict(kind.group, kind.plural, old.name(), why));
        }
        let unconditional = strategy::Strategy::of(kind.group, kind.kind).unconditional_update;
        if new.resource_version().is_empty() {
            if !unconditional {
                let cause = isopod_api::Cause::invalid(
                    "metadata.resourceVersion",
                    &"".into(),
                    "must be specified for an update",
                );
                let value =
                    isopod_api::Cause { message: cause.message.replace("\"\"", "0"), ..cause };
                return failure(&ApiError::invalid(kind.group, kind.kind, old.name(), vec![value]));
            }
            new.set_meta("resourceVersion", old.resource_version());
        }
        let subresource = target.subresource.as_deref();
        if kind.kind == "Pod" && subresource.is_none() {
            admission::tolerate(&mut new);
        }
        strategy::prepare_update(kind, &mut new, old, subresource);
        strategy::stamp_times(kind.group, kind.kind, &mut new, Some(old), NOW);
        if kind.kind == "Service" && subresource.is_none() {
            let causes = validate::service_addresses(&new);
            if !causes.is_empty() {
                return failure(&ApiError::invalid(kind.group, kind.kind, new.name(), causes));
            }
            admission::allocate(&mut new);
        }
        let causes = match subresource {
            Some("status") => validate::status_update(kind, &mut new, &mut old.clone()),
            _ => validate::update(kind, &mut new, &mut old.clone()),
        };
        if !causes.is_empty() {
            return failure(&ApiError::invalid(kind.group, kind.kind, new.name(), causes));
        }
        if new != *old {
            self.count += 1;
            new.set_meta("resourceVersion", self.count.to_string());
        }
        let key = (target.collection.clone(), new.name().to_owned());
        self.objects.insert(key, new.clone());
        object!({"status": 200, "body": Value::from(new)})
    }
}

fn decode(kind: &Kind, request: &Value) -> Option<Object> {
    let text = match (&request["body"], &request["bodyText"]) {
        (Value::Null, Value::String(text)) => text.clone(),
        (Value::Null, _) => return None,
        (body, _) => body.to_string(),
    };
    let object = json::decode(text.as_bytes(), kind.schema()).ok()?.object;
    let fits = object.kind() == kind.kind || object.kind().is_empty();
    (fits && request["headers"].get("Content-Type").is_none_or(|t| t == "application/json"))
        .then_some(object)
}

/// Drops what is not compared.
pub fn normalize(value: &mut Value, keep_managers: bool) {
    let Some(map) = value.as_object_mut() else { return };
    if let Some(Value::Object(meta)) = map.get_mut("metadata")
        && !keep_managers
    {
        meta.remove("managedFields");
    }
    let kind = map.get("kind").and_then(Value::as_str).unwrap_or("");
    if matches!(kind, "FlowSchema" | "APIService" | "ServiceCIDR" | "CustomResourceDefinition") {
        map.remove("status");
    }
    let _ = (NAMESPACE, Reason::Invalid);
}
