//! A pod's status, as kubelets write it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Faults};
use super::{common, pod, profiles};
use crate::names;

/// A pod's status, changed.
pub(super) fn status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (spec, status, was) = (new.get("spec"), new.get("status"), old.get("status"));
    let (notes, had) = (new.get("metadata.annotations"), old.get("metadata.annotations"));
    profiles::changed(&notes, &had, f);
    pod::annotations(&notes, &spec, f);
    for condition in status.get("conditions").items() {
        generation(&condition.get("observedGeneration"), f);
        let kind = condition.get("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind.text()) {
            condition.get("Type").with(kind.value).qualified(f);
        }
    }
    let nominated = status.get("nominatedNodeName");
    if !nominated.is_empty() && nominated.text() != was.get("nominatedNodeName").text() {
        nominated.check(f, names::dns_subdomain);
        if !old.get("spec.nodeName").is_empty() {
            nominated.forbidden(f, "may not be set on pods that are already bound to a node");
        }
    }
    generation(&status.get("observedGeneration"), f);
    let quality = status.get("qosClass");
    if quality.text() != was.get("qosClass").text() {
        quality.invalid_as(f, quality.text(), super::at::IMMUTABLE);
    }
    for (list, of) in LISTS {
        transitions(&status.get(list), &was.get(list), &old.get("spec"), of, f);
    }
    claims(&status.get("resourceClaimStatuses"), &spec, f);
    extended_claim(&status.get("extendedResourceClaimStatus"), &spec, f);
    addresses(&status.get("podIPs"), &was.get("podIPs"), f);
    let hosts = status.get("hostIPs");
    if !hosts.is_empty() && status.get("hostIP").text() != hosts.index(0).get("ip").text() {
        hosts.index(0).get("ip").invalid(f, "must be equal to `hostIP`");
    }
    addresses(&hosts, &was.get("hostIPs"), f);
    for (list, _) in LISTS {
        for container in status.get(list).items() {
            user(&container.get("user.linux"), spec.get("os.name").text() == "windows", f);
        }
    }
    for (list, of) in LISTS {
        for container in status.get(list).items() {
            allocated(&container, &spec.get(of), of == "ephemeralContainers", f);
        }
    }
}

/// The lists of statuses, with those of their containers.
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

fn generation(at: &At<'_>, f: &mut Faults) {
    if at.number() < 0 {
        at.invalid(f, "must be a non-negative integer");
    }
}

/// Whether a container is started again after it ended.
fn restarts(container: &At<'_>, of_pod: &str, code: i64) -> bool {
    let own = container.get("restartPolicy");
    let rules = container.get("restartPolicyRules");
    let fits = |rule: &At<'_>| {
        let codes = rule.get("exitCodes");
        let listed = codes.get("values").items().any(|value| value.number() == code);
        listed == (codes.get("operator").text() == "In")
    };
    if own.is_set() && rules.items().any(|rule| fits(&rule)) {
        return true;
    }
    match if own.is_empty() { of_pod } else { own.text() } {
        "OnFailure" => code != 0,
        "Never" => false,
        _ => true,
    }
}

/// A container that is not restarted stays ended.
fn transitions(new: &At<'_>, old: &At<'_>, spec: &At<'_>, of: &str, f: &mut Faults) {
    let restarts_all = |container: &At<'_>| {
        let rules = container.get("restartPolicyRules");
        rules.items().any(|rule| rule.get("action").text() == "RestartAllContainers")
    };
    let whole = ["initContainers", "containers"];
    let ephemeral = of == "ephemeralContainers";
    if !ephemeral && whole.iter().any(|list| spec.get(list).items().any(|c| restarts_all(&c))) {
        return;
    }
    let policy = spec.get("restartPolicy");
    for (index, status) in old.items().enumerate() {
        let (ended, name) = (status.get("state.terminated"), status.get("name"));
        if !ended.is_set() {
            continue;
        }
        let code = ended.get("exitCode").number();
        let again = |c: &At<'_>| restarts(c, policy.text(), code);
        let may = !ephemeral
            && spec
                .get(of)
                .items()
                .find(|c| c.get("name").value == name.value)
                .is_some_and(|c| again(&c));
        let back = new
            .items()
            .any(|s| s.get("name").value == name.value && !s.get("state.terminated").is_set());
        if back && !may {
            // The position is that of the old status.
            let state = new.index(index);
            state.get("state").forbidden(f, "may not be transitioned to non-terminated state");
        }
    }
}

fn claims(list: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    let mut seen = BTreeSet::new();
    for status in list.items() {
        let name = status.get("name");
        if !spec.get("resourceClaims").items().any(|c| c.get("name").text() == name.text()) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            name.invalid_as(f, name.text(), why);
        }
        if !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
        status.get("resourceClaimName").check_if_set_at_all(f, names::dns_subdomain);
    }
}

fn extended_claim(at: &At<'_>, spec: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let list = at.get("requestMappings");
    if list.is_empty() {
        list.required(f, "at least one request mapping is required");
    }
    let mut seen = BTreeSet::new();
    for mapping in list.items() {
        let fields = ["containerName", "resourceName", "requestName"].map(|x| mapping.get(x));
        let [container, resource, request] = &fields;
        let lists = ["containers", "initContainers"].map(|list| spec.get(list));
        let found = lists
            .iter()
            .flat_map(|list| list.value.as_array().into_iter().flatten())
            .find(|c| c["name"] == *container.value);
        match found {
            None => container.invalid_as(f, container.text(), "must match the name of an entry in spec.initContainers.name or spec.containers.name"),
            Some(c) if c["resources"]["requests"].get(resource.text()).is_none() => {
                resource.invalid_as(f, resource.text(), "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests");
            }
            Some(_) => {}
        }
        at.get("requestName").with(request.value).check(f, names::dns_label);
        if !seen.insert(fields.each_ref().map(|field| field.text().to_owned())) {
            fields.iter().for_each(|field| field.duplicate(f));
        }
    }
    at.get("resourceClaimName").need_check(f, names::dns_subdomain);
}

/// Addresses, one a family at most. What was stored before may stay.
fn addresses(list: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for item in list.items() {
        let ip = item.get("ip");
        if !old.items().any(|o| o.get("ip").value == ip.value) {
            common::legacy_ip(&item.with(ip.value), f);
        }
    }
    let six = list.items().filter(|item| item.get("ip").text().contains(':')).count();
    if list.len() > 1 && (six == 0 || six == list.len() || list.len() > 2) {
        let shown: Vec<String> = list
            .items()
            .map(|item| format!("{{\"IP\":{}}}", Value::from(item.get("ip").text())))
            .collect();
        let why = "may specify no more than one IP for each IP family";
        list.invalid_shown(f, &format!("[{}]", shown.join(",")), why);
    }
}

fn user(at: &At<'_>, windows: bool, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    if windows {
        return at.forbidden(f, "cannot be set for a windows pod");
    }
    let most = i64::from(i32::MAX);
    for field in ["uid", "gid"] {
        at.get(field).range(f, 0, most);
    }
    for group in at.get("supplementalGroups").items() {
        group.range(f, 0, most);
    }
}

/// The health of devices that a container has.
fn allocated(status: &At<'_>, containers: &At<'_>, ephemeral: bool, f: &mut Faults) {
    let list = status.get("allocatedResourcesStatus");
    if ephemeral && !list.is_empty() {
        return list.forbidden(f, "must not be specified in container status");
    }
    let name = status.get("name");
    for resource in list.items() {
        let own = resource.get("name");
        if let Some(container) = containers.items().find(|c| c.get("name").value == name.value) {
            let (known, why) = match own.text().strip_prefix("claim:") {
                Some(claim) => (
                    container.get("resources.claims").items().any(|c| {
                        let (name, request) = (c.get("name"), c.get("request"));
                        match request.text() {
                            "" => name.text() == claim,
                            request => claim.split_once('/') == Some((name.text(), request)),
                        }
                    }),
                    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                ),
                None => (
                    container.get("resources.requests").key(own.text()).is_set(),
                    "must match one of the container's resource requests",
                ),
            };
            if !known {
                own.invalid_as(f, own.text(), why);
            }
        }
        let mut seen = BTreeSet::new();
        for health in resource.get("resources").items() {
            health.get("health").one_of(f, &["Healthy", "Unhealthy", "Unknown"]);
            let message = health.get("message");
            if message.is_set() && message.is_empty() {
                message.required(f, "must be non-empty if specified");
            } else if message.len() > 1024 {
                message.too_long(f, 1024);
            }
            let id = health.get("resourceID");
            if !seen.insert(id.text().to_owned()) {
                id.duplicate(f);
            }
        }
    }
}
