//! `'%s is %d'.format([…])`.

use super::time::print_duration;
use crate::EvalError;
use crate::eval::MAX_TEXT;
use crate::types::runtime_name;
use crate::value::{Key, Value};

/// A value as messages and `%s` show it.
pub(crate) fn plain(value: &Value<'_>) -> String {
    string(value).unwrap_or_else(|_| runtime_name(&value.type_of()).to_owned())
}

fn string(value: &Value<'_>) -> Result<String, EvalError> {
    Ok(match value {
        Value::Null => "null".into(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Uint(u) => u.to_string(),
        Value::Double(d) if d.is_nan() => "NaN".into(),
        Value::Double(d) if d.is_infinite() => {
            if *d > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Value::Double(d) => super::convert::print_double(*d),
        Value::String(s) => s.to_string(),
        Value::Bytes(b) => String::from_utf8_lossy(b).into_owned(),
        Value::Timestamp(t) => t.to_string(),
        Value::Duration(d) => print_duration(*d),
        Value::Type(t) => runtime_name(t).to_owned(),
        Value::List(list) => {
            let items: Result<Vec<String>, EvalError> =
                list.iter().map(|item| string(&item?)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for key in map.keys() {
                if Key::of(&key).is_none() {
                    return Err(unformattable(&key));
                }
                let value = map.get(&key).unwrap_or(Ok(Value::Null))?;
                entries.push((string(&key)?, string(&value)?));
            }
            entries.sort();
            let entries: Vec<String> =
                entries.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => return Err(unformattable(other)),
    })
}

fn unformattable(value: &Value<'_>) -> EvalError {
    let ty = value.type_of();
    let name = runtime_name(&ty);
    EvalError::new(format!(
        "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {name}"
    ))
}

fn wrong(clause: &str, wants: &str, value: &Value<'_>) -> EvalError {
    let ty = value.type_of();
    EvalError::new(format!(
        "error during formatting: {clause} clause can only be used on {wants}, was given {}",
        runtime_name(&ty)
    ))
}

/// Fills the clauses of a template.
pub(super) fn format(template: &str, args: &[Value<'_>]) -> Result<String, EvalError> {
    let mut out = String::with_capacity(template.len());
    let mut args_left = args.iter().enumerate();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut precision = 6;
        if chars.peek() == Some(&'.') {
            chars.next();
            let mut digits = String::new();
            while let Some(d) = chars.peek().filter(|d| d.is_ascii_digit()) {
                digits.push(*d);
                chars.next();
            }
            precision = digits.parse().ok().filter(|p| *p <= 1000).ok_or_else(|| {
                EvalError::new(
                    "error while parsing precision: error while converting precision to integer",
                )
            })?;
        }
        let Some(clause) = chars.next() else {
            return Err(EvalError::new("unexpected end of string"));
        };
        let Some((_, value)) = args_left.next() else {
            return Err(EvalError::new(format!("index {} out of range", args.len())));
        };
        out.push_str(&one(clause, precision, value)?);
        if out.len() > MAX_TEXT {
            return Err(EvalError::cost_exceeded());
        }
    }
    Ok(out)
}

fn one(clause: char, precision: usize, value: &Value<'_>) -> Result<String, EvalError> {
    Ok(match clause {
        's' => string(value)?,
        'd' => match value {
            Value::Int(i) => i.to_string(),
            Value::Uint(u) => u.to_string(),
            other => return Err(wrong("decimal", "integers", other)),
        },
        'f' => match value {
            Value::Double(d) if d.is_finite() => format!("{d:.precision$}"),
            Value::Double(_) => string(value)?,
            Value::Int(i) => format!("{:.precision$}", *i as f64),
            Value::Uint(u) => format!("{:.precision$}", *u as f64),
            other => return Err(wrong("fixed-point", "doubles", other)),
        },
        'e' => match value {
            Value::Double(d) if d.is_finite() => scientific(*d, precision),
            Value::Double(_) => string(value)?,
            Value::Int(i) => scientific(*i as f64, precision),
            Value::Uint(u) => scientific(*u as f64, precision),
            other => return Err(wrong("scientific", "doubles", other)),
        },
        'b' => match value {
            Value::Int(i) if *i < 0 => format!("-{:b}", i.unsigned_abs()),
            Value::Int(i) => format!("{i:b}"),
            Value::Uint(u) => format!("{u:b}"),
            Value::Bool(b) => u8::from(*b).to_string(),
            other => return Err(wrong("binary", "integers and bools", other)),
        },
        'o' => match value {
            Value::Int(i) if *i < 0 => format!("-{:o}", i.unsigned_abs()),
            Value::Int(i) => format!("{i:o}"),
            Value::Uint(u) => format!("{u:o}"),
            other => return Err(wrong("octal", "integers", other)),
        },
        'x' | 'X' => {
            let lower = match value {
                Value::Int(i) if *i < 0 => format!("-{:x}", i.unsigned_abs()),
                Value::Int(i) => format!("{i:x}"),
                Value::Uint(u) => format!("{u:x}"),
                Value::String(s) => hex(s.as_bytes()),
                Value::Bytes(b) => hex(b),
                other => return Err(wrong("hex", "integers, byte buffers, and strings", other)),
            };
            if clause == 'X' { lower.to_ascii_uppercase() } else { lower }
        }
        other => {
            return Err(EvalError::new(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn scientific(d: f64, precision: usize) -> String {
    let text = format!("{d:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
