//! `pods/binding`: the scheduler's decision, written into the pod.
//!
//! Not here: the decision.

use std::sync::Arc;

use api::{ApiError, Object, Reason};
use serde_json::{Value, json};

use super::{created, read};
use crate::edge::respond::Reply;
use crate::gate::Operation;
use crate::registry::decode::Expected;
use crate::registry::update::{Style, Update, update};
use crate::registry::write;
use crate::server::{Request, Server, Target};

const EXPECTED: Expected = Expected { group: "", version: "v1", kind: "Binding" };
/// Labels that a pod takes over from its node.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Serves a POST to `pods/x/binding` or to `bindings`.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    mut target: Target,
) -> Result<Reply, ApiError> {
    let (warnings, outcome) = {
        let created = read(server, &mut request, EXPECTED).await?;
        let mut ctx = created.ctx;
        let mut binding = created.object;
        if target.kind.kind == "Binding" {
            // The older path: the binding names its pod.
            if binding.name().is_empty() {
                return Err(ApiError::bad_request("Name parameter required."));
            }
            let pods = api::kinds::find("", "v1", "pods").ok_or_else(|| target.not_found())?;
            target = Target::new(server, pods, &target.namespace, binding.name());
            "binding".clone_into(&mut target.sub);
        } else if binding.name() != target.name {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        crate::registry::create::match_namespace(&target, &mut binding)?;
        ctx.mutate(&target, Operation::Create, &mut binding, None).await?;
        check(&binding)?;
        ctx.validate(&target, Operation::Create, Some(&mut binding), None).await?;
        let node = binding.text("target.name").unwrap_or("").to_owned();
        let topology = topology(server, &node);
        let now = server.clock.time();
        let dry_run = ctx.dry_run;
        let transform = |live: Option<&Object>| {
            let pod = live.ok_or_else(|| target.not_found())?;
            let root = if dry_run { "" } else { "/registry" };
            bind(&target, root, pod, &binding, &node, &topology, &now)
        };
        // Written as the pod's own part, so that its strategy lets the node name through.
        let mut pod = target.clone();
        "binding".clone_into(&mut pod.sub);
        let change = Update { transform: &transform, create: false, style: Style::Own };
        (ctx.warnings.clone(), update_pod(&mut ctx, &pod, &change).await)
    };
    outcome?;
    Ok(write::finish(created(&request), &warnings))
}

async fn update_pod(
    ctx: &mut write::Context<'_>,
    target: &Target,
    change: &Update<'_>,
) -> Result<(), ApiError> {
    update(ctx, target, change).await.map(|_| ())
}

fn check(binding: &Object) -> Result<(), ApiError> {
    let fault = |text: &str| Err(ApiError::new(Reason::Unknown, text));
    match binding.text("target.kind").unwrap_or("") {
        "" | "Node" => {}
        other => {
            return fault(&format!(
                "target.kind: Unsupported value: {other:?}: supported values: \"Node\", \"<empty>\""
            ));
        }
    }
    if binding.text("target.name").unwrap_or("").is_empty() {
        return fault("target.name: Required value");
    }
    Ok(())
}

fn topology(server: &Server, node: &str) -> Vec<(String, String)> {
    let Some(node) = server.store.resource("nodes").get("", node) else { return Vec::new() };
    TOPOLOGY
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), node.card.label(key)?.to_owned())))
        .collect()
}

/// The pod with its node.
fn bind(
    target: &Target,
    root: &str,
    pod: &Object,
    binding: &Object,
    node: &str,
    topology: &[(String, String)],
    now: &str,
) -> Result<Object, ApiError> {
    let precondition = |what: &str, wanted: &str, found: &str| {
        target.conflict(&format!(
            "StorageError: invalid object, Code: 4, Key: {root}/pods/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}",
            target.namespace, target.name
        ))
    };
    if !binding.uid().is_empty() && binding.uid() != pod.uid() {
        return Err(precondition("UID", binding.uid(), pod.uid()));
    }
    let wanted = binding.resource_version();
    if !wanted.is_empty() && wanted != pod.resource_version() {
        return Err(precondition("ResourceVersion", wanted, pod.resource_version()));
    }
    let refuse = |why: String| Err(ApiError::conflict("", "pods/binding", &target.name, &why));
    let name = &target.name;
    if pod.is_deleting() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if let Some(assigned) = pod.text("spec.nodeName").filter(|n| !n.is_empty()) {
        return refuse(format!("pod {name} is already assigned to node {assigned:?}"));
    }
    let gated = pod.at("spec.schedulingGates").and_then(Value::as_array);
    if gated.is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod.map_mut("spec").insert("nodeName".into(), node.into());
    for (key, value) in binding.annotations() {
        pod.set_annotation(key, value);
    }
    let labels: Vec<(String, String)> = binding
        .labels()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .chain(topology.iter().cloned())
        .collect();
    if !labels.is_empty() {
        let slot = pod.meta_mut().entry("labels").or_insert_with(|| json!({}));
        if let Value::Object(map) = slot {
            map.extend(labels.into_iter().map(|(k, v)| (k, Value::String(v))));
        }
    }
    scheduled(&mut pod, now);
    Ok(pod)
}

/// Sets the `PodScheduled` condition.
fn scheduled(pod: &mut Object, now: &str) {
    let status = pod.map_mut("status");
    let slot = status.entry("conditions").or_insert_with(|| json!([]));
    let Value::Array(conditions) = slot else { return };
    let found = conditions.iter_mut().find(|c| c["type"] == "PodScheduled");
    match found {
        Some(condition) => {
            let changed = condition["status"] != "True";
            if changed {
                condition["lastTransitionTime"] = now.into();
            }
            condition["status"] = "True".into();
            if let Some(map) = condition.as_object_mut() {
                map.remove("reason");
                map.remove("message");
            }
        }
        None => conditions.push(json!({"type": "PodScheduled", "status": "True",
            "lastProbeTime": null, "lastTransitionTime": now})),
    }
}
