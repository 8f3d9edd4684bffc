//! Validation: the faults of an object, with upstream's field paths, reasons and wording.
//!
//! Run on defaulted objects, after the strategy. A kind has a row in `table`; its rules are written
//! in the vocabulary of `at`, one line a rule. Not here: what needs other objects (admission).

mod admission;
mod at;
mod autoscaling;
mod batch;
mod beta;
mod common;
mod config;
mod container;
mod cron;
mod devices;
mod diff;
mod env;
mod flow;
mod job_status;
mod meta;
mod migration;
mod network;
mod node;
mod persistent;
mod placement;
mod pod;
mod pod_status;
mod pod_update;
mod policy;
mod profiles;
mod rbac;
mod registration;
mod resources;
mod scheduling;
mod service;
mod shown;
mod slices;
mod storage;
mod table;
mod trust;
mod volumes;
mod windows;
mod workloads;

use serde_json::Value;

use crate::kinds::Kind;
use crate::names;
use crate::object::Object;
use crate::status::Cause;
use at::At;
use table::{Look, Rules};

/// The faults of an object that a client wants to create.
pub fn create(kind: &Kind, new: &mut Object) -> Vec<Cause> {
    let value = lend(new);
    let root = At::root(&value);
    let rules = Rules::of(kind.group, kind.kind);
    let mut faults = Vec::new();
    meta::create(&root, kind.namespaced, rules.name, rules.prefix(), &mut faults);
    if rules.standard_finalizers() {
        meta::standard_finalizers(&root, &mut faults);
    }
    (rules.create)(&root, &mut faults);
    if faults.is_empty() {
        // Whatever the kind says of its names, they are parts of paths.
        meta::path_parts(&root, &mut faults);
    }
    give_back(new, value);
    faults
}

/// An object as a value, without a copy: its content is lent and to be given back.
fn lend(object: &mut Object) -> Value {
    Value::Object(std::mem::take(&mut object.0))
}

fn give_back(object: &mut Object, lent: Value) {
    if let Value::Object(map) = lent {
        object.0 = map;
    }
}

/// The faults of an object that a client wants to store in the place of `old`.
pub fn update(kind: &Kind, new: &mut Object, old: &mut Object) -> Vec<Cause> {
    changed(kind, new, old, None, |rules, new, old, faults| (rules.update)(new, old, faults))
}

/// The faults of an object whose status a client wants to store.
pub fn status_update(kind: &Kind, new: &mut Object, old: &mut Object) -> Vec<Cause> {
    changed(kind, new, old, Some(Look::Change), |rules, new, old, faults| {
        (rules.status)(new, old, faults);
    })
}

/// The faults of an object changed through one of the subresources that change a part of it.
pub fn part_update(
    kind: &Kind,
    new: &mut Object,
    old: &mut Object,
    subresource: &str,
) -> Vec<Cause> {
    changed(kind, new, old, Some(Look::Change), |_, new, old, faults| match subresource {
        "resize" => pod_update::resize(new, old, faults),
        "finalize" => meta::namespace_finalizers(new, faults),
        "approval" => registration::signing_request_approval(new, old, faults),
        _ => pod_update::ephemeral_containers(new, old, faults),
    })
}

fn changed(
    kind: &Kind,
    new_object: &mut Object,
    old_object: &mut Object,
    look: Option<Look>,
    rules_of: impl Fn(&Rules, &At<'_>, &At<'_>, &mut Vec<Cause>),
) -> Vec<Cause> {
    let (new_value, old_value) = (lend(new_object), lend(old_object));
    let (new, old) = (At::root(&new_value), At::root(&old_value));
    let rules = Rules::of(kind.group, kind.kind);
    let mut faults = Vec::new();
    // Upstream looks at the metadata of every kind, and again with the kind's own rules.
    meta::whole(&new, names::path_segment, &mut faults);
    meta::update(&new, &old, &mut faults);
    for look in look.as_ref().map_or(rules.looks, std::slice::from_ref) {
        match look {
            Look::Whole => meta::whole(&new, rules.prefix(), &mut faults),
            Look::Change => meta::update(&new, &old, &mut faults),
        }
        if rules.standard_finalizers() {
            meta::standard_finalizers(&new, &mut faults);
        }
    }
    rules_of(&rules, &new, &old, &mut faults);
    give_back(new_object, new_value);
    give_back(old_object, old_value);
    faults
}

/// The faults of a service's addresses, which upstream reports alone and before it allocates any.
pub fn service_addresses(new: &Object) -> Vec<Cause> {
    let value = Value::Object(new.0.clone());
    let mut faults = Vec::new();
    service::given_addresses(&At::root(&value), &mut faults);
    faults
}

/// `metadata` as upstream prints it in messages: its fields in the order that upstream has them.
pub fn metadata_shown(meta: &Value) -> String {
    shown::line("ObjectMeta", meta)
}

/// The faults of the `requirements` of a selector in an access review.
pub fn requirements(field: &str, selector: &Value) -> Vec<Cause> {
    let mut faults = Vec::new();
    let root = At::root(&Value::Null);
    let at = root.get(field).with(selector);
    let labels = field.ends_with("labelSelector");
    common::requirements(&at.get("requirements"), labels, &mut faults);
    faults
}

/// How names of a kind are checked: the faults of a text.
pub fn name_fn(kind: &Kind) -> fn(&str) -> names::Faults {
    Rules::of(kind.group, kind.kind).name
}
