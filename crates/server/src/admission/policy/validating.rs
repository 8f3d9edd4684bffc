//! ValidatingAdmissionPolicy: expressions that must hold for a write to pass.

use std::sync::Arc;

use api::{ApiError, Reason, Resource};
use cel::{Budget, Value};
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use store::Store;

use super::super::expression::{self, Asker, Expression, Fault, Vars};
use super::super::lookup::Lookup;
use super::super::versions::Versioned;
use super::super::webhook::Caller;
use super::compile::{Policy, Validation};
use super::{Call, Policies, Shared, inputs, refusal};
use crate::admission::metrics::{self, Outcome};
use crate::authz::Authz;
use crate::gate::{Admission, Operation, Write};

/// The longest message that an expression may make.
const MAX_MESSAGE: usize = 5 * 1024;

/// The plugin.
pub struct ValidatingAdmissionPolicy(Shared);

/// What a policy holds against a write.
struct Objection {
    reason: Reason,
    message: String,
    /// Whether bindings say what comes of it; it is refused otherwise.
    decided: bool,
}

impl Objection {
    fn failed(message: impl Into<String>) -> Self {
        Self { reason: Reason::Invalid, message: message.into(), decided: true }
    }
}

impl ValidatingAdmissionPolicy {
    /// Policies live in `store`.
    pub fn new(store: &Store, look: &Lookup, authz: &Arc<Authz>, caller: &Arc<Caller>) -> Self {
        let (policies, bindings) =
            ("validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Self(Shared {
            policies: Policies::new(store, policies, bindings),
            look: look.clone(),
            authz: authz.clone(),
            caller: caller.clone(),
        })
    }

    async fn check(&self, write: &Write<'_>) -> Result<(), ApiError> {
        let (calls, misfits) = self.0.calls(write);
        let mut versioned = Vec::with_capacity(calls.len());
        for call in &calls {
            versioned.push(self.0.versioned(write, &call.matched).await?);
        }
        let mut refused: Option<(String, Reason)> = None;
        let mut refuse = |message: String, reason: Reason| {
            if refused.is_none() {
                refused = Some((message, reason));
            }
        };
        for misfit in misfits.iter().filter(|m| !m.policy.ignores_failure) {
            let by = misfit.binding.as_ref().map(|b| b.name.as_str());
            refuse(denied(&misfit.policy.name, by, &misfit.why), Reason::Invalid);
        }
        if !calls.is_empty() {
            let namespace = self.0.namespace(write)?;
            let asker = Asker::new(&self.0.authz, write);
            for (call, versioned) in calls.iter().zip(&versioned) {
                let began = tokio::time::Instant::now();
                let objections = objections(call, versioned, write, &namespace, &asker);
                let (policy, binding) = (call.policy.name.as_str(), call.binding.name.as_str());
                let seen = |outcome| {
                    metrics::policy(policy, binding, outcome, began.elapsed());
                };
                if objections.is_empty() {
                    seen(Outcome::Admitted);
                }
                for objection in objections {
                    if !objection.decided {
                        refuse(denied(policy, Some(binding), &objection.message), objection.reason);
                        continue;
                    }
                    for action in &call.binding.actions {
                        match action.as_str() {
                            "Deny" => {
                                seen(Outcome::Refused);
                                let message = denied(policy, Some(binding), &objection.message);
                                refuse(message, objection.reason);
                            }
                            "Warn" => {
                                seen(Outcome::Warned);
                                write.noted.lock().push(format!(
                                    "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {}",
                                    objection.message
                                ));
                            }
                            _ => seen(Outcome::Audited),
                        }
                    }
                }
            }
        }
        match refused {
            None => Ok(()),
            Some((message, reason)) => {
                let code = match reason {
                    Reason::Invalid => 422,
                    reason => reason.code(),
                };
                Err(refusal(write, reason, code, &message))
            }
        }
    }
}

fn denied(policy: &str, binding: Option<&str>, why: &str) -> String {
    match binding {
        Some(binding) => format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {why}"
        ),
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {why}"),
    }
}

/// What one policy with one parameter holds against a write.
fn objections(
    call: &Call,
    versioned: &Versioned,
    write: &Write<'_>,
    namespace: &Json,
    asker: &Asker<'_>,
) -> Vec<Objection> {
    let policy = &*call.policy;
    let request = expression::request(write, &call.matched);
    let inputs = inputs(versioned, write, call.param.as_ref(), (&request, namespace), asker);
    let failed = |why: String| match policy.ignores_failure {
        true => Vec::new(),
        false => vec![Objection::failed(why)],
    };
    match expression::all_hold(&policy.conditions, &inputs) {
        Ok(true) => {}
        Ok(false) => return Vec::new(),
        Err(why) => return failed(why),
    }
    let vars = match inputs.with(&policy.variables) {
        Ok(vars) => vars,
        Err(e) => return failed(e.to_string()),
    };
    let mut budget = Budget::per_object();
    let mut outcomes = Vec::new();
    for validation in &policy.validations {
        match validation.expression.eval(&vars, &mut budget) {
            Err(Fault::Spent(why)) => return failed(why),
            outcome => outcomes.push((validation, outcome)),
        }
    }
    let mut out = Vec::new();
    for (validation, outcome) in outcomes {
        match outcome {
            Ok(Value::Bool(true)) => {}
            Ok(_) => out.push(Objection {
                reason: validation.reason,
                message: message(validation, &vars, &mut budget),
                decided: true,
            }),
            Err(fault) => out.extend(failed(fault.message())),
        }
    }
    out.extend(audit(policy, &vars));
    out
}

/// The message of a validation that does not hold.
fn message(validation: &Validation, vars: &Vars<'_>, budget: &mut Budget) -> String {
    let computed = |expression: &Expression| match expression.eval(vars, budget) {
        Ok(Value::String(text)) => {
            let text = text.trim().to_owned();
            (text.len() <= MAX_MESSAGE && !text.contains('\n')).then_some(text)
        }
        _ => None,
    };
    let computed = validation.message_expression.as_ref().and_then(computed);
    [computed, Some(validation.message.clone())]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| format!("failed expression: {}", validation.expression.source.trim()))
}

/// Evaluates the annotations of the audit log; those that fail refuse the write.
fn audit(policy: &Policy, vars: &Vars<'_>) -> Vec<Objection> {
    let mut budget = Budget::per_object();
    let mut out = Vec::new();
    for (_, expression) in &policy.audits {
        if let Err(fault) = expression.eval(vars, &mut budget) {
            if policy.ignores_failure {
                continue;
            }
            out.push(Objection { decided: false, ..Objection::failed(fault.message()) });
        }
    }
    out
}

impl Admission for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        self.0.policies.may_match(resource, subresource, operation)
    }

    fn validate<'a>(&'a self, write: &'a Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.check(write))
    }
}
