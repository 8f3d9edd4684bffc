//! Expressions in admission: what they may name, what they are evaluated with, match conditions.
//!
//! Not here: what policies make of the answers (`policy`); the language (`cel`).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::{Arc, LazyLock};

use api::{Map, Resource, Value as Json};
use cel::{
    Activation, AuthzCheck, AuthzDecision, Budget, Decl, Env, EvalError, EvalErrorKind, LazyObject,
    Object, Program, Type, Value,
};
use serde_json::json;

use super::lookup::{maps, text};
use super::matching::namespace_of;
use crate::authz::Authz;
use crate::gate::{Attributes, Authorizer as _, Decision, UserInfo, Write};

/// The type of `authorizer`.
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
/// What the match conditions of one policy or webhook may cost together.
const CONDITIONS_BUDGET: u64 = 2_500_000;

static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    use Type::{Bool, Dyn, String};
    let gvk = Type::object(
        "kubernetes.GroupVersionKind",
        &[("group", String), ("version", String), ("kind", String)],
    );
    let gvr = Type::object(
        "kubernetes.GroupVersionResource",
        &[("group", String), ("version", String), ("resource", String)],
    );
    let texts = || Type::list(String);
    let user = Type::object(
        "kubernetes.UserInfo",
        &[
            ("username", String),
            ("uid", String),
            ("groups", texts()),
            ("extra", Type::map(String, texts())),
        ],
    );
    Arc::new(Decl::simple(Type::object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", gvk.clone()),
            ("resource", gvr.clone()),
            ("subResource", String),
            ("requestKind", gvk),
            ("requestResource", gvr),
            ("requestSubResource", String),
            ("name", String),
            ("namespace", String),
            ("operation", String),
            ("userInfo", user),
            ("dryRun", Bool),
            ("options", Dyn),
        ],
    )))
});

static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    use Type::{Int, String, Timestamp};
    let texts = || Type::list(String);
    let condition = Type::object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", String),
            ("type", String),
            ("lastTransitionTime", Timestamp),
            ("message", String),
            ("reason", String),
        ],
    );
    let meta = Type::object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", String),
            ("generateName", String),
            ("namespace", String),
            ("labels", Type::map(String, String)),
            ("annotations", Type::map(String, String)),
            ("UID", String),
            ("creationTimestamp", Timestamp),
            ("deletionGracePeriodSeconds", Int),
            ("deletionTimestamp", Timestamp),
            ("generation", Int),
            ("resourceVersion", String),
            ("finalizers", texts()),
        ],
    );
    let spec = Type::object("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    let status = Type::object(
        "kubernetes.NamespaceStatus",
        &[("conditions", Type::list(condition)), ("phase", String)],
    );
    Arc::new(Decl::simple(Type::object(
        "kubernetes.Namespace",
        &[("metadata", meta), ("spec", spec), ("status", status)],
    )))
});

/// What expressions of one place may name, besides the objects and the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct May {
    /// `params`.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// `Object{}` and `JSONPatch{}`.
    pub mutate: bool,
}

static ENVS: LazyLock<HashMap<May, Env>> = LazyLock::new(|| {
    let mut out = HashMap::new();
    for bits in 0..8 {
        let may = May { params: bits & 1 > 0, authorizer: bits & 2 > 0, mutate: bits & 4 > 0 };
        let mut env = Env::builder()
            .variable("object", Type::Dyn)
            .variable("oldObject", Type::Dyn)
            .declared("namespaceObject", &NAMESPACE)
            .declared("request", &REQUEST);
        if may.params {
            env = env.variable("params", Type::Dyn);
        }
        if may.authorizer {
            env = env.variable("authorizer", Type::Opaque(AUTHORIZER)).variable(
                "authorizer.requestResource",
                Type::Opaque("kubernetes.authorization.ResourceCheck"),
            );
        }
        if may.mutate {
            env = env.mutation();
        }
        out.insert(may, env.build());
    }
    out
});

/// The environment of a place.
pub fn env(may: May) -> &'static Env {
    // All eight are there.
    &ENVS[&may]
}

/// A type as upstream's messages about results print it.
fn printed(ty: &Type) -> String {
    match ty {
        Type::Null => "null_type".into(),
        Type::Timestamp => "google.protobuf.Timestamp".into(),
        Type::Duration => "google.protobuf.Duration".into(),
        other => other.to_string(),
    }
}

/// Compiles an expression that must have one of some types; any, where none is given.
pub fn compile(env: &Env, source: &str, wanted: &[Type]) -> Result<Program, String> {
    let program = env.compile(source).map_err(|errors| format!("compilation failed: {errors}"))?;
    let found = program.output_type();
    if wanted.is_empty() || wanted.contains(found) {
        return Ok(program);
    }
    let found = printed(found);
    Err(match wanted {
        [one] => format!("must evaluate to {} but got {found}", printed(one)),
        many => {
            let many: Vec<String> = many.iter().map(printed).collect();
            format!("must evaluate to one of [{}] but got {found}", many.join(" "))
        }
    })
}

/// An expression with its text, compiled if it could be.
#[derive(Debug)]
pub struct Expression {
    /// As written.
    pub source: String,
    program: Result<Program, String>,
}

/// Why an expression has no value.
#[derive(Debug)]
pub enum Fault {
    /// It failed.
    Failed(String),
    /// The budget is used up: nothing further is evaluated.
    Spent(String),
}

impl Fault {
    /// For people.
    pub fn message(self) -> String {
        match self {
            Self::Failed(message) | Self::Spent(message) => message,
        }
    }
}

impl Expression {
    /// Compiles; what is wrong is said when it is evaluated.
    pub fn new(env: &Env, source: &str, wanted: &[Type]) -> Self {
        Self { source: source.to_owned(), program: compile(env, source, wanted) }
    }

    /// The type of its value, `dyn` where that is not known.
    pub fn output_type(&self) -> Type {
        self.program.as_ref().map_or(Type::Dyn, |p| p.output_type().clone())
    }

    /// Its value; variables that are worked out on the way count.
    pub fn eval<'a>(&self, vars: &Vars<'a>, budget: &mut Budget) -> Result<Value<'a>, Fault> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Err(Fault::Failed(format!("compilation error: {why}"))),
        };
        let result = program.eval(&vars.activation, budget);
        let spent = vars.composed.as_ref().map_or(0, |c| c.spent.take());
        let left = budget.left().checked_sub(spent);
        *budget = Budget::new(left.unwrap_or(0));
        match result {
            _ if left.is_none() => Err(Fault::Spent(OUT_OF_BUDGET.into())),
            Ok(value) => Ok(value),
            Err(e) if e.kind() == EvalErrorKind::Budget => Err(Fault::Spent(e.to_string())),
            Err(e) => {
                Err(Fault::Failed(format!("expression '{}' resulted in error: {e}", self.source)))
            }
        }
    }
}

const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// Named expressions, each of which may use those before it.
#[derive(Debug, Default)]
pub struct Variables {
    list: Vec<(String, Expression)>,
}

impl Variables {
    /// Compiles `variables`, and gives the environment that knows them.
    pub fn read(list: Option<&Json>, env: &Env) -> (Self, Env) {
        let mut out = Vec::new();
        let mut types: Vec<(String, Type)> = Vec::new();
        let mut extended = with_variables(env, &types);
        for variable in maps(list) {
            let expression = Expression::new(&extended, text(variable, "expression"), &[]);
            types.push((text(variable, "name").to_owned(), expression.output_type()));
            out.push((text(variable, "name").to_owned(), expression));
            extended = with_variables(env, &types);
        }
        (Self { list: out }, extended)
    }
}

/// An environment whose `variables` has these fields.
pub fn with_variables(env: &Env, types: &[(String, Type)]) -> Env {
    let fields: Vec<(&str, Type)> = types.iter().map(|(n, ty)| (n.as_str(), ty.clone())).collect();
    env.extend().variable("variables", Type::object("kubernetes.variables", &fields)).build()
}

/// Everything that an evaluation looks at. Borrowed by the values it makes.
pub struct Inputs<'a> {
    /// The object that would be written.
    pub object: Option<&'a Map<String, Json>>,
    /// The object as it is.
    pub old: Option<&'a Map<String, Json>>,
    /// See [`request`].
    pub request: &'a Json,
    /// The namespace of the object, or null.
    pub namespace: &'a Json,
    /// The parameter of a policy.
    pub params: Option<&'a Map<String, Json>>,
    /// Who answers questions about rights.
    pub asker: &'a Asker<'a>,
}

/// The variables of an evaluation.
pub struct Vars<'a> {
    activation: Activation<'a>,
    composed: Option<Rc<Composed<'a>>>,
}

fn map_or_null<'a>(map: Option<&'a Map<String, Json>>) -> Value<'a> {
    map.map_or(Value::Null, |map| Value::Map(cel::Map::Json(map, None)))
}

impl<'a> Inputs<'a> {
    /// The variables, without `variables`.
    pub fn vars(&self) -> Result<Vars<'a>, EvalError> {
        let mut activation = Activation::new();
        activation.bind("object", map_or_null(self.object));
        activation.bind("oldObject", map_or_null(self.old));
        activation.bind("params", map_or_null(self.params));
        activation.bind("request", Value::declared(self.request, &REQUEST)?);
        activation.bind("namespaceObject", Value::declared(self.namespace, &NAMESPACE)?);
        activation.bind("authorizer", Value::authorizer(self.asker));
        let question = self.asker.question.clone();
        activation
            .bind("authorizer.requestResource", Value::resource_authorizer(self.asker, question));
        Ok(Vars { activation, composed: None })
    }

    /// The same with `variables`, each worked out when it is first asked for.
    pub fn with(&self, variables: &'a Variables) -> Result<Vars<'a>, EvalError> {
        let mut vars = self.vars()?;
        let base = vars.activation.clone();
        let composed = Rc::new_cyclic(|me| Composed {
            me: me.clone(),
            variables,
            base,
            known: RefCell::new(vec![None; variables.list.len()]),
            spent: Cell::new(0),
        });
        vars.activation.bind("variables", Value::Object(Object::Lazy(composed.clone())));
        vars.composed = Some(composed);
        Ok(vars)
    }
}

/// The variable `variables`.
struct Composed<'a> {
    me: Weak<Composed<'a>>,
    variables: &'a Variables,
    base: Activation<'a>,
    known: RefCell<Vec<Option<Result<Value<'a>, EvalError>>>>,
    /// What working them out has cost since somebody last looked.
    spent: Cell<u64>,
}

impl std::fmt::Debug for Composed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("variables")
    }
}

impl<'a> LazyObject<'a> for Composed<'a> {
    fn type_name(&self) -> &str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str) -> Option<Result<Value<'a>, EvalError>> {
        let at = self.variables.list.iter().position(|(held, _)| held == name)?;
        if let Some(known) = &self.known.borrow()[at] {
            return Some(known.clone());
        }
        let (name, expression) = &self.variables.list[at];
        let outcome = match &expression.program {
            Err(why) => {
                Err(EvalError::new(format!("composited variable {name:?} fails to compile: {why}")))
            }
            Ok(program) => {
                let mut activation = self.base.clone();
                if let Some(me) = self.me.upgrade() {
                    activation.bind("variables", Value::Object(Object::Lazy(me)));
                }
                let mut budget = Budget::per_object();
                let before = budget.left();
                let outcome = program.eval(&activation, &mut budget);
                self.spent.set(self.spent.get() + (before - budget.left()));
                outcome.map_err(|e| {
                    EvalError::new(format!("composited variable {name:?} fails to evaluate: {e}"))
                })
            }
        };
        self.known.borrow_mut()[at] = Some(outcome.clone());
        Some(outcome)
    }
}

/// Asks the authorizer on behalf of a request's user.
pub struct Asker<'a> {
    authz: &'a Authz,
    user: &'a UserInfo,
    /// What the request itself needs.
    question: AuthzCheck,
}

impl<'a> Asker<'a> {
    /// For a write.
    pub fn new(authz: &'a Authz, write: &'a Write<'_>) -> Self {
        let question = AuthzCheck {
            group: write.resource.group.to_string(),
            resource: write.resource.plural.to_string(),
            subresource: write.subresource.to_owned(),
            namespace: namespace_of(write).to_owned(),
            name: write.name.to_owned(),
            ..AuthzCheck::default()
        };
        Self { authz, user: write.user, question }
    }
}

impl cel::Authorizer for Asker<'_> {
    fn check(&self, question: &AuthzCheck) -> AuthzDecision {
        let account = question.service_account.as_ref().map(|(namespace, name)| UserInfo {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
            ],
            ..UserInfo::default()
        });
        let attributes = Attributes {
            user: std::borrow::Cow::Borrowed(account.as_ref().unwrap_or(self.user)),
            verb: &question.verb,
            resource_request: question.path.is_none(),
            path: question.path.as_deref().unwrap_or(""),
            group: &question.group,
            version: if question.path.is_none() { "*" } else { "" },
            resource: &question.resource,
            subresource: &question.subresource,
            namespace: &question.namespace,
            name: &question.name,
            field_selector: &question.field_selector,
            label_selector: &question.label_selector,
        };
        let (allowed, reason) = match self.authz.authorize(&attributes) {
            Decision::Allow(reason) => (true, reason),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => (false, reason),
        };
        AuthzDecision { allowed, reason, error: None }
    }
}

/// The variable `request`: the write as a review without its objects. `matched` is the resource in
/// whose version the policy or webhook is about it.
pub fn request(write: &Write<'_>, matched: &Resource) -> Json {
    let kind = |r: &Resource| {
        let (kind, group, version) = write.body_kind(r);
        json!({"group": group, "version": version, "kind": kind})
    };
    let resource =
        |r: &Resource| json!({"group": r.group, "version": r.version, "resource": r.plural});
    let mut out = json!({
        "kind": kind(matched),
        "resource": resource(matched),
        "requestKind": kind(write.resource),
        "requestResource": resource(write.resource),
        "operation": write.operation.as_str(),
        "userInfo": write.user.to_value(),
        "dryRun": write.dry_run,
        "options": Json::Object(write.options.0.clone()),
    });
    for (key, value) in [
        ("subResource", write.subresource),
        ("requestSubResource", write.subresource),
        ("name", write.name),
        ("namespace", namespace_of(write)),
    ] {
        if !value.is_empty() {
            out[key] = value.into();
        }
    }
    out
}

/// One of `matchConditions`.
#[derive(Debug)]
pub struct Condition {
    expression: Expression,
}

/// Compiles `matchConditions`.
pub fn conditions(list: Option<&Json>, env: &Env) -> Vec<Condition> {
    let read = |c: &Map<String, Json>| Condition {
        expression: Expression::new(env, text(c, "expression"), &[Type::Bool]),
    };
    maps(list).map(read).collect()
}

/// Whether all conditions hold; an error where some failed and none said no.
pub fn all_hold(conditions: &[Condition], inputs: &Inputs<'_>) -> Result<bool, String> {
    if conditions.is_empty() {
        return Ok(true);
    }
    let vars = inputs.vars().map_err(|e| e.to_string())?;
    let mut budget = Budget::new(CONDITIONS_BUDGET);
    let mut values = Vec::new();
    for condition in conditions {
        match condition.expression.eval(&vars, &mut budget) {
            Err(Fault::Spent(why)) => return Err(why),
            other => values.push(other),
        }
    }
    if values.iter().any(|v| matches!(v, Ok(Value::Bool(false)))) {
        return Ok(false);
    }
    let failed: Vec<String> =
        values.into_iter().filter_map(Result::err).map(Fault::message).collect();
    match failed.as_slice() {
        [] => Ok(true),
        [one] => Err(one.clone()),
        many => Err(format!("[{}]", many.join(", "))),
    }
}
