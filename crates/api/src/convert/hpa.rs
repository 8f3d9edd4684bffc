//! `autoscaling`: v1 knows one metric, the CPU's utilization; what else v2 says travels in
//! annotations, as JSON with the key order of upstream's structs.

use serde_json::{Map, Value, json};

use crate::object::Object;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Of these, what is said of the status.
pub const STATUS_ANNOTATIONS: [&str; 2] = [CURRENT_METRICS, CONDITIONS];
pub const ANNOTATIONS: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

/// The target of an object that names no metric, in percent.
const DEFAULT_UTILIZATION: u32 = 80;

/// Where a field of the v1 annotation is in a v2 metric: `(source, v1 name, v2 path, always there)`,
/// in upstream's order. `{}` in a path is `target` of a spec, `current` of a status; `!` in a name is
/// `target` or `current` likewise.
const FIELDS: [(&str, &str, &str, bool); 19] = [
    ("object", "target", "describedObject", true),
    ("object", "metricName", "metric.name", true),
    ("object", "!Value", "{}.value", true),
    ("object", "selector", "metric.selector", false),
    ("object", "averageValue", "{}.averageValue", false),
    ("pods", "metricName", "metric.name", true),
    ("pods", "!AverageValue", "{}.averageValue", true),
    ("pods", "selector", "metric.selector", false),
    ("resource", "name", "name", true),
    ("resource", "!AverageUtilization", "{}.averageUtilization", false),
    ("resource", "!AverageValue", "{}.averageValue", false),
    ("containerResource", "name", "name", true),
    ("containerResource", "!AverageUtilization", "{}.averageUtilization", false),
    ("containerResource", "!AverageValue", "{}.averageValue", false),
    ("containerResource", "container", "container", true),
    ("external", "metricName", "metric.name", true),
    ("external", "metricSelector", "metric.selector", false),
    ("external", "!Value", "{}.value", false),
    ("external", "!AverageValue", "{}.averageValue", false),
];

const SOURCES: [&str; 5] = ["object", "pods", "resource", "containerResource", "external"];

/// A v2 object as v1 shows it.
pub fn to_v1(object: &mut Object) {
    let spec = take(object, "spec", "metrics");
    let behavior = take(object, "spec", "behavior");
    let current = take(object, "status", "currentMetrics");
    let conditions = take(object, "status", "conditions");

    let mut others = Vec::new();
    for metric in items(&spec) {
        match cpu(metric, "target") {
            Some(percent) => {
                let map = object.map_mut("spec");
                map.entry("targetCPUUtilizationPercentage").or_insert(percent);
            }
            None => others.push(metric_v1(metric, "target")),
        }
    }
    for metric in items(&current) {
        if let Some(percent) = cpu(metric, "current") {
            let map = object.map_mut("status");
            map.entry("currentCPUUtilizationPercentage").or_insert(percent);
        }
    }
    let current: Vec<String> = items(&current).map(|m| metric_v1(m, "current")).collect();
    let conditions: Vec<String> = items(&conditions)
        .map(|c| {
            let keys = ["type", "status", "lastTransitionTime", "reason", "message"];
            // The two texts at the end are left out when empty; a missing time is null.
            let kept = keys.into_iter().filter(|k| !c[*k].is_null() || *k == "lastTransitionTime");
            ordered(kept.map(|k| (k.to_owned(), c[k].to_string())))
        })
        .collect();

    if let Some(Value::Object(annotations)) = object.meta_mut().get_mut("annotations") {
        annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
    }
    for (key, list) in [(METRICS, others), (CURRENT_METRICS, current), (CONDITIONS, conditions)] {
        if !list.is_empty() {
            object.set_annotation(key, &format!("[{}]", list.join(",")));
        }
    }
    if behavior.is_object() {
        object.set_annotation(BEHAVIOR, &behavior_v1(&behavior));
    }
}

/// A v1 object as v2 shows it.
pub fn to_v2(object: &mut Object) {
    let target = take(object, "spec", "targetCPUUtilizationPercentage");
    let current = take(object, "status", "currentCPUUtilizationPercentage");
    let annotated = |object: &Object, key: &str| -> Option<Value> {
        serde_json::from_str(object.annotation(key)?).ok()
    };

    let mut metrics = Vec::new();
    if let Some(Value::Array(others)) = annotated(object, METRICS) {
        metrics.extend(others.iter().map(|m| metric_v2(m, "target")));
    }
    if !target.is_null() {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": target}}}));
    }
    if metrics.is_empty() {
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": DEFAULT_UTILIZATION}}}));
    }
    object.map_mut("spec").insert("metrics".into(), metrics.into());
    if let Some(behavior) = annotated(object, BEHAVIOR).and_then(|b| behavior_v2(&b)) {
        object.map_mut("spec").insert("behavior".into(), behavior);
    }
    let mut statuses = Vec::new();
    if let Some(Value::Array(others)) = annotated(object, CURRENT_METRICS) {
        statuses.extend(others.iter().map(|m| metric_v2(m, "current")));
    } else if !current.is_null() {
        statuses.push(json!({"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": current}}}));
    }
    if !statuses.is_empty() {
        object.map_mut("status").insert("currentMetrics".into(), statuses.into());
    }
    if let Some(conditions @ Value::Array(_)) = annotated(object, CONDITIONS) {
        object.map_mut("status").insert("conditions".into(), conditions);
    }
    let meta = object.meta_mut();
    if let Some(Value::Object(annotations)) = meta.get_mut("annotations") {
        annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
        if annotations.is_empty() {
            meta.remove("annotations");
        }
    }
}

fn take(object: &mut Object, part: &str, key: &str) -> Value {
    let map = object.0.get_mut(part).and_then(Value::as_object_mut);
    map.and_then(|map| map.remove(key)).unwrap_or_default()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The utilization of a metric that v1 has a field for.
fn cpu(metric: &Value, side: &str) -> Option<Value> {
    let resource = metric.get("resource").filter(|r| r["name"] == "cpu")?;
    resource[side].get("averageUtilization").filter(|v| !v.is_null()).cloned()
}

/// JSON with its keys in the order given.
fn ordered(fields: impl Iterator<Item = (String, String)>) -> String {
    let parts: Vec<String> = fields.map(|(key, value)| format!("{key:?}:{value}")).collect();
    format!("{{{}}}", parts.join(","))
}

fn v1_name(name: &str, side: &str) -> String {
    name.replace('!', side)
}

fn pointer(path: &str, side: &str) -> String {
    format!("/{}", path.replace("{}", side).replace('.', "/"))
}

/// One metric as the v1 annotation has it.
fn metric_v1(metric: &Value, side: &str) -> String {
    let mut parts = vec![("type".to_owned(), metric["type"].to_string())];
    for source in SOURCES {
        let Some(body) = metric.get(source).filter(|b| b.is_object()) else { continue };
        let fields =
            FIELDS.iter().filter(|f| f.0 == source).filter_map(|(_, name, path, always)| {
                let found = body.pointer(&pointer(path, side)).filter(|v| !v.is_null());
                // A status always has its value; a quantity that is not there is zero.
                let always = *always
                    || (side == "current"
                        && name.starts_with('!')
                        && source != "object"
                        && !name.ends_with("Utilization")
                        && (source, *name) != ("external", "!AverageValue"));
                let text = match found {
                    Some(reference) if *name == "target" => {
                        let keys = ["kind", "name", "apiVersion"];
                        let kept = keys.into_iter().filter(|k| !reference[*k].is_null());
                        ordered(kept.map(|k| (k.to_owned(), reference[k].to_string())))
                    }
                    Some(value) => value.to_string(),
                    None if always => {
                        if name.starts_with('!') { "\"0\"" } else { "\"\"" }.to_owned()
                    }
                    None => return None,
                };
                Some((v1_name(name, side), text))
            });
        parts.push((source.to_owned(), ordered(fields)));
    }
    ordered(parts.into_iter())
}

/// One metric out of the v1 annotation.
fn metric_v2(metric: &Value, side: &str) -> Value {
    let mut out = json!({"type": metric["type"]});
    for source in SOURCES {
        let Some(body) = metric.get(source).filter(|b| b.is_object()) else { continue };
        let mut fields = Map::new();
        let mut measured = Map::new();
        let mut identity = Map::new();
        for (_, name, path, _) in FIELDS.iter().filter(|f| f.0 == source) {
            let Some(value) = body.get(v1_name(name, side)).filter(|v| !v.is_null()) else {
                continue;
            };
            match path.split_once('.') {
                Some(("{}", key)) => measured.insert(key.into(), value.clone()),
                Some((_, key)) => identity.insert(key.into(), value.clone()),
                None => fields.insert((*path).into(), value.clone()),
            };
        }
        if side == "target" {
            let averaged = measured.contains_key("averageValue");
            let zero = |v: &Value| v.as_str() == Some("0");
            if source == "object" && averaged && measured.get("value").is_some_and(zero) {
                measured.remove("value");
            }
            let kind = if measured.contains_key("averageUtilization") {
                "Utilization"
            } else if source == "external" && measured.contains_key("value")
                || source == "object" && !averaged
            {
                "Value"
            } else {
                "AverageValue"
            };
            measured.insert("type".into(), kind.into());
        }
        if !identity.is_empty() {
            fields.insert("metric".into(), identity.into());
        }
        fields.insert(side.to_owned(), measured.into());
        out[source] = fields.into();
    }
    out
}

/// v2 and annotation names of the fields of scaling rules and policies, in upstream's order.
const RULES: [(&str, &str); 4] = [
    ("stabilizationWindowSeconds", "StabilizationWindowSeconds"),
    ("selectPolicy", "SelectPolicy"),
    ("policies", "Policies"),
    ("tolerance", "Tolerance"),
];
const POLICY: [(&str, &str); 3] =
    [("type", "Type"), ("value", "Value"), ("periodSeconds", "PeriodSeconds")];

fn behavior_v1(behavior: &Value) -> String {
    let rules = |rules: &Value| {
        if !rules.is_object() {
            return "null".to_owned();
        }
        ordered(RULES.into_iter().map(|(new, old)| {
            let text = match &rules[new] {
                Value::Array(list) => {
                    let policies: Vec<String> = list
                        .iter()
                        .map(|p| {
                            ordered(POLICY.into_iter().map(|(n, o)| (o.into(), p[n].to_string())))
                        })
                        .collect();
                    format!("[{}]", policies.join(","))
                }
                other => other.to_string(),
            };
            (old.to_owned(), text)
        }))
    };
    let up = ("ScaleUp".to_owned(), rules(&behavior["scaleUp"]));
    let down = ("ScaleDown".to_owned(), rules(&behavior["scaleDown"]));
    ordered([up, down].into_iter())
}

fn behavior_v2(behavior: &Value) -> Option<Value> {
    let renamed = |value: &Value, names: &[(&str, &str)]| -> Map<String, Value> {
        let found = names.iter().map(|(new, old)| (*new, value[*old].clone()));
        found.filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)).collect()
    };
    let mut out = Map::new();
    for (new, old) in [("scaleUp", "ScaleUp"), ("scaleDown", "ScaleDown")] {
        if !behavior[old].is_object() {
            continue;
        }
        let mut rules = renamed(&behavior[old], &RULES);
        if let Some(Value::Array(policies)) = rules.get_mut("policies") {
            for policy in policies {
                *policy = renamed(policy, &POLICY).into();
            }
        }
        out.insert(new.into(), rules.into());
    }
    (!out.is_empty()).then(|| out.into())
}
