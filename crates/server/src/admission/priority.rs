//! Priority: a pod's priority is that of its class; there is one default class at most; the
//! system's classes stay.

use api::{ApiError, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;

use super::lookup::{Lookup, done, forbidden, is, is_pod};
use crate::gate::{Admission, Operation, Write};

const SYSTEM: [&str; 2] = ["system-cluster-critical", "system-node-critical"];

/// The plugin.
pub struct Priority(pub Lookup);

/// A class as pods need it: name, value, preemption policy.
type Class = (String, i64, String);

fn class_of(object: &Object) -> Class {
    let policy = object.text("preemptionPolicy").unwrap_or("PreemptLowerPriority");
    (object.name().to_owned(), object.int("value").unwrap_or(0), policy.to_owned())
}

fn is_default(object: &Object) -> bool {
    object.at("globalDefault") == Some(&Value::Bool(true))
}

impl Priority {
    /// The class of pods that name none: the lowest of those marked as default.
    fn default_class(&self) -> Class {
        let classes = self.0.all(&resource::PRIORITY_CLASSES, None);
        let marked = classes.iter().filter(|o| is_default(o)).map(class_of);
        let none = (String::new(), 0, "PreemptLowerPriority".to_owned());
        marked.min_by_key(|(_, value, _)| *value).unwrap_or(none)
    }

    fn pod(&self, write: &mut Write<'_>) -> Result<(), ApiError> {
        let Some(pod) = &write.object else { return Ok(()) };
        let named = pod.text("spec.priorityClassName").unwrap_or("").to_owned();
        if write.operation == Operation::Update {
            // What was computed before is taken over where a client leaves it out.
            let (Some(old), Some(pod)) = (write.old, &mut write.object) else { return Ok(()) };
            for key in ["priority", "preemptionPolicy"] {
                let before = old.at(&format!("spec.{key}")).cloned();
                let spec = pod.map_mut("spec");
                if let (None, Some(before)) = (spec.get(key), before) {
                    spec.insert(key.into(), before);
                }
            }
            return Ok(());
        }
        let (class, value, policy) = if named.is_empty() {
            self.default_class()
        } else {
            match self.0.object(&resource::PRIORITY_CLASSES, "", &named) {
                Some(class) => class_of(&class),
                None => {
                    let why = format!("no PriorityClass with name {named} was found");
                    return Err(forbidden(write, &why));
                }
            }
        };
        const RULE: &str =
            "must not be provided in pod spec; priority admission controller computed";
        if let Some(given) = pod.int("spec.priority").filter(|given| *given != value) {
            let why = format!(
                "the integer value of priority ({given}) {RULE} {value} from the given PriorityClass name"
            );
            return Err(forbidden(write, &why));
        }
        if let Some(given) = pod.text("spec.preemptionPolicy").filter(|given| *given != policy) {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) {RULE} {policy} from the given PriorityClass name"
            );
            return Err(forbidden(write, &why));
        }
        let Some(pod) = &mut write.object else { return Ok(()) };
        let spec = pod.map_mut("spec");
        if !class.is_empty() {
            spec.insert("priorityClassName".into(), class.into());
        }
        spec.insert("priority".into(), value.into());
        spec.insert("preemptionPolicy".into(), policy.into());
        Ok(())
    }

    fn class(&self, write: &Write<'_>) -> Result<(), ApiError> {
        if write.operation == Operation::Delete {
            if SYSTEM.contains(&write.name) {
                let why = "this is a system priority class and cannot be deleted";
                return Err(forbidden(write, why));
            }
            return Ok(());
        }
        let Some(class) = write.object.as_ref().filter(|c| is_default(c)) else { return Ok(()) };
        let others = self.0.all(&resource::PRIORITY_CLASSES, None);
        match others.iter().find(|o| is_default(o) && o.name() != class.name()) {
            None => Ok(()),
            Some(other) => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name()
                );
                Err(forbidden(write, &why))
            }
        }
    }
}

impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let class = subresource.is_empty() && is(resource, &resource::PRIORITY_CLASSES);
        let pod = is_pod(resource, subresource)
            && matches!(operation, Operation::Create | Operation::Update);
        class || pod
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(if is_pod(write.resource, write.subresource) { self.pod(write) } else { Ok(()) })
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(if is_pod(write.resource, write.subresource) { Ok(()) } else { self.class(write) })
    }
}
