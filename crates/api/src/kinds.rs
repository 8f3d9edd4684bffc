//! The table of kinds: every group, version and resource of the API with its verbs, subresources,
//! stored version and field selectors.
//!
//! Read once, at first use, out of `tables/kinds.txt` (made by `xtask gen`); custom resources get rows
//! of the same form (`custom`), which the server keeps. Not here: the fields of types (`schema`), what
//! a kind's writes must obey.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::entry::Card;
use crate::object::Object;
use crate::resource::Resource;
use crate::schema::Type;

/// `v1` or `apps/v1`.
fn group_version(group: &str, version: &str) -> Box<str> {
    if group.is_empty() { version.into() } else { format!("{group}/{version}").into() }
}

mod custom;
mod parse;
mod runtime_config;

pub use custom::{Row, custom};
pub use runtime_config::{RuntimeConfig, RuntimeConfigError};

static TABLE: LazyLock<Table> = LazyLock::new(|| parse::table(include_str!("../tables/kinds.txt")));

struct Table {
    kinds: Vec<Kind>,
    by_plural: HashMap<(&'static str, &'static str, &'static str), usize>,
    by_kind: HashMap<(&'static str, &'static str, &'static str), usize>,
}

/// Every kind, in the order of discovery: groups and versions by preference, then by plural.
pub fn all() -> &'static [Kind] {
    &TABLE.kinds
}

/// The kind of a group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    TABLE.by_plural.get(&(group, version, plural)).map(|at| &TABLE.kinds[*at])
}

/// The kind of a group, version and kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    TABLE.by_kind.get(&(group, version, kind)).map(|at| &TABLE.kinds[*at])
}

/// The kind of an `apiVersion` and `kind`, as objects carry them.
pub fn of_object(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    by_kind(group, version, kind)
}

/// What can be asked of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Verb {
    Create = 1,
    Delete = 2,
    DeleteCollection = 4,
    Get = 8,
    List = 16,
    Patch = 32,
    Update = 64,
    Watch = 128,
}

const VERBS: [(Verb, &str); 8] = [
    (Verb::Create, "create"),
    (Verb::Delete, "delete"),
    (Verb::DeleteCollection, "deletecollection"),
    (Verb::Get, "get"),
    (Verb::List, "list"),
    (Verb::Patch, "patch"),
    (Verb::Update, "update"),
    (Verb::Watch, "watch"),
];

/// A set of verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Verbs(u8);

impl Verbs {
    /// Whether the verb is one of them.
    pub fn contains(self, verb: Verb) -> bool {
        self.0 & verb as u8 != 0
    }

    /// Their names, in alphabetical order, as discovery lists them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        VERBS.into_iter().filter(move |(verb, _)| self.contains(*verb)).map(|(_, name)| name)
    }
}

/// A part of a resource with a path of its own.
#[derive(Debug)]
pub struct Subresource {
    /// As in `status`.
    pub name: &'static str,
    /// Group of its body's kind.
    pub group: &'static str,
    /// Version of its body's kind.
    pub version: &'static str,
    /// Kind of its body.
    pub kind: &'static str,
    /// What can be asked of it.
    pub verbs: Verbs,
    /// Whether discovery names the group and version (they differ from the resource's).
    pub foreign: bool,
}

/// How a kind words that a field cannot be selected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `"x" is not a known field selector: only "metadata.name", "metadata.namespace"`.
    Default,
    /// `field label not supported: x`.
    Plain,
    /// `field label "x" not supported for Kind`.
    Kind,
    /// `field label not supported for group/version, Kind=Kind: x`.
    Gvk,
}

/// A feature gate that is off by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// As in `ClusterTrustBundle`.
    pub name: &'static str,
    /// `alpha` or `beta`.
    pub stage: &'static str,
}

/// The minor release of version 1 whose API this is.
const MINOR: u32 = 36;

/// One resource of one version of a group.
#[derive(Debug)]
pub struct Kind {
    /// Empty for the core group.
    pub group: &'static str,
    /// As in `v1`.
    pub version: &'static str,
    /// As in `Pod`.
    pub kind: &'static str,
    /// As in `pods`.
    pub plural: &'static str,
    /// As in `pod`.
    pub singular: &'static str,
    /// As in `po`.
    pub short_names: Box<[&'static str]>,
    /// As in `all`.
    pub categories: Box<[&'static str]>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What can be asked of it.
    pub verbs: Verbs,
    /// By name.
    pub subresources: Box<[Subresource]>,
    /// The schema's name, empty where there is none.
    pub type_name: &'static str,
    /// Group and version of the one stored form.
    pub storage: (&'static str, &'static str),
    /// Whether it is served without being asked for by `--runtime-config`.
    pub default_served: bool,
    /// The feature gate, off by default, that it needs besides.
    pub gate: Option<Gate>,
    /// The releases that deprecate and remove it, and what takes its place.
    ends: &'static str,
    /// Published by discovery; empty for what is not stored.
    pub storage_hash: &'static str,
    /// Whether a deletion answers with the object (else with a status).
    pub deletion_returns_object: bool,
    /// The fields that requests may select by, as they name them.
    pub selectable: Box<[&'static str]>,
    /// What each of `selectable` is called on the index card.
    selected: Box<[&'static str]>,
    refusal: Refusal,
    card: Box<[CardField]>,
    /// Whether a definition made the row.
    pub custom: bool,
    /// The row of the stored version of a custom resource, where it is another one.
    stored_row: Option<&'static Kind>,
    /// The kind of a custom resource's lists; empty for what it usually is.
    list_kind: &'static str,
    /// `apps/v1`.
    api_version: Box<str>,
}

/// A field of the index card, with where it comes from.
#[derive(Debug)]
struct CardField {
    name: &'static str,
    /// Paths of which the first that holds something counts; parts are keys or list positions.
    paths: Box<[&'static str]>,
    default: &'static str,
}

impl Kind {
    /// As the client addresses it.
    pub fn resource(&self) -> Resource {
        Resource {
            group: Cow::Borrowed(self.group),
            version: Cow::Borrowed(self.version),
            plural: Cow::Borrowed(self.plural),
            kind: Cow::Borrowed(self.kind),
            namespaced: self.namespaced,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        self.api_version.to_string()
    }

    /// The same, borrowed.
    pub fn group_version(&self) -> &str {
        &self.api_version
    }

    /// What clients of a deprecated version are told; `None` while it is not deprecated.
    pub fn deprecation(&self) -> Option<String> {
        let mut parts = self.ends.split(',').map(|part| part.trim_matches('.'));
        let since: u32 = parts.next()?.parse().ok().filter(|since| *since <= MINOR)?;
        let mut text = format!("{} {} is deprecated in v1.{since}+", self.api_version(), self.kind);
        match parts.next() {
            Some(removed) if !removed.is_empty() => {
                text.push_str(&format!(", unavailable in v1.{removed}+"));
            }
            _ => {}
        }
        if let Some((version, kind)) = parts.next().and_then(|other| other.rsplit_once('/')) {
            text.push_str(&format!("; use {version} {kind}"));
        }
        Some(text)
    }

    /// The kind of its lists: `PodList`.
    pub fn list_kind(&self) -> String {
        if self.list_kind.is_empty() {
            format!("{}List", self.kind)
        } else {
            self.list_kind.to_owned()
        }
    }

    /// Its schema.
    pub fn schema(&self) -> Option<&'static Type> {
        crate::schema::type_of(self.type_name)
    }

    /// The schema of its lists.
    pub fn list_schema(&self) -> Option<&'static Type> {
        crate::schema::type_of(&format!("{}List", self.type_name))
    }

    /// The kind in whose version it is stored; itself for most. Events have one store for two
    /// groups.
    pub fn stored(&'static self) -> &'static Kind {
        if self.custom {
            return self.stored_row.unwrap_or(self);
        }
        let (group, version) = self.storage;
        // The generator took the pair out of the same table.
        find(group, version, self.plural).expect("the stored version is in the table")
    }

    /// Whether its objects are kept at all (reviews and bindings are not).
    pub fn is_stored(&self) -> bool {
        !self.storage_hash.is_empty()
    }

    /// The other versions (and groups) of the same stored resource, itself included.
    pub fn versions(&self) -> impl Iterator<Item = &'static Kind> {
        let (storage, plural) = (self.storage, self.plural);
        all().iter().filter(move |k| k.storage == storage && k.plural == plural)
    }

    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// The card's name of a field that a request selects by, or upstream's refusal.
    pub fn selector_field(&self, label: &str) -> Result<&'static str, String> {
        if let Some(at) = self.selectable.iter().position(|l| *l == label) {
            return Ok(self.selected[at]);
        }
        Err(match self.refusal {
            Refusal::Default => format!(
                "{label:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ),
            Refusal::Plain => format!("field label not supported: {label}"),
            Refusal::Kind => format!("field label {label:?} not supported for {}", self.kind),
            Refusal::Gvk => format!(
                "field label not supported for {}, Kind={}: {label}",
                self.api_version(),
                self.kind
            ),
        })
    }

    /// The stored kind of a qualified resource, as in `deployments.apps`.
    pub fn of_qualified(resource: &str) -> Option<&'static Self> {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        all().iter().find(|k| k.plural == plural && k.storage.0 == group).map(Self::stored)
    }

    /// The index card of a stored object of this kind, which is of the stored version.
    pub fn card(&self, object: &Object) -> Card {
        let mut card = Card::of(object, &[]);
        card.fields = self.card.iter().map(|field| (field.name, field.read(object))).collect();
        card
    }
}

/// A number that changes with what index cards hold of any kind: cards written under another one are
/// to be made anew.
pub fn cards_version() -> u32 {
    static VERSION: LazyLock<u32> = LazyLock::new(|| {
        let mut hasher = Sha256::new();
        for kind in all().iter().filter(|k| k.is_stored() && std::ptr::eq(k.stored(), *k)) {
            hasher.update(format!("{}.{}\n", kind.plural, kind.group).as_bytes());
            for field in &kind.card {
                let text = format!("{} {:?} {:?}\n", field.name, field.paths, field.default);
                hasher.update(text.as_bytes());
            }
        }
        let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
        u32::from_le_bytes([a, b, c, d])
    });
    *VERSION
}

/// The index card of a stored object of a qualified resource; none where the resource is not built in,
/// or no version of its cards says more than every card does.
pub fn card_of(resource: &str, json: &[u8]) -> Option<Card> {
    let kind = Kind::of_qualified(resource).filter(|kind| !kind.card.is_empty())?;
    let object: Object = serde_json::from_slice(json).ok()?;
    Some(kind.card(&object))
}

impl CardField {
    fn read<'a>(&self, object: &'a Object) -> Cow<'a, str> {
        for path in &self.paths {
            let mut parts = path.split('.');
            let first = parts.next().and_then(|key| object.0.get(key));
            let found = parts.fold(first, |value, part| match value? {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                other => other.get(part),
            });
            match found {
                Some(Value::String(text)) if !text.is_empty() => return Cow::Borrowed(text),
                Some(Value::Bool(b)) => return Cow::Borrowed(if *b { "true" } else { "false" }),
                Some(Value::Number(n)) => return Cow::Owned(n.to_string()),
                _ => {}
            }
        }
        Cow::Borrowed(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_by_plural_and_by_kind() {
        let pods = find("", "v1", "pods").unwrap();
        assert_eq!((pods.kind, pods.singular, &*pods.short_names), ("Pod", "pod", &["po"][..]));
        assert!(pods.verbs.contains(Verb::Watch) && pods.default_served && pods.namespaced);
        assert_eq!(pods.subresource("eviction").unwrap().group, "policy");
        assert_eq!(by_kind("apps", "v1", "Deployment").unwrap().plural, "deployments");
        assert!(find("apps", "v1", "pods").is_none());
    }

    #[test]
    fn one_stored_form() {
        let hpa = find("autoscaling", "v1", "horizontalpodautoscalers").unwrap();
        assert_eq!(hpa.stored().version, "v2");
        let events = find("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(events.stored().type_name, "io.k8s.api.core.v1.Event");
        assert_eq!(events.versions().count(), 2);
        for kind in all() {
            assert_eq!(kind.stored().plural, kind.plural);
            assert_eq!(kind.stored().stored().version, kind.stored().version);
        }
    }

    #[test]
    fn every_stored_kind_has_a_schema_and_lists() {
        for kind in all().iter().filter(|k| k.is_stored()) {
            assert!(kind.schema().is_some(), "{} has no schema", kind.kind);
            assert!(kind.list_schema().is_some(), "{} has no list", kind.kind);
        }
    }

    #[test]
    fn cards_are_made_anew_from_stored_objects() {
        let json = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"b"},"spec":{"nodeName":"n"}}"#;
        let card = card_of("pods", json).unwrap();
        assert_eq!((&*card.name, card.field("spec.nodeName")), ("a", Some("n")));
        assert_eq!(Kind::of_qualified("deployments.apps").unwrap().kind, "Deployment");
        assert_eq!(
            Kind::of_qualified("horizontalpodautoscalers.autoscaling").unwrap().version,
            "v2"
        );
        assert!(card_of("widgets.example.com", json).is_none());
        for kind in all().iter().filter(|k| k.is_stored()) {
            let stored = kind.stored();
            let name = crate::resource::qualified(stored.group, stored.plural);
            assert!(std::ptr::eq(Kind::of_qualified(&name).unwrap(), stored), "{name}");
        }
        assert_ne!(cards_version(), 0);
    }

    #[test]
    fn selectors_and_cards() {
        let pods = find("", "v1", "pods").unwrap();
        assert_eq!(pods.selector_field("spec.host"), Ok("spec.nodeName"));
        assert_eq!(
            pods.selector_field("status.hostIP").unwrap_err(),
            "field label not supported: status.hostIP"
        );
        let object = Object::from_value(json!({
            "metadata": {"name": "a", "namespace": "b"},
            "spec": {"nodeName": "n"},
            "status": {"podIPs": [{"ip": "10.0.0.1"}]},
        }))
        .unwrap();
        let card = pods.card(&object);
        assert_eq!(card.field("spec.nodeName"), Some("n"));
        assert_eq!(card.field("spec.hostNetwork"), Some("false"));
        assert_eq!(card.field("status.podIP"), Some("10.0.0.1"));
        let jobs = find("batch", "v1", "jobs").unwrap();
        assert_eq!(
            jobs.selector_field("x").unwrap_err(),
            "field label \"x\" not supported for Job"
        );
    }
}
