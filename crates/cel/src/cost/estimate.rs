//! What an expression can cost, from the declared sizes of what it looks at.
//!
//! Follows the tree as evaluation would, with a range for every size. The path of a value through the
//! declarations (`self`, `items`, `@items`, `name`) says how big it can be.

use std::collections::HashMap;
use std::sync::Arc;

use super::{CostEstimate, FORMAT_REGEX, LIST, MAP, REGEX, Rule, SELECT, STRUCT, TEXT, rule};
use crate::ast::{ACCUMULATOR, Call, Expr, Fold, Id, Kind, Literal};
use crate::schema::Decl;
use crate::types::Type;

/// Sizes are ranges as costs are.
type Size = CostEstimate;
type Path = Option<Arc<[Arc<str>]>>;

/// The estimate for an expression whose nodes have these types.
pub(crate) fn estimate(
    root: &Expr,
    types: &[Type],
    decls: &HashMap<String, Arc<Decl>>,
) -> CostEstimate {
    let mut e = Estimator {
        types,
        decls,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    e.cost(root)
}

/// The sizes of a container's keys and values.
#[derive(Clone, Copy)]
struct Entries {
    list: bool,
    key: Size,
    value: Size,
}

#[derive(Clone)]
struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Size>,
    entries: Option<Entries>,
}

struct Estimator<'e> {
    types: &'e [Type],
    decls: &'e HashMap<String, Arc<Decl>>,
    paths: HashMap<Id, Path>,
    sizes: HashMap<Id, Size>,
    entries: HashMap<Id, Entries>,
    locals: Vec<Local>,
}

/// An argument as functions' costs see it.
#[derive(Clone)]
struct Node {
    path: Path,
    ty: Type,
    size: Option<Size>,
    int: Option<i64>,
}

const ONE: CostEstimate = CostEstimate::fixed(1);

fn union(a: Option<Entries>, b: Option<Entries>) -> Option<Entries> {
    let (a, b) = (a?, b?);
    Some(Entries { list: a.list, key: a.key.union(b.key), value: a.value.union(b.value) })
}

fn longer(path: &Path, step: &str) -> Path {
    let path = path.as_ref()?;
    Some(path.iter().cloned().chain([Arc::from(step)]).collect())
}

impl Estimator<'_> {
    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| &*l.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().flatten()
    }

    /// What is declared at a path.
    fn declared(&self, path: &Path) -> Option<Size> {
        let path = path.as_ref()?;
        let mut at = self.decls.get(&**path.first()?)?.clone();
        for step in &path[1..] {
            at = at.step(step)?;
        }
        Some(Size { min: 0, max: at.max_elements })
    }

    fn size(&mut self, expr: &Expr) -> Option<Size> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(n) = own_size(expr) {
            return Some(Size::fixed(n));
        }
        if let Some(size) = self.declared(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if is_scalar(&self.types[expr.id]) {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Size {
        self.size(expr).unwrap_or(Size::UNKNOWN)
    }

    fn entries(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.entries),
            _ => None,
        }
    }

    fn cost(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Literal(_) => CostEstimate::fixed(0),
            Kind::Ident(name) => {
                let path = match self.local(name) {
                    Some(local) => local.path.clone(),
                    None => Some([name.clone()].into()),
                };
                self.paths.insert(expr.id, path);
                CostEstimate::fixed(SELECT)
            }
            Kind::Select { operand, test: true, .. } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let sum = self.cost(operand);
                let path = longer(&self.path(operand), field);
                self.paths.insert(expr.id, path);
                match &self.types[operand.id] {
                    Type::Map(_) | Type::Object(_) | Type::Var(_) | Type::Param(_) => {
                        sum.plus(CostEstimate::fixed(SELECT))
                    }
                    _ => sum,
                }
            }
            Kind::Call(call) => self.call(expr, call),
            Kind::List(items) => {
                let mut sum = CostEstimate::fixed(LIST);
                let mut item = Size { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for i in items {
                    sum = sum.plus(self.cost(&i.value));
                    item = item.union(self.size_or_unknown(&i.value));
                }
                self.entries.insert(expr.id, Entries { list: true, key: ONE, value: item });
                sum
            }
            Kind::Map(entries) => {
                let mut sum = CostEstimate::fixed(MAP);
                let none = Size { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut key, mut value) = (none, none);
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, Entries { list: false, key, value });
                sum
            }
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(CostEstimate::fixed(STRUCT), |sum, f| sum.plus(self.cost(&f.value))),
            Kind::Fold(fold) if fold.is_bind() => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> CostEstimate {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let local = self.named(&fold.accu, &fold.init);
        self.locals.push(local);
        let sum = sum.plus(self.cost(&fold.result));
        if let Some(size) = self.size(&fold.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entries) = self.entries(&fold.result) {
            self.entries.insert(expr.id, entries);
        }
        self.locals.pop();
        sum
    }

    fn named(&mut self, name: &Arc<str>, value: &Expr) -> Local {
        Local {
            name: name.clone(),
            path: self.path(value),
            size: self.size(value),
            entries: self.entries(value),
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> CostEstimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        let accu = self.named(&fold.accu, &fold.init);
        self.locals.push(accu);
        let entries = self.entries(&fold.range);
        let path = self.path(&fold.range);
        let list = match entries {
            Some(entries) => entries.list,
            None => matches!(self.types[fold.range.id], Type::List(_)),
        };
        let mut push = |name: &Arc<str>, step: &str, size: Option<Size>| {
            let path = longer(&path, step);
            self.locals.push(Local { name: name.clone(), path, size, entries: None });
        };
        let (key, value) = (entries.map(|e| e.key), entries.map(|e| e.value));
        let values = if list { "@items" } else { "@values" };
        match &fold.var2 {
            Some(var2) => {
                push(&fold.var, if list { "@indices" } else { "@keys" }, key);
                push(var2, values, value);
            }
            None if list => push(&fold.var, "@items", value),
            None => push(&fold.var, "@keys", key),
        }
        let round = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.pop();
        if fold.var2.is_some() {
            self.locals.pop();
        }
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(round));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entries) = self.entries(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn node(&mut self, expr: &Expr) -> Node {
        let path = self.path(expr).filter(|p| p.first().is_none_or(|n| &**n != ACCUMULATOR));
        let int = match &expr.kind {
            Kind::Literal(Literal::Int(i)) => Some(*i),
            _ => None,
        };
        Node { path, ty: self.types[expr.id].clone(), size: self.size(expr), int }
    }

    fn call(&mut self, expr: &Expr, call: &Call) -> CostEstimate {
        if &*call.function == "dyn" {
            let Some(arg) = call.args.first() else { return ONE };
            let cost = self.cost(arg);
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entries) = self.entries(arg) {
                self.entries.insert(expr.id, entries);
            }
            return cost.plus(ONE);
        }
        let mut costs = Vec::with_capacity(call.args.len());
        let mut args = Vec::with_capacity(call.args.len());
        for arg in &call.args {
            costs.push(self.cost(arg));
            args.push(self.node(arg));
        }
        if call.overloads.is_empty() {
            return CostEstimate::fixed(0);
        }
        let mut sum = CostEstimate::fixed(0);
        let target = match &call.target {
            Some(target) => {
                sum = self.cost(target);
                Some(self.node(target))
            }
            None => None,
        };
        let mut own = CostEstimate { min: u64::MAX, max: 0 };
        let mut size: Option<Size> = None;
        for overload in &call.overloads {
            let (cost, result) =
                self.overload(expr, call, overload.id, target.as_ref(), &args, &costs);
            own = own.union(cost);
            if let Some(result) = result {
                size = Some(size.map_or(result, |held| held.union(result)));
            }
            let step = match overload.id {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if !step.is_empty()
                && let Some(of) = call.args.first()
            {
                size = self.entries(of).map(|e| e.value);
                let path = longer(&self.path(of), step);
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(own)
    }

    /// The size of an argument, by what is declared if need be.
    fn node_size(&self, node: Option<&Node>) -> Size {
        node.and_then(|n| n.size.or_else(|| self.declared(&n.path))).unwrap_or(Size::UNKNOWN)
    }

    /// The cost of one overload with its arguments, and the size of its result if that is known.
    fn overload(
        &mut self,
        expr: &Expr,
        call: &Call,
        id: &str,
        target: Option<&Node>,
        args: &[Node],
        costs: &[CostEstimate],
    ) -> (CostEstimate, Option<Size>) {
        let arguments = costs.iter().fold(CostEstimate::fixed(0), |sum, c| sum.plus(*c));
        if let Some((cost, size)) = self.library(&call.function, id, target, args) {
            return (cost.plus(arguments), size);
        }
        let size = |at: usize| args.get(at).and_then(|n| n.size).unwrap_or(Size::UNKNOWN);
        let of_target = target.and_then(|n| n.size).unwrap_or(Size::UNKNOWN);
        let (own, result) = match id {
            "string_format" => (of_target.scaled(TEXT), None),
            "string_to_bytes" => {
                let s = size(0);
                (s.scaled(TEXT), Some(Size { min: s.min, max: s.max.saturating_mul(4) }))
            }
            "bytes_to_string" => {
                let s = size(0);
                (s.scaled(TEXT), Some(Size { min: s.min / 4, max: s.max }))
            }
            "strings_quote" => {
                let s = size(0);
                let two = Size::fixed(2);
                (s.scaled(TEXT), Some(Size { min: s.min, max: s.max.saturating_mul(2) }.plus(two)))
            }
            "starts_with_string" | "ends_with_string" => (size(0).scaled(TEXT), None),
            "in_list" => (size(1), None),
            "matches_string" => {
                let text = of_target.plus(ONE).scaled(TEXT);
                (text.times(size(0).scaled(REGEX)), None)
            }
            "contains_string" => (of_target.scaled(TEXT).times(size(0).scaled(TEXT)), None),
            "logical_or" | "logical_and" => {
                let [a, b] = costs else { return (arguments, None) };
                return (CostEstimate { min: a.min, max: a.plus(*b).max }, None);
            }
            "conditional" => {
                let [condition, then, otherwise] = costs else { return (arguments, None) };
                let both = union(self.entries(&call.args[1]), self.entries(&call.args[2]));
                if let Some(entries) = both {
                    self.entries.insert(expr.id, entries);
                }
                let result = size(1).union(size(2));
                return (condition.plus(then.union(*otherwise)), Some(result));
            }
            "add_string" | "add_bytes" | "add_list" if args.len() == 2 => {
                let result = size(0).plus(size(1));
                let both = union(self.entries(&call.args[0]), self.entries(&call.args[1]));
                if let Some(entries) = both {
                    self.entries.insert(expr.id, entries);
                }
                (if id == "add_list" { ONE } else { result.scaled(TEXT) }, Some(result))
            }
            "equals" | "not_equals" => (compared(size(0), size(1)), None),
            _ if ordered_text(id) => (compared(size(0), size(1)), None),
            _ => (ONE, None),
        };
        (own.plus(arguments), result)
    }

    /// Functions of the libraries.
    fn library(
        &self,
        function: &str,
        id: &str,
        target: Option<&Node>,
        args: &[Node],
    ) -> Option<(CostEstimate, Option<Size>)> {
        // The target counts as the first argument of a member function.
        let all: Vec<&Node> = target.into_iter().chain(args).collect();
        let size = |at: usize| self.node_size(all.get(at).copied());
        if let Some(found) = self.lists(id, &all) {
            return Some(found);
        }
        match rule(function, id) {
            Some(Rule::Fixed(cost)) => return Some((CostEstimate::fixed(cost), None)),
            Some(Rule::Length(at, factor)) => {
                let cost = size(at).scaled(factor);
                let result = match function {
                    "url"
                    | "jsonpatch.escapeKey"
                    | "lowerAscii"
                    | "upperAscii"
                    | "substring"
                    | "trim" => Some(size(at)),
                    "replace" => Some(replaced(size(0), size(1), size(2))),
                    "split" => {
                        let limit = all.get(2).and_then(|n| n.int);
                        let most =
                            limit.map_or(size(0).max, |l| u64::try_from(l).unwrap_or(u64::MAX));
                        Some(Size { min: 0, max: most })
                    }
                    _ => None,
                };
                return Some((cost, result));
            }
            Some(Rule::Pattern) => {
                let text = size(0).plus(ONE).scaled(TEXT);
                let result = Size { min: 0, max: size(0).max };
                return Some((text.times(size(1).scaled(REGEX)), Some(result)));
            }
            None => {}
        }
        Some(match function {
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let target = target?;
                match &target.ty {
                    Type::List(item) => {
                        let mut each = ONE;
                        if matches!(**item, Type::String | Type::Bytes) {
                            each = each.plus(self.items(target).scaled(TEXT));
                        }
                        (size(0).times(each), None)
                    }
                    _ => (size(0).scaled(TEXT), None),
                }
            }
            "join" => {
                let target = target?;
                let count = size(0);
                let mut result = count.times(self.items(target));
                if !args.is_empty() {
                    let gaps =
                        Size { min: count.min.saturating_sub(1), max: count.max.saturating_sub(1) };
                    result = result.plus(size(1).times(gaps));
                }
                (result.scaled(TEXT), Some(result))
            }
            "containsIP" | "containsCIDR" => {
                let address = Size { min: 4, max: 16 };
                let mut cost = address.plus(address).scaled(TEXT);
                if function == "containsCIDR" {
                    cost = cost.plus(address.scaled(TEXT)).plus(ONE);
                }
                if id.ends_with("_string") {
                    cost = cost.plus(size(1).scaled(TEXT));
                }
                (cost, None)
            }
            "validate" => (size(1).scaled(TEXT).scaled(FORMAT_REGEX * REGEX), None),
            "fieldSelector" | "labelSelector" => {
                let requirements = size(1).scaled(0.5).scaled(50.0);
                let list = CostEstimate::fixed(LIST);
                (list.plus(size(1).scaled(TEXT)).plus(requirements), None)
            }
            "_==_" => match (&args.first()?.ty, &args.get(1)?.ty) {
                (Type::Opaque(a), Type::Opaque(b)) if a == b => match *a {
                    "kubernetes.NamedFormat" => {
                        (CostEstimate { min: 1, max: 64 }.scaled(TEXT), None)
                    }
                    "kubernetes.URL" => {
                        let most = args.get(1).and_then(|n| n.size).map_or(1, |s| s.max);
                        (CostEstimate { min: 1, max: most }.scaled(TEXT), None)
                    }
                    _ => (ONE, None),
                },
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The size of the items of a list.
    fn items(&self, list: &Node) -> Size {
        self.declared(&longer(&list.path, "@items")).unwrap_or(Size::UNKNOWN)
    }

    /// The list functions that make new lists.
    fn lists(&self, id: &str, all: &[&Node]) -> Option<(CostEstimate, Option<Size>)> {
        let size = |at: usize| self.node_size(all.get(at).copied());
        let int = |at: usize, default: u64| {
            let literal = all.get(at).and_then(|n| n.int);
            literal.map_or(default, |i| u64::try_from(i).unwrap_or(0))
        };
        let made = |factor: f64, n: Size| {
            let cost = n.scaled(factor).plus(CostEstimate::fixed(1 + LIST));
            Some((cost, Some(n)))
        };
        let compared = |at: usize, text: bool| {
            made(if text { 2.0 + TEXT } else { 2.0 }, size(at).times(size(at)))
        };
        match id {
            "list_slice" => {
                let end = int(2, size(0).max);
                made(1.0, Size::fixed(end.saturating_sub(int(1, 0))))
            }
            "lists_range" => made(1.0, Size::fixed(int(0, u64::MAX))),
            "list_reverse" => made(1.0, size(0)),
            "list_flatten" => made(1.0, size(0)),
            "list_flatten_int" => made(int(1, u64::MAX) as f64, size(0)),
            "list_distinct" => compared(0, false),
            id if id.ends_with("_sort") => compared(0, texts(id)),
            id if id.ends_with("_sortByAssociatedKeys") => compared(1, texts(id)),
            _ => None,
        }
    }
}

fn texts(id: &str) -> bool {
    id.starts_with("list_string_") || id.starts_with("list_bytes_")
}

fn ordered_text(id: &str) -> bool {
    (id.starts_with("less") || id.starts_with("greater"))
        && (id.ends_with("_string") || id.ends_with("_bytes"))
}

/// Two texts are compared as far as the shorter one goes.
fn compared(a: Size, b: Size) -> CostEstimate {
    let most = a.max.min(b.max);
    CostEstimate { min: u64::from(most > 0), max: most }.scaled(TEXT)
}

/// The size of a text in which one is replaced by another.
fn replaced(of: Size, what: Size, with: Size) -> Size {
    // How many replacements, and how much stays.
    let one = |length: u64, what: u64, changes: bool| -> (u64, u64) {
        if what == 0 {
            (length.saturating_add(1), length)
        } else if changes {
            (length.div_ceil(what), 0)
        } else {
            (0, length)
        }
    };
    let (most, stays_most) = one(of.max, what.min, with.max > what.min);
    let (least, stays_least) = one(of.min, what.max, what.max > with.min);
    Size { min: least, max: most }.times(with).plus(Size { min: stays_least, max: stays_most })
}

/// The size of what is written out in the expression.
fn own_size(expr: &Expr) -> Option<u64> {
    let n = match &expr.kind {
        Kind::Literal(Literal::String(s)) => s.chars().count(),
        Kind::Literal(Literal::Bytes(b)) => b.len(),
        Kind::Literal(_) => 1,
        Kind::List(items) => items.len(),
        Kind::Map(entries) => entries.len(),
        _ => return None,
    };
    Some(n as u64)
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
