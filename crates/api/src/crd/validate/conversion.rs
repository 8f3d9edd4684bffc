//! `spec.conversion`: none, or a webhook with all it needs.
//!
//! Not here: converting.

use serde_json::{Value, json};

use super::{Faults, list, text};
use crate::names::{dns_1035_label, dns_subdomain};
use crate::status::Cause;

const PATH: &str = "spec.conversion";
/// Versions of the review that the server speaks.
const ACCEPTED: [&str; 2] = ["v1", "v1beta1"];

pub(super) fn check(
    conversion: &Value,
    before: Option<&Value>,
    established: bool,
    faults: &mut Faults,
) {
    if conversion.is_null() {
        return;
    }
    let strategy = text(conversion, "strategy");
    let field = |name: &str| format!("{PATH}.{name}");
    match strategy {
        "" => faults.push(Cause::required(field("strategy"), "")),
        "None" | "Webhook" => {}
        other => faults.push(Cause::not_supported(
            field("strategy"),
            &json!(other),
            &["None", "Webhook"],
        )),
    }
    let config = conversion.pointer("/webhook/clientConfig");
    let versions = conversion.pointer("/webhook/conversionReviewVersions");
    let versions = versions.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if config.is_some() {
            faults.push(Cause::forbidden(field("webhookClientConfig"), why));
        }
        if !versions.is_empty() {
            faults.push(Cause::forbidden(field("conversionReviewVersions"), why));
        }
        return;
    }
    match config {
        None => {
            let why = "required when strategy is set to Webhook";
            faults.push(Cause::required(field("webhookClientConfig"), why));
        }
        Some(config) => client(config, &field("webhookClientConfig"), established, faults),
    }
    let known = |list: &[Value]| list.iter().any(|v| ACCEPTED.contains(&v.as_str().unwrap_or("")));
    let old = before.map_or(&[][..], |b| list(&b["webhook"], "conversionReviewVersions"));
    let must_know = before.is_none() || old.is_empty() || known(old);
    review_versions(versions, must_know && !known(versions), faults);
}

fn review_versions(versions: &[Value], unknown: bool, faults: &mut Faults) {
    let path = format!("{PATH}.conversionReviewVersions");
    if versions.is_empty() {
        faults.push(Cause::required(path, ""));
        return;
    }
    for (at, version) in versions.iter().enumerate() {
        if versions[..at].contains(version) {
            faults.push(Cause::invalid(format!("{path}[{at}]"), version, "duplicate version"));
            continue;
        }
        for why in dns_1035_label(version.as_str().unwrap_or("")) {
            faults.push(Cause::invalid(format!("{path}[{at}]"), version, &why));
        }
    }
    if unknown {
        let why = format!("must include at least one of {}", ACCEPTED.join(", "));
        faults.push(Cause::invalid(path, &json!(versions), &why));
    }
}

fn client(config: &Value, path: &str, established: bool, faults: &mut Faults) {
    let (url, service) = (config.get("url"), config.get("service"));
    match (url, service) {
        (Some(_), Some(_)) | (None, None) => {
            faults.push(Cause::required(path, "exactly one of url or service is required"));
        }
        (Some(url), None) => address(url, &format!("{path}.url"), faults),
        (None, Some(service)) => self::service(service, &format!("{path}.service"), faults),
    }
    let bundle = text(config, "caBundle");
    if established && !bundle.is_empty() && !is_bundle(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        faults.push(Cause::invalid(format!("{path}.caBundle"), &json!("<omitted>"), why));
    }
}

fn is_bundle(text: &str) -> bool {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----")
}

fn address(url: &Value, path: &str, faults: &mut Faults) {
    const FORM: &str = "; desired format: https://host[/path]";
    let text = url.as_str().unwrap_or("");
    let mut wrong = |why: String| faults.push(Cause::invalid(path, url, &why));
    let Some((scheme, rest)) = text.split_once("://") else {
        wrong(format!("'https' is the only allowed URL scheme{FORM}"));
        wrong(format!("host must be specified{FORM}"));
        return;
    };
    if scheme != "https" {
        wrong(format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    if host.is_empty() {
        wrong(format!("host must be specified{FORM}"));
    }
    if host.contains('@') {
        wrong(format!("user information is not permitted in the URL{FORM}"));
    }
    if rest.contains('#') {
        wrong(format!("fragments are not permitted in the URL{FORM}"));
    }
    if rest.split('#').next().unwrap_or("").contains('?') {
        wrong(format!("query parameters are not permitted in the URL{FORM}"));
    }
}

fn service(service: &Value, path: &str, faults: &mut Faults) {
    for key in ["name", "namespace"] {
        if text(service, key).is_empty() {
            let why = format!("service {key} is required");
            faults.push(Cause::required(format!("{path}.{key}"), &why));
        }
    }
    let port = service.get("port").and_then(Value::as_i64);
    if let Some(port) = port.filter(|p| !(1..=65535).contains(p)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        faults.push(Cause::invalid(format!("{path}.port"), &json!(port), why));
    }
    let Some(place) = service.get("path").and_then(Value::as_str) else { return };
    let field = format!("{path}.path");
    if place == "/" {
        return;
    }
    if place == "//" || !place.starts_with('/') {
        let why =
            if place == "//" { "segment[0] may not be empty" } else { "must start with a '/'" };
        faults.push(Cause::invalid(field.as_str(), &json!(place), why));
    }
    let steps = place.trim_start_matches('/').trim_end_matches('/');
    for (at, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            let why = format!("segment[{at}] may not be empty");
            faults.push(Cause::invalid(field.as_str(), &json!(place), &why));
        }
        for why in dns_subdomain(step).into_iter().filter(|_| !step.is_empty()) {
            let why = format!("segment[{at}]: {why}");
            faults.push(Cause::invalid(field.as_str(), &json!(place), &why));
        }
    }
}
