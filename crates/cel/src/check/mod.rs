//! The type checker: gives every node a type, finds the functions that calls mean, reports what does
//! not fit in upstream's words.
//!
//! Not here: parsing, and what callers want of the result's type.

mod literals;
mod unify;

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Call, Expr, Fold, Id, Kind, Literal};
use crate::env::Env;
use crate::library::{self, Overload};
use crate::source::CompileError;
use crate::types::{Fields, ObjectType, Type};
use unify::{Bindings, instantiate, most_general, params};

/// What checking finds: a type for every node.
pub struct Checked {
    pub types: Vec<Type>,
}

/// Checks an expression, completing its tree.
pub fn check(env: &Env, root: &mut Expr, nodes: usize) -> Result<Checked, Vec<CompileError>> {
    let mut checker = Checker {
        env,
        scopes: Vec::new(),
        types: vec![Type::Error; nodes],
        bindings: Bindings::default(),
        vars: 0,
        errors: Vec::new(),
    };
    checker.check(root);
    if checker.errors.is_empty() {
        literals::check(root, &mut checker.errors);
    }
    if !checker.errors.is_empty() {
        return Err(checker.errors);
    }
    let bindings = checker.bindings;
    let types = checker.types.iter().map(|ty| bindings.substitute(ty, true)).collect();
    Ok(Checked { types })
}

struct Checker<'e> {
    env: &'e Env,
    /// Variables of loops, the innermost last.
    scopes: Vec<(Arc<str>, Type)>,
    types: Vec<Type>,
    bindings: Bindings,
    vars: usize,
    errors: Vec<CompileError>,
}

impl Checker<'_> {
    fn fault(&mut self, offset: usize, message: String) {
        self.errors.push(CompileError::new(offset, message));
    }

    fn undeclared(&mut self, offset: usize, name: &str) -> Type {
        self.fault(offset, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn fresh(&mut self) -> Type {
        self.vars += 1;
        Type::Var(self.vars - 1)
    }

    fn type_of(&self, id: Id) -> Type {
        self.types[id].clone()
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(held, _)| &**held == name);
        local.map(|(_, ty)| ty.clone()).or_else(|| self.env.ident(name))
    }

    fn check(&mut self, expr: &mut Expr) {
        let ty = self.infer(expr);
        self.types[expr.id] = ty;
    }

    fn infer(&mut self, expr: &mut Expr) -> Type {
        let offset = expr.offset;
        // A dotted name may be one variable.
        if let (Kind::Select { test: false, .. }, Some(name)) = (&expr.kind, expr.qualified_name())
            && let Some(ty) = self.lookup(&name)
        {
            expr.kind = Kind::Ident(name.into());
            return ty;
        }
        match &mut expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => match self.lookup(name) {
                Some(ty) => ty,
                None => {
                    let name = name.clone();
                    self.undeclared(offset, &name)
                }
            },
            Kind::Select { operand, field, test } => {
                self.check(operand);
                let ty = self.field(operand.id, offset, field, false);
                if *test { Type::Bool } else { self.bindings.substitute(&ty, false) }
            }
            Kind::Call(_) => self.call(expr),
            Kind::List(items) => {
                let mut of: Option<Type> = None;
                for item in items {
                    self.check(&mut item.value);
                    let ty = self.element(&item.value, item.optional);
                    of = Some(self.join(item.value.offset, of, ty));
                }
                Type::list(of.unwrap_or_else(|| self.fresh()))
            }
            Kind::Map(entries) => {
                let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
                for entry in entries {
                    self.check(&mut entry.key);
                    let ty = self.type_of(entry.key.id);
                    key = Some(self.join(entry.key.offset, key, ty));
                    self.check(&mut entry.value);
                    let ty = self.element(&entry.value, entry.optional);
                    value = Some(self.join(entry.value.offset, value, ty));
                }
                let key = key.unwrap_or_else(|| self.fresh());
                let value = value.unwrap_or_else(|| self.fresh());
                Type::map(key, value)
            }
            Kind::Struct { .. } => self.object(expr),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    /// The type of an element, unwrapped where it is written as optional.
    fn element(&mut self, value: &Expr, optional: bool) -> Type {
        let ty = self.bindings.substitute(&self.type_of(value.id), false);
        match ty {
            Type::Optional(of) if optional => (*of).clone(),
            ty if optional && !ty.is_dyn_or_error() => {
                let wanted = Type::optional(ty.clone());
                self.fault(value.offset, format!("expected type '{wanted}' but found '{ty}'"));
                ty
            }
            ty => ty,
        }
    }

    fn join(&mut self, offset: usize, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.bindings.assignable(&previous, &current) {
            return most_general(&previous, &current);
        }
        self.mismatch(offset, &previous, &current);
        Type::Error
    }

    fn mismatch(&mut self, offset: usize, wanted: &Type, found: &Type) {
        let wanted = self.bindings.substitute(wanted, false);
        let found = self.bindings.substitute(found, false);
        self.fault(offset, format!("expected type '{wanted}' but found '{found}'"));
    }

    /// The type of a field of what a node holds.
    fn field(&mut self, operand: Id, offset: usize, field: &str, optional: bool) -> Type {
        let ty = self.bindings.substitute(&self.type_of(operand), false);
        let (target, wrapped) = match ty {
            Type::Optional(of) => ((*of).clone(), true),
            other => (other, false),
        };
        let result = match &target {
            Type::Map(map) => map.1.clone(),
            Type::Object(object) => self.object_field(object, offset, field),
            Type::Var(_) => {
                self.bindings.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            // Library types have functions only. Most are known for objects whose fields nobody knows.
            Type::Opaque(name) if !name.starts_with("net.") => {
                self.fault(offset, format!("unexpected failed resolution of '{name}'"));
                Type::Error
            }
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.fault(offset, message);
                Type::Dyn
            }
        };
        if wrapped || optional { Type::optional(result) } else { result }
    }

    fn object_field(&mut self, object: &ObjectType, offset: usize, field: &str) -> Type {
        match &object.fields {
            Fields::Any => Type::Dyn,
            Fields::Declared(fields) => match fields.get(field) {
                Some(found) => found.decl.ty.clone(),
                None => {
                    self.fault(offset, format!("undefined field '{field}'"));
                    Type::Error
                }
            },
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let offset = expr.offset;
        let Kind::Call(call) = &mut expr.kind else { return Type::Error };
        if &*call.function == "_?._" {
            return self.optional_select(call, offset);
        }
        for arg in &mut call.args {
            self.check(arg);
        }
        if let Some(target) = &mut call.target {
            // `ip.isCanonical(…)`: a function with a dot in its name.
            let full = target.qualified_name().map(|prefix| format!("{prefix}.{}", call.function));
            if let Some((name, overloads)) =
                full.and_then(|name| self.env.function(&name).map(|o| (name, o)))
            {
                call.function = name.into();
                call.target = None;
                return self.resolve(call, offset, overloads);
            }
            self.check(target);
        }
        match self.env.function(&call.function) {
            Some(overloads) => self.resolve(call, offset, overloads),
            None => {
                let name = call.function.clone();
                self.undeclared(offset, &name)
            }
        }
    }

    fn optional_select(&mut self, call: &mut Call, offset: usize) -> Type {
        let [operand, field] = call.args.as_mut_slice() else { return Type::Error };
        self.check(operand);
        self.types[field.id] = Type::String;
        let name = match &field.kind {
            Kind::Literal(Literal::String(name)) => name.clone(),
            _ => return Type::Error,
        };
        let ty = self.field(operand.id, offset, &name, true);
        call.overloads = library::function("_?._").map(<[_]>::to_vec).unwrap_or_default();
        self.bindings.substitute(&ty, false)
    }

    fn resolve(
        &mut self,
        call: &mut Call,
        offset: usize,
        overloads: &'static [&'static Overload],
    ) -> Type {
        if matches!(&*call.function, "_&&_" | "_||_") {
            let mut faulty = false;
            for arg in &call.args {
                let ty = self.type_of(arg.id);
                if !self.bindings.assignable(&ty, &Type::Bool) {
                    self.mismatch(arg.offset, &Type::Bool, &ty);
                    faulty = true;
                }
            }
            call.overloads = overloads.to_vec();
            return if faulty { Type::Error } else { Type::Bool };
        }
        let member = call.target.is_some();
        let args: Vec<Type> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .map(|e| self.type_of(e.id))
            .collect();
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|o| o.member == member) {
            let mut names = Vec::new();
            overload.params.iter().chain([&overload.result]).for_each(|ty| params(ty, &mut names));
            let mut vars = HashMap::new();
            for name in names {
                vars.insert(name, self.vars);
                self.vars += 1;
            }
            let wanted: Vec<Type> =
                overload.params.iter().map(|ty| instantiate(ty, &vars)).collect();
            // Upstream asks the other way round: whether the parameters fit the arguments.
            if !self.bindings.all_assignable(&args, &wanted) {
                continue;
            }
            call.overloads.push(overload);
            let ty = self.bindings.substitute(&instantiate(&overload.result, &vars), false);
            result = Some(match result {
                None => ty,
                Some(held) if held.is_dyn() || held == ty => held,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| {
            let types: Vec<String> =
                args.iter().map(|ty| self.bindings.substitute(ty, true).to_string()).collect();
            let signature = match (member, types.as_slice()) {
                (true, [target, rest @ ..]) => format!("{target}.({})", rest.join(", ")),
                (_, all) => format!("({})", all.join(", ")),
            };
            let name = call.function.clone();
            self.fault(
                offset,
                format!("found no matching overload for '{name}' applied to '{signature}'"),
            );
            Type::Error
        })
    }

    fn object(&mut self, expr: &mut Expr) -> Type {
        let offset = expr.offset;
        let Kind::Struct { name, fields } = &mut expr.kind else { return Type::Error };
        let ty = match self.env.object_type(name) {
            Some(ty) => ty,
            None => {
                let name = name.clone();
                return match self.env.ident(&name) {
                    Some(Type::Type(_)) => {
                        self.fault(offset, format!("'{name}' is not a message type"));
                        Type::Error
                    }
                    Some(other) => {
                        self.fault(offset, format!("'{other}' is not a type"));
                        Type::Error
                    }
                    None => self.undeclared(offset, &name),
                };
            }
        };
        for field in fields {
            self.check(&mut field.value);
            let wanted = self.object_field(&ty, field.offset, &field.name);
            let found = self.element(&field.value, field.optional);
            if !self.bindings.assignable(&wanted, &found) {
                let found = self.bindings.substitute(&found, false);
                self.fault(
                    field.offset,
                    format!(
                        "expected type of field '{}' is '{wanted}' but provided type is '{found}'",
                        field.name
                    ),
                );
            }
        }
        Type::Object(ty)
    }

    fn fold(&mut self, fold: &mut Fold) -> Type {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.bindings.substitute(&self.type_of(fold.range.id), false);
        let accu = self.type_of(fold.init.id);
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let (first, second) = match &range {
            Type::List(item) if fold.var2.is_some() => (Type::Int, (**item).clone()),
            Type::List(item) => ((**item).clone(), Type::Error),
            Type::Map(map) => (map.0.clone(), map.1.clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.bindings.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(fold.range.offset, message);
                (Type::Error, Type::Error)
            }
        };
        let outer = self.scopes.len();
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert(&fold.step, &accu);
        self.scopes.truncate(outer);
        self.check(&mut fold.result);
        self.scopes.truncate(outer - 1);
        self.bindings.substitute(&self.type_of(fold.result.id), false)
    }

    fn assert(&mut self, expr: &Expr, wanted: &Type) {
        let found = self.type_of(expr.id);
        if !self.bindings.assignable(wanted, &found) {
            self.mismatch(expr.offset, wanted, &found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
