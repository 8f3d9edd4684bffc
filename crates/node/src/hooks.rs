//! Lifecycle hooks: commands in a container, HTTP requests to it, and naps, before a stop or after a
//! start.
//!
//! Not here: when they run.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cri::Cri;
use crate::probe::http;

/// A port's number: its own, or that of the container's port with this name.
pub fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(n) => Some(*n),
        IntOrString::String(text) => text.parse().ok().or_else(|| {
            let named = container.ports.iter().flatten().find(|p| p.name.as_deref() == Some(text));
            named.map(|p| p.container_port)
        }),
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("couldn't find port: {port:?} in container {}", container.name))
}

/// Runs a hook; an error says how it failed.
pub async fn run(
    cri: &Cri,
    hook: &LifecycleHandler,
    container: &Container,
    id: &str,
    pod_ip: &str,
    timeout: Duration,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let out = cri.exec_sync(id, command.clone(), timeout).await.map_err(|e| e.message())?;
        if out.exit_code == 0 {
            return Ok(());
        }
        let text =
            String::from_utf8_lossy(if out.stderr.is_empty() { &out.stdout } else { &out.stderr });
        return Err(format!(
            "command '{}' exited with {}: {text}",
            command.join(" "),
            out.exit_code
        ));
    }
    if let Some(get) = &hook.http_get {
        let port = port(&get.port, container)?;
        let request = http::Request::of(get, pod_ip, port, "kube-lifecycle/1.36");
        let call = http::get(&request);
        return match tokio::time::timeout(timeout, call).await {
            Ok(Ok(answer)) if answer.status < 400 => Ok(()),
            Ok(Ok(answer)) => Err(format!("HTTP hook failed with statuscode: {}", answer.status)),
            Ok(Err(e)) => Err(e),
            Err(_) => Err("HTTP hook timed out".to_owned()),
        };
    }
    if let Some(sleep) = &hook.sleep {
        let nap = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        tokio::time::sleep(nap.min(timeout)).await;
        return Ok(());
    }
    Err("invalid handler".to_owned())
}
