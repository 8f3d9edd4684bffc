//! Lists as sets.

use super::Row;
use super::lists::list;
use crate::EvalError;
use crate::compare::contains;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("list_sets_contains_list", "sets.contains(list(T), list(T)) bool", holds),
    ("list_sets_equivalent_list", "sets.equivalent(list(T), list(T)) bool", equivalent),
    ("list_sets_intersects_list", "sets.intersects(list(T), list(T)) bool", intersects),
];

fn all_in<'a>(of: &[Value<'a>], within: &[Value<'a>]) -> Result<bool, EvalError> {
    for item in of {
        if !contains(within, item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (set, part) = (list(args, 0)?.values()?, list(args, 1)?.values()?);
    all_in(&part, &set).map(Value::Bool)
}

fn equivalent<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (a, b) = (list(args, 0)?.values()?, list(args, 1)?.values()?);
    Ok(Value::Bool(all_in(&a, &b)? && all_in(&b, &a)?))
}

fn intersects<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (a, b) = (list(args, 0)?.values()?, list(args, 1)?.values()?);
    for item in &a {
        if contains(&b, item)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
