//! What a schema says of a value: types, limits, formats, and the combinations of schemas.
//!
//! Faults carry upstream's texts. On an update, a value that is as it was before has none: a schema
//! that grew stricter does not lock old objects (ratcheting). Not here: CEL rules, duplicates in
//! lists (`lists`), dropping unknown fields (`prune`).

use serde_json::{Map, Value};

use super::formats;
use super::structural::{Additional, Checks, ListType, Structural, Type};
use crate::status::{Cause, CauseReason, print_value};

/// The faults of a value. `path` leads to it, as in `spec.a`; empty at the root. `old` is the value
/// that it takes the place of.
pub fn value(schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Vec<Cause> {
    Walk.node(schema, value, old, path).faults
}

/// The outcome of a schema on a value.
#[derive(Default)]
struct Found {
    faults: Vec<Cause>,
    /// How much of the schema was looked at without a fault: the best of several failed
    /// alternatives is the one reported.
    matches: usize,
}

impl Found {
    fn merge(&mut self, other: Found) {
        self.faults.extend(other.faults);
        self.matches += other.matches;
    }
}

struct Walk;

/// A fault of the combination of schemas, which upstream gives no field.
fn whole(message: &str) -> Cause {
    Cause::new(CauseReason::Invalid, "<nil>", format!("Invalid value: \"\": {message}"))
}

fn wrong_type(path: &str, wanted: &str, found: &str) -> Cause {
    let field = if path.is_empty() { "<nil>" } else { path };
    Cause::new(
        CauseReason::TypeInvalid,
        field,
        format!("Invalid value: {found:?}: {path} in body must be of type {wanted}: {found:?}"),
    )
}

fn invalid(path: &str, value: &Value, what: &str) -> Cause {
    let message = format!("Invalid value: {}: {path} in body {what}", show(value));
    Cause::new(CauseReason::Invalid, if path.is_empty() { "<nil>" } else { path }, message)
}

fn show(value: &Value) -> String {
    print_value(value)
}

/// The type and format of a value, as upstream tells them.
fn kind_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        Value::Number(n) if n.is_i64() => ("integer", "int64"),
        Value::Number(_) => ("number", "float64"),
    }
}

/// Whole in the sense of JSON: 3.0 is.
fn is_whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0)
}

impl Walk {
    fn node(&self, schema: &Structural, value: &Value, old: Option<&Value>, path: &str) -> Found {
        if old == Some(value) {
            return Found { faults: Vec::new(), matches: 1 };
        }
        let mut found = Found::default();
        let kind_fault = type_fault(schema, value, path);
        found.matches += usize::from(kind_fault.is_none());
        found.faults.extend(kind_fault);
        let checks = schema.checks.as_deref();
        if value.is_null() {
            found.faults.extend(checks.and_then(|c| enumeration(c, value, path)));
            return found;
        }
        if let Some(checks) = checks {
            self.combinations(checks, value, old, path, &mut found);
            match value {
                Value::String(text) => {
                    let before = found.faults.len();
                    found.faults.extend(text_fault(checks, text, path));
                    found.faults.extend(format_fault(checks, text, path));
                    found.matches += usize::from(found.faults.len() == before);
                }
                Value::Number(_) => {
                    let before = found.faults.len();
                    number_faults(schema, checks, value, path, &mut found.faults);
                    found.matches += usize::from(found.faults.len() == before);
                }
                _ => {}
            }
        } else if value.is_number() {
            number_faults(schema, &Checks::default(), value, path, &mut found.faults);
        }
        if let Value::Array(list) = value {
            self.list(schema, list, old.and_then(Value::as_array), path, &mut found);
        }
        found.faults.extend(checks.and_then(|c| enumeration(c, value, path)));
        if let Value::Object(map) = value {
            self.object(schema, map, old.and_then(Value::as_object), path, &mut found);
        }
        found
    }

    fn combinations(
        &self,
        checks: &Checks,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        out: &mut Found,
    ) {
        let better = |best: &Option<Found>, next: &Found| {
            best.as_ref().is_none_or(|b| next.matches > b.matches)
        };
        if !checks.any_of.is_empty() {
            let mut best: Option<Found> = None;
            let mut fits = false;
            for schema in &checks.any_of {
                let found = self.node(schema, value, old, path);
                if found.faults.is_empty() {
                    fits = true;
                    break;
                }
                if better(&best, &found) {
                    best = Some(found);
                }
            }
            if !fits {
                out.faults
                    .push(whole(&format!("{path:?} must validate at least one schema (anyOf)")));
                out.merge(best.unwrap_or_default());
            }
        }
        if !checks.one_of.is_empty() {
            let mut best: Option<Found> = None;
            let mut fits = 0;
            for schema in &checks.one_of {
                let found = self.node(schema, value, old, path);
                if found.faults.is_empty() {
                    fits += 1;
                    best = None;
                } else if fits == 0 && better(&best, &found) {
                    best = Some(found);
                }
            }
            if fits != 1 {
                let how = match fits {
                    0 => "Found none valid".to_owned(),
                    n => format!("Found {n} valid alternatives"),
                };
                out.faults.push(whole(&format!(
                    "{path:?} must validate one and only one schema (oneOf). {how}"
                )));
                out.merge(best.unwrap_or_default());
            }
        }
        if !checks.all_of.is_empty() {
            let mut fits = 0;
            for schema in &checks.all_of {
                let found = self.node(schema, value, old, path);
                fits += usize::from(found.faults.is_empty());
                out.merge(found);
            }
            if fits != checks.all_of.len() {
                let how = if fits == 0 { ". None validated" } else { "" };
                out.faults
                    .push(whole(&format!("{path:?} must validate all the schemas (allOf){how}")));
            }
        }
        if let Some(not) = &checks.not
            && self.node(not, value, old, path).faults.is_empty()
        {
            out.faults.push(whole(&format!("{path:?} must not validate the schema (not)")));
        }
    }

    fn list(
        &self,
        schema: &Structural,
        list: &[Value],
        old: Option<&Vec<Value>>,
        path: &str,
        out: &mut Found,
    ) {
        if let Some(item) = schema.items.as_deref() {
            for (at, value) in list.iter().enumerate() {
                let before = old.and_then(|old| counterpart(schema, old, value));
                out.merge(self.node(item, value, before, &format!("{path}[{at}]")));
            }
        }
        let Some(checks) = schema.checks.as_deref() else { return };
        let length = list.len() as i64;
        if let Some(least) = checks.min_items.filter(|least| length < *least) {
            let what = format!("should have at least {least} items");
            out.faults.push(invalid(path, &length.into(), &what));
        }
        if let Some(most) = checks.max_items.filter(|most| length > *most) {
            out.faults.push(too_many(path, length, most));
        }
    }

    fn object(
        &self,
        schema: &Structural,
        map: &Map<String, Value>,
        old: Option<&Map<String, Value>>,
        path: &str,
        out: &mut Found,
    ) {
        let at = |key: &str| {
            if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
        };
        let empty = Checks::default();
        let checks = schema.checks.as_deref().unwrap_or(&empty);
        let length = map.len() as i64;
        if let Some(least) = checks.min_properties.filter(|least| length < *least) {
            let what = format!("should have at least {least} properties");
            out.faults.push(invalid(path, &length.into(), &what));
            return;
        }
        if let Some(most) = checks.max_properties.filter(|most| length > *most) {
            out.faults.push(too_many(path, length, most));
            return;
        }
        for (key, value) in map {
            if schema.properties.contains_key(key) {
                continue;
            }
            match &schema.additional {
                Some(Additional::Schema(each)) => {
                    out.merge(self.node(each, value, old.and_then(|o| o.get(key)), &at(key)));
                }
                Some(Additional::Bool(false)) => {
                    let what = format!("{path}.{key} in body is a forbidden property");
                    out.faults.push(Cause::new(
                        CauseReason::Invalid,
                        at(key),
                        format!("Invalid value: \"\": {what}"),
                    ));
                }
                _ => {}
            }
        }
        for (key, property) in &schema.properties {
            if let Some(value) = map.get(key) {
                out.merge(self.node(property, value, old.and_then(|o| o.get(key)), &at(key)));
            }
        }
        for key in &checks.required {
            if !map.contains_key(key) {
                out.faults.push(Cause::required(at(key), ""));
            }
        }
    }
}

/// The item of an old list that a new item takes the place of: only keys tell.
fn counterpart<'a>(schema: &Structural, old: &'a [Value], item: &Value) -> Option<&'a Value> {
    if schema.list_type != ListType::Map {
        return None;
    }
    old.iter().find(|before| schema.list_keys.iter().all(|key| before.get(key) == item.get(key)))
}

fn too_many(path: &str, length: i64, most: i64) -> Cause {
    let items = if most == 1 { "item" } else { "items" };
    let message = format!("Too many: {length}: must have at most {most} {items}");
    Cause::new(CauseReason::TooMany, if path.is_empty() { "<nil>" } else { path }, message)
}

fn type_fault(schema: &Structural, value: &Value, path: &str) -> Option<Cause> {
    let types: &[&str] = match (schema.int_or_string, schema.ty) {
        (true, _) => &["integer", "string"],
        (false, Type::Any) => &[],
        (false, ty) => &[ty.name()],
    };
    let format = schema.format();
    if types.is_empty() && (format.is_empty() || value.is_null()) {
        return None;
    }
    let (found, found_format) = kind_of(value);
    if value.is_null() {
        let allowed = types.is_empty() || schema.nullable;
        return (!allowed).then(|| wrong_type(path, &types.join(","), "null"));
    }
    let has = |name: &str| types.contains(&name);
    let fits = has(found)
        || found == "number" && is_whole(value) && has("integer")
        || found == "integer" && has("number");
    if !matches!(value, Value::String(_) | Value::Array(_))
        && !format.is_empty()
        && !fits
        && found_format != format
    {
        // Upstream tells the format that the value has, which only numbers have.
        return Some(wrong_type(path, format, found_format));
    }
    if !(has("number") || has("integer") || format.is_empty())
        && matches!(value, Value::String(_) | Value::Array(_))
    {
        return None;
    }
    (!fits).then(|| wrong_type(path, &types.join(","), found))
}

fn enumeration(checks: &Checks, value: &Value, path: &str) -> Option<Cause> {
    let same = |allowed: &Value| match (allowed, value) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    };
    if checks.enumeration.is_empty() || checks.enumeration.iter().any(same) {
        return None;
    }
    let allowed: Vec<String> = checks
        .enumeration
        .iter()
        .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        .map(|text| format!("{text:?}"))
        .collect();
    Some(Cause::new(
        CauseReason::NotSupported,
        if path.is_empty() { "<nil>" } else { path },
        format!("Unsupported value: {}: supported values: {}", show(value), allowed.join(", ")),
    ))
}

fn text_fault(checks: &Checks, text: &str, path: &str) -> Option<Cause> {
    let length = text.chars().count() as i64;
    if let Some(most) = checks.max_length.filter(|most| length > *most) {
        return Some(Cause::too_long(path, usize::try_from(most).unwrap_or(0)));
    }
    if let Some(least) = checks.min_length.filter(|least| length < *least) {
        let what = format!("should be at least {least} chars long");
        return Some(invalid(path, &text.into(), &what));
    }
    let pattern = checks.pattern.as_ref().filter(|p| !p.matches(text))?;
    Some(invalid(path, &text.into(), &format!("should match '{}'", pattern.source)))
}

fn format_fault(checks: &Checks, text: &str, path: &str) -> Option<Cause> {
    if checks.format.is_empty() || formats::fits(&checks.format, text) {
        return None;
    }
    Some(Cause::new(
        CauseReason::TypeInvalid,
        if path.is_empty() { "<nil>" } else { path },
        format!(
            "Invalid value: {}: {path} in body must be of type {}: {}",
            show(&text.into()),
            checks.format,
            show(&text.into()),
        ),
    ))
}

/// A number as upstream prints it: without a fraction where it has none.
fn print_number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e21 {
        format!("{number:.0}")
    } else {
        format!("{number}")
    }
}

/// Whether a number is one of a type and format.
fn in_range(schema: &Structural, format: &str, number: f64, whole: Option<i64>) -> bool {
    if schema.int_or_string {
        return true;
    }
    match (schema.ty, format) {
        (Type::Integer, "int32") => whole.is_some_and(|n| i32::try_from(n).is_ok()),
        (Type::Integer, "uint32") => whole.is_some_and(|n| u32::try_from(n).is_ok()),
        (Type::Integer, "uint64") => number.fract() == 0.0 && (0.0..1.9e19).contains(&number),
        (Type::Integer, _) => whole.is_some(),
        (_, "float" | "float32") => number.abs() <= f64::from(f32::MAX),
        _ => true,
    }
}

fn number_faults(
    schema: &Structural,
    checks: &Checks,
    value: &Value,
    path: &str,
    faults: &mut Vec<Cause>,
) {
    let number = value.as_f64().unwrap_or_default();
    let whole_of = |f: f64| (f.fract() == 0.0 && f.abs() < 9.2e18).then_some(f as i64);
    let exact = value.as_i64().or_else(|| whole_of(number));
    let unfit = |prefix: &str| {
        let (ty, format) = (schema.ty.name(), checks.format.as_str());
        let how = if format.is_empty() {
            "(default format)".to_owned()
        } else {
            format!("with format {format}")
        };
        whole(&format!("{prefix} value must be of type {ty} {how} in {path}"))
    };
    if !in_range(schema, &checks.format, number, exact) {
        faults.push(unfit("Checked"));
    }
    if let Some(factor) = checks.multiple_of {
        if !in_range(schema, &checks.format, factor, whole_of(factor)) {
            faults.push(unfit("MultipleOf"));
        }
        let ratio = number / factor;
        let close = (ratio - ratio.round()).abs() <= 1e-9 * ratio.abs().max(1.0);
        if value.is_i64() && factor.abs() < 1.0 {
            // Whole numbers are held against whole factors.
            let message = format!(
                "Invalid value: 0: factor MultipleOf declared for {path} must be positive: 0"
            );
            faults.push(Cause::new(CauseReason::Invalid, path, message));
        } else if factor <= 0.0 {
            faults.push(invalid(path, &factor.into(), "factor in multipleOf must be positive"));
        } else if !close {
            let what = format!("should be a multiple of {}", print_number(factor));
            faults.push(invalid(path, value, &what));
        }
    }
    if let Some(most) = checks.maximum {
        if !in_range(schema, &checks.format, most, whole_of(most)) {
            faults.push(unfit("Maximum boundary"));
        }
        let (over, than) = if checks.exclusive_maximum {
            (number >= most, "less than")
        } else {
            (number > most, "less than or equal to")
        };
        if over {
            faults.push(invalid(path, value, &format!("should be {than} {}", print_number(most))));
        }
    }
    if let Some(least) = checks.minimum {
        if !in_range(schema, &checks.format, least, whole_of(least)) {
            faults.push(unfit("Minimum boundary"));
        }
        let (under, than) = if checks.exclusive_minimum {
            (number <= least, "greater than")
        } else {
            (number < least, "greater than or equal to")
        };
        if under {
            faults.push(invalid(path, value, &format!("should be {than} {}", print_number(least))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(schema: Value, new: Value, old: Option<Value>) -> Vec<String> {
        let schema = Structural::parse(&schema);
        value(&schema, &new, old.as_ref(), "").iter().map(Cause::line).collect()
    }

    #[test]
    fn limits_and_types() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "s": {"type": "string", "maxLength": 2}, "i": {"type": "integer", "minimum": 1},
            "x": {"x-kubernetes-int-or-string": true},
            "l": {"type": "array", "maxItems": 1, "items": {"type": "string"}}}});
        assert_eq!(
            faults(schema, json!({"s": "abc", "i": 0, "x": 1.5, "l": ["a", 1]}), None),
            [
                "i: Invalid value: 0: i in body should be greater than or equal to 1",
                "l[1]: Invalid value: \"integer\": l[1] in body must be of type string: \"integer\"",
                "l: Too many: 2: must have at most 1 item",
                "s: Too long: may not be more than 2 bytes",
                "x: Invalid value: \"number\": x in body must be of type integer,string: \"number\"",
                "a: Required value",
            ]
        );
    }

    #[test]
    fn formats_and_factors_of_numbers() {
        let schema = json!({"type": "object", "properties": {
            "d": {"type": "number", "format": "double"}, "m": {"type": "number", "multipleOf": 0.5}}});
        assert_eq!(
            faults(schema, json!({"d": true, "m": 1}), None),
            [
                "d: Invalid value: \"\": d in body must be of type double: \"\"",
                "m: Invalid value: 0: factor MultipleOf declared for m must be positive: 0",
            ]
        );
    }

    #[test]
    fn what_did_not_change_has_no_faults() {
        let schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "maxLength": 1}, "b": {"type": "string", "maxLength": 1},
            "m": {"type": "array", "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {
                    "k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}}}});
        let old = json!({"a": "long", "b": "x", "m": [{"k": "1", "v": "long"}, {"k": "2"}]});
        let new = json!({"a": "long", "b": "longer", "m": [{"k": "2", "v": "xx"}, {"k": "1", "v": "long"}]});
        assert_eq!(
            faults(schema, new, Some(old)),
            [
                "b: Too long: may not be more than 1 bytes".replace("1 bytes", "1 byte"),
                "m[0].v: Too long: may not be more than 1 byte".to_owned(),
            ]
        );
    }

    #[test]
    fn combinations() {
        let schema = json!({"properties": {"x": {"type": "integer",
            "anyOf": [{"minimum": 10}, {"maximum": 2}]}}});
        assert_eq!(faults(schema.clone(), json!({"x": 1}), None), [""; 0]);
        assert_eq!(
            faults(schema, json!({"x": 5}), None),
            [
                "<nil>: Invalid value: \"\": \"x\" must validate at least one schema (anyOf)",
                "x: Invalid value: 5: x in body should be greater than or equal to 10",
            ]
        );
        let one = json!({"oneOf": [{"type": "integer"}, {"minimum": 3}]});
        assert_eq!(
            faults(one, json!(5), None),
            [
                "<nil>: Invalid value: \"\": \"\" must validate one and only one schema (oneOf). Found 2 valid alternatives"
            ]
        );
    }
}
