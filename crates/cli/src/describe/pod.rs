//! Pods, and the pod templates of workloads.

use std::fmt::Write as _;

use api::Value;

use super::Scene;
use super::common::{items, labels_and_annotations, pairs, scalar, time, tolerations};

/// The text of a pod.
pub fn describe(scene: &Scene<'_>) -> String {
    let pod = scene.object;
    let text = |path: &str| pod.text(path).unwrap_or("");
    let mut out = String::new();
    let _ = writeln!(out, "Name:\t{}\nNamespace:\t{}", pod.name(), pod.namespace());
    let _ = writeln!(out, "Priority:\t{}", pod.int("spec.priority").unwrap_or(0));
    for (title, path) in [
        ("Priority Class Name", "spec.priorityClassName"),
        ("Runtime Class Name", "spec.runtimeClassName"),
        ("Service Account", "spec.serviceAccountName"),
    ] {
        if !text(path).is_empty() {
            let _ = writeln!(out, "{title}:\t{}", text(path));
        }
    }
    match text("spec.nodeName") {
        "" => out.push_str("Node:\t<none>\n"),
        node => {
            let _ = writeln!(out, "Node:\t{node}/{}", text("status.hostIP"));
        }
    }
    if let Some(start) = pod.text("status.startTime") {
        let _ = writeln!(out, "Start Time:\t{}", time(start));
    }
    labels_and_annotations(&mut out, pod);
    match pod.deletion_timestamp() {
        Some(at) => {
            let _ = writeln!(
                out,
                "Status:\tTerminating (lasts {})",
                crate::text::age(at, &scene.clock)
            );
            let grace = pod.int("metadata.deletionGracePeriodSeconds").unwrap_or(0);
            let _ = writeln!(out, "Termination Grace Period:\t{grace}s");
        }
        None => {
            let _ = writeln!(out, "Status:\t{}", text("status.phase"));
        }
    }
    for (title, path) in [("Reason", "status.reason"), ("Message", "status.message")] {
        if !text(path).is_empty() {
            let _ = writeln!(out, "{title}:\t{}", text(path));
        }
    }
    let _ = writeln!(out, "IP:\t{}", text("status.podIP"));
    let ips = items(pod, "status.podIPs");
    if ips.is_empty() {
        out.push_str("IPs:\t<none>\n");
    } else {
        out.push_str("IPs:\n");
        for ip in ips {
            let _ = writeln!(out, "  IP:\t{}", scalar(&ip["ip"]));
        }
    }
    if let Some(owner) =
        pod.owner_references().find(|o| o.get("controller") == Some(&Value::Bool(true)))
    {
        let part = |key: &str| owner.get(key).map(scalar).unwrap_or_default();
        let _ = writeln!(out, "Controlled By:\t{}/{}", part("kind"), part("name"));
    }
    let init = items(pod, "spec.initContainers");
    if !init.is_empty() {
        containers(
            &mut out,
            "Init Containers",
            init,
            items(pod, "status.initContainerStatuses"),
            "",
        );
    }
    let main = items(pod, "spec.containers");
    containers(&mut out, "Containers", main, items(pod, "status.containerStatuses"), "");
    let conditions = items(pod, "status.conditions");
    if !conditions.is_empty() {
        out.push_str("Conditions:\n  Type\tStatus\n");
        for c in conditions {
            let _ = writeln!(out, "  {}\t{}", scalar(&c["type"]), scalar(&c["status"]));
        }
    }
    volumes(&mut out, items(pod, "spec.volumes"), "");
    if !text("status.qosClass").is_empty() {
        let _ = writeln!(out, "QoS Class:\t{}", text("status.qosClass"));
    }
    pairs(&mut out, "Node-Selectors", pod.at("spec.nodeSelector"), "=", "");
    tolerations(&mut out, items(pod, "spec.tolerations"));
    out
}

/// Containers with their statuses, where there are any.
pub fn containers(out: &mut String, title: &str, list: &[Value], statuses: &[Value], pad: &str) {
    let _ = writeln!(out, "{pad}{title}:");
    for container in list {
        let name = scalar(&container["name"]);
        let _ = writeln!(out, "{pad}  {name}:");
        let status = statuses.iter().find(|s| s["name"] == container["name"]);
        let mut line = |title: &str, value: String| {
            let _ = writeln!(out, "{pad}    {title}:\t{value}");
        };
        if let Some(status) = status {
            line("Container ID", scalar(&status["containerID"]));
        }
        line("Image", scalar(&container["image"]));
        if let Some(status) = status {
            line("Image ID", scalar(&status["imageID"]));
        }
        let ports = container["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
        let shown = |field: &str| -> String {
            let all: Vec<String> = ports
                .iter()
                .map(|p| format!("{}/{}", p[field].as_i64().unwrap_or(0), scalar(&p["protocol"])))
                .collect();
            if all.is_empty() { "<none>".to_owned() } else { all.join(", ") }
        };
        let s = if ports.len() > 1 { "s" } else { "" };
        line(&format!("Port{s}"), shown("containerPort"));
        line(&format!("Host Port{s}"), shown("hostPort"));
        for (title, field) in [("Command", "command"), ("Args", "args")] {
            if let Some(words) = container[field].as_array().filter(|w| !w.is_empty()) {
                let _ = writeln!(out, "{pad}    {title}:");
                for word in words {
                    let _ =
                        writeln!(out, "{pad}      {}", scalar(word).replace('\n', "\n        "));
                }
            }
        }
        if let Some(status) = status {
            state(out, "State", &status["state"], pad);
            if status["lastState"].as_object().is_some_and(|s| !s.is_empty()) {
                state(out, "Last State", &status["lastState"], pad);
            }
            let ready = if status["ready"] == true { "True" } else { "False" };
            let _ = writeln!(out, "{pad}    Ready:\t{ready}");
            let _ = writeln!(out, "{pad}    Restart Count:\t{}", scalar(&status["restartCount"]));
        }
        for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
            if let Some(map) = container["resources"][field].as_object().filter(|m| !m.is_empty()) {
                let _ = writeln!(out, "{pad}    {title}:");
                for (resource, amount) in map {
                    let _ = writeln!(out, "{pad}      {resource}:\t{}", scalar(amount));
                }
            }
        }
        for (title, field) in [
            ("Liveness", "livenessProbe"),
            ("Readiness", "readinessProbe"),
            ("Startup", "startupProbe"),
        ] {
            if container[field].is_object() {
                let _ = writeln!(out, "{pad}    {title}:\t{}", probe(&container[field]));
            }
        }
        environment(out, container, pad);
        mounts(out, container, pad);
    }
}

fn state(out: &mut String, title: &str, value: &Value, pad: &str) {
    let part = |kind: &str, field: &str| scalar(&value[kind][field]);
    if value["running"].is_object() {
        let _ = writeln!(out, "{pad}    {title}:\tRunning");
        let _ = writeln!(out, "{pad}      Started:\t{}", time(&part("running", "startedAt")));
    } else if value["terminated"].is_object() {
        let _ = writeln!(out, "{pad}    {title}:\tTerminated");
        for (title, field) in
            [("Reason", "reason"), ("Message", "message"), ("Exit Code", "exitCode")]
        {
            let text = part("terminated", field);
            if !text.is_empty() {
                let _ = writeln!(out, "{pad}      {title}:\t{text}");
            }
        }
        for (title, field) in [("Started", "startedAt"), ("Finished", "finishedAt")] {
            let _ = writeln!(out, "{pad}      {title}:\t{}", time(&part("terminated", field)));
        }
    } else {
        let _ = writeln!(out, "{pad}    {title}:\tWaiting");
        let reason = part("waiting", "reason");
        if !reason.is_empty() {
            let _ = writeln!(out, "{pad}      Reason:\t{reason}");
        }
    }
}

fn probe(probe: &Value) -> String {
    let number = |field: &str, default: i64| probe[field].as_i64().unwrap_or(default);
    let times = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("periodSeconds", 10),
        number("successThreshold", 1),
        number("failureThreshold", 3)
    );
    let what = if let Some(command) = probe["exec"]["command"].as_array() {
        let words: Vec<String> = command.iter().map(scalar).collect();
        format!("exec [{}]", words.join(" "))
    } else if probe["httpGet"].is_object() {
        let get = &probe["httpGet"];
        let scheme = scalar(&get["scheme"]).to_lowercase();
        let scheme = if scheme.is_empty() { "http".to_owned() } else { scheme };
        format!(
            "http-get {scheme}://{}:{}{}",
            scalar(&get["host"]),
            scalar(&get["port"]),
            scalar(&get["path"])
        )
    } else if probe["tcpSocket"].is_object() {
        let tcp = &probe["tcpSocket"];
        format!("tcp-socket {}:{}", scalar(&tcp["host"]), scalar(&tcp["port"]))
    } else if probe["grpc"].is_object() {
        format!(
            "grpc <pod>:{} {}",
            scalar(&probe["grpc"]["port"]),
            scalar(&probe["grpc"]["service"])
        )
    } else {
        "unknown".to_owned()
    };
    format!("{what} {times}")
}

fn environment(out: &mut String, container: &Value, pad: &str) {
    let from = container["envFrom"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !from.is_empty() {
        let _ = writeln!(out, "{pad}    Environment Variables from:");
        for source in from {
            let kinds = [("ConfigMap", "configMapRef"), ("Secret", "secretRef")];
            for (kind, field) in kinds.iter().filter(|(_, f)| source[*f].is_object()) {
                let optional = source[*field]["optional"] == true;
                let _ = writeln!(
                    out,
                    "{pad}      {}\t{kind}\tOptional: {optional}",
                    scalar(&source[*field]["name"])
                );
            }
        }
    }
    let list = container["env"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let _ = writeln!(out, "{pad}    Environment:\t<none>");
        return;
    }
    let _ = writeln!(out, "{pad}    Environment:");
    for variable in list {
        let source = &variable["valueFrom"];
        let value = if source["fieldRef"].is_object() {
            format!(
                " ({}:{})",
                scalar(&source["fieldRef"]["apiVersion"]),
                scalar(&source["fieldRef"]["fieldPath"])
            )
        } else if source["resourceFieldRef"].is_object() {
            format!(" ({})", scalar(&source["resourceFieldRef"]["resource"]))
        } else if source["secretKeyRef"].is_object() {
            key_ref(&source["secretKeyRef"], "secret")
        } else if source["configMapKeyRef"].is_object() {
            key_ref(&source["configMapKeyRef"], "config map")
        } else {
            scalar(&variable["value"])
        };
        let _ = writeln!(out, "{pad}      {}:\t{value}", scalar(&variable["name"]));
    }
}

fn key_ref(reference: &Value, kind: &str) -> String {
    let optional = reference["optional"] == true;
    format!(
        "<set to the key '{}' in {kind} '{}'>\tOptional: {optional}",
        scalar(&reference["key"]),
        scalar(&reference["name"])
    )
}

fn mounts(out: &mut String, container: &Value, pad: &str) {
    let list = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        let _ = writeln!(out, "{pad}    Mounts:\t<none>");
        return;
    }
    let _ = writeln!(out, "{pad}    Mounts:");
    for mount in list {
        let mode = if mount["readOnly"] == true { "ro" } else { "rw" };
        let sub = scalar(&mount["subPath"]);
        let sub = if sub.is_empty() { sub } else { format!(",path=\"{sub}\"") };
        let _ = writeln!(
            out,
            "{pad}      {} from {} ({mode}{sub})",
            scalar(&mount["mountPath"]),
            scalar(&mount["name"])
        );
    }
}

/// Volumes with their sources' fields.
pub fn volumes(out: &mut String, list: &[Value], pad: &str) {
    if list.is_empty() {
        let _ = writeln!(out, "{pad}Volumes:\t<none>");
        return;
    }
    let _ = writeln!(out, "{pad}Volumes:");
    for volume in list {
        let _ = writeln!(out, "{pad}  {}:", scalar(&volume["name"]));
        let source = volume.as_object().and_then(|v| v.iter().find(|(k, _)| *k != "name"));
        let Some((kind, fields)) = source else { continue };
        let _ = writeln!(out, "{pad}    Type:\t{}", volume_type(kind));
        for (field, value) in fields.as_object().into_iter().flatten() {
            if !value.is_object() && !value.is_array() {
                let mut title = field.clone();
                if let Some(first) = title.get_mut(..1) {
                    first.make_ascii_uppercase();
                }
                let _ = writeln!(out, "{pad}    {title}:\t{}", scalar(value));
            }
        }
    }
}

fn volume_type(kind: &str) -> String {
    let known = [
        ("emptyDir", "EmptyDir (a temporary directory that shares a pod's lifetime)"),
        ("hostPath", "HostPath (bare host directory volume)"),
        ("configMap", "ConfigMap (a volume populated by a ConfigMap)"),
        ("secret", "Secret (a volume populated by a Secret)"),
        ("downwardAPI", "DownwardAPI (a volume populated by information about the pod)"),
        ("projected", "Projected (a volume that contains injected data from multiple sources)"),
        (
            "persistentVolumeClaim",
            "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        ),
    ];
    known
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or_else(|| kind.to_owned(), |(_, text)| (*text).to_owned())
}
