//! The functions of the environment: signatures in tables, one row an overload, and what each does.
//!
//! A row is `(id, signature, function)`; a signature is `name(argument types) result`, with the
//! target's type and `|` before the name of a member function, as in `string|startsWith(string) bool`.
//! Ids are upstream's: costs are stated by them. Not here: costs (`cost`).

mod authz;
mod cidr;
mod convert;
mod format;
mod lists;
pub mod opaque;
mod operators;
mod optional;
mod quantity;
pub mod regex;
mod semver;
mod sets;
mod strings;
mod strings_format;
pub mod time;
mod url;

pub use authz::{Authorizer, AuthzCheck, AuthzDecision};
pub(crate) use convert::parse_timestamp as convert_timestamp;
pub(crate) use operators::{field, select};

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::EvalError;
use crate::types::{Type, runtime_name};
use crate::value::Value;

/// What an overload does with its arguments, the target first.
pub type Imp = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>, EvalError>;

/// A row of a table.
pub(crate) type Row = (&'static str, &'static str, Imp);

/// One signature of a function.
#[derive(Debug)]
pub struct Overload {
    pub id: &'static str,
    pub function: &'static str,
    pub member: bool,
    /// The target first.
    pub params: Vec<Type>,
    pub result: Type,
    pub imp: Imp,
}

/// What is written down of each library.
const TABLES: [&[Row]; 14] = [
    operators::ROWS,
    convert::ROWS,
    time::ROWS,
    strings::ROWS,
    lists::ROWS,
    sets::ROWS,
    optional::ROWS,
    regex::ROWS,
    url::ROWS,
    quantity::ROWS,
    cidr::ROWS,
    format::ROWS,
    semver::ROWS,
    authz::ROWS,
];

static TABLE: LazyLock<HashMap<&'static str, Vec<&'static Overload>>> = LazyLock::new(|| {
    let mut out: HashMap<&'static str, Vec<&'static Overload>> = HashMap::new();
    let templated = operators::templated();
    for row in TABLES.iter().copied().flatten().chain(&templated) {
        if let Some(overload) = read(row) {
            // Lives as long as the program: made once.
            let overload: &'static Overload = Box::leak(Box::new(overload));
            out.entry(overload.function).or_default().push(overload);
        }
    }
    out
});

/// The overloads of a function, if there is such a function.
pub fn function(name: &str) -> Option<&'static [&'static Overload]> {
    TABLE.get(name).map(Vec::as_slice)
}

fn read(row: &Row) -> Option<Overload> {
    let (id, signature, imp) = *row;
    let (target, rest) = match signature.split_once('|') {
        Some((target, rest)) if !signature.starts_with('_') => (Some(target), rest),
        _ => (None, signature),
    };
    let open = rest.find('(')?;
    let close = rest.rfind(") ")?;
    let mut params = Vec::new();
    if let Some(target) = target {
        params.push(ty(target)?);
    }
    for param in split(&rest[open + 1..close]) {
        params.push(ty(param)?);
    }
    let result = ty(&rest[close + 2..])?;
    Some(Overload { id, function: &rest[..open], member: target.is_some(), params, result, imp })
}

/// Splits at the commas outside brackets.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        out.push(text[start..].trim());
    }
    out
}

fn ty(text: &str) -> Option<Type> {
    if let Some((head, rest)) = text.split_once('(') {
        let parts = split(rest.strip_suffix(')')?);
        return Some(match (head, parts.as_slice()) {
            ("list", [item]) => Type::list(ty(item)?),
            ("map", [key, value]) => Type::map(ty(key)?, ty(value)?),
            ("optional", [of]) => Type::optional(ty(of)?),
            ("type", [of]) => Type::Type(Some(std::sync::Arc::new(ty(of)?))),
            _ => return None,
        });
    }
    Some(match text {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ => match (opaque::NAMES.iter().find(|(short, _)| *short == text), text.chars().next()) {
            (Some((_, name)), _) => Type::Opaque(name),
            (None, Some(c)) if text.len() == 1 && c.is_ascii_uppercase() => Type::Param(c),
            _ => return None,
        },
    })
}

/// Whether a value may be given for a parameter.
fn fits(param: &Type, value: &Value<'_>) -> bool {
    match (param, value) {
        (Type::Dyn | Type::Param(_) | Type::Var(_), _) => true,
        (Type::Opaque(name), Value::Opaque(opaque)) => opaque.type_name() == *name,
        (param, value) => std::mem::discriminant(param) == std::mem::discriminant(&value.type_of()),
    }
}

/// Calls the overload that fits; the type checker leaves several where it knows no better.
pub fn call<'a>(
    function: &str,
    overloads: &[&'static Overload],
    args: &[Value<'a>],
) -> Result<Value<'a>, EvalError> {
    let fitting = overloads.iter().find(|o| {
        o.params.len() == args.len() && o.params.iter().zip(args).all(|(p, v)| fits(p, v))
    });
    match fitting {
        Some(overload) => (overload.imp)(args),
        None if function.starts_with(['_', '@', '!', '-']) => Err(EvalError::no_such_overload()),
        None => {
            let types: Vec<Type> = args.iter().map(Value::type_of).collect();
            let types: Vec<&str> = types.iter().map(runtime_name).collect();
            Err(EvalError::new(format!("no such overload: {function}({})", types.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_can_be_read() {
        for row in TABLES.iter().copied().flatten() {
            assert!(read(row).is_some(), "{}: {}", row.0, row.1);
        }
        let ids: Vec<&str> = TABLE.values().flatten().map(|o| o.id).collect();
        let distinct: std::collections::HashSet<(&str, bool, usize)> =
            TABLE.values().flatten().map(|o| (o.id, o.member, o.params.len())).collect();
        assert_eq!(ids.len(), distinct.len());
    }
}
