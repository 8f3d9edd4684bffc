//! Admission webhooks: programs elsewhere that are shown writes, and change or refuse them.
//!
//! Configurations are read when they change; while there are none, a write costs one counter read.
//! Not here: which writes a webhook is about (`matching`), match conditions (`expression`).

mod call;
mod endpoint;
mod mutating;
mod review;
mod validating;

pub use call::Caller;
pub use mutating::MutatingAdmissionWebhook;
pub use validating::ValidatingAdmissionWebhook;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::{ApiError, Map, Reason, Resource, Value as Json};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use store::{ResourceCache, Store};

use super::expression::{self, Asker, Condition, Inputs, May};
use super::lookup::{Lookup, maps, text};
use super::matching::{self, Constraints};
use super::metrics;
use super::versions::Versioned;
use crate::authz::Authz;
use crate::gate::{Operation, Write};

/// A webhook as it is used.
#[derive(Debug)]
struct Hook {
    /// Of the webhook.
    name: String,
    /// Unique over all configurations.
    key: String,
    constraints: Constraints,
    conditions: Vec<Condition>,
    /// Whether a failed call lets the write pass.
    ignores_failure: bool,
    /// Whether it may be called on a dry run.
    harmless: bool,
    timeout: Duration,
    /// The form of the review that it takes, of those we have.
    review: Option<&'static str>,
    /// Whether it wants to see what others have changed.
    reinvoked: bool,
    client: Map<String, Json>,
}

impl Hook {
    fn read(configuration: &str, at: usize, map: &Map<String, Json>) -> Self {
        let env = expression::env(May { authorizer: true, ..May::default() });
        let seconds = map.get("timeoutSeconds").and_then(Json::as_u64).unwrap_or(10);
        let versions = map.get("admissionReviewVersions").and_then(Json::as_array);
        let review = versions.into_iter().flatten().find_map(|v| match v.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        });
        let name = text(map, "name").to_owned();
        Self {
            key: format!("{configuration}/{name}/{at}"),
            constraints: Constraints::read(map, "rules"),
            conditions: expression::conditions(map.get("matchConditions"), env),
            ignores_failure: text(map, "failurePolicy") == "Ignore",
            harmless: ["None", "NoneOnDryRun"].contains(&text(map, "sideEffects")),
            timeout: Duration::from_secs(seconds.clamp(1, 30)),
            review,
            reinvoked: text(map, "reinvocationPolicy") == "IfNeeded",
            client: map.get("clientConfig").and_then(Json::as_object).cloned().unwrap_or_default(),
            name,
        }
    }
}

/// All webhooks of one kind, as of a revision.
#[derive(Default)]
struct Read {
    as_of: u64,
    /// With the revisions of their configurations.
    list: Vec<(u64, Arc<Hook>)>,
}

/// What both kinds of webhooks work with.
struct Shared {
    configurations: Arc<ResourceCache>,
    current: ArcSwap<Read>,
    /// One reads at a time.
    reading: Mutex<()>,
    look: Lookup,
    authz: Arc<Authz>,
    caller: Arc<Caller>,
    /// `admit` or `validating`, for metrics.
    kind: &'static str,
}

/// Why a webhook's call did not let a write pass.
enum Failure {
    /// It could not be asked, or did not answer as it should.
    Call(String),
    /// It said no, or our own rules did.
    Refused(ApiError),
}

impl Shared {
    fn new(
        store: &Store,
        plural: &str,
        kind: &'static str,
        look: &Lookup,
        authz: &Arc<Authz>,
        caller: &Arc<Caller>,
    ) -> Self {
        let name = api::resource::qualified("admissionregistration.k8s.io", plural);
        Self {
            configurations: store.resource(&name),
            current: ArcSwap::default(),
            reading: Mutex::new(()),
            look: look.clone(),
            authz: authz.clone(),
            caller: caller.clone(),
            kind,
        }
    }

    /// The webhooks as they are now.
    fn hooks(&self) -> Arc<Read> {
        let current = self.current.load_full();
        if current.as_of == self.configurations.last_revision() {
            return current;
        }
        let _one = self.reading.lock();
        let before = self.current.load_full();
        let as_of = self.configurations.last_revision();
        if before.as_of == as_of {
            return before;
        }
        let known: HashMap<(&str, u64), &Arc<Hook>> =
            before.list.iter().map(|(rev, h)| ((h.key.as_str(), *rev), h)).collect();
        let mut list = Vec::new();
        for entry in self.configurations.list(None).iter() {
            let Ok(object) = entry.object() else { continue };
            for (at, map) in maps(object.at("webhooks")).enumerate() {
                let key = format!("{}/{}/{at}", object.name(), text(map, "name"));
                let hook = match known.get(&(key.as_str(), entry.revision)) {
                    Some(hook) => Arc::clone(hook),
                    None => Arc::new(Hook::read(object.name(), at, map)),
                };
                list.push((entry.revision, hook));
            }
        }
        let fresh = Arc::new(Read { as_of, list });
        self.current.store(fresh.clone());
        fresh
    }

    fn may_match(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        !self.configurations.is_empty()
            && !matching::is_exempt(resource)
            && self.hooks().list.iter().any(|(_, hook)| {
                hook.constraints.has_rules()
                    && hook.constraints.may_match(resource, subresource, operation)
            })
    }

    /// The objects of a write in the version that a webhook wants.
    async fn versioned(&self, write: &Write<'_>, to: &Resource) -> Result<Versioned, ApiError> {
        Versioned::of(&self.look, &self.caller, write, to).await
    }

    /// The resource in whose version a webhook is to be called, if it is.
    async fn applies(&self, hook: &Hook, write: &Write<'_>) -> Result<Option<Resource>, ApiError> {
        let Some(matched) = hook.constraints.matches(&self.look, write, false)? else {
            return Ok(None);
        };
        if hook.conditions.is_empty() {
            return Ok(Some(matched));
        }
        let Versioned { object, old } = self.versioned(write, &matched).await?;
        let request = expression::request(write, &matched);
        let asker = Asker::new(&self.authz, write);
        let inputs = Inputs {
            object: object.as_ref().or(write.object.as_ref()).map(|o| &o.0),
            old: old.as_ref().or(write.old).map(|o| &o.0),
            request: &request,
            namespace: &Json::Null,
            params: None,
            asker: &asker,
        };
        match expression::all_hold(&hook.conditions, &inputs) {
            Ok(true) => Ok(Some(matched)),
            Ok(false) => Ok(None),
            Err(_) if hook.ignores_failure => Ok(None),
            Err(why) => {
                let (group, plural) = (&write.resource.group, &write.resource.plural);
                Err(ApiError::forbidden(group, plural, write.name, &why))
            }
        }
    }

    /// Asks a webhook, and counts what comes of it.
    async fn ask(
        &self,
        hook: &Hook,
        write: &Write<'_>,
        matched: &Resource,
    ) -> Result<review::Answer, Failure> {
        let began = tokio::time::Instant::now();
        let outcome = self.ask_uncounted(hook, write, matched).await;
        let operation = write.operation.as_str();
        let rejected = match &outcome {
            Ok(_) => false,
            Err(Failure::Call(_)) => !hook.ignores_failure,
            Err(Failure::Refused(_)) => true,
        };
        metrics::webhook(&hook.name, self.kind, operation, rejected, began.elapsed());
        match &outcome {
            Err(Failure::Call(why)) if hook.ignores_failure => {
                tracing::warn!(webhook = hook.name, why, "webhook failed, passed over");
                metrics::failed_open(&hook.name, self.kind);
            }
            Err(Failure::Call(_)) => {
                metrics::rejected(&hook.name, self.kind, operation, "calling_webhook_error");
            }
            Err(Failure::Refused(_)) => {
                metrics::rejected(&hook.name, self.kind, operation, "no_error");
            }
            Ok(_) => {}
        }
        outcome
    }

    async fn ask_uncounted(
        &self,
        hook: &Hook,
        write: &Write<'_>,
        matched: &Resource,
    ) -> Result<review::Answer, Failure> {
        if write.dry_run && !hook.harmless {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Failure::Refused(ApiError::bad_request(why)));
        }
        let Some(version) = hook.review else {
            return Err(Failure::Call(
                "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)".into(),
            ));
        };
        let uid = self.caller.rng.uuid();
        let versioned = self.versioned(write, matched).await;
        let Versioned { object, old } = versioned.map_err(Failure::Refused)?;
        let body = review::question(write, matched, version, &uid, (object.as_ref(), old.as_ref()));
        let response = self.caller.post(hook, &body).await.map_err(Failure::Call)?;
        let mutating = self.kind == "admit";
        let answer = review::read(&response, version, &uid, mutating)
            .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}")))?;
        match answer {
            review::Verdict::Allowed(answer) => Ok(answer),
            review::Verdict::Refused { status, warnings } => {
                write.noted.lock().extend(warnings);
                Err(Failure::Refused(review::refusal(&hook.name, status)))
            }
        }
    }
}

/// What the client is told of a webhook that could not be asked.
fn call_failed(hook: &Hook, why: &str) -> ApiError {
    let mut error = ApiError::internal(format!("failed calling webhook {:?}: {why}", hook.name));
    error.reason = Reason::InternalError;
    error
}

#[cfg(test)]
mod tests;
