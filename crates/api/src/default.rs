//! Defaults: what upstream fills in where a client leaves something out.
//!
//! A walk over a decoded object of the request's version, guided by the schema: constants come from
//! `table`, what depends on other fields from `rules`. A parent's defaults come before its
//! children's. Not here: what admission, allocation or the strategy fills in.

mod rules;
mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::object::Object;
use crate::quantity::Quantity;
use crate::schema::{self, Field, FieldType, Type};

/// What is filled in where.
struct Plan {
    /// Of this message: field, and the value it takes where it has none.
    constants: Vec<(&'static Field, Value)>,
    /// Of this message, by code.
    rule: Option<fn(&mut Map<String, Value>)>,
    /// Fields that lead to more, with their types.
    deeper: Vec<(&'static str, &'static FieldType)>,
}

static PLANS: LazyLock<HashMap<&'static str, Plan>> = LazyLock::new(plans);

/// The package without its version, and the short name: `core/Pod`.
fn family(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (short, _version, group) = (parts.next(), parts.next(), parts.next());
    format!("{}/{}", group.unwrap_or(""), short.unwrap_or(""))
}

fn plans() -> HashMap<&'static str, Plan> {
    let mut plans: HashMap<&'static str, Plan> = HashMap::new();
    for ty in schema::all() {
        let family = family(ty);
        let mut constants: Vec<(&'static Field, Value)> = Vec::new();
        // Zero is what a field has anyway, and mostly not written.
        let zero = |text: &str| ["0", "false", "\"\""].contains(&text);
        let stated = ty.fields.iter().filter_map(|f| Some((f.name, f.default?)));
        let stated = stated.filter(|(_, text)| !zero(text));
        let rows = table::CONSTANTS.iter().filter(|(of, _)| *of == family);
        for (field, text) in stated.chain(rows.flat_map(|(_, fields)| fields.iter().copied())) {
            if let (Some(field), Ok(value)) = (ty.field(field), serde_json::from_str(text)) {
                constants.push((field, value));
            }
        }
        let rule = rules::RULES.iter().find(|(of, _)| *of == family).map(|(_, f)| *f);
        plans.insert(ty.name, Plan { constants, rule, deeper: Vec::new() });
    }
    // A message matters where it, or something that it leads to, has defaults.
    let mut matters: std::collections::HashSet<&'static str> = plans
        .iter()
        .filter(|(_, p)| !p.constants.is_empty() || p.rule.is_some())
        .map(|(name, _)| *name)
        .collect();
    loop {
        let more: Vec<&'static str> = schema::all()
            .iter()
            .filter(|ty| !matters.contains(ty.name))
            .filter(|ty| ty.fields.iter().any(|f| leads(ty, &f.ty, &matters)))
            .map(|ty| ty.name)
            .collect();
        if more.is_empty() {
            break;
        }
        matters.extend(more);
    }
    for ty in schema::all() {
        if let Some(plan) = plans.get_mut(ty.name) {
            let fields = ty.fields.iter().filter(|f| leads(ty, &f.ty, &matters));
            plan.deeper = fields.map(|f| (f.name, &f.ty)).collect();
        }
    }
    plans
}

/// Whether a field's type has something to fill in. Lists of resources are rounded, but for those of
/// devices.
fn leads(owner: &Type, ty: &FieldType, matters: &std::collections::HashSet<&'static str>) -> bool {
    match ty {
        FieldType::Map(item) if **item == FieldType::Quantity => {
            !owner.name.starts_with("io.k8s.api.resource.")
        }
        _ => ty.message().is_some_and(|m| matters.contains(m.name)),
    }
}

/// Fills in the defaults of a kind.
pub fn apply(kind: &Kind, object: &mut Object) {
    if let Some(ty) = kind.schema() {
        message(&mut object.0, ty);
    }
}

fn message(map: &mut Map<String, Value>, ty: &'static Type) {
    let Some(plan) = PLANS.get(ty.name) else { return };
    for (field, default) in &plan.constants {
        if map.get(field.name).is_none_or(|v| is_unset(v, field)) {
            map.insert(field.name.to_owned(), default.clone());
        }
    }
    if let Some(rule) = plan.rule {
        rule(map);
    }
    for (field, ty) in &plan.deeper {
        if let Some(value) = map.get_mut(*field) {
            descend(value, ty);
        }
    }
}

/// Whether a value is as good as none: an explicit zero counts only where the field tells them apart.
fn is_unset(value: &Value, field: &Field) -> bool {
    match value {
        Value::Null => true,
        _ if field.presence => false,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(_) => false,
    }
}

fn descend(value: &mut Value, ty: &'static FieldType) {
    match (value, ty) {
        (Value::Object(map), FieldType::Ref(to)) => message(map, to.get()),
        (Value::Array(list), FieldType::List(item)) => {
            list.iter_mut().for_each(|value| descend(value, item));
        }
        (Value::Object(map), FieldType::Map(item)) if **item == FieldType::Quantity => {
            map.values_mut().for_each(round);
        }
        (Value::Object(map), FieldType::Map(item)) => {
            map.values_mut().for_each(|value| descend(value, item));
        }
        _ => {}
    }
}

/// Amounts of resources are multiples of a thousandth.
fn round(value: &mut Value) {
    const MILLI: i128 = 1_000_000;
    let Some(quantity) = value.as_str().and_then(|t| Quantity::parse(t).ok()) else { return };
    if !quantity.is_multiple_of_nanos(MILLI) {
        *value = quantity.round_up_to_milli().to_string().into();
    }
}
