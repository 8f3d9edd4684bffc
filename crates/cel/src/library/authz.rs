//! Questions to the authorizer: `authorizer.group('').resource('pods').check('get').allowed()`.
//!
//! Who answers is the caller's ([`Authorizer`]).

use std::fmt;
use std::rc::Rc;

use api::names;

use super::Row;
use super::opaque::Opaque;
use super::strings::text;
use crate::EvalError;
use crate::value::Value;

type Out<'a> = Result<Value<'a>, EvalError>;

pub(super) const ROWS: &[Row] = &[
    ("authorizer_path", "authorizer|path(string) path_check", path),
    ("authorizer_group", "authorizer|group(string) group_check", group),
    (
        "authorizer_serviceaccount",
        "authorizer|serviceAccount(string, string) authorizer",
        service_account,
    ),
    ("groupcheck_resource", "group_check|resource(string) resource_check", resource),
    ("resourcecheck_subresource", "resource_check|subresource(string) resource_check", |a| {
        with(a, |r, s| r.subresource = s)
    }),
    ("resourcecheck_namespace", "resource_check|namespace(string) resource_check", |a| {
        with(a, |r, s| r.namespace = s)
    }),
    ("resourcecheck_name", "resource_check|name(string) resource_check", |a| {
        with(a, |r, s| r.name = s)
    }),
    ("authorizer_fieldselector", "resource_check|fieldSelector(string) resource_check", |a| {
        with(a, |r, s| r.field_selector = s)
    }),
    ("authorizer_labelselector", "resource_check|labelSelector(string) resource_check", |a| {
        with(a, |r, s| r.label_selector = s)
    }),
    ("pathcheck_check", "path_check|check(string) decision", check),
    ("resourcecheck_check", "resource_check|check(string) decision", check),
    ("decision_errored", "decision|errored() bool", errored),
    ("decision_error", "decision|error() string", error),
    ("decision_allowed", "decision|allowed() bool", allowed),
    ("decision_reason", "decision|reason() string", reason),
];

/// A question to the authorizer.
#[derive(Clone, Debug, Default)]
pub struct AuthzCheck {
    /// The namespace and name of a service account to ask about instead of the request's user.
    pub service_account: Option<(String, String)>,
    /// `get`, `create`, ….
    pub verb: String,
    /// Of a request that is for no resource.
    pub path: Option<String>,
    /// The API group.
    pub group: String,
    /// The plural.
    pub resource: String,
    /// Empty for the resource itself.
    pub subresource: String,
    /// Empty for cluster scope.
    pub namespace: String,
    /// Empty for all.
    pub name: String,
    /// As written.
    pub field_selector: String,
    /// As written.
    pub label_selector: String,
}

/// What the authorizer says.
#[derive(Clone, Debug, Default)]
pub struct AuthzDecision {
    /// Whether it allows.
    pub allowed: bool,
    /// For people.
    pub reason: String,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

/// Answers what the request's user may do. Answers from memory.
pub trait Authorizer {
    /// The decision.
    fn check(&self, question: &AuthzCheck) -> AuthzDecision;
}

/// An authorizer, and whom it is asked about.
#[derive(Clone)]
pub struct Authz<'a> {
    authorizer: &'a dyn Authorizer,
    service_account: Option<Rc<(String, String)>>,
}

impl fmt::Debug for Authz<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authz").field("service_account", &self.service_account).finish()
    }
}

/// A check of a path.
#[derive(Clone, Debug)]
pub struct PathCheck<'a> {
    authz: Authz<'a>,
    path: String,
}

/// A check in an API group.
#[derive(Clone, Debug)]
pub struct GroupCheck<'a> {
    authz: Authz<'a>,
    group: String,
}

/// A check of a resource.
#[derive(Clone, Debug)]
pub struct ResourceCheck<'a> {
    authz: Authz<'a>,
    question: AuthzCheck,
}

impl<'a> Value<'a> {
    /// The variable `authorizer`.
    pub fn authorizer(authorizer: &'a dyn Authorizer) -> Self {
        Self::Opaque(Opaque::Authorizer(Authz { authorizer, service_account: None }))
    }

    /// The variable `authorizer.requestResource`: a check of the resource of the request.
    pub fn resource_authorizer(authorizer: &'a dyn Authorizer, question: AuthzCheck) -> Self {
        let authz = Authz { authorizer, service_account: None };
        Self::Opaque(Opaque::Resource(Rc::new(ResourceCheck { authz, question })))
    }
}

fn authorizer<'v, 'a>(args: &'v [Value<'a>]) -> Result<&'v Authz<'a>, EvalError> {
    match &args[0] {
        Value::Opaque(Opaque::Authorizer(authz)) => Ok(authz),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn path<'a>(args: &[Value<'a>]) -> Out<'a> {
    let path = text(args, 1)?;
    if path.is_empty() {
        return Err(EvalError::new("path must not be empty"));
    }
    let check = PathCheck { authz: authorizer(args)?.clone(), path: path.to_owned() };
    Ok(Value::Opaque(Opaque::Path(Rc::new(check))))
}

fn group<'a>(args: &[Value<'a>]) -> Out<'a> {
    let check = GroupCheck { authz: authorizer(args)?.clone(), group: text(args, 1)?.to_owned() };
    Ok(Value::Opaque(Opaque::Group(Rc::new(check))))
}

fn service_account<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (namespace, name) = (text(args, 1)?, text(args, 2)?);
    if names::dns_subdomain(name).into_iter().next().is_some() {
        return Err(EvalError::new("Invalid service account name"));
    }
    if names::dns_label(namespace).into_iter().next().is_some() {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let mut authz = authorizer(args)?.clone();
    authz.service_account = Some(Rc::new((namespace.to_owned(), name.to_owned())));
    Ok(Value::Opaque(Opaque::Authorizer(authz)))
}

fn resource<'a>(args: &[Value<'a>]) -> Out<'a> {
    let Value::Opaque(Opaque::Group(group)) = &args[0] else {
        return Err(EvalError::no_such_overload());
    };
    let resource = text(args, 1)?;
    if resource.is_empty() {
        return Err(EvalError::new("resource must not be empty"));
    }
    let question = AuthzCheck {
        group: group.group.clone(),
        resource: resource.to_owned(),
        ..AuthzCheck::default()
    };
    let check = ResourceCheck { authz: group.authz.clone(), question };
    Ok(Value::Opaque(Opaque::Resource(Rc::new(check))))
}

fn with<'a>(args: &[Value<'a>], set: impl Fn(&mut AuthzCheck, String)) -> Out<'a> {
    let Value::Opaque(Opaque::Resource(check)) = &args[0] else {
        return Err(EvalError::no_such_overload());
    };
    let mut check = (**check).clone();
    set(&mut check.question, text(args, 1)?.to_owned());
    Ok(Value::Opaque(Opaque::Resource(Rc::new(check))))
}

fn check<'a>(args: &[Value<'a>]) -> Out<'a> {
    let (authz, mut question) = match &args[0] {
        Value::Opaque(Opaque::Resource(check)) => (&check.authz, check.question.clone()),
        Value::Opaque(Opaque::Path(check)) => {
            let path = Some(check.path.clone());
            (&check.authz, AuthzCheck { path, ..AuthzCheck::default() })
        }
        _ => return Err(EvalError::no_such_overload()),
    };
    question.verb = text(args, 1)?.to_owned();
    question.service_account = authz.service_account.as_deref().cloned();
    let decision = authz.authorizer.check(&question);
    Ok(Value::Opaque(Opaque::Decision(Rc::new(decision))))
}

fn decision<'v>(args: &'v [Value<'_>]) -> Result<&'v AuthzDecision, EvalError> {
    match &args[0] {
        Value::Opaque(Opaque::Decision(decision)) => Ok(decision),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn errored<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}
fn error<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(decision(args)?.error.as_deref().unwrap_or("")))
}
fn allowed<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::Bool(decision(args)?.allowed))
}
fn reason<'a>(args: &[Value<'a>]) -> Out<'a> {
    Ok(Value::text(decision(args)?.reason.as_str()))
}
