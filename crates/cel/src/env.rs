//! Environments: the variables and types that expressions may name; and what compiling in one makes.
//!
//! Not here: the functions, which are the same in every environment (`library`).

use std::collections::HashMap;
use std::sync::Arc;

use crate::EvalError;
use crate::ast::{Expr, Kind};
use crate::check;
use crate::cost::{self, CostEstimate};
use crate::eval::{self, Activation, Budget};
use crate::library::{self, Overload, opaque};
use crate::parse;
use crate::schema::Decl;
use crate::source::CompileErrors;
use crate::types::{ObjectType, Type};
use crate::value::Value;

/// What expressions may name.
#[derive(Clone, Debug, Default)]
pub struct Env {
    vars: HashMap<String, Var>,
    objects: HashMap<String, Arc<ObjectType>>,
    /// Whether `Object…{}` and `JSONPatch{}` make new objects.
    mutation: bool,
    bindings: bool,
}

#[derive(Clone, Debug)]
struct Var {
    ty: Type,
    decl: Option<Arc<Decl>>,
}

/// Makes an [`Env`].
#[derive(Clone, Debug, Default)]
pub struct EnvBuilder {
    env: Env,
}

impl EnvBuilder {
    /// A variable of a type. A dotted name is one variable, too.
    #[must_use]
    pub fn variable(mut self, name: &str, ty: Type) -> Self {
        let decl = match &ty {
            Type::Object(_) => Some(Arc::new(Decl::simple(ty.clone()))),
            _ => None,
        };
        self.env.vars.insert(name.to_owned(), Var { ty, decl });
        self
    }

    /// A variable of a declared type; estimates know how big it can be.
    #[must_use]
    pub fn declared(mut self, name: &str, decl: &Arc<Decl>) -> Self {
        let var = Var { ty: decl.ty.clone(), decl: Some(decl.clone()) };
        self.env.vars.insert(name.to_owned(), var);
        self
    }

    /// The same, where it may be missing.
    #[must_use]
    pub fn declared_optional(mut self, name: &str, decl: &Arc<Decl>) -> Self {
        let ty = Type::optional(decl.ty.clone());
        self.env.vars.insert(name.to_owned(), Var { ty, decl: Some(decl.clone()) });
        self
    }

    /// A type whose objects expressions may make.
    #[must_use]
    pub fn object_type(mut self, ty: Arc<ObjectType>) -> Self {
        self.env.objects.insert(ty.name.clone(), ty);
        self
    }

    /// Lets expressions make `Object{…}`, `Object.spec{…}` and `JSONPatch{…}`.
    #[must_use]
    pub fn mutation(mut self) -> Self {
        self.env.mutation = true;
        let fields = [
            ("op", Type::String),
            ("path", Type::String),
            ("from", Type::String),
            ("value", Type::Dyn),
        ];
        if let Type::Object(patch) = Type::object("JSONPatch", &fields) {
            self = self.object_type(patch);
        }
        self
    }

    /// Switches `cel.bind()` on.
    #[must_use]
    pub fn bindings(mut self) -> Self {
        self.env.bindings = true;
        self
    }

    /// The environment.
    pub fn build(self) -> Env {
        self.env
    }
}

impl Env {
    /// An environment with nothing but the functions.
    pub fn builder() -> EnvBuilder {
        EnvBuilder::default()
    }

    /// To add to this environment.
    pub fn extend(&self) -> EnvBuilder {
        EnvBuilder { env: self.clone() }
    }

    /// Parses and checks an expression.
    pub fn compile(&self, source: &str) -> Result<Program, CompileErrors> {
        let mut parsed = parse::parse(source, self.bindings)?;
        let checked = check::check(self, &mut parsed.root, parsed.nodes)
            .map_err(|errors| CompileErrors::new(source, errors))?;
        let output = checked.types[parsed.root.id].clone();
        let decls = self
            .vars
            .iter()
            .filter_map(|(name, var)| Some((name.clone(), var.decl.clone()?)))
            .collect();
        let cost = cost::estimate(&parsed.root, &checked.types, &decls);
        let mut names = Vec::new();
        idents(&parsed.root, &mut names);
        names.sort();
        names.dedup();
        Ok(Program { root: parsed.root, output, cost, names, mutation: self.mutation })
    }

    /// The type of a name: of a variable, or of the name of a type.
    pub(crate) fn ident(&self, name: &str) -> Option<Type> {
        match self.vars.get(name) {
            Some(var) => Some(var.ty.clone()),
            None => named_type(name)
                .or_else(|| self.object_type(name).map(Type::Object))
                .map(|ty| Type::Type(Some(Arc::new(ty)))),
        }
    }

    pub(crate) fn function(&self, name: &str) -> Option<&'static [&'static Overload]> {
        library::function(name)
    }

    /// A type that expressions may make objects of.
    pub(crate) fn object_type(&self, name: &str) -> Option<Arc<ObjectType>> {
        if let Some(ty) = self.objects.get(name) {
            return Some(ty.clone());
        }
        if self.mutation
            && (name == "Object" || name.starts_with("Object."))
            && let Type::Object(ty) = Type::any_object(name)
        {
            return Some(ty);
        }
        None
    }
}

/// The types that have names everywhere.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "null_type" => Type::Null,
        "type" => Type::Type(None),
        "dyn" => Type::Dyn,
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        _ => {
            let (_, name) = opaque::NAMES.iter().find(|(_, full)| *full == name)?;
            Type::Opaque(name)
        }
    })
}

fn idents(expr: &Expr, out: &mut Vec<Arc<str>>) {
    match &expr.kind {
        Kind::Literal(_) => {}
        Kind::Ident(name) => out.push(name.clone()),
        Kind::Select { operand, .. } => idents(operand, out),
        Kind::Call(call) => {
            call.target.as_deref().into_iter().chain(&call.args).for_each(|e| idents(e, out));
        }
        Kind::List(items) => items.iter().for_each(|i| idents(&i.value, out)),
        Kind::Map(entries) => {
            for entry in entries {
                idents(&entry.key, out);
                idents(&entry.value, out);
            }
        }
        Kind::Struct { fields, .. } => fields.iter().for_each(|f| idents(&f.value, out)),
        Kind::Fold(f) => {
            for part in [&f.range, &f.init, &f.condition, &f.step, &f.result] {
                idents(part, out);
            }
        }
    }
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Program {
    root: Expr,
    output: Type,
    cost: CostEstimate,
    names: Vec<Arc<str>>,
    mutation: bool,
}

impl Program {
    /// The type of its value.
    pub fn output_type(&self) -> &Type {
        &self.output
    }

    /// What one evaluation can cost.
    pub fn cost_estimate(&self) -> CostEstimate {
        self.cost
    }

    /// Whether it mentions a variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.iter().any(|held| &**held == name)
    }

    /// Its value with variables; what it costs is taken from the budget.
    pub fn eval<'a>(
        &self,
        vars: &Activation<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        eval::run(&self.root, vars, budget, self.mutation)
    }
}
