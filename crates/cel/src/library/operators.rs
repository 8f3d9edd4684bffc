//! Operators: arithmetic, comparison, membership, index, selection.
//!
//! `&&`, `||`, `?:` choose what is evaluated at all and live in the evaluator; here are their signatures.

use std::cmp::Ordering;
use std::rc::Rc;

use super::{Imp, Row};
use crate::EvalError;
use crate::compare::{equal, list_type, order};
use crate::eval::{MAX_ITEMS, MAX_TEXT};
use crate::schema::ListType;
use crate::value::{Key, List, Value, whole};

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("conditional", "_?_:_(bool, A, A) A", lazy),
    ("logical_and", "_&&_(bool, bool) bool", lazy),
    ("logical_or", "_||_(bool, bool) bool", lazy),
    ("not_strictly_false", "@not_strictly_false(bool) bool", lazy),
    ("logical_not", "!_(bool) bool", not),
    ("equals", "_==_(A, A) bool", equals),
    ("not_equals", "_!=_(A, A) bool", differs),
    ("add_bytes", "_+_(bytes, bytes) bytes", add),
    ("add_double", "_+_(double, double) double", add),
    ("add_duration_duration", "_+_(duration, duration) duration", add),
    ("add_duration_timestamp", "_+_(duration, timestamp) timestamp", add),
    ("add_timestamp_duration", "_+_(timestamp, duration) timestamp", add),
    ("add_int64", "_+_(int, int) int", add),
    ("add_list", "_+_(list(A), list(A)) list(A)", add),
    ("add_string", "_+_(string, string) string", add),
    ("add_uint64", "_+_(uint, uint) uint", add),
    ("divide_double", "_/_(double, double) double", divide),
    ("divide_int64", "_/_(int, int) int", divide),
    ("divide_uint64", "_/_(uint, uint) uint", divide),
    ("modulo_int64", "_%_(int, int) int", modulo),
    ("modulo_uint64", "_%_(uint, uint) uint", modulo),
    ("multiply_double", "_*_(double, double) double", multiply),
    ("multiply_int64", "_*_(int, int) int", multiply),
    ("multiply_uint64", "_*_(uint, uint) uint", multiply),
    ("negate_double", "-_(double) double", negate),
    ("negate_int64", "-_(int) int", negate),
    ("subtract_double", "_-_(double, double) double", subtract),
    ("subtract_duration_duration", "_-_(duration, duration) duration", subtract),
    ("subtract_int64", "_-_(int, int) int", subtract),
    ("subtract_timestamp_duration", "_-_(timestamp, duration) timestamp", subtract),
    ("subtract_timestamp_timestamp", "_-_(timestamp, timestamp) duration", subtract),
    ("subtract_uint64", "_-_(uint, uint) uint", subtract),
    ("index_list", "_[_](list(A), int) A", index),
    ("index_map", "_[_](map(A, B), A) B", index),
    ("optional_list_index_int", "_[_](optional(list(V)), int) optional(V)", opt_index),
    ("optional_map_index_value", "_[_](optional(map(K, V)), K) optional(V)", opt_index),
    ("list_optindex_optional_int", "_[?_](list(V), int) optional(V)", opt_index),
    ("optional_list_optindex_optional_int", "_[?_](optional(list(V)), int) optional(V)", opt_index),
    ("map_optindex_optional_value", "_[?_](map(K, V), K) optional(V)", opt_index),
    (
        "optional_map_optindex_optional_value",
        "_[?_](optional(map(K, V)), K) optional(V)",
        opt_index,
    ),
    ("select_optional_field", "_?._(dyn, string) optional(V)", opt_select),
    ("in_list", "@in(A, list(A)) bool", contained),
    ("in_map", "@in(A, map(A, B)) bool", contained),
    ("map_insert_key_value", "cel.@mapInsert(map(K, V), K, V) map(K, V)", insert),
    ("map_insert_map", "cel.@mapInsert(map(K, V), map(K, V)) map(K, V)", insert),
    ("size_bytes", "size(bytes) int", size),
    ("bytes_size", "bytes|size() int", size),
    ("size_list", "size(list(A)) int", size),
    ("list_size", "list(A)|size() int", size),
    ("size_map", "size(map(A, B)) int", size),
    ("map_size", "map(A, B)|size() int", size),
    ("size_string", "size(string) int", size),
    ("string_size", "string|size() int", size),
];

/// The four orders over all pairs of types that have one.
pub(super) fn templated() -> Vec<Row> {
    const PAIRS: [(&str, &str, &str); 14] = [
        ("bool", "bool", "bool"),
        ("int64", "int", "int"),
        ("int64_double", "int", "double"),
        ("int64_uint64", "int", "uint"),
        ("uint64", "uint", "uint"),
        ("uint64_double", "uint", "double"),
        ("uint64_int64", "uint", "int"),
        ("double", "double", "double"),
        ("double_int64", "double", "int"),
        ("double_uint64", "double", "uint"),
        ("string", "string", "string"),
        ("bytes", "bytes", "bytes"),
        ("timestamp", "timestamp", "timestamp"),
        ("duration", "duration", "duration"),
    ];
    let orders: [(&str, &str, Imp); 4] = [
        ("less", "_<_", less),
        ("less_equals", "_<=_", less_equals),
        ("greater", "_>_", greater),
        ("greater_equals", "_>=_", greater_equals),
    ];
    let mut rows: Vec<Row> = Vec::new();
    for (word, op, imp) in orders {
        for (id, a, b) in PAIRS {
            // Made once for the life of the program.
            let id: &'static str = Box::leak(format!("{word}_{id}").into_boxed_str());
            let signature: &'static str =
                Box::leak(format!("{op}({a}, {b}) bool").into_boxed_str());
            rows.push((id, signature, imp));
        }
    }
    rows
}

fn lazy<'a>(_: &[Value<'a>]) -> Out<'a> {
    // The evaluator does not come here.
    Err(EvalError::no_such_overload())
}

fn not<'a>(args: &[Value<'a>]) -> Out<'a> {
    match args {
        [Value::Bool(b)] => Ok(Value::Bool(!b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn equals<'a>(args: &[Value<'a>]) -> Out<'a> {
    equal(&args[0], &args[1]).map(Value::Bool)
}

fn differs<'a>(args: &[Value<'a>]) -> Out<'a> {
    equal(&args[0], &args[1]).map(|same| Value::Bool(!same))
}

fn less<'a>(args: &[Value<'a>]) -> Out<'a> {
    order(&args[0], &args[1]).map(|o| Value::Bool(o == Ordering::Less))
}
fn less_equals<'a>(args: &[Value<'a>]) -> Out<'a> {
    order(&args[0], &args[1]).map(|o| Value::Bool(o != Ordering::Greater))
}
fn greater<'a>(args: &[Value<'a>]) -> Out<'a> {
    order(&args[0], &args[1]).map(|o| Value::Bool(o == Ordering::Greater))
}
fn greater_equals<'a>(args: &[Value<'a>]) -> Out<'a> {
    order(&args[0], &args[1]).map(|o| Value::Bool(o != Ordering::Less))
}

fn overflow(what: &str) -> EvalError {
    EvalError::new(format!("{what} overflow"))
}

fn int<'a>(result: Option<i64>) -> Out<'a> {
    result.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(result: Option<u64>) -> Out<'a> {
    result.map(Value::Uint).ok_or_else(|| overflow("unsigned integer"))
}

fn span<'a>(result: Option<i64>) -> Out<'a> {
    result.map(Value::Duration).ok_or_else(|| overflow("duration"))
}

fn moment<'a>(at: &jiff::Timestamp, by: i128) -> Out<'a> {
    let nanos = at.as_nanosecond() + by;
    super::time::timestamp(nanos).map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
}

fn add<'a>(args: &[Value<'a>]) -> Out<'a> {
    use Value::{Bytes, Double, Duration, Int, List, String, Timestamp, Uint};
    match (&args[0], &args[1]) {
        (Int(a), Int(b)) => int(a.checked_add(*b)),
        (Uint(a), Uint(b)) => uint(a.checked_add(*b)),
        (Double(a), Double(b)) => Ok(Double(a + b)),
        (String(a), String(b)) if a.len() + b.len() > MAX_TEXT => Err(EvalError::cost_exceeded()),
        (String(a), String(b)) => Ok(Value::text(format!("{}{}", &**a, &**b))),
        (Bytes(a), Bytes(b)) => Ok(Bytes([&**a, &**b].concat().into())),
        (Duration(a), Duration(b)) => span(a.checked_add(*b)),
        (Timestamp(at), Duration(by)) | (Duration(by), Timestamp(at)) => {
            moment(at, i128::from(*by))
        }
        (List(a), List(b)) => concat(a, b),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// Lists of a declared kind join as that kind does; all others one after the other.
fn concat<'a>(a: &List<'a>, b: &List<'a>) -> Out<'a> {
    if a.len() + b.len() > MAX_ITEMS {
        return Err(EvalError::cost_exceeded());
    }
    let (kind, keys) = list_type(a);
    let mut items = a.values()?;
    match kind {
        ListType::Atomic => items.extend(b.values()?),
        ListType::Set => {
            for item in b.iter() {
                let item = item?;
                if !crate::compare::contains(&items, &item)? {
                    items.push(item);
                }
            }
        }
        ListType::Map => {
            for item in b.iter() {
                let item = item?;
                match same_keys(&items, &item, keys)? {
                    Some(at) => items[at] = item,
                    None => items.push(item),
                }
            }
        }
    }
    Ok(Value::list(items))
}

fn same_keys<'a>(
    items: &[Value<'a>],
    item: &Value<'a>,
    keys: &[std::sync::Arc<str>],
) -> Result<Option<usize>, EvalError> {
    'items: for (at, held) in items.iter().enumerate() {
        for key in keys {
            let same = match (field(held, key), field(item, key)) {
                (Some(a), Some(b)) => equal(&a?, &b?)?,
                (None, None) => true,
                _ => false,
            };
            if !same {
                continue 'items;
            }
        }
        return Ok(Some(at));
    }
    Ok(None)
}

fn subtract<'a>(args: &[Value<'a>]) -> Out<'a> {
    use Value::{Double, Duration, Int, Timestamp, Uint};
    match (&args[0], &args[1]) {
        (Int(a), Int(b)) => int(a.checked_sub(*b)),
        (Uint(a), Uint(b)) => uint(a.checked_sub(*b)),
        (Double(a), Double(b)) => Ok(Double(a - b)),
        (Duration(a), Duration(b)) => span(a.checked_sub(*b)),
        (Timestamp(at), Duration(by)) => moment(at, -i128::from(*by)),
        (Timestamp(a), Timestamp(b)) => {
            span(i64::try_from(a.as_nanosecond() - b.as_nanosecond()).ok())
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn multiply<'a>(args: &[Value<'a>]) -> Out<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn divide<'a>(args: &[Value<'a>]) -> Out<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("division by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_div(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn modulo<'a>(args: &[Value<'a>]) -> Out<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            Err(EvalError::new("modulus by zero"))
        }
        (Value::Int(a), Value::Int(b)) => int(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_rem(*b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn negate<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Int(a) => int(a.checked_neg()),
        Value::Double(a) => Ok(Value::Double(-a)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn contained<'a>(args: &[Value<'a>]) -> Out<'a> {
    let found = match &args[1] {
        Value::List(list) => {
            let mut found = false;
            for item in list.iter() {
                if equal(&item?, &args[0])? {
                    found = true;
                    break;
                }
            }
            found
        }
        Value::Map(map) => map.get(&args[0]).is_some(),
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(Value::Bool(found))
}

fn size<'a>(args: &[Value<'a>]) -> Out<'a> {
    let size = match &args[0] {
        Value::String(s) => s.chars().count(),
        Value::Bytes(b) => b.len(),
        Value::List(l) => l.len(),
        Value::Map(m) => m.len(),
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn insert<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut map = match &args[0] {
        Value::Map(map) => entries(map)?,
        _ => return Err(EvalError::no_such_overload()),
    };
    let more: Vec<(Value<'a>, Value<'a>)> = match &args[1..] {
        [key, value] => vec![(key.clone(), value.clone())],
        [Value::Map(other)] => {
            let mut more = Vec::new();
            for key in other.keys() {
                if let Some(value) = other.get(&key) {
                    more.push((key, value?));
                }
            }
            more
        }
        _ => return Err(EvalError::no_such_overload()),
    };
    for (key, value) in more {
        let held = Key::of(&key)
            .ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_of())))?;
        if map.contains_key(&held) {
            let key = super::strings_format::plain(&key);
            return Err(EvalError::new(format!("insert failed: key {key} already exists")));
        }
        map.insert(held, value);
    }
    Ok(Value::map(map))
}

fn entries<'a>(
    map: &crate::value::Map<'a>,
) -> Result<std::collections::BTreeMap<Key, Value<'a>>, EvalError> {
    if let crate::value::Map::Made(made) = map {
        return Ok((**made).clone());
    }
    let mut out = std::collections::BTreeMap::new();
    for key in map.keys() {
        if let (Some(held), Some(value)) = (Key::of(&key), map.get(&key)) {
            out.insert(held, value?);
        }
    }
    Ok(out)
}

/// The field of a value, where it has fields and it is set.
pub(crate) fn field<'a>(of: &Value<'a>, name: &str) -> Option<Out<'a>> {
    match of {
        Value::Map(map) => map.field(name),
        Value::Object(object) => object.field(name),
        _ => None,
    }
}

fn no_such_key(key: &Value<'_>) -> EvalError {
    EvalError::new(format!("no such key: {}", super::strings_format::plain(key)))
}

/// `a.b`, the field being required to be there.
pub(crate) fn select<'a>(of: &Value<'a>, name: &str) -> Out<'a> {
    match of {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => match field(value, name) {
            Some(found) => Ok(Value::some(found?)),
            None => Ok(Value::Optional(None)),
        },
        _ => field(of, name).unwrap_or_else(|| Err(EvalError::new(format!("no such key: {name}")))),
    }
}

/// What an index leads to, if anything; an error for an index that cannot be one.
fn at<'a>(of: &Value<'a>, index: &Value<'a>) -> Option<Out<'a>> {
    match (of, index) {
        (Value::Map(map), key) => map.get(key),
        (Value::Object(object), Value::String(name)) => object.field(name),
        (Value::List(list), index) => {
            let index_type = index.type_of();
            let index = match index {
                Value::Int(i) => Some(*i),
                Value::Uint(u) => i64::try_from(*u).ok(),
                Value::Double(d) => whole(*d),
                _ => None,
            };
            match index {
                Some(i) => usize::try_from(i).ok().and_then(|i| list.get(i)),
                None => {
                    let ty = crate::types::runtime_name(&index_type).to_owned();
                    Some(Err(EvalError::new(format!("unsupported index type '{ty}' in list"))))
                }
            }
        }
        _ => Some(Err(EvalError::no_such_overload())),
    }
}

fn index<'a>(args: &[Value<'a>]) -> Out<'a> {
    match at(&args[0], &args[1]) {
        Some(found) => found,
        None => Err(match &args[0] {
            Value::List(_) => EvalError::new(format!(
                "index out of bounds: {}",
                super::strings_format::plain(&args[1])
            )),
            _ => no_such_key(&args[1]),
        }),
    }
}

fn opt_index<'a>(args: &[Value<'a>]) -> Out<'a> {
    let of = match &args[0] {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => Rc::clone(value),
        other => Rc::new(other.clone()),
    };
    match at(&of, &args[1]) {
        Some(found) => Ok(Value::some(found?)),
        None => Ok(Value::Optional(None)),
    }
}

fn opt_select<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::String(name) = &args[1] else { return Err(EvalError::no_such_overload()) };
    let of = match &args[0] {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(value)) => Rc::clone(value),
        other => Rc::new(other.clone()),
    };
    match field(&of, name) {
        Some(found) => Ok(Value::some(found?)),
        None => Ok(Value::Optional(None)),
    }
}
