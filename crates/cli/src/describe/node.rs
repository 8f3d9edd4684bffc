//! Nodes, with the pods on them.

use std::fmt::Write as _;

use api::quantity::Quantity;
use api::resource::PODS;
use api::{Object, Value};
use client::ListOptions;

use super::Scene;
use super::common::{conditions, items, labels_and_annotations, scalar, time};
use crate::Result;

/// The text of a node.
pub async fn describe(scene: &Scene<'_>) -> Result<String> {
    let node = scene.object;
    let mut out = String::new();
    let _ = writeln!(out, "Name:\t{}", node.name());
    let role = "node-role.kubernetes.io/";
    let roles: Vec<&str> = node.labels().filter_map(|(k, _)| k.strip_prefix(role)).collect();
    let roles = if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") };
    let _ = writeln!(out, "Roles:\t{roles}");
    labels_and_annotations(&mut out, node);
    let _ = writeln!(out, "CreationTimestamp:\t{}", time(node.creation_timestamp()));
    let taints: Vec<String> = items(node, "spec.taints")
        .iter()
        .map(|t| match scalar(&t["value"]) {
            v if v.is_empty() => format!("{}:{}", scalar(&t["key"]), scalar(&t["effect"])),
            v => format!("{}={v}:{}", scalar(&t["key"]), scalar(&t["effect"])),
        })
        .collect();
    let taints = if taints.is_empty() { "<none>".to_owned() } else { taints.join("\n\t") };
    let unschedulable = node.at("spec.unschedulable") == Some(&Value::Bool(true));
    let _ = writeln!(out, "Taints:\t{taints}\nUnschedulable:\t{unschedulable}");
    conditions(
        &mut out,
        node,
        &[
            ("Type", "type"),
            ("Status", "status"),
            ("LastHeartbeatTime", "lastHeartbeatTime"),
            ("LastTransitionTime", "lastTransitionTime"),
            ("Reason", "reason"),
            ("Message", "message"),
        ],
    );
    out.push_str("Addresses:\n");
    for address in items(node, "status.addresses") {
        let _ = writeln!(out, "  {}:\t{}", scalar(&address["type"]), scalar(&address["address"]));
    }
    for (title, path) in [("Capacity", "status.capacity"), ("Allocatable", "status.allocatable")] {
        let _ = writeln!(out, "{title}:");
        for (name, amount) in node.at(path).and_then(Value::as_object).into_iter().flatten() {
            let _ = writeln!(out, "  {name}:\t{}", scalar(amount));
        }
    }
    out.push_str("System Info:\n");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        let _ = writeln!(
            out,
            "  {title}:\t{}",
            node.text(&format!("status.nodeInfo.{field}")).unwrap_or("")
        );
    }
    for (title, path) in [("PodCIDR", "spec.podCIDR"), ("ProviderID", "spec.providerID")] {
        if let Some(text) = node.text(path) {
            let _ = writeln!(out, "{title}:\t{text}");
        }
    }
    let select = ListOptions::fields(format!(
        "spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed",
        node.name()
    ));
    let pods = scene.context.client.list::<Object>(&PODS, "", &select).await?.items;
    used(&mut out, scene, &pods);
    Ok(out)
}

/// One pod's requests and limits of a resource: `[request, limit]` in thousandths.
fn amounts(pod: &Object, resource: &str) -> [i64; 2] {
    ["requests", "limits"].map(|kind| {
        let each =
            items(pod, "spec.containers").iter().map(|c| scalar(&c["resources"][kind][resource]));
        each.filter_map(|t| Quantity::parse(&t).ok()).map(Quantity::milli_value).sum()
    })
}

fn used(out: &mut String, scene: &Scene<'_>, pods: &[Object]) {
    let _ = writeln!(out, "Non-terminated Pods:\t({} in total)", pods.len());
    out.push_str(
        "  Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n",
    );
    out.push_str(
        "  ---------\t----\t------------\t----------\t---------------\t-------------\t---\n",
    );
    let have = |resource: &str| {
        let text = scene.object.text(&format!("status.allocatable.{resource}")).unwrap_or("0");
        Quantity::parse(text).map_or(0, Quantity::milli_value)
    };
    let all = [("cpu", have("cpu")), ("memory", have("memory"))];
    let shown = |resource: &str, milli: i64, have: i64| {
        let amount = match resource {
            "cpu" if milli % 1000 != 0 => format!("{milli}m"),
            "cpu" => (milli / 1000).to_string(),
            _ if milli % (1000 * 1024 * 1024) == 0 && milli > 0 => {
                format!("{}Mi", milli / (1000 * 1024 * 1024))
            }
            _ => (milli / 1000).to_string(),
        };
        let percent = if have == 0 { 0 } else { i128::from(milli) * 100 / i128::from(have) };
        format!("{amount} ({percent}%)")
    };
    let mut totals = [[0i64; 2]; 2];
    for pod in pods {
        let mut cells = vec![pod.namespace().to_owned(), pod.name().to_owned()];
        for (at, (resource, have)) in all.iter().enumerate() {
            for (kind, milli) in amounts(pod, resource).into_iter().enumerate() {
                totals[at][kind] += milli;
                cells.push(shown(resource, milli, *have));
            }
        }
        cells.push(crate::text::age(pod.creation_timestamp(), &scene.clock));
        let _ = writeln!(out, "  {}", cells.join("\t"));
    }
    out.push_str(
        "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n",
    );
    out.push_str("  Resource\tRequests\tLimits\n  --------\t--------\t------\n");
    for ((resource, have), [requests, limits]) in all.iter().zip(totals) {
        let _ = writeln!(
            out,
            "  {resource}\t{}\t{}",
            shown(resource, requests, *have),
            shown(resource, limits, *have)
        );
    }
}
