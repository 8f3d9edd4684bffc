//! Policies and bindings as they are used: read once, expressions compiled.
//!
//! Also what is wrong with the expressions of a policy that somebody wants to store.

use api::{Cause, Map, Object, Reason, Value as Json};
use cel::{Env, Type};

use super::super::expression::{
    self, Condition, Expression, May, Variables, compile, with_variables,
};
use super::super::lookup::{maps, text};
use super::super::matching::Constraints;

/// A policy of either kind.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    /// Whether what cannot be evaluated lets the write pass.
    pub ignores_failure: bool,
    pub constraints: Constraints,
    /// `apiVersion` and `kind`.
    pub param_kind: Option<(String, String)>,
    pub conditions: Vec<Condition>,
    pub variables: Variables,
    pub validations: Vec<Validation>,
    /// Keys with the expressions of their values.
    pub audits: Vec<(String, Expression)>,
    pub mutations: Vec<Mutation>,
    /// Whether it wants to see what others have changed.
    pub reinvoked: bool,
}

/// One of `validations`.
#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: Reason,
}

/// One of `mutations`.
#[derive(Debug)]
pub(super) enum Mutation {
    Apply(Expression),
    Json(Expression),
}

fn spec(object: &Object) -> Map<String, Json> {
    object.at("spec").and_then(Json::as_object).cloned().unwrap_or_default()
}

fn param_kind(spec: &Map<String, Json>) -> Option<(String, String)> {
    let kind = spec.get("paramKind")?.as_object()?;
    Some((text(kind, "apiVersion").to_owned(), text(kind, "kind").to_owned()))
}

/// The type that an apply configuration has.
fn object_type() -> Type {
    Type::any_object("Object")
}

/// The type that a JSON patch has.
fn patch_type() -> Type {
    Type::list(Type::any_object("JSONPatch"))
}

impl Policy {
    /// Reads a policy of either kind.
    pub fn compile(object: &Object) -> Self {
        let spec = spec(object);
        let params = spec.get("paramKind").is_some_and(|k| !k.is_null());
        let may = |authorizer, mutate| expression::env(May { params, authorizer, mutate });
        let mutates = spec.contains_key("mutations");
        let (variables, full) = Variables::read(spec.get("variables"), may(true, mutates));
        // Messages may not depend on who asks.
        let (_, quiet) = Variables::read(spec.get("variables"), may(false, false));
        let empty = Map::new();
        let constraints = spec.get("matchConstraints").and_then(Json::as_object).unwrap_or(&empty);
        Self {
            name: object.name().to_owned(),
            ignores_failure: text(&spec, "failurePolicy") == "Ignore",
            constraints: Constraints::read(constraints, "resourceRules"),
            param_kind: param_kind(&spec),
            conditions: expression::conditions(spec.get("matchConditions"), may(true, false)),
            validations: maps(spec.get("validations"))
                .map(|v| validation(v, &full, &quiet))
                .collect(),
            audits: maps(spec.get("auditAnnotations"))
                .map(|a| {
                    let wanted = [Type::String, Type::Null];
                    let value = Expression::new(&full, text(a, "valueExpression"), &wanted);
                    (text(a, "key").to_owned(), value)
                })
                .collect(),
            mutations: maps(spec.get("mutations")).map(|m| mutation(m, &full)).collect(),
            reinvoked: text(&spec, "reinvocationPolicy") == "IfNeeded",
            variables,
        }
    }
}

fn validation(map: &Map<String, Json>, full: &Env, quiet: &Env) -> Validation {
    let computed = text(map, "messageExpression");
    Validation {
        expression: Expression::new(full, text(map, "expression"), &[Type::Bool]),
        message: text(map, "message").trim().to_owned(),
        message_expression: (!computed.is_empty())
            .then(|| Expression::new(quiet, computed, &[Type::String])),
        reason: match text(map, "reason") {
            "" => Reason::Invalid,
            reason => Reason::parse(reason),
        },
    }
}

fn inner<'a>(map: &'a Map<String, Json>, key: &str) -> &'a str {
    map.get(key).and_then(Json::as_object).map_or("", |m| text(m, "expression"))
}

fn mutation(map: &Map<String, Json>, env: &Env) -> Mutation {
    match text(map, "patchType") {
        "JSONPatch" => {
            Mutation::Json(Expression::new(env, inner(map, "jsonPatch"), &[patch_type()]))
        }
        _ => Mutation::Apply(Expression::new(
            env,
            inner(map, "applyConfiguration"),
            &[object_type()],
        )),
    }
}

/// A binding of either kind.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    pub policy: String,
    pub constraints: Option<Constraints>,
    pub param_ref: Option<Map<String, Json>>,
    /// `Deny`, `Warn`, `Audit`.
    pub actions: Vec<String>,
}

impl Binding {
    /// Reads a binding of either kind.
    pub fn read(object: &Object) -> Option<Self> {
        let spec = object.at("spec")?.as_object()?;
        let actions = spec.get("validationActions").and_then(Json::as_array).into_iter().flatten();
        let constraints = spec.get("matchResources").and_then(Json::as_object);
        Some(Self {
            name: object.name().to_owned(),
            policy: text(spec, "policyName").to_owned(),
            constraints: constraints.map(|c| Constraints::read(c, "resourceRules")),
            param_ref: spec.get("paramRef").and_then(Json::as_object).cloned(),
            actions: actions.filter_map(Json::as_str).map(str::to_owned).collect(),
        })
    }
}

/// Notes an expression that does not compile to one of some types.
pub(super) fn check(env: &Env, source: &str, wanted: &[Type], field: String, out: &mut Vec<Cause>) {
    if source.trim().is_empty() {
        return;
    }
    if let Err(why) = compile(env, source, wanted) {
        out.push(Cause::invalid(field, &Json::from(source), &why));
    }
}

/// What is wrong with the expressions of a policy.
pub(super) fn faults(kind: &str, object: &Object) -> Vec<Cause> {
    let spec = spec(object);
    let params = spec.get("paramKind").is_some_and(|k| !k.is_null());
    let mutates = kind == "MutatingAdmissionPolicy";
    let mut out = Vec::new();
    let env = |authorizer, mutate| expression::env(May { params, authorizer, mutate });
    for (at, condition) in maps(spec.get("matchConditions")).enumerate() {
        let field = format!("spec.matchConditions[{at}].expression");
        let source = text(condition, "expression").trim();
        check(env(true, false), source, &[Type::Bool], field, &mut out);
    }
    let mut types: Vec<(String, Type)> = Vec::new();
    for (at, variable) in maps(spec.get("variables")).enumerate() {
        let full = with_variables(env(true, mutates), &types);
        let source = text(variable, "expression");
        check(&full, source, &[], format!("spec.variables[{at}].expression"), &mut out);
        let expression = Expression::new(&full, source, &[]);
        types.push((text(variable, "name").to_owned(), expression.output_type()));
    }
    let full = with_variables(env(true, mutates), &types);
    let quiet = with_variables(env(false, false), &types);
    for (at, one) in maps(spec.get("validations")).enumerate() {
        let field = format!("spec.validations[{at}]");
        let wanted = [Type::Bool];
        check(&full, text(one, "expression"), &wanted, format!("{field}.expression"), &mut out);
        let computed = text(one, "messageExpression");
        let field = format!("{field}.messageExpression");
        check(&quiet, computed, &[Type::String], field, &mut out);
    }
    for (at, one) in maps(spec.get("auditAnnotations")).enumerate() {
        let field = format!("spec.auditAnnotations[{at}].valueExpression");
        let wanted = [Type::String, Type::Null];
        check(&full, text(one, "valueExpression"), &wanted, field, &mut out);
    }
    for (at, one) in maps(spec.get("mutations")).enumerate() {
        let (key, wanted) = match text(one, "patchType") {
            "JSONPatch" => ("jsonPatch", patch_type()),
            "ApplyConfiguration" => ("applyConfiguration", object_type()),
            _ => continue,
        };
        let field = format!("spec.mutations[{at}].{key}.expression");
        check(&full, inner(one, key).trim(), &[wanted], field, &mut out);
    }
    out
}
