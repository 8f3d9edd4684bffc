//! MutatingAdmissionPolicy: expressions that change what is written, as apply configurations or as
//! JSON patches.

use std::sync::Arc;

use api::{ApiError, Object, Reason, Resource, kinds};
use cel::{Budget, Value};
use futures_util::future::BoxFuture;
use serde_json::Value as Json;
use store::Store;

use super::super::custom::Definition;
use super::super::expression::{self, Asker, Expression, Fault};
use super::super::lookup::Lookup;
use super::super::versions::converted;
use super::super::webhook::Caller;
use super::compile::Mutation;
use super::{Call, Policies, Shared, inputs, nothing, refusal};
use crate::admission::metrics::{self, Outcome};
use crate::authz::Authz;
use crate::gate::{Admission, Operation, Write};

const NAME: &str = "MutatingAdmissionPolicy";

/// The plugin.
pub struct MutatingAdmissionPolicy(Shared);

impl MutatingAdmissionPolicy {
    /// Policies live in `store`.
    pub fn new(store: &Store, look: &Lookup, authz: &Arc<Authz>, caller: &Arc<Caller>) -> Self {
        let (policies, bindings) = ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Self(Shared {
            policies: Policies::new(store, policies, bindings),
            look: look.clone(),
            authz: authz.clone(),
            caller: caller.clone(),
        })
    }

    async fn mutate(&self, write: &mut Write<'_>) -> Result<(), ApiError> {
        let (calls, misfits) = self.0.calls(write);
        let mut faults: Vec<String> = misfits
            .iter()
            .filter(|m| !m.policy.ignores_failure)
            .map(|m| {
                let binding = m.binding.as_ref().map(|b| b.name.as_str());
                denied(&m.policy.name, binding, &m.why)
            })
            .collect();
        write.again.begin(NAME, write.object.as_ref());
        if !calls.is_empty() {
            let namespace = self.0.namespace(write)?;
            for call in &calls {
                let began = tokio::time::Instant::now();
                let outcome = self.one(call, write, &namespace).await;
                let seen = if outcome.is_ok() { Outcome::Admitted } else { Outcome::Refused };
                metrics::policy(&call.policy.name, &call.binding.name, seen, began.elapsed());
                if let (Err(why), false) = (outcome, call.policy.ignores_failure) {
                    faults.push(denied(&call.policy.name, Some(&call.binding.name), &why));
                }
            }
        }
        write.again.end(NAME, write.object.as_ref());
        let Some(first) = faults.first().cloned() else { return Ok(()) };
        let mut error = refusal(write, Reason::Invalid, 403, &first);
        error.message = first;
        for further in &faults[1..] {
            error.causes.push(api::Cause::new(api::CauseReason::Other(""), "", further));
        }
        Err(error)
    }

    /// Applies one policy; a failure leaves what earlier mutations did.
    async fn one(
        &self,
        call: &Call,
        write: &mut Write<'_>,
        namespace: &Json,
    ) -> Result<(), String> {
        let said = |e: ApiError| e.message;
        let versioned = self.0.versioned(write, &call.matched).await.map_err(said)?;
        {
            let asker = Asker::new(&self.0.authz, write);
            let request = expression::request(write, &call.matched);
            let nothing = nothing();
            let params = call.param.as_ref();
            // Conditions are asked without a namespace, as upstream asks them.
            let inputs = inputs(&versioned, write, params, (&request, &nothing), &asker);
            if !expression::all_hold(&call.policy.conditions, &inputs)? {
                return Ok(());
            }
        }
        let param = call.param.as_ref().map_or("", Object::name);
        let key = format!("{}/{}/{param}", call.policy.name, call.binding.name);
        if !write.again.may_call(NAME, &key) {
            return Ok(());
        }
        let before = write.object.clone();
        let mut outcome = Ok(());
        for mutation in &call.policy.mutations {
            if write.object.is_none() {
                break;
            }
            if let Err(why) = self.apply(call, mutation, write, namespace).await {
                outcome = outcome.and(Err(why));
            }
        }
        if before != write.object {
            write.again.changed(NAME);
        }
        if call.policy.reinvoked {
            write.again.called(NAME, &key);
        }
        outcome
    }

    async fn apply(
        &self,
        call: &Call,
        mutation: &Mutation,
        write: &mut Write<'_>,
        namespace: &Json,
    ) -> Result<(), String> {
        let said = |e: ApiError| e.message;
        let matched = &call.matched;
        let versioned = self.0.versioned(write, matched).await.map_err(said)?;
        let outcome = {
            let asker = Asker::new(&self.0.authz, write);
            let request = expression::request(write, matched);
            let inputs =
                inputs(&versioned, write, call.param.as_ref(), (&request, namespace), &asker);
            let vars = inputs.with(&call.policy.variables).map_err(|e| e.to_string())?;
            let value = |expression: &Expression| -> Result<Json, String> {
                let value = expression
                    .eval(&vars, &mut Budget::per_object())
                    .map_err(|fault| strip(fault, expression))?;
                plain(&value)
            };
            let live = versioned.object.as_ref().or(write.object.as_ref());
            let Some(live) = live else { return Ok(()) };
            match mutation {
                Mutation::Apply(expression) => {
                    merge(&self.0.look, live, value(expression)?, matched)?
                }
                Mutation::Json(expression) => match patch(live, &value(expression)?)? {
                    Some(object) => object,
                    None => return Ok(()),
                },
            }
        };
        write.object = Some(self.finished(outcome, write.resource, matched).await.map_err(said)?);
        Ok(())
    }

    /// What a mutation made, in the version of the write, with defaults for what it added.
    async fn finished(
        &self,
        object: Object,
        wanted: &Resource,
        matched: &Resource,
    ) -> Result<Object, ApiError> {
        let Shared { look, caller, .. } = &self.0;
        let back = converted(look, caller, &object, matched, wanted).await?;
        let mut object = back.unwrap_or(object);
        let kind = kinds::of_object(object.api_version(), object.kind());
        if let Some(ty) = kind.and_then(|k| k.schema()) {
            let decoded = api::codec::conform::decode(object, ty).map_err(ApiError::internal)?;
            object = decoded.object;
        }
        if let Some(kind) = kind {
            api::default::apply(kind, &mut object);
        }
        Ok(object)
    }
}

/// Objects whose names do not fit their place are told so alone.
fn strip(fault: Fault, expression: &Expression) -> String {
    let message = fault.message();
    let head = format!("expression '{}' resulted in error: ", expression.source);
    match message.strip_prefix(&head) {
        Some(rest) if rest.starts_with("type mismatch: ") => rest.to_owned(),
        _ => message,
    }
}

fn plain(value: &Value<'_>) -> Result<Json, String> {
    value.to_json().map_err(|e| e.to_string())
}

fn denied(policy: &str, binding: Option<&str>, why: &str) -> String {
    match binding {
        Some(binding) => {
            format!("policy '{policy}' with binding '{binding}' denied request: {why}")
        }
        None => format!("policy {policy:?} denied request: {why}"),
    }
}

/// An apply configuration merged into an object, by the schema of its kind.
fn merge(look: &Lookup, live: &Object, config: Json, matched: &Resource) -> Result<Object, String> {
    let Json::Object(mut config) = config else {
        return Err("unsupported return type from ApplyConfiguration expression".into());
    };
    config.insert("apiVersion".into(), live.api_version().into());
    config.insert("kind".into(), live.kind().into());
    let kind = kinds::by_kind(&matched.group, &matched.version, live.kind());
    let definition = match kind {
        Some(_) => None,
        None => Definition::of_resource(look, matched).and_then(|d| d.schema(&matched.version)),
    };
    let schema = match (kind.and_then(|k| k.schema()), &definition) {
        (Some(ty), _) => api::apply::Schema::Type(ty),
        (None, Some(schema)) => api::apply::Schema::CustomObject(schema),
        (None, None) => api::apply::Schema::Deduced,
    };
    api::apply::merge_config(schema, live, &Object(config))
        .map_err(|why| format!("error applying patch: {why}"))
}

/// A JSON patch applied; `None` where a test in it fails.
fn patch(live: &Object, operations: &Json) -> Result<Option<Object>, String> {
    let mut document = live.clone();
    for operation in operations.as_array().into_iter().flatten() {
        let text = |key: &str| operation.get(key).and_then(Json::as_str).unwrap_or("");
        let one = Json::Array(vec![operation.clone()]);
        match api::patch::json_patch(&document, &one) {
            Ok(Json::Object(map)) => document = Object(map),
            Ok(_) => return Err("JSON Patch: the outcome is no object".into()),
            Err(_) if text("op") == "test" => return Ok(None),
            Err(_) => {
                let (op, path) = (text("op"), text("path"));
                return Err(match op {
                    "add" | "remove" | "replace" => format!(
                        "JSON Patch: {op} operation does not apply: doc is missing path: {path:?}: missing value"
                    ),
                    "move" | "copy" => {
                        format!("JSON Patch: error in {op} for path: {path:?}: missing value")
                    }
                    _ => format!("JSON Patch: Unexpected kind: {op}"),
                });
            }
        }
    }
    Ok(Some(document))
}

impl Admission for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        operation != Operation::Delete
            && self.0.policies.may_match(resource, subresource, operation)
    }

    fn admit<'a>(&'a self, write: &'a mut Write<'_>) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(self.mutate(write))
    }
}
