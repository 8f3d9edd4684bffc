//! Resource claims, device classes and resource slices (dynamic resource allocation).
//!
//! CEL selectors are checked for presence only; compiling them is the server's.

use std::collections::{BTreeMap, BTreeSet};

use super::at::{At, Faults};
use super::resources;
use super::storage::driver_name;
use super::{common, placement, policy, shown, slices, volumes};
use crate::names;

/// The largest number of requests, constraints and configurations of a claim.
const MOST: usize = 32;

/// Every item is valid, keys differ, and there are not too many.
pub(super) fn set(
    list: &At<'_>,
    most: usize,
    key: fn(&At<'_>) -> String,
    f: &mut Faults,
    mut rule: impl FnMut(&At<'_>, &mut Faults),
) {
    if list.len() > most {
        return list.too_many(f, most);
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

/// The list, or none of it where it is too long.
pub(super) fn up_to<'a>(list: &At<'a>, most: usize, f: &mut Faults) -> At<'a> {
    if list.len() <= most {
        return *list;
    }
    list.too_many(f, most);
    list.with(super::at::NOTHING)
}

pub(super) fn by_name(item: &At<'_>) -> String {
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
    claim_template(new, f);
    new.get("spec").immutable_struct(f, &old.get("spec"), "ResourceClaimTemplateSpec");
}

pub(super) fn claim_template(root: &At<'_>, f: &mut Faults) {
    volumes::template_meta(&root.get("spec.metadata"), f);
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
    for constraint in up_to(&claim.get("constraints"), MOST, f).items() {
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
    for config in up_to(&claim.get("config"), MOST, f).items() {
        set(&config.get("requests"), MOST, by_itself, f, |at, f| request_ref(at, &names, f));
        configuration(&config, f);
    }
}

fn request(at: &At<'_>, f: &mut Faults) {
    at.get("name").check(f, names::dns_label);
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
            part.get("name").check(f, names::dns_label);
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
    for selector in up_to(list, 32, f).items() {
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
pub(super) fn attribute_key(at: &At<'_>, text: &str, f: &mut Faults) {
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
    let mut seen = BTreeSet::new();
    let devices = status.get("devices");
    devices.items().for_each(|device| {
        driver_name(&device.get("driver"), f);
        pool_name(&device.get("pool"), f);
        device.get("device").check(f, names::dns_label);
        share_id(&device.get("shareID"), f);
        let id = device_id(&device);
        let shown = shown::line("SharedDeviceID", device.value);
        if !allocated.contains(&id) {
            device.invalid_shown(f, &shown, "must be an allocated device in the claim");
        }
        if !seen.insert(id) {
            device.duplicate_shown(f, &shown);
        }
        if device.get("conditions").len() > 8 {
            device.get("conditions").too_many(f, 8);
        }
        policy::conditions(&device.get("conditions"), f);
        if device.get("data").is_set() {
            json_object(&device.get("data"), f);
        }
        network_data(&device.get("networkData"), f);
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
        for result in up_to(&results, MOST, f).items() {
            request_ref(&result.get("request"), &names, f);
            driver_name(&result.get("driver"), f);
            pool_name(&result.get("pool"), f);
            result.get("device").need_check(f, names::dns_label);
            slices::binding(&result, f);
            share_id(&result.get("shareID"), f);
        }
        for config in up_to(&allocation.get("devices.config"), 2 * MOST, f).items() {
            config.get("source").need_one_of(f, &["FromClaim", "FromClass"]);
            set(&config.get("requests"), MOST, by_itself, f, |at, f| request_ref(at, &names, f));
            configuration(&config, f);
        }
        if allocation.get("nodeSelector").is_set() {
            placement::node_selector(&allocation.get("nodeSelector"), f);
        }
    }
}

/// A UUID in its usual form.
fn share_id(at: &At<'_>, f: &mut Faults) {
    if !at.is_set() {
        return;
    }
    let text = at.text();
    let bare = match text.len() {
        45 => text.get(9..).filter(|_| text.to_lowercase().starts_with("urn:uuid:")),
        38 => text.strip_prefix('{').and_then(|t| t.strip_suffix('}')),
        32 | 36 => Some(text),
        length => {
            let why = format!("error validating uid: invalid UUID length: {length}");
            return at.invalid(f, &why);
        }
    };
    let fits = bare.is_some_and(|bare| {
        bare.bytes().enumerate().all(|(i, b)| match (bare.len(), i) {
            (36, 8 | 13 | 18 | 23) => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
    });
    if !fits {
        at.invalid(f, "error validating uid: invalid UUID format");
    } else if text.len() != 36 || text != text.to_lowercase() {
        at.invalid(f, "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters");
    }
}

fn network_data(at: &At<'_>, f: &mut Faults) {
    for (field, most) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if at.get(field).len() > most {
            at.get(field).too_long(f, most);
        }
    }
    set(&at.get("ips"), 16, by_itself, f, common::interface_address);
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
    for config in up_to(&spec.get("config"), MOST, f).items() {
        configuration(&config, f);
    }
    let name = spec.get("extendedResourceName");
    if name.is_set() && !resources::is_extended(name.text()) {
        name.invalid(f, "must be a valid extended resource name");
    }
}

/// The name of a pool of devices.
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
