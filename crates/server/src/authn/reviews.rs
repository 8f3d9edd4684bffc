//! Reviews: questions to authentication and authorization in the form of objects that are answered
//! and not kept.
//!
//! Not here: decoding them, or who may ask.

use std::borrow::Cow;

use api::clock::Clock;
use api::{ApiError, Cause, CauseReason, Map, Object, Value};
use serde_json::json;

use crate::gate::{Attributes, Authenticator, Authorizer, Decision, UserInfo};

/// What is said of a token that nobody knows.
const NO_TOKEN: &str = "invalid bearer token";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a review of any kind; `None` where `kind` is none.
pub fn review(
    kind: &str,
    mut object: Object,
    user: &UserInfo,
    (authenticator, authorizer): (&dyn Authenticator, &dyn Authorizer),
    clock: &Clock,
) -> Option<Result<Object, ApiError>> {
    Some(match kind {
        "TokenReview" => token(object, authenticator),
        "SelfSubjectReview" => {
            // Nothing that the client says of itself counts.
            object.0.insert("metadata".into(), json!({"creationTimestamp": clock.time()}));
            object.0.insert("status".into(), json!({"userInfo": user.to_value()}));
            Ok(object)
        }
        "SubjectAccessReview" => access(object, false, None, authorizer),
        "LocalSubjectAccessReview" => access(object, true, None, authorizer),
        "SelfSubjectAccessReview" => access(object, false, Some(user), authorizer),
        "SelfSubjectRulesReview" => rules(&object, user, authorizer),
        _ => return None,
    })
}

fn token(mut object: Object, authenticator: &dyn Authenticator) -> Result<Object, ApiError> {
    let token = object.text("spec.token").unwrap_or("");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(object.at("spec.audiences"));
    let status = match authenticator.token(token, &audiences) {
        Ok(Some(facts)) => {
            let mut status = json!({"authenticated": true, "user": facts.user.to_value()});
            if !facts.audiences.is_empty() {
                status["audiences"] = facts.audiences.into();
            }
            status
        }
        Ok(None) => json!({"user": {}, "error": NO_TOKEN}),
        // Two have looked at it: one for the server's own tokens, which this one is not.
        Err(error) => json!({"user": {}, "error": format!("[{NO_TOKEN}, {error}]")}),
    };
    object.0.insert("status".into(), status);
    Ok(object)
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

const SYSTEM: [&str; 5] =
    ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "uid", "selfLink"];

fn access(
    mut object: Object,
    local: bool,
    asker: Option<&UserInfo>,
    authorizer: &dyn Authorizer,
) -> Result<Object, ApiError> {
    // What the server fills in is cleared of every new object.
    for field in SYSTEM {
        object.meta_mut().remove(field);
    }
    let causes = access_faults(&object, local, asker.is_some());
    if !causes.is_empty() {
        // Upstream names no kind here.
        return Err(ApiError::invalid(AUTHORIZATION, "", "", causes));
    }
    let named;
    let user = match asker {
        Some(user) => user,
        None => {
            named = subject(&object);
            &named
        }
    };
    let text = |path: &str| object.text(path).unwrap_or("").to_owned();
    let r = |key: &str| text(&format!("spec.resourceAttributes.{key}"));
    let (verb, group, resource, sub) = (r("verb"), r("group"), r("resource"), r("subresource"));
    let (namespace, name, version) = (r("namespace"), r("name"), r("version"));
    let fields = field_selector(object.at("spec.resourceAttributes.fieldSelector"));
    let labels = r("labelSelector.rawSelector");
    let (path, method) =
        (text("spec.nonResourceAttributes.path"), text("spec.nonResourceAttributes.verb"));
    let attributes = if object.at("spec.resourceAttributes").is_some_and(|v| !v.is_null()) {
        Attributes {
            user: Cow::Borrowed(user),
            verb: &verb,
            resource_request: true,
            path: "",
            group: &group,
            version: if version.is_empty() { "*" } else { &version },
            resource: &resource,
            subresource: &sub,
            namespace: &namespace,
            name: &name,
            field_selector: &fields,
            label_selector: &labels,
        }
    } else {
        Attributes {
            user: Cow::Borrowed(user),
            verb: &method,
            path: &path,
            ..Attributes::default()
        }
    };
    let mut status = Map::new();
    let (allowed, reason) = match authorizer.authorize(&attributes) {
        Decision::Allow(reason) => (true, reason),
        Decision::NoOpinion(reason) => (false, reason),
        Decision::Deny(reason) => {
            status.insert("denied".into(), true.into());
            (false, reason)
        }
    };
    status.insert("allowed".into(), allowed.into());
    if !reason.is_empty() {
        status.insert("reason".into(), reason.into());
    }
    let unread = unread_selectors(object.at("spec.resourceAttributes"));
    if !unread.is_empty() {
        status.insert("evaluationError".into(), unread.into());
    }
    object.0.insert("status".into(), status.into());
    Ok(object)
}

/// A field selector as text, of its requirements where it has some.
fn field_selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    if let Some(raw) = selector.get("rawSelector").and_then(Value::as_str).filter(|r| !r.is_empty())
    {
        return raw.to_owned();
    }
    let requirements = selector.get("requirements").and_then(Value::as_array);
    let terms = requirements.into_iter().flatten().filter_map(|r| {
        let key = r.get("key")?.as_str()?;
        match (r.get("operator")?.as_str()?, texts(r.get("values")).as_slice()) {
            ("In", [one]) => Some(format!("{key}={one}")),
            ("NotIn", [one]) => Some(format!("{key}!={one}")),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

/// What of a review's selectors could not be read and does not count.
fn unread_selectors(attributes: Option<&Value>) -> String {
    let mut said = Vec::new();
    for kind in ["fieldSelector", "labelSelector"] {
        let Some(selector) = attributes.and_then(|a| a.get(kind)).filter(|s| !s.is_null()) else {
            continue;
        };
        let fields = kind == "fieldSelector";
        let raw = selector.get("rawSelector").and_then(Value::as_str).unwrap_or("");
        let requirements = selector.get("requirements").and_then(Value::as_array);
        let (bad, all) = if raw.is_empty() {
            let list = requirements.map_or(&[][..], Vec::as_slice);
            (list.iter().filter(|r| !is_readable(r, fields)).count(), list.len())
        } else {
            let unfit = match fields {
                true => api::selector::FieldSelector::parse(raw).is_err(),
                false => api::selector::LabelSelector::parse(raw).is_err(),
            };
            (usize::from(unfit), 1)
        };
        if bad > 0 {
            let how = if bad < all { "partially ignored" } else { "ignored" };
            said.push(format!("spec.resourceAttributes.{kind} {how} due to parse error"));
        }
    }
    match said.len() {
        0 | 1 => said.concat(),
        _ => format!("[{}]", said.join(", ")),
    }
}

/// Whether a requirement says what a selector of its sort can say.
fn is_readable(requirement: &Value, fields: bool) -> bool {
    let operator = requirement.get("operator").and_then(Value::as_str).unwrap_or("");
    match operator {
        "In" | "NotIn" => !fields || texts(requirement.get("values")).len() == 1,
        "Exists" | "DoesNotExist" => !fields,
        _ => false,
    }
}

fn subject(object: &Object) -> UserInfo {
    let extra = object.at("spec.extra").and_then(Value::as_object);
    UserInfo {
        name: object.text("spec.user").unwrap_or("").to_owned(),
        uid: object.text("spec.uid").unwrap_or("").to_owned(),
        groups: texts(object.at("spec.groups")),
        extra: extra
            .into_iter()
            .flatten()
            .map(|(key, values)| (key.to_lowercase(), texts(Some(values))))
            .collect(),
    }
}

fn access_faults(object: &Object, local: bool, about_self: bool) -> Vec<Cause> {
    let at = |path: &str| object.at(path).filter(|v| !v.is_null());
    let (resource, other) = (at("spec.resourceAttributes"), at("spec.nonResourceAttributes"));
    // Upstream prints its internal type, whose fields are upper case.
    let printed = |other: &Value| {
        let text = |key: &str| other.get(key).and_then(Value::as_str).unwrap_or("");
        json!({"Path": text("path"), "Verb": text("verb")})
    };
    let mut causes = Vec::new();
    match (resource, other) {
        (Some(_), Some(other)) => causes.push(Cause::invalid(
            "spec.nonResourceAttributes",
            &printed(other),
            "cannot be specified in combination with resourceAttributes",
        )),
        (None, None) => causes.push(Cause::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )),
        _ => {}
    }
    let nobody = object.text("spec.user").unwrap_or("").is_empty()
        && texts(object.at("spec.groups")).is_empty();
    if !about_self && nobody {
        let detail = "at least one of user or group must be specified";
        causes.push(Cause::invalid("spec.user", &json!(""), detail));
    }
    for kind in ["fieldSelector", "labelSelector"] {
        let Some(selector) = resource.and_then(|r| r.get(kind)).filter(|s| !s.is_null()) else {
            continue;
        };
        let field = format!("spec.resourceAttributes.{kind}");
        let raw = selector.get("rawSelector").and_then(Value::as_str).unwrap_or("");
        let requirements = selector.get("requirements").and_then(Value::as_array);
        let listed = requirements.is_some_and(|r| !r.is_empty());
        if !raw.is_empty() && listed {
            let detail = "may not specified at the same time as requirements";
            causes.push(Cause::invalid(format!("{field}.rawSelector"), &json!(raw), detail));
        }
        if raw.is_empty() && !listed {
            let detail =
                format!("when {field} is specified, requirements or rawSelector is required");
            causes.push(Cause::required(format!("{field}.requirements"), &detail));
        }
        if listed {
            causes.extend(api::validate::requirements(&field, selector));
        }
    }
    let nothing = Map::new();
    let meta = object.meta().unwrap_or(&nothing);
    let home = object.namespace();
    let said = |key: &str| key != "managedFields" && !(local && key == "namespace");
    if meta.iter().any(|(key, value)| said(key) && !value.is_null()) {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        let shown = api::validate::metadata_shown(&Value::Object(meta.clone()));
        let message = format!("Invalid value: {shown}: {detail}");
        causes.push(Cause::new(CauseReason::Invalid, "metadata", message));
    }
    if local {
        let namespace =
            resource.and_then(|r| r.get("namespace")).and_then(Value::as_str).unwrap_or("");
        if resource.is_some() && namespace != home {
            let field = "spec.resourceAttributes.namespace";
            causes.push(Cause::invalid(field, &json!(namespace), "must match metadata.namespace"));
        }
        if let Some(other) = other {
            let detail = "disallowed on this kind of request";
            causes.push(Cause::invalid("spec.nonResourceAttributes", &printed(other), detail));
        }
    }
    causes
}

fn rules(
    object: &Object,
    user: &UserInfo,
    authorizer: &dyn Authorizer,
) -> Result<Object, ApiError> {
    let namespace = object.text("spec.namespace").unwrap_or("");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let rules = authorizer.rules(user, namespace);
    let mut status = json!({
        "resourceRules": rules.resource, "nonResourceRules": rules.non_resource,
        "incomplete": rules.incomplete,
    });
    if !rules.error.is_empty() {
        status["evaluationError"] = rules.error.into();
    }
    let mut answer = Object::default();
    answer.set_type(object.api_version(), object.kind());
    answer.0.insert("metadata".into(), json!({}));
    answer.0.insert("spec".into(), json!({}));
    answer.0.insert("status".into(), status);
    Ok(answer)
}
