//! Which writes a policy or webhook is about: rules, scopes, selectors, equivalent versions.
//!
//! Not here: match conditions, which are expressions (`expression`).

use api::kinds::{self, Kind};
use api::selector::{LabelSelector, LabelSelectorSpec};
use api::{ApiError, Map, Object, Resource, Value, resource};

use super::custom::Definition;
use super::lookup::{Lookup, is, maps, text};
use crate::gate::{Operation, Write};

/// Kinds that describe admission itself are never subject to it.
const EXEMPT: [&str; 6] = [
    "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
];

/// Questions about rights and identities, which policies do not see.
const QUESTIONS: [(&str, &str); 6] = [
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
];

/// Whether a resource describes admission itself.
pub fn is_exempt(resource: &Resource) -> bool {
    resource.group == "admissionregistration.k8s.io" && EXEMPT.contains(&&*resource.kind)
}

/// Whether policies do not look at a resource.
pub fn is_beyond_policies(resource: &Resource) -> bool {
    let named =
        |(group, plural): &(&str, &str)| resource.group == *group && resource.plural == *plural;
    is_exempt(resource) || QUESTIONS.iter().any(named)
}

/// The namespace of a write, upstream's way: an object that is a namespace is in itself.
pub fn namespace_of<'a>(write: &'a Write<'_>) -> &'a str {
    if !is(write.resource, &resource::NAMESPACES) {
        return write.namespace;
    }
    match &write.object {
        Some(object) if write.name.is_empty() => object.name(),
        _ => write.name,
    }
}

/// One of `rules`.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

fn texts(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn any_or(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn read(map: &Map<String, Value>) -> Self {
        Self {
            operations: texts(map, "operations"),
            groups: texts(map, "apiGroups"),
            versions: texts(map, "apiVersions"),
            resources: texts(map, "resources"),
            scope: text(map, "scope").to_owned(),
            names: texts(map, "resourceNames"),
        }
    }

    fn covers(&self, resource: &Resource, subresource: &str, operation: Operation) -> bool {
        any_or(&self.versions, &resource.version)
            && self.covers_in_some_version(resource, subresource, operation)
    }

    fn covers_in_some_version(
        &self,
        resource: &Resource,
        subresource: &str,
        operation: Operation,
    ) -> bool {
        any_or(&self.operations, operation.as_str())
            && any_or(&self.groups, &resource.group)
            && self.resources.iter().any(|item| {
                let (plural, sub) = item.split_once('/').unwrap_or((item, ""));
                (plural == "*" || plural == resource.plural) && (sub == "*" || sub == subresource)
            })
    }

    fn scope_fits(&self, resource: &Resource, namespace: &str) -> bool {
        let is_namespace = is(resource, &resource::NAMESPACES);
        match self.scope.as_str() {
            "Namespaced" => !is_namespace && !namespace.is_empty(),
            "Cluster" => is_namespace || namespace.is_empty(),
            _ => true,
        }
    }
}

/// What a policy, a binding or a webhook says about the writes it is about.
#[derive(Debug)]
pub struct Constraints {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
    equivalent: bool,
}

fn selector(map: &Map<String, Value>, key: &str) -> Result<LabelSelector, String> {
    let Some(value) = map.get(key).filter(|v| !v.is_null()) else {
        return Ok(LabelSelector::default());
    };
    let spec: LabelSelectorSpec =
        serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    spec.selector().map_err(|e| e.to_string())
}

impl Constraints {
    /// Reads them; `rules` is the field of the rules (`resourceRules`, `rules`).
    pub fn read(map: &Map<String, Value>, rules: &str) -> Self {
        Self {
            rules: maps(map.get(rules)).map(Rule::read).collect(),
            excluded: maps(map.get("excludeResourceRules")).map(Rule::read).collect(),
            namespaces: selector(map, "namespaceSelector"),
            objects: selector(map, "objectSelector"),
            equivalent: text(map, "matchPolicy") != "Exact",
        }
    }

    /// Whether there are rules at all.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether a kind of write can be meant at all, the object not looked at.
    pub fn may_match(&self, resource: &Resource, sub: &str, operation: Operation) -> bool {
        if self.rules.is_empty() {
            return true;
        }
        let fits = |resource: &Resource| {
            self.rules.iter().any(|rule| rule.covers(resource, sub, operation))
        };
        if fits(resource) || !self.equivalent {
            return fits(resource);
        }
        match kinds::find(&resource.group, &resource.version, &resource.plural) {
            Some(kind) => equivalents(kind, sub).any(|kind| fits(&kind.resource())),
            None => {
                self.rules.iter().any(|rule| rule.covers_in_some_version(resource, sub, operation))
            }
        }
    }

    /// The resource in whose version the write is meant, if it is. `open`: no rules mean everything.
    pub fn matches(
        &self,
        look: &Lookup,
        write: &Write<'_>,
        open: bool,
    ) -> Result<Option<Resource>, ApiError> {
        let namespaces = self.namespace_matches(look, write);
        if matches!(namespaces, Ok(false)) {
            return Ok(None);
        }
        let objects = self.object_matches(write);
        if matches!(objects, Ok(false)) || self.find(look, &self.excluded, write).is_some() {
            return Ok(None);
        }
        let found = if open && self.rules.is_empty() {
            Some(write.resource.clone())
        } else {
            self.find(look, &self.rules, write)
        };
        if found.is_some() {
            namespaces?;
            objects?;
        }
        Ok(found)
    }

    fn find(&self, look: &Lookup, rules: &[Rule], write: &Write<'_>) -> Option<Resource> {
        let named =
            |rule: &Rule| rule.names.is_empty() || rule.names.iter().any(|n| n == write.name);
        let namespace = namespace_of(write);
        let fits = |resource: &Resource| {
            rules.iter().any(|rule| {
                rule.covers(resource, write.subresource, write.operation)
                    && rule.scope_fits(resource, namespace)
                    && named(rule)
            })
        };
        if fits(write.resource) {
            return Some(write.resource.clone());
        }
        if !self.equivalent {
            return None;
        }
        let own = write.resource;
        match kinds::find(&own.group, &own.version, &own.plural) {
            Some(kind) => equivalents(kind, write.subresource).map(Kind::resource).find(fits),
            None if rules.is_empty() => None,
            None => Definition::of_resource(look, own)?.resources().into_iter().find(fits),
        }
    }

    fn namespace_matches(&self, look: &Lookup, write: &Write<'_>) -> Result<bool, ApiError> {
        let namespace = namespace_of(write);
        let is_namespace = is(write.resource, &resource::NAMESPACES);
        if namespace.is_empty() && !is_namespace {
            return Ok(true);
        }
        let selector = self.namespaces.as_ref().map_err(ApiError::internal)?;
        if selector.0.is_empty() {
            return Ok(true);
        }
        let own = is_namespace
            && write.subresource.is_empty()
            && matches!(write.operation, Operation::Create | Operation::Update);
        if own {
            return Ok(write.object.as_ref().is_some_and(|o| labels_match(selector, o)));
        }
        match look.entry(&resource::NAMESPACES, "", namespace) {
            Some(entry) => Ok(selector.matches(&entry.card)),
            None => Err(ApiError::not_found("", "namespaces", namespace)),
        }
    }

    fn object_matches(&self, write: &Write<'_>) -> Result<bool, ApiError> {
        let selector = self.objects.as_ref().map_err(ApiError::internal)?;
        if selector.0.is_empty() {
            return Ok(true);
        }
        let any = |object: Option<&Object>| object.is_some_and(|o| labels_match(selector, o));
        Ok(any(write.object.as_ref()) || any(write.old))
    }
}

/// Whether an object's labels meet a selector.
pub fn labels_match(selector: &LabelSelector, object: &Object) -> bool {
    selector.matches_with(|key| object.meta()?.get("labels")?.get(key)?.as_str())
}

/// The other versions of a kind, where they have the subresource too.
fn equivalents(kind: &'static Kind, subresource: &str) -> impl Iterator<Item = &'static Kind> {
    kind.versions().filter(move |other| {
        (other.group != kind.group || other.version != kind.version)
            && (subresource.is_empty() || other.subresource(subresource).is_some())
    })
}
