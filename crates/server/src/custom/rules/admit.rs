//! Rules at the admission of a definition: they must be readable, of the right type, cheap enough,
//! and look back only where what was before can be told.
//!
//! Not here: running them (`run`), other rules for definitions (`api::crd::validate`).

use std::sync::Arc;

use api::crd::Structural;
use api::crd::structural::{Additional, ListType, Rule};
use api::crd::validate::is_shared;
use api::status::CauseReason;
use api::{Cause, Object, Value};
use cel::{Budget, Decl, Program, limits};
use serde_json::json;

use super::{Compiled, Node, SELF, compile};

/// How many of the expensive rules of a schema are named.
const NAMED: usize = 4;

/// The faults of a definition's rules. `found` are its other faults: a schema with any is not looked
/// at.
pub fn faults(object: &Object, old: Option<&Object>, found: &[Cause]) -> Vec<Cause> {
    let mut faults = Vec::new();
    let Some(spec) = object.0.get("spec") else { return faults };
    let versions = spec["versions"].as_array().map_or(&[][..], Vec::as_slice);
    let shared = is_shared(spec, "schema");
    for (at, version) in versions.iter().enumerate().take(if shared { 1 } else { versions.len() }) {
        let Some(raw) = version.pointer("/schema/openAPIV3Schema") else { continue };
        let path = if shared {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            format!("spec.versions[{at}].schema.openAPIV3Schema")
        };
        if found.iter().any(|fault| fault.field.starts_with(&path)) {
            continue;
        }
        let schema = Structural::parse(raw);
        if !schema.has_rules() {
            continue;
        }
        // Rules are looked at themselves only where they hold for all defaults.
        let known = faults.len();
        defaults(&schema, &path, true, &mut Budget::per_object(), &mut faults);
        if faults.len() > known {
            continue;
        }
        let before = old.and_then(|old| old_schema(old, &version["name"]));
        let mut admit =
            Admit { faults: Vec::new(), costs: Vec::new(), total: 0, known: before == Some(raw) };
        admit.node(&schema, &path, true, Some(1), None);
        admit.total(&path);
        faults.extend(admit.faults);
    }
    faults
}

/// The defaults that rules of their place are against.
fn defaults(
    schema: &Structural,
    path: &str,
    root: bool,
    budget: &mut Budget,
    faults: &mut Vec<Cause>,
) {
    if !schema.has_rules() || budget.left() == 0 {
        return;
    }
    if let Some(default) = &schema.default
        && let Some(node) = Node::of(schema, root || schema.embedded)
    {
        faults.extend(node.run_on_default(default, &format!("{path}.default"), budget));
    }
    if let Some(item) = schema.items.as_deref() {
        defaults(item, &format!("{path}.items"), false, budget, faults);
    }
    for (key, property) in &schema.properties {
        defaults(property, &format!("{path}.properties[{key}]"), false, budget, faults);
    }
}

fn old_schema<'a>(old: &'a Object, version: &Value) -> Option<&'a Value> {
    let versions = old.at("spec.versions")?.as_array()?;
    versions.iter().find(|v| v["name"] == *version)?.pointer("/schema/openAPIV3Schema")
}

struct Admit {
    faults: Vec<Cause>,
    /// Expensive rules by place.
    costs: Vec<(String, u64)>,
    total: u64,
    /// Whether the schema was taken before: no rule is refused for its cost then.
    known: bool,
}

/// `None`: no bound.
type Many = Option<u64>;

impl Admit {
    /// `many`: how many such values there can be. `blind`: what hides the value that was before.
    fn node(
        &mut self,
        schema: &Structural,
        path: &str,
        root: bool,
        many: Many,
        blind: Option<&str>,
    ) {
        if !schema.has_rules() {
            return;
        }
        for (key, property) in &schema.properties {
            self.node(property, &format!("{path}.properties[{key}]"), false, many, blind);
        }
        let checks = schema.checks.as_deref();
        let times = |most: Option<i64>| {
            Some(many?.saturating_mul(u64::try_from(most?.max(0)).unwrap_or(0)))
        };
        if let Some(Additional::Schema(each)) = &schema.additional {
            let many = times(checks.and_then(|c| c.max_properties));
            self.node(each, &format!("{path}.additionalProperties"), false, many, blind);
        }
        if let Some(item) = schema.items.as_deref() {
            let many = times(checks.and_then(|c| c.max_items));
            let hides = (schema.list_type != ListType::Map).then_some(path);
            self.node(item, &format!("{path}.items"), false, many, blind.or(hides));
        }
        if schema.rules.is_empty() {
            return;
        }
        let Some(decl) = cel::declare(schema, SELF, root || schema.embedded) else {
            let why = "Internal error: internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            let field = format!("{path}.x-kubernetes-validations");
            self.faults.push(Cause::new(CauseReason::Internal, field, why));
            return;
        };
        for (at, rule) in compile(schema, &decl).iter().enumerate() {
            let path = format!("{path}.x-kubernetes-validations[{at}]");
            self.rule(rule, &decl, &path, many, blind);
        }
    }

    fn rule(
        &mut self,
        rule: &Compiled,
        decl: &Arc<Decl>,
        path: &str,
        many: Many,
        blind: Option<&str>,
    ) {
        let field = format!("{path}.rule");
        match &rule.program {
            Ok(None) => {}
            Ok(Some(program)) => {
                self.cost(program, decl, many, field.clone(), "estimated rule cost");
            }
            Err(why) => self.faults.push(wrong(&field, &rule.rule, why)),
        }
        let message = format!("{path}.messageExpression");
        match &rule.message {
            None => {}
            Some(Ok(program)) => {
                self.cost(program, decl, Some(1), message, "estimated messageExpression cost");
            }
            Some(Err(why)) => self.faults.push(wrong(&message, &rule.rule, why)),
        }
        let unread = rule.program.is_err();
        if rule.uses_old() {
            if let Some(blind) = blind {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {blind}"
                );
                self.faults.push(Cause::invalid(field, &json!(rule.rule.rule), &why));
            }
        } else if let Some(set) = rule.rule.optional_old_self.filter(|_| !unread) {
            let why = "may not be set if oldSelf is not used in rule";
            self.faults.push(Cause::invalid(format!("{path}.optionalOldSelf"), &json!(set), why));
        }
    }

    fn cost(&mut self, program: &Program, decl: &Decl, many: Many, field: String, what: &str) {
        let most = program.cost_estimate().max;
        let cost = most.saturating_mul(many.unwrap_or_else(|| decl.most_in_a_request()));
        if cost > limits::ESTIMATE_PER_RULE && !self.known {
            let why = too_expensive(what, cost, limits::ESTIMATE_PER_RULE);
            self.faults.push(Cause::forbidden(field.as_str(), &why));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= limits::ESTIMATE_PER_SCHEMA / 100 {
            self.costs.push((field, cost));
        }
    }

    /// What all rules of the schema cost together.
    fn total(&mut self, path: &str) {
        if self.total <= limits::ESTIMATE_PER_SCHEMA {
            return;
        }
        self.costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (field, _) in self.costs.iter().take(NAMED) {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            self.faults.push(Cause::forbidden(field.as_str(), why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        let why = too_expensive(what, self.total, limits::ESTIMATE_PER_SCHEMA);
        self.faults.push(Cause::forbidden(path, &why));
    }
}

fn too_expensive(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        f if f > 100.0 => "more than 100x".to_owned(),
        f if f < 1.5 => format!("{f:.6}x"),
        f => format!("{f:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A fault that shows the whole rule, as upstream prints it.
fn wrong(field: &str, rule: &Rule, why: &str) -> Cause {
    let text = |text: &str| {
        let quoted = json!(text).to_string();
        quoted.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    };
    let reason = if rule.reason.is_empty() { "null".to_owned() } else { text(&rule.reason) };
    let optional = rule.optional_old_self.map_or("null".to_owned(), |set| set.to_string());
    let message = format!(
        "Invalid value: {{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}: {why}",
        text(&rule.rule),
        text(&rule.message),
        text(&rule.message_expression),
        text(&rule.field_path),
    );
    Cause::new(CauseReason::Invalid, field, message)
}
