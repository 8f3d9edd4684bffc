//! Server-side apply, and the ownership of fields that every other write keeps up.
//!
//! [`apply`] merges a configuration into the stored object on behalf of a manager;
//! [`update_managed_fields`] notes what a create, update or patch changed. Call either with the
//! objects in the request's version, after defaulting, before the kind's strategy. Not here:
//! decoding, defaulting, what a subresource may touch.

mod fields;
mod managers;
mod scale;
mod schema;
mod typed;

use std::sync::LazyLock;

use serde_json::{Map, Value};

pub use fields::FieldSet;
use managers::Manager;
pub use scale::{Replicas, SCALE_VERSION, lend_managers, return_managers};
pub use schema::Schema;

use crate::object::Object;
use crate::status::{ApiError, Cause, CauseReason, Reason};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The manager that owns what was there before the first apply.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes what, and when.
#[derive(Clone, Copy)]
pub struct Writer<'a> {
    /// The field manager; by default the user agent up to the first slash.
    pub manager: &'a str,
    /// Empty, or the subresource that is written.
    pub subresource: &'a str,
    /// The version that the objects are in, as in `apps/v1`.
    pub api_version: &'a str,
    /// The type of the objects.
    pub schema: Schema<'a>,
    /// What the strategy does not let this write touch, and so nobody comes to own by it.
    pub reset: &'a FieldSet,
    /// As `metav1.Time` prints it.
    pub now: &'a str,
    /// The other versions that managers may have written in.
    pub versions: Option<&'a dyn Versions>,
}

/// The versions of what is written. What a manager owns is named as in the version that it wrote in.
pub trait Versions {
    /// An object of the writer's version in another one, with the type of that; `None` where the
    /// versions have one form.
    fn form(&self, object: &Object, api_version: &str) -> Option<(Object, Schema<'_>)>;
}

/// A field that another manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The manager, as messages name it.
    pub manager: String,
    /// The field, as in `.spec.replicas`.
    pub path: String,
}

/// Why a configuration could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields that it sets to something else.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// It is malformed.
    #[error("{0}")]
    Malformed(String),
    /// It does not fit the schema. Upstream answers 500 without a reason.
    #[error("{0}")]
    Unfit(String),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.path
        );
    }
    let mut names: Vec<&str> = conflicts.iter().map(|c| c.manager.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        lines.push(format!("conflicts with {name}:"));
        let of_manager = conflicts.iter().filter(|c| c.manager == name);
        lines.extend(of_manager.map(|c| format!("- {}", c.path)));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

impl From<ApplyError> for ApiError {
    fn from(error: ApplyError) -> Self {
        let message = error.to_string();
        match error {
            ApplyError::Malformed(_) => ApiError::bad_request(message),
            ApplyError::Unfit(_) => ApiError::new(Reason::Unknown, message),
            ApplyError::Conflicts(conflicts) => {
                let mut error = ApiError::new(Reason::Conflict, message);
                error.causes = conflicts
                    .into_iter()
                    .map(|c| {
                        let what = format!("conflict with {}", c.manager);
                        Cause::new(CauseReason::FieldManagerConflict, c.path, what)
                    })
                    .collect();
                error
            }
        }
    }
}

/// Never owned: who an object is, and what the server alone writes.
static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
    FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// An object as a value, without its managers.
fn bare(object: &Object) -> Value {
    let mut map = object.0.clone();
    if let Some(Value::Object(meta)) = map.get_mut("metadata") {
        meta.remove("managedFields");
    }
    Value::Object(map)
}

struct Changes {
    /// Added or modified.
    set: FieldSet,
    removed: FieldSet,
}

fn changes(writer: &Writer<'_>, old: &Map<String, Value>, new: &Map<String, Value>) -> Changes {
    let difference = typed::compare_objects(writer.schema, old, new);
    let (mut set, mut removed) = (difference.added.below, difference.removed.below);
    set.absorb(difference.modified.below);
    set.cut_subtrees(writer.reset);
    removed.cut_subtrees(writer.reset);
    Changes { set, removed }
}

/// The fields of an object's value.
fn fields_of(value: &Value) -> &Map<String, Value> {
    static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

/// The changes as a manager names them; `None` where it names them as the writer does.
fn changes_for(
    writer: &Writer<'_>,
    manager: &Manager,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
) -> Option<Changes> {
    let versions = writer.versions.filter(|_| manager.api_version != writer.api_version)?;
    let form = |map: &Map<String, Value>| versions.form(&Object(map.clone()), &manager.api_version);
    let ((old, schema), (new, _)) = (form(old)?, form(new)?);
    Some(changes(&Writer { schema, ..*writer }, &old.0, &new.0))
}

/// Takes the changed fields from everyone but `except`.
fn take_from_others(
    writer: &Writer<'_>,
    managers: &mut Vec<Manager>,
    except: Option<&Manager>,
    changes: &Changes,
    (old, new): (&Map<String, Value>, &Map<String, Value>),
) {
    for manager in managers.iter_mut() {
        if except.is_none_or(|e| !e.is(manager)) {
            let own = changes_for(writer, manager, old, new);
            let changes = own.as_ref().unwrap_or(changes);
            manager.fields.subtract(&changes.set);
            manager.fields.subtract(&changes.removed);
        }
    }
    managers.retain(|m| !m.fields.is_empty());
}

impl Writer<'_> {
    /// Whether a manager names fields of an object otherwise than the writer does.
    fn differs(&self, manager: &Manager, object: &Value) -> bool {
        let versions = self.versions.filter(|_| manager.api_version != self.api_version);
        let object = || Object(fields_of(object).clone());
        versions.is_some_and(|v| v.form(&object(), &manager.api_version).is_some())
    }

    fn as_manager(&self, name: &str, applies: bool) -> Manager {
        Manager {
            name: if name.is_empty() { "unknown".to_owned() } else { name.to_owned() },
            applies,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: None,
            fields: FieldSet::default(),
        }
    }

    fn note_update(
        &self,
        name: &str,
        managers: &mut Vec<Manager>,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) {
        let changes = changes(self, old, new);
        take_from_others(self, managers, None, &changes, (old, new));
        let mut owned = changes.set;
        owned.subtract(&UNOWNED);
        if !owned.is_empty() {
            let mut me = self.as_manager(name, false);
            me.time = Some(self.now.to_owned());
            match managers.iter_mut().find(|m| m.is(&me)) {
                Some(m) => {
                    m.fields.absorb(owned);
                    m.time = me.time;
                }
                None => {
                    me.fields = owned;
                    managers.push(me);
                }
            }
        }
        managers::cap(managers);
    }
}

/// Notes who owns what after a create (`before` is then `None`), an update or a patch other than apply. Clients may send managers of their own along; what they
/// send to a subresource is ignored.
pub fn update_managed_fields(before: Option<&Object>, after: &mut Object, writer: &Writer<'_>) {
    let empty = writer.schema.empty();
    let live = before.unwrap_or(&empty);
    let of_live = || managers::decode(live).unwrap_or_default();
    let mut managers = if !writer.subresource.is_empty() {
        of_live()
    } else if managers::is_reset(after) {
        Vec::new()
    } else {
        managers::decode(after).filter(|m| !m.is_empty()).unwrap_or_else(of_live)
    };
    // An object whose managers were forgotten stays without, until someone applies.
    if managers.is_empty() && !live.uid().is_empty() {
        after.meta_mut().remove("managedFields");
        return;
    }
    // The managers themselves are no part of what is owned; the stored ones do no harm.
    after.meta_mut().remove("managedFields");
    writer.note_update(writer.manager, &mut managers, &live.0, &after.0);
    managers::encode(after, managers);
    keep_times(live, after);
}

/// Where nothing but times changed, the stored times stay, so that the write is seen to be none.
fn keep_times(live: &Object, after: &mut Object) {
    fn without<'a>(
        map: Option<&'a Map<String, Value>>,
        name: &'static str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        map.into_iter().flatten().filter(move |(key, _)| *key != name)
    }
    let managers = |object| managers::entries(object).into_iter().flatten().map(Value::as_object);
    let same = |a, b, name| without(a, name).eq(without(b, name));
    if live.uid().is_empty()
        || !same(live.meta(), after.meta(), "managedFields")
        || !same(Some(&live.0), Some(&after.0), "metadata")
        || managers(live).count() != managers(after).count()
        || !managers(live).zip(managers(after)).all(|(a, b)| same(a, b, "time"))
    {
        return;
    }
    if let Some(list) = live.meta().and_then(|m| m.get("managedFields")) {
        after.set_meta("managedFields", list.clone());
    }
}

/// Applies a configuration. `live` is the stored object, or `None` to create one. The outcome is to
/// be conformed and defaulted.
pub fn apply(
    live: Option<&Object>,
    config: &Object,
    force: bool,
    writer: &Writer<'_>,
) -> Result<Object, ApplyError> {
    if config.meta().is_some_and(|m| m.get("managedFields").is_some_and(|v| !v.is_null())) {
        return Err(ApplyError::Malformed("metadata.managedFields must be nil".into()));
    }
    let value = Value::Object(config.0.clone());
    typed::check(writer.schema, &value).map_err(|fault| {
        let (group, version) =
            writer.api_version.split_once('/').unwrap_or(("", writer.api_version));
        ApplyError::Unfit(format!(
            "failed to create typed patch object ({}/{}; {group}/{version}, Kind={}): {fault}",
            config.namespace(),
            config.name(),
            config.kind()
        ))
    })?;
    let empty = writer.schema.empty();
    let live = live.unwrap_or(&empty);
    let mut managers = managers::decode(live)
        .ok_or_else(|| ApplyError::Unfit("failed to decode managed fields".to_owned()))?;
    let base = bare(live);
    if managers.is_empty() {
        writer.note_update(BEFORE_FIRST_APPLY, &mut managers, &empty.0, fields_of(&base));
    }
    let mut outcome = merge(writer, &base, &value, managers.clone(), force);
    if let (Err(ApplyError::Conflicts(conflicts)), "kubectl") = (&outcome, writer.manager) {
        // What kubectl's own client-side apply set last is kubectl's to change.
        if let Some(allowed) = last_applied(writer, &base) {
            let rest: Vec<Conflict> =
                conflicts.iter().filter(|c| !allowed.contains(&c.path)).cloned().collect();
            outcome = if rest.is_empty() {
                merge(writer, &base, &value, managers, true)
            } else {
                Err(ApplyError::Conflicts(rest))
            };
        }
    }
    let mut out = outcome?;
    if writer.manager == "kubectl" && out.annotation(LAST_APPLIED).is_some_and(|a| !a.is_empty()) {
        let mut applied = config.clone();
        if let Some(Value::Object(notes)) = applied.meta_mut().get_mut("annotations") {
            notes.remove(LAST_APPLIED);
        }
        out.set_annotation(LAST_APPLIED, &format!("{}\n", Value::Object(applied.0)));
    }
    keep_times(live, &mut out);
    Ok(out)
}

/// An apply configuration merged into an object without any owner, as admission policies do it. What
/// is owned whole cannot be given in part.
pub fn merge_config(schema: Schema<'_>, live: &Object, config: &Object) -> Result<Object, String> {
    let value = Value::Object(config.0.clone());
    typed::check(schema, &value)
        .map_err(|fault| format!("failed to convert patch object to typed object: {fault}"))?;
    let atomics = typed::atomics(schema, &value);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    let live = Value::Object(live.0.clone());
    let merged = typed::merge(schema, Some(&live), Some(&value)).unwrap_or_default();
    Object::from_value(merged).ok_or_else(|| "failed to merge patch".to_owned())
}

fn merge(
    writer: &Writer<'_>,
    live: &Value,
    config: &Value,
    mut managers: Vec<Manager>,
    force: bool,
) -> Result<Object, ApplyError> {
    let schema = writer.schema;
    let merged = typed::merge(schema, Some(live), Some(config)).unwrap_or_default();
    let mut me = writer.as_manager(writer.manager, true);
    let at = managers.iter().position(|m| m.is(&me));
    let last = at.map(|at| managers.remove(at));
    me.fields = typed::fields(schema, config).below.without_subtrees(writer.reset);
    me.time = last.as_ref().and_then(|m| m.time.clone());
    managers.push(me.clone());
    let new = match &last {
        // What was applied in a version of another form stays, as it does upstream.
        Some(last) if !last.fields.is_empty() && !writer.differs(last, &merged) => {
            prune(schema, &merged, &managers, &last.fields)
        }
        _ => merged,
    };

    let both = (fields_of(live), fields_of(&new));
    let changes = changes(writer, both.0, both.1);
    if !force {
        let mut conflicts = Vec::new();
        let mut others: Vec<&Manager> = managers.iter().filter(|m| !m.is(&me)).collect();
        others.sort_by(|a, b| a.name.cmp(&b.name));
        for other in others {
            let own = changes_for(writer, other, both.0, both.1);
            let set = &own.as_ref().unwrap_or(&changes).set;
            let paths = other.fields.intersection(set).paths();
            let manager = other.print();
            conflicts
                .extend(paths.into_iter().map(|path| Conflict { manager: manager.clone(), path }));
        }
        if !conflicts.is_empty() {
            return Err(ApplyError::Conflicts(conflicts));
        }
    }
    take_from_others(writer, &mut managers, Some(&me), &changes, both);
    let changed = new != *live;
    for manager in &mut managers {
        if manager.is(&me) {
            manager.fields.subtract(&UNOWNED);
            // A manager that only comes to share what is there has no time yet.
            if changed {
                manager.time = Some(writer.now.to_owned());
            }
        }
    }
    managers.retain(|m| !m.fields.is_empty());
    let mut out = Object::from_value(new)
        .ok_or_else(|| ApplyError::Unfit("the configuration is not an object".to_owned()))?;
    managers::encode(&mut out, managers);
    Ok(out)
}

/// Removes what the manager applied last time and nobody owns any more.
fn prune(schema: Schema<'_>, merged: &Value, managers: &[Manager], last: &FieldSet) -> Value {
    let named = |set: &FieldSet| typed::with_parents(Some(schema), set);
    let without = |set: &FieldSet| {
        typed::remove(schema, merged, set).unwrap_or_else(|| Value::Object(Map::new()))
    };
    let owned = managers.iter().fold(FieldSet::default(), |all, m| all.union(&m.fields));
    let last = named(last);
    let all = named(&typed::fields(schema, merged).below);
    // What others own under a removed item comes back with the item,
    let pruned = without(&last);
    let kept = named(&typed::fields(schema, &pruned).below).union(&named(&owned));
    let pruned = without(&all.difference(&kept));
    // and what was never applied by this manager is none of its business.
    let kept = named(&typed::fields(schema, &pruned).below);
    without(&all.difference(&kept).intersection(&last))
}

/// The paths whose values are still those of kubectl's last client-side apply.
fn last_applied(writer: &Writer<'_>, live: &Value) -> Option<Vec<String>> {
    let text = live.get("metadata")?.get("annotations")?.get(LAST_APPLIED)?.as_str()?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last.get("apiVersion")?.as_str()? != writer.api_version {
        return None;
    }
    let difference = typed::compare(writer.schema, Some(&last), Some(live));
    let set = typed::fields(writer.schema, &last)
        .below
        .difference(&difference.modified.below)
        .difference(&difference.added.below)
        .difference(&difference.removed.below);
    Some(set.paths())
}

/// Keeps a client's wish to forget all managers (`managedFields: []`) from being dropped as an empty
/// list: call on a patched object before it is conformed.
pub fn keep_reset(object: &mut Object) {
    if managers::is_reset(object) {
        object.set_meta("managedFields", vec![Value::Object(Map::new())]);
    }
}

/// Whether a write changed an object in nothing but the times of its managers.
pub fn same_but_times(before: &Object, after: &Object) -> bool {
    let mut after = after.clone();
    keep_times(before, &mut after);
    after == *before
}
