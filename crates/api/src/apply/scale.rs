//! The ownership of an object's replicas, as its scale shows it.
//!
//! A scale has managers of its own while it is written: those of the object that own the replicas,
//! as if they had written a scale. Not here: scales themselves.

use super::fields::FieldSet;
use super::managers::{self, Manager};
use crate::object::Object;

/// The version that scales are in.
pub const SCALE_VERSION: &str = "autoscaling/v1";

/// Where an object of a version has its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replicas {
    /// No such version.
    Unknown,
    /// In a version without a scale.
    Nowhere,
    /// At this one field.
    At(FieldSet),
}

impl Replicas {
    /// At a dotted path.
    pub fn at(path: &str) -> Self {
        let path: Vec<&str> = path.split('.').collect();
        Self::At(FieldSet::of_fields(&[&path]))
    }

    fn owned_by(&self, manager: &Manager) -> bool {
        matches!(self, Self::At(path) if !path.intersection(&manager.fields).is_empty())
    }
}

fn in_scale() -> FieldSet {
    FieldSet::of_fields(&[&["spec", "replicas"]])
}

/// Gives an object's scale its managers. `place` says where the object has its replicas in an
/// `apiVersion`.
pub fn lend_managers(object: &Object, scale: &mut Object, place: &dyn Fn(&str) -> Replicas) {
    let lent = managers::decode(object).unwrap_or_default().into_iter().filter_map(|manager| {
        let owns = place(&manager.api_version).owned_by(&manager);
        let api_version = SCALE_VERSION.to_owned();
        owns.then(|| Manager { fields: in_scale(), api_version, ..manager })
    });
    managers::encode(scale, lent.collect());
}

/// Gives an object the managers that its scale has after a write in `api_version`. Who came to own
/// the replicas by it is noted without a time, as upstream does.
pub fn return_managers(
    object: &mut Object,
    scale: &Object,
    api_version: &str,
    place: &dyn Fn(&str) -> Replicas,
) {
    let mut lent = managers::decode(scale).unwrap_or_default();
    let mut out: Vec<Manager> = Vec::new();
    for mut manager in managers::decode(object).unwrap_or_default() {
        let path = match place(&manager.api_version) {
            Replicas::Unknown => continue,
            Replicas::At(path) if Replicas::At(path.clone()).owned_by(&manager) => path,
            _ => {
                out.push(manager);
                continue;
            }
        };
        match lent.iter().position(|m| m.is(&manager)) {
            Some(at) => {
                lent.remove(at);
            }
            None => manager.fields.subtract(&path),
        }
        if !manager.fields.is_empty() {
            out.push(manager);
        }
    }
    let Replicas::At(path) = place(api_version) else {
        return managers::encode(object, out);
    };
    for manager in lent.into_iter().filter(|m| !m.fields.intersection(&in_scale()).is_empty()) {
        let time = out.iter().position(|m| m.is(&manager)).and_then(|at| out.remove(at).time);
        let api_version = api_version.to_owned();
        out.push(Manager { fields: path.clone(), api_version, time, ..manager });
    }
    managers::encode(object, out);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn place(api_version: &str) -> Replicas {
        match api_version {
            "apps/v1" => Replicas::at("spec.replicas"),
            "apps/old" => Replicas::Nowhere,
            _ => Replicas::Unknown,
        }
    }

    fn entry(manager: &str, operation: &str, api_version: &str, sub: &str, fields: Value) -> Value {
        let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": api_version,
            "fieldsType": "FieldsV1", "fieldsV1": fields});
        if !sub.is_empty() {
            entry["subresource"] = sub.into();
        }
        entry
    }

    fn object(managers: Value) -> Object {
        Object::from_value(json!({"metadata": {"name": "d", "managedFields": managers}}))
            .expect("a map")
    }

    fn managers_of(object: &Object) -> Value {
        object.at("metadata.managedFields").cloned().unwrap_or_default()
    }

    #[test]
    fn who_owns_the_replicas_owns_them_in_the_scale() {
        let replicas = json!({"f:spec": {"f:replicas": {}}});
        let more = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
        let paused = json!({"f:spec": {"f:paused": {}}});
        let deployment = object(json!([
            entry("a", "Update", "apps/v1", "", more.clone()),
            entry("b", "Update", "apps/v1", "", paused.clone()),
            entry("c", "Update", "apps/old", "", more.clone()),
            entry("d", "Update", "apps/v9", "", more.clone()),
        ]));
        let mut scale = object(Value::Null);
        lend_managers(&deployment, &mut scale, &place);
        let held = entry("a", "Update", SCALE_VERSION, "", replicas.clone());
        assert_eq!(managers_of(&scale), json!([held]));

        // Another manager takes the replicas.
        let taken = entry("z", "Apply", SCALE_VERSION, "scale", replicas.clone());
        let scale = object(json!([taken]));
        let mut after = deployment.clone();
        return_managers(&mut after, &scale, "apps/v1", &place);
        let wanted = json!([
            entry("z", "Apply", "apps/v1", "scale", replicas),
            entry("a", "Update", "apps/v1", "", paused.clone()),
            entry("b", "Update", "apps/v1", "", paused),
            entry("c", "Update", "apps/old", "", more),
        ]);
        assert_eq!(managers_of(&after), wanted);

        // It applies again: it stays as it is.
        let mut again = after.clone();
        return_managers(&mut again, &scale, "apps/v1", &place);
        assert_eq!(again, after);
    }
}
