//! What the downward API gives: fields of the pod, resources of a container.
//!
//! Not here: where the values go (`env`, [`crate::volumes`]).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, ResourceFieldSelector};

use crate::pod::view::PodView;

/// Facts about the node and the pod's addresses that fields show.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The node's name.
    pub node_name: String,
    /// The node's addresses.
    pub host_ips: Vec<String>,
    /// The pod's addresses.
    pub pod_ips: Vec<String>,
    /// The node's allocatable cpu (milli), memory and ephemeral storage (bytes), for limits that a
    /// container does not set.
    pub allocatable: [i64; 3],
}

/// The value of a field path; an error names the path.
pub fn field(pod: &PodView, facts: &Facts, path: &str) -> Result<String, String> {
    if let Some((map, key)) = subscript(path) {
        let values = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(values.get(key).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => pod.name().to_owned(),
        "metadata.namespace" => pod.namespace().to_owned(),
        "metadata.uid" => pod.uid().to_owned(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `map['key']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let inner = path.strip_suffix("']")?;
    inner.split_once("['")
}

/// `key="value"` lines, sorted, values quoted as Go quotes them.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", quoted(v))).collect();
    lines.join("\n")
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a container's resource, divided and rounded up.
pub fn resource(
    container: &Container,
    facts: &Facts,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let name = selector.resource.as_str();
    let (list, what) = name.split_once('.').unwrap_or(("", ""));
    let resources = container.resources.as_ref();
    let given = |list: &str| {
        let map = match list {
            "limits" => resources?.limits.as_ref(),
            _ => resources?.requests.as_ref(),
        };
        Quantity::parse(&map?.get(what)?.0).ok()
    };
    let [cpu, memory, storage] = facts.allocatable;
    let node = match what {
        "cpu" => Quantity::milli(cpu),
        "memory" => Quantity::new(memory, api::quantity::Format::BinarySi),
        "ephemeral-storage" => Quantity::new(storage, api::quantity::Format::BinarySi),
        _ if what.starts_with("hugepages-") => Quantity::milli(0),
        _ => return Err(format!("unsupported container resource : {name}")),
    };
    let value = match list {
        // What a container does not limit, the node does.
        "limits" => given("limits").filter(|q| !q.is_zero()).unwrap_or(node),
        "requests" => given("requests").unwrap_or(Quantity::milli(0)),
        _ => return Err(format!("unsupported container resource : {name}")),
    };
    let divisor = selector.divisor.as_ref().and_then(|d| Quantity::parse(&d.0).ok());
    let divisor = divisor.filter(|d| !d.is_zero()).unwrap_or(Quantity::milli(1000));
    let (value, divisor) = if what == "cpu" {
        (value.milli_value(), divisor.milli_value())
    } else {
        (value.value(), divisor.value())
    };
    let divisor = divisor.max(1);
    Ok((value / divisor + i64::from(value % divisor > 0)).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::view::Kind;
    use crate::pod::view::tests::pod;

    #[test]
    fn fields_and_subscripts() {
        let pod = pod(serde_json::json!({ "metadata": { "name": "p", "namespace": "n",
            "labels": { "b/c": "2", "a": "say \"x\"" } }, "spec": { "containers": [] } }));
        let facts =
            Facts { pod_ips: vec!["10.0.0.1".into(), "fd00::1".into()], ..Facts::default() };
        for (path, value) in [
            ("metadata.labels['b/c']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "a=\"say \\\"x\\\"\"\nb/c=\"2\""),
            ("status.podIP", "10.0.0.1"),
            ("status.podIPs", "10.0.0.1,fd00::1"),
        ] {
            assert_eq!(field(&pod, &facts, path).as_deref(), Ok(value), "{path}");
        }
        assert!(field(&pod, &facts, "spec.volumes").is_err());
    }

    #[test]
    fn resources_divide_upwards() {
        let pod = pod(serde_json::json!({ "metadata": { "name": "p" }, "spec": { "containers": [
            { "name": "c", "resources": { "limits": { "memory": "1Gi" }, "requests": { "cpu": "250m" } } }] } }));
        let facts = Facts { allocatable: [4000, 1 << 33, 0], ..Facts::default() };
        let container = &pod.containers(Kind::Regular)[0];
        let ask = |resource: &str, divisor: &str| {
            let selector = ResourceFieldSelector {
                resource: resource.into(),
                divisor: Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(
                    divisor.into(),
                )),
                container_name: None,
            };
            super::resource(container, &facts, &selector).expect("supported")
        };
        assert_eq!(ask("limits.memory", "1Mi"), "1024");
        assert_eq!(ask("requests.cpu", "1m"), "250");
        assert_eq!(ask("requests.cpu", "0"), "1");
        assert_eq!(ask("limits.cpu", "1"), "4", "the node's");
    }
}
