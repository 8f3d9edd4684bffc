//! Advice: what is accepted and still worth a `Warning` header, deprecated or ineffective fields
//! above all. No plugin of upstream's: its registry warns so, before its plugins do.
//!
//! Not here: deprecated versions, unknown fields (`registry`).

mod addresses;
mod keys;
mod objects;
mod pods;
mod volumes;

use std::fmt;

use api::quantity::Quantity;
use api::{Map, Object, Resource, Value};
use serde_json::json;

use super::lookup::{maps, text};
use crate::gate::{Admission, Operation, Write};

/// The giver of advice.
pub struct Advice;

/// When an update of a workload is advised about.
#[derive(Clone, Copy, PartialEq)]
enum Anew {
    /// The generation is another.
    Generation,
    /// The template is another.
    Template,
    /// The generation is another; upstream looks at the old template then.
    Behind,
}

/// Workloads: group, plural, where the pod template is, whether pods are named after the object,
/// when they are looked at again.
const TEMPLATES: [(&str, &str, &str, bool, Anew); 8] = [
    ("", "replicationcontrollers", "spec.template", true, Anew::Behind),
    ("", "podtemplates", "template", false, Anew::Generation),
    ("apps", "replicasets", "spec.template", true, Anew::Generation),
    ("apps", "deployments", "spec.template", true, Anew::Generation),
    ("apps", "statefulsets", "spec.template", false, Anew::Generation),
    ("apps", "daemonsets", "spec.template", false, Anew::Template),
    ("batch", "jobs", "spec.template", true, Anew::Generation),
    ("batch", "cronjobs", "spec.jobTemplate.spec.template", true, Anew::Generation),
];

fn list<'a>(object: &'a Object, path: &str) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a byte count has a fraction of a byte.
fn fraction(
    path: fmt::Arguments<'_>,
    amounts: Option<&Value>,
    names: &[&str],
    out: &mut Vec<String>,
) {
    let Some(amounts) = amounts.and_then(Value::as_object) else { return };
    for name in names {
        let Some(amount) = amounts.get(*name).and_then(Value::as_str) else { continue };
        let Ok(parsed) = Quantity::parse(amount) else { continue };
        // What does not fit 64 bits looks like a fraction to upstream.
        if !parsed.is_multiple_of_nanos(1_000_000_000) || parsed.as_f64() > 9.3e18 {
            out.push(format!(
                "{path}[{name}]: fractional byte value \"{parsed}\" is invalid, must be an integer"
            ));
        }
    }
}

/// Storage of a claim's spec, as in `spec` or `spec.volumeClaimTemplates[0]`.
fn claim_spec(path: &str, spec: Option<&Value>, out: &mut Vec<String>) {
    for which in ["requests", "limits"] {
        let amounts = spec.and_then(|spec| spec.get("resources")?.get(which));
        fraction(format_args!("{path}.resources.{which}"), amounts, &["storage"], out);
    }
}

fn of(write: &Write<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let Some(object) = &write.object else { return out };
    let (group, plural) = (&*write.resource.group, &*write.resource.plural);
    let old = write.old.filter(|_| write.operation == Operation::Update);
    if let Some((_, _, _, advise)) = objects::KINDS
        .iter()
        .find(|(g, p, sub, _)| (*g, *p, *sub) == (group, plural, write.subresource))
    {
        advise(object, old, &mut out);
    } else if (group, plural) == ("", "pods") {
        if old.is_none() {
            name(object, "the Pod's hostname", &mut out);
            pods::advise("", &object.0, &mut out);
        }
    } else if let Some(row) = TEMPLATES.iter().find(|(g, p, ..)| (*g, *p) == (group, plural)) {
        workload(row, object, old, &mut out);
    }
    out
}

fn workload(
    (_, plural, path, names, anew): &(&str, &str, &str, bool, Anew),
    object: &Object,
    old: Option<&Object>,
    out: &mut Vec<String>,
) {
    if old.is_none() && *names {
        name(object, "Pod names and hostnames", out);
    }
    let due = old.is_none_or(|old| match anew {
        Anew::Template => old.at(path) != object.at(path),
        _ => old.generation() != object.generation(),
    });
    if due {
        let job = path.strip_suffix(".template").filter(|_| plural.ends_with("jobs"));
        if let Some(job) = job.and_then(|job| Some((job, object.at(job)?))) {
            indexed(job, out);
        }
        let shown = old.filter(|_| *anew == Anew::Behind).unwrap_or(object);
        if let Some(template) = shown.at(path).and_then(Value::as_object) {
            pods::advise(&format!("{path}."), template, out);
        }
    }
    match *plural {
        "statefulsets" => {
            for (i, claim) in list(object, "spec.volumeClaimTemplates").iter().enumerate() {
                // Upstream's path has another field where a set is changed.
                let field = if old.is_some() { ".Spec" } else { "" };
                let path = format!("spec.volumeClaimTemplates[{i}]{field}");
                claim_spec(&path, claim.get("spec"), out);
            }
            if object.int("spec.revisionHistoryLimit").is_some_and(|limit| limit < 0) {
                out.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".into());
            }
        }
        "cronjobs"
            if old.is_some()
                && object.text("spec.schedule").is_some_and(|schedule| schedule.contains("TZ")) =>
        {
            out.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".into());
        }
        _ => {}
    }
}

/// Jobs with more indexes than can be kept track of.
fn indexed((path, spec): (&str, &Value), out: &mut Vec<String>) {
    let number = |field: &str| spec.get(field).and_then(Value::as_i64).unwrap_or(0);
    let many = number("completions") > 100_000 && number("parallelism") > 10_000;
    if many && spec.get("completionMode").and_then(Value::as_str) == Some("Indexed") {
        out.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
}

fn name(object: &Object, of: &str, out: &mut Vec<String>) {
    let faults = api::names::dns_label(object.name());
    if !faults.is_empty() {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        out.push(format!(
            "metadata.name: this is used in {of}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            faults.join(" ")
        ));
    }
}

impl Admission for Advice {
    fn name(&self) -> &'static str {
        "Advice"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let (group, plural) = (&*resource.group, &*resource.plural);
        let known = objects::KINDS
            .iter()
            .any(|(g, p, sub, _)| (*g, *p, *sub) == (group, plural, subresource))
            || subresource.is_empty()
                && ((group, plural) == ("", "pods")
                    || TEMPLATES.iter().any(|(g, p, ..)| (*g, *p) == (group, plural)));
        known && matches!(operation, Operation::Create | Operation::Update)
    }

    fn warnings(&self, write: &Write<'_>) -> Vec<String> {
        of(write)
    }
}

/// `{Name:a HostPort:0 …}`, as Go prints a port.
fn go_port(port: &Map<String, Value>) -> String {
    let int = |key: &str| port.get(key).cloned().unwrap_or_else(|| json!(0));
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        text(port, "name"),
        int("hostPort"),
        int("containerPort"),
        text(port, "protocol"),
        text(port, "hostIP")
    )
}

/// Containers with their paths.
fn containers<'a>(
    prefix: &'a str,
    spec: &'a Map<String, Value>,
) -> impl Iterator<Item = (String, &'a Map<String, Value>)> {
    super::lookup::CONTAINERS.into_iter().flat_map(move |list| {
        maps(spec.get(list)).enumerate().map(move |(i, c)| (format!("{prefix}spec.{list}[{i}]"), c))
    })
}

#[cfg(test)]
mod tests;
