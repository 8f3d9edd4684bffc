//! What a definition makes of its objects: form, defaults, faults, versions.
//!
//! Not here: which definition (`super`), the order in which a write passes these (`registry`).

use api::crd::{Conversion, Structural};
use api::crd::{check, defaulting, lists, prune};
use api::{ApiError, Cause, CauseReason, Entry, Object, Value, validate};
use serde_json::json;

use super::convert::Prepared;
use super::rules::Outcome;
use super::{Custom, Look};

/// The part of an update that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of the object.
    Whole,
    /// Its status.
    Status,
}

impl Custom {
    /// Brings an object that a client sent to the form of its schema, with defaults. Returns the
    /// paths of fields that the schema does not know, or what is wrong with the metadata.
    pub fn conform(&self, object: &mut Object) -> Result<Vec<String>, String> {
        self.formed(object, false)
    }

    /// The same for what an apply makes, which keeps the nulls that it was given.
    pub fn conform_applied(&self, object: &mut Object) -> Result<Vec<String>, String> {
        self.formed(object, true)
    }

    fn formed(&self, object: &mut Object, with_nulls: bool) -> Result<Vec<String>, String> {
        object.0.values_mut().for_each(prune::plain_numbers);
        let meta = prune::metadata(&mut object.0)?;
        let mut unknown = Vec::new();
        let (version, kind) = (self.version(), self.kind());
        // Anything else is refused later, for being something else.
        if object.kind() == kind.kind && object.api_version() == kind.group_version() {
            unknown = prune::prune(&mut object.0, version.schema());
            if !with_nulls {
                prune::drop_nulls(&mut object.0, version.schema());
            }
            unknown.extend(prune::embedded(&mut object.0, version.schema())?);
            defaulting::fill(&mut object.0, version.schema());
        }
        unknown.extend(meta);
        Ok(unknown)
    }

    /// A stored object in the version of the request.
    pub fn read(&self, entry: &Entry, prepared: Option<&Prepared>) -> Result<Object, ApiError> {
        let object = entry.object().map_err(ApiError::internal)?;
        self.reformed(object, entry.revision, prepared)
    }

    /// A stored object in the version that it is stored in, in the present form.
    pub fn as_stored(&self, entry: &Entry) -> Result<Object, ApiError> {
        let mut object = entry.object().map_err(ApiError::internal)?;
        self.renew(&mut object, entry.revision);
        Ok(object)
    }

    /// Whether an object is stored in the version and the form that the definition asks for now.
    pub fn is_current(&self, entry: &Entry) -> bool {
        entry.revision >= self.served.clean_since || self.look_at(entry).form
    }

    /// Whether an object's index card holds the fields that the definition makes selectable now.
    pub fn is_indexed(&self, entry: &Entry) -> bool {
        entry.revision >= self.served.clean_since || self.look_at(entry).card
    }

    fn look_at(&self, entry: &Entry) -> Look {
        let known = self.served.looked_at.read().get(&entry.revision).copied();
        known.unwrap_or_else(|| {
            let look = self.look_closely(entry);
            self.served.looked_at.write().insert(entry.revision, look);
            look
        })
    }

    fn look_closely(&self, entry: &Entry) -> Look {
        let Ok(stored) = entry.object() else { return Look::default() };
        let wanted = &self.definition().versions[self.definition().storage];
        if stored.api_version() != wanted.kind.group_version() {
            return Look::default();
        }
        let mut renewed = stored.clone();
        self.renew(&mut renewed, entry.revision);
        let card = wanted.kind.card(&renewed).fields == entry.card.fields;
        Look { form: stored == renewed, card }
    }

    /// An object as it was stored at a revision, in the version of the request.
    pub fn reformed(
        &self,
        mut object: Object,
        revision: u64,
        prepared: Option<&Prepared>,
    ) -> Result<Object, ApiError> {
        self.renew(&mut object, revision);
        let ready = prepared.and_then(|p| p.read(object.uid(), revision));
        self.convert(object, self.version, ready)
    }

    /// Brings an object that was stored before the definition changed to its present form.
    fn renew(&self, object: &mut Object, revision: u64) {
        if revision >= self.served.clean_since {
            return;
        }
        let (_, own) = object.api_version().split_once('/').unwrap_or_default();
        if let Some(own) = self.definition().version(own) {
            reform(object, self.definition().versions[own].schema());
        }
    }

    /// An object of the request's version in the stored one.
    pub fn to_stored(
        &self,
        object: Object,
        prepared: Option<&Prepared>,
    ) -> Result<Object, ApiError> {
        let ready = prepared.and_then(Prepared::stored);
        self.convert(object, self.definition().storage, ready)
    }

    /// `ready`: what a webhook made of the object.
    fn convert(
        &self,
        mut object: Object,
        to: usize,
        ready: Option<&Object>,
    ) -> Result<Object, ApiError> {
        let to = &self.definition().versions[to];
        if object.api_version() == to.kind.group_version() {
            return Ok(object);
        }
        match &self.definition().conversion {
            Conversion::None => {
                object.set_type(to.kind.group_version(), to.kind.kind);
            }
            Conversion::Webhook(_) => {
                let why = "the object was not converted by its webhook";
                let rv = object.resource_version().to_owned();
                object = ready.cloned().ok_or_else(|| ApiError::internal(why))?;
                object.set_meta("resourceVersion", rv);
            }
        }
        prune::prune(&mut object.0, to.schema());
        prune::drop_nulls(&mut object.0, to.schema());
        Ok(object)
    }

    /// The faults of a new object.
    pub fn create_faults(&self, object: &mut Object) -> Outcome {
        let faults = self.type_faults(object);
        if !faults.is_empty() {
            return Outcome { faults, ..Outcome::default() };
        }
        let mut faults = validate::create(self.kind(), object);
        let schema = self.version().schema();
        let value = lend(object);
        faults.extend(check::value(schema, &value, None, ""));
        self.scale_faults(&value, true, &mut faults);
        lists::embedded(schema, &value, "", &mut faults);
        lists::duplicates(schema, &value, "", &mut faults);
        let outcome = self.judge(faults, &value, None);
        give_back(object, value);
        outcome
    }

    /// The faults of a changed object.
    pub fn update_faults(&self, object: &mut Object, old: &mut Object, part: Part) -> Outcome {
        let faults = self.type_faults(object);
        if !faults.is_empty() {
            return Outcome { faults, ..Outcome::default() };
        }
        let mut faults = validate::update(self.kind(), object, old);
        let schema = self.version().schema();
        let (value, before) = (lend(object), lend(old));
        match part {
            Part::Whole => {
                faults.extend(check::value(schema, &value, Some(&before), ""));
                self.scale_faults(&value, true, &mut faults);
                lists::embedded(schema, &value, "", &mut faults);
            }
            Part::Status => {
                let status = value.get("status").filter(|status| !status.is_null());
                if let (Some(status), Some(schema)) = (status, schema.field("status")) {
                    // Seen by itself: messages name places in it, fields places in the object.
                    let found = check::value(schema, status, before.get("status"), "");
                    faults.extend(found.into_iter().map(|fault| under("status", fault)));
                }
                self.scale_faults(&value, false, &mut faults);
            }
        }
        let mut doubled = Vec::new();
        lists::duplicates(schema, &before, "", &mut doubled);
        if doubled.is_empty() {
            lists::duplicates(schema, &value, "", &mut faults);
        }
        let outcome = self.judge(faults, &value, Some(&before));
        give_back(object, value);
        give_back(old, before);
        outcome
    }

    /// Lets the rules judge what the schema has let pass.
    fn judge(&self, mut faults: Vec<Cause>, value: &Value, old: Option<&Value>) -> Outcome {
        let Some(rules) = self.rules() else { return Outcome { faults, ..Outcome::default() } };
        if faults.iter().any(|fault| BLOCKING.contains(&fault.reason)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            faults.push(Cause::invalid("<nil>", &Value::Null, why));
            return Outcome { faults, ..Outcome::default() };
        }
        let found = rules.run(value, old);
        faults.extend(found.faults);
        Outcome { faults, warnings: found.warnings }
    }

    fn type_faults(&self, object: &Object) -> Vec<Cause> {
        let kind = self.kind();
        let wrong = |field: &str, found: &str, wanted: &str| {
            (found != wanted)
                .then(|| Cause::invalid(field, &json!(found), &format!("must be {wanted}")))
        };
        wrong("kind", object.kind(), kind.kind)
            .into_iter()
            .chain(wrong("apiVersion", object.api_version(), kind.group_version()))
            .collect()
    }

    fn scale_faults(&self, value: &Value, with_spec: bool, faults: &mut Vec<Cause>) {
        let Some(scale) = &self.version().scale else { return };
        let mut replicas = |path: &str| {
            let field = format!(".{path}");
            match at(value, path) {
                None | Some(Value::Null) => {}
                Some(found) => match found.as_i64() {
                    Some(n) if n < 0 => {
                        let why = "should be a non-negative integer";
                        faults.push(Cause::invalid(field, found, why));
                    }
                    Some(n) if n > i64::from(i32::MAX) => {
                        let why = format!("should be less than or equal to {}", i32::MAX);
                        faults.push(Cause::invalid(field, found, &why));
                    }
                    Some(_) => {}
                    None => {
                        let why = accessor(&field, found, "int64");
                        faults.push(Cause::invalid(field, &json!(0), &why));
                    }
                },
            }
        };
        if with_spec {
            replicas(&scale.replicas);
        }
        replicas(&scale.status_replicas);
        if !scale.selector.is_empty()
            && let Some(found) = at(value, &scale.selector).filter(|v| !v.is_string())
        {
            let field = format!(".{}", scale.selector);
            let why = accessor(&field, found, "string");
            faults.push(Cause::invalid(field, &json!(""), &why));
        }
    }

    /// Warnings about finalizers that an object has come to have.
    pub fn warnings(&self, object: &Object, old: Option<&Object>) -> Vec<String> {
        const STANDARD: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];
        let had = |name: &str| old.is_some_and(|old| old.finalizers().any(|f| f == name));
        let mut added: Vec<&str> = object.finalizers().filter(|f| !had(f)).collect();
        added.sort_unstable();
        added.dedup();
        let mut warnings = Vec::new();
        for name in added {
            let mut warn = |why: &str| {
                warnings.push(format!("metadata.finalizers: {}: {why}", api::names::quote(name)));
            };
            api::names::qualified_name(name).iter().for_each(|why| warn(why));
            if name.contains('/') || STANDARD.contains(&name) {
                continue;
            }
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            warn(&format!(
                "prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
        warnings
    }
}

/// Faults after which rules are not asked.
const BLOCKING: [CauseReason; 5] = [
    CauseReason::NotSupported,
    CauseReason::Required,
    CauseReason::TooLong,
    CauseReason::TooMany,
    CauseReason::TypeInvalid,
];

/// An object as a value, without a copy of it; to be given back.
fn lend(object: &mut Object) -> Value {
    Value::Object(std::mem::take(&mut object.0))
}

fn give_back(object: &mut Object, value: Value) {
    if let Value::Object(map) = value {
        object.0 = map;
    }
}

/// Brings an object that was stored under another form of the schema to the present one.
fn reform(object: &mut Object, schema: &Structural) {
    prune::prune(&mut object.0, schema);
    prune::drop_nulls(&mut object.0, schema);
    // Metadata was in order when it was written.
    let _ = prune::embedded(&mut object.0, schema);
    defaulting::fill(&mut object.0, schema);
}

/// The value at a dotted path.
pub fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| value.get(key))
}

/// What upstream says of a value of another type than the path's.
fn accessor(field: &str, found: &Value, wanted: &str) -> String {
    let ty = match found {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    let shown = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    format!("{field} accessor error: {shown} is of the type {ty}, expected {wanted}")
}

/// A fault of a part as one of the whole.
fn under(part: &str, mut fault: Cause) -> Cause {
    fault.field = match fault.field.as_str() {
        "<nil>" | "" => part.to_owned(),
        field if field.starts_with('[') => format!("{part}{field}"),
        field => format!("{part}.{field}"),
    };
    fault
}
