//! Learning that something changed at the runtime: its events, and looking over everything.
//!
//! The best source there is is used: the CRI's own event stream; else, with containerd, its task
//! events on the same socket, which every version of it has; else a look at all containers every
//! second while anything runs. The first two cost nothing at rest. Even with events everything is
//! looked over now and then, because a stream may have been cut. Not here: what a pod does about a
//! change (its worker's).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::Shutdown;

use crate::containerd::api::{TaskChange, TaskEvents};
use crate::cri::{ContainerEventType, CriError, StatusRequest};
use crate::kubelet::{Kubelet, Message, RuntimeHealth};

/// How often everything is looked over when the runtime has no events.
const RELIST: Duration = Duration::from_secs(1);
/// And when it has.
const BACKSTOP: Duration = Duration::from_secs(120);

/// Tells workers of changes until shutdown.
pub async fn watch(kubelet: Arc<Kubelet>, shutdown: Shutdown) {
    let mut seen = HashMap::new();
    loop {
        let streamed = async {
            if !cri_events(&kubelet).await {
                return task_events(&kubelet).await;
            }
            true
        };
        let had_stream = tokio::select! {
            () = shutdown.cancelled() => return,
            had = streamed => had,
            () = backstop(&kubelet) => true,
        };
        // Without a stream, or after it was cut, look.
        relist(&kubelet, &mut seen).await;
        let pause = if had_stream { Duration::from_millis(100) } else { RELIST };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn backstop(kubelet: &Kubelet) {
    // When a CRI stream stands is not known.
    tokio::time::sleep(RELIST).await;
    loop {
        look_over(kubelet);
        tokio::time::sleep(BACKSTOP).await;
    }
}

/// Has every worker look at all that is its own.
fn look_over(kubelet: &Kubelet) {
    for handle in kubelet.pods.read().values() {
        let _ = handle.mailbox.send(Message::Relist);
    }
}

fn changed(kubelet: &Kubelet, id: String) {
    let owner = kubelet.owners.lock().get(&id).cloned();
    if let Some(uid) = owner {
        kubelet.tell(&uid, Message::Changed(id));
    }
}

/// Follows the CRI's events; false where the runtime has none.
async fn cri_events(kubelet: &Kubelet) -> bool {
    let mut stream = match kubelet.cri.container_events().await {
        Ok(stream) => stream,
        Err(CriError::Unreachable(_)) => return true,
        Err(_) => return false,
    };
    let mut any = false;
    while let Ok(Some(event)) = stream.message().await {
        any = true;
        if event.container_event_type() == ContainerEventType::Stopped {
            changed(kubelet, event.container_id);
        }
    }
    any
}

/// Follows containerd's task events; false where the runtime is another.
async fn task_events(kubelet: &Kubelet) -> bool {
    let Ok(mut events) = TaskEvents::subscribe(kubelet.cri.channel()).await else { return false };
    // What happened before is seen; what happens from now on is told.
    look_over(kubelet);
    while let Some(event) = events.next().await {
        match event {
            TaskChange::Exit(id) => changed(kubelet, id),
            TaskChange::OutOfMemory(id) => tracing::info!(container = id, "out of memory"),
        }
    }
    true
}

/// Looks at all containers and sandboxes and tells the workers of those that changed.
async fn relist(kubelet: &Kubelet, seen: &mut HashMap<String, i32>) {
    if kubelet.pods.read().is_empty() {
        return;
    }
    let (Ok(containers), Ok(sandboxes)) =
        (kubelet.cri.list_containers(None).await, kubelet.cri.list_pod_sandboxes(None).await)
    else {
        return;
    };
    let mut now: HashMap<String, i32> = containers.into_iter().map(|c| (c.id, c.state)).collect();
    now.extend(sandboxes.into_iter().map(|s| (s.id, s.state)));
    for (id, state) in &now {
        if seen.get(id).is_some_and(|before| before != state) {
            changed(kubelet, id.clone());
        }
    }
    for id in seen.keys().filter(|id| !now.contains_key(*id)) {
        changed(kubelet, id.clone());
    }
    *seen = now;
}

/// Asks the runtime how it is: often until it is well, then seldom.
pub async fn watch_health(
    cri: crate::cri::Cri,
    health: tokio::sync::watch::Sender<RuntimeHealth>,
    shutdown: Shutdown,
) {
    loop {
        let now = ask(&cri).await;
        let well = now == RuntimeHealth::default();
        health.send_if_modified(|old| {
            let differs = *old != now;
            *old = now;
            differs
        });
        let pause = if well { Duration::from_secs(15) } else { Duration::from_millis(50) };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// How the runtime is.
pub async fn ask(cri: &crate::cri::Cri) -> RuntimeHealth {
    let conditions = match cri.status(StatusRequest { verbose: false }).await {
        Ok(answer) => answer.status.unwrap_or_default().conditions,
        Err(e) => {
            return RuntimeHealth { runtime: Some(e.to_string()), network: Some(e.to_string()) };
        }
    };
    let bad = |kind: &str| {
        let c = conditions.iter().find(|c| c.r#type == kind)?;
        (!c.status).then(|| {
            format!(
                "container runtime network not ready: {kind}=false reason:{} message:{}",
                c.reason, c.message
            )
        })
    };
    RuntimeHealth { runtime: bad("RuntimeReady"), network: bad("NetworkReady") }
}
