//! What a write may touch, per kind: the status on create and update, everything else on a status
//! update, the generation, and the few fields that the server itself sets.
//!
//! One row a kind; kinds without a row take [`PLAIN`]. Run after decoding, defaulting and admission's
//! conversion, before validation. Not here: faults (`validate`), allocation of addresses and names,
//! and who may write.

mod fields;
mod pod;
mod table;

use serde_json::{Map, Value, json};

use crate::apply::FieldSet;
use crate::codec::conform;
use crate::kinds::Kind;
use crate::object::Object;
use crate::schema::{FieldType, Type};

/// A function that prepares a new object.
type Create = fn(&mut Object);
/// A function that prepares a changed object, given the stored one.
type Update = fn(&mut Object, &Object);

/// When `metadata.generation` grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Never; the field is the client's.
    Unused,
    /// Set to 1 on create, never again.
    Once,
    /// On a change of any of these parts (dotted paths).
    On(&'static [&'static str]),
    /// On a change of anything but `metadata` (labels excepted) and `status`.
    OnContentAndLabels,
    /// On a change of anything but `metadata` and `status` (custom resources).
    OnContent,
    /// On a change of anything but `metadata` (custom resources without a status of their own).
    OnAll,
}

/// What of `metadata` a status update leaves as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMeta {
    /// Nothing: labels and annotations change with the status.
    Open,
    /// Labels stay.
    Labels,
    /// Owners stay.
    Owners,
    /// Labels, annotations, finalizers, owners, generation stay.
    Kept,
}

/// The rules of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Strategy {
    /// API group, empty for core.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether the status is dropped on create and kept on update.
    pub resets_status: bool,
    /// When the generation grows.
    pub generation: Generation,
    /// What a status update leaves of the metadata.
    pub status_meta: StatusMeta,
    /// Whether a PUT of a missing object creates it.
    pub create_on_update: bool,
    /// Whether a PUT without a resourceVersion overwrites.
    pub unconditional_update: bool,
    create: Option<Create>,
    update: Option<Update>,
    status_update: Option<Update>,
}

impl Strategy {
    const fn new(group: &'static str, kind: &'static str) -> Self {
        Self {
            group,
            kind,
            resets_status: false,
            generation: Generation::Unused,
            status_meta: StatusMeta::Open,
            create_on_update: false,
            unconditional_update: true,
            create: None,
            update: None,
            status_update: None,
        }
    }

    const fn status(mut self) -> Self {
        self.resets_status = true;
        self
    }

    const fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    const fn status_meta(mut self, meta: StatusMeta) -> Self {
        self.status_meta = meta;
        self
    }

    const fn create_on_update(mut self) -> Self {
        self.create_on_update = true;
        self
    }

    const fn conditional(mut self) -> Self {
        self.unconditional_update = false;
        self
    }

    const fn on_create(mut self, f: Create) -> Self {
        self.create = Some(f);
        self
    }

    const fn on_update(mut self, f: Update) -> Self {
        self.update = Some(f);
        self
    }

    const fn on_status(mut self, f: Update) -> Self {
        self.status_update = Some(f);
        self
    }

    /// The strategy of a built-in kind.
    pub fn of(group: &str, kind: &str) -> &'static Strategy {
        table::ROWS.iter().find(|s| s.kind == kind && s.group == group).unwrap_or(&PLAIN)
    }

    /// The strategy of a kind, built in or not.
    pub fn of_kind(kind: &Kind) -> &'static Strategy {
        match (kind.custom, kind.subresource("status")) {
            (false, _) => Self::of(kind.group, kind.kind),
            (true, None) => &CUSTOM,
            (true, Some(_)) => &CUSTOM_WITH_STATUS,
        }
    }

    /// Prepares an object that a client wants to create.
    pub fn prepare_create(&self, object: &mut Object) {
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            object.meta_mut().remove(field);
        }
        if self.resets_status {
            object.0.remove("status");
        }
        if self.generation != Generation::Unused {
            object.set_meta("generation", 1);
        }
        if let Some(create) = self.create {
            create(object);
        }
    }

    /// Prepares an object that a client wants to store in the place of `old`. `subresource` is the
    /// one that the request addresses, as in `status`.
    pub fn prepare_update(&self, new: &mut Object, old: &Object, subresource: Option<&str>) {
        keep_system_metadata(new, old);
        match subresource {
            Some("status") => self.prepare_status(new, old),
            Some("approval") => fields::keep_all_but_conditions(new, old),
            Some("finalize") => copy(new, old, "status"),
            Some("ephemeralcontainers") => pod::keep_all_but_ephemeral_containers(new, old),
            Some("resize") => pod::keep_all_but_resources(new, old),
            _ => {
                if self.resets_status {
                    copy(new, old, "status");
                }
                if let Some(update) = self.update {
                    update(new, old);
                }
            }
        }
        if subresource != Some("status") && self.content_changed(new, old) {
            new.set_meta("generation", old.generation() + 1);
        }
    }

    /// The paths that a write to a subresource (or to none: the empty text) cannot touch.
    pub fn reset_paths(&self, subresource: &str) -> &'static [&'static [&'static str]] {
        match (subresource, self.kind) {
            ("", "CertificateSigningRequest") => &[&["spec"], &["status"]],
            ("status", "CertificateSigningRequest") => &[&["spec"], &["status", "conditions"]],
            ("approval", _) => &[&["spec"], &["status", "certificate"]],
            ("", "Node") => &[&["status"]],
            ("", _) if self.resets_status => &[&["status"]],
            ("finalize", _) => &[&["status"]],
            ("status", _) => match self.status_meta {
                StatusMeta::Open => &[&["spec"]],
                StatusMeta::Labels => &[&["spec"], &["metadata", "labels"]],
                StatusMeta::Owners => &[
                    &["spec"],
                    &["metadata", "deletionTimestamp"],
                    &["metadata", "ownerReferences"],
                ],
                StatusMeta::Kept => &[&["spec"], &["metadata"]],
            },
            ("ephemeralcontainers" | "resize", _) => &[&["status"], &["metadata"]],
            _ => &[],
        }
    }

    fn prepare_status(&self, new: &mut Object, old: &Object) {
        let stays: Vec<String> = new
            .0
            .keys()
            .chain(old.0.keys())
            .filter(|k| !["metadata", "status", "apiVersion", "kind"].contains(&k.as_str()))
            .cloned()
            .collect();
        for key in stays {
            copy(new, old, &key);
        }
        let kept: &[&str] = match self.status_meta {
            StatusMeta::Open => &[],
            StatusMeta::Labels => &["labels"],
            StatusMeta::Owners => &["ownerReferences"],
            StatusMeta::Kept => {
                &["labels", "annotations", "finalizers", "ownerReferences", "deletionTimestamp"]
            }
        };
        for field in kept {
            copy_meta(new, old, field);
        }
        if let Some(update) = self.status_update {
            update(new, old);
        }
    }

    fn content_changed(&self, new: &Object, old: &Object) -> bool {
        let same = |path: &&str| new.at(path) == old.at(path);
        fn content(object: &Object) -> impl Iterator<Item = (&String, &Value)> {
            const APART: [&str; 4] = ["metadata", "status", "apiVersion", "kind"];
            object.0.iter().filter(|(key, _)| !APART.contains(&key.as_str()))
        }
        match self.generation {
            Generation::Unused | Generation::Once => false,
            Generation::On(paths) => !paths.iter().all(same),
            Generation::OnContent => content(new).ne(content(old)),
            Generation::OnAll => {
                content(new).ne(content(old)) || new.0.get("status") != old.0.get("status")
            }
            Generation::OnContentAndLabels => {
                content(new).ne(content(old)) || !same(&"metadata.labels")
            }
        }
    }
}

/// Prepares an object that a client wants to create: drops what only the server sets, and brings the
/// rest to form. A job's generated selector needs `metadata.uid` and `metadata.name` set before.
pub fn prepare_create(kind: &Kind, object: &mut Object) {
    pod::drop_disabled(kind.kind, object);
    Strategy::of_kind(kind).prepare_create(object);
    if !kind.namespaced {
        object.meta_mut().remove("namespace");
    }
    conform(kind, object);
}

/// Prepares an object that a client wants to store in the place of `old` (in the same version).
pub fn prepare_update(kind: &Kind, new: &mut Object, old: &Object, subresource: Option<&str>) {
    if !kind.namespaced {
        new.meta_mut().remove("namespace");
    }
    pod::drop_disabled(kind.kind, new);
    Strategy::of_kind(kind).prepare_update(new, old, subresource);
    conform(kind, new);
}

/// Fills in what is always written, as `status: {}`.
fn conform(kind: &Kind, object: &mut Object) {
    let Some(ty) = kind.schema() else { return };
    if let Ok(decoded) = conform::decode(std::mem::take(object), ty) {
        *object = decoded.object;
        empty_lists(&mut object.0, ty);
    }
}

/// An empty list that is always written comes back from upstream's storage as null: protobuf cannot
/// tell the two apart. (Two groups are stored as JSON.)
fn empty_lists(map: &mut Map<String, Value>, ty: &'static Type) {
    if ["io.k8s.apiextensions-apiserver.", "io.k8s.kube-aggregator."]
        .iter()
        .any(|p| ty.name.starts_with(p))
    {
        return;
    }
    for (key, value) in map.iter_mut().filter(|(_, v)| v.is_array() || v.is_object()) {
        let Some(field) = ty.field(key) else { continue };
        match value {
            Value::Array(list) if list.is_empty() && field.keep_empty => *value = Value::Null,
            Value::Array(list) => {
                if let Some(ty) = field.ty.message() {
                    list.iter_mut()
                        .filter_map(Value::as_object_mut)
                        .for_each(|m| empty_lists(m, ty));
                }
            }
            Value::Object(inner) => {
                if let FieldType::Ref(to) = &field.ty {
                    empty_lists(inner, to.get());
                }
            }
            _ => {}
        }
    }
}

/// The fields that a write cannot touch, and so nobody comes to own by it: for
/// [`crate::apply::Writer`].
pub fn reset_fields(kind: &Kind, subresource: &str) -> FieldSet {
    FieldSet::of_fields(Strategy::of_kind(kind).reset_paths(subresource))
}

/// Kinds without rules of their own.
pub const PLAIN: Strategy = Strategy::new("", "");
/// Custom resources without a status subresource.
pub const CUSTOM: Strategy = Strategy::new("", "").generation(Generation::OnAll).conditional();
/// Custom resources with a status subresource.
pub const CUSTOM_WITH_STATUS: Strategy =
    CUSTOM.status().generation(Generation::OnContent).status_meta(StatusMeta::Kept);

/// What the server alone writes, and a client may leave out: taken from the stored object.
fn keep_system_metadata(new: &mut Object, old: &Object) {
    copy_meta(new, old, "generation");
    copy_meta(new, old, "creationTimestamp");
    new.meta_mut().remove("selfLink");
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let missing = new
            .meta()
            .and_then(|m| m.get(field))
            .is_none_or(|v| v.is_null() || v.as_str() == Some(""));
        if missing {
            copy_meta(new, old, field);
        }
    }
}

/// Sets a top-level part to what is stored.
fn copy(new: &mut Object, old: &Object, key: &str) {
    match old.0.get(key) {
        Some(value) => {
            new.0.insert(key.to_owned(), value.clone());
        }
        None => {
            new.0.remove(key);
        }
    }
}

fn copy_meta(new: &mut Object, old: &Object, field: &str) {
    let value = old.meta().and_then(|m| m.get(field)).cloned().unwrap_or(Value::Null);
    new.set_meta(field, value);
}

fn stamp_taint(taint: Option<&mut Value>, now: &str) {
    if let Some(Value::Object(taint)) = taint {
        taint.entry("timeAdded").or_insert_with(|| now.into());
    }
}

/// Stamps the times that some kinds carry in their status: call after `prepare_create` (with no
/// `old`) or `prepare_update`, with the time as `metav1.Time` prints it.
pub fn stamp_times(group: &str, kind: &str, new: &mut Object, old: Option<&Object>, now: &str) {
    match (group, kind) {
        ("", "PersistentVolume") => {
            let phase = |o: &Object| o.text("status.phase").unwrap_or("").to_owned();
            let time = |o: &Object| o.at("status.lastPhaseTransitionTime").cloned();
            let stale = match old {
                None => true,
                Some(old) if phase(old) == phase(new) => {
                    if let (None, Some(before)) = (time(new), time(old)) {
                        new.map_mut("status").insert("lastPhaseTransitionTime".into(), before);
                    }
                    false
                }
                Some(old) => time(new).is_none() || time(new) == time(old),
            };
            if stale {
                new.map_mut("status").insert("lastPhaseTransitionTime".into(), now.into());
            }
        }
        ("resource.k8s.io", "DeviceTaintRule") => {
            stamp_taint(new.map_mut("spec").get_mut("taint"), now)
        }
        ("resource.k8s.io", "ResourceSlice") => {
            let devices = new.map_mut("spec").get_mut("devices").and_then(Value::as_array_mut);
            for device in devices.into_iter().flatten() {
                // v1beta1 has them one level deeper.
                for path in ["/taints", "/basic/taints"] {
                    let taints = device.pointer_mut(path).and_then(Value::as_array_mut);
                    taints.into_iter().flatten().for_each(|taint| stamp_taint(Some(taint), now));
                }
            }
        }
        ("", "Pod") if old.is_none() => {
            let list = new.map_mut("status").get_mut("conditions").and_then(Value::as_array_mut);
            for condition in list.into_iter().flatten() {
                condition["lastTransitionTime"] = now.into();
            }
        }
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            fields::stamp_conditions(new, old, now);
        }
        _ => {}
    }
}

/// Prepares a pod's status as a new pod has it; shared with tests of the scheduler.
pub fn new_pod_status(pod: &Object) -> Value {
    json!({ "phase": "Pending", "qosClass": pod::qos_class(pod) })
}

pub use pod::qos_class;
