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

/// Puts the faults of all expressions in an object among its others, where upstream has them. What is
/// stored already stays.
pub fn add_expression_faults(
    kind: &Kind,
    new: &Object,
    old: Option<&Object>,
    faults: &mut Vec<Cause>,
) {
    if old.is_some() && kind.kind.starts_with("ResourceClaim") {
        // Their specs do not change.
        return;
    }
    let mut found = expression_faults(kind, new);
    if found.is_empty() {
        return;
    }
    if let Some(old) = old {
        let held = expression_faults(kind, old);
        found.retain(|cause| !held.contains(cause));
    }
    for cause in found {
        let rank = rank(&cause.field);
        let at = faults.iter().position(|held| self::rank(&held.field) > rank);
        faults.insert(at.unwrap_or(faults.len()), cause);
    }
}

/// Requests for devices, and what was granted, that only a namespace for administrators may hold.
const FOR_ADMINS: [(&str, &str, &str); 3] = [
    ("ResourceClaim", "spec.devices.requests", "exactly"),
    ("ResourceClaimTemplate", "spec.devices.requests", "exactly"),
    ("ResourceClaim", "status.allocation.devices.results", ""),
];

/// Access to devices in use that the namespace is not marked for. `status`: what is looked at.
pub fn admin_access_faults(
    store: &store::Store,
    kind: &Kind,
    object: &Object,
    status: bool,
) -> Vec<Cause> {
    const LABEL: &str = "resource.kubernetes.io/admin-access";
    let mut faults = Vec::new();
    if kind.group != "resource.k8s.io" {
        return faults;
    }
    for (of, path, inner) in FOR_ADMINS {
        if of != kind.kind || path.starts_with("status") != status {
            continue;
        }
        // Upstream names a template's requests as a claim's.
        let within = if of == "ResourceClaimTemplate" { "spec." } else { "" };
        let list = object.at(&format!("{within}{path}")).and_then(Value::as_array);
        for (at, item) in list.into_iter().flatten().enumerate() {
            let asked = if inner.is_empty() { Some(item) } else { item.get(inner) };
            if asked.and_then(|a| a.get("adminAccess")) == Some(&Value::Bool(true)) {
                let why = format!(
                    "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
                );
                faults.push(Cause::forbidden(format!("{path}[{at}].adminAccess"), &why));
            }
        }
    }
    if !faults.is_empty() {
        let namespace = store.resource("namespaces").get("", object.namespace());
        if namespace.is_some_and(|entry| entry.card.label(LABEL) == Some("true")) {
            faults.clear();
        }
    }
    faults
}

/// The parts of a policy in the order in which upstream checks them.
const PARTS: [&str; 10] = [
    "metadata",
    "spec.failurePolicy",
    "spec.paramKind",
    "spec.matchConstraints",
    "spec.matchConditions",
    "spec.variables",
    "spec.validations",
    "spec.mutations",
    "spec.auditAnnotations",
    "spec.reinvocationPolicy",
];

/// Where a field stands: its part, the item of the list, the field of the item, and where in that.
fn rank(field: &str) -> (usize, usize, usize, usize) {
    if let Some((hook, rest)) = field.strip_prefix("webhooks[").and_then(|f| f.split_once(']')) {
        let conditions = rest.strip_prefix(".matchConditions[").and_then(|r| r.split_once(']'));
        let within = match rest {
            _ if rest.starts_with(".matchConditions") => 1,
            _ if rest.starts_with(".admissionReviewVersions") => 2,
            _ => 0,
        };
        let step = conditions
            .map_or(0, |(at, field)| at.parse().unwrap_or(0) * 2 + usize::from(field == ".name"));
        return (0, hook.parse().unwrap_or(0), within, step);
    }
    let part = PARTS.iter().position(|part| field.starts_with(part)).unwrap_or(0);
    let rest = &field[PARTS[part].len().min(field.len())..];
    let item = rest.strip_prefix('[').and_then(|r| r.split_once(']'));
    let (index, rest) = item.map_or((0, rest), |(i, rest)| (i.parse().unwrap_or(0), rest));
    let within = match (PARTS[part], rest) {
        ("spec.matchConditions", ".name") | ("spec.variables", ".expression") => 1,
        ("spec.auditAnnotations", ".valueExpression") => 1,
        ("spec.validations", ".messageExpression") => 1,
        ("spec.validations", ".message") => 2,
        ("spec.validations", ".reason") => 3,
        _ => 0,
    };
    (part, index, within, 0)
}

/// The faults of all expressions in an object of a kind.
fn expression_faults(kind: &Kind, object: &Object) -> Vec<Cause> {
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
            let source = text(condition, "expression").trim();
            if source.is_empty() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_expressions_stand_where_upstream_has_them() {
        let kind =
            api::kinds::find("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
        let policy = |second: &str| {
            let value = serde_json::json!({"spec": {"validations": [{"expression": "1"}, {"expression": second}]}});
            Object::from_value(value).expect("a map")
        };
        let cause = |field: &str| Cause::required(field, "");
        let mut faults = vec![
            cause("metadata.name"),
            cause("spec.validations[0].reason"),
            cause("spec.validations[1].message"),
            cause("spec.auditAnnotations[0].key"),
        ];
        let order = ["timeoutSeconds", "matchConditions[0].name", "matchConditions[1].expression"];
        let ranks = order.map(|field| rank(&format!("webhooks[3].{field}")));
        assert!(ranks.is_sorted() && ranks[2] < rank("webhooks[3].admissionReviewVersions"));
        let kind = kind.expect("known");
        add_expression_faults(kind, &policy("x"), Some(&policy("true")), &mut faults);
        let fields: Vec<&str> = faults.iter().map(|f| f.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "metadata.name",
                "spec.validations[0].reason",
                "spec.validations[1].expression",
                "spec.validations[1].message",
                "spec.auditAnnotations[0].key",
            ]
        );
    }
}
