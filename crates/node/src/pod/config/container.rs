//! The configuration of a container.
//!
//! Not here: where its variables and mounts come from; they are handed in.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Container;

use super::expand::expand;
use super::sandbox::identity;
use super::{resources, security};
use crate::cri;
use crate::pod::observed::keys;
use crate::pod::plan::hash;
use crate::pod::view::PodView;

/// What is known of the place where a container is to run.
#[derive(Debug)]
pub struct Place<'a> {
    /// How often it was started before.
    pub restart_count: i32,
    /// The image as the runtime names it.
    pub image_ref: &'a str,
    /// Its environment.
    pub env: &'a BTreeMap<String, String>,
    /// Its mounts.
    pub mounts: Vec<cri::Mount>,
    /// The container whose processes it is to see.
    pub target_id: Option<&'a str>,
    /// The node's memory.
    pub memory_capacity: i64,
    /// Whether this node's cgroups are version 2.
    pub cgroup_v2: bool,
    /// Where local seccomp profiles are.
    pub seccomp_dir: &'a str,
}

/// The log file's path below the pod's log directory.
pub fn log_path(name: &str, restart_count: i32) -> String {
    format!("{name}/{restart_count}.log")
}

/// Makes the configuration.
pub fn container(pod: &PodView, c: &Container, place: Place<'_>) -> cri::ContainerConfig {
    let lookup = |name: &str| place.env.get(name).map(|v| Cow::Borrowed(v.as_str()));
    let words = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|w| expand(w, lookup)).collect()
    };
    let mut labels = identity(pod);
    labels.insert(keys::CONTAINER_NAME.into(), c.name.clone());
    let grace = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let annotations = HashMap::from([
        (keys::HASH.to_owned(), hash(c)),
        (keys::RESTART_COUNT.to_owned(), place.restart_count.to_string()),
        (keys::MESSAGE_PATH.to_owned(), c.termination_message_path.clone().unwrap_or_default()),
        (
            keys::MESSAGE_POLICY.to_owned(),
            c.termination_message_policy.clone().unwrap_or_else(|| "File".into()),
        ),
        (keys::GRACE.to_owned(), grace.to_string()),
    ]);
    let envs = place
        .env
        .iter()
        .map(|(k, v)| cri::KeyValue { key: k.clone(), value: v.clone().into_bytes() })
        .collect();
    let image = c.image.clone().unwrap_or_default();
    let stop_signal = c.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: c.name.clone(),
            attempt: u32::try_from(place.restart_count).unwrap_or(0),
        }),
        image: Some(cri::ImageSpec {
            image: place.image_ref.to_owned(),
            user_specified_image: image,
            ..Default::default()
        }),
        command: words(&c.command),
        args: words(&c.args),
        working_dir: c.working_dir.clone().unwrap_or_default(),
        envs,
        mounts: place.mounts,
        labels,
        annotations,
        log_path: log_path(&c.name, place.restart_count),
        stdin: c.stdin == Some(true),
        stdin_once: c.stdin_once == Some(true),
        tty: c.tty == Some(true),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(resources::linux(pod, c, place.memory_capacity, place.cgroup_v2)),
            security_context: Some(security::container(pod, c, place.target_id, place.seccomp_dir)),
        }),
        stop_signal: stop_signal.map_or(0, signal),
        ..Default::default()
    }
}

/// The CRI's number of a signal's name; 0, the image's own, for one it does not know.
fn signal(name: &str) -> i32 {
    const NAMES: [&str; 33] = [
        "SIGABRT",
        "SIGALRM",
        "SIGBUS",
        "SIGCHLD",
        "SIGCLD",
        "SIGCONT",
        "SIGFPE",
        "SIGHUP",
        "SIGILL",
        "SIGINT",
        "SIGIO",
        "SIGIOT",
        "SIGKILL",
        "SIGPIPE",
        "SIGPOLL",
        "SIGPROF",
        "SIGPWR",
        "SIGQUIT",
        "SIGSEGV",
        "SIGSTKFLT",
        "SIGSTOP",
        "SIGSYS",
        "SIGTERM",
        "SIGTRAP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGUSR1",
        "SIGUSR2",
        "SIGVTALRM",
        "SIGWINCH",
        "SIGXCPU",
    ];
    NAMES.iter().position(|n| *n == name).and_then(|at| i32::try_from(at + 1).ok()).unwrap_or(0)
}
