//! Reviews: questions about tokens, access and oneself.
//!
//! Not here: the answers, which the guards have.

use std::borrow::Cow;
use std::sync::Arc;

use api::{ApiError, Cause, Object, Value};
use http::StatusCode;
use serde_json::json;

use super::read;
use crate::edge::respond::{self, Reply};
use crate::gate::{Attributes, Decision, Operation, UserInfo};
use crate::registry::decode::Expected;
use crate::registry::{reply_object, write};
use crate::server::{Request, Server, Target};

/// Serves a POST of a review.
pub async fn serve(
    server: &Arc<Server>,
    mut request: Request,
    target: Target,
) -> Result<Reply, ApiError> {
    let (answer, warnings) = {
        let created = read(server, &mut request, Expected::of(target.kind)).await?;
        let mut ctx = created.ctx;
        let mut review = created.object;
        crate::registry::create::match_namespace(&target, &mut review)?;
        ctx.mutate(&target, Operation::Create, &mut review, None).await?;
        ctx.validate(&target, Operation::Create, Some(review.clone()), None).await?;
        let user = ctx.user;
        let status = match target.kind.kind {
            "TokenReview" => token(server, &review)?,
            "SubjectAccessReview" => access(server, &review, None, None)?,
            "LocalSubjectAccessReview" => access(server, &review, None, Some(&target.namespace))?,
            "SelfSubjectAccessReview" => access(server, &review, Some(user), None)?,
            "SelfSubjectRulesReview" => rules(server, &review, user)?,
            "SelfSubjectReview" => {
                review.set_meta("creationTimestamp", server.clock.time());
                json!({ "userInfo": user.to_value() })
            }
            _ => return Err(respond::no_method()),
        };
        review.0.insert("status".into(), status);
        (review, ctx.warnings)
    };
    let reply = reply_object(server, &request, &target, StatusCode::CREATED, answer)?;
    Ok(write::finish(reply, &warnings))
}

fn invalid(group: &str, cause: Cause) -> ApiError {
    ApiError::invalid(group, "", "", vec![cause])
}

fn token(server: &Server, review: &Object) -> Result<Value, ApiError> {
    let token = review.text("spec.token").unwrap_or("");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = review
        .at("spec.audiences")
        .and_then(Value::as_array)
        .map(|l| l.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    Ok(match server.guards.authenticator.token(token, &audiences) {
        Ok(Some(facts)) => {
            let mut status = json!({"authenticated": true, "user": facts.user.to_value()});
            if !facts.audiences.is_empty() {
                status["audiences"] = json!(facts.audiences);
            }
            status
        }
        Ok(None) => json!({"user": {}}),
        Err(error) => json!({"user": {}, "error": error.to_string()}),
    })
}

/// The subject of an access review.
fn subject(review: &Object) -> UserInfo {
    let list = |path: &str| -> Vec<String> {
        review
            .at(path)
            .and_then(Value::as_array)
            .map(|l| l.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            .unwrap_or_default()
    };
    let extra = review
        .at("spec.extra")
        .and_then(|v| serde_json::from_value(v.clone()).ok())
        .unwrap_or_default();
    UserInfo {
        name: review.text("spec.user").unwrap_or("").to_owned(),
        uid: review.text("spec.uid").unwrap_or("").to_owned(),
        groups: list("spec.groups"),
        extra,
    }
}

const GROUP: &str = "authorization.k8s.io";

fn check_selector(review: &Object, which: &str) -> Option<Cause> {
    let path = format!("spec.resourceAttributes.{which}");
    let selector = review.at(&path)?;
    let raw = selector.get("rawSelector").and_then(Value::as_str).unwrap_or("");
    let requirements =
        selector.get("requirements").and_then(Value::as_array).is_some_and(|l| !l.is_empty());
    match (raw.is_empty(), requirements) {
        (false, true) => Some(Cause::invalid(
            format!("{path}.rawSelector"),
            &raw.into(),
            "may not specified at the same time as requirements",
        )),
        (true, false) => Some(Cause::required(
            format!("{path}.requirements"),
            &format!("when {path} is specified, requirements or rawSelector is required"),
        )),
        _ => None,
    }
}

fn access(
    server: &Server,
    review: &Object,
    own: Option<&UserInfo>,
    namespace: Option<&str>,
) -> Result<Value, ApiError> {
    let attribute = |path: &str| review.at(path).filter(|v| v.is_object());
    let resource = attribute("spec.resourceAttributes");
    let path = attribute("spec.nonResourceAttributes");
    let user = own.map_or_else(|| Cow::Owned(subject(review)), Cow::Borrowed);
    if resource.is_some() == path.is_some() {
        let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        let (field, shown) = match resource {
            Some(_) => (
                "spec.nonResourceAttributes",
                json!("cannot be specified in combination with resourceAttributes"),
            ),
            None => ("spec.resourceAttributes", Value::Null),
        };
        let detail = if resource.is_some() {
            "cannot be specified in combination with resourceAttributes"
        } else {
            detail
        };
        let shown = if shown.is_string() { path.cloned().unwrap_or_default() } else { shown };
        return Err(invalid(GROUP, Cause::invalid(field, &shown, detail)));
    }
    if own.is_none() && user.name.is_empty() && user.groups.is_empty() {
        let detail = "at least one of user or group must be specified";
        return Err(invalid(GROUP, Cause::invalid("spec.user", &json!(""), detail)));
    }
    let faults = ["fieldSelector", "labelSelector"].map(|which| check_selector(review, which));
    if let Some(cause) = faults.into_iter().flatten().next() {
        return Err(invalid(GROUP, cause));
    }
    let text = |path: &str| review.text(path).unwrap_or("");
    if let Some(namespace) = namespace {
        if resource.is_some() && text("spec.resourceAttributes.namespace") != namespace {
            let shown = json!(text("spec.resourceAttributes.namespace"));
            return Err(invalid(
                GROUP,
                Cause::invalid(
                    "spec.resourceAttributes.namespace",
                    &shown,
                    "must match metadata.namespace",
                ),
            ));
        }
        if path.is_some() {
            let shown = json!({"Path": text("spec.nonResourceAttributes.path"),
                "Verb": text("spec.nonResourceAttributes.verb")});
            let detail = "disallowed on this kind of request";
            return Err(invalid(
                GROUP,
                Cause::invalid("spec.nonResourceAttributes", &shown, detail),
            ));
        }
    }
    let attributes = if resource.is_some() {
        Attributes {
            user,
            verb: text("spec.resourceAttributes.verb"),
            resource_request: true,
            path: "",
            group: text("spec.resourceAttributes.group"),
            version: text("spec.resourceAttributes.version"),
            resource: text("spec.resourceAttributes.resource"),
            subresource: text("spec.resourceAttributes.subresource"),
            namespace: text("spec.resourceAttributes.namespace"),
            name: text("spec.resourceAttributes.name"),
            field_selector: text("spec.resourceAttributes.fieldSelector.rawSelector"),
            label_selector: text("spec.resourceAttributes.labelSelector.rawSelector"),
        }
    } else {
        Attributes {
            user,
            verb: text("spec.nonResourceAttributes.verb"),
            path: text("spec.nonResourceAttributes.path"),
            ..Attributes::default()
        }
    };
    let (allowed, denied, reason) = match server.guards.authorizer.authorize(&attributes) {
        Decision::Allow(reason) => (true, false, reason),
        Decision::Deny(reason) => (false, true, reason),
        Decision::NoOpinion(reason) => (false, false, reason),
    };
    let mut status = json!({ "allowed": allowed });
    if denied {
        status["denied"] = true.into();
    }
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    Ok(status)
}

fn rules(server: &Server, review: &Object, user: &UserInfo) -> Result<Value, ApiError> {
    let namespace = review.text("spec.namespace").unwrap_or("");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let rules = server.guards.authorizer.rules(user, namespace);
    let mut status = json!({
        "resourceRules": rules.resource,
        "nonResourceRules": rules.non_resource,
        "incomplete": rules.incomplete,
    });
    if !rules.error.is_empty() {
        status["evaluationError"] = rules.error.into();
    }
    Ok(status)
}
