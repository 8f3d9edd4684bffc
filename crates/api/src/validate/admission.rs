//! Webhook configurations, admission policies and their bindings.
//!
//! CEL expressions are checked for presence only; compiling them is the server's.

use std::collections::BTreeSet;

use super::at::{At, Faults};
use super::{common, policy};
use crate::names;

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const REVIEWS: [&str; 2] = ["v1", "v1beta1"];

// Webhooks.

pub(super) fn webhooks(root: &At<'_>, f: &mut Faults) {
    checked_webhooks(root, None, f);
}

pub(super) fn webhooks_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    checked_webhooks(new, Some(old), f);
}

fn checked_webhooks(root: &At<'_>, old: Option<&At<'_>>, f: &mut Faults) {
    // What the old object already got wrong is left alone.
    let old_list = old.map(|o| o.get("webhooks"));
    let all_did = |rule: fn(&At<'_>) -> bool| {
        old_list.as_ref().is_none_or(|list| list.items().all(|hook| rule(&hook)))
    };
    let no_effects = all_did(has_no_effects);
    let reviews =
        all_did(|hook| hook.get("admissionReviewVersions").is_empty() || has_known_review(hook));
    let unique = old_list.as_ref().is_none_or(|list| {
        let mut seen = BTreeSet::new();
        list.items().all(|hook| seen.insert(hook.get("name").text().to_owned()))
    });
    let list = root.get("webhooks");
    let mut seen = BTreeSet::new();
    let kept = Kept {
        effects: !no_effects,
        values: !all_did(|hook| {
            let mut found = Faults::new();
            for field in SELECTORS {
                common::label_selector(&hook.get(field), &mut found);
            }
            found.is_empty()
        }),
        conditions: old_list.as_ref().is_some_and(|old| {
            let conditions = |at: At<'_>| at.get("matchConditions").value.clone();
            old.len() == list.len() && old.items().map(conditions).eq(list.items().map(conditions))
        }),
    };
    for hook in list.items() {
        webhook(&hook, kept, f);
        review_versions(&hook, reviews, f);
        let name = hook.get("name");
        if unique && !name.is_empty() && !seen.insert(name.text().to_owned()) {
            name.duplicate(f);
        }
    }
}

const SELECTORS: [&str; 2] = ["namespaceSelector", "objectSelector"];

/// What is let pass because the old object has it.
#[derive(Clone, Copy)]
struct Kept {
    /// Side effects.
    effects: bool,
    /// Values in selectors that no label can have.
    values: bool,
    /// The match conditions, which are the same.
    conditions: bool,
}

fn has_no_effects(hook: &At<'_>) -> bool {
    ["None", "NoneOnDryRun"].contains(&hook.get("sideEffects").text())
}

fn has_known_review(hook: &At<'_>) -> bool {
    hook.get("admissionReviewVersions").items().any(|v| REVIEWS.contains(&v.text()))
}

fn webhook(hook: &At<'_>, kept: Kept, f: &mut Faults) {
    common::three_part_name(&hook.get("name"), f);
    for rule in hook.get("rules").items() {
        operations_rule(&rule, f);
    }
    hook.get("failurePolicy").one_of_if_set(f, &["Fail", "Ignore"]);
    hook.get("matchPolicy").one_of_if_set(f, &["Equivalent", "Exact"]);
    let allowed: &[&str] = if kept.effects {
        &["None", "NoneOnDryRun", "Some", "Unknown"]
    } else {
        &["None", "NoneOnDryRun"]
    };
    let effects = hook.get("sideEffects");
    if effects.is_set() {
        effects.one_of(f, allowed);
    } else {
        effects.required(f, &format!("must specify one of {}", allowed.join(", ")));
    }
    let timeout = hook.get("timeoutSeconds");
    if timeout.int().is_some_and(|t| !(1..=30).contains(&t)) {
        timeout.invalid(f, "the timeout value must be between 1 and 30 seconds");
    }
    for field in SELECTORS {
        common::label_selector_with(&hook.get(field), f, kept.values);
    }
    hook.get("reinvocationPolicy").one_of_if_set(f, &["IfNeeded", "Never"]);
    let client = hook.get("clientConfig");
    let (url, service) = (client.get("url"), client.get("service"));
    if url.is_set() == service.is_set() {
        client.required(f, "exactly one of url or service is required");
    } else if url.is_set() {
        webhook_url(&url, f);
    } else {
        webhook_service(&service, f);
    }
    if !kept.conditions {
        match_conditions(&hook.get("matchConditions"), f);
    }
}

/// One of these; only no value at all is missing.
fn policy_choice(at: &At<'_>, supported: &[&str], f: &mut Faults) {
    if at.is_set() {
        at.one_of(f, supported);
    } else {
        at.required(f, "");
    }
}

/// Where a webhook is: an address with a host and little else.
pub(super) fn webhook_url(at: &At<'_>, f: &mut Faults) {
    let form = "; desired format: https://host[/path]";
    let url = at.text();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (scheme, rest),
        None => (url.split_once(':').map_or("", |(scheme, _)| scheme), ""),
    };
    if scheme != "https" {
        at.invalid_as(f, scheme, &format!("'https' is the only allowed URL scheme{form}"));
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let host = before.split('/').next().unwrap_or("");
    let (user, host) = host.rsplit_once('@').map_or(("", host), |(user, host)| (user, host));
    if host.is_empty() {
        at.invalid_as(f, host, &format!("host must be specified{form}"));
    }
    if !user.is_empty() {
        at.invalid_as(f, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        at.invalid_as(f, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        at.invalid_as(f, query, "query parameters are not permitted in the URL");
    }
}

/// The service in front of a webhook.
pub(super) fn webhook_service(service: &At<'_>, f: &mut Faults) {
    // Upstream takes each of the two for the other.
    for (said, missing) in [("name", "namespace"), ("namespace", "name")] {
        if service.get(missing).is_empty() {
            service.get(said).required(f, "");
        }
    }
    let port = service.get("port");
    if port.is_set() {
        for why in names::port_number(port.number()) {
            port.invalid(f, &format!("port is not valid: {why}"));
        }
    }
    let path = service.get("path");
    let text = path.text();
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        path.invalid(f, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        path.invalid(f, "must start with a '/'");
    }
    // The first character goes, whatever it is.
    let inner = text.char_indices().nth(1).map_or("", |(at, _)| &text[at..]);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for (index, step) in inner.split('/').enumerate() {
        if step.is_empty() {
            path.invalid(f, &format!("segment[{index}] may not be empty"));
            continue;
        }
        for why in names::dns_subdomain(step) {
            path.invalid(f, &format!("segment[{index}]: {why}"));
        }
    }
}

fn review_versions(hook: &At<'_>, known: bool, f: &mut Faults) {
    let list = hook.get("admissionReviewVersions");
    if list.is_empty() {
        list.required(f, &format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    let mut seen = BTreeSet::new();
    for version in list.items() {
        if seen.insert(version.text().to_owned()) {
            version.check(f, names::dns_1035_label);
        } else {
            version.invalid(f, "duplicate version");
        }
    }
    if known && !has_known_review(hook) {
        list.invalid(f, &format!("must include at least one of {}", REVIEWS.join(", ")));
    }
}

// Rules that say which requests are meant.

fn operations_rule(rule: &At<'_>, f: &mut Faults) {
    let operations = rule.get("operations");
    list_or_star(&operations, "operations", f);
    for operation in operations.items() {
        operation.one_of(f, &OPERATIONS);
    }
    list_or_star(&rule.get("apiGroups"), "API groups", f);
    let versions = rule.get("apiVersions");
    list_or_star(&versions, "API versions", f);
    for version in versions.items() {
        version.need(f);
    }
    resources(&rule.get("resources"), f);
    rule.get("scope").one_of_if_set(f, &["*", "Cluster", "Namespaced"]);
}

fn list_or_star(list: &At<'_>, what: &str, f: &mut Faults) {
    list.need(f);
    if list.len() > 1 && list.items().any(|item| item.text() == "*") {
        list.invalid(f, &format!("if '*' is present, must not specify other {what}"));
    }
}

fn resources(list: &At<'_>, f: &mut Faults) {
    list.need(f);
    let (mut any_sub, mut any_resource) = (BTreeSet::new(), BTreeSet::new());
    let (mut everything, mut star, mut plain) = (false, false, false);
    for item in list.items() {
        let text = item.text();
        if !item.need(f) {
            continue;
        }
        everything |= text == "*/*";
        star |= text == "*";
        let Some((resource, sub)) = text.split_once('/') else {
            plain = text != "*";
            continue;
        };
        if any_sub.contains(resource) {
            item.invalid(f, &format!("if '{resource}/*' is present, must not specify {text}"));
        }
        if any_resource.contains(sub) {
            item.invalid(f, &format!("if '*/{sub}' is present, must not specify {text}"));
        }
        if sub == "*" {
            any_sub.insert(resource.to_owned());
        }
        if resource == "*" {
            any_resource.insert(sub.to_owned());
        }
    }
    if list.len() > 1 && everything {
        list.invalid(f, "if '*/*' is present, must not specify other resources");
    }
    if star && plain {
        list.invalid(f, "if '*' is present, must not specify other resources without subresources");
    }
}

fn match_conditions(list: &At<'_>, f: &mut Faults) {
    if list.len() > 64 {
        list.too_many(f, 64);
    }
    let mut seen = BTreeSet::new();
    for condition in list.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        if expression.text().trim().is_empty() {
            expression.required(f, "");
        }
        if name.need(f) {
            name.qualified(f);
            if !seen.insert(name.text().to_owned()) {
                name.duplicate(f);
            }
        }
    }
}

// Policies.

pub(super) fn validating_policy(root: &At<'_>, f: &mut Faults) {
    validating_policy_with(root, false, f);
}

pub(super) fn validating_policy_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    validating_policy_with(new, same_conditions(new, old), f);
}

/// Whether two policies have the same match conditions, and read them alike.
fn same_conditions(new: &At<'_>, old: &At<'_>) -> bool {
    ["spec.paramKind", "spec.matchConditions"]
        .iter()
        .all(|field| new.get(field).value == old.get(field).value)
}

fn validating_policy_with(root: &At<'_>, kept: bool, f: &mut Faults) {
    let spec = root.get("spec");
    policy_head(&spec, f);
    if !kept {
        match_conditions(&spec.get("matchConditions"), f);
    }
    variables(&spec.get("variables"), f);
    let (validations, audits) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && audits.is_empty() {
        let why = "validations or auditAnnotations must contain at least one item";
        validations.required(f, why);
        audits.required(f, why);
        return;
    }
    for one in validations.items() {
        validation(&one, f);
    }
    if audits.len() > 20 {
        audits.invalid(f, "must not have more than 20 auditAnnotations");
    }
    let policy_name = root.get("metadata.name");
    let mut seen = BTreeSet::new();
    for audit in audits.items() {
        let key = audit.get("key");
        let full = format!("{}/{}", policy_name.text(), key.text());
        if policy_name.is_empty() {
            key.invalid_as(f, key.text(), "requires metadata.name be non-empty");
        } else {
            for why in names::qualified_name(&full) {
                key.invalid_as(f, full.as_str(), &why);
            }
        }
        let value = audit.get("valueExpression");
        match value.text().trim().len() {
            0 => value.required(f, "valueExpression is not specified"),
            n if n > 5 * 1024 => value.required(f, "must not exceed 5120 bytes in length"),
            _ => {}
        }
        if !seen.insert(key.text().to_owned()) {
            key.duplicate(f);
        }
    }
}

pub(super) fn validating_policy_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    for warning in new.get("status.typeChecking.expressionWarnings").items() {
        warning.get("warning").need(f);
        warning.get("fieldRef").need(f);
    }
    policy::conditions(&new.get("status.conditions"), f);
}

fn policy_head(spec: &At<'_>, f: &mut Faults) {
    policy_choice(&spec.get("failurePolicy"), &["Fail", "Ignore"], f);
    let params = spec.get("paramKind");
    if params.is_set() {
        param_kind(&params, f);
    }
    let constraints = spec.get("matchConstraints");
    if constraints.is_set() {
        match_resources(&constraints, f);
        constraints.get("resourceRules").need(f);
    } else {
        constraints.required(f, "");
    }
}

fn param_kind(at: &At<'_>, f: &mut Faults) {
    let (version, kind) = (at.get("apiVersion"), at.get("kind"));
    if version.need(f) {
        let text = version.text();
        let (group, number) = text.split_once('/').unwrap_or(("", text));
        if number.contains('/') {
            version.invalid(f, &format!("unexpected GroupVersion string: {text}"));
        } else {
            let faults = names::dns_subdomain(group);
            if !group.is_empty() && !faults.is_empty() {
                version.invalid_as(f, group, &faults.join(","));
            }
            let faults = names::dns_1035_label(number);
            if number.is_empty() {
                version.invalid(f, "version must be specified");
            } else if !faults.is_empty() {
                version.invalid_as(f, number, &faults.join(","));
            }
        }
    }
    if kind.need(f) {
        let faults = names::dns_1035_label(&kind.text().to_lowercase());
        if !faults.is_empty() {
            kind.invalid(
                f,
                &format!("may have mixed case, but should otherwise match: {}", faults.join(",")),
            );
        }
    }
}

fn match_resources(at: &At<'_>, f: &mut Faults) {
    policy_choice(&at.get("matchPolicy"), &["Equivalent", "Exact"], f);
    for field in SELECTORS {
        let selector = at.get(field);
        if selector.is_set() {
            common::label_selector(&selector, f);
        } else {
            selector.required(f, "");
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for rule in at.get(field).items() {
            let mut seen = BTreeSet::new();
            for name in rule.get("resourceNames").items() {
                name.check(f, names::path_segment);
                if !seen.insert(name.text().to_owned()) {
                    name.duplicate(f);
                }
            }
            operations_rule(&rule, f);
        }
    }
}

fn variables(list: &At<'_>, f: &mut Faults) {
    for variable in list.items() {
        let (name, expression) = (variable.get("name"), variable.get("expression"));
        if name.text().trim().is_empty() {
            name.required(f, "name is not specified");
        } else if !is_cel_identifier(name.text()) {
            name.invalid(f, "must be a valid CEL identifier");
        }
        if expression.text().trim().is_empty() {
            expression.required(f, "expression is not specified");
        }
    }
}

fn is_cel_identifier(text: &str) -> bool {
    const RESERVED: [&str; 21] = [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ];
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(word)
        && !RESERVED.contains(&text)
}

fn validation(at: &At<'_>, f: &mut Faults) {
    let blank = |at: &At<'_>| !at.is_empty() && at.text().trim().is_empty();
    let expression = at.get("expression");
    if expression.text().trim().is_empty() {
        expression.required(f, "expression is not specified");
    }
    let (message, computed) = (at.get("message"), at.get("messageExpression"));
    if blank(&computed) {
        computed.invalid(f, "must be non-empty if specified");
    }
    if blank(&message) {
        message.invalid(f, "must be non-empty if specified");
    } else if message.text().trim().contains(['\n', '\r']) {
        message.invalid(f, "must not contain line breaks");
    }
    at.get("reason").one_of_if_set(f, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
}

pub(super) fn mutating_policy(root: &At<'_>, f: &mut Faults) {
    mutating_policy_with(root, false, f);
}

pub(super) fn mutating_policy_update(new: &At<'_>, old: &At<'_>, f: &mut Faults) {
    mutating_policy_with(new, same_conditions(new, old), f);
}

/// Nothing is left to change in what is deleted. Faults name no rule, as upstream's do.
fn no_deletions(resources: &At<'_>, f: &mut Faults) {
    let rules = resources.get("resourceRules");
    for rule in rules.items() {
        for operation in rule.get("operations").items() {
            let shown = rules.get("operations").with(operation.value);
            shown.one_of(f, &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
}

fn mutating_policy_with(root: &At<'_>, kept: bool, f: &mut Faults) {
    let spec = root.get("spec");
    policy_head(&spec, f);
    no_deletions(&spec.get("matchConstraints"), f);
    if !kept {
        match_conditions(&spec.get("matchConditions"), f);
    }
    variables(&spec.get("variables"), f);
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        mutations.required(f, "mutations must contain at least one item");
    }
    for mutation in mutations.items() {
        mutate(&mutation, f);
    }
    spec.get("reinvocationPolicy").need_one_of(f, &["IfNeeded", "Never"]);
}

fn mutate(at: &At<'_>, f: &mut Faults) {
    let kind = at.get("patchType");
    let (own, other) = match kind.text() {
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        _ => {
            kind.need_one_of(f, &["ApplyConfiguration", "JSONPatch"]);
            return;
        }
    };
    let (given, extra) = (at.get(own), at.get(other));
    if !given.is_set() {
        given.required(f, &format!("must be specified when patchType is {}", kind.text()));
    } else if given.get("expression").text().trim().is_empty() {
        given.get("expression").required(f, "");
    }
    if extra.is_set() {
        extra.invalid_as(
            f,
            format!("{{{other}}}"),
            &format!("must not be specified when patchType is {}", kind.text()),
        );
    }
}

// Bindings.

pub(super) fn validating_binding(root: &At<'_>, f: &mut Faults) {
    binding(root, f);
    let actions = root.get("spec.validationActions");
    let mut seen = BTreeSet::new();
    for action in actions.items() {
        action.one_of(f, &["Audit", "Deny", "Warn"]);
        if !seen.insert(action.text().to_owned()) {
            action.duplicate(f);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        actions.invalid(f, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)");
    }
    if seen.is_empty() {
        actions.required(f, "at least one validation action is required");
    }
}

pub(super) fn mutating_binding(root: &At<'_>, f: &mut Faults) {
    binding(root, f);
    no_deletions(&root.get("spec.matchResources"), f);
}

fn binding(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    spec.get("policyName").need_check(f, names::dns_subdomain);
    let params = spec.get("paramRef");
    if params.is_set() {
        param_ref(&params, f);
    }
    let resources = spec.get("matchResources");
    if resources.is_set() {
        match_resources(&resources, f);
    }
}

fn param_ref(at: &At<'_>, f: &mut Faults) {
    let (name, selector) = (at.get("name"), at.get("selector"));
    let both = "name and selector are mutually exclusive";
    if !name.is_empty() {
        name.check(f, names::path_segment);
        if selector.is_set() {
            name.forbidden(f, both);
        }
    }
    if selector.is_set() {
        common::label_selector(&selector, f);
        if !name.is_empty() {
            selector.forbidden(f, both);
        }
    } else if name.is_empty() {
        at.required(f, "one of name or selector must be specified");
    }
    at.get("parameterNotFoundAction").need_one_of(f, &["Deny", "Allow"]);
}
