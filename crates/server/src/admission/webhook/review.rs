//! AdmissionReview: the question that a webhook is sent, and how its answer is read.

use api::{ApiError, Object, Resource, Value as Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::super::expression;
use crate::gate::Write;

/// What an allowing answer says besides.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// A JSON patch.
    pub patch: Option<Json>,
    pub warnings: Vec<String>,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Verdict {
    Allowed(Answer),
    Refused {
        /// `metav1.Status`, if it gave one.
        status: Json,
        warnings: Vec<String>,
    },
}

/// The question.
pub(super) fn question(
    write: &Write<'_>,
    matched: &Resource,
    version: &str,
    uid: &str,
    (object, old): (Option<&Object>, Option<&Object>),
) -> Json {
    let body = |object: Option<&Object>| object.map_or(Json::Null, |o| Json::Object(o.0.clone()));
    let mut request = expression::request(write, matched);
    request["uid"] = uid.into();
    request["object"] = body(object.or(write.object.as_ref()));
    request["oldObject"] = body(old.or(write.old));
    json!({
        "kind": "AdmissionReview",
        "apiVersion": format!("admission.k8s.io/{version}"),
        "request": request,
    })
}

/// Reads an answer; an error says what it lacks.
pub(super) fn read(
    body: &[u8],
    version: &str,
    uid: &str,
    mutating: bool,
) -> Result<Verdict, String> {
    let review: Json = serde_json::from_slice(body)
        .map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))?;
    let response = match review.get("response") {
        Some(response) if response.is_object() => response,
        _ => return Err("webhook response was absent".into()),
    };
    let text =
        |value: &Json, key: &str| value.get(key).and_then(Json::as_str).unwrap_or("").to_owned();
    let strict = version == "v1";
    if strict {
        let found = text(response, "uid");
        if found != uid {
            return Err(format!("expected response.uid={uid:?}, got {found:?}"));
        }
        let (api_version, kind) = (text(&review, "apiVersion"), text(&review, "kind"));
        if (api_version.as_str(), kind.as_str()) != ("admission.k8s.io/v1", "AdmissionReview") {
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
            ));
        }
    }
    let warnings = response.get("warnings").and_then(Json::as_array).into_iter().flatten();
    let warnings: Vec<String> = warnings.filter_map(Json::as_str).map(str::to_owned).collect();
    let patch = text(response, "patch");
    let patch_type = response.get("patchType").and_then(Json::as_str);
    if strict {
        match (mutating, patch.is_empty(), patch_type) {
            (true, false, None) => {
                return Err("webhook returned response.patch but not response.patchType".into());
            }
            (true, true, Some(_)) => {
                return Err("webhook returned response.patchType but not response.patch".into());
            }
            (true, _, Some("")) => {
                return Err("webhook returned invalid response.patchType of \"\"".into());
            }
            (false, false, _) => {
                return Err("validating webhook may not return response.patch".into());
            }
            (false, _, Some(_)) => {
                return Err("validating webhook may not return response.patchType".into());
            }
            _ => {}
        }
    }
    if response.get("allowed").and_then(Json::as_bool) != Some(true) {
        let status = response.get("status").cloned().unwrap_or(Json::Null);
        return Ok(Verdict::Refused { status, warnings });
    }
    let patch = match (mutating, patch.as_str()) {
        (true, text) if !text.is_empty() => {
            if strict && patch_type != Some("JSONPatch") {
                return Err(format!("unsupported patch type {:?}", patch_type.unwrap_or("")));
            }
            let bytes = STANDARD.decode(text).map_err(|e| format!("undecodable patch: {e}"))?;
            let patch: Json =
                serde_json::from_slice(&bytes).map_err(|e| format!("undecodable patch: {e}"))?;
            Some(patch).filter(|p| p.as_array().is_none_or(|list| !list.is_empty()))
        }
        _ => None,
    };
    Ok(Verdict::Allowed(Answer { patch, warnings }))
}

/// What the client is told of a webhook that said no.
pub(super) fn refusal(name: &str, status: Json) -> ApiError {
    let mut status = if status.is_object() { status } else { json!({}) };
    let code = status.get("code").and_then(Json::as_u64).unwrap_or(0).max(400);
    let text = |key: &str| status.get(key).and_then(Json::as_str).unwrap_or("").to_owned();
    let head = format!("admission webhook {name:?} denied the request");
    let (message, reason) = (text("message"), text("reason"));
    let message = match (message.is_empty(), reason.is_empty()) {
        (false, _) => format!("{head}: {message}"),
        (true, false) => format!("{head}: {reason}"),
        (true, true) => format!("{head} without explanation"),
    };
    status["kind"] = "Status".into();
    status["apiVersion"] = "v1".into();
    status["status"] = "Failure".into();
    status["message"] = message.into();
    status["code"] = code.into();
    let code = u16::try_from(code).unwrap_or(400);
    ApiError::from_response(code, status.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let answer = |response: Json| {
            let review = json!({
                "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response,
            });
            review.to_string().into_bytes()
        };
        let fault = |response: Json, mutating: bool| {
            read(&answer(response), "v1", "u", mutating).expect_err("a fault")
        };
        assert_eq!(
            fault(json!({"uid": "x", "allowed": true}), false),
            "expected response.uid=\"u\", got \"x\""
        );
        assert_eq!(
            fault(json!({"uid": "u", "allowed": true, "patch": "W10="}), true),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            fault(json!({"uid": "u", "allowed": true, "patchType": "JSONPatch"}), false),
            "validating webhook may not return response.patchType"
        );
        assert_eq!(
            read(b"{}", "v1", "u", false).expect_err("absent"),
            "webhook response was absent"
        );
    }

    #[test]
    fn a_refusal_is_a_status() {
        let none = refusal("h", Json::Null).to_status();
        assert_eq!(none["code"], 400);
        assert_eq!(
            none["message"],
            "admission webhook \"h\" denied the request without explanation"
        );
        let given = json!({"code": 403, "message": "no", "reason": "Forbidden"});
        let given = refusal("h", given).to_status();
        assert_eq!((&given["code"], &given["reason"]), (&json!(403), &json!("Forbidden")));
        assert_eq!(given["message"], "admission webhook \"h\" denied the request: no");
    }
}
