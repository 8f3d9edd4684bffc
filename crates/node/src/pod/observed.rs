//! What the runtime has of one pod, in our own terms.
//!
//! Not here: asking the runtime (the worker does), or judging what is missing (`plan`).

use jiff::Timestamp;

use crate::cri;

/// Labels and annotations that tie what the runtime has to pods. The names are upstream's: tools on
/// the node look for them.
pub mod keys {
    /// The pod's name.
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    /// The pod's namespace.
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    /// The pod's uid.
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    /// The container's name.
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// A hash of what makes a running container another one.
    pub const HASH: &str = "io.kubernetes.container.hash";
    /// How often the container was started before.
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    /// Where the container leaves its last words.
    pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    /// Whether the log's end stands in for them.
    pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    /// The pod's `terminationGracePeriodSeconds`.
    pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
}

/// A pod sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// How many were made before it.
    pub attempt: u32,
    /// Whether it runs.
    pub ready: bool,
    /// Unix nanoseconds.
    pub created_at: i64,
    /// Its addresses, the primary one first; none in the node's network.
    pub ips: Vec<String>,
    /// Whether it shares the node's network.
    pub host_network: bool,
}

impl Sandbox {
    /// From the runtime's status.
    pub fn of(status: &cri::PodSandboxStatus) -> Self {
        let options = status.linux.as_ref().and_then(|l| l.namespaces.as_ref()?.options.as_ref());
        let network = status.network.as_ref();
        let ips = network
            .into_iter()
            .flat_map(|n| std::iter::once(&n.ip).chain(n.additional_ips.iter().map(|a| &a.ip)))
            .filter(|ip| !ip.is_empty())
            .cloned()
            .collect();
        Self {
            id: status.id.clone(),
            attempt: status.metadata.as_ref().map_or(0, |m| m.attempt),
            ready: status.state() == cri::PodSandboxState::Ready,
            created_at: status.created_at,
            ips,
            host_network: options.is_some_and(|o| o.network() == cri::NamespaceMode::Node),
        }
    }
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Made, not started.
    #[default]
    Created,
    /// Runs.
    Running,
    /// Ended.
    Exited,
    /// The runtime does not know.
    Unknown,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Unix nanoseconds; 0 where it has not happened.
    pub created_at: i64,
    /// The same.
    pub started_at: i64,
    /// The same.
    pub finished_at: i64,
    /// How it ended.
    pub exit_code: i32,
    /// The image as the spec names it.
    pub image: String,
    /// The image as the runtime names it.
    pub image_ref: String,
    /// Why it ended, in a word.
    pub reason: String,
    /// Its last words.
    pub message: String,
    /// [`keys::HASH`].
    pub hash: String,
    /// [`keys::RESTART_COUNT`].
    pub restart_count: i32,
    /// The log file's path.
    pub log_path: String,
    /// [`keys::MESSAGE_POLICY`].
    pub message_policy: String,
    /// The node's file that is mounted where the container leaves its last words.
    pub message_file: String,
    /// [`keys::GRACE`] in seconds.
    pub grace: u64,
    /// uid, gid, supplemental groups of its first process, where the runtime says them.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

impl Container {
    /// From the runtime's status.
    pub fn of(status: &cri::ContainerStatus) -> Self {
        let annotation = |key: &str| status.annotations.get(key).cloned().unwrap_or_default();
        let message_path = annotation(keys::MESSAGE_PATH);
        let message_file = status.mounts.iter().find(|m| m.container_path == message_path);
        let user = status.user.as_ref().and_then(|u| u.linux.as_ref());
        let metadata = status.metadata.as_ref();
        Self {
            id: status.id.clone(),
            name: metadata.map(|m| m.name.clone()).unwrap_or_default(),
            state: match status.state() {
                cri::ContainerState::Created => State::Created,
                cri::ContainerState::Running => State::Running,
                cri::ContainerState::Exited => State::Exited,
                cri::ContainerState::Unknown => State::Unknown,
            },
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: status.image.as_ref().map(|i| i.image.clone()).unwrap_or_default(),
            image_ref: if status.image_ref.is_empty() {
                status.image_id.clone()
            } else {
                status.image_ref.clone()
            },
            reason: status.reason.clone(),
            message: status.message.clone(),
            hash: annotation(keys::HASH),
            restart_count: annotation(keys::RESTART_COUNT).parse().unwrap_or(0),
            log_path: status.log_path.clone(),
            message_policy: annotation(keys::MESSAGE_POLICY),
            grace: annotation(keys::GRACE).parse().unwrap_or(30),
            message_file: message_file.map(|m| m.host_path.clone()).unwrap_or_default(),
            user: user.map(|u| (u.uid, u.gid, u.supplemental_groups.clone())),
        }
    }

    /// Whether it ended with an error.
    pub fn failed(&self) -> bool {
        self.state == State::Exited && self.exit_code != 0
    }
}

/// Everything that the runtime has of a pod, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Its sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// Its containers.
    pub containers: Vec<Container>,
}

impl Observed {
    /// The newest container of this name.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The one before the newest of this name.
    pub fn previous(&self, name: &str) -> Option<&Container> {
        self.containers.iter().filter(|c| c.name == name).nth(1)
    }

    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// Adds or replaces a sandbox.
    pub fn put_sandbox(&mut self, sandbox: Sandbox) {
        self.sandboxes.retain(|s| s.id != sandbox.id);
        self.sandboxes.push(sandbox);
        self.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
    }

    /// Adds or replaces a container. One that has ended stays so: answers may overtake each other.
    pub fn put_container(&mut self, container: Container) {
        let ended = |c: &Container| c.id == container.id && c.state == State::Exited;
        if container.state != State::Exited && self.containers.iter().any(ended) {
            return;
        }
        self.containers.retain(|c| c.id != container.id);
        self.containers.push(container);
        self.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.restart_count)));
    }

    /// Takes what a look over everything found. A container that has ended since stays so.
    pub fn replace(&mut self, found: Self) {
        let before = std::mem::replace(self, found);
        for container in before.containers {
            let there = |c: &Container| c.id == container.id;
            if container.state == State::Exited && self.containers.iter().any(there) {
                self.put_container(container);
            }
        }
    }

    /// Forgets a container that is gone.
    pub fn drop_container(&mut self, id: &str) {
        self.containers.retain(|c| c.id != id);
    }

    /// Whether any container runs.
    pub fn anything_runs(&self) -> bool {
        self.containers.iter().any(|c| matches!(c.state, State::Running | State::Unknown))
    }
}

/// A runtime's nanoseconds as a time; `None` for 0.
pub fn time(nanos: i64) -> Option<Timestamp> {
    if nanos <= 0 { None } else { Timestamp::from_nanosecond(i128::from(nanos)).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_final() {
        let of =
            |state| Container { id: "c".into(), name: "a".into(), state, ..Container::default() };
        let mut observed = Observed::default();
        observed.put_container(of(State::Exited));
        observed.put_container(of(State::Running));
        assert_eq!(observed.latest("a").map(|c| c.state), Some(State::Exited));
        // Nor does a look that began before the end make it undone.
        let mut before = Observed::default();
        before.put_container(of(State::Running));
        observed.replace(before);
        assert_eq!(observed.latest("a").map(|c| c.state), Some(State::Exited));
        observed.replace(Observed::default());
        assert!(observed.containers.is_empty(), "what is gone is gone");
    }
}
