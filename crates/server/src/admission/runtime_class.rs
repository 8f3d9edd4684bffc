//! RuntimeClass: a pod's class must be there; its overhead and scheduling become the pod's.

use api::{ApiError, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, forbidden, is_pod, list_mut};
use crate::gate::{Admission, Operation, Write};

/// The plugin.
pub struct RuntimeClass(pub Lookup);

impl RuntimeClass {
    fn class(&self, write: &Write<'_>) -> Result<Option<Object>, ApiError> {
        let name =
            write.object.as_ref().and_then(|p| p.text("spec.runtimeClassName")).unwrap_or("");
        if name.is_empty() {
            return Ok(None);
        }
        let found = self.0.object(&resource::RUNTIME_CLASSES, "", name);
        let why = format!("pod rejected: RuntimeClass {name:?} not found");
        found.map(Some).ok_or_else(|| forbidden(write, &why))
    }

    fn fill_in(&self, write: &mut Write<'_>) -> Result<(), ApiError> {
        let Some(class) = self.class(write)? else { return Ok(()) };
        self.check_overhead(write, Some(&class))?;
        let Some(pod) = &mut write.object else { return Ok(()) };
        let spec = pod.map_mut("spec");
        if let Some(overhead) = class.at("overhead.podFixed") {
            spec.insert("overhead".into(), overhead.clone());
        }
        if let Some(Value::Array(tolerations)) = class.at("scheduling.tolerations") {
            let held = list_mut(spec, "tolerations");
            for toleration in tolerations {
                if !held.contains(toleration) {
                    held.push(toleration.clone());
                }
            }
        }
        let Some(Value::Object(wanted)) = class.at("scheduling.nodeSelector") else {
            return Ok(());
        };
        let slot = spec.entry("nodeSelector").or_insert_with(|| Value::Object(api::Map::new()));
        let mut conflict = None;
        if let Value::Object(held) = slot {
            for (key, value) in wanted {
                match held.get(key) {
                    Some(own) if own != value => conflict = Some((key.clone(), own.clone())),
                    _ => {
                        held.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        conflict.map_or(Ok(()), |(key, own)| {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; pod.spec.nodeSelector[{key}] = {}",
                text(wanted.get(&key)),
                text(Some(&own))
            );
            Err(forbidden(write, &why))
        })
    }

    fn check_overhead(&self, write: &Write<'_>, class: Option<&Object>) -> Result<(), ApiError> {
        let given = write.object.as_ref().and_then(|p| p.at("spec.overhead"));
        let Some(given) = given.filter(|o| o.as_object().is_some_and(|m| !m.is_empty())) else {
            return Ok(());
        };
        match class.and_then(|c| c.at("overhead.podFixed")) {
            Some(fixed) if fixed == given => Ok(()),
            Some(_) => Err(forbidden(
                write,
                "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
            )),
            None => Err(forbidden(
                write,
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
            )),
        }
    }
}

impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation == Operation::Create && is_pod(resource, subresource)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.fill_in(write))
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let result = self.class(write).and_then(|c| self.check_overhead(write, c.as_ref()));
        done(result)
    }
}
