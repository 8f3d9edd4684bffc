//! What a call is charged once its arguments and result are known.

use super::{LIST, REGEX, Rule, TEXT, rule, scaled};
use crate::ast::Call;
use crate::library::opaque::Opaque;
use crate::value::{List, Map, Value};

/// The cost of a call, its arguments apart.
pub(crate) fn of_call(call: &Call, args: &[Value<'_>], result: &Value<'_>) -> u64 {
    // Where the type checker left several overloads, nobody knows which one was meant.
    let overload = match call.overloads.as_slice() {
        [one] => one.id,
        _ => "",
    };
    let size = |at: usize| args.get(at).map_or(1, Value::cost_size);
    let text = |n: u64| scaled(n, TEXT);
    if let Some(cost) = list_functions(overload, args, result) {
        return cost;
    }
    match rule(&call.function, overload) {
        Some(Rule::Fixed(cost)) => return cost,
        Some(Rule::Length(at, factor)) => return scaled(size(at), factor),
        Some(Rule::Pattern) => return text(size(0) + 1).saturating_mul(scaled(size(1), REGEX)),
        None => {}
    }
    match &*call.function {
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            return args.first().map_or(0, traversal);
        }
        "join" => return scaled(result.cost_size(), 2.0 * TEXT),
        "containsIP" => {
            let parsing = if overload == "cidr_contains_ip_string" { text(size(1)) } else { 0 };
            return text(2 * size(0)) + parsing;
        }
        "containsCIDR" => {
            let parsing = if overload == "cidr_contains_cidr_string" { text(size(1)) } else { 0 };
            return text(2 * size(0)) + text(size(0)) + 1 + parsing;
        }
        "validate" => {
            if let Some(Value::Opaque(Opaque::Format(format))) = args.first() {
                return text(size(1) + 1).saturating_mul(scaled(format.cost, REGEX));
            }
        }
        "fieldSelector" | "labelSelector" => {
            let length = size(1);
            return LIST + text(length) + scaled(scaled(length, 0.5), 50.0);
        }
        "_==_" if matches!(args.first(), Some(Value::Opaque(_))) => return 1,
        _ => {}
    }
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "strings_quote" | "string_format" => text(size(0)),
        "in_list" => size(1),
        "equals" | "not_equals" => text(size(0).min(size(1))),
        "add_string" | "add_bytes" => text(size(0) + size(1)),
        "matches_string" => text(size(0) + 1).saturating_mul(scaled(size(1), REGEX)),
        "contains_string" => text(size(0)).saturating_mul(text(size(1))),
        id if (id.ends_with("_string") || id.ends_with("_bytes"))
            && (id.starts_with("less") || id.starts_with("greater")) =>
        {
            text(size(0).min(size(1)))
        }
        _ => 1,
    }
}

/// The list functions that make new lists.
fn list_functions(overload: &str, args: &[Value<'_>], result: &Value<'_>) -> Option<u64> {
    let size = |at: usize| args.get(at).map_or(0, Value::cost_size);
    let list = |factor: f64, n: u64| (n as f64 * factor) as u64 + 1 + LIST;
    let compared = |at: usize| {
        let first = match args.get(at) {
            Some(Value::List(items)) => items.get(0),
            _ => None,
        };
        let text = matches!(first, Some(Ok(Value::String(_) | Value::Bytes(_))));
        list(if text { 2.0 + TEXT } else { 2.0 }, size(at).saturating_mul(size(at)))
    };
    Some(match overload {
        "list_slice" | "lists_range" | "list_reverse" => list(1.0, result.cost_size()),
        "list_flatten" => list(1.0, size(0)),
        "list_flatten_int" => match args.get(1) {
            Some(Value::Int(depth)) => list(*depth as f64, size(0)),
            _ => return None,
        },
        "list_distinct" => compared(0),
        id if id.ends_with("_sort") => compared(0),
        id if id.ends_with("_sortByAssociatedKeys") => compared(1),
        _ => return None,
    })
}

/// What it costs to look at all of a value.
fn traversal(value: &Value<'_>) -> u64 {
    let text = |n: usize| (n as f64 * TEXT) as u64;
    match value {
        Value::String(s) => text(s.len()),
        Value::Bytes(b) => text(b.len()),
        Value::List(list) => match list {
            List::Made(items) => items.iter().map(traversal).sum(),
            list => list.iter().flatten().map(|v| traversal(&v)).sum(),
        },
        Value::Map(map) => match map {
            Map::Made(entries) => {
                entries.iter().map(|(k, v)| traversal(&k.value()) + traversal(v)).sum()
            }
            map => map
                .keys()
                .iter()
                .map(|k| {
                    traversal(k) + map.get(k).and_then(Result::ok).map_or(0, |v| traversal(&v))
                })
                .sum(),
        },
        _ => 1,
    }
}
