//! Functions over lists.

use std::cmp::Ordering;

use super::Row;
use super::strings::int;
use crate::EvalError;
use crate::compare::{contains, equal, order};
use crate::value::{List, Value};

type Out<'a> = Result<Value<'a>, EvalError>;

/// No list that an expression makes out of a number is longer.
const MAX_RANGE: i64 = 1_000_000;

pub(super) const ROWS: &[Row] = &[
    ("list_int_is_sorted_bool", "list(int)|isSorted() bool", is_sorted),
    ("list_uint_is_sorted_bool", "list(uint)|isSorted() bool", is_sorted),
    ("list_double_is_sorted_bool", "list(double)|isSorted() bool", is_sorted),
    ("list_bool_is_sorted_bool", "list(bool)|isSorted() bool", is_sorted),
    ("list_duration_is_sorted_bool", "list(duration)|isSorted() bool", is_sorted),
    ("list_timestamp_is_sorted_bool", "list(timestamp)|isSorted() bool", is_sorted),
    ("list_string_is_sorted_bool", "list(string)|isSorted() bool", is_sorted),
    ("list_bytes_is_sorted_bool", "list(bytes)|isSorted() bool", is_sorted),
    ("list_int_sum_int", "list(int)|sum() int", sum),
    ("list_uint_sum_uint", "list(uint)|sum() uint", sum),
    ("list_double_sum_double", "list(double)|sum() double", sum),
    ("list_duration_sum_duration", "list(duration)|sum() duration", sum),
    ("list_int_max_int", "list(int)|max() int", max),
    ("list_uint_max_uint", "list(uint)|max() uint", max),
    ("list_double_max_double", "list(double)|max() double", max),
    ("list_bool_max_bool", "list(bool)|max() bool", max),
    ("list_duration_max_duration", "list(duration)|max() duration", max),
    ("list_timestamp_max_timestamp", "list(timestamp)|max() timestamp", max),
    ("list_string_max_string", "list(string)|max() string", max),
    ("list_bytes_max_bytes", "list(bytes)|max() bytes", max),
    ("list_int_min_int", "list(int)|min() int", min),
    ("list_uint_min_uint", "list(uint)|min() uint", min),
    ("list_double_min_double", "list(double)|min() double", min),
    ("list_bool_min_bool", "list(bool)|min() bool", min),
    ("list_duration_min_duration", "list(duration)|min() duration", min),
    ("list_timestamp_min_timestamp", "list(timestamp)|min() timestamp", min),
    ("list_string_min_string", "list(string)|min() string", min),
    ("list_bytes_min_bytes", "list(bytes)|min() bytes", min),
    ("list_a_index_of_int", "list(A)|indexOf(A) int", index_of),
    ("list_a_last_index_of_int", "list(A)|lastIndexOf(A) int", last_index_of),
    ("list_slice", "list(T)|slice(int, int) list(T)", slice),
    ("list_flatten", "list(list(T))|flatten() list(T)", flatten),
    ("list_flatten_int", "list(dyn)|flatten(int) list(dyn)", flatten),
    ("list_int_sort", "list(int)|sort() list(int)", sort),
    ("list_uint_sort", "list(uint)|sort() list(uint)", sort),
    ("list_double_sort", "list(double)|sort() list(double)", sort),
    ("list_bool_sort", "list(bool)|sort() list(bool)", sort),
    ("list_duration_sort", "list(duration)|sort() list(duration)", sort),
    ("list_timestamp_sort", "list(timestamp)|sort() list(timestamp)", sort),
    ("list_string_sort", "list(string)|sort() list(string)", sort),
    ("list_bytes_sort", "list(bytes)|sort() list(bytes)", sort),
    ("list_int_sortByAssociatedKeys", "list(T)|@sortByAssociatedKeys(list(int)) list(T)", sort_by),
    (
        "list_uint_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(uint)) list(T)",
        sort_by,
    ),
    (
        "list_double_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(double)) list(T)",
        sort_by,
    ),
    (
        "list_bool_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(bool)) list(T)",
        sort_by,
    ),
    (
        "list_duration_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(duration)) list(T)",
        sort_by,
    ),
    (
        "list_timestamp_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(timestamp)) list(T)",
        sort_by,
    ),
    (
        "list_string_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(string)) list(T)",
        sort_by,
    ),
    (
        "list_bytes_sortByAssociatedKeys",
        "list(T)|@sortByAssociatedKeys(list(bytes)) list(T)",
        sort_by,
    ),
    ("lists_range", "lists.range(int) list(int)", range),
    ("list_reverse", "list(T)|reverse() list(T)", reverse),
    ("list_distinct", "list(T)|distinct() list(T)", distinct),
];

/// The list at a place of the arguments.
pub(super) fn list<'v, 'a>(args: &'v [Value<'a>], at: usize) -> Result<&'v List<'a>, EvalError> {
    match args.get(at) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn is_sorted<'a>(args: &[Value<'a>]) -> Out<'a> {
    let items = list(args, 0)?.values()?;
    for pair in items.windows(2) {
        if order(&pair[0], &pair[1])? == Ordering::Greater {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut total: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        let item = item?;
        total = Some(match total {
            None => item,
            Some(sum) => match (&sum, &item) {
                (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int),
                (Value::Uint(a), Value::Uint(b)) => a.checked_add(*b).map(Value::Uint),
                (Value::Double(a), Value::Double(b)) => Some(Value::Double(a + b)),
                (Value::Duration(a), Value::Duration(b)) => a.checked_add(*b).map(Value::Duration),
                _ => return Err(EvalError::no_such_overload()),
            }
            .ok_or_else(|| {
                EvalError::new(match item {
                    Value::Uint(_) => "unsigned integer overflow",
                    Value::Duration(_) => "duration overflow",
                    _ => "integer overflow",
                })
            })?,
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn extreme<'a>(args: &[Value<'a>], wanted: Ordering, name: &str) -> Out<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        let item = item?;
        best = Some(match best {
            Some(held) if order(&item, &held)? != wanted => held,
            _ => item,
        });
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn max<'a>(args: &[Value<'a>]) -> Out<'a> {
    extreme(args, Ordering::Greater, "max")
}
fn min<'a>(args: &[Value<'a>]) -> Out<'a> {
    extreme(args, Ordering::Less, "min")
}

fn place<'a>(at: Option<usize>) -> Out<'a> {
    Ok(Value::Int(at.map_or(-1, |at| i64::try_from(at).unwrap_or(-1))))
}

fn index_of<'a>(args: &[Value<'a>]) -> Out<'a> {
    for (at, item) in list(args, 0)?.iter().enumerate() {
        if equal(&item?, &args[1])? {
            return place(Some(at));
        }
    }
    place(None)
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Out<'a> {
    let items = list(args, 0)?.values()?;
    for (at, item) in items.iter().enumerate().rev() {
        if equal(item, &args[1])? {
            return place(Some(at));
        }
    }
    place(None)
}

fn slice<'a>(args: &[Value<'a>]) -> Out<'a> {
    let items = list(args, 0)?;
    let (start, end) = (int(args, 1)?, int(args, 2)?);
    let head = format!("cannot slice({start}, {end}),");
    let (Ok(from), Ok(to)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(EvalError::new(format!("{head} negative indexes not supported")));
    };
    if from > to {
        return Err(EvalError::new(format!(
            "{head} start index must be less than or equal to end index"
        )));
    }
    if to > items.len() {
        return Err(EvalError::new(format!("{head} list is length {}", items.len())));
    }
    let part: Result<Vec<Value<'a>>, _> = (from..to).filter_map(|at| items.get(at)).collect();
    Ok(Value::list(part?))
}

fn flatten<'a>(args: &[Value<'a>]) -> Out<'a> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(list(args, 0)?, depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(of: &List<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), EvalError> {
    for item in of.iter() {
        match item? {
            Value::List(inner) if depth > 0 => flatten_into(&inner, depth - 1, out)?,
            item => out.push(item),
        }
    }
    Ok(())
}

fn sort<'a>(args: &[Value<'a>]) -> Out<'a> {
    let items = list(args, 0)?.values()?;
    sorted(items.clone(), items)
}

fn sort_by<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (items, keys) = (list(args, 0)?.values()?, list(args, 1)?.values()?);
    if items.len() != keys.len() {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} elements respectively",
            items.len(),
            keys.len()
        )));
    }
    sorted(items, keys)
}

fn sorted<'a>(items: Vec<Value<'a>>, keys: Vec<Value<'a>>) -> Out<'a> {
    if let Some(first) = keys.first() {
        order(first, first).map_err(|_| EvalError::new("list elements must be comparable"))?;
        let ty = first.type_of();
        if keys.iter().any(|k| k.type_of() != ty) {
            return Err(EvalError::new("list elements must have the same type"));
        }
    }
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.into_iter().zip(items).collect();
    pairs.sort_by(|(a, _), (b, _)| order(a, b).unwrap_or(Ordering::Equal));
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn range<'a>(args: &[Value<'a>]) -> Out<'a> {
    let n = int(args, 0)?;
    if n > MAX_RANGE {
        return Err(EvalError::cost_exceeded());
    }
    Ok(Value::list((0..n).map(Value::Int).collect()))
}

fn reverse<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut items = list(args, 0)?.values()?;
    items.reverse();
    Ok(Value::list(items))
}

fn distinct<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in list(args, 0)?.iter() {
        let item = item?;
        if !contains(&out, &item)? {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}
