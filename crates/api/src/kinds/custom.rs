//! Rows of custom resources.
//!
//! A row lives as long as the program, as those of the table do, so that a kind is one pointer
//! everywhere. Equal rows are made once: what stays in memory are the distinct rows ever served, a
//! few hundred bytes each, however often definitions change. Schemas are not part of a row. Not here:
//! definitions (`crate::crd`).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::{CardField, Kind, Refusal, Subresource, Verb, Verbs};

/// What a row is made of.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Row<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub list_kind: &'a str,
    pub plural: &'a str,
    pub singular: &'a str,
    pub short_names: &'a [String],
    pub categories: &'a [String],
    pub namespaced: bool,
    /// Whether it has a status subresource.
    pub status: bool,
    /// Whether it has a scale subresource.
    pub scale: bool,
    pub storage_version: &'a str,
    /// Dotted paths that requests may select by.
    pub selectable: &'a [String],
    /// Dotted paths on the index card: those of all versions.
    pub card: &'a [String],
    /// The row of the stored version, where this is another.
    pub stored: Option<&'static Kind>,
}

#[derive(Default)]
struct Interned {
    texts: HashSet<&'static str>,
    rows: HashMap<String, &'static Kind>,
}

static INTERNED: LazyLock<Mutex<Interned>> = LazyLock::new(Mutex::default);

fn interned() -> MutexGuard<'static, Interned> {
    INTERNED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Interned {
    fn text(&mut self, text: &str) -> &'static str {
        if let Some(found) = self.texts.get(text) {
            return found;
        }
        let made: &'static str = Box::leak(text.into());
        self.texts.insert(made);
        made
    }

    fn texts(&mut self, texts: &[String]) -> Box<[&'static str]> {
        texts.iter().map(|text| self.text(text)).collect()
    }
}

const ALL: [Verb; 8] = [
    Verb::Create,
    Verb::Delete,
    Verb::DeleteCollection,
    Verb::Get,
    Verb::List,
    Verb::Patch,
    Verb::Update,
    Verb::Watch,
];

fn verbs(of: &[Verb]) -> Verbs {
    Verbs(of.iter().fold(0, |bits, verb| bits | *verb as u8))
}

/// The row of a version of a custom resource.
pub fn custom(row: &Row<'_>) -> &'static Kind {
    let mut all = interned();
    let mut key = String::new();
    // Pointers of rows are stable and distinct: they stand for the stored row.
    let plain = Row { stored: None, ..*row };
    let _ = write!(key, "{plain:?}/{:?}", row.stored.map(std::ptr::from_ref));
    if let Some(found) = all.rows.get(&key) {
        return found;
    }
    let kind: &'static Kind = Box::leak(Box::new(make(&mut all, row)));
    all.rows.insert(key, kind);
    kind
}

fn make(all: &mut Interned, row: &Row<'_>) -> Kind {
    let (group, version, kind) = (all.text(row.group), all.text(row.version), all.text(row.kind));
    let part = [Verb::Get, Verb::Patch, Verb::Update];
    let mut subresources = Vec::new();
    if row.scale {
        subresources.push(Subresource {
            name: "scale",
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            verbs: verbs(&part),
            foreign: true,
        });
    }
    if row.status {
        subresources.push(Subresource {
            name: "status",
            group,
            version,
            kind,
            verbs: verbs(&part),
            foreign: false,
        });
    }
    let mut selectable = vec!["metadata.name", "metadata.namespace"];
    selectable.extend(all.texts(row.selectable));
    let card = row.card.iter().map(|path| {
        let path = all.text(path);
        CardField { name: path, paths: Box::new([path]), default: "" }
    });
    let card = card.collect();
    let hash = crate::discovery::storage_hash(row.group, row.storage_version, row.kind);
    Kind {
        group,
        version,
        kind,
        plural: all.text(row.plural),
        singular: all.text(row.singular),
        short_names: all.texts(row.short_names),
        categories: all.texts(row.categories),
        namespaced: row.namespaced,
        verbs: verbs(&ALL),
        subresources: subresources.into(),
        type_name: "",
        storage: (group, all.text(row.storage_version)),
        default_served: false,
        storage_hash: all.text(&hash),
        deletion_returns_object: false,
        selected: selectable.clone().into(),
        selectable: selectable.into(),
        refusal: Refusal::Plain,
        card,
        custom: true,
        stored_row: row.stored,
        list_kind: all.text(row.list_kind),
        ends: "",
        gate: None,
        api_version: super::group_version(group, version),
    }
}
