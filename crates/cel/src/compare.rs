//! Equality and order of values.
//!
//! Numbers are compared across their types; values of different types are unequal, not an error.

use std::cmp::Ordering;

use crate::EvalError;
use crate::schema::{ListType, Shape};
use crate::value::{List, Map, Object, Value};

/// `a == b`.
pub fn equal<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<bool, EvalError> {
    use Value::{
        Bool, Bytes, Double, Duration, Int, List, Map, Null, Object, Opaque, Optional, String,
        Timestamp, Type, Uint,
    };
    Ok(match (a, b) {
        (Null, Null) => true,
        (Bool(a), Bool(b)) => a == b,
        (Int(_) | Uint(_) | Double(_), Int(_) | Uint(_) | Double(_)) => {
            numbers(a, b) == Some(Ordering::Equal)
        }
        (String(a), String(b)) => **a == **b,
        (Bytes(a), Bytes(b)) => a == b,
        (Timestamp(a), Timestamp(b)) => a == b,
        (Duration(a), Duration(b)) => a == b,
        (List(a), List(b)) => lists(a, b)?,
        (Map(a), Map(b)) => maps(a, b)?,
        (Object(a), Object(b)) => objects(a, b)?,
        // A mutation's objects are maps as well.
        (Object(o), Map(m)) | (Map(m), Object(o)) => object_map(o, m)?,
        (Type(a), Type(b)) => crate::types::runtime_name(a) == crate::types::runtime_name(b),
        (Optional(None), Optional(None)) => true,
        (Optional(Some(a)), Optional(Some(b))) => equal(a, b)?,
        (Opaque(a), Opaque(b)) => a.same(b),
        _ => false,
    })
}

/// Numbers of any kind; `None` where one is not a number.
pub fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    use Value::{Double, Int, Uint};
    let int_double = |i: i128, d: f64| -> Option<Ordering> {
        if d.is_nan() {
            return None;
        }
        // Beyond 2^65 every float is greater than every 64-bit number.
        if d.abs() > 3.6e19 {
            return Some(if d > 0.0 { Ordering::Less } else { Ordering::Greater });
        }
        let floor = d.floor();
        Some(i.cmp(&(floor as i128)).then(if d > floor { Ordering::Less } else { Ordering::Equal }))
    };
    match (a, b) {
        (Int(a), Int(b)) => Some(a.cmp(b)),
        (Uint(a), Uint(b)) => Some(a.cmp(b)),
        (Double(a), Double(b)) => a.partial_cmp(b),
        (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Int(a), Double(b)) => int_double(i128::from(*a), *b),
        (Uint(a), Double(b)) => int_double(i128::from(*a), *b),
        (Double(a), Int(b)) => int_double(i128::from(*b), *a).map(Ordering::reverse),
        (Double(a), Uint(b)) => int_double(i128::from(*b), *a).map(Ordering::reverse),
        _ => None,
    }
}

/// The order of two values that have one.
pub fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, EvalError> {
    use Value::{Bool, Bytes, Double, Duration, Int, String, Timestamp, Uint};
    match (a, b) {
        (Bool(a), Bool(b)) => Ok(a.cmp(b)),
        (Int(_) | Uint(_) | Double(_), Int(_) | Uint(_) | Double(_)) => {
            numbers(a, b).ok_or_else(|| EvalError::new("NaN values cannot be ordered"))
        }
        (String(a), String(b)) => Ok((**a).cmp(&**b)),
        (Bytes(a), Bytes(b)) => Ok(a.cmp(b)),
        (Timestamp(a), Timestamp(b)) => Ok(a.cmp(b)),
        (Duration(a), Duration(b)) => Ok(a.cmp(b)),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// How a list is declared to be compared, and by which keys.
pub fn list_type<'l>(list: &'l List<'_>) -> (ListType, &'l [std::sync::Arc<str>]) {
    match list {
        List::Json(_, Some(decl)) => match &decl.shape {
            Shape::List(_, kind, keys) => (*kind, keys),
            _ => (ListType::Atomic, &[]),
        },
        _ => (ListType::Atomic, &[]),
    }
}

fn lists<'a>(a: &List<'a>, b: &List<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if list_type(a).0 != ListType::Atomic {
        // Order does not count; each of one must be in the other.
        let others = b.values()?;
        for item in a.iter() {
            let item = item?;
            if !contains(&others, &item)? {
                return Ok(false);
            }
        }
        return Ok(true);
    }
    for (a, b) in a.iter().zip(b.iter()) {
        if !equal(&a?, &b?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether one of the items is equal to a value.
pub fn contains<'a>(items: &[Value<'a>], value: &Value<'a>) -> Result<bool, EvalError> {
    for item in items {
        if equal(item, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn maps<'a>(a: &Map<'a>, b: &Map<'a>) -> Result<bool, EvalError> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for key in a.keys() {
        if !both_equal(a.get(&key), b.get(&key))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn objects<'a>(a: &Object<'a>, b: &Object<'a>) -> Result<bool, EvalError> {
    if a.type_name() != b.type_name() {
        return Ok(false);
    }
    let names = a.names();
    if names.len() != b.names().len() {
        return Ok(false);
    }
    for name in names {
        if !both_equal(a.field(&name), b.field(&name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn object_map<'a>(object: &Object<'a>, map: &Map<'a>) -> Result<bool, EvalError> {
    let names = object.names();
    if names.len() != map.len() {
        return Ok(false);
    }
    for name in names {
        if !both_equal(object.field(&name), map.field(&name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn both_equal<'a>(
    a: Option<Result<Value<'a>, EvalError>>,
    b: Option<Result<Value<'a>, EvalError>>,
) -> Result<bool, EvalError> {
    match (a, b) {
        (Some(a), Some(b)) => equal(&a?, &b?),
        _ => Ok(false),
    }
}
