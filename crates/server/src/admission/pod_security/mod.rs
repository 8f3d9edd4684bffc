//! PodSecurity: namespaces say by labels how much their pods may do: anything (`privileged`), what
//! is common and harmless (`baseline`), or as little as possible (`restricted`). A violation is
//! refused (`enforce`) or told (`warn`).

mod checks;
mod policy;

use api::{ApiError, Map, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;

use super::lookup::{CONTAINERS, Lookup, done, forbidden, is, is_pod, maps, text};
use crate::gate::{Admission, Operation, Write};
use checks::{Fault, Pod};
use policy::{Level, Policy, Rung};

/// The plugin.
pub struct PodSecurity(pub Lookup);

/// How many pods of a namespace are looked at when its level changes.
const EXISTING: usize = 3000;

/// Subresources of pods that change nothing about what a pod may do.
const HARMLESS: [&str; 8] =
    ["exec", "attach", "binding", "eviction", "log", "portforward", "proxy", "status"];

/// Where workloads keep their pod template.
const TEMPLATES: [(&str, &str, &str); 8] = [
    ("", "replicationcontrollers", "spec.template"),
    ("", "podtemplates", "template"),
    ("apps", "replicasets", "spec.template"),
    ("apps", "deployments", "spec.template"),
    ("apps", "statefulsets", "spec.template"),
    ("apps", "daemonsets", "spec.template"),
    ("batch", "jobs", "spec.template"),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template"),
];

fn template_path(resource: &Resource) -> Option<&'static str> {
    let row = TEMPLATES
        .iter()
        .find(|(group, plural, _)| resource.group == *group && resource.plural == *plural);
    row.map(|(_, _, path)| *path)
}

fn detail(faults: &[Fault]) -> String {
    let parts: Vec<String> = faults
        .iter()
        .map(|f| {
            if f.detail.is_empty() {
                f.reason.clone()
            } else {
                format!("{} ({})", f.reason, f.detail)
            }
        })
        .collect();
    parts.join(", ")
}

impl PodSecurity {
    fn policy(&self, namespace: &str) -> Policy {
        let entry = self.0.entry(&resource::NAMESPACES, "", namespace);
        entry.map(|e| Policy::of(|key| e.card.label(key))).unwrap_or_default()
    }

    /// The pod, or the pod template, that a write is about.
    fn subject<'w>(&self, write: &'w Write<'_>) -> Option<Pod<'w>> {
        let object = write.object.as_ref()?;
        if is(write.resource, &resource::PODS) {
            if HARMLESS.contains(&write.subresource) {
                return None;
            }
            let updates = write.old.filter(|_| write.operation == Operation::Update);
            if updates.is_some_and(|old| !changes_images(object, old)) {
                return None;
            }
            return Some(Pod::read(&object.0));
        }
        let path = template_path(write.resource).filter(|_| write.subresource.is_empty())?;
        Some(Pod::read(object.at(path)?.as_object()?))
    }

    fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        if is(write.resource, &resource::NAMESPACES) {
            return check_labels(write);
        }
        if !is(write.resource, &resource::PODS) {
            return Ok(());
        }
        let rung = self.policy(write.namespace).enforce;
        if rung.level == Level::Privileged {
            return Ok(());
        }
        let Some(pod) = self.subject(write) else { return Ok(()) };
        let faults = checks::faults(&pod, rung);
        if faults.is_empty() {
            return Ok(());
        }
        let why = format!("violates PodSecurity \"{rung}\": {}", detail(&faults));
        Err(forbidden(write, &why))
    }

    fn warn(&self, write: &Write<'_>) -> Vec<String> {
        if is(write.resource, &resource::NAMESPACES) {
            return self.warn_of_existing(write);
        }
        let rung = self.policy(write.namespace).warn;
        if rung.level == Level::Privileged {
            return Vec::new();
        }
        let faults = self.subject(write).map(|pod| checks::faults(&pod, rung)).unwrap_or_default();
        if faults.is_empty() {
            return Vec::new();
        }
        vec![format!("would violate PodSecurity \"{rung}\": {}", detail(&faults))]
    }

    /// What the pods of a namespace violate once its level is raised.
    fn warn_of_existing(&self, write: &Write<'_>) -> Vec<String> {
        let (Some(new), Some(old)) = (&write.object, write.old) else { return Vec::new() };
        let (now, before) = (policy_of(new).enforce, policy_of(old).enforce);
        let lowered = now.version == before.version && now.level <= before.level;
        if now == before || now.level == Level::Privileged || lowered {
            return Vec::new();
        }
        let pods = self.0.all(&resource::PODS, Some(new.name()));
        // What is wrong, with the first pod by name and how many there are.
        let mut found: Vec<(String, String, usize)> = Vec::new();
        for pod in pods.iter().take(EXISTING) {
            let faults = checks::faults(&Pod::read(&pod.0), now);
            if faults.is_empty() {
                continue;
            }
            let reasons: Vec<&str> = faults.iter().map(|f| f.reason.as_str()).collect();
            let reasons = reasons.join(", ");
            match found.iter_mut().find(|(known, _, _)| *known == reasons) {
                Some((_, _, count)) => *count += 1,
                None => found.push((reasons, pod.name().to_owned(), 1)),
            }
        }
        let mut lines: Vec<String> = found
            .into_iter()
            .map(|(reasons, first, count)| match count {
                1 => format!("{first}: {reasons}"),
                2 => format!("{first} (and 1 other pod): {reasons}"),
                more => format!("{first} (and {} other pods): {reasons}", more - 1),
            })
            .collect();
        lines.sort();
        let mut warnings = Vec::new();
        if pods.len() > EXISTING {
            warnings.push(format!(
                "new PodSecurity enforce level only checked against the first {EXISTING} of {} existing pods",
                pods.len()
            ));
        }
        if !lines.is_empty() {
            warnings.push(format!(
                "existing pods in namespace {:?} violate the new PodSecurity enforce level \"{now}\"",
                new.name()
            ));
        }
        warnings.extend(lines);
        warnings
    }
}

fn policy_of(namespace: &Object) -> Policy {
    Policy::of(|key| namespace.labels().find(|(k, _)| *k == key).map(|(_, v)| v))
}

fn check_labels(write: &Write<'_>) -> Result<(), ApiError> {
    let Some(new) = &write.object else { return Ok(()) };
    let label =
        |o: &Object, key: &str| o.labels().find(|(k, _)| *k == key).map(|(_, v)| v.to_owned());
    let causes = policy::faults(|key| label(new, key));
    let before = write.old.map(|old| policy::faults(|key| label(old, key)));
    if causes.is_empty() || before.is_some_and(|before| before == causes) {
        return Ok(());
    }
    Err(ApiError::invalid("", "Namespace", new.name(), causes))
}

/// Whether an update brings in other containers or images: only then the new pod may do more.
fn changes_images(new: &Object, old: &Object) -> bool {
    let images = |o: &Object, list: &str| -> Vec<(String, String)> {
        let spec = o.at("spec").and_then(Value::as_object);
        let containers = maps(spec.and_then(|s| s.get(list)));
        let read =
            |c: &Map<String, Value>| (text(c, "name").to_owned(), text(c, "image").to_owned());
        containers.map(read).collect()
    };
    CONTAINERS.iter().any(|list| images(new, list) != images(old, list))
}

impl Admission for PodSecurity {
    fn name(&self) -> &'static str {
        "PodSecurity"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let writes = matches!(operation, Operation::Create | Operation::Update);
        let about = is_pod(resource, subresource)
            || is(resource, &resource::PODS)
            || (subresource.is_empty()
                && (is(resource, &resource::NAMESPACES) || template_path(resource).is_some()));
        writes && about
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write))
    }

    fn warnings(&self, write: &Write<'_>) -> Vec<String> {
        self.warn(write)
    }
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.version {
            None => write!(f, "{}:latest", self.level.as_str()),
            Some(minor) => write!(f, "{}:v1.{minor}", self.level.as_str()),
        }
    }
}
