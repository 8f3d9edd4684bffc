//! The targets of a horizontal pod autoscaler: each metric's current and wanted value.

use serde_json::Value;

use super::cells::{at, list, show};
use crate::object::Object;

const UNKNOWN: &str = "<unknown>";

pub fn targets(object: &Object) -> Value {
    let specs = list(object, "spec.metrics");
    let statuses = list(object, "status.currentMetrics");
    if specs.is_empty() {
        return "<none>".into();
    }
    let all: Vec<String> =
        specs.iter().enumerate().map(|(index, spec)| metric(spec, statuses.get(index))).collect();
    let head = all[..all.len().min(2)].join(", ");
    if all.len() > 2 { format!("{head} + {} more...", all.len() - 2) } else { head }.into()
}

fn quantity(value: Option<&Value>) -> String {
    let text = show(value);
    if text.is_empty() { "0".into() } else { text }
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let kind = at(spec, "type").and_then(Value::as_str).unwrap_or("");
    let source = match kind {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".into(),
    };
    let want = |key: &str| at(spec, &format!("{source}.target.{key}"));
    let measured = status.and_then(|s| at(s, source)).is_some();
    let now = |key: &str| status.and_then(|s| at(s, &format!("{source}.current.{key}")));
    match (kind, want("averageValue")) {
        ("External" | "Object", Some(wanted)) => {
            let current = now("averageValue").map_or_else(|| UNKNOWN.into(), |v| quantity(Some(v)));
            format!("{current}/{} (avg)", quantity(Some(wanted)))
        }
        ("External" | "Object", None) => {
            let current = if measured { quantity(now("value")) } else { UNKNOWN.into() };
            format!("{current}/{}", quantity(want("value")))
        }
        ("Pods", wanted) => {
            let current = if measured { quantity(now("averageValue")) } else { UNKNOWN.into() };
            format!("{current}/{}", quantity(wanted))
        }
        (_, wanted) => {
            let name = show(at(spec, &format!("{source}.name")));
            if let Some(wanted) = wanted {
                let current = if measured { quantity(now("averageValue")) } else { UNKNOWN.into() };
                return format!("{name}: {current}/{}", quantity(Some(wanted)));
            }
            let percent = |value: Option<&Value>, other: &str| {
                value.map_or_else(|| other.to_owned(), |v| format!("{}%", show(Some(v))))
            };
            format!(
                "{name}: {}/{}",
                percent(now("averageUtilization"), UNKNOWN),
                percent(want("averageUtilization"), "<auto>")
            )
        }
    }
}
