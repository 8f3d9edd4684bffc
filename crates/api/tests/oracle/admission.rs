//! What admission and allocation do to objects, as far as the recordings need it to be compared.

use isopod_api::{Map, Object, Value};
use serde_json::json;

fn list<'a>(spec: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    spec.entry(key).or_insert_with(|| json!([])).as_array_mut().expect("a list")
}

/// Service account, tolerations and priority of pods.
fn pod(object: &mut Object) {
    let spec = object.map_mut("spec");
    let account = spec.get("serviceAccountName").cloned().unwrap_or_else(|| "default".into());
    spec.insert("serviceAccountName".into(), account.clone());
    spec.insert("serviceAccount".into(), account);
    if spec.get("automountServiceAccountToken") != Some(&Value::Bool(false)) {
        let mount = json!({
            "name": "kube-api-access-bcdfg", "readOnly": true,
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
        });
        let mut mounted = false;
        for key in ["initContainers", "containers"] {
            let Some(Value::Array(containers)) = spec.get_mut(key) else { continue };
            for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                let mounts = list(container, "volumeMounts");
                if mounts.iter().all(|m| m["mountPath"] != mount["mountPath"]) {
                    mounts.push(mount.clone());
                    mounted = true;
                }
            }
        }
        if mounted {
            list(spec, "volumes").push(json!({
                "name": "kube-api-access-bcdfg",
                "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
                ]},
            }));
        }
    }
    tolerate(object);
    let spec = object.map_mut("spec");
    if !spec.contains_key("priorityClassName") {
        spec.entry("priority").or_insert_with(|| 0.into());
        spec.entry("preemptionPolicy").or_insert_with(|| "PreemptLowerPriority".into());
    }
}

/// The tolerations that every pod has.
pub fn tolerate(object: &mut Object) {
    let tolerations = list(object.map_mut("spec"), "tolerations");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |t: &Value| {
            let any = t.get("key").is_none() && t["operator"] == "Exists";
            (any || t["key"] == key) && (t.get("effect").is_none() || t["effect"] == "NoExecute")
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}));
        }
    }
}

/// Mutating admission of a create.
pub fn mutate(kind: &str, object: &mut Object) {
    match kind {
        "Pod" => pod(object),
        "PersistentVolumeClaim" => {
            let finalizers = object.meta_mut().entry("finalizers").or_insert_with(|| json!([]));
            finalizers.as_array_mut().expect("a list").push("kubernetes.io/pvc-protection".into());
        }
        "PersistentVolume" => {
            let finalizers = object.meta_mut().entry("finalizers").or_insert_with(|| json!([]));
            finalizers.as_array_mut().expect("a list").push("kubernetes.io/pv-protection".into());
        }
        "Node" => {
            let taint = json!({"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"});
            let taints = list(object.map_mut("spec"), "taints");
            if !taints.contains(&taint) {
                taints.push(taint);
            }
        }
        "VolumeAttributesClass" => {
            object.set_meta("finalizers", json!(["kubernetes.io/vac-protection"]));
        }
        _ => {}
    }
}

/// Addresses and ports of services.
pub fn allocate(object: &mut Object) {
    let kind = object.text("spec.type").unwrap_or("").to_owned();
    let spec = object.map_mut("spec");
    if kind == "ExternalName" {
        return;
    }
    let given = spec.get("clusterIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let address = if given.is_empty() { "10.97.0.77".to_owned() } else { given };
    spec.insert("clusterIP".into(), address.clone().into());
    spec.entry("clusterIPs").or_insert_with(|| json!([address]));
    spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
    spec.entry("ipFamilyPolicy").or_insert_with(|| "SingleStack".into());
    if kind == "LoadBalancer" && spec.get("externalTrafficPolicy") == Some(&"Local".into()) {
        spec.entry("healthCheckNodePort").or_insert_with(|| 31_000.into());
    }
    if kind == "NodePort" || kind == "LoadBalancer" {
        let Some(Value::Array(ports)) = spec.get_mut("ports") else { return };
        for (i, port) in ports.iter_mut().filter_map(Value::as_object_mut).enumerate() {
            port.entry("nodePort").or_insert_with(|| (30_500 + i).into());
        }
    }
}
