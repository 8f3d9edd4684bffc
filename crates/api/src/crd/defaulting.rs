//! Defaults of custom resources: values that the schema fills in where there is nothing, or a null
//! that it does not allow.
//!
//! Not here: defaults of built-in kinds (`crate::default`).

use serde_json::{Map, Value};

use super::structural::Structural;

/// Fills in the defaults of an object.
pub fn fill(map: &mut Map<String, Value>, schema: &Structural) {
    for (key, property) in &schema.properties {
        let Some(default) = &property.default else { continue };
        if is_missing(map.get(key), property) {
            map.insert(key.clone(), default.clone());
        }
    }
    for (key, value) in map.iter_mut() {
        let Some(field) = schema.field(key) else { continue };
        if !schema.properties.contains_key(key) && is_missing(Some(value), field) {
            *value = field.default.clone().unwrap_or_default();
        }
        below(value, field);
    }
}

fn is_missing(value: Option<&Value>, schema: &Structural) -> bool {
    value.is_none_or(|v| v.is_null() && !schema.nullable)
}

/// Fills in the defaults within a value.
pub fn below(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(map) => fill(map, schema),
        Value::Array(list) => {
            let Some(item) = schema.items.as_deref() else { return };
            for value in list {
                if is_missing(Some(value), item) {
                    *value = item.default.clone().unwrap_or_default();
                }
                below(value, item);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_and_nulls_are_filled_in() {
        let schema = Structural::parse(&json!({"properties": {
            "a": {"default": "d"}, "n": {"nullable": true, "default": 1},
            "o": {"default": {}, "properties": {"p": {"default": "q"}}},
            "l": {"items": {"properties": {"k": {"default": "v"}}}},
            "m": {"additionalProperties": {"default": 7}},
        }}));
        let mut map =
            json!({"a": null, "n": null, "l": [{}], "m": {"x": null}}).as_object().unwrap().clone();
        fill(&mut map, &schema);
        assert_eq!(
            Value::from(map),
            json!({"a": "d", "n": null, "o": {"p": "q"}, "l": [{"k": "v"}], "m": {"x": 7}})
        );
    }
}
