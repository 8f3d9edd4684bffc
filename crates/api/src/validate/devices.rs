//! Resource claims, device classes and resource slices (dynamic resource allocation).
//!
//! CEL selectors are checked for presence only; compiling them is the server's.

use std::collections::{BTreeMap, BTreeSet};

use super::at::{At, Faults, IMMUTABLE};
use super::resources;
use super::storage::driver_name;
use super::{common, placement, policy};
use crate::names;

/// The largest number of requests, constraints and configurations of a claim.
const MOST: usize = 32;

/// Every item is valid, keys differ, and there are not too many.
fn set(
    list: &At<'_>,
    most: usize,
    key: fn(&At<'_>) -> String,
    f: &mut Faults,
    mut rule: impl FnMut(&At<'_>, &mut Faults),
) {
    if list.len() > most {
        list.too_many(f, most);
    }
    let mut seen = BTreeSet::new();
    for item in list.items() {
        rule(&item, f);
        let key = key(&item);
        if !seen.insert(key.clone()) {
            item.duplicate_as(f, key);
        }
    }
}

fn by_name(item: &At<'_>) -> String {
    item.get("name").text().to_owned()
}

fn by_itself(item: &At<'_>) -> String {
    item.text().to_owned()
}

// Claims.

/// The requests of a claim, with the alternatives of each.
type Requests = BTreeMap<String, BTreeSet<String>>;

pub(super) fn claim(root: &At<'_>, f: &mut Faults) {
    device_claim(&root.get("spec.devices"), f);
}

pub(super) fn claim_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("spec").immutable_struct(f, &old.get("spec"), "ResourceClaimSpec");
}

pub(super) fn claim_template_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    new.get("spec").immutable_struct(f, &old.get("spec"), "ResourceClaimTemplateSpec");
}

pub(super) fn claim_template(root: &At<'_>, f: &mut Faults) {
    common::labels(&root.get("spec.metadata.labels"), f);
    common::annotations(&root.get("spec.metadata.annotations"), f);
    device_claim(&root.get("spec.spec.devices"), f);
}

fn requests_of(claim: &At<'_>) -> Requests {
    let list = claim.get("requests");
    list.items()
        .map(|request| {
            let parts = request.get("firstAvailable").items().map(|p| by_name(&p)).collect();
            (by_name(&request), parts)
        })
        .collect()
}

fn device_claim(claim: &At<'_>, f: &mut Faults) {
    let names = requests_of(claim);
    set(&claim.get("requests"), MOST, by_name, f, request);
    let constraints = claim.get("constraints");
    if constraints.len() > MOST {
        constraints.too_many(f, MOST);
    }
    for constraint in constraints.items() {
        set(&constraint.get("requests"), MOST, by_itself, f, |at, f| request_ref(at, &names, f));
        let (same, distinct) =
            (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
        if same.is_set() {
            attribute_name(&same, f);
        } else if distinct.is_set() {
            attribute_name(&distinct, f);
        } else {
            constraint.required(f, "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set");
        }
    }
    let configs = claim.get("config");
    if configs.len() > MOST {
        configs.too_many(f, MOST);
    }
    for config in configs.items() {
        set(&config.get("requests"), MOST, by_itself, f, |at, f| request_ref(at, &names, f));
        configuration(&config, f);
    }
}

fn request(at: &At<'_>, f: &mut Faults) {
    at.get("name").need_check(f, names::dns_label);
    let (exactly, first) = (at.get("exactly"), at.get("firstAvailable"));
    let why = "exactly one of `exactly` or `firstAvailable` is required";
    match (exactly.is_set(), !first.is_empty()) {
        (false, false) => at.required(f, why),
        (true, true) => at.invalid_as(
            f,
            serde_json::Value::Null,
            &format!("{why}, but multiple fields are set"),
        ),
        (true, false) => exact_request(&exactly, f),
        (false, true) => set(&first, 8, by_name, f, |part, f| {
            part.get("name").need_check(f, names::dns_label);
            exact_request(part, f);
        }),
    }
}

fn exact_request(at: &At<'_>, f: &mut Faults) {
    at.get("deviceClassName").need_check(f, names::dns_subdomain);
    selectors(&at.get("selectors"), f);
    let (mode, count) = (at.get("allocationMode"), at.get("count"));
    match mode.text() {
        "All" if count.number() != 0 => {
            count.invalid(f, "must not be specified when allocationMode is 'All'");
        }
        "All" => {}
        "ExactCount" if count.number() <= 0 => {
            count.invalid_as(f, count.number(), "must be greater than zero");
        }
        "ExactCount" => {}
        _ => mode.unsupported(f, &["All", "ExactCount"]),
    }
    for toleration in at.get("tolerations").items() {
        device_toleration(&toleration, f);
    }
}

fn selectors(list: &At<'_>, f: &mut Faults) {
    if list.len() > 32 {
        list.too_many(f, 32);
    }
    for selector in list.items() {
        let cel = selector.get("cel");
        if cel.is_set() {
            if cel.get("expression").len() > 10 * 1024 {
                cel.get("expression").too_long(f, 10 * 1024);
            }
        } else {
            cel.required(f, "");
        }
    }
}

fn device_toleration(at: &At<'_>, f: &mut Faults) {
    at.get("key").check_if_set(f, names::qualified_name);
    let value = at.get("value");
    match at.get("operator").text() {
        "Exists" if !value.is_empty() => {
            value.invalid(f, "must be empty for operator `Exists`");
        }
        "Exists" => {}
        "Equal" => value.check(f, names::label_value),
        _ => at.get("operator").need_one_of(f, &["Equal", "Exists"]),
    }
    let effect = at.get("effect");
    if !effect.is_empty() {
        effect.one_of(f, &["NoExecute", "NoSchedule", "None"]);
    }
}

fn request_ref(at: &At<'_>, requests: &Requests, f: &mut Faults) {
    let parts: Vec<&str> = at.text().split('/').collect();
    let known = match parts[..] {
        [name] => requests.contains_key(name),
        [name, part] => requests.get(name).is_some_and(|parts| parts.contains(part)),
        _ => false,
    };
    if parts.len() <= 2 {
        for part in &parts {
            for why in names::dns_label(part) {
                at.invalid_as(f, *part, &why);
            }
        }
    }
    if !known {
        at.invalid(f, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'");
    }
}

/// A domain and a C identifier; the domain may be missing where `full` is not wanted.
fn attribute_key(at: &At<'_>, text: &str, f: &mut Faults) {
    let identifier = |text: &str, f: &mut Faults| {
        if text.len() > 32 {
            at.too_long(f, 32);
        }
        for why in names::c_identifier(text) {
            at.invalid_as(f, text, &why);
        }
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [id] => identifier(id, f),
        [domain, id] => {
            if domain.is_empty() {
                at.invalid_as(f, "", "the domain must not be empty");
            } else {
                driver_name(&at.with(&domain.into()), f);
            }
            if id.is_empty() {
                at.invalid_as(f, "", "the name must not be empty");
            } else {
                identifier(id, f);
            }
        }
        _ => {}
    }
}

fn attribute_name(at: &At<'_>, f: &mut Faults) {
    attribute_key(at, at.text(), f);
    if !at.text().contains('/') {
        at.invalid(f, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn configuration(config: &At<'_>, f: &mut Faults) {
    let opaque = config.get("opaque");
    if !opaque.is_set() {
        opaque.required(f, "");
        return;
    }
    driver_name(&opaque.get("driver"), f);
    json_object(&opaque.get("parameters"), f);
}

fn json_object(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        at.required(f, "");
    } else if at.value.to_string().len() > 10 * 1024 {
        at.too_long(f, 10 * 1024);
    } else if at.map().is_none() {
        at.invalid_as(f, "<value omitted>", "must be a valid JSON object");
    }
}

pub(super) fn claim_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let status = new.get("status");
    let reserved = status.get("reservedFor");
    let by_uid = |at: &At<'_>| at.get("uid").text().to_owned();
    set(&reserved, 256, by_uid, f, |at, f| {
        for field in ["resource", "name", "uid"] {
            at.get(field).need(f);
        }
    });
    let allocation = status.get("allocation");
    let results = allocation.get("devices.results");
    let allocated: BTreeSet<String> = results.items().map(|r| device_id(&r)).collect();
    set(&status.get("devices"), usize::MAX, device_id, f, |device, f| {
        driver_name(&device.get("driver"), f);
        pool_name(&device.get("pool"), f);
        device.get("device").need_check(f, names::dns_label);
        let id = device_id(device);
        if !allocated.contains(&id) {
            device.invalid_as(f, id, "must be an allocated device in the claim");
        }
        policy::conditions(&device.get("conditions"), f);
        if device.get("data").is_set() {
            json_object(&device.get("data"), f);
        }
    });
    if !reserved.is_empty() {
        let before = old.get("status.reservedFor");
        let had = |at: &At<'_>| before.items().any(|b| b.value == at.value);
        if !allocation.is_set() {
            reserved.forbidden(f, "may not be specified when `allocated` is not set");
        } else if new.get("metadata.deletionTimestamp").is_set()
            && !reserved.items().all(|r| had(&r))
        {
            reserved.forbidden(f, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set");
        }
    }
    let was = old.get("status.allocation");
    if was.is_set() && allocation.is_set() {
        allocation.immutable_struct(f, &was, "AllocationResult");
    } else if allocation.is_set() {
        let names = requests_of(&new.get("spec.devices"));
        for result in results.items() {
            request_ref(&result.get("request"), &names, f);
            driver_name(&result.get("driver"), f);
            pool_name(&result.get("pool"), f);
            result.get("device").need_check(f, names::dns_label);
        }
        for config in allocation.get("devices.config").items() {
            config.get("source").need_one_of(f, &["FromClaim", "FromClass"]);
            configuration(&config, f);
        }
        if allocation.get("nodeSelector").is_set() {
            placement::node_selector(&allocation.get("nodeSelector"), f);
        }
    }
}

fn device_id(at: &At<'_>) -> String {
    let base = ["driver", "pool", "device"].map(|field| at.get(field).text().to_owned()).join("/");
    match at.get("shareID").text() {
        "" => base,
        share => format!("{base}/{share}"),
    }
}

// Classes.

pub(super) fn class(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    selectors(&spec.get("selectors"), f);
    for config in spec.get("config").items() {
        configuration(&config, f);
    }
    let name = spec.get("extendedResourceName");
    if name.is_set() && !resources::is_extended(name.text()) {
        name.invalid(f, "must be a valid extended resource name");
    }
}

// Slices.

pub(super) fn pool_name(at: &At<'_>, f: &mut Faults) {
    if !at.need(f) {
        return;
    }
    if at.len() > 253 {
        at.too_long(f, 253);
    }
    for part in at.text().split('/') {
        for why in names::dns_subdomain(part) {
            at.invalid_as(f, part, &why);
        }
    }
}

pub(super) fn slice_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    slice(new, f);
    for field in ["pool.name", "driver", "nodeName"] {
        let (now, was) = (new.get("spec"), old.get("spec"));
        let (now, was) = (now.get(field), was.get(field));
        if now.value != was.value {
            now.invalid(f, IMMUTABLE);
        }
    }
}

/// Where devices are: the fields that say so.
fn places<'a>(at: &At<'_>, fields: &[&'a str], empty: &str, f: &mut Faults) -> Vec<&'a str> {
    let mut given = Vec::new();
    for field in fields {
        let one = at.get(field);
        if !one.is_set() {
            continue;
        }
        match *field {
            "nodeName" if one.is_empty() => one.invalid(f, empty),
            "nodeName" => {
                one.check(f, names::dns_subdomain);
                given.push(*field);
            }
            "nodeSelector" => {
                placement::node_selector(&one, f);
                given.push(*field);
            }
            _ if one.is_true() => given.push(*field),
            _ => one.invalid(f, "must be either unset or set to true"),
        }
    }
    given
}

pub(super) fn slice(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    driver_name(&spec.get("driver"), f);
    let pool = spec.get("pool");
    pool_name(&pool.get("name"), f);
    let (count, generation) = (pool.get("resourceSliceCount"), pool.get("generation"));
    if count.number() <= 0 {
        count.invalid_as(f, count.number(), "must be greater than zero");
    }
    if generation.number() < 0 {
        generation.invalid(f, "must be greater than or equal to zero");
    }
    let given = places(
        &spec,
        &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"],
        "must be either unset or set to a non-empty string",
        f,
    );
    let why = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match given.len() {
        0 => spec.required(f, why),
        1 => {}
        _ => {
            let shown = format!("{{`{}`}}", given.join("`, `"));
            spec.invalid_as(f, shown, &format!("{why}, but multiple fields are set"));
        }
    }
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        spec.invalid_as(f, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    let heavy = |d: At<'_>| !d.get("taints").is_empty() || !d.get("consumesCounters").is_empty();
    let most = if devices.items().any(heavy) { 64 } else { 128 };
    let each = spec.get("perDeviceNodeSelection").is_true();
    set(&devices, most, by_name, f, |at, f| device(at, each, f));
    set(&counters, 8, by_name, f, |at, f| counter_set(at, "name", f));
}

fn counter_set(at: &At<'_>, name: &str, f: &mut Faults) {
    at.get(name).need_check(f, names::dns_label);
    let counters = at.get("counters");
    counters.need(f);
    for (key, entry) in counters.entries() {
        for why in names::dns_label(key) {
            entry.invalid_as(f, key, &why);
        }
    }
}

fn device(at: &At<'_>, each: bool, f: &mut Faults) {
    at.get("name").need_check(f, names::dns_label);
    let (attributes, capacity) = (at.get("attributes"), at.get("capacity"));
    let total = attributes.len() + capacity.len();
    if total > 32 {
        at.invalid_as(f, total, "the total number of attributes and capacities must not exceed 32");
    }
    for (key, value) in attributes.entries() {
        attribute_key(&value, key, f);
        attribute(&value, f);
    }
    for (key, value) in capacity.entries() {
        attribute_key(&value, key, f);
        let policy = value.get("requestPolicy");
        if policy.is_set() && !at.get("allowMultipleAllocations").is_true() {
            policy.forbidden(f, "allowMultipleAllocations must be true");
        }
    }
    for taint in at.get("taints").items() {
        taint.get("key").qualified(f);
        taint.get("value").check_if_set(f, names::label_value);
        taint.get("effect").need_one_of(f, &["NoExecute", "NoSchedule", "None"]);
    }
    let by_set = |at: &At<'_>| at.get("counterSet").text().to_owned();
    set(&at.get("consumesCounters"), 2, by_set, f, |at, f| counter_set(at, "counterSet", f));
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if each {
        let given = places(at, &fields, "must not be empty", f);
        let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        match given.len() {
            0 => at.required(f, why),
            1 => {}
            _ => at.invalid_as(f, format!("{{`{}`}}", given.join("`, `")), why),
        }
    } else if fields.iter().any(|field| at.get(field).is_set()) {
        at.invalid_as(f, serde_json::Value::Null, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec");
    }
}

/// The forms of a value: our name, and the one that upstream's messages show.
const FORMS: [(&str, &str); 8] = [
    ("int", "IntValue"),
    ("bool", "BoolValue"),
    ("string", "StringValue"),
    ("version", "VersionValue"),
    ("ints", "IntValues"),
    ("bools", "BoolValues"),
    ("strings", "StringValues"),
    ("versions", "VersionValues"),
];

fn attribute(at: &At<'_>, f: &mut Faults) {
    let given = FORMS.iter().filter(|form| at.get(form.0).is_set()).count();
    text_value(&at.get("string"), f);
    version_value(&at.get("version"), f);
    for (field, _) in &FORMS[4..] {
        let list = at.get(field);
        if list.is_set() && list.is_empty() {
            list.invalid(f, "must not be empty if specified");
        }
    }
    for item in at.get("strings").items() {
        text_value(&item, f);
    }
    for item in at.get("versions").items() {
        version_value(&item, f);
    }
    let why = "exactly one value must be specified";
    if given == 0 {
        at.invalid_as(f, "", why);
    } else if given > 1 {
        let shown: Vec<String> = FORMS
            .iter()
            .map(|(field, name)| format!("\"{name}\":{}", at.get(field).value))
            .collect();
        let message = format!("Invalid value: {{{}}}: {why}", shown.join(","));
        f.push(crate::Cause::new(crate::CauseReason::Invalid, at.path(), message));
    }
}

fn text_value(at: &At<'_>, f: &mut Faults) {
    if at.len() > 64 {
        at.too_long(f, 64);
    }
}

fn version_value(at: &At<'_>, f: &mut Faults) {
    if at.is_set() && !is_semver(at.text()) {
        at.invalid(f, "must be a string compatible with semver.org spec 2.0.0");
    }
    text_value(at, f);
}

/// A version as semver.org has it.
pub(super) fn is_semver(text: &str) -> bool {
    let (rest, build) = match text.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (text, None),
    };
    let (core, pre) = match rest.split_once('-') {
        Some((core, pre)) => (core, Some(pre)),
        None => (rest, None),
    };
    let digits = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let number = |p: &str| digits(p) && (p == "0" || !p.starts_with('0'));
    let word = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let numbers: Vec<&str> = core.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(number)
        && pre.is_none_or(|p| p.split('.').all(|p| word(p) && (!digits(p) || number(p))))
        && build.is_none_or(|b| b.split('.').all(word))
}
