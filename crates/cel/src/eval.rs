//! Evaluation: a walk over the tree that counts what it costs.
//!
//! Not here: what functions do (`library`), what calls cost (`cost`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::ast::{ACCUMULATOR, Call, Expr, Fold, Kind, Literal};
use crate::cost::{self, limits};
use crate::env::named_type;
use crate::library;
use crate::types::{Fields, ObjectType};
use crate::value::{Key, List, Map, Object, Text, Value};
use crate::{EvalError, EvalErrorKind};

/// The longest list that joining may make, the longest text by bytes: far beyond what a request holds.
pub(crate) const MAX_ITEMS: usize = 1_000_000;
pub(crate) const MAX_TEXT: usize = 32 << 20;

type Out<'a> = Result<Value<'a>, EvalError>;

/// The variables of an evaluation.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    vars: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Activation<'a> {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable; a later value replaces an earlier one.
    pub fn bind(&mut self, name: &'a str, value: Value<'a>) {
        match self.vars.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => *held = value,
            None => self.vars.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.vars.iter().find(|(held, _)| *held == name).map(|(_, value)| value)
    }
}

/// What evaluations may cost together.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

impl Budget {
    /// For all the rules of one object.
    pub fn per_object() -> Self {
        Self::new(limits::PER_OBJECT)
    }

    /// Of a size.
    pub fn new(size: u64) -> Self {
        Self { left: size }
    }

    /// What is left of it.
    pub fn left(&self) -> u64 {
        self.left
    }
}

pub(crate) fn run<'a>(
    root: &Expr,
    vars: &Activation<'a>,
    budget: &mut Budget,
    mutation: bool,
) -> Out<'a> {
    let mut run = Run { vars, locals: Vec::new(), cost: 0, mutation };
    let result = run.eval(root);
    let left = budget.left.checked_sub(run.cost);
    budget.left = left.unwrap_or(0);
    if left.is_none() {
        return Err(EvalError::out_of_budget());
    }
    result
}

struct Run<'r, 'a> {
    vars: &'r Activation<'a>,
    /// Variables of loops, the innermost last. An accumulator may hold a failure: a later element
    /// may still decide.
    locals: Vec<(Arc<str>, Out<'a>)>,
    cost: u64,
    mutation: bool,
}

impl<'a> Run<'_, 'a> {
    fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > limits::PER_CALL {
            return Err(EvalError::cost_exceeded());
        }
        Ok(())
    }

    fn eval(&mut self, expr: &Expr) -> Out<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => {
                self.spend(cost::SELECT)?;
                self.ident(name)
            }
            Kind::Select { operand, field, test: false } => {
                let of = self.eval(operand)?;
                self.spend(cost::SELECT + relative(operand))?;
                library::select(&of, field)
            }
            Kind::Select { operand, field, test: true } => {
                let of = self.eval(operand)?;
                Ok(Value::Bool(match &of {
                    Value::Optional(None) => false,
                    Value::Optional(Some(of)) => library::field(of, field).is_some(),
                    of => library::field(of, field).is_some(),
                }))
            }
            Kind::Call(call) => self.call(call),
            Kind::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let value = self.eval(&item.value)?;
                    if let Some(value) = present(value, item.optional)? {
                        out.push(value);
                    }
                }
                self.spend(cost::LIST)?;
                Ok(Value::list(out))
            }
            Kind::Map(entries) => {
                let mut out = BTreeMap::new();
                for entry in entries {
                    let key = self.eval(&entry.key)?;
                    let value = self.eval(&entry.value)?;
                    let held = Key::of(&key).ok_or_else(|| {
                        EvalError::new(format!("unsupported key type: {}", key.type_of()))
                    })?;
                    if let Some(value) = present(value, entry.optional)?
                        && out.insert(held, value).is_some()
                    {
                        return Err(EvalError::new("Failed with repeated key"));
                    }
                }
                self.spend(cost::MAP)?;
                Ok(Value::map(out))
            }
            Kind::Struct { name, fields } => {
                let mut out = BTreeMap::new();
                for field in fields {
                    let value = self.eval(&field.value)?;
                    if let Some(value) = present(value, field.optional)? {
                        out.insert(field.name.to_string(), value);
                    }
                }
                self.spend(cost::STRUCT)?;
                if self.mutation {
                    check_names(name, &out)?;
                }
                let ty = ObjectType { name: name.to_string(), fields: Fields::Any };
                Ok(Value::Object(Object::Made(Arc::new(ty), Rc::new(out))))
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, name: &str) -> Out<'a> {
        if let Some((_, value)) = self.locals.iter().rev().find(|(held, _)| &**held == name) {
            return value.clone();
        }
        if let Some(value) = self.vars.get(name) {
            return Ok(value.clone());
        }
        named_type(name)
            .map(Value::Type)
            .ok_or_else(|| EvalError::new(format!("no such attribute(s): {name}")))
    }

    fn call(&mut self, call: &Call) -> Out<'a> {
        match (&*call.function, call.args.as_slice()) {
            ("_&&_", [a, b]) => return self.logical(a, b, false),
            ("_||_", [a, b]) => return self.logical(a, b, true),
            ("_?_:_", [condition, then, otherwise]) => {
                return match self.eval(condition)? {
                    Value::Bool(true) => self.eval(then),
                    Value::Bool(false) => self.eval(otherwise),
                    _ => Err(EvalError::no_such_overload()),
                };
            }
            ("@not_strictly_false", [arg]) => {
                let value = match self.eval(arg) {
                    Ok(Value::Bool(b)) => b,
                    Ok(_) => true,
                    Err(e) if e.kind() != EvalErrorKind::Failed => return Err(e),
                    Err(_) => true,
                };
                self.spend(1)?;
                return Ok(Value::Bool(value));
            }
            ("_[_]" | "_[?_]" | "_?._", [of, index]) => {
                let target = self.eval(of)?;
                let before = self.cost;
                let at = self.eval(index)?;
                if is_attribute(index) {
                    // Part of the qualifier, which is charged below.
                    self.cost = before;
                }
                self.spend(cost::SELECT + relative(of))?;
                return library::call(&call.function, &call.overloads, &[target, at]);
            }
            ("_+_", [accu, more]) if is_accumulator(accu) => {
                if let Kind::List(_) = &more.kind {
                    return self.append(call, more);
                }
            }
            ("cel.@mapInsert", [accu, rest @ ..]) if is_accumulator(accu) => {
                return self.insert(call, rest);
            }
            _ => {}
        }
        let mut args = Vec::with_capacity(call.args.len() + 1);
        if let Some(target) = &call.target {
            args.push(self.eval(target)?);
        }
        for arg in &call.args {
            args.push(self.eval(arg)?);
        }
        let result = library::call(&call.function, &call.overloads, &args)?;
        self.spend(cost::of_call(call, &args, &result))?;
        Ok(result)
    }

    /// `&&` (decided by false) and `||` (by true): an error counts only where the other side does not
    /// decide.
    fn logical(&mut self, a: &Expr, b: &Expr, decides: bool) -> Out<'a> {
        let fatal = |e: &EvalError| e.kind() != EvalErrorKind::Failed;
        let first = self.eval(a);
        match first {
            Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
            Err(e) if fatal(&e) => return Err(e),
            _ => {}
        }
        let second = self.eval(b);
        match (first, second) {
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(decides)),
            (_, Err(e)) if fatal(&e) => Err(e),
            (Err(e), _) | (Ok(Value::Bool(_)), Err(e)) => Err(e),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    /// Takes the accumulator of the innermost loop, so that it can be changed in place.
    fn take_accumulator(&mut self) -> Out<'a> {
        match self.locals.iter_mut().rev().find(|(name, _)| &**name == ACCUMULATOR) {
            Some((_, slot)) => std::mem::replace(slot, Ok(Value::Null)),
            None => Ok(Value::Null),
        }
    }

    /// `accumulator + [value]`, in place.
    fn append(&mut self, call: &Call, more: &Expr) -> Out<'a> {
        let added = self.eval(more)?;
        self.spend(cost::SELECT)?;
        match (self.take_accumulator()?, added) {
            (Value::List(List::Made(mut list)), Value::List(more)) => {
                if list.len() >= MAX_ITEMS {
                    return Err(EvalError::cost_exceeded());
                }
                Rc::make_mut(&mut list).extend(more.values()?);
                self.spend(1)?;
                Ok(Value::List(List::Made(list)))
            }
            (accu, more) => library::call(&call.function, &call.overloads, &[accu, more]),
        }
    }

    /// `cel.@mapInsert(accumulator, …)`, in place.
    fn insert(&mut self, call: &Call, rest: &[Expr]) -> Out<'a> {
        let mut args = vec![Value::Null];
        for arg in rest {
            args.push(self.eval(arg)?);
        }
        self.spend(cost::SELECT + 1)?;
        args[0] = self.take_accumulator()?;
        if let [Value::Map(Map::Made(map)), key, value] = args.as_mut_slice()
            && let Some(held) = Key::of(key).filter(|held| !map.contains_key(held))
        {
            Rc::make_mut(map).insert(held, value.clone());
            return Ok(std::mem::replace(&mut args[0], Value::Null));
        }
        library::call(&call.function, &call.overloads, &args)
    }

    fn fold(&mut self, fold: &Fold) -> Out<'a> {
        let outer = self.locals.len();
        let result = self.fold_within(fold, outer);
        self.locals.truncate(outer);
        result
    }

    fn fold_within(&mut self, fold: &Fold, outer: usize) -> Out<'a> {
        let range = self.eval(&fold.range)?;
        let init = self.eval(&fold.init)?;
        self.locals.push((fold.accu.clone(), Ok(init)));
        if !fold.is_bind() {
            match &range {
                Value::List(list) => {
                    for at in 0..list.len() {
                        let Some(item) = list.get(at) else { break };
                        let index = Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                        let (first, second) =
                            if fold.var2.is_some() { (index, Some(item?)) } else { (item?, None) };
                        if !self.step(fold, outer, first, second)? {
                            break;
                        }
                    }
                }
                Value::Map(map) => {
                    for key in map.keys() {
                        let second = match &fold.var2 {
                            Some(_) => map.get(&key).transpose()?,
                            None => None,
                        };
                        if !self.step(fold, outer, key, second)? {
                            break;
                        }
                    }
                }
                Value::Object(object) => {
                    for name in object.names() {
                        let second = match &fold.var2 {
                            Some(_) => object.field(&name).transpose()?,
                            None => None,
                        };
                        if !self.step(fold, outer, Value::text(name), second)? {
                            break;
                        }
                    }
                }
                other => {
                    let ty = other.type_of();
                    return Err(EvalError::new(format!(
                        "got '{}', expected iterable type",
                        crate::types::runtime_name(&ty)
                    )));
                }
            }
        }
        self.locals.truncate(outer + 1);
        self.eval(&fold.result)
    }

    /// One round; false where the loop ends.
    fn step(
        &mut self,
        fold: &Fold,
        outer: usize,
        first: Value<'a>,
        second: Option<Value<'a>>,
    ) -> Result<bool, EvalError> {
        self.locals.truncate(outer + 1);
        self.locals.push((fold.var.clone(), Ok(first)));
        if let (Some(name), Some(value)) = (&fold.var2, second) {
            self.locals.push((name.clone(), Ok(value)));
        }
        match self.eval(&fold.condition)? {
            Value::Bool(true) => {}
            _ => return Ok(false),
        }
        let next = match self.eval(&fold.step) {
            Err(e) if e.kind() != EvalErrorKind::Failed => return Err(e),
            next => next,
        };
        if let Some((_, slot)) = self.locals.get_mut(outer) {
            *slot = next;
        }
        Ok(true)
    }
}

fn constant<'a>(literal: &Literal) -> Value<'a> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Int(i) => Value::Int(*i),
        Literal::Uint(u) => Value::Uint(*u),
        Literal::Double(d) => Value::Double(*d),
        Literal::String(s) => Value::String(Text::Literal(s.clone())),
        Literal::Bytes(b) => Value::Bytes(Rc::from(&**b)),
    }
}

/// What an element written as optional adds, if anything.
fn present(value: Value<'_>, optional: bool) -> Result<Option<Value<'_>>, EvalError> {
    if !optional {
        return Ok(Some(value));
    }
    match value {
        Value::Optional(value) => Ok(value.map(|v| (*v).clone())),
        other => {
            let ty = other.type_of();
            Err(EvalError::new(format!(
                "cannot initialize optional entry from non-optional value {}",
                crate::types::runtime_name(&ty)
            )))
        }
    }
}

fn is_attribute(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Ident(_) | Kind::Select { .. } => true,
        Kind::Call(call) => matches!(&*call.function, "_[_]" | "_[?_]" | "_?._"),
        _ => false,
    }
}

fn is_accumulator(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Ident(name) if &**name == ACCUMULATOR)
}

/// Selecting from what is no attribute begins a new one.
fn relative(operand: &Expr) -> u64 {
    u64::from(!is_attribute(operand))
}

/// The objects of a mutation are named by the path that leads to them.
fn check_names(name: &str, fields: &BTreeMap<String, Value<'_>>) -> Result<(), EvalError> {
    if name != "Object" && !name.starts_with("Object.") {
        return Ok(());
    }
    for (field, value) in fields {
        names_below(&format!("{name}.{field}"), value)?;
    }
    Ok(())
}

fn names_below(path: &str, value: &Value<'_>) -> Result<(), EvalError> {
    match value {
        Value::Object(object) if object.type_name() != path => Err(EvalError::new(format!(
            "type mismatch: unexpected type name {:?}, expected {path:?}, which matches field name path from root Object type",
            object.type_name()
        ))),
        Value::List(list @ List::Made(_)) => {
            list.iter().try_for_each(|item| names_below(path, &item?))
        }
        _ => Ok(()),
    }
}
