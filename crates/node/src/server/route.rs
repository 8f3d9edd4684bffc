//! Which path is answered by what.
//!
//! Not here: the answers.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Body, Refusal, json as json_body, logs, refuse, respond, stats, streams, system, text,
};
use crate::kubelet::{Kubelet, Snapshot};
use crate::pod::observed::Container;

/// A container as a path names it: `namespace/pod[/uid]/container`.
pub struct Place {
    /// The pod.
    pub snapshot: Snapshot,
    /// The container's name; empty for the pod itself.
    pub container: String,
}

impl Place {
    /// Finds the pod, with a container where one is named.
    pub fn find(kubelet: &Kubelet, rest: &[&str], has_container: bool) -> Result<Self, Refusal> {
        let (namespace, pod, uid, container) = match (rest, has_container) {
            ([n, p], false) => (*n, *p, None, ""),
            ([n, p, u], false) => (*n, *p, Some(*u), ""),
            ([n, p, c], true) => (*n, *p, None, *c),
            ([n, p, u, c], true) => (*n, *p, Some(*u), *c),
            _ => return Err(refuse(StatusCode::NOT_FOUND, "404 page not found")),
        };
        let found = kubelet.find(namespace, pod).filter(|s| uid.is_none_or(|u| s.pod.uid() == u));
        let Some(snapshot) = found else {
            return Err(refuse(StatusCode::NOT_FOUND, format!("pod does not exist: {pod}")));
        };
        if has_container && snapshot.pod.by_name(container).is_none() {
            let message = format!("container {container} is not valid for pod {pod}");
            return Err(refuse(StatusCode::BAD_REQUEST, message));
        }
        Ok(Self { snapshot, container: container.to_owned() })
    }

    /// The newest container of that name.
    pub fn observed(&self) -> Option<&Container> {
        self.snapshot.observed.latest(&self.container)
    }
}

/// Answers an admitted request.
pub async fn answer(kubelet: Arc<Kubelet>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let read = *request.method() == Method::GET || *request.method() == Method::HEAD;
    match (parts[0], &parts[1..]) {
        ("healthz", _) if read => health(&kubelet),
        ("pods" | "runningpods", []) if read => pods(&kubelet),
        ("metrics", []) if read => stats::metrics(&kubelet),
        ("metrics", ["resource"]) if read => stats::resource(&kubelet).await,
        ("metrics", ["cadvisor" | "probes"]) if read => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", Vec::new())
        }
        ("stats", ["summary"]) if read => stats::summary(&kubelet).await,
        ("configz", []) if read => configz(&kubelet),
        ("containerLogs", rest) if read => {
            logs::answer(&kubelet, rest, request.uri().query()).await
        }
        ("logs", _) if read => system::answer(&path).await,
        ("exec", rest) => streams::exec(kubelet, rest, request).await,
        ("attach", rest) => streams::attach(kubelet, rest, request).await,
        ("portForward", rest) => streams::port_forward(kubelet, rest, request).await,
        ("run", rest) if *request.method() == Method::POST => {
            streams::run(&kubelet, rest, request.uri().query().unwrap_or("")).await
        }
        ("checkpoint", _) => {
            text(StatusCode::NOT_FOUND, "checkpoints are not supported by the container runtime")
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found"),
    }
}

fn health(kubelet: &Kubelet) -> Response<Body> {
    match &kubelet.health.borrow().runtime {
        None => respond(StatusCode::OK, "text/plain; charset=utf-8", b"ok".to_vec()),
        Some(why) => text(StatusCode::INTERNAL_SERVER_ERROR, why.clone()),
    }
}

fn pods(kubelet: &Kubelet) -> Response<Body> {
    let items: Vec<Value> =
        kubelet.snapshots().iter().filter_map(Snapshot::object).map(Value::from).collect();
    json_body(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

fn configz(kubelet: &Kubelet) -> Response<Body> {
    let c = &kubelet.config;
    json_body(&json!({ "kubeletconfig": {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": c.server.address.to_string(),
        "port": c.server.port,
        "clusterDomain": c.cluster.domain,
        "clusterDNS": c.cluster.dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "maxPods": c.node.max_pods,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": c.runtime.cgroup_root,
        "resolvConf": c.cluster.resolv_conf.display().to_string(),
        "imageGCHighThresholdPercent": c.limits.image_gc_high,
        "imageGCLowThresholdPercent": c.limits.image_gc_low,
        "evictionHard": c.limits.eviction_hard.iter()
            .map(|(signal, least)| (signal.name().to_owned(), least.to_string().into()))
            .collect::<serde_json::Map<_, _>>(),
        "containerLogMaxSize": c.limits.log_size.to_string(),
        "containerLogMaxFiles": c.limits.log_files,
    } }))
}

/// The decoded values of a query's key.
pub fn values(query: &str, key: &str) -> Vec<String> {
    let pairs = query.split('&').map(|p| p.split_once('=').unwrap_or((p, "")));
    pairs.filter(|(k, _)| *k == key).map(|(_, v)| decoded(v)).collect()
}

/// Text of a URL, decoded.
pub fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                at += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                at += 1;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let query = "command=sh&command=-c&command=echo+%C3%BC%20%26x&tty=1";
        assert_eq!(values(query, "command"), ["sh", "-c", "echo ü &x"]);
        assert_eq!(values(query, "tty"), ["1"]);
        assert!(values(query, "none").is_empty());
    }
}
