//! Flow schemas and priority levels of API priority and fairness.

use super::at::{At, Faults};
use crate::names;

const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The subject kinds: the field each needs, and who may not have it.
const SUBJECTS: [(&str, &str); 3] =
    [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];

pub(super) fn flow_schema(root: &At<'_>, f: &mut Faults) {
    let spec = root.get("spec");
    let order = spec.get("matchingPrecedence");
    match order.number() {
        n if n <= 0 => order.invalid_as(f, n, "must be a positive value"),
        n if n > 10_000 => order.invalid(f, "must not be greater than 10000"),
        1 if root.get("metadata.name").text() != "exempt" => {
            order.invalid(f, "only the schema named 'exempt' may have matchingPrecedence 1");
        }
        _ => {}
    }
    let method = spec.get("distinguisherMethod");
    if method.is_set() {
        let (kind, known) = (method.get("type"), ["ByNamespace", "ByUser"]);
        if !known.contains(&kind.text()) {
            let shown = serde_json::json!({"Type": kind.text()});
            kind.with(&shown).unsupported(f, &known);
        }
    }
    let level = spec.get("priorityLevelConfiguration.name");
    if level.is_empty() {
        level.required(f, "must reference a priority level");
    } else {
        level.check(f, names::dns_subdomain);
    }
    for rule in spec.get("rules").items() {
        subjects(&rule.get("subjects"), f);
        let (resources, urls) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
        if resources.is_empty() && urls.is_empty() {
            rule.required(
                f,
                "at least one of resourceRules and nonResourceRules has to be non-empty",
            );
        }
        for resource in resources.items() {
            resource_rule(&resource, f);
        }
        for url in urls.items() {
            url_rule(&url, f);
        }
    }
    fixed(root, "FlowSchemaSpec", SCHEMAS, f);
    flow_status(root, root, f);
}

/// What the objects say that no cluster may do without. Of what is exempt, the shares are open.
const SCHEMAS: &[(&str, &str)] = &[
    (
        "catch-all",
        r#"{"priorityLevelConfiguration":{"name":"catch-all"},"matchingPrecedence":10000,
            "distinguisherMethod":{"type":"ByUser"},"rules":[{"subjects":[
            {"kind":"Group","group":{"name":"system:unauthenticated"}},
            {"kind":"Group","group":{"name":"system:authenticated"}}],
            "resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,
            "namespaces":["*"]}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}"#,
    ),
    (
        "exempt",
        r#"{"priorityLevelConfiguration":{"name":"exempt"},"matchingPrecedence":1,"rules":[{"subjects":[
            {"kind":"Group","group":{"name":"system:masters"}}],
            "resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"clusterScope":true,
            "namespaces":["*"]}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}]}"#,
    ),
];
const LEVELS: &[(&str, &str)] = &[
    (
        "catch-all",
        r#"{"type":"Limited","limited":{"nominalConcurrencyShares":5,"limitResponse":{"type":"Reject"},
            "lendablePercent":0}}"#,
    ),
    ("exempt", r#"{"type":"Exempt"}"#),
];

/// Whether one of these objects still says what it must.
fn fixed(root: &At<'_>, of: &str, rows: &[(&str, &str)], f: &mut Faults) {
    let name = root.get("metadata.name");
    let Some((name, text)) = rows.iter().find(|row| row.0 == name.text()) else { return };
    let spec = root.get("spec");
    let wanted: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let mut given = spec.value.clone();
    let open = wanted["type"] == "Exempt";
    if let Some(map) = given.as_object_mut().filter(|_| open) {
        map.remove("exempt");
    }
    if given != wanted {
        let but = if open { " except the 'spec.exempt' field" } else { "" };
        spec.invalid_struct(f, of, &format!("spec of '{name}'{but} must equal the fixed value"));
    }
}

fn subjects(list: &At<'_>, f: &mut Faults) {
    if list.is_empty() {
        list.required(f, "subjects must contain at least one value");
    }
    for subject in list.items() {
        let kind = subject.get("kind");
        let Some((_, own)) = SUBJECTS.iter().find(|s| s.0 == kind.text()) else {
            kind.unsupported(f, &["Group", "ServiceAccount", "User"]);
            continue;
        };
        let one = subject.get(own);
        if one.is_set() {
            let name = one.get("name");
            name.need(f);
            if *own == "serviceAccount" {
                if !name.is_empty() && name.text() != "*" {
                    name.check(f, names::dns_subdomain);
                }
                let namespace = one.get("namespace");
                if namespace.is_empty() {
                    namespace.required(f, "must specify namespace for service account");
                } else {
                    namespace.check(f, names::dns_label);
                }
            }
        } else {
            one.required(f, &format!("{own} is required when subject kind is '{}'", kind.text()));
        }
        for (other, field) in SUBJECTS.iter().filter(|s| s.0 != kind.text()) {
            if subject.get(field).is_set() {
                subject.get(field).forbidden(
                    f,
                    &format!("{field} is forbidden when subject kind is not '{other}'"),
                );
            }
        }
    }
}

fn has_star(list: &At<'_>) -> bool {
    list.items().any(|item| item.text() == "*")
}

/// A list that is `*` alone or has no `*`. Whether it is `*`.
fn star_alone(list: &At<'_>, what: &str, f: &mut Faults) -> bool {
    if has_star(list) && list.len() > 1 {
        list.invalid(f, &format!("if '*' is present, must not specify other {what}"));
    }
    has_star(list)
}

fn verbs(list: &At<'_>, f: &mut Faults) {
    if list.is_empty() {
        list.required(f, "verbs must contain at least one value");
    } else if !star_alone(list, "verbs", f)
        && !list.items().all(|verb| VERBS.contains(&verb.text()))
    {
        list.unsupported(f, &VERBS);
    }
}

fn resource_rule(rule: &At<'_>, f: &mut Faults) {
    verbs(&rule.get("verbs"), f);
    for (field, one, many) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let list = rule.get(field);
        if list.is_empty() {
            list.required(f, &format!("resource rules must supply at least one {one}"));
        } else {
            star_alone(&list, many, f);
        }
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.get("clusterScope").is_true() {
        namespaces.required(
            f,
            "resource rules that are not cluster scoped must supply at least one namespace",
        );
    } else if !star_alone(&namespaces, "namespaces", f) {
        for namespace in namespaces.items() {
            for why in names::dns_label(namespace.text()) {
                namespace.invalid(
                    f,
                    &format!("each member of this list must be '*' or a DNS-1123 label; {why}"),
                );
            }
        }
    }
}

fn url_rule(rule: &At<'_>, f: &mut Faults) {
    verbs(&rule.get("verbs"), f);
    let urls = rule.get("nonResourceURLs");
    if urls.is_empty() {
        urls.required(f, "nonResourceURLs must contain at least one value");
    } else if !star_alone(&urls, "non-resource URLs", f) {
        for url in urls.items() {
            if let Some(why) = url_fault(url.text()) {
                url.invalid(f, why);
            }
        }
    }
}

fn url_fault(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("must not be empty");
    }
    if !path.starts_with('/') {
        return Some("must start with slash");
    }
    if path.contains(' ') {
        return Some("must not contain white-space");
    }
    if path.contains("//") {
        return Some("must not contain double slash");
    }
    let stars = path.matches('*').count();
    (stars > 1 || (stars == 1 && !path.ends_with("/*")))
        .then_some("wildcard can only do suffix matching")
}

/// The conditions of either kind.
pub(super) fn flow_status(new: &At<'_>, _old: &At<'_>, f: &mut Faults) {
    let mut seen = std::collections::BTreeSet::new();
    for condition in new.get("status.conditions").items() {
        let kind = condition.get("type");
        if !seen.insert(kind.text().to_owned()) {
            kind.duplicate(f);
        }
        kind.need(f);
    }
}

pub(super) fn priority_level(root: &At<'_>, f: &mut Faults) {
    let key = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
    let annotations = root.get("metadata.annotations");
    if annotations.map().is_some_and(|map| map.contains_key(key)) {
        annotations.forbidden(f, &format!("annotation '{key}' is forbidden"));
    }
    let spec = root.get("spec");
    let (kind, limited, exempt) = (spec.get("type"), spec.get("limited"), spec.get("exempt"));
    if (root.get("metadata.name").text() == "exempt") != (kind.text() == "Exempt") {
        kind.invalid_as(f, kind.text(), "must be 'Exempt' if and only if `name` is 'exempt'");
    }
    match kind.text() {
        "Exempt" => {
            if limited.is_set() {
                limited.forbidden(f, "must be nil if the type is not Limited");
            }
            shares(&exempt, f);
        }
        "Limited" => {
            if exempt.is_set() {
                exempt.forbidden(f, "must be nil if the type is Limited");
            }
            if limited.is_set() {
                limits(&limited, f);
            } else {
                limited.required(f, "must not be empty when type is Limited");
            }
        }
        _ => kind.unsupported(f, &["Exempt", "Limited"]),
    }
    fixed(root, "PriorityLevelConfigurationSpec", LEVELS, f);
    flow_status(root, root, f);
}

fn shares(level: &At<'_>, f: &mut Faults) {
    concurrency(level, f);
    lendable(level, f);
}

fn concurrency(level: &At<'_>, f: &mut Faults) {
    let shares = level.get("nominalConcurrencyShares");
    if shares.number() < 0 {
        shares.invalid(f, "must be a non-negative integer");
    }
}

fn lendable(level: &At<'_>, f: &mut Faults) {
    let percent = level.get("lendablePercent");
    if !(0..=100).contains(&percent.number()) {
        percent.invalid(f, "must be between 0 and 100, inclusive");
    }
}

fn limits(level: &At<'_>, f: &mut Faults) {
    concurrency(level, f);
    let response = level.get("limitResponse");
    let (kind, queuing) = (response.get("type"), response.get("queuing"));
    match kind.text() {
        "Reject" if queuing.is_set() => {
            queuing.forbidden(f, "must be nil if limited.limitResponse.type is not Limited");
        }
        "Reject" => {}
        "Queue" if !queuing.is_set() => {
            queuing.required(f, "must not be empty if limited.limitResponse.type is Limited");
        }
        "Queue" => queues(&queuing, f),
        _ => kind.unsupported(f, &["Queue", "Reject"]),
    }
    lendable(level, f);
    let borrowing = level.get("borrowingLimitPercent");
    if borrowing.number() < 0 {
        borrowing.invalid(f, "if specified, must be a non-negative integer");
    }
}

fn queues(at: &At<'_>, f: &mut Faults) {
    let (limit, queues, hand) = (at.get("queueLengthLimit"), at.get("queues"), at.get("handSize"));
    for one in [&limit, &queues] {
        if one.number() <= 0 {
            one.invalid_as(f, one.number(), "must be positive");
        }
    }
    if queues.number() > 10_000_000 {
        queues.invalid(f, "must not be greater than 10000000");
    }
    let (deck, size) = (queues.number(), hand.number());
    if size <= 0 {
        hand.invalid_as(f, size, "must be positive");
    } else if size > deck {
        hand.invalid(f, &format!("should not be greater than queues ({deck})"));
    } else if entropy_bits(deck, size) > 60 {
        hand.invalid(
            f,
            &format!("required entropy bits of deckSize {deck} and handSize {size} should not be greater than 60"),
        );
    }
}

/// How many bits it takes to deal a hand from a deck.
fn entropy_bits(deck: i64, hand: i64) -> u32 {
    let mut bits = 0.0;
    for left in (deck - hand + 1)..=deck {
        bits += (left as f64).log2();
        if bits > 1000.0 {
            break;
        }
    }
    bits.ceil() as u32
}
