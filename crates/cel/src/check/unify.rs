//! Which types fit which, and what is learnt about type variables on the way.
//!
//! Not here: the walk over an expression (`mod`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::types::Type;

/// What type variables stand for.
#[derive(Clone, Default)]
pub struct Bindings(HashMap<usize, Type>);

impl Bindings {
    /// Whether a value of `actual` may be given where `wanted` is; if so, what that says about type
    /// variables is kept.
    pub fn assignable(&mut self, wanted: &Type, actual: &Type) -> bool {
        let mut trial = self.clone();
        let fits = trial.fits(wanted, actual);
        if fits {
            *self = trial;
        }
        fits
    }

    /// The same for lists of types of one length.
    pub fn all_assignable(&mut self, wanted: &[Type], actual: &[Type]) -> bool {
        if wanted.len() != actual.len() {
            return false;
        }
        let mut trial = self.clone();
        let fits = wanted.iter().zip(actual).all(|(w, a)| trial.fits(w, a));
        if fits {
            *self = trial;
        }
        fits
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Var(n) = b {
            match self.stands_for(a, *n) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Var(n) = a {
            return self.stands_for(b, *n).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
                self.fits(a, b)
            }
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    /// Whether a variable may stand for a type, and whether it stood for one before.
    fn stands_for(&mut self, ty: &Type, var: usize) -> (bool, bool) {
        if *ty == Type::Var(var) {
            return (true, true);
        }
        if let Some(bound) = self.0.get(&var).cloned() {
            if *ty == bound {
                return (true, true);
            }
            if !self.fits(ty, &bound) {
                return (false, true);
            }
            let general = most_general(ty, &bound);
            if !self.mentions(&general, var) {
                self.0.insert(var, general);
            }
            return (true, true);
        }
        if self.mentions(ty, var) {
            return (false, false);
        }
        self.0.insert(var, ty.clone());
        (true, false)
    }

    fn mentions(&self, ty: &Type, var: usize) -> bool {
        match ty {
            Type::Var(n) => {
                *n == var || self.0.get(n).is_some_and(|bound| self.mentions(bound, var))
            }
            Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => self.mentions(of, var),
            Type::Map(map) => self.mentions(&map.0, var) || self.mentions(&map.1, var),
            _ => false,
        }
    }

    /// A type with its variables replaced by what they stand for; free ones by `dyn` at the end.
    pub fn substitute(&self, ty: &Type, last: bool) -> Type {
        match ty {
            Type::Var(n) => match self.0.get(n) {
                Some(bound) => self.substitute(bound, last),
                None if last => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(of) => Type::list(self.substitute(of, last)),
            Type::Optional(of) => Type::optional(self.substitute(of, last)),
            Type::Map(map) => {
                Type::map(self.substitute(&map.0, last), self.substitute(&map.1, last))
            }
            Type::Type(Some(of)) => Type::Type(Some(Arc::new(self.substitute(of, last)))),
            other => other.clone(),
        }
    }
}

/// A signature's parameters (`A`) as the variables of one use of it.
pub fn instantiate(ty: &Type, vars: &HashMap<char, usize>) -> Type {
    match ty {
        Type::Param(name) => vars.get(name).map_or(Type::Dyn, |n| Type::Var(*n)),
        Type::List(of) => Type::list(instantiate(of, vars)),
        Type::Optional(of) => Type::optional(instantiate(of, vars)),
        Type::Map(map) => Type::map(instantiate(&map.0, vars), instantiate(&map.1, vars)),
        Type::Type(Some(of)) => Type::Type(Some(Arc::new(instantiate(of, vars)))),
        other => other.clone(),
    }
}

/// The parameters that a signature mentions.
pub fn params(ty: &Type, out: &mut Vec<char>) {
    match ty {
        Type::Param(name) if !out.contains(name) => out.push(*name),
        Type::List(of) | Type::Optional(of) | Type::Type(Some(of)) => params(of, out),
        Type::Map(map) => {
            params(&map.0, out);
            params(&map.1, out);
        }
        _ => {}
    }
}

fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null
            | Type::Object(_)
            | Type::Opaque(_)
            | Type::Optional(_)
            | Type::Timestamp
            | Type::Duration
    )
}

/// Of two types that fit, the one that says less.
pub fn most_general(a: &Type, b: &Type) -> Type {
    if says_no_more(a, b) { a.clone() } else { b.clone() }
}

fn says_no_more(a: &Type, b: &Type) -> bool {
    if a.is_dyn_or_error() || matches!(a, Type::Var(_)) {
        return true;
    }
    if b.is_dyn_or_error() || matches!(b, Type::Var(_)) {
        return false;
    }
    match (a, b) {
        (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => {
            says_no_more(a, b)
        }
        (Type::Map(a), Type::Map(b)) => says_no_more(&a.0, &b.0) && says_no_more(&a.1, &b.1),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a == b,
    }
}
