//! Macros: calls that stand for loops and tests, expanded while parsing.
//!
//! The loops have upstream's exact shape: costs are counted over them.

use std::sync::Arc;

use super::{Parse, Parser, Stop};
use crate::ast::{ACCUMULATOR, Call, Expr, Fold, Item, Kind, Literal};

/// The loop variable of macros that do not loop.
const UNUSED: &str = "#unused";

impl Parser<'_> {
    pub(super) fn global_call(
        &mut self,
        offset: usize,
        name: &str,
        mut args: Vec<Expr>,
    ) -> Parse<Expr> {
        if name == "has" && args.len() == 1 {
            let arg = args.remove(0);
            return match arg.kind {
                Kind::Select { operand, field, test: false } => {
                    Ok(self.node(offset, Kind::Select { operand, field, test: true }))
                }
                _ => self.refuse(&arg, "invalid argument to has() macro"),
            };
        }
        Ok(self.call(offset, name, args))
    }

    pub(super) fn member_call(
        &mut self,
        offset: usize,
        target: Expr,
        name: &str,
        args: Vec<Expr>,
    ) -> Parse<Expr> {
        if self.bindings
            && name == "bind"
            && args.len() == 3
            && let Kind::Ident(cel) = &target.kind
            && &**cel == "cel"
        {
            return self.bind(offset, args);
        }
        let mut m = Expansion { p: self, offset };
        match (name, args.len()) {
            ("all" | "exists" | "exists_one" | "existsOne", 2 | 3) => {
                m.quantifier(name, target, args)
            }
            ("map", 2 | 3) => m.map(target, args),
            ("filter", 2) => m.filter(target, args),
            ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
                m.transform(name, target, args)
            }
            ("optMap" | "optFlatMap", 2) => m.opt_map(name, target, args),
            ("sortBy", 2) => m.sort_by(target, args),
            _ => {
                let call = Call {
                    function: name.into(),
                    target: Some(Box::new(target)),
                    args,
                    overloads: Vec::new(),
                };
                Ok(self.node(offset, Kind::Call(call)))
            }
        }
    }

    fn refuse<T>(&mut self, at: &Expr, message: &str) -> Parse<T> {
        self.fault(at.offset, message);
        Err(Stop)
    }

    fn bind(&mut self, offset: usize, args: Vec<Expr>) -> Parse<Expr> {
        let mut m = Expansion { p: self, offset };
        let [var, value, body] = m.take(args)?;
        let var = match &var.kind {
            Kind::Ident(name) => name.clone(),
            _ => return m.p.refuse(&var, "cel.bind() variable names must be simple identifiers"),
        };
        Ok(m.let_in(var, value, body))
    }
}

/// One macro being expanded: all new nodes stand where it stands.
struct Expansion<'p, 's> {
    p: &'p mut Parser<'s>,
    offset: usize,
}

/// A loop's own parts.
struct Loop {
    init: Kind,
    condition: Expr,
    step: Expr,
    result: Expr,
}

impl Expansion<'_, '_> {
    fn take<const N: usize>(&mut self, args: Vec<Expr>) -> Parse<[Expr; N]> {
        // The callers have counted.
        args.try_into().map_err(|_| Stop)
    }

    fn node(&mut self, kind: Kind) -> Expr {
        self.p.node(self.offset, kind)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.p.call(self.offset, function, args)
    }

    fn ident(&mut self, name: &Arc<str>) -> Expr {
        self.node(Kind::Ident(name.clone()))
    }

    fn accu(&mut self) -> Expr {
        self.node(Kind::Ident(ACCUMULATOR.into()))
    }

    fn literal(&mut self, value: Literal) -> Expr {
        self.node(Kind::Literal(value))
    }

    fn var(&mut self, arg: &Expr) -> Parse<Arc<str>> {
        match &arg.kind {
            Kind::Ident(name) if &**name == "__result__" => {
                self.p.refuse(arg, "iteration variable overwrites accumulator variable")
            }
            Kind::Ident(name) => Ok(name.clone()),
            _ => self.p.refuse(arg, "argument must be a simple name"),
        }
    }

    /// One or two loop variables off the front of the arguments.
    fn vars(&mut self, args: &mut Vec<Expr>, two: bool) -> Parse<(Arc<str>, Option<Arc<str>>)> {
        let first = args.remove(0);
        let var = self.var(&first)?;
        if !two {
            return Ok((var, None));
        }
        let second = args.remove(0);
        let var2 = self.var(&second)?;
        if var == var2 {
            return self.p.refuse(&second, &format!("duplicate variable name: {var}"));
        }
        Ok((var, Some(var2)))
    }

    fn fold(&mut self, range: Expr, vars: (Arc<str>, Option<Arc<str>>), parts: Loop) -> Expr {
        let init = self.node(parts.init);
        let fold = Fold {
            range,
            var: vars.0,
            var2: vars.1,
            accu: ACCUMULATOR.into(),
            init,
            condition: parts.condition,
            step: parts.step,
            result: parts.result,
        };
        self.node(Kind::Fold(Box::new(fold)))
    }

    /// `body` with `var` standing for `value`.
    fn let_in(&mut self, var: Arc<str>, value: Expr, body: Expr) -> Expr {
        let range = self.node(Kind::List(Vec::new()));
        let condition = self.literal(Literal::Bool(false));
        let step = self.ident(&var);
        let fold = Fold {
            range,
            var: UNUSED.into(),
            var2: None,
            accu: var,
            init: value,
            condition,
            step,
            result: body,
        };
        self.node(Kind::Fold(Box::new(fold)))
    }

    fn quantifier(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Parse<Expr> {
        let two = args.len() == 3;
        let vars = self.vars(&mut args, two)?;
        let predicate = args.remove(0);
        let parts = match name {
            "all" => {
                let accu = self.accu();
                let condition = self.call("@not_strictly_false", vec![accu]);
                let accu = self.accu();
                let step = self.call("_&&_", vec![accu, predicate]);
                let init = Kind::Literal(Literal::Bool(true));
                Loop { init, condition, step, result: self.accu() }
            }
            "exists" => {
                let accu = self.accu();
                let not = self.call("!_", vec![accu]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let accu = self.accu();
                let step = self.call("_||_", vec![accu, predicate]);
                let init = Kind::Literal(Literal::Bool(false));
                Loop { init, condition, step, result: self.accu() }
            }
            _ => {
                let condition = self.literal(Literal::Bool(true));
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let more = self.call("_+_", vec![accu, one]);
                let accu = self.accu();
                let step = self.call("_?_:_", vec![predicate, more, accu]);
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let result = self.call("_==_", vec![accu, one]);
                Loop { init: Kind::Literal(Literal::Int(0)), condition, step, result }
            }
        };
        Ok(self.fold(target, vars, parts))
    }

    /// A loop that collects a list, or a map by `insert`.
    fn collect(
        &mut self,
        target: Expr,
        vars: (Arc<str>, Option<Arc<str>>),
        init: Kind,
        keep: Option<Expr>,
        insert: Expr,
    ) -> Expr {
        let step = match keep {
            Some(keep) => {
                let accu = self.accu();
                self.call("_?_:_", vec![keep, insert, accu])
            }
            None => insert,
        };
        let condition = self.literal(Literal::Bool(true));
        let result = self.accu();
        self.fold(target, vars, Loop { init, condition, step, result })
    }

    fn append(&mut self, value: Expr) -> Expr {
        let one = self.node(Kind::List(vec![Item { value, optional: false }]));
        let accu = self.accu();
        self.call("_+_", vec![accu, one])
    }

    fn simple_var(&mut self, arg: &Expr) -> Parse<Arc<str>> {
        match &arg.kind {
            Kind::Ident(name) => Ok(name.clone()),
            _ => self.p.refuse(arg, "argument is not an identifier"),
        }
    }

    fn map(&mut self, target: Expr, mut args: Vec<Expr>) -> Parse<Expr> {
        let first = args.remove(0);
        let var = self.simple_var(&first)?;
        let keep = (args.len() == 2).then(|| args.remove(0));
        let insert = self.append(args.remove(0));
        Ok(self.collect(target, (var, None), Kind::List(Vec::new()), keep, insert))
    }

    fn filter(&mut self, target: Expr, args: Vec<Expr>) -> Parse<Expr> {
        let [first, keep] = self.take(args)?;
        let var = self.simple_var(&first)?;
        let element = self.ident(&var);
        let insert = self.append(element);
        Ok(self.collect(target, (var, None), Kind::List(Vec::new()), Some(keep), insert))
    }

    fn transform(&mut self, name: &str, target: Expr, mut args: Vec<Expr>) -> Parse<Expr> {
        let vars = self.vars(&mut args, true)?;
        let keep = (args.len() == 2).then(|| args.remove(0));
        let value = args.remove(0);
        let (init, insert) = match name {
            "transformList" => (Kind::List(Vec::new()), self.append(value)),
            "transformMap" => {
                let (accu, key) = (self.accu(), self.ident(&vars.0));
                (Kind::Map(Vec::new()), self.call("cel.@mapInsert", vec![accu, key, value]))
            }
            _ => {
                let accu = self.accu();
                (Kind::Map(Vec::new()), self.call("cel.@mapInsert", vec![accu, value]))
            }
        };
        Ok(self.collect(target, vars, init, keep, insert))
    }

    fn method(&mut self, target: Expr, name: &str, args: Vec<Expr>) -> Expr {
        let call = Call {
            function: name.into(),
            target: Some(Box::new(target)),
            args,
            overloads: Vec::new(),
        };
        self.node(Kind::Call(call))
    }

    fn opt_map(&mut self, name: &str, target: Expr, args: Vec<Expr>) -> Parse<Expr> {
        let [first, body] = self.take(args)?;
        let var = match &first.kind {
            Kind::Ident(var) => var.clone(),
            _ => {
                let message = format!("{name}() variable name must be a simple identifier");
                return self.p.refuse(&first, &message);
            }
        };
        // The target is worked out once.
        let held: Arc<str> = "@target".into();
        let it = self.ident(&held);
        let has = self.method(it, "hasValue", Vec::new());
        let it = self.ident(&held);
        let value = self.method(it, "value", Vec::new());
        let mut then = self.let_in(var, value, body);
        if name == "optMap" {
            then = self.call("optional.of", vec![then]);
        }
        let none = self.call("optional.none", Vec::new());
        let choice = self.call("_?_:_", vec![has, then, none]);
        Ok(self.let_in(held, target, choice))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Parse<Expr> {
        let held: Arc<str> = "@__sortBy_input__".into();
        let input = self.ident(&held);
        let keys = self.map(input, args)?;
        let input = self.ident(&held);
        let sorted = self.method(input, "@sortByAssociatedKeys", vec![keys]);
        Ok(self.let_in(held, target, sorted))
    }
}
