//! Why a strategically patched document is no object of its type, in the words of upstream's
//! converter, which is not its decoder: it goes by kinds of values and names no field.
//!
//! Not here: unknown fields, and texts of a wrong form, which the decoder reports.

use serde_json::Value;

use crate::schema::{Field, FieldType, Type};

/// The first value of a wrong kind, fields in the order of the type.
pub fn misfit(value: &Value, ty: &'static Type) -> Option<String> {
    let Value::Object(map) = value else {
        return (!value.is_null()).then(|| format!("cannot restore struct from: {}", kind(value)));
    };
    let mut found: Vec<(&Field, &Value)> =
        map.iter().filter_map(|(key, value)| Some((ty.field(key)?, value))).collect();
    found.sort_by_key(|(field, _)| field.proto.first().copied().unwrap_or(0));
    found.into_iter().find_map(|(field, value)| of_type(value, &field.ty, field.go))
}

fn of_type(value: &Value, ty: &'static FieldType, go: Option<&str>) -> Option<String> {
    if value.is_null() {
        return None;
    }
    match (ty, value) {
        (FieldType::Ref(to), _) => misfit(value, to.get()),
        (FieldType::Map(item), Value::Object(map)) => {
            map.values().find_map(|value| of_type(value, item, None))
        }
        (FieldType::Map(_), _) => Some(format!("cannot restore map from {}", kind(value))),
        (FieldType::List(item), Value::Array(list)) => {
            list.iter().find_map(|value| of_type(value, item, None))
        }
        (FieldType::List(_), _) => Some(format!("cannot restore slice from {}", kind(value))),
        (FieldType::Bytes, Value::String(_)) => None,
        (FieldType::Bytes, _) => Some(format!("cannot restore slice from {}", kind(value))),
        (FieldType::String, Value::String(_)) | (FieldType::Bool, Value::Bool(_)) => None,
        (FieldType::Int32 | FieldType::Int64 | FieldType::Double, Value::Number(n)) => {
            let whole = n.as_f64().is_some_and(|f| f.fract() == 0.0);
            let fits = whole || matches!(ty, FieldType::Double);
            (!fits).then(|| format!("cannot convert {} to {}", kind(value), name(ty, go)))
        }
        // Go converts a number to a text, in principle.
        (FieldType::String, Value::Number(n)) if n.is_i64() || n.is_u64() => {
            Some(format!("cannot convert int64 to {}", name(ty, go)))
        }
        (
            FieldType::String
            | FieldType::Bool
            | FieldType::Int32
            | FieldType::Int64
            | FieldType::Double,
            _,
        ) => Some(format!("unrecognized type: {}", ty.go_name())),
        // These read themselves.
        _ => None,
    }
}

fn name(ty: &FieldType, go: Option<&str>) -> String {
    go.map_or_else(|| ty.go_name(), str::to_owned)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kinds_of_values() {
        let pod = crate::schema::by_gvk("", "v1", "Pod").unwrap();
        for (patched, why) in [
            (json!({"spec": {"nodeName": 5}}), Some("cannot convert int64 to string")),
            (json!({"spec": {"nodeName": true}}), Some("unrecognized type: string")),
            (json!({"spec": {"priority": "x"}}), Some("unrecognized type: int32")),
            (json!({"spec": {"priority": 1.5}}), Some("cannot convert float64 to int32")),
            (json!({"spec": {"containers": {}}}), Some("cannot restore slice from map")),
            (json!({"spec": []}), Some("cannot restore struct from: slice")),
            (json!({"metadata": {"labels": "x"}}), Some("cannot restore map from string")),
            (json!({"spec": {"hostNetwork": true, "nodeName": null}}), None),
        ] {
            assert_eq!(misfit(&patched, pod).as_deref(), why, "{patched}");
        }
        assert_eq!(
            crate::golang::plain(&json!({"a": {"b": [1, "x", null]}})),
            "map[a:map[b:[1 x <nil>]]]"
        );
    }
}
