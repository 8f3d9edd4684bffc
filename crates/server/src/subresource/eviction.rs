//! `pods/eviction`: a deletion that disruption budgets can refuse.
//!
//! Not here: counting healthy pods (the disruption controller does).

use std::sync::Arc;

use api::selector::LabelSelectorSpec;
use api::{ApiError, Card, Cause, CauseReason, Object, Reason};
use serde_json::{Value, json};

use super::{created, read};
use crate::edge::respond::Reply;
use crate::gate::Operation;
use crate::registry::decode::Expected;
use crate::registry::delete::Options;
use crate::registry::remove;
use crate::registry::update::{Style, Update, update};
use crate::registry::write::{self, Context};
use crate::server::{Request, Server, Target};

const EXPECTED: Expected = Expected { group: "policy", version: "v1", kind: "Eviction" };
/// Pods under deletion that a budget remembers at most.
const MAX_DISRUPTED: usize = 2000;

/// Serves a POST to `pods/x/eviction`.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let warnings = {
        let created = read(server, &mut request, EXPECTED).await?;
        let mut ctx = created.ctx;
        let mut eviction = created.object;
        if eviction.name() != target.name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        crate::registry::create::match_namespace(&target, &mut eviction)?;
        let outcome = admitted(&mut ctx, &target, eviction).await;
        ctx.told(outcome)?;
        ctx.warnings
    };
    Ok(write::finish(created(&request), &warnings))
}

async fn admitted(
    ctx: &mut Context<'_>,
    target: &Target,
    mut eviction: Object,
) -> Result<(), ApiError> {
    ctx.mutate(target, Operation::Create, &mut eviction, None).await?;
    ctx.validate(target, Operation::Create, Some(&mut eviction), None).await?;
    let mut options = options(&eviction);
    ctx.dry_run |= options.dry_run;
    options.dry_run = ctx.dry_run;
    evict(ctx, target, options).await
}

fn options(eviction: &Object) -> Options {
    let at = |path: &str| eviction.at(&format!("deleteOptions.{path}"));
    let text = |path: &str| at(path).and_then(Value::as_str).map(str::to_owned);
    Options {
        grace: at("gracePeriodSeconds").and_then(Value::as_i64),
        propagation: text("propagationPolicy"),
        orphan: at("orphanDependents").and_then(Value::as_bool),
        uid: text("preconditions.uid"),
        resource_version: text("preconditions.resourceVersion"),
        dry_run: at("dryRun").and_then(Value::as_array).is_some_and(|l| !l.is_empty()),
        object: Object::default(),
    }
}

async fn evict(
    ctx: &mut Context<'_>,
    target: &Target,
    mut options: Options,
) -> Result<(), ApiError> {
    let mut pods = target.clone();
    pods.sub.clear();
    let entry = target.entry()?;
    let pod = target.object(&entry)?;
    let phase = pod.text("status.phase").unwrap_or("");
    let free = matches!(phase, "Succeeded" | "Failed" | "Pending") || pod.is_deleting();
    let mut unguarded = None;
    if !free {
        let budgets = budgets(ctx.server, &entry.card);
        match budgets.as_slice() {
            [] => {}
            [(name, budget)] if is_unguarded(&pod, budget) => unguarded = Some(name.clone()),
            [(name, _)] => spend(ctx, &pod, &target.namespace, name).await?,
            _ => {
                return Err(ApiError::new(
                    Reason::Unknown,
                    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                ));
            }
        }
    }
    // A pod that is not ready goes as it was seen: it may have become ready since.
    let asked = options.resource_version.is_some();
    if unguarded.is_some() {
        options.resource_version = Some(pod.resource_version().to_owned());
    }
    options.check(&[])?;
    let outcome =
        if ctx.dry_run || pod.is_deleting() { Ok(()) } else { mark(ctx, &pods, &options).await };
    let outcome = match outcome {
        Ok(()) => {
            if !ctx.dry_run && options.resource_version.is_some() {
                // The mark is a change of our own.
                options.resource_version = Some(target.entry()?.revision.to_string());
            }
            remove::delete(ctx, &pods, &options).await.map(|_| ())
        }
        refused => refused,
    };
    match (outcome, unguarded.filter(|_| !asked)) {
        (Err(error), Some(budget)) if error.reason == Reason::Conflict => {
            Err(refuse(unsettled(&budget), true))
        }
        (outcome, _) => outcome,
    }
}

/// Whether a budget lets a pod go that is not ready, which it does not count.
fn is_unguarded(pod: &Object, budget: &Object) -> bool {
    let healthy = budget.int("status.currentHealthy").unwrap_or(0);
    let desired = budget.int("status.desiredHealthy").unwrap_or(0);
    let always = budget.text("spec.unhealthyPodEvictionPolicy") == Some("AlwaysAllow");
    !is_ready(pod) && (always || healthy >= desired && desired > 0)
}

fn unsettled(budget: &str) -> String {
    format!("The disruption budget {budget} is still being processed by the server.")
}

/// Notes on the pod why it ends.
async fn mark(ctx: &mut Context<'_>, pods: &Target, options: &Options) -> Result<(), ApiError> {
    let now = ctx.server.clock.time();
    let transform = |live: Option<&Object>| {
        let live = live.ok_or_else(|| pods.not_found())?;
        remove::preconditions(pods, options, live)?;
        let mut pod = live.clone();
        let slot = pod.map_mut("status").entry("conditions").or_insert_with(|| json!([]));
        if let Value::Array(conditions) = slot {
            conditions.retain(|c| c["type"] != "DisruptionTarget");
            conditions.push(json!({"type": "DisruptionTarget", "status": "True",
                "reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting",
                "lastProbeTime": null, "lastTransitionTime": now}));
        }
        Ok(pod)
    };
    let change = Update { transform: &transform, create: false, style: Style::Own };
    update(ctx, pods, &change).await.map(|_| ())
}

/// The budgets that select a pod.
fn budgets(server: &Server, pod: &Card) -> Vec<(String, Object)> {
    let cache = server.store.resource("poddisruptionbudgets.policy");
    cache
        .list(Some(&pod.namespace))
        .iter()
        .filter_map(|entry| {
            let budget = entry.object().ok()?;
            let spec: LabelSelectorSpec =
                serde_json::from_value(budget.at("spec.selector")?.clone()).ok()?;
            let selects = spec.selector().ok()?.matches(pod);
            selects.then(|| (entry.card.name.to_string(), budget))
        })
        .collect()
}

fn is_ready(pod: &Object) -> bool {
    pod.at("status.conditions")
        .and_then(Value::as_array)
        .is_some_and(|l| l.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn refuse(message: String, wait: bool) -> ApiError {
    let mut error = ApiError::new(
        Reason::TooManyRequests,
        "Cannot evict pod as it would violate the pod's disruption budget.",
    );
    if wait {
        error = error.detail("retryAfterSeconds", 10);
    }
    error.causes.push(Cause::new(CauseReason::Other("DisruptionBudget"), "", message));
    error
}

/// The condition of a budget that says whether pods may go.
const ALLOWED: &str = "DisruptionAllowed";

/// Why a budget that allows nothing does not.
fn spent(budget: &Object) -> String {
    let name = budget.name();
    let number = |path: &str| budget.int(path).unwrap_or(0);
    let (desired, healthy) = (number("status.desiredHealthy"), number("status.currentHealthy"));
    let conditions = budget.at("status.conditions").and_then(Value::as_array);
    let condition = conditions.into_iter().flatten().find(|c| c["type"] == ALLOWED);
    let text = |key: &str| condition.and_then(|c| c[key].as_str()).unwrap_or("");
    let (reason, message) = (text("reason"), text("message"));
    let told = text("status") == "False" && !message.is_empty();
    if told && reason == "SyncFailed" {
        return format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        );
    }
    if healthy <= desired {
        return format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        );
    }
    let why = if told { format!(" ({reason}): {message}") } else { String::new() };
    format!("The disruption budget {name} does not allow evicting pods currently{why}")
}

/// Says in a budget's status that its last disruption is taken.
fn note_spent(status: &mut api::Map<String, Value>, generation: i64, now: &str) {
    let slot = status.entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(conditions) = slot else { return };
    let found = conditions.iter().position(|c| c["type"] == ALLOWED);
    let since = found
        .filter(|at| conditions[*at]["status"] == "False")
        .map_or_else(|| now.into(), |at| conditions[at]["lastTransitionTime"].clone());
    let condition = json!({"type": ALLOWED, "status": "False", "reason": "InsufficientPods",
        "message": "", "observedGeneration": generation, "lastTransitionTime": since});
    match found {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// Takes one disruption from a budget, or says why it cannot be.
async fn spend(
    ctx: &mut Context<'_>,
    pod: &Object,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    let kind = api::kinds::find("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(|| ApiError::internal("no disruption budgets"))?;
    let mut target = Target::new(ctx.server, kind, namespace, name);
    "status".clone_into(&mut target.sub);
    let now = ctx.server.clock.time();
    let pod_name = pod.name().to_owned();
    let transform = |live: Option<&Object>| {
        let live = live.ok_or_else(|| target.not_found())?;
        let number = |path: &str| live.int(path).unwrap_or(0);
        if number("status.observedGeneration") < live.generation() {
            return Err(refuse(unsettled(name), true));
        }
        let allowed = number("status.disruptionsAllowed");
        if allowed < 0 {
            let text = "pdb disruptions allowed is negative";
            return Err(ApiError::forbidden("policy", "poddisruptionbudget", name, text));
        }
        let disrupted = live.at("status.disruptedPods").and_then(Value::as_object);
        if disrupted.is_some_and(|map| map.len() > MAX_DISRUPTED) {
            let text =
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
            return Err(ApiError::forbidden("policy", "poddisruptionbudget", name, text));
        }
        if allowed == 0 {
            return Err(refuse(spent(live), false));
        }
        let mut next = live.clone();
        let status = next.map_mut("status");
        status.insert("disruptionsAllowed".into(), (allowed - 1).into());
        if allowed == 1 {
            note_spent(status, live.generation(), &now);
        }
        let slot = status.entry("disruptedPods").or_insert_with(|| json!({}));
        if let Value::Object(map) = slot {
            map.insert(pod_name.clone(), now.as_str().into());
        }
        Ok(next)
    };
    let change = Update { transform: &transform, create: false, style: Style::Own };
    update(ctx, &target, &change).await.map(|_| ())
}
