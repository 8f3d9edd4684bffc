//! Admission policies: expressions that refuse, warn about or change writes, with their bindings.
//!
//! Policies are compiled when they change, not when they are used; while there are none, a write costs
//! two counters read. Not here: which writes a policy is about (`matching`), the expressions
//! (`expression`).

mod compile;
mod mutating;
mod params;
mod schema;
pub mod status;
mod validating;

pub use mutating::MutatingAdmissionPolicy;
pub use validating::ValidatingAdmissionPolicy;

use std::collections::HashMap;
use std::sync::Arc;

use api::{ApiError, Cause, CauseReason, Object, Reason, Resource, resource};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use store::{ResourceCache, Store};

use super::expression::{Asker, Inputs};
use super::lookup::Lookup;
use super::matching::{self, namespace_of};
use super::versions::Versioned;
use super::webhook::Caller;
use crate::authz::Authz;
use crate::gate::{Operation, Write};
use compile::{Binding, Policy};

/// Follows policies and bindings of one kind; compiled policies are shared by all writes.
pub(super) struct Policies {
    policies: Arc<ResourceCache>,
    bindings: Arc<ResourceCache>,
    current: ArcSwap<Compiled>,
    /// One compiles at a time.
    compiling: Mutex<()>,
}

/// All policies that have bindings, as of two revisions.
#[derive(Default)]
struct Compiled {
    as_of: [u64; 2],
    /// With the revision of the policy.
    list: Vec<(u64, Arc<Policy>, Vec<Arc<Binding>>)>,
}

impl Policies {
    fn new(store: &Store, policies: &str, bindings: &str) -> Self {
        let cache = |plural| store.resource(&api::resource::qualified(GROUP, plural));
        Self {
            policies: cache(policies),
            bindings: cache(bindings),
            current: ArcSwap::default(),
            compiling: Mutex::new(()),
        }
    }

    fn is_empty(&self) -> bool {
        self.policies.is_empty() || self.bindings.is_empty()
    }

    fn as_of(&self) -> [u64; 2] {
        [self.policies.last_revision(), self.bindings.last_revision()]
    }

    /// The policies as they are now.
    fn compiled(&self) -> Arc<Compiled> {
        let current = self.current.load_full();
        if current.as_of == self.as_of() {
            return current;
        }
        let _one = self.compiling.lock();
        let before = self.current.load_full();
        let as_of = self.as_of();
        if before.as_of == as_of {
            return before;
        }
        let known: HashMap<(&str, u64), &Arc<Policy>> =
            before.list.iter().map(|(rev, p, _)| ((p.name.as_str(), *rev), p)).collect();
        let mut bindings: HashMap<String, Vec<Arc<Binding>>> = HashMap::new();
        for entry in self.bindings.list(None).iter() {
            let Some(binding) = entry.object().ok().and_then(|o| Binding::read(&o)) else {
                continue;
            };
            bindings.entry(binding.policy.clone()).or_default().push(Arc::new(binding));
        }
        let mut list = Vec::new();
        for entry in self.policies.list(None).iter() {
            let Some(bound) = bindings.remove(&*entry.card.name) else { continue };
            let policy = match known.get(&(&*entry.card.name, entry.revision)) {
                Some(policy) => Arc::clone(policy),
                None => match entry.object() {
                    Ok(object) => Arc::new(Policy::compile(&object)),
                    Err(_) => continue,
                },
            };
            list.push((entry.revision, policy, bound));
        }
        let fresh = Arc::new(Compiled { as_of, list });
        self.current.store(fresh.clone());
        fresh
    }

    fn may_match(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        !self.is_empty()
            && !matching::is_beyond_policies(resource)
            && self
                .compiled()
                .list
                .iter()
                .any(|(_, p, _)| p.constraints.may_match(resource, subresource, operation))
    }
}

const GROUP: &str = "admissionregistration.k8s.io";

/// What both kinds of policies work with.
pub(super) struct Shared {
    policies: Policies,
    look: Lookup,
    authz: Arc<Authz>,
    caller: Arc<Caller>,
}

/// A policy that is about a write, by one of its bindings, with one parameter.
struct Call {
    policy: Arc<Policy>,
    binding: Arc<Binding>,
    /// The resource in whose version the policy is about the write.
    matched: Resource,
    param: Option<Object>,
}

/// A policy that could not be applied.
struct Misfit {
    policy: Arc<Policy>,
    binding: Option<Arc<Binding>>,
    why: String,
}

impl Shared {
    /// The objects of a write in the version that a policy wants.
    async fn versioned(&self, write: &Write<'_>, to: &Resource) -> Result<Versioned, ApiError> {
        Versioned::of(&self.look, &self.caller, write, to).await
    }

    /// The policies that are about a write, and those that cannot tell.
    fn calls(&self, write: &Write<'_>) -> (Vec<Call>, Vec<Misfit>) {
        let (mut calls, mut misfits) = (Vec::new(), Vec::new());
        for (_, policy, bindings) in &self.policies.compiled().list {
            let matched = match policy.constraints.matches(&self.look, write, true) {
                Ok(Some(matched)) => matched,
                Ok(None) => continue,
                Err(e) => {
                    let why = format!("failed to configure policy: {}", e.message);
                    misfits.push(Misfit { policy: policy.clone(), binding: None, why });
                    continue;
                }
            };
            for binding in bindings {
                let fits = match &binding.constraints {
                    None => Ok(true),
                    Some(c) => c
                        .matches(&self.look, write, true)
                        .map(|m| m.is_some())
                        .map_err(|e| e.message),
                };
                let found = match fits {
                    Ok(false) => continue,
                    Ok(true) => params::find(&self.look, policy, binding, namespace_of(write)),
                    Err(why) => Err(why),
                };
                match found {
                    Ok(params) => calls.extend(params.into_iter().map(|param| Call {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        matched: matched.clone(),
                        param,
                    })),
                    Err(why) => misfits.push(Misfit {
                        policy: policy.clone(),
                        binding: Some(binding.clone()),
                        why: format!("failed to configure binding: {why}"),
                    }),
                }
            }
        }
        (calls, misfits)
    }

    /// The namespace of a write as expressions see it, null where there is none.
    fn namespace(&self, write: &Write<'_>) -> Result<Json, ApiError> {
        if write.namespace.is_empty() {
            return Ok(Json::Null);
        }
        let found = self.look.object(&resource::NAMESPACES, "", write.namespace);
        found
            .map(|namespace| Json::Object(namespace.0))
            .ok_or_else(|| ApiError::not_found("", "namespaces", write.namespace))
    }
}

/// What expressions about a write are evaluated with.
fn inputs<'a>(
    versioned: &'a Versioned,
    write: &'a Write<'_>,
    param: Option<&'a Object>,
    (request, namespace): (&'a Json, &'a Json),
    asker: &'a Asker<'a>,
) -> Inputs<'a> {
    Inputs {
        object: versioned.object.as_ref().or(write.object.as_ref()).map(|o| &o.0),
        old: versioned.old.as_ref().or(write.old).map(|o| &o.0),
        request,
        namespace,
        params: param.map(|o| &o.0),
        asker,
    }
}

/// `configmaps "x" is forbidden: …` with a cause, under a reason of its own.
fn refusal(write: &Write<'_>, reason: Reason, code: u16, message: &str) -> ApiError {
    let given = |object: &Object| {
        let name = if object.name().is_empty() { object.generate_name() } else { object.name() };
        (!name.is_empty()).then(|| name.to_owned())
    };
    let name = if write.name.is_empty() {
        write.object.as_ref().and_then(given).unwrap_or_else(|| "Unknown".into())
    } else {
        write.name.to_owned()
    };
    let mut error =
        ApiError::forbidden(&write.resource.group, &write.resource.plural, &name, message);
    error.reason = reason;
    error.code = code;
    error.causes.push(Cause::new(CauseReason::Other(""), "", message));
    error
}

/// Faults of the expressions of a policy that somebody wants to store.
pub(super) fn faults(kind: &str, object: &Object) -> Vec<Cause> {
    compile::faults(kind, object)
}

/// A request that no plugin can answer for lack of a body.
fn nothing() -> Json {
    json!(null)
}

#[cfg(test)]
mod tests;
