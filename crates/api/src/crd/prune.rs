//! Pruning: drops what a schema does not name, and nulls that it does not allow; brings metadata to
//! form, of the object and of the resources embedded in it.
//!
//! Not here: filling in defaults (`defaulting`), faults of what is left (`check`).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::structural::{Additional, Structural};
use crate::codec::conform;
use crate::object::Object;
use crate::schema::type_of;

/// Fields of every resource, whatever its schema says.
const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The way to a value, as in `spec.a[0].b`.
#[derive(Clone, Copy)]
struct Path<'a> {
    up: Option<&'a Path<'a>>,
    part: Part<'a>,
}

#[derive(Clone, Copy)]
enum Part<'a> {
    Field(&'a str),
    Index(usize),
}

const ROOT: Path<'static> = Path { up: None, part: Part::Field("") };

impl<'a> Path<'a> {
    fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { up: Some(self), part: Part::Field(name) }
    }

    fn index(&'a self, at: usize) -> Path<'a> {
        Path { up: Some(self), part: Part::Index(at) }
    }

    fn write(&self, out: &mut String) {
        if let Some(up) = self.up {
            up.write(out);
        }
        match self.part {
            Part::Field("") => {}
            Part::Field(name) if out.is_empty() => out.push_str(name),
            Part::Field(name) => {
                out.push('.');
                out.push_str(name);
            }
            Part::Index(at) => {
                let _ = write!(out, "[{at}]");
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// Drops the fields of an object that the schema does not name. Returns their paths, sorted.
pub fn prune(object: &mut Map<String, Value>, schema: &Structural) -> Vec<String> {
    let mut unknown = Vec::new();
    fields(object, schema, true, schema.preserve, &ROOT, &mut unknown);
    unknown.sort_unstable();
    unknown
}

/// Drops what a default's value has beyond the schema; whether there was anything.
pub fn prune_value(value: &mut Value, schema: &Structural, is_resource: bool) -> bool {
    let mut unknown = Vec::new();
    match value {
        Value::Object(map) if is_resource => {
            fields(map, schema, true, schema.preserve, &ROOT, &mut unknown);
        }
        other => below(other, Some(schema), &ROOT, &mut unknown),
    }
    !unknown.is_empty()
}

/// `keep`: fields that the schema does not name stay.
fn fields(
    map: &mut Map<String, Value>,
    schema: &Structural,
    resource: bool,
    keep: bool,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) {
    map.retain(|key, value| {
        if resource && META.contains(&key.as_str()) {
            return true;
        }
        let path = path.field(key);
        if let Some(property) = schema.properties.get(key) {
            below(value, Some(property), &path, unknown);
            return true;
        }
        match &schema.additional {
            Some(Additional::Schema(each)) => below(value, Some(each), &path, unknown),
            Some(Additional::Bool(_)) => below(value, None, &path, unknown),
            None if keep => {}
            None => {
                unknown.push(path.text());
                return false;
            }
        }
        true
    });
}

fn below(
    value: &mut Value,
    schema: Option<&Structural>,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) {
    if let Some(schema) = schema.filter(|s| s.preserve) {
        return kept(value, schema, path, unknown);
    }
    match (value, schema) {
        (Value::Object(map), Some(schema)) => {
            fields(map, schema, schema.embedded, false, path, unknown);
        }
        (Value::Object(map), None) => {
            unknown.extend(map.keys().map(|key| path.field(key).text()));
            map.clear();
        }
        (Value::Array(list), schema) => {
            let item = schema.and_then(|s| s.items.as_deref());
            for (at, value) in list.iter_mut().enumerate() {
                below(value, item, &path.index(at), unknown);
            }
        }
        _ => {}
    }
}

/// Within what keeps unknown fields, known ones are still looked into.
fn kept(value: &mut Value, schema: &Structural, path: &Path<'_>, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => fields(map, schema, schema.embedded, true, path, unknown),
        Value::Array(list) => {
            let Some(item) = schema.items.as_deref() else { return };
            for (at, value) in list.iter_mut().enumerate() {
                kept(value, item, &path.index(at), unknown);
            }
        }
        _ => {}
    }
}

/// Drops nulls where the schema allows none and has no default to put in their place.
pub fn drop_nulls(map: &mut Map<String, Value>, schema: &Structural) {
    map.retain(|key, value| {
        let Some(field) = schema.field(key) else { return true };
        if value.is_null() {
            return field.nullable || field.default.is_some();
        }
        drop_nulls_below(value, field);
        true
    });
}

fn drop_nulls_below(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(map) => drop_nulls(map, schema),
        Value::Array(list) => {
            if let Some(item) = schema.items.as_deref() {
                list.iter_mut().for_each(|value| drop_nulls_below(value, item));
            }
        }
        _ => {}
    }
}

/// Brings the metadata of embedded resources to form. Returns the paths of unknown fields, or what
/// is wrong with one.
pub fn embedded(map: &mut Map<String, Value>, schema: &Structural) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    for (key, value) in map.iter_mut() {
        if let Some(field) = schema.field(key)
            && !META.contains(&key.as_str())
        {
            embedded_below(value, field, &ROOT.field(key), &mut unknown)?;
        }
    }
    unknown.sort_unstable();
    Ok(unknown)
}

fn embedded_below(
    value: &mut Value,
    schema: &Structural,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), String> {
    match value {
        Value::Object(map) => {
            if schema.embedded {
                let (faults, at) = (embedded_meta(map), path.text());
                unknown.extend(
                    faults
                        .map_err(|why| format!("{at}.{why}"))?
                        .iter()
                        .map(|u| format!("{at}.{u}")),
                );
            }
            for (key, value) in map.iter_mut() {
                if let Some(field) = schema.field(key) {
                    embedded_below(value, field, &path.field(key), unknown)?;
                }
            }
        }
        Value::Array(list) => {
            if let Some(item) = schema.items.as_deref() {
                for (at, value) in list.iter_mut().enumerate() {
                    embedded_below(value, item, &path.index(at), unknown)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn embedded_meta(map: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    let before = map.get("metadata").cloned();
    metadata(map).map_err(|why| {
        let shown = before.map(|v| crate::status::print_value(&v)).unwrap_or_default();
        // Within a resource upstream names the field's type, at the root that of its item.
        let why = match why.strip_suffix(" of type string") {
            Some(head) if why.contains(".labels ") || why.contains(".annotations ") => {
                format!("{head} of type map[string]string")
            }
            _ => why,
        };
        format!("metadata: Invalid value: {shown}: {why}")
    })
}

/// Brings `metadata` to the form of `ObjectMeta`. Returns the paths of unknown fields, or what is
/// wrong.
pub fn metadata(map: &mut Map<String, Value>) -> Result<Vec<String>, String> {
    let (Some(meta), Some(ty)) = (map.get_mut("metadata"), type_of(OBJECT_META)) else {
        return Ok(Vec::new());
    };
    let fields = match meta {
        Value::Object(fields) => std::mem::take(fields),
        Value::Null => {
            map.remove("metadata");
            return Ok(Vec::new());
        }
        other => {
            let what = conform::describe(other);
            return Err(format!(
                "json: cannot unmarshal {what} into Go value of type v1.ObjectMeta"
            ));
        }
    };
    let decoded = conform::decode(Object(fields), ty).map_err(|e| e.to_string())?;
    let unknown = decoded.unknown().map(|path| format!("metadata.{path}")).collect();
    *meta = Value::Object(decoded.object.0);
    Ok(unknown)
}

/// Writes whole numbers without a fraction, as Go does.
pub fn plain_numbers(value: &mut Value) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap_or(0.5);
            if float.fract() == 0.0 && float.abs() <= EXACT {
                *value = Value::from(float as i64);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(plain_numbers),
        Value::Object(map) => map.values_mut().for_each(plain_numbers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pruned(schema: Value, object: Value) -> (Value, Vec<String>) {
        let schema = Structural::parse(&schema);
        let mut map = object.as_object().unwrap().clone();
        let unknown = prune(&mut map, &schema);
        drop_nulls(&mut map, &schema);
        (map.into(), unknown)
    }

    #[test]
    fn unknown_fields_go_and_are_told() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"l": {"type": "array", "items": {"type": "object",
                "properties": {"a": {"type": "string"}}}}}}}});
        let (left, unknown) = pruned(
            schema,
            json!({"apiVersion": "v1", "metadata": {"x": 1}, "spec": {"l": [{"a": "b", "c": 1}], "z": null}}),
        );
        assert_eq!(
            left,
            json!({"apiVersion": "v1", "metadata": {"x": 1}, "spec": {"l": [{"a": "b"}]}})
        );
        assert_eq!(unknown, ["spec.l[0].c", "spec.z"]);
    }

    #[test]
    fn what_is_kept_is_still_looked_into() {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"k": {"type": "object", "properties": {"z": {"type": "string"}}}}});
        let (left, unknown) = pruned(schema, json!({"any": {"x": null}, "k": {"z": null, "y": 1}}));
        assert_eq!(left, json!({"any": {"x": null}, "k": {}}));
        assert_eq!(unknown, ["k.y"]);
    }

    #[test]
    fn embedded_metadata() {
        let schema = Structural::parse(&json!({"type": "object", "properties": {"t": {
            "type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}}));
        let mut map =
            json!({"t": {"metadata": {"name": "a", "bogus": 1}}}).as_object().unwrap().clone();
        assert_eq!(embedded(&mut map, &schema).unwrap(), ["t.metadata.bogus"]);
        assert_eq!(Value::from(map), json!({"t": {"metadata": {"name": "a"}}}));
        let mut map = json!({"t": {"metadata": {"labels": 5}}}).as_object().unwrap().clone();
        assert_eq!(
            embedded(&mut map, &schema).unwrap_err(),
            "t.metadata: Invalid value: {\"labels\":5}: json: cannot unmarshal number into Go struct field ObjectMeta.labels of type map[string]string"
        );
    }
}
