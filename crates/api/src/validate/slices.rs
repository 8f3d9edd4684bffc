//! Resource slices: the devices that a node has (dynamic resource allocation).

use std::collections::BTreeSet;

use serde_json::Value;

use super::at::{At, Faults, IMMUTABLE};
use super::devices::{attribute_key, by_name, is_semver, pool_name, set, up_to};
use super::placement;
use super::storage::driver_name;
use crate::names;
use crate::quantity::Quantity;

pub(super) fn slice_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    slice_with(new, Some(old), f);
}

fn fixed(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    for field in ["pool.name", "driver", "nodeName"] {
        let (now, was) = (new.get("spec"), old.get("spec"));
        let (now, was) = (now.get(field), was.get(field));
        if now.value != was.value {
            now.invalid(f, IMMUTABLE);
        }
    }
}

/// Where devices are: the fields that say so.
fn places<'a>(
    at: &At<'_>,
    fields: &[&'a str],
    (empty, alone): (&str, bool),
    f: &mut Faults,
) -> Vec<&'a str> {
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
                let terms = one.get("nodeSelectorTerms");
                if alone && terms.len() != 1 {
                    let of = "NodeSelectorTerm";
                    terms.invalid_struct(f, of, "must have exactly one node selector term");
                }
                given.push(*field);
            }
            _ if one.is_true() => given.push(*field),
            _ => one.invalid(f, "must be either unset or set to true"),
        }
    }
    given
}

pub(super) fn slice(root: &At<'_>, f: &mut Faults) {
    slice_with(root, None, f);
}

fn slice_with(root: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
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
    if let Some(old) = old {
        fixed(root, old, f);
    }
    let given = places(
        &spec,
        &["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"],
        ("must be either unset or set to a non-empty string", true),
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
    let lists = |d: &At<'_>| {
        let given = |a: &Value| FORMS[4..].iter().any(|(form, _)| a.get(form).is_some());
        d.get("attributes").map().is_some_and(|map| map.values().any(given))
    };
    let heavy = |d: At<'_>| {
        !d.get("taints").is_empty() || !d.get("consumesCounters").is_empty() || lists(&d)
    };
    let most = if devices.items().any(heavy) { 64 } else { 128 };
    let each = spec.get("perDeviceNodeSelection").is_true();
    let before = |name: &At<'_>| {
        let devices = old?.value.pointer("/spec/devices")?.as_array()?;
        devices.iter().find(|d| d["name"] == *name.value)
    };
    set(&devices, most, by_name, f, |at, f| device(at, before(&at.get("name")), each, f));
    set(&counters, 8, by_name, f, |at, f| counter_set(at, "name", f));
}

fn counter_set(at: &At<'_>, name: &str, f: &mut Faults) {
    at.get(name).need_check(f, names::dns_label);
    let counters = at.get("counters");
    counters.need(f);
    // Faults of keys name the map.
    for (key, _) in up_to(&counters, 32, f).entries() {
        for why in names::dns_label(key) {
            counters.invalid_as(f, key, &why);
        }
    }
}

fn device(at: &At<'_>, before: Option<&Value>, each: bool, f: &mut Faults) {
    at.get("name").check(f, names::dns_label);
    let (attributes, capacity) = (at.get("attributes"), at.get("capacity"));
    let total = attributes.len() + capacity.len();
    if total > 32 {
        at.invalid_as(f, total, "the total number of attributes and capacities must not exceed 32");
    }
    let values = |value: At<'_>| {
        let listed: usize = FORMS[4..].iter().map(|(form, _)| value.get(form).len()).sum();
        listed.max(1)
    };
    let count: usize = attributes.entries().map(|(_, value)| values(value)).sum();
    if count > 48 {
        at.invalid_as(f, count, "the total number of attribute values must not exceed 48");
    }
    for (key, value) in attributes.entries() {
        attribute_key(&attributes, key, f);
        attribute(&value, f);
    }
    for (key, value) in capacity.entries() {
        attribute_key(&capacity, key, f);
        let policy = value.get("requestPolicy");
        if !policy.is_set() {
            continue;
        }
        if at.get("allowMultipleAllocations").is_true() {
            request_policy(&policy, value.get("value").quantity(), f);
        } else {
            policy.forbidden(f, "allowMultipleAllocations must be true");
        }
    }
    let taints = at.get("taints");
    // What is stored already stays.
    if before.and_then(|device| device.get("taints")) != Some(taints.value) {
        for taint in up_to(&taints, 16, f).items() {
            taint.get("key").qualified(f);
            taint.get("value").check_if_set(f, names::label_value);
            taint.get("effect").need_one_of(f, &["NoExecute", "NoSchedule", "None"]);
        }
    }
    let by_set = |at: &At<'_>| at.get("counterSet").text().to_owned();
    set(&at.get("consumesCounters"), 2, by_set, f, |at, f| counter_set(at, "counterSet", f));
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if each {
        let given = places(at, &fields, ("must not be empty", false), f);
        let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        match given.len() {
            0 => at.required(f, why),
            1 => {}
            _ => at.invalid_as(f, format!("{{`{}`}}", given.join("`, `")), why),
        }
    } else if fields.iter().any(|field| at.get(field).is_set()) {
        at.invalid_as(f, serde_json::Value::Null, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec");
    }
    binding(at, f);
}

/// Conditions that a device is bound on, and those that say that it failed.
pub(super) fn binding(at: &At<'_>, f: &mut Faults) {
    let (met, failed) = (at.get("bindingConditions"), at.get("bindingFailureConditions"));
    for list in [&met, &failed] {
        for condition in up_to(list, 4, f).items() {
            condition.qualified(f);
        }
    }
    for list in [&met, &failed] {
        let mut seen = BTreeSet::new();
        for condition in list.items() {
            if !seen.insert(condition.text().to_owned()) {
                condition.duplicate(f);
            }
            let other =
                list.path() == failed.path() && met.items().any(|m| m.value == condition.value);
            if other {
                let why = "bindingFailureConditions must not overlap with bindingConditions";
                condition.invalid(f, why);
            }
        }
    }
    match (met.is_empty(), failed.is_empty()) {
        (true, false) => {
            met.invalid(f, "bindingConditions are required to use bindingFailureConditions");
        }
        (false, true) => {
            failed.invalid(f, "bindingFailureConditions are required to use bindingConditions");
        }
        _ => {}
    }
}

/// How much of a capacity can be asked for.
fn request_policy(policy: &At<'_>, most: Option<Quantity>, f: &mut Faults) {
    let (values, range) = (policy.get("validValues"), policy.get("validRange"));
    let default = policy.get("default");
    let most = most.unwrap_or(Quantity::ZERO);
    match (!values.is_empty(), range.is_set()) {
        (true, true) => policy.forbidden(f, "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time"),
        (true, false) => match default.quantity() {
            None => default.required(f, "required when validValues is defined"),
            Some(default) => valid_values(&values, default, most, f),
        },
        (false, true) => match default.quantity() {
            None => default.required(f, "required when validRange is defined"),
            Some(default) => valid_range(&range, default, most, f),
        },
        (false, false) => {}
    }
}

fn valid_values(list: &At<'_>, default: Quantity, most: Quantity, f: &mut Faults) {
    let mut last: Option<Quantity> = None;
    for value in list.items() {
        let Some(amount) = value.quantity() else { continue };
        if last.is_some_and(|last| last > amount) {
            value.invalid_as(f, amount.to_string(), "values must be sorted in ascending order");
        }
        last = Some(amount);
    }
    let whole = |item: &At<'_>| item.quantity().map_or(0, |q| q.value()).to_string();
    let mut found = false;
    set(list, 10, whole, f, |item, f| {
        let Some(amount) = item.quantity() else { return };
        if amount > most {
            let why = format!("option is larger than capacity value: {most}");
            item.invalid_as(f, amount.to_string(), &why);
        }
        found |= amount == default;
    });
    if !found {
        let why = "default value is not valid according to the requestPolicy";
        list.invalid_as(f, default.to_string(), why);
    }
}

fn valid_range(range: &At<'_>, default: Quantity, most: Quantity, f: &mut Faults) {
    let [min, max, step] = ["min", "max", "step"].map(|field| range.get(field));
    let Some(low) = min.quantity() else {
        return min.required(f, "required when validRange is defined");
    };
    let mut wrong = |at: &At<'_>, shown: Quantity, why: String| {
        at.invalid_as(f, shown.to_string(), &why);
    };
    if low > most {
        wrong(&min, low, format!("min is larger than capacity value: {most}"));
    }
    if default < low {
        wrong(&min, default, format!("default is less than min: {low}"));
    }
    let high = max.quantity();
    if let Some(high) = high {
        if low > high {
            wrong(&max, low, format!("min is larger than max: {high}"));
        }
        if high > most {
            wrong(&max, high, format!("max is larger than capacity value: {most}"));
        }
        if default > high {
            wrong(&max, default, format!("default is more than max: {high}"));
        }
    }
    let Some(one) = step.quantity() else { return };
    let first = low + one;
    if first > most {
        wrong(&step, one, format!("one step {first} is larger than capacity value: {most}"));
    }
    for value in [Some(default), high].into_iter().flatten() {
        let over = value.value().saturating_sub(low.value()).checked_rem(one.value());
        if over.is_some_and(|rest| rest != 0) {
            let why = format!("value is not a multiple of a given step ({one}) from ({low})");
            wrong(&step, value, why);
        }
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
