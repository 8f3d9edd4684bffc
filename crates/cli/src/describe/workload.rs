//! Deployments and services.

use std::fmt::Write as _;

use api::resource::{ENDPOINT_SLICES, REPLICA_SETS};
use api::{Object, Value};
use client::ListOptions;

use super::Scene;
use super::common::{conditions, items, labels_and_annotations, pairs, scalar, time, tolerations};
use super::pod::{containers, volumes};
use crate::Result;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// The text of a deployment.
pub async fn deployment(scene: &Scene<'_>) -> Result<String> {
    let d = scene.object;
    let number = |path: &str| d.int(path).unwrap_or(0);
    let mut out = String::new();
    let _ = writeln!(out, "Name:\t{}\nNamespace:\t{}", d.name(), d.namespace());
    let _ = writeln!(out, "CreationTimestamp:\t{}", time(d.creation_timestamp()));
    labels_and_annotations(&mut out, d);
    let labels = d.at("spec.selector.matchLabels").and_then(Value::as_object);
    let selector: Vec<String> =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", scalar(v))).collect();
    let _ = writeln!(out, "Selector:\t{}", selector.join(","));
    let _ = writeln!(
        out,
        "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable",
        number("spec.replicas"),
        number("status.updatedReplicas"),
        number("status.replicas"),
        number("status.availableReplicas"),
        number("status.unavailableReplicas")
    );
    let strategy = d.text("spec.strategy.type").unwrap_or("");
    let _ = writeln!(
        out,
        "StrategyType:\t{strategy}\nMinReadySeconds:\t{}",
        number("spec.minReadySeconds")
    );
    if let Some(rolling) = d.at("spec.strategy.rollingUpdate") {
        let _ = writeln!(
            out,
            "RollingUpdateStrategy:\t{} max unavailable, {} max surge",
            scalar(&rolling["maxUnavailable"]),
            scalar(&rolling["maxSurge"])
        );
    }
    out.push_str("Pod Template:\n");
    let template = d.at("spec.template").cloned().unwrap_or_default();
    pairs(&mut out, "  Labels", template["metadata"].get("labels"), "=", "");
    let spec = &template["spec"];
    let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
    if let Some(account) = spec["serviceAccountName"].as_str() {
        let _ = writeln!(out, "  Service Account:\t{account}");
    }
    if !list("initContainers").is_empty() {
        containers(&mut out, "Init Containers", &list("initContainers"), &[], "  ");
    }
    containers(&mut out, "Containers", &list("containers"), &[], "  ");
    volumes(&mut out, &list("volumes"), "  ");
    pairs(&mut out, "  Node-Selectors", spec.get("nodeSelector"), "=", "");
    let mut tolerated = String::new();
    tolerations(&mut tolerated, &list("tolerations"));
    let _ = write!(out, "  {tolerated}");
    conditions(&mut out, d, &[("Type", "type"), ("Status", "status"), ("Reason", "reason")]);
    let sets = scene
        .context
        .client
        .list::<Object>(&REPLICA_SETS, d.namespace(), &ListOptions::labels(selector.join(",")))
        .await?;
    let mut owned: Vec<&Object> =
        sets.items.iter().filter(|s| s.controller_uid() == Some(d.uid())).collect();
    let revision =
        |o: &Object| o.annotation(REVISION).and_then(|r| r.parse::<u64>().ok()).unwrap_or(0);
    owned.sort_by_key(|s| revision(s));
    let (new, old): (Vec<&Object>, Vec<&Object>) =
        owned.into_iter().partition(|s| revision(s) == revision(d));
    let shown = |sets: &[&Object]| {
        let all: Vec<String> = sets
            .iter()
            .map(|s| {
                let (made, wanted) =
                    (s.int("status.replicas").unwrap_or(0), s.int("spec.replicas").unwrap_or(0));
                format!("{} ({made}/{wanted} replicas created)", s.name())
            })
            .collect();
        if all.is_empty() { "<none>".to_owned() } else { all.join(", ") }
    };
    let _ = writeln!(out, "OldReplicaSets:\t{}\nNewReplicaSet:\t{}", shown(&old), shown(&new));
    Ok(out)
}

/// The text of a service.
pub async fn service(scene: &Scene<'_>) -> Result<String> {
    let s = scene.object;
    let text = |path: &str| s.text(path).unwrap_or("");
    let mut out = String::new();
    let _ = writeln!(out, "Name:\t{}\nNamespace:\t{}", s.name(), s.namespace());
    labels_and_annotations(&mut out, s);
    let map = s.at("spec.selector").and_then(Value::as_object);
    let selector: Vec<String> =
        map.into_iter().flatten().map(|(k, v)| format!("{k}={}", scalar(v))).collect();
    let none = |t: String| if t.is_empty() { "<none>".to_owned() } else { t };
    let join = |path: &str| items(s, path).iter().map(scalar).collect::<Vec<_>>().join(",");
    let _ = writeln!(out, "Selector:\t{}\nType:\t{}", none(selector.join(",")), text("spec.type"));
    let _ = writeln!(out, "IP Family Policy:\t{}", text("spec.ipFamilyPolicy"));
    let _ = writeln!(out, "IP Families:\t{}", none(join("spec.ipFamilies")));
    let _ =
        writeln!(out, "IP:\t{}\nIPs:\t{}", text("spec.clusterIP"), none(join("spec.clusterIPs")));
    for (title, path) in
        [("External IPs", "spec.externalIPs"), ("External Name", "spec.externalName")]
    {
        let value = if path.ends_with('s') { join(path) } else { text(path).to_owned() };
        if !value.is_empty() {
            let _ = writeln!(out, "{title}:\t{value}");
        }
    }
    let slices = scene
        .context
        .client
        .list::<Object>(
            &ENDPOINT_SLICES,
            s.namespace(),
            &ListOptions::labels(format!("kubernetes.io/service-name={}", s.name())),
        )
        .await?;
    for port in items(s, "spec.ports") {
        let name = match scalar(&port["name"]) {
            name if name.is_empty() => "<unset>".to_owned(),
            name => name,
        };
        let protocol = scalar(&port["protocol"]);
        let _ = writeln!(out, "Port:\t{name}\t{}/{protocol}", scalar(&port["port"]));
        let _ = writeln!(out, "TargetPort:\t{}/{protocol}", scalar(&port["targetPort"]));
        if let Some(number) = port["nodePort"].as_i64() {
            let _ = writeln!(out, "NodePort:\t{name}\t{number}/{protocol}");
        }
        let _ = writeln!(out, "Endpoints:\t{}", none(endpoints(&slices.items, &port["name"])));
    }
    let _ = writeln!(out, "Session Affinity:\t{}", text("spec.sessionAffinity"));
    for (title, path) in [
        ("External Traffic Policy", "spec.externalTrafficPolicy"),
        ("Internal Traffic Policy", "spec.internalTrafficPolicy"),
    ] {
        if !text(path).is_empty() {
            let _ = writeln!(out, "{title}:\t{}", text(path));
        }
    }
    Ok(out)
}

/// Ready addresses of one port, three at most.
fn endpoints(slices: &[Object], port: &Value) -> String {
    let mut all = Vec::new();
    for slice in slices {
        let numbers = items(slice, "ports").iter().filter(|p| scalar(&p["name"]) == scalar(port));
        for number in numbers.filter_map(|p| p["port"].as_i64()) {
            let ready =
                items(slice, "endpoints").iter().filter(|e| e["conditions"]["ready"] != false);
            for endpoint in ready {
                let addresses = endpoint["addresses"].as_array().into_iter().flatten();
                all.extend(addresses.map(|a| format!("{}:{number}", scalar(a))));
            }
        }
    }
    let more = all.len().saturating_sub(3);
    all.truncate(3);
    let text = all.join(",");
    if more > 0 { format!("{text} + {more} more...") } else { text }
}
