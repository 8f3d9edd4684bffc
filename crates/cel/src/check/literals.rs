//! Constants that functions would refuse: durations, timestamps and regular expressions.

use crate::ast::{Expr, Kind, Literal};
use crate::library::{convert_timestamp, regex, time};
use crate::source::CompileError;

/// Reports every constant argument that cannot work.
pub fn check(expr: &Expr, errors: &mut Vec<CompileError>) {
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => check(operand, errors),
        Kind::Call(call) => {
            if let Some(target) = &call.target {
                check(target, errors);
            }
            call.args.iter().for_each(|arg| check(arg, errors));
            let arg = match (&*call.function, call.args.as_slice()) {
                ("duration" | "timestamp", [arg]) => arg,
                ("matches", [.., arg]) => arg,
                _ => return,
            };
            let Kind::Literal(Literal::String(text)) = &arg.kind else { return };
            let good = match &*call.function {
                "duration" => time::parse_duration(text).is_some(),
                "timestamp" => convert_timestamp(text).is_some(),
                _ => regex::compile(text).is_ok(),
            };
            if !good {
                let message = format!("invalid {} argument", call.function);
                errors.push(CompileError::new(arg.offset, message));
            }
        }
        Kind::List(items) => items.iter().for_each(|item| check(&item.value, errors)),
        Kind::Map(entries) => {
            for entry in entries {
                check(&entry.key, errors);
                check(&entry.value, errors);
            }
        }
        Kind::Struct { fields, .. } => fields.iter().for_each(|f| check(&f.value, errors)),
        Kind::Fold(fold) => {
            for part in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                check(part, errors);
            }
        }
    }
}
