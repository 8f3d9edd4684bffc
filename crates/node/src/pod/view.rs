//! A pod as its worker sees it: the typed object with the questions that are often asked of it.
//!
//! Not here: anything observed at runtime.

use std::collections::BTreeMap;
use std::time::Duration;

use api::object::Object;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};
use serde_json::{Map, Value};

/// Which list of the spec a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `initContainers`.
    Init,
    /// `containers`.
    Regular,
    /// `ephemeralContainers`.
    Ephemeral,
}

/// A container of the spec, by list and position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerRef {
    /// The list.
    pub kind: Kind,
    /// The position in it.
    pub index: usize,
}

/// When an ended container is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// However it ended.
    Always,
    /// When it ended with an error.
    OnFailure,
    /// Not.
    Never,
}

impl RestartPolicy {
    fn parse(text: &str) -> Self {
        match text {
            "OnFailure" => Self::OnFailure,
            "Never" => Self::Never,
            _ => Self::Always,
        }
    }
}

/// A pod of the API server.
#[derive(Clone, Debug, PartialEq)]
pub struct PodView {
    /// Metadata and spec, typed. Its status is empty: see the field of that name.
    pub pod: Pod,
    /// The spec; an empty one where it is missing.
    pub spec: PodSpec,
    /// The status as the API server has it.
    pub status: Map<String, Value>,
    /// Ephemeral containers in the form of the others.
    ephemeral: Vec<Container>,
}

impl PodView {
    /// Reads a pod; fails where the object is not one.
    pub fn new(object: Object) -> Result<Self, serde_json::Error> {
        let mut map = object.0;
        let status = match map.remove("status") {
            Some(Value::Object(status)) => status,
            _ => Map::new(),
        };
        if let Some(Value::Object(meta)) = map.get_mut("metadata") {
            meta.remove("managedFields");
        }
        let mut pod: Pod = serde_json::from_value(Value::Object(map))?;
        let spec = pod.spec.take().unwrap_or_default();
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(of_ephemeral).collect();
        Ok(Self { pod, spec, status, ephemeral })
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }

    /// `metadata.name`.
    pub fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or("")
    }

    /// `metadata.uid`.
    pub fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap_or("")
    }

    /// `metadata.generation`.
    pub fn generation(&self) -> i64 {
        self.pod.metadata.generation.unwrap_or(0)
    }

    /// `namespace/name`, as logs show it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }

    /// `metadata.annotations`.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.pod.metadata.annotations.as_ref().unwrap_or(&NONE)
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.pod.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// Whether files that show a pod's fields may read differently for `new`, a later state of it.
    pub fn shows_otherwise(&self, new: &Self) -> bool {
        self.labels() != new.labels()
            || self.annotations() != new.annotations()
            || self.spec != new.spec
    }

    /// Whether deletion was asked for.
    pub fn is_deleting(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// `metadata.creationTimestamp`.
    pub fn created(&self) -> Option<Timestamp> {
        self.pod.metadata.creation_timestamp.as_ref().map(|t| t.0)
    }

    /// How long its containers get to end by themselves: what the deletion says, else the spec.
    pub fn grace(&self) -> Duration {
        let deletion = self.pod.metadata.deletion_grace_period_seconds;
        let asked = if self.is_deleting() { deletion } else { None };
        let seconds = asked.or(self.spec.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// The phase that the API server has.
    pub fn phase(&self) -> &str {
        self.status.get("phase").and_then(Value::as_str).unwrap_or("Pending")
    }

    /// Whether that phase is a last one.
    pub fn is_finished(&self) -> bool {
        matches!(self.phase(), "Succeeded" | "Failed")
    }

    /// `spec.restartPolicy`.
    pub fn restart_policy(&self) -> RestartPolicy {
        RestartPolicy::parse(self.spec.restart_policy.as_deref().unwrap_or("Always"))
    }

    /// Whether the pod lives in the node's network namespace.
    pub fn host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    /// The containers of one list.
    pub fn containers(&self, kind: Kind) -> &[Container] {
        match kind {
            Kind::Init => self.spec.init_containers.as_deref().unwrap_or_default(),
            Kind::Regular => &self.spec.containers,
            Kind::Ephemeral => &self.ephemeral,
        }
    }

    /// Every container of the spec: init, regular, ephemeral.
    pub fn all_containers(&self) -> impl Iterator<Item = (ContainerRef, &Container)> {
        [Kind::Init, Kind::Regular, Kind::Ephemeral].into_iter().flat_map(|kind| {
            let list = self.containers(kind).iter().enumerate();
            list.map(move |(index, c)| (ContainerRef { kind, index }, c))
        })
    }

    /// One container.
    pub fn container(&self, at: ContainerRef) -> Option<&Container> {
        self.containers(at.kind).get(at.index)
    }

    /// A container by its name, which is unique over all lists.
    pub fn by_name(&self, name: &str) -> Option<(ContainerRef, &Container)> {
        self.all_containers().find(|(_, c)| c.name == name)
    }

    /// The container into whose process namespace an ephemeral container goes.
    pub fn target_of(&self, at: ContainerRef) -> Option<&str> {
        if at.kind != Kind::Ephemeral {
            return None;
        }
        let list = self.spec.ephemeral_containers.as_deref()?;
        list.get(at.index)?.target_container_name.as_deref().filter(|t| !t.is_empty())
    }
}

/// Whether an init container is a sidecar: `restartPolicy: Always`.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended with this code is to run again, by its own restart rules and
/// policy where it has them, else by the pod's.
pub fn restarts_after(pod: RestartPolicy, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && rule.action == "Restart" {
            return true;
        }
    }
    match container.restart_policy.as_deref().map_or(pod, RestartPolicy::parse) {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

fn of_ephemeral(c: &EphemeralContainer) -> Container {
    Container {
        name: c.name.clone(),
        args: c.args.clone(),
        command: c.command.clone(),
        env: c.env.clone(),
        env_from: c.env_from.clone(),
        image: c.image.clone(),
        image_pull_policy: c.image_pull_policy.clone(),
        security_context: c.security_context.clone(),
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        tty: c.tty,
        termination_message_path: c.termination_message_path.clone(),
        termination_message_policy: c.termination_message_policy.clone(),
        volume_mounts: c.volume_mounts.clone(),
        volume_devices: c.volume_devices.clone(),
        working_dir: c.working_dir.clone(),
        ..Container::default()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A pod from YAML-like JSON, for the tests of this crate.
    pub fn pod(value: Value) -> PodView {
        PodView::new(Object::from_value(value).expect("a map")).expect("a pod")
    }

    #[test]
    fn restart_rules_come_before_policies() {
        let pod = pod(serde_json::json!({
            "metadata": { "name": "a" },
            "spec": { "restartPolicy": "Never", "containers": [
                { "name": "plain" },
                { "name": "ruled", "restartPolicy": "Never", "restartPolicyRules": [
                    { "action": "Restart", "exitCodes": { "operator": "In", "values": [42] } } ] },
                { "name": "own", "restartPolicy": "OnFailure" } ] }
        }));
        let policy = pod.restart_policy();
        let list = pod.containers(Kind::Regular);
        assert!(!restarts_after(policy, &list[0], 1));
        assert!(restarts_after(policy, &list[1], 42));
        assert!(!restarts_after(policy, &list[1], 1));
        assert!(restarts_after(policy, &list[2], 1));
        assert!(!restarts_after(policy, &list[2], 0));
    }

    #[test]
    fn grace_comes_from_the_deletion_first() {
        let text = serde_json::json!({ "metadata": { "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z",
            "deletionGracePeriodSeconds": 3 }, "spec": { "containers": [], "terminationGracePeriodSeconds": 60 } });
        assert_eq!(pod(text).grace(), Duration::from_secs(3));
    }
}
