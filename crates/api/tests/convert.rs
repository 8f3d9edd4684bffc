//! Conversions between versions, against the answers of an upstream server for the same object.
#![allow(clippy::unwrap_used)] // a test that cannot read its data has failed

use isopod_api::convert::convert;
use isopod_api::kinds;
use isopod_api::object::Object;
use serde_json::Value;

mod shared;

#[test]
fn recorded_versions() {
    let Some(dir) = shared::dir() else { return };
    let (mut pairs, mut failed) = (0, Vec::new());
    for area in ["versions", "versions-all"] {
        for case in shared::cases(&dir, area) {
            let id = case["id"].as_str().unwrap();
            // Reads between two writes show the same object.
            let mut same: Vec<Value> = Vec::new();
            for step in case["steps"].as_array().unwrap() {
                // Masked times are put back as times.
                let text = step["response"]["body"].to_string();
                let text = text.replace(
                    r#""eventTime":"<time>""#,
                    r#""eventTime":"2024-01-02T03:04:05.000000Z""#,
                );
                let text = text.replace("\"<time>\"", "\"2024-01-02T03:04:05Z\"");
                let body = &serde_json::from_str::<Value>(&text).unwrap();
                if step["request"]["method"] != "GET" {
                    same.clear();
                }
                let known = |v: &Value| {
                    kinds::of_object(
                        v["apiVersion"].as_str().unwrap_or(""),
                        v["kind"].as_str().unwrap_or(""),
                    )
                };
                let Some(to) = known(body) else { continue };
                for other in &same {
                    let from = known(other).unwrap();
                    if from.storage != to.storage || from.plural != to.plural {
                        continue;
                    }
                    let object = Object::from_value(other.clone()).unwrap();
                    pairs += 1;
                    match convert(object, from, to) {
                        Ok(ours) if Value::from(ours.clone()) == *body => {}
                        Ok(ours) => {
                            failed.push(format!("{id}:\n {other}\n {body}\n {}", Value::from(ours)))
                        }
                        Err(error) => failed.push(format!("{id}: {error}")),
                    }
                }
                same.push(body.clone());
            }
        }
    }
    println!("{pairs} pairs");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(pairs > 20);
}
