//! Defaults: what upstream fills in where a client leaves something out.
//!
//! A walk over a decoded object of the request's version, guided by the schema: constants come from
//! `table`, what depends on other fields from `rules`. A parent's defaults come before its
//! children's. Not here: what admission, allocation or the strategy fills in.

mod rules;
mod table;

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
    /// Fields that lead to more, by name, with their types.
    deeper: Vec<(&'static str, &'static FieldType)>,
}

/// By the types' places in the table.
static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(plans);

/// The package without its version, and the short name: `core/Pod`.
fn family(ty: &Type) -> String {
    let mut parts = ty.name.rsplit('.');
    let (short, _version, group) = (parts.next(), parts.next(), parts.next());
    format!("{}/{}", group.unwrap_or(""), short.unwrap_or(""))
}

fn plans() -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
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
        plans.push(Plan { constants, rule, deeper: Vec::new() });
    }
    // A message matters where it, or something that it leads to, has defaults.
    let mut matters: std::collections::HashSet<&'static str> = plans
        .iter()
        .zip(schema::all())
        .filter(|(plan, _)| !plan.constants.is_empty() || plan.rule.is_some())
        .map(|(_, ty)| ty.name)
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
    for (plan, ty) in plans.iter_mut().zip(schema::all()) {
        let fields = ty.fields.iter().filter(|f| leads(ty, &f.ty, &matters));
        plan.deeper = fields.map(|f| (f.name, &f.ty)).collect();
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
    crate::convert::settle(kind, object);
}

fn message(map: &mut Map<String, Value>, ty: &'static Type) {
    let Some(plan) = PLANS.get(ty.place()) else { return };
    for (field, default) in &plan.constants {
        if map.get(field.name).is_none_or(|v| is_unset(v, field)) {
            map.insert(field.name.to_owned(), default.clone());
        }
    }
    if let Some(rule) = plan.rule {
        rule(map);
    }
    if plan.deeper.is_empty() {
        return;
    }
    for (key, value) in map.iter_mut().filter(|(_, v)| v.is_array() || v.is_object()) {
        if let Ok(at) = plan.deeper.binary_search_by(|(field, _)| (*field).cmp(key)) {
            descend(value, plan.deeper[at].1);
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
