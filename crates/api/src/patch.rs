//! Patches of objects: JSON patch, JSON merge patch, and strategic merge patch.
//!
//! Pure functions of two documents; what a field is follows from the schema table. Not here:
//! server-side apply (`apply`), and checks of the outcome.

mod json;
mod restore;
mod strategic;

use serde_json::Value;

use crate::object::Object;
use crate::schema::Type;
use crate::status::{ApiError, Reason};

pub use json::json_patch;
pub use restore::misfit;
pub use strategic::{Lookup, PatchField, Strategy, strategic_with};

/// Most operations in one JSON patch.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that the `copy` operations of one JSON patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Most values that the operations of one JSON patch may look at or move, over and over.
const MAX_VISITED: usize = 20_000_000;

/// Why a patch does not apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It is malformed.
    #[error("{0}")]
    Malformed(String),
    /// It is a JSON patch with a fault, or does not fit the object.
    #[error("the server rejected our request due to an error in our request")]
    Rejected,
    /// It asks for more than the server does for one request.
    #[error("Request entity too large: {0}")]
    TooLarge(String),
    /// It contradicts itself or the schema. Upstream answers 500 without a reason.
    #[error("{0}")]
    Unfit(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        let reason = match error {
            PatchError::Malformed(_) => Reason::BadRequest,
            PatchError::Rejected => Reason::Invalid,
            PatchError::TooLarge(_) => Reason::RequestEntityTooLarge,
            PatchError::Unfit(_) => Reason::Unknown,
        };
        ApiError::new(reason, error.to_string())
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::String(s) => s.len() + 2,
        Value::Array(list) => list.iter().map(|v| size(v) + 1).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + size(v) + 4).sum::<usize>() + 2,
        _ => 5,
    }
}

/// Applies a strategic merge patch by the fields of a type.
pub fn strategic(
    original: &Object,
    patch: &Value,
    ty: &'static Type,
) -> Result<Object, PatchError> {
    strategic_with(original, patch, Some(ty))
}

impl Lookup for &'static Type {
    fn patch_field(&self, name: &str) -> PatchField<'static, Self> {
        let Some(field) = self.field(name) else { return PatchField::default() };
        let strategy = match field.patch {
            p if p.merge => Strategy::Merge,
            p if p.replace => Strategy::Replace,
            _ => Strategy::Plain,
        };
        PatchField { inner: field.ty.message(), strategy, merge_key: field.merge_key }
    }
}

/// Applies a JSON merge patch (RFC 7396).
pub fn merge_patch(original: &Object, patch: &Value) -> Result<Object, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::Malformed("Invalid JSON Patch".into())),
        other => {
            return Err(PatchError::Malformed(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                go_type(other)
            )));
        }
    }
    let mut document = Value::Object(original.0.clone());
    ::json_patch::merge(&mut document, patch);
    Object::from_value(document).ok_or(PatchError::Rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::from_value(value).expect("a map")
    }

    #[test]
    fn json_patches() {
        let original = object(json!({"data": {"a": "1"}, "list": [1, 2]}));
        let out = json_patch(
            &original,
            &json!([
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "add", "path": "/list/-", "value": 3},
                {"op": "move", "from": "/data/a", "path": "/data/b"},
            ]),
        );
        assert_eq!(out, Ok(json!({"data": {"b": "1"}, "list": [1, 2, 3]})));
        for bad in [
            json!([{"op": "test", "path": "/data/a", "value": "2"}]),
            json!([{"op": "remove", "path": "/data/z"}]),
            json!([{"op": "frob", "path": "/data/a"}]),
            json!([{"path": "/data/a"}]),
        ] {
            assert_eq!(json_patch(&original, &bad), Err(PatchError::Rejected), "{bad}");
        }
        let many: Vec<Value> = (0..=MAX_OPERATIONS)
            .map(|_| json!({"op": "add", "path": "/data/k", "value": "v"}))
            .collect();
        assert!(matches!(json_patch(&original, &many.into()), Err(PatchError::TooLarge(_))));
    }

    #[test]
    fn copies_do_not_explode() {
        let original = object(json!({"a": ["xxxxxxxxxxxxxxxx"]}));
        let bomb: Vec<Value> =
            (0..60).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        assert_eq!(json_patch(&original, &bomb.into()), Err(PatchError::Rejected));
    }

    #[test]
    fn moves_do_not_nest_without_end() {
        let original = object(json!({"x": {}}));
        let mut bomb = Vec::new();
        for _ in 0..3000 {
            bomb.push(json!({"op": "add", "path": "/y", "value": {}}));
            bomb.push(json!({"op": "move", "from": "/x", "path": "/y/x"}));
            bomb.push(json!({"op": "move", "from": "/y", "path": "/x"}));
        }
        assert_eq!(json_patch(&original, &bomb.into()), Err(PatchError::Rejected));
    }

    #[test]
    fn moves_in_long_lists_end() {
        let original = object(json!({"a": vec![1; 100_000]}));
        let bomb: Vec<Value> =
            (0..MAX_OPERATIONS).map(|_| json!({"op": "add", "path": "/a/0", "value": 1})).collect();
        assert!(matches!(json_patch(&original, &bomb.into()), Err(PatchError::TooLarge(_))));
    }

    #[test]
    fn merge_patches() {
        let original = object(json!({"data": {"a": "1", "b": "2"}}));
        let out = merge_patch(&original, &json!({"data": {"a": null, "c": "3"}}));
        assert_eq!(out, Ok(object(json!({"data": {"b": "2", "c": "3"}}))));
        assert!(merge_patch(&original, &json!("x")).is_err());
    }
}
