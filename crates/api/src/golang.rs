//! Values that came out of JSON as Go's `fmt` prints them: messages of upstream hold such texts.
//!
//! Not here: structs of upstream's, which print by their fields (`validate`).

use serde_json::{Map, Value};

use crate::names::quote;

/// As `%v` prints it; maps in the order of their keys, as they are kept.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(map) => plain_map(map),
        other => other.to_string(),
    }
}

/// The same of a map.
pub fn plain_map(map: &Map<String, Value>) -> String {
    let entries = map.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
    format!("map[{}]", entries.collect::<Vec<_>>().join(" "))
}

/// As `%#v` prints it.
pub fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(list) => {
            let items: Vec<_> = list.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let entries =
                map.iter().map(|(key, value)| format!("{}:{}", quote(key), syntax(value)));
            let entries = entries.collect::<Vec<_>>().join(", ");
            format!("map[string]interface {{}}{{{entries}}}")
        }
        other => other.to_string(),
    }
}

/// As `%T` names its type.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_go_prints() {
        let value = json!({"a-b": [1, "x", null], "a": {"b": true}});
        assert_eq!(plain(&value), "map[a:map[b:true] a-b:[1 x <nil>]]");
        assert_eq!(
            syntax(&value),
            r#"map[string]interface {}{"a":map[string]interface {}{"b":true}, "a-b":[]interface {}{1, "x", interface {}(nil)}}"#
        );
        assert_eq!(type_name(&value["a-b"]), "[]interface {}");
    }
}
