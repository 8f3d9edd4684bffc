//! Protobuf that an upstream server sent of sparse objects: read, compared with its JSON, written
//! again.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use base64::Engine;
use isopod_api::codec::{json, proto};
use isopod_api::schema;
use serde_json::Value;

mod shared;

/// Takes out what the recording masks.
fn settled(mut value: Value) -> Value {
    if let Some(metadata) = value["metadata"].as_object_mut() {
        for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            metadata.remove(key);
        }
    }
    let text = value.to_string().replace("ns0000000000", "${ns}");
    let text = text.replace("00000000-0000-0000-0000-000000000000", "<uid>");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn recorded_objects() {
    let Some(dir) = shared::dir() else { return };
    let (mut seen, mut failed) = (0, Vec::new());
    for area in ["negotiation", "rest", "lists", "versions"] {
        for case in shared::cases(&dir, area) {
            for step in case["steps"].as_array().unwrap() {
                let kind = step["response"]["headers"]["content-type"].as_str().unwrap_or("");
                let Some(text) = step["response"]["body"]["base64"].as_str() else { continue };
                if !kind.contains("protobuf") || kind.contains("watch") {
                    continue;
                }
                let wire = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
                let id = case["id"].as_str().unwrap();
                let object = match proto::decode(&wire) {
                    Ok(object) => object,
                    Err(error) => {
                        failed.push(format!("{id}: {error}"));
                        continue;
                    }
                };
                seen += 1;
                let envelope = proto::open(&wire).unwrap();
                let (group, version) =
                    envelope.api_version.split_once('/').unwrap_or(("", envelope.api_version));
                let ty = schema::by_gvk(group, version, envelope.kind).unwrap();
                if proto::encode(&object, ty).unwrap() != wire {
                    failed.push(format!("{id}: written differently"));
                }
                let created = &case["steps"][0]["response"]["body"];
                if created["kind"] == object.kind() && created["kind"] != "Status" {
                    let (theirs, ours) = (settled(created.clone()), settled(object.into()));
                    if theirs != ours {
                        failed.push(format!("{id}: read differently\n {theirs}\n {ours}"));
                    }
                }
            }
        }
    }
    println!("{seen} objects");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(seen > 40);
}

/// The recording drops the status of what loops inside the server write.
const STATUS_DROPPED: [&str; 4] =
    ["FlowSchema", "APIService", "ServiceCIDR", "CustomResourceDefinition"];

/// JSON answers of an upstream server, decoded and written: nothing may be added or lost.
#[test]
fn recorded_json_is_in_form() {
    let Some(dir) = shared::dir() else { return };
    let (mut seen, mut failed) = (0, Vec::new());
    for area in ["rest", "defaulting", "patch", "subresources", "versions", "lists", "deletion"] {
        for case in shared::cases(&dir, area) {
            for step in case["steps"].as_array().unwrap() {
                let mut body = step["response"]["body"].clone();
                let text = |key: &str| body[key].as_str().unwrap_or("").to_owned();
                let (api_version, kind) = (text("apiVersion"), text("kind"));
                if body.to_string().contains("\"<port>\"") {
                    continue;
                }
                let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
                let Some(ty) = schema::by_gvk(group, version, &kind) else { continue };
                if body.to_string().contains("\"<time>\"") {
                    let text = body.to_string().replace("\"<time>\"", "null");
                    body = serde_json::from_str(&text).unwrap();
                    if let Some(metadata) = body["metadata"].as_object_mut() {
                        metadata.remove("creationTimestamp");
                        metadata.remove("deletionTimestamp");
                    }
                    if body.to_string().contains("null") {
                        continue;
                    }
                }
                let decoded = match json::decode(body.to_string().as_bytes(), Some(ty)) {
                    Ok(decoded) => decoded,
                    Err(error) => {
                        failed.push(format!("{}: {error}", case["id"]));
                        continue;
                    }
                };
                seen += 1;
                let mut decoded = decoded;
                if STATUS_DROPPED.contains(&kind.as_str()) && body["status"].is_null() {
                    decoded.object.0.remove("status");
                }
                if let Some(strict) = decoded.strict_error() {
                    failed.push(format!("{}: {strict}", case["id"]));
                } else if Value::from(decoded.object.clone()) != body {
                    let ours = Value::from(decoded.object);
                    failed.push(format!("{}:\n {body}\n {ours}", case["id"]));
                }
            }
        }
    }
    println!("{seen} answers");
    failed.truncate(20);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(seen > 500);
}
