//! The conditions of a definition and the names it gets: accepted where no other definition of its
//! group has them.
//!
//! Not here: when it is looked at again, and who writes it (the server).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::object::Object;

const GROUPS: [&str; 2] = ["k8s.io", "kubernetes.io"];
/// The annotation that names who approved an API in a protected group.
pub const APPROVED: &str = "api-approved.kubernetes.io";

/// Whether a condition is true.
pub fn is_true(object: &Map<String, Value>, name: &str) -> bool {
    find(object, name).is_some_and(|c| c["status"] == "True")
}

fn find<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let list = object.get("status")?.get("conditions")?.as_array()?;
    list.iter().find(|c| c["type"] == name)
}

fn set(object: &mut Object, name: &str, status: &str, reason: &str, message: &str, now: &str) {
    let time = match find(&object.0, name) {
        Some(old) if old["status"] == status => old["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    let condition = json!({
        "type": name, "status": status, "lastTransitionTime": time, "reason": reason,
        "message": message,
    });
    let slot = object.map_mut("status").entry("conditions").or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    let Value::Array(list) = slot else { return };
    match list.iter_mut().find(|c| c["type"] == name) {
        Some(old) => *old = condition,
        None => list.push(condition),
    }
}

fn unset(object: &mut Object, name: &str) {
    let list = object.map_mut("status").get_mut("conditions").and_then(Value::as_array_mut);
    if let Some(list) = list {
        list.retain(|c| c["type"] != name);
    }
}

/// Whether a group is one of Kubernetes' own.
pub fn is_protected(group: &str) -> bool {
    GROUPS.iter().any(|g| group == *g || group.ends_with(&format!(".{g}")))
}

/// What an approval annotation says.
pub enum Approval {
    /// There is none.
    Missing,
    /// An address.
    Approved(String),
    /// `unapproved…`.
    Bypassed,
    /// Neither.
    Invalid(String),
}

/// The approval of a definition.
pub fn approval(object: &Map<String, Value>) -> Approval {
    let annotations = object.get("metadata").and_then(|m| m.get("annotations"));
    let text = annotations.and_then(|a| a.get(APPROVED)).and_then(Value::as_str);
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Approval::Missing;
    };
    if text.starts_with("unapproved") {
        return Approval::Bypassed;
    }
    let address = text.split_once("://").is_some_and(|(scheme, rest)| {
        !scheme.is_empty() && !rest.split('/').next().unwrap_or("").is_empty()
    });
    if address { Approval::Approved(text.to_owned()) } else { Approval::Invalid(text.to_owned()) }
}

fn list_of(names: &Value, key: &str) -> Vec<String> {
    let list = names.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// The accepted names of the definitions of a group: who has which. Several may have one, by what was
/// stored before this was looked at.
#[derive(Clone, Debug, Default)]
pub struct Names {
    resources: Holders,
    kinds: Holders,
}

type Holders = HashMap<String, BTreeSet<Arc<str>>>;

/// The texts of accepted names that must be of one definition alone: of resources, of kinds.
fn exclusive(names: &Value) -> [Vec<&str>; 2] {
    let text = |key: &str| names.get(key).and_then(Value::as_str).filter(|name| !name.is_empty());
    let short = names.get("shortNames").and_then(Value::as_array).into_iter().flatten();
    let short = short.filter_map(Value::as_str).filter(|name| !name.is_empty());
    let resources = ["plural", "singular"].into_iter().filter_map(text).chain(short);
    [resources.collect(), ["kind", "listKind"].into_iter().filter_map(text).collect()]
}

impl Names {
    /// A definition has these names.
    pub fn add(&mut self, definition: &Arc<str>, accepted: &Value) {
        let [resources, kinds] = exclusive(accepted);
        for (all, names) in [(&mut self.resources, resources), (&mut self.kinds, kinds)] {
            for name in names {
                all.entry(name.to_owned()).or_default().insert(definition.clone());
            }
        }
    }

    /// It has them no more.
    pub fn remove(&mut self, definition: &str, accepted: &Value) {
        let [resources, kinds] = exclusive(accepted);
        for (all, names) in [(&mut self.resources, resources), (&mut self.kinds, kinds)] {
            for name in names {
                let Some(holders) = all.get_mut(name) else { continue };
                holders.remove(definition);
                if holders.is_empty() {
                    all.remove(name);
                }
            }
        }
    }
}

/// The names that a definition cannot have: others have them.
struct Taken<'a> {
    names: &'a [&'a Names],
    definition: &'a str,
}

impl Taken<'_> {
    fn resource(&self, name: &str) -> bool {
        self.names.iter().any(|names| self.by_others(&names.resources, name))
    }

    fn kind(&self, name: &str) -> bool {
        self.names.iter().any(|names| self.by_others(&names.kinds, name))
    }

    fn by_others(&self, all: &Holders, name: &str) -> bool {
        all.get(name).is_some_and(|holders| holders.iter().any(|h| **h != *self.definition))
    }
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

/// Brings a definition's status up to date: accepted names and conditions. `names` are those of the
/// definitions of its group; its own do not count.
pub fn settle(object: &mut Object, names: &[&Names], now: &str) {
    let wanted = object.at("spec.names").cloned().unwrap_or_default();
    let mut accepted =
        object.at("status.acceptedNames").and_then(Value::as_object).cloned().unwrap_or_default();
    let definition = object.name().to_owned();
    let conflict = accept(&wanted, &mut accepted, &Taken { names, definition: &definition });
    object.map_mut("status").insert("acceptedNames".into(), accepted.into());
    match &conflict {
        None => set(object, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now),
        Some((reason, message)) => set(object, "NamesAccepted", "False", reason, message, now),
    }
    if !is_true(&object.0, "Established") {
        if conflict.is_none() {
            let message = "the initial names have been accepted";
            set(object, "Established", "True", "InitialNamesAccepted", message, now);
        } else {
            set(object, "Established", "False", "NotAccepted", "not all names are accepted", now);
        }
    }
    approve(object, now);
    // Definitions are only taken with schemas that are structural.
    unset(object, "NonStructuralSchema");
}

/// Takes over the wanted names that are free. Returns what is in the way of the last that is not.
fn accept(
    wanted: &Value,
    accepted: &mut Map<String, Value>,
    taken: &Taken<'_>,
) -> Option<(&'static str, String)> {
    let text = |key: &str| wanted.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let mut conflict = None;
    let mut one = |key: &str, reason: &'static str| {
        let name = text(key);
        if accepted.get(key).and_then(Value::as_str) != Some(&name) && taken.resource(&name) {
            conflict = Some((reason, in_use(&name)));
        } else if name.is_empty() && key != "plural" && key != "kind" {
            accepted.remove(key);
        } else {
            accepted.insert(key.to_owned(), name.into());
        }
    };
    one("plural", "PluralConflict");
    one("singular", "SingularConflict");
    let short = list_of(wanted, "shortNames");
    let had = list_of(&Value::Object(accepted.clone()), "shortNames");
    let clashes: Vec<String> = short
        .iter()
        .filter(|name| !had.contains(name) && taken.resource(name))
        .map(|name| in_use(name))
        .collect();
    let mut conflict_short = None;
    if clashes.is_empty() {
        put_list(accepted, "shortNames", short);
    } else {
        let message = match clashes.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        conflict_short = Some(("ShortNamesConflict", message));
    }
    let mut one = |key: &str, reason: &'static str| -> Option<(&'static str, String)> {
        let name = text(key);
        if accepted.get(key).and_then(Value::as_str) != Some(&name) && taken.kind(&name) {
            return Some((reason, in_use(&name)));
        }
        if name.is_empty() && key == "listKind" {
            accepted.remove(key);
        } else {
            accepted.insert(key.to_owned(), name.into());
        }
        None
    };
    let kind = one("kind", "KindConflict");
    let list_kind = one("listKind", "ListKindConflict");
    put_list(accepted, "categories", list_of(wanted, "categories"));
    for key in ["plural", "kind"] {
        accepted.entry(key).or_insert_with(|| "".into());
    }
    list_kind.or(kind).or(conflict_short).or(conflict)
}

fn put_list(map: &mut Map<String, Value>, key: &str, list: Vec<String>) {
    if list.is_empty() {
        map.remove(key);
    } else {
        map.insert(key.to_owned(), list.into());
    }
}

/// The condition of definitions in protected groups.
fn approve(object: &mut Object, now: &str) {
    const NAME: &str = "KubernetesAPIApprovalPolicyConformant";
    let group = object.text("spec.group").unwrap_or("").to_owned();
    if !is_protected(&group) {
        return;
    }
    match approval(&object.0) {
        Approval::Missing => {
            let message = format!(
                "protected groups must have approval annotation {APPROVED:?}, see https://github.com/kubernetes/enhancements/pull/1111"
            );
            set(object, NAME, "False", "MissingAnnotation", &message, now);
        }
        Approval::Invalid(text) => {
            let message = format!(
                "protected groups must have approval annotation {APPROVED:?} with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111: {text:?}"
            );
            set(object, NAME, "False", "InvalidAnnotation", &message, now);
        }
        Approval::Approved(text) => {
            set(object, NAME, "True", "ApprovedAnnotation", &format!("approved in {text}"), now);
        }
        Approval::Bypassed => {
            let text = object.annotation(APPROVED).unwrap_or("").to_owned();
            let message = format!("not approved: {text:?}");
            set(object, NAME, "False", "UnapprovedAnnotation", &message, now);
        }
    }
}

/// Says that a definition's objects are being deleted.
pub fn terminating(object: &mut Object, status: bool, reason: &str, message: &str, now: &str) {
    set(object, "Terminating", if status { "True" } else { "False" }, reason, message, now);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plural: &str, kind: &str) -> Object {
        Object::from_value(json!({"metadata": {"name": plural}, "spec": {"group": "a.b",
            "names": {"plural": plural, "singular": "one", "kind": kind, "listKind": format!("{kind}List")}}}))
        .unwrap()
    }

    #[test]
    fn free_names_are_accepted() {
        let mut first = definition("widgets", "Widget");
        settle(&mut first, &[], "t1");
        assert!(is_true(&first.0, "NamesAccepted") && is_true(&first.0, "Established"));
        assert_eq!(first.at("status.acceptedNames"), first.at("spec.names"));
        let before = first.clone();
        let mut names = Names::default();
        names.add(&"widgets".into(), first.at("status.acceptedNames").unwrap());
        settle(&mut first, &[&names], "t2");
        assert_eq!(first, before, "nothing changes the second time");

        let mut second = definition("gadgets", "Widget");
        settle(&mut second, &[&Names::default(), &names], "t2");
        assert_eq!(
            second.at("status.acceptedNames"),
            Some(&json!({"plural": "gadgets", "kind": ""}))
        );
        let conditions = second.at("status.conditions").unwrap();
        assert_eq!(conditions[0]["reason"], "ListKindConflict");
        assert_eq!(conditions[0]["message"], "\"WidgetList\" is already in use");
        assert_eq!(conditions[1]["reason"], "NotAccepted");
        assert!(!is_true(&second.0, "Established"));

        names.remove("widgets", first.at("status.acceptedNames").unwrap());
        settle(&mut second, &[&names], "t3");
        assert!(is_true(&second.0, "Established"), "the names are free again");
    }
}
