//! What is wrong with the expressions in an object that somebody wants to store: policies, webhooks'
//! match conditions, selectors of devices.
//!
//! Not here: their other rules (`api::validate`), which know no expressions.

use api::kinds::Kind;
use api::{Cause, Map, Object, Value};
use cel::{Env, Type};
use std::sync::LazyLock;

use super::expression::{self, May, compile};
use super::lookup::{maps, text};
use super::policy;

/// The faults of all expressions in an object of a kind.
pub fn expression_faults(kind: &Kind, object: &Object) -> Vec<Cause> {
    match (kind.group, kind.kind) {
        (
            "admissionregistration.k8s.io",
            "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy",
        ) => policy::faults(kind.kind, object),
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration",
        ) => webhooks(object),
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate" | "DeviceClass") => {
            let mut out = Vec::new();
            if let Some(spec) = object.at("spec") {
                selectors(spec, "spec", &mut out);
            }
            out
        }
        _ => Vec::new(),
    }
}

fn webhooks(object: &Object) -> Vec<Cause> {
    let env = expression::env(May { authorizer: true, ..May::default() });
    let mut out = Vec::new();
    for (hook, webhook) in maps(object.at("webhooks")).enumerate() {
        for (at, condition) in maps(webhook.get("matchConditions")).enumerate() {
            let field = format!("webhooks[{hook}].matchConditions[{at}].expression");
            let source = text(condition, "expression");
            if source.trim().is_empty() {
                continue;
            }
            if let Err(why) = compile(env, source, &[Type::Bool]) {
                out.push(Cause::invalid(field, &Value::from(source), &why));
            }
        }
    }
    out
}

/// What the selectors of devices may name.
static DEVICE: LazyLock<Env> = LazyLock::new(|| {
    let by_domain = |of: Type| Type::map(Type::String, of);
    let inner = Type::map(Type::String, Type::Dyn);
    let device = Type::object(
        "kubernetes.DRADevice",
        &[
            ("driver", Type::String),
            ("attributes", by_domain(inner.clone())),
            ("capacity", by_domain(Type::map(Type::String, Type::Opaque("kubernetes.Quantity")))),
            ("allowMultipleAllocations", Type::Bool),
        ],
    );
    Env::builder().variable("device", device).bindings().build()
});

/// `selectors[].cel.expression`, wherever they are below.
fn selectors(value: &Value, path: &str, out: &mut Vec<Cause>) {
    match value {
        Value::Object(map) => {
            if let Some(cel) = map.get("cel").and_then(Value::as_object) {
                selector(cel, &format!("{path}.cel.expression"), out);
            }
            for (key, value) in map {
                selectors(value, &format!("{path}.{key}"), out);
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                selectors(item, &format!("{path}[{at}]"), out);
            }
        }
        _ => {}
    }
}

fn selector(cel: &Map<String, Value>, field: &str, out: &mut Vec<Cause>) {
    let source = text(cel, "expression");
    if source.is_empty() {
        return;
    }
    let why = match DEVICE.compile(source) {
        Err(errors) => format!("compilation failed: {errors}"),
        Ok(program) => match program.output_type() {
            Type::Bool | Type::Dyn => {
                if program.cost_estimate().max > cel::limits::PER_CALL {
                    out.push(Cause::forbidden(field, "too complex, exceeds cost limit"));
                }
                return;
            }
            other => format!("must evaluate to bool or the unknown type, not {other}"),
        },
    };
    out.push(Cause::invalid(field, &Value::from(source), &why));
}
