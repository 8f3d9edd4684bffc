//! The patch of a client-side apply: what the last applied configuration, the new one and the live
//! object together ask for (three-way merge).
//!
//! Pure. With a schema the patch is a strategic merge patch (lists merge by key); without one, a JSON
//! merge patch. Not here: sending it (`apply`).

use api::schema::{Field, Type};
use api::{Map, Value};
use serde_json::json;

/// What to change in `live` so that it says what `new` says, and no longer what only `last` said.
/// Null where nothing changes.
pub fn three_way(last: &Value, new: &Value, live: &Value, ty: Option<&Type>) -> Value {
    let empty = Map::new();
    let map = |v| Value::as_object(v).unwrap_or(&empty);
    match maps(map(last), map(new), map(live), ty) {
        patch if patch.is_empty() => Value::Null,
        patch => Value::Object(patch),
    }
}

fn maps(
    last: &Map<String, Value>,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
    ty: Option<&Type>,
) -> Map<String, Value> {
    let mut patch = Map::new();
    for key in last.keys().filter(|k| !new.contains_key(*k) && live.contains_key(*k)) {
        patch.insert(key.clone(), Value::Null);
    }
    let empty = Map::new();
    for (key, wanted) in new {
        let field = ty.and_then(|t| t.field(key));
        let there = live.get(key);
        if there == Some(wanted) && last.get(key).is_none_or(|l| l == wanted) {
            continue;
        }
        let before = last.get(key);
        let change = match (wanted, there) {
            (Value::Object(wanted), Some(Value::Object(there))) => {
                let before = before.and_then(Value::as_object).unwrap_or(&empty);
                match maps(before, wanted, there, field.and_then(|f| f.ty.message())) {
                    inner if inner.is_empty() => continue,
                    inner => Value::Object(inner),
                }
            }
            (Value::Array(wanted), Some(Value::Array(there))) => {
                let before =
                    before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                match lists(before, wanted, there, field, key, &mut patch) {
                    Some(list) => list,
                    None => continue,
                }
            }
            (wanted, there) if there == Some(wanted) => continue,
            (Value::Null, None) => continue,
            (wanted, _) => wanted.clone(),
        };
        patch.insert(key.clone(), change);
    }
    patch
}

/// The patch of a list; directives that stand beside it go into `beside`. `None` where nothing
/// changes.
fn lists(
    last: &[Value],
    new: &[Value],
    live: &[Value],
    field: Option<&Field>,
    name: &str,
    beside: &mut Map<String, Value>,
) -> Option<Value> {
    let whole = || (new != live).then(|| Value::Array(new.to_vec()));
    let Some(field) = field.filter(|f| f.patch.merge) else { return whole() };
    let Some(key) = field.merge_key else {
        // A set of plain values.
        let gone: Vec<&Value> =
            last.iter().filter(|v| !new.contains(v) && live.contains(v)).collect();
        let added: Vec<&Value> = new.iter().filter(|v| !live.contains(v)).collect();
        if !gone.is_empty() {
            beside.insert(format!("$deleteFromPrimitiveList/{name}"), json!(gone));
        }
        if !gone.is_empty() || !added.is_empty() {
            beside.insert(format!("$setElementOrder/{name}"), json!(new));
        }
        return (!added.is_empty()).then(|| json!(added));
    };
    let of = |list: &'_ [Value], id: &Value| list.iter().find(|v| v.get(key) == Some(id)).cloned();
    let empty = Map::new();
    let mut items = Vec::new();
    for wanted in new {
        let id = wanted.get(key).cloned().unwrap_or(Value::Null);
        let Some(there) = of(live, &id) else {
            items.push(wanted.clone());
            continue;
        };
        let before = of(last, &id).unwrap_or(Value::Null);
        let map = |v| Value::as_object(v).unwrap_or(&empty);
        let mut inner = maps(map(&before), map(wanted), map(&there), field.ty.message());
        if !inner.is_empty() {
            inner.insert(key.to_owned(), id);
            items.push(Value::Object(inner));
        }
    }
    for before in last {
        let id = before.get(key).cloned().unwrap_or(Value::Null);
        if of(new, &id).is_none() && of(live, &id).is_some() {
            items.push(json!({ key: id, "$patch": "delete" }));
        }
    }
    if items.is_empty() {
        return None;
    }
    let order: Vec<Value> =
        new.iter().map(|v| json!({ key: v.get(key).cloned().unwrap_or(Value::Null) })).collect();
    beside.insert(format!("$setElementOrder/{name}"), order.into());
    Some(items.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn maps_without_a_schema() {
        let last = json!({"data": {"a": "1", "b": "2"}});
        let new = json!({"data": {"a": "1", "c": "3"}});
        let live = json!({"data": {"a": "9", "b": "2", "x": "kept"}, "uid": "u"});
        assert_eq!(
            three_way(&last, &new, &live, None),
            json!({"data": {"a": "1", "b": null, "c": "3"}})
        );
        assert_eq!(three_way(&new, &new, &new, None), Value::Null);
    }

    #[test]
    fn lists_merge_by_key() {
        let ty = api::schema::type_of("io.k8s.api.core.v1.Pod");
        assert!(ty.is_some());
        let last = pod(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]));
        let new = pod(json!([{"name": "a", "image": "y"}]));
        let live = pod(json!([
            {"name": "a", "image": "x", "terminationMessagePath": "/dev/termination-log"},
            {"name": "b", "image": "x"}, {"name": "injected"},
        ]));
        assert_eq!(
            three_way(&last, &new, &live, ty),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "a"}],
                "containers": [{"name": "a", "image": "y"}, {"name": "b", "$patch": "delete"}],
            }})
        );
    }
}
