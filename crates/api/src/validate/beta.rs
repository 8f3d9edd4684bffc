//! Kinds of which there are only alpha and beta versions: candidates for leases, taints of devices.
//!
//! Not here: other kinds' early versions, which have the rules of the stable one.

use serde_json::Value;

use super::at::{At, Faults};
use super::devices::{is_semver, pool_name};
use super::policy;
use super::storage::driver_name;
use crate::names;

const STRATEGY: &str = "OldestEmulationVersion";

pub(super) fn lease_candidate(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    spec.get("leaseName").need(f);
    let (emulated, binary) = (spec.get("emulationVersion"), spec.get("binaryVersion"));
    version(&emulated, f);
    if binary.need(f) {
        version(&binary, f);
        if !emulated.is_empty() && numbers(&binary) < numbers(&emulated) {
            binary.invalid(f, "must be greater than or equal to `emulationVersion`");
        }
    }
    let strategy = spec.get("strategy");
    if strategy.need(f) {
        if strategy.text() == STRATEGY && numbers(&emulated) == [0; 3] {
            emulated.required(f, "must be specified when `strategy` is 'OldestEmulationVersion'");
        }
        // The name of the field is in its path twice.
        let value = Value::String(strategy.text().to_owned());
        let path = strategy.get("strategy");
        let path = path.with(&value);
        if strategy.text().contains('/') {
            path.qualified(f);
        } else {
            path.one_of(f, &[STRATEGY]);
        }
    }
}

pub(super) fn lease_candidate_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    lease_candidate(new, f);
    new.get("spec.leaseName").immutable(f, &old.get("spec.leaseName"));
}

fn version(at: &At<'_>, f: &mut Faults) {
    if !at.is_empty() && !is_semver(at.text()) {
        at.invalid(f, "must be a valid semantic version");
    }
}

/// Major, minor, patch; zeros where there are none.
fn numbers(at: &At<'_>) -> [u64; 3] {
    let core = at.text().split(['-', '+']).next().unwrap_or("");
    let mut parts = core.split('.').map(|part| part.parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

pub(super) fn device_taint_rule(root: &At<'_>, f: &mut Faults) {
    taint_rule(root, None, f);
}

pub(super) fn device_taint_rule_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    taint_rule(new, Some(old), f);
}

fn taint_rule(root: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    let selector = root.get("spec.deviceSelector");
    for (field, rule) in [
        ("driver", driver_name as fn(&At<'_>, &mut Faults)),
        ("pool", pool_name),
        ("device", |at, f| at.need_check(f, names::dns_label)),
    ] {
        let at = selector.get(field);
        if at.is_set() {
            rule(&at, f);
        }
    }
    let taint = root.get("spec.taint");
    taint.get("key").qualified(f);
    taint.get("value").check_if_set(f, names::label_value);
    let effect = taint.get("effect");
    // What was stored before the effects grew stays.
    if old.is_none_or(|old| old.get("spec.taint.effect").text() != effect.text()) {
        effect.need_one_of(f, &["NoExecute", "NoSchedule", "None"]);
    }
}

pub(super) fn device_taint_rule_status(new: &At<'_>, _: &At<'_>, f: &mut Faults) {
    let conditions = new.get("status.conditions");
    policy::conditions(&conditions, f);
    if conditions.len() > 8 {
        conditions.too_many(f, 8);
    }
}

pub(super) fn pool_status_request(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let driver = spec.get("driver");
    if driver.need(f) {
        for why in names::dns_subdomain(&driver.text().to_lowercase()) {
            driver.invalid(f, &why);
        }
    }
    if spec.get("poolName").is_set() {
        pool_name(&spec.get("poolName"), f);
    }
    let limit = spec.get("limit");
    match limit.int() {
        Some(n) if n < 1 => limit.invalid(f, "must be greater than or equal to 1"),
        Some(n) if n > 1000 => limit.invalid(f, "must be less than or equal to 1000"),
        _ => {}
    }
}

pub(super) fn pool_status_request_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let now = new.get("spec");
    if now.value != old.get("spec").value {
        now.invalid_as(f, Value::Null, super::at::IMMUTABLE);
    }
}

/// The answer is given once.
pub(super) fn pool_status_request_status(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (now, was) = (new.get("status"), old.get("status"));
    if was.is_set() {
        return now.immutable(f, &was);
    }
    if !now.is_set() {
        return;
    }
    let count = now.get("poolCount");
    if !count.is_set() {
        count.required(f, "");
    }
    count.non_negative(f);
    let pools = now.get("pools");
    if pools.len() > 1000 {
        return pools.too_many(f, 1000);
    }
    for pool in pools.items() {
        pool.get("driver").need(f);
        pool_name(&pool.get("poolName"), f);
        for field in [
            "generation",
            "totalDevices",
            "allocatedDevices",
            "availableDevices",
            "unavailableDevices",
        ] {
            pool.get(field).non_negative(f);
        }
        pool.get("nodeName").check_if_set(f, names::dns_subdomain);
        if pool.get("validationError").len() > 256 {
            pool.get("validationError").too_long(f, 256);
        }
    }
    let conditions = now.get("conditions");
    policy::conditions(&conditions, f);
    if conditions.len() > 10 {
        conditions.too_many(f, 10);
    }
}
