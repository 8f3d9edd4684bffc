//! Values that may be missing.

use super::Row;
use super::lists::list;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("optional_of", "optional.of(V) optional(V)", of),
    ("optional_ofNonZeroValue", "optional.ofNonZeroValue(V) optional(V)", of_non_zero),
    ("optional_none", "optional.none() optional(V)", none),
    ("optional_value", "optional(V)|value() V", value),
    ("optional_hasValue", "optional(V)|hasValue() bool", has_value),
    ("optional_or_optional", "optional(V)|or(optional(V)) optional(V)", or),
    ("optional_orValue_value", "optional(V)|orValue(V) V", or_value),
    ("list_last", "list(V)|last() optional(V)", last),
    ("list_first", "list(V)|first() optional(V)", first),
    ("optional_unwrap", "optional.unwrap(list(optional(V))) list(V)", unwrap),
    ("optional_unwrapOpt", "list(optional(V))|unwrapOpt() list(V)", unwrap),
];

fn of<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::some(args[0].clone()))
}

fn of_non_zero<'a>(args: &[Value<'a>]) -> Out<'a> {
    let zero = match &args[0] {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Int(i) => *i == 0,
        Value::Uint(u) => *u == 0,
        Value::Double(d) => *d == 0.0,
        Value::String(s) => s.is_empty(),
        Value::Bytes(b) => b.is_empty(),
        Value::Duration(d) => *d == 0,
        Value::List(l) => l.is_empty(),
        Value::Map(m) => m.is_empty(),
        Value::Object(o) => o.names().is_empty(),
        Value::Optional(o) => o.is_none(),
        Value::Timestamp(_) | Value::Type(_) | Value::Opaque(_) => false,
    };
    Ok(if zero { Value::Optional(None) } else { Value::some(args[0].clone()) })
}

fn none<'a>(_: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Optional(None))
}

fn value<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Optional(Some(value)) => Ok((**value).clone()),
        Value::Optional(None) => Err(EvalError::new("optional.none() dereference")),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn has_value<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Optional(value) => Ok(Value::Bool(value.is_some())),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn or<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Optional(None) => Ok(args[1].clone()),
        held => Ok(held.clone()),
    }
}

fn or_value<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Optional(None) => Ok(args[1].clone()),
        Value::Optional(Some(value)) => Ok((**value).clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn maybe<'a>(found: Option<Out<'a>>) -> Out<'a> {
    Ok(match found {
        Some(value) => Value::some(value?),
        None => Value::Optional(None),
    })
}

fn last<'a>(args: &[Value<'a>]) -> Out<'a> {
    let items = list(args, 0)?;
    maybe(items.len().checked_sub(1).and_then(|at| items.get(at)))
}

fn first<'a>(args: &[Value<'a>]) -> Out<'a> {
    maybe(list(args, 0)?.get(0))
}

fn unwrap<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut out = Vec::new();
    for item in list(args, 0)?.iter() {
        match item? {
            Value::Optional(None) => {}
            Value::Optional(Some(value)) => out.push((*value).clone()),
            _ => return Err(EvalError::no_such_overload()),
        }
    }
    Ok(Value::list(out))
}
