//! LimitRanger: containers get the namespace's default requests and limits; what exceeds the
//! namespace's bounds is refused.

use std::collections::{BTreeMap, HashSet};

use api::quantity::Quantity;
use api::{ApiError, Map, Object, Resource, Value, resource};
use futures_util::future::BoxFuture;
use serde_json::json;

use super::lookup::{Lookup, done, forbidden, is, is_mirror, is_pod, maps, text};
use crate::gate::{Admission, Operation, Write};

/// The plugin.
pub struct LimitRanger(pub Lookup);

/// Quantities by resource name, in order.
pub type Amounts = BTreeMap<String, Quantity>;

/// The quantities in a map.
pub fn amounts(value: Option<&Value>) -> Amounts {
    let map = value.and_then(Value::as_object).into_iter().flatten();
    map.filter_map(|(name, q)| Some((name.clone(), Quantity::parse(q.as_str()?).ok()?))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |held| *held + *amount);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if to.get(name).is_none_or(|held| held < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// What a pod needs as a whole (`requests` or `limits`): its containers together, or its init
/// containers if that is more, those that keep running counted with what follows them.
pub fn pod_amounts(spec: &Map<String, Value>, which: &str, overhead: bool) -> Amounts {
    let of = |c: &Map<String, Value>| amounts(c.get("resources").and_then(|r| r.get(which)));
    let mut total = Amounts::new();
    for container in maps(spec.get("containers")) {
        add(&mut total, &of(container));
    }
    let (mut running, mut peak) = (Amounts::new(), Amounts::new());
    for container in maps(spec.get("initContainers")) {
        let own = of(container);
        if text(container, "restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut running, &own);
            raise(&mut peak, &running);
        } else {
            let mut with = own;
            add(&mut with, &running);
            raise(&mut peak, &with);
        }
    }
    raise(&mut total, &peak);
    let of_pod = amounts(spec.get("resources").and_then(|r| r.get(which)));
    for (name, amount) in of_pod {
        if matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-") {
            total.insert(name, amount);
        }
    }
    if overhead {
        add(&mut total, &amounts(spec.get("overhead")));
    }
    total
}

impl LimitRanger {
    fn ranges(&self, namespace: &str) -> Vec<Object> {
        if self.0.count(&resource::LIMIT_RANGES) == 0 {
            return Vec::new();
        }
        self.0.all(&resource::LIMIT_RANGES, Some(namespace))
    }

    fn fill_in(&self, write: &mut Write<'_>) {
        for range in self.ranges(write.namespace) {
            let Some(pod) = &mut write.object else { return };
            apply_defaults(&range, pod);
        }
    }

    fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let Some(object) = &write.object else { return Ok(()) };
        for range in self.ranges(write.namespace) {
            let mut faults = Vec::new();
            for limit in maps(range.at("spec.limits")) {
                judge(limit, write.resource, object, &mut faults);
            }
            // Each is said once, however many containers have it.
            let mut said = HashSet::new();
            faults.retain(|fault| said.insert(fault.clone()));
            let why = match faults.as_slice() {
                [] => continue,
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            return Err(forbidden(write, &why));
        }
        Ok(())
    }
}

fn apply_defaults(range: &Object, pod: &mut Object) {
    let mut defaults: [(&str, Map<String, Value>); 2] =
        [("limits", Map::new()), ("requests", Map::new())];
    for limit in maps(range.at("spec.limits")).filter(|l| text(l, "type") == "Container") {
        for ((_, held), key) in defaults.iter_mut().zip(["default", "defaultRequest"]) {
            let given = limit.get(key).and_then(Value::as_object).into_iter().flatten();
            held.extend(given.map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    let mut notes = Vec::new();
    let spec = pod.map_mut("spec");
    for (list, word) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let name = text(container, "name").to_owned();
            let mut set: [Vec<String>; 2] = [Vec::new(), Vec::new()];
            let resources = container.entry("resources").or_insert_with(|| json!({}));
            let Some(resources) = resources.as_object_mut() else { continue };
            for (i, (which, values)) in defaults.iter().enumerate() {
                if values.is_empty() {
                    continue;
                }
                let held = resources.entry(*which).or_insert_with(|| json!({}));
                let Some(held) = held.as_object_mut() else { continue };
                for (resource, value) in values {
                    if !held.contains_key(resource) {
                        held.insert(resource.clone(), value.clone());
                        set[i].push(resource.clone());
                    }
                }
                set[i].sort();
            }
            for (names, kind) in [(&set[1], "request"), (&set[0], "limit")] {
                if !names.is_empty() {
                    notes.push(format!("{} {kind} for {word} {name}", names.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.set_annotation("kubernetes.io/limit-ranger", &note);
    }
}

/// The faults of an object by one limit of a range.
fn judge(
    limit: &Map<String, Value>,
    resource: &Resource,
    object: &Object,
    faults: &mut Vec<String>,
) {
    let kind = text(limit, "type");
    let empty = Map::new();
    let spec = object.at("spec").and_then(Value::as_object).unwrap_or(&empty);
    let of = |map: &Map<String, Value>, which: &str| {
        amounts(map.get("resources").and_then(|r| r.get(which)))
    };
    if is(resource, &resource::PERSISTENT_VOLUME_CLAIMS) {
        if kind == "PersistentVolumeClaim" {
            Subject { kind, requests: of(spec, "requests"), limits: Amounts::new() }
                .judge_claim(limit, faults);
        }
        return;
    }
    match kind {
        "Container" => {
            for list in ["containers", "initContainers"] {
                for container in maps(spec.get(list)) {
                    let (requests, limits) = (of(container, "requests"), of(container, "limits"));
                    Subject { kind, requests, limits }.judge(limit, faults);
                }
            }
        }
        "Pod" => {
            let of_pod = |which: &str| pod_amounts(spec, which, false);
            Subject { kind, requests: of_pod("requests"), limits: of_pod("limits") }
                .judge(limit, faults);
        }
        _ => {}
    }
}

struct Subject<'a> {
    kind: &'a str,
    requests: Amounts,
    limits: Amounts,
}

impl Subject<'_> {
    fn judge(&self, limit: &Map<String, Value>, faults: &mut Vec<String>) {
        let kind = self.kind;
        self.judge_min(limit, faults);
        for (name, most) in amounts(limit.get("max")) {
            let head = format!("maximum {name} usage per {kind} is {most}");
            faults.extend(match (self.requests.get(&name), self.limits.get(&name)) {
                (_, None) => Some(format!("{head}.  No limit is specified")),
                (_, Some(limit)) if *limit > most => Some(format!("{head}, but limit is {limit}")),
                (Some(request), _) if *request > most => {
                    Some(format!("{head}, but request is {request}"))
                }
                _ => None,
            });
        }
        for (name, most) in amounts(limit.get("maxLimitRequestRatio")) {
            let head = format!("{name} max limit to request ratio per {kind} is {most}");
            let some = |held: &Amounts| held.get(&name).copied().filter(|q| !q.is_zero());
            let Some(request) = some(&self.requests) else {
                faults.push(format!("{head}, but no request is specified or request is 0"));
                continue;
            };
            let Some(limit) = some(&self.limits) else {
                faults.push(format!("{head}, but no limit is specified or limit is 0"));
                continue;
            };
            let ratio = limit.as_f64() / request.as_f64();
            if ratio > most.as_f64() {
                faults.push(format!("{head}, but provided ratio is {ratio:.6}"));
            }
        }
    }

    fn judge_min(&self, limit: &Map<String, Value>, faults: &mut Vec<String>) {
        for (name, least) in amounts(limit.get("min")) {
            let head = format!("minimum {name} usage per {} is {least}", self.kind);
            faults.extend(match (self.requests.get(&name), self.limits.get(&name)) {
                (None, _) => Some(format!("{head}.  No request is specified")),
                (Some(request), _) if *request < least => {
                    Some(format!("{head}, but request is {request}"))
                }
                (_, Some(limit)) if *limit < least => Some(format!("{head}, but limit is {limit}")),
                _ => None,
            });
        }
    }

    fn judge_claim(&self, limit: &Map<String, Value>, faults: &mut Vec<String>) {
        self.judge_min(limit, faults);
        for (name, most) in amounts(limit.get("max")) {
            let head = format!("maximum {name} usage per {} is {most}", self.kind);
            faults.extend(match self.requests.get(&name) {
                None => Some(format!("{head}.  No request is specified")),
                Some(request) if *request > most => {
                    Some(format!("{head}, but request is {request}"))
                }
                Some(_) => None,
            });
        }
    }
}

impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        let claim = subresource.is_empty() && is(resource, &resource::PERSISTENT_VOLUME_CLAIMS);
        match operation {
            Operation::Create => is_pod(resource, subresource) || claim,
            Operation::Update => {
                claim || (is(resource, &resource::PODS) && subresource == "resize")
            }
            _ => false,
        }
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        let mirror = write.object.as_ref().is_some_and(is_mirror);
        if is_pod(write.resource, write.subresource) && !mirror {
            self.fill_in(write);
        }
        done(Ok(()))
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        done(self.check(write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_count_with_what_follows_them() {
        let r = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let spec = json!({
            "containers": [{"resources": r("100m")}, {"resources": r("200m")}],
            "initContainers": [
                {"resources": r("50m"), "restartPolicy": "Always"},
                {"resources": r("1")},
            ],
            "overhead": {"cpu": "10m"},
        });
        let spec = spec.as_object().expect("a map");
        let total = |overhead| pod_amounts(spec, "requests", overhead)["cpu"].to_string();
        assert_eq!(total(false), "1050m");
        assert_eq!(total(true), "1060m");
    }
}
