//! Resource quantities.

use api::quantity::{Format, Quantity};

use super::Row;
use super::opaque::Opaque;
use super::strings::text;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("string_to_quantity", "quantity(string) quantity", quantity),
    ("is_quantity_string", "isQuantity(string) bool", is_quantity),
    ("quantity_sign", "sign(quantity) int", sign),
    ("quantity_is_greater_than", "quantity|isGreaterThan(quantity) bool", greater),
    ("quantity_is_less_than", "quantity|isLessThan(quantity) bool", less),
    ("quantity_compare_to", "quantity|compareTo(quantity) int", compare),
    ("quantity_get_float", "quantity|asApproximateFloat() double", as_float),
    ("quantity_get_int", "quantity|asInteger() int", as_integer),
    ("quantity_is_integer", "quantity|isInteger() bool", is_integer),
    ("quantity_add", "quantity|add(quantity) quantity", add),
    ("quantity_add_int", "quantity|add(int) quantity", add),
    ("quantity_sub", "quantity|sub(quantity) quantity", sub),
    ("quantity_sub_int", "quantity|sub(int) quantity", sub),
];

fn of(args: &[Value<'_>], at: usize) -> Result<Quantity, EvalError> {
    match &args[at] {
        Value::Opaque(Opaque::Quantity(q)) => Ok(*q),
        Value::Int(i) => Ok(Quantity::new(*i, Format::DecimalSi)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn made<'a>(q: Quantity) -> Out<'a> {
    Ok(Value::Opaque(Opaque::Quantity(q)))
}

fn quantity<'a>(args: &[Value<'a>]) -> Out<'a> {
    made(Quantity::parse(text(args, 0)?).map_err(|e| EvalError::new(e.to_string()))?)
}

fn is_quantity<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(Quantity::parse(text(args, 0)?).is_ok()))
}

fn sign<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(i64::from(of(args, 0)?.signum())))
}

fn greater<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of(args, 0)? > of(args, 1)?))
}

fn less<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(of(args, 0)? < of(args, 1)?))
}

fn compare<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Int(of(args, 0)?.cmp(&of(args, 1)?) as i64))
}

fn as_float<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Double(of(args, 0)?.as_f64()))
}

/// Whether it is a whole number that 64 bits hold.
fn integer(q: Quantity) -> Option<i64> {
    let whole = q.is_multiple_of_nanos(1_000_000_000);
    // Beyond the range the value is cut off.
    let value = q.value();
    (whole && Quantity::new(value, Format::DecimalSi) == q).then_some(value)
}

fn as_integer<'a>(args: &[Value<'a>]) -> Out<'a> {
    integer(of(args, 0)?)
        .map(Value::Int)
        .ok_or_else(|| EvalError::new("cannot convert value to integer"))
}

fn is_integer<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(integer(of(args, 0)?).is_some()))
}

fn add<'a>(args: &[Value<'a>]) -> Out<'a> {
    made(of(args, 0)? + of(args, 1)?)
}

fn sub<'a>(args: &[Value<'a>]) -> Out<'a> {
    made(of(args, 0)? + of(args, 1)?.times(-1))
}
