//! `metadata.managedFields`: who owns which fields, read, changed and written back.

use serde_json::{Map, Value};

use super::fields::FieldSet;
use crate::object::Object;

/// Most managers that updates leave; older ones are merged.
const MAX_UPDATERS: usize = 10;
/// The manager that older updates are merged into.
const ANCIENT: &str = "ancient-changes";

/// A manager with the fields it owns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manager {
    pub name: String,
    /// Whether it owns by apply, rather than by update.
    pub applies: bool,
    pub api_version: String,
    pub subresource: String,
    /// When it last changed something, as text.
    pub time: Option<String>,
    pub fields: FieldSet,
}

impl Manager {
    /// Whether both are the same manager: those that apply may change their version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.applies == other.applies
            && self.subresource == other.subresource
            && (self.applies || self.api_version == other.api_version)
    }

    /// As conflicts name it.
    pub(super) fn print(&self) -> String {
        let mut out = crate::names::quote(&self.name);
        if !self.subresource.is_empty() {
            out += &format!(" with subresource {}", crate::names::quote(&self.subresource));
        }
        if !self.applies {
            out += &format!(" using {}", self.api_version);
        }
        out
    }

    fn decode(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let applies = match text("operation").as_str() {
            "Apply" => true,
            "Update" => false,
            _ => return None,
        };
        let version = text("apiVersion");
        if version.is_empty() || !matches!(text("fieldsType").as_str(), "" | "FieldsV1") {
            return None;
        }
        let fields = match entry.get("fieldsV1") {
            Some(fields) => FieldSet::decode(fields)?,
            None => FieldSet::default(),
        };
        Some(Self {
            name: text("manager"),
            applies,
            api_version: version,
            subresource: text("subresource"),
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            fields,
        })
    }

    fn encode(self) -> Value {
        let mut out = Map::new();
        let mut put = |key: &str, text: String| {
            if !text.is_empty() {
                out.insert(key.to_owned(), text.into());
            }
        };
        put("manager", self.name);
        put("operation", if self.applies { "Apply" } else { "Update" }.to_owned());
        put("apiVersion", self.api_version);
        put("time", self.time.unwrap_or_default());
        put("fieldsType", "FieldsV1".to_owned());
        put("subresource", self.subresource);
        out.insert("fieldsV1".to_owned(), self.fields.encode());
        Value::Object(out)
    }
}

/// The entries as they stand in an object.
pub(super) fn entries(object: &Object) -> Option<&Vec<Value>> {
    object.meta()?.get("managedFields")?.as_array()
}

/// The managers of an object; `None` where an entry cannot be read.
pub(super) fn decode(object: &Object) -> Option<Vec<Manager>> {
    entries(object).into_iter().flatten().map(Manager::decode).collect()
}

/// Whether a client asks to forget all managers: a list that is empty or holds one empty entry.
pub(super) fn is_reset(object: &Object) -> bool {
    entries(object).is_some_and(|list| match list.as_slice() {
        [] => true,
        [one] => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    })
}

/// Writes the managers into an object, in their fixed order.
pub(super) fn encode(object: &mut Object, mut managers: Vec<Manager>) {
    let seconds = |m: &Manager| {
        m.time.as_deref().and_then(crate::clock::parse_time).map_or(0, |t| t.as_second())
    };
    managers.sort_by(|a, b| {
        (!a.applies, seconds(a), &a.name, &a.api_version, &a.subresource).cmp(&(
            !b.applies,
            seconds(b),
            &b.name,
            &b.api_version,
            &b.subresource,
        ))
    });
    if managers.is_empty() {
        object.meta_mut().remove("managedFields");
    } else {
        let list: Vec<Value> = managers.into_iter().map(Manager::encode).collect();
        object.set_meta("managedFields", list);
    }
}

/// Merges the oldest updaters of a version into one where there are too many.
pub(super) fn cap(managers: &mut Vec<Manager>) {
    let mut updaters: Vec<usize> = (0..managers.len()).filter(|i| !managers[*i].applies).collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATERS {
        return;
    }
    let seconds = |m: &Manager| {
        m.time.as_deref().and_then(crate::clock::parse_time).map_or(0, |t| t.as_second())
    };
    updaters.sort_by(|a, b| {
        let (a, b) = (&managers[*a], &managers[*b]);
        (seconds(a), &a.name, &a.api_version).cmp(&(seconds(b), &b.name, &b.api_version))
    });
    let mut bucket_of: Vec<(String, usize)> = Vec::new();
    let mut gone = Vec::new();
    for at in updaters {
        if count <= MAX_UPDATERS {
            break;
        }
        let version = managers[at].api_version.clone();
        match bucket_of.iter().find(|(v, _)| *v == version) {
            Some(&(_, bucket)) => {
                let old = managers[at].clone();
                let into = &mut managers[bucket];
                into.name = ANCIENT.to_owned();
                into.subresource = String::new();
                into.fields = into.fields.union(&old.fields);
                into.time = old.time;
                gone.push(at);
                count -= 1;
            }
            None => bucket_of.push((version, at)),
        }
    }
    gone.sort_unstable();
    for at in gone.into_iter().rev() {
        managers.remove(at);
    }
}
