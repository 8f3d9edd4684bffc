//! Conversions: `int()`, `string()`, `timestamp()`, `type()`, `dyn()` and the like.

use super::Row;
use super::time::{parse_duration, print_duration, timestamp};
use crate::EvalError;
use crate::types::runtime_name;
use crate::value::{Text, Value};

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("type", "type(A) type(A)", type_of),
    ("to_dyn", "dyn(A) dyn", same),
    ("bool_to_bool", "bool(bool) bool", same),
    ("string_to_bool", "bool(string) bool", to_bool),
    ("bytes_to_bytes", "bytes(bytes) bytes", same),
    ("string_to_bytes", "bytes(string) bytes", to_bytes),
    ("double_to_double", "double(double) double", same),
    ("int64_to_double", "double(int) double", to_double),
    ("string_to_double", "double(string) double", to_double),
    ("uint64_to_double", "double(uint) double", to_double),
    ("duration_to_duration", "duration(duration) duration", same),
    ("int64_to_duration", "duration(int) duration", to_duration),
    ("string_to_duration", "duration(string) duration", to_duration),
    ("int64_to_int64", "int(int) int", same),
    ("double_to_int64", "int(double) int", to_int),
    ("duration_to_int64", "int(duration) int", to_int),
    ("string_to_int64", "int(string) int", to_int),
    ("timestamp_to_int64", "int(timestamp) int", to_int),
    ("uint64_to_int64", "int(uint) int", to_int),
    ("string_to_string", "string(string) string", same),
    ("bool_to_string", "string(bool) string", to_string),
    ("bytes_to_string", "string(bytes) string", to_string),
    ("double_to_string", "string(double) string", to_string),
    ("duration_to_string", "string(duration) string", to_string),
    ("int64_to_string", "string(int) string", to_string),
    ("timestamp_to_string", "string(timestamp) string", to_string),
    ("uint64_to_string", "string(uint) string", to_string),
    ("timestamp_to_timestamp", "timestamp(timestamp) timestamp", same),
    ("int64_to_timestamp", "timestamp(int) timestamp", to_timestamp),
    ("string_to_timestamp", "timestamp(string) timestamp", to_timestamp),
    ("uint64_to_uint64", "uint(uint) uint", same),
    ("double_to_uint64", "uint(double) uint", to_uint),
    ("int64_to_uint64", "uint(int) uint", to_uint),
    ("string_to_uint64", "uint(string) uint", to_uint),
];

fn same<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(args[0].clone())
}

fn type_of<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Type(args[0].type_of()))
}

fn failed(from: &Value<'_>, to: &str) -> EvalError {
    let from = from.type_of();
    EvalError::new(format!("type conversion error from '{}' to '{to}'", runtime_name(&from)))
}

fn range(unsigned: bool) -> EvalError {
    EvalError::new(if unsigned { "unsigned integer overflow" } else { "integer overflow" })
}

fn to_bool<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::String(s) = &args[0] else { return Err(failed(&args[0], "bool")) };
    match &**s {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        _ => Err(failed(&args[0], "bool")),
    }
}

fn to_bytes<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::String(s) => Ok(Value::Bytes(s.as_bytes().into())),
        other => Err(failed(other, "bytes")),
    }
}

fn to_double<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Double(match &args[0] {
        Value::Int(i) => *i as f64,
        Value::Uint(u) => *u as f64,
        Value::String(s) => {
            let plain = s.strip_prefix(['+', '-']).unwrap_or(s);
            let number = plain.starts_with(|c: char| c.is_ascii_digit() || c == '.')
                || ["inf", "infinity", "nan"].contains(&plain.to_ascii_lowercase().as_str());
            match s.parse() {
                Ok(d) if number => d,
                _ => return Err(failed(&args[0], "double")),
            }
        }
        other => return Err(failed(other, "double")),
    }))
}

fn to_int<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(match &args[0] {
        // The bounds themselves are refused as well: as floats they may stand for something beyond.
        Value::Double(d) if *d > -9.223_372_036_854_776e18 && *d < 9.223_372_036_854_776e18 => {
            *d as i64
        }
        Value::Double(_) => return Err(range(false)),
        Value::Uint(u) => i64::try_from(*u).map_err(|_| range(false))?,
        Value::String(s) => s.parse().map_err(|_| failed(&args[0], "int"))?,
        Value::Timestamp(t) => t.as_second(),
        Value::Duration(d) => *d,
        other => return Err(failed(other, "int")),
    }))
}

fn to_uint<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Uint(match &args[0] {
        Value::Double(d) if *d >= 0.0 && *d < 1.844_674_407_370_955_2e19 => *d as u64,
        Value::Double(_) => return Err(range(true)),
        Value::Int(i) => u64::try_from(*i).map_err(|_| range(true))?,
        Value::String(s) if !s.starts_with('+') => {
            s.parse().map_err(|_| failed(&args[0], "uint"))?
        }
        other => return Err(failed(other, "uint")),
    }))
}

fn to_string<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(match &args[0] {
        Value::Bool(b) => Value::text(b.to_string()),
        Value::Int(i) => Value::text(i.to_string()),
        Value::Uint(u) => Value::text(u.to_string()),
        Value::Double(d) => Value::text(print_double(*d)),
        Value::Bytes(b) => match std::str::from_utf8(b) {
            Ok(s) => Value::text(s),
            Err(_) => {
                return Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string"));
            }
        },
        Value::Timestamp(t) => Value::text(t.to_string()),
        Value::Duration(d) => Value::text(print_duration(*d)),
        Value::String(Text::Borrowed(s)) => Value::String(Text::Borrowed(s)),
        other => return Err(failed(other, "string")),
    })
}

/// The shortest text that reads back as the number, exponents for what is very big or small.
pub(super) fn print_double(d: f64) -> String {
    if d.is_nan() {
        return "NaN".into();
    }
    if d.is_infinite() {
        return if d > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let scientific = format!("{d:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return d.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

fn to_duration<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Int(i) => Ok(Value::Duration(*i)),
        Value::String(s) => match parse_duration(s) {
            Some(nanos) => Ok(Value::Duration(nanos)),
            None => Err(failed(&args[0], "google.protobuf.Duration")),
        },
        other => Err(failed(other, "google.protobuf.Duration")),
    }
}

fn to_timestamp<'a>(args: &[Value<'a>]) -> Out<'a> {
    let target = "google.protobuf.Timestamp";
    match &args[0] {
        Value::Int(seconds) => timestamp(i128::from(*seconds) * 1_000_000_000)
            .map(Value::Timestamp)
            .ok_or_else(|| EvalError::new("timestamp overflow")),
        Value::String(s) => {
            parse_timestamp(s).map(Value::Timestamp).ok_or_else(|| failed(&args[0], target))
        }
        other => Err(failed(other, target)),
    }
}

/// RFC 3339, and nothing that only looks like it.
pub fn parse_timestamp(text: &str) -> Option<jiff::Timestamp> {
    let bytes = text.as_bytes();
    let zoned = text.ends_with('Z')
        || (bytes.len() > 6
            && matches!(bytes[bytes.len() - 6], b'+' | b'-')
            && bytes[bytes.len() - 3] == b':');
    if bytes.len() < 20 || bytes.get(10) != Some(&b'T') || !zoned {
        return None;
    }
    text.parse().ok()
}
