//! `metadata` of every object, created and updated.

use serde_json::Value;

use super::at::{At, Faults, IMMUTABLE};
use super::common;
use crate::names;
use crate::status::Cause;

/// How names of a kind are checked.
pub(super) type NameRule = fn(&str) -> names::Faults;

/// `metadata` of a new object.
pub(super) fn create(
    root: &At<'_>,
    namespaced: bool,
    rule: NameRule,
    prefix: NameRule,
    f: &mut Faults,
) {
    let meta = root.get("metadata");
    name_prefix(&meta, prefix, f);
    let name = meta.get("name");
    if name.is_empty() {
        name.required(f, "name or generateName is required");
    } else {
        name.check(f, rule);
    }
    let namespace = meta.get("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => namespace.required(f, ""),
        (true, false) => namespace.check(f, names::dns_label),
        (false, false) => namespace.forbidden(f, "not allowed on this type"),
        (false, true) => {}
    }
    rest(root, f);
}

fn name_prefix(meta: &At<'_>, rule: NameRule, f: &mut Faults) {
    let prefix = meta.get("generateName");
    if !prefix.is_empty() {
        for why in names::prefix(prefix.text(), rule) {
            prefix.invalid(f, &why);
        }
    }
}

/// Names that cannot be parts of paths.
pub(super) fn path_parts(root: &At<'_>, f: &mut Faults) {
    let meta = root.get("metadata");
    name_prefix(&meta, names::path_segment, f);
    meta.get("name").check(f, names::path_segment);
}

/// What holds of `metadata` of a changed object whenever it is looked at as a whole.
pub(super) fn whole(root: &At<'_>, rule: NameRule, f: &mut Faults) {
    name_prefix(&root.get("metadata"), rule, f);
    rest(root, f);
}

fn rest(root: &At<'_>, f: &mut Faults) {
    let meta = root.get("metadata");
    meta.get("generation").non_negative(f);
    common::labels(&meta.get("labels"), f);
    common::annotations(&meta.get("annotations"), f);
    owners(&meta.get("ownerReferences"), f);
    finalizers(&meta.get("finalizers"), f);
    managed_fields(&meta.get("managedFields"), f);
}

/// `metadata` of a changed object.
pub(super) fn update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    let (meta, before) = (new.get("metadata"), old.get("metadata"));
    if before.get("deletionTimestamp").is_set() {
        let had: Vec<&Value> =
            before.get("finalizers").value.as_array().into_iter().flatten().collect();
        let finalizers = meta.get("finalizers");
        let list = finalizers.value.as_array().into_iter().flatten();
        let mut more: Vec<&str> =
            list.filter(|x| !had.contains(x)).filter_map(Value::as_str).collect();
        more.sort_unstable();
        if !more.is_empty() {
            let names: Vec<String> = more.iter().map(|m| names::quote(m)).collect();
            finalizers.forbidden(
                f,
                &format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    names.join(", ")
                ),
            );
        }
    }
    let (generation, was) = (meta.get("generation"), before.get("generation"));
    if generation.number() < was.number() {
        generation.invalid_as(f, generation.number(), "must not be decremented");
    }
    for field in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        let (now, was) = (meta.get(field), before.get(field));
        if now.value != was.value && !(now.is_empty() && was.is_empty()) {
            let value = if now.is_set() || field.starts_with("deletion") {
                now.value.clone()
            } else {
                Value::String(String::new())
            };
            now.invalid_as(f, value, IMMUTABLE);
        }
    }
    common::labels(&meta.get("labels"), f);
    common::annotations(&meta.get("annotations"), f);
    owners(&meta.get("ownerReferences"), f);
    managed_fields(&meta.get("managedFields"), f);
}

fn owners(list: &At<'_>, f: &mut Faults) {
    let mut controller: Option<String> = None;
    for owner in list.items() {
        // Faults name the list, as upstream's do.
        let fault = |f: &mut Faults, field: &str, why: &str| {
            let value: Value = owner.get(field).text().into();
            let path = format!("{}.{field}", list.path());
            f.push(Cause::invalid(path, &value, why));
        };
        let version = owner.get("apiVersion");
        let parts: Vec<&str> = version.text().split('/').collect();
        if parts.len() > 2 || parts.last().is_none_or(|p| p.is_empty()) {
            fault(f, "apiVersion", "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if owner.get(field).is_empty() {
                fault(f, field, "must not be empty");
            }
        }
        if version.text() == "v1" && owner.get("kind").text() == "Event" {
            list.invalid_as(
                f,
                owner.value.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if owner.get("controller").is_true() {
            let name = format!("{}/{}", owner.get("kind").text(), owner.get("name").text());
            match &controller {
                Some(first) => list.invalid_shown(
                    f,
                    &owners_shown(list),
                    &format!("Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"),
                ),
                None => controller = Some(name),
            }
        }
    }
}

/// The owners as upstream's struct prints.
fn owners_shown(list: &At<'_>) -> String {
    const FIELDS: [&str; 6] =
        ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let one = |owner: At<'_>| {
        let set = FIELDS.iter().filter(|field| owner.get(field).is_set());
        let shown: Vec<String> =
            set.map(|field| format!("\"{field}\":{}", owner.get(field).value)).collect();
        format!("{{{}}}", shown.join(","))
    };
    format!("[{}]", list.items().map(one).collect::<Vec<_>>().join(","))
}

/// What the older kinds ask of finalizers besides.
pub(super) fn standard_finalizers(root: &At<'_>, f: &mut Faults) {
    for item in root.get("metadata.finalizers").items() {
        standard_finalizer(&item, f);
    }
}

/// The finalizers that a namespace has in its spec.
pub(super) fn namespace_finalizers(root: &At<'_>, f: &mut Faults) {
    for item in root.get("spec.finalizers").items() {
        item.qualified(f);
        standard_finalizer(&item, f);
    }
}

fn standard_finalizer(item: &At<'_>, f: &mut Faults) {
    let text = item.text();
    if !text.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&text) {
        item.invalid(f, "name is neither a standard finalizer name nor is it fully qualified");
    }
}

fn finalizers(list: &At<'_>, f: &mut Faults) {
    let (mut orphan, mut dependents) = (false, false);
    for item in list.items() {
        for why in names::qualified_name(item.text()) {
            list.invalid_as(f, item.text(), &why);
        }
        orphan |= item.text() == "orphan";
        dependents |= item.text() == "foregroundDeletion";
    }
    if orphan && dependents {
        list.invalid(f, "finalizer orphan and foregroundDeletion cannot be both set");
    }
}

fn managed_fields(list: &At<'_>, f: &mut Faults) {
    for entry in list.items() {
        let operation = entry.get("operation");
        if !["Apply", "Update"].contains(&operation.text()) {
            operation.invalid_as(f, operation.text(), "must be `Apply` or `Update`");
        }
        let form = entry.get("fieldsType");
        if !form.is_empty() && form.text() != "FieldsV1" {
            form.invalid(f, "must be `FieldsV1`");
        }
        let manager = entry.get("manager");
        if manager.len() > 128 {
            manager.too_long(f, 128);
        }
        if manager.text().chars().any(char::is_control) {
            manager.invalid(f, "should not contain non-printable characters");
        }
        if entry.get("subresource").len() > 256 {
            entry.get("subresource").too_long(f, 256);
        }
    }
}
